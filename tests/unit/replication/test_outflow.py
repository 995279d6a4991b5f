"""L{tile38cm.replication.outflow}: what a follower is sent, and how fast."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.peers.wires import End
from tests.unit.replication.minitile38 import command
from tile38cm.model import Position
from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.messages import DATA, EPOCH, PUBLISH, Data
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.history import Continue, Segment
from tile38cm.replication.log_feed import LogFeed
from tile38cm.replication.outflow import MOMENT, ROOM, Labels, Outflow, Words, earlier

LOG = bytes(range(200))
TURNS = (Position(3, 100), Position(4, 100), Position(6, 150))


class LabelTests(SynchronousTestCase):
    """A log that four terms have written."""

    @given(st.lists(st.integers(0, 200), max_size=6), st.integers(0, 100))
    def test_any_pieces(self, ends: list[int], begin: int) -> None:
        """However it is cut, each byte comes once, named by its term, and each turn before its bytes."""
        labels = Labels(Continue(Position(2, begin), (), begin, 2, TURNS))
        at, epoch, got = begin, 2, b""
        for end in sorted({e for e in ends if e > begin} | {200}):
            for words in labels.named(LOG[at:end], end):
                if words[0] == EPOCH:
                    epoch = int(words[1])
                    self.assertEqual(int(words[2]), begin + len(got))
                    continue
                self.assertEqual(words[0], DATA)
                data = Data.read(words)
                self.assertEqual((data.epoch, data.start), (epoch, begin + len(got)))
                self.assertTrue(data.payload)
                got += data.payload
            at = end
        self.assertEqual((got, epoch), (LOG[begin:], 6))

    def test_turn_at_the_end(self) -> None:
        """Whoever has all of a term hears of the next one at once, not when somebody writes."""
        labels = Labels(Continue(Position(2, 40), (), 40, 2, TURNS[:1]))
        self.assertEqual([w[0] for w in labels.named(LOG[40:100], 100)], [DATA, EPOCH])


class Feed:
    """A log that is only begun."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> object:
        return lambda: self.heard.append(name)


class Narrow(End):
    """A transport that has its producer pause after every write."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


class Log(Feed):
    """A log that flows or does not."""

    def __init__(self) -> None:
        super().__init__()
        self.flows = False

    def start(self) -> None:
        self.flows = True

    def resumeProducing(self) -> None:
        self.flows = True

    def pauseProducing(self) -> None:
        self.flows = False


class Link(End):
    """Takes some bytes in a turn, and pauses its producer as Twisted's connections do."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.kept = bytearray(), bytearray()

    def write(self, data: bytes) -> None:
        self.kept += data
        if len(self.kept) > 65536 and self.producer is not None:
            self.producer.pauseProducing()

    def take(self) -> None:
        """A turn."""
        self.seen += self.kept[:20_000]
        del self.kept[:20_000]
        if not self.kept and self.producer is not None:
            self.producer.resumeProducing()


class OutflowTests(SynchronousTestCase):
    """Bytes of two earlier terms, then the log."""

    def setUp(self) -> None:
        self.backlog = Backlog(1 << 20)
        for data in (Data(1, 50, b"a" * 50), Data(1, 60, b"b" * 10), Data(2, 20, b"c" * 20)):
            self.backlog.append(data)
        segments = Segment(1, 40, 60), Segment(2, 10, 20)
        self.decision = Continue(Position(1, 40), segments, 7, 3, (Position(4, 7),))

    def messages(self) -> list[Words]:
        """All that comes before the log."""
        return list(earlier(self.decision, self.backlog, Labels(self.decision)))

    def test_order(self) -> None:
        """Each term is named before its bytes."""
        self.assertEqual(
            self.messages(),
            [
                Data(1, 50, b"a" * 10).words(),
                Data(1, 60, b"b" * 10).words(),
                (EPOCH, b"2", b"10"),
                Data(2, 20, b"c" * 10).words(),
                (EPOCH, b"3", b"7"),
                (EPOCH, b"4", b"7"),
            ],
        )

    def outflow(self, end: End) -> tuple[Outflow, Feed, PeerConnection]:
        """Begun on a connection."""
        conn, feed = PeerConnection(Clock()), Feed()
        conn.makeConnection(end)
        outflow = Outflow(conn, iter(self.messages()), cast(LogFeed, feed), Clock())
        outflow.start()
        return outflow, feed, conn

    def test_wide(self) -> None:
        """Where nobody has it pause all is sent at once."""
        _, feed, _ = self.outflow(End())
        self.assertEqual(feed.heard, ["start"])

    def test_narrow(self) -> None:
        """One that takes one message at a time is sent one at a time, and the log begins behind the last."""
        end = Narrow()
        outflow, feed, _ = self.outflow(end)
        for _ in self.messages():
            self.assertNotIn("start", feed.heard)
            self.assertEqual(end.value().count(b"*"), 1)
            end.clear()
            outflow.resumeProducing()
        self.assertEqual((feed.heard[-1], end.value()), ("start", b""))
        outflow.pauseProducing()
        outflow.resumeProducing()
        self.assertEqual(feed.heard[-2:], ["pauseProducing", "resumeProducing"])

    def test_messages(self) -> None:
        """Messages for subscribers come in order, behind the earlier terms, as fast as they are taken."""
        end = Narrow()
        outflow, _, _ = self.outflow(end)
        texts = [b"one", b"two", b"three"]
        for text in texts:
            outflow.tell(text)
        for _ in self.messages():
            self.assertNotIn(b"one", end.value())
            end.clear()
            outflow.resumeProducing()
        for text in texts:
            while not end.value():
                outflow.resumeProducing()
            self.assertEqual(end.value(), command(PUBLISH, text))
            end.clear()

    def test_too_many_messages(self) -> None:
        """What waits for one follower is bounded, and the oldest of it stays; one large message may pass."""
        end = Narrow()
        outflow, _, _ = self.outflow(end)
        large = b"x" * (ROOM - 1)
        for text in (large, b"a", b"b", b"c"):
            outflow.tell(text)
        for _ in range(20):
            outflow.resumeProducing()
        self.assertTrue(end.value().endswith(command(PUBLISH, large) + command(PUBLISH, b"a")))
        end.clear()
        outflow.tell(large * 2)
        for _ in range(2):
            outflow.resumeProducing()
        self.assertEqual(end.value(), command(PUBLISH, large * 2))

    def shares(self, told: int, logged: int) -> tuple[int, int]:
        """
        How many messages and pieces of the log pass a link that is slower than both together.

        @param told: bytes of a message, of which one comes in each turn, as of the log.
        """
        clock, link = Clock(), Link()
        conn, log = PeerConnection(clock), Log()
        conn.makeConnection(link)
        outflow = Outflow(conn, iter(()), cast(LogFeed, log), clock)
        outflow.start()
        for _ in range(1000):
            outflow.tell(b"m" * told)
            if log.flows:
                conn.send(*Data(1, logged, b"d" * logged).words())
            link.take()
            clock.advance(MOMENT)
        outflow.stopProducing()
        self.assertEqual(clock.getDelayedCalls(), [])
        return link.seen.count(command(PUBLISH, b"m" * told)), link.seen.count(b"d" * logged)

    def test_fair(self) -> None:
        """Neither does a flood of messages keep the log from going, nor the log them."""
        for told, logged in ((40_000, 100), (100, 90_000), (40_000, 40_000), (90_000, 90_000)):
            messages, pieces = self.shares(told, logged)
            self.assertGreater(messages, 50, (told, logged))
            self.assertGreater(pieces, 50, (told, logged))

    def test_ended(self) -> None:
        """To a connection that has ended nothing is sent, and no log is begun for it."""
        outflow, feed, conn = self.outflow(Narrow())
        conn.close("test")
        outflow.resumeProducing()
        outflow.stopProducing()
        outflow.resumeProducing()
        self.assertNotIn("start", feed.heard)
