"""L{tile38cm.replication.log_feed}: one follower's stream, through splices, cuts and other logs."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.unit.local38 import LocalWay
from tests.unit.replication.minitile38 import command
from tile38cm.replication.log_feed import RELEASE_AFTER, LogFeed
from tile38cm.replication.stream import Chunk, Kind
from tile38cm.settings import Secret
from tile38cm.tile38 import Tile38

PUBLISHED = command("PUBLISH", "chan", "hello")


def write(number: int) -> bytes:
    """A command of the log."""
    return command("SET", "fleet", str(number), "POINT", "1", "2")


class Sink:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.data = self.published = b""
        self.end = 0
        self.endings: list[tuple[str, bool]] = []

    def deliver(self, chunk: Chunk, end: int) -> None:
        if chunk.kind is Kind.DATA:
            self.data += chunk.payload
            self.end = end
        else:
            self.published += chunk.payload

    def ended(self, why: str, replaced: bool) -> None:
        self.endings.append((why, replaced))


class FeedTests(SynchronousTestCase):
    """A feed from a log of two commands."""

    def setUp(self) -> None:
        self.way = LocalWay()
        self.server = self.way.server
        self.server.log = write(1) + write(2)
        self.way.client.start()
        self.sink = Sink()

    def feed(self, pos: int = 0, seconds: float = 0.1) -> LogFeed:
        """Begin at C{pos}."""
        feed = LogFeed(self.way.client, self.way.clock, pos, self.sink)
        feed.start()
        self.way.wait(seconds)
        return feed

    def assert_lost(self, replaced: bool) -> str:
        """The feed has ended, told once; why."""
        self.way.wait(10)
        ((why, found),) = self.sink.endings
        self.assertEqual(found, replaced)
        return why

    def test_interface(self) -> None:
        """It is a push producer."""
        verifyObject(IPushProducer, self.feed())

    def test_from_anywhere(self) -> None:
        """What is there and what comes later is delivered, with the offset at which it ends."""
        for pos in (0, len(write(1)), len(write(1) * 2)):
            self.setUp()
            self.feed(pos)
            self.server.append(write(3))
            self.way.wait(0.1)
            self.assertEqual((self.sink.data, self.sink.end), (self.server.log[pos:], len(self.server.log)))

    def test_published(self) -> None:
        """Messages for subscribers come apart, and count nowhere."""
        self.feed()
        for data in (PUBLISHED, write(3)):
            self.say(data, log=data != PUBLISHED)
        self.assertEqual((self.sink.data, self.sink.published), (self.server.log, PUBLISHED))
        self.assertEqual(self.sink.end, len(self.server.log))

    def say(self, data: bytes, log: bool = False) -> None:
        """Something comes on the stream."""
        if log:
            self.server.append(data)
        else:
            for talk in self.server.talks:
                if talk.streaming:
                    talk.say(data)
        self.way.wait(0.2)

    def test_splice(self) -> None:
        """A message anywhere in the middle of a command is found; the command comes whole, once."""
        for at in range(1, len(write(3))):
            self.setUp()
            feed = self.feed()
            self.server.log += write(3)
            self.say(write(3)[:at] + PUBLISHED + write(3)[at:])
            self.assertEqual((self.sink.data, self.sink.end), (self.server.log, len(self.server.log)), at)
            self.assertGreaterEqual(feed.splices, 1, at)
            self.assertEqual(self.sink.endings, [], at)
            self.server.append(write(4))
            self.way.wait(0.2)
            self.assertEqual(self.sink.data, self.server.log, at)

    def test_held(self) -> None:
        """A command that may have been cut is held for a moment, not for ever."""
        self.feed()
        tricky = command("SET", "fleet", "x", "STRING", "*3\r\n$7\r\n")
        self.server.append(tricky[:-2] + b"\r\n")
        self.way.settle()
        self.way.wait(2 * RELEASE_AFTER + 0.1)
        self.assertEqual(self.sink.data, self.server.log)

    def test_cut(self) -> None:
        """A stream that broke goes on where it ended, if the log is still the same."""
        self.feed()
        self.server.cut()
        self.server.log += write(3)
        self.way.wait(1)
        self.assertEqual((self.sink.data, self.sink.endings), (self.server.log, []))

    def test_cut_often(self) -> None:
        """However often it breaks, it goes on, as long as something comes in between."""
        self.feed()
        for number in range(3, 10):
            self.server.cut()
            self.server.log += write(number)
            self.way.wait(0.5)
        self.assertEqual((self.sink.data, self.sink.endings), (self.server.log, []))

    def test_cut_before_anything(self) -> None:
        """The same if nothing had come yet."""
        self.feed(len(self.server.log))
        self.server.cut()
        self.server.append(write(3))
        self.way.wait(1)
        self.assertEqual((self.sink.data, self.sink.endings), (write(3), []))

    def test_another_log(self) -> None:
        """A log that is another one by then is never read on."""
        for other in (b"", write(7), write(7) + write(8) + write(9)):
            self.setUp()
            self.feed()
            before = self.sink.data
            self.server.log = other
            self.server.cut()
            self.assert_lost(True)
            self.assertEqual(self.sink.data, before)

    def test_beyond_the_end(self) -> None:
        """A log that is shorter than asked for is another one."""
        self.feed(1000)
        self.assertIn("pos is too big", self.assert_lost(True))

    def test_gone(self) -> None:
        """A server that is gone says nothing of its log: the stream goes on when it is back."""
        for reading in (True, False):
            self.setUp()
            self.way.refusing = not reading
            self.feed()
            self.way.refusing = True
            self.server.cut()
            self.way.wait(10)
            self.way.refusing = False
            self.server.log += write(3)
            self.way.wait(1)
            self.assertEqual((self.sink.data, self.sink.endings), (self.server.log, []))

    def test_loading(self) -> None:
        """Nor does one that loads its log after a start."""
        self.feed(len(self.server.log))
        self.server.refuses[b"AOF"] = "LOADING Tile38 is loading the dataset in memory"
        self.server.cut()
        self.way.wait(10)
        del self.server.refuses[b"AOF"]
        self.server.log += write(3)
        self.way.wait(1)
        self.assertEqual((self.sink.data, self.sink.endings), (write(3), []))

    def test_password(self) -> None:
        """It logs in; a password that is wrong by now says nothing of the log."""
        self.server.password = "right"
        for password, told in (("right", self.server.log), ("wrong", b"")):
            self.sink = Sink()
            client = Tile38(self.way.clock, self.way, Secret(password))
            client.start()
            feed = LogFeed(client, self.way.clock, 0, self.sink)
            feed.start()
            self.way.wait(0.5)
            self.assertEqual(self.sink.data, told)
        self.assertIn("password", self.assert_lost(False))

    def test_password_set_since(self) -> None:
        """Nor does one that was set since."""
        self.feed()
        self.server.refuses[b"AOF"] = "ERR authentication required"
        self.server.cut()
        self.assert_lost(False)

    def test_pause(self) -> None:
        """Who is fed pauses the reading, from before the connection on, and through a new one."""
        feed = LogFeed(self.way.client, self.way.clock, 0, self.sink)
        feed.pauseProducing()
        feed.start()
        self.assertEqual(self.server.talks[-1].producerState, "paused")
        feed.resumeProducing()
        self.assertEqual(self.server.talks[-1].producerState, "producing")
        feed.pauseProducing()
        self.server.cut()
        self.way.wait(0.5)
        (talk,) = [talk for talk in self.server.talks if talk.streaming]
        self.assertEqual(talk.producerState, "paused")

    def test_stop(self) -> None:
        """A feed that is stopped ends its connection, wherever it was, and tells nobody."""
        for seconds in (0.0, 0.2):
            self.setUp()
            feed = self.feed(0, seconds)
            feed.stopProducing()
            self.way.wait(1)
            self.assertTrue(all(talk.aborted for talk in self.server.talks if talk.streaming))
            self.server.append(write(3))
            self.way.wait(1)
            self.assertNotIn(write(3), self.sink.data)
            self.assertEqual(self.sink.endings, [])

    def test_stop_while_away(self) -> None:
        """The same between two tries."""
        feed = self.feed()
        self.server.cut()
        feed.stop()
        self.way.wait(1)
        self.assertEqual(
            (self.sink.endings, [talk for talk in self.server.talks if talk.streaming]), ([], [])
        )
