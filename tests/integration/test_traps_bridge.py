"""What a Tile38 does to its log when whoever poses as its leader is not careful, and that ours is.

Each test first shows the trap itself.  Elsewhere: logs of 512 KiB to 1 MiB and
logs that change by themselves, attached by us without a cut
(L{tests.integration.test_virtual_leader.AttachTests}), and our process killed
while it is asked (L{tests.integration.test_virtual_leader.KilledTests}).
"""

from __future__ import annotations

import subprocess
import sys
import threading
from unittest import SkipTest

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.integration.fed import TrapCase, asked, log_of, points, reactor, until, write
from tests.integration.plain_leader import PlainLeader, PlainLink
from tests.real import LOOPBACK, ROOT, RealTile38
from tile38cm.model import Position
from tile38cm.peers.messages import Data
from tile38cm.replication.caller import Caller
from tile38cm.replication.conversation import BLOCK
from tile38cm.replication.log_feed import LogFeed
from tile38cm.replication.stream import Chunk, Kind
from tile38cm.replication.virtual_leader import AttachError, VirtualLeader
from tile38cm.settings import Address
from tile38cm.wire.resp import encode_request

#: Enough objects for a log of more than 1 MiB.
LARGE = 15_000


class Deserter(VirtualLeader):
    """Gives up when it is asked for a checksum."""

    async def asked(self, caller: Caller, words: list[bytes]) -> None:
        if words[0].lower() == b"aofmd5":
            await self.stop()
            return
        await super().asked(caller, words)


class BridgeCase(TrapCase):
    """A follower with a log, and a leader that is not careful."""

    def leader(self, follower: RealTile38) -> tuple[PlainLeader, Address]:
        """One that tells the truth: it has just what the follower has."""
        leader = PlainLeader(lambda: log_of(follower))
        address = Address(LOOPBACK, leader.listen())
        self.addCleanup(leader.stop)
        return leader, address


class QuestionTests(BridgeCase):
    """The end of a connection while a question for a checksum is open."""

    async def test_clean_close(self) -> None:
        """Plain: a clean close there wipes the whole log. Ours: whatever happens to us, the log stays."""
        plain = self.server()
        write(plain, points(0, LARGE), LARGE)
        leader, address = self.leader(plain)

        def close(link: PlainLink) -> bool:
            leader.question = lambda link: True
            link.close()
            return True

        leader.question = close
        await self.client(plain).follow(address)
        await until(lambda: log_of(plain) == b"", "wiped")

        ours = self.server()
        write(ours, points(0, LARGE), LARGE)
        before, local = log_of(ours), self.client(ours)
        endpoint = TCP4ServerEndpoint(reactor, 0, interface=LOOPBACK)
        deserter = Deserter(reactor, endpoint, local, lambda why: None)
        await deserter.start()
        await self.assertFailure(Deferred.fromCoroutine(deserter.attach(0, timeout=1.0)), AttachError)
        await deferLater(reactor, 1.5)  # longer than Tile38 needs to try again
        self.assertEqual(log_of(ours), before)

    async def test_killed(self) -> None:
        """Plain: so does a kill -9 of the leader's process, since the kernel closes cleanly."""
        plain = self.server()
        write(plain, points(0, LARGE), LARGE)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.integration.plain_leader", "2000000"],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as child:
            assert child.stdout is not None
            port = int(await deferToThread(child.stdout.readline))
            await self.client(plain).follow(Address(LOOPBACK, port))
            self.assertEqual(await deferToThread(child.stdout.readline), b"asked\n")
            child.kill()
        await until(lambda: log_of(plain) == b"", "wiped")


class CutTests(BridgeCase):
    """Logs that Tile38 cuts although all is equal."""

    async def test_between_one_block_and_two(self) -> None:
        """Plain: a log of 512 KiB to 1 MiB is cut though every sum agrees. Ours: it is made longer."""
        many = 8000
        plain = self.server()
        write(plain, points(0, many), many)
        before = log_of(plain)
        self.assertTrue(BLOCK < len(before) < 2 * BLOCK)
        leader, address = self.leader(plain)
        leader.log = lambda: before
        await self.client(plain).follow(address)
        await until(lambda: bool(leader.positions), "asked for the log")
        self.assertLess(leader.positions[0], BLOCK + 100)
        self.assertEqual(log_of(plain), before[: leader.positions[0]])

        fed = await self.follower()
        write(fed.server, points(0, many), many)
        fed.intake.know(Position(1, len(before)))
        await fed.intake.attach(0)
        await fed.intake.caught_up()
        self.assertTrue(log_of(fed.server).startswith(before))
        self.assertEqual(int(fed.server.server()["num_objects"]), many)

    async def test_not_written_out(self) -> None:
        """Plain: what stands in its buffer makes Tile38 find a difference in its own log, and cut."""
        plain = self.server()
        write(plain, points(0, 3 * LARGE), 3 * LARGE)
        mortal = b"".join(
            encode_request([b"SET", b"t", b"i%d" % n, b"EX", b"%.3f" % (1 + n / 2000), b"STRING", b"x"])
            for n in range(20_000)
        )
        write(plain, mortal, 20_000)
        leader, address = self.leader(plain)
        client = self.client(plain)
        for _ in range(30):
            size = len(log_of(plain))
            await client.follow(address)
            seen = len(leader.positions)
            await until(lambda: len(leader.positions) > seen, "asked for the log")  # noqa: B023  # called here
            if leader.positions[-1] < size:
                break
            await client.unfollow()
            await deferLater(reactor, 0.05)
        else:
            # Whether a byte is unwritten at that moment is chance: on a quick machine it may never be.
            raise SkipTest("30 attaches without a cut")


class LifetimeTests(BridgeCase):
    """Lifetimes that the leader extends while the link is slow."""

    first = b"".join(
        encode_request([b"SET", b"fleet", id, b"EX", b"1", b"POINT", b"1", b"2"]) for id in (b"a", b"b", b"c")
    )
    later = b"".join(
        encode_request(words.split())
        for words in (
            b"EXPIRE fleet a 100",
            b"PERSIST fleet b",
            b"FSET fleet c speed 5",
            b"EXPIRE fleet c 100",
        )
    )

    async def test_lost(self) -> None:
        """Plain: an object that expired before the longer lifetime came is lost for good. Ours: it stays."""
        plain, fed = self.server(), await self.follower()
        leader, address = self.leader(plain)
        await self.client(plain).follow(address)
        await until(lambda: bool(leader.streams), "following")
        fed.intake.know(Position(0, 0))
        fed.intake.turn(Position(1, 0))
        await fed.intake.attach(0)
        end = len(self.first)
        leader.streams[-1].say(self.first)
        fed.intake.take(Data(1, end, self.first))
        await until(lambda: log_of(plain).count(b"del") == 3, "expired")
        leader.streams[-1].say(self.later + encode_request(b"SET other x POINT 1 2".split()))
        fed.intake.take(Data(1, end + len(self.later), self.later))
        await until(lambda: "other" in str(asked(plain, "KEYS", "*")), "told")
        self.assertNotIn("fleet", str(asked(plain, "KEYS", "*")))
        await until(lambda: self.left(fed.server, "c") > 6, "told")
        self.assertEqual(self.left(fed.server, "b"), -1)
        self.assertGreater(self.left(fed.server, "a"), 90)

    def left(self, server: RealTile38, id: str) -> int:
        """Seconds that an object has to live, -1: for ever, -2: there is none."""
        return int(str(asked(server, "TTL", "fleet", id)))


class MessageTests(BridgeCase):
    """Messages for subscribers, which Tile38 writes between everything."""

    async def test_before_the_answer(self) -> None:
        """However often we ask for the log under a flood of messages, it comes whole."""
        leader = self.server()
        write(leader, points(0, 500), 500)
        end = threading.Event()
        self.addCleanup(end.set)
        flood = [deferToThread(self.flood, leader, end) for _ in range(2)]
        source, whole = self.client(leader), len(log_of(leader))
        for _ in range(40):
            sink = Collected()
            feed = LogFeed(source, reactor, 0, sink)
            feed.start()
            await until(lambda: len(sink.data) >= whole, "the log")  # noqa: B023  # called here
            feed.stop()
            self.assertEqual(sink.data, log_of(leader))
            self.assertEqual(sink.why, [])
        end.set()
        for each in flood:
            await each

    def flood(self, server: RealTile38, end: threading.Event) -> None:
        """Messages without pause (in a thread)."""
        with server.connect() as client:
            while not end.is_set():
                for _ in range(50):
                    client.send("PUBLISH", "chat", "m" * 700)
                for _ in range(50):
                    client.read()


class Collected:
    """Takes a log in."""

    def __init__(self) -> None:
        self.data = b""
        self.why: list[str] = []

    def deliver(self, chunk: Chunk, end: int) -> None:
        if chunk.kind is Kind.DATA:
            self.data += chunk.payload

    def ended(self, why: str, replaced: bool = False) -> None:
        self.why.append(why)
