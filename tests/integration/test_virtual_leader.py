"""L{tile38cm.replication.virtual_leader} in front of a real Tile38."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.loaded import LoadedTile38
from tests.real import LOOPBACK, ROOT
from tile38cm.replication.conversation import BLOCK
from tile38cm.replication.markers import pair
from tile38cm.replication.stream import Chunk, Kind, Spliced, StreamSplitter
from tile38cm.replication.virtual_leader import AttachError, NotAttached, VirtualLeader
from tile38cm.settings import Secret
from tile38cm.tile38 import Tile38, Tile38Error
from tile38cm.wire.resp import encode_request

reactor: Any = the_reactor


def point(number: int) -> bytes:
    """A write of about 80 bytes that differs with its number."""
    place = f"{number % 89}.{number % 9973:05d}"
    words = ["SET", "fleet", f"truck{number:07d}", "POINT", place, "-112.12345"]
    return encode_request([word.encode() for word in words])


def points(first: int, count: int) -> bytes:
    """Several of them."""
    return b"".join(point(number) for number in range(first, first + count))


async def until(probe: Callable[[], Awaitable[bool]], what: str, timeout: float = 10.0) -> None:
    """Wait, with a bound, until a probe is true; C{Tile38Error} counts as "not yet"."""
    end = reactor.seconds() + timeout
    while reactor.seconds() < end:
        try:
            if await probe():
                return
        except Tile38Error:
            pass
        await deferLater(reactor, 0.01)
    raise AssertionError(f"{what}: not within {timeout} s")


class VirtualLeaderCase(TestCase):
    """A Tile38, its client, and a virtual leader in front of it."""

    timeout = 120
    password: str | None = None

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.server = LoadedTile38(password=self.password).start()
        self.addCleanup(self.server.stop)
        self.addCleanup(self.server.kill)  # quicker
        secret = None if self.password is None else Secret(self.password)
        self.local = Tile38(reactor, TCP4ClientEndpoint(reactor, LOOPBACK, self.server.port), secret)
        self.local.start()
        self.addCleanup(lambda: self._coroutine(self.local.stop()))
        self.lost: list[str] = []
        self.delivered: list[object] = []
        self.drained = 0
        self.leader = self.make_leader()
        await self.leader.start()
        self.addCleanup(lambda: self._coroutine(self.leader.stop()))

    def _coroutine(self, coroutine: Any) -> Any:
        return Deferred.fromCoroutine(coroutine)

    def make_leader(self) -> VirtualLeader:
        """One on a free port."""
        return VirtualLeader(
            reactor,
            TCP4ServerEndpoint(reactor, 0, interface=LOOPBACK),
            self.local,
            self.lost.append,
            self.delivered.append,
            self.count_drained,
        )

    def count_drained(self) -> None:
        self.drained += 1

    def log(self) -> bytes:
        """The log file as it is."""
        return Path(self.server.directory, "appendonly.aof").read_bytes()

    def load(self, data: bytes) -> bytes:
        """Write commands as a client, make the server read-only; returns the log."""
        with self.server.connect() as client:
            client._socket.sendall(data)
            for _ in range(data.count(b"*6\r\n")):
                client.read()
            client.command("READONLY", "yes")
        return self.log()

    async def grown(self, size: int) -> None:
        """Wait until the log has that size."""

        async def is_it() -> bool:
            return await self.local.log_size() >= size

        await until(is_it, f"log of {size} bytes")

    async def caught_up(self) -> bool:
        """What Tile38 says of itself."""
        try:
            return (await self.local.server()).caught_up
        except Tile38Error:
            return False


class AttachTests(VirtualLeaderCase):
    """The log before and after, in each class of size."""

    async def attach_and_feed(self, own: int, more: int) -> None:
        """Attach with a log of so many commands; feed more; all is there, caught up exactly then."""
        before = self.load(points(0, own))
        fed = points(own, more)
        attached = await self.leader.attach(len(fed))
        self.assertEqual(self.log()[: len(before)], before)
        if not fed:
            await until(self.caught_up, "caught up")
        self.assertEqual(await self.caught_up(), not fed)
        padded = self.log()
        self.assertEqual(attached.size, len(padded))
        half = len(points(own, more // 2))
        self.leader.write(fed[:half], 1)
        await self.grown(len(padded) + half)
        self.assertEqual(await self.caught_up(), not fed)
        self.leader.write(fed[half:], 2)
        await self.grown(len(padded) + len(fed))
        await until(self.caught_up, "caught up")
        self.assertEqual(self.log(), padded + fed)
        self.assertEqual((await self.local.server()).num_objects, own + more)
        self.assertEqual(self.lost, [])

    async def test_empty_and_nothing_to_come(self) -> None:
        """An empty node of an empty cluster is caught up at once."""
        await self.attach_and_feed(0, 0)

    async def test_empty(self) -> None:
        """An empty node gets everything, byte for byte."""
        await self.attach_and_feed(0, 500)

    async def test_small_and_nothing_to_come(self) -> None:
        """A small log is kept, and the node is caught up at once."""
        await self.attach_and_feed(100, 0)

    async def test_small(self) -> None:
        """A small log is kept and continued."""
        await self.attach_and_feed(100, 500)

    async def test_trap(self) -> None:
        """A log of a size that Tile38 would cut keeps every byte, and is made longer."""
        await self.attach_and_feed(8000, 500)
        self.assertGreater(len(self.log()), 2 * BLOCK)

    async def test_trap_and_nothing_to_come(self) -> None:
        """The same without news."""
        await self.attach_and_feed(8000, 0)

    async def test_large(self) -> None:
        """A large log is kept and continued."""
        await self.attach_and_feed(19000, 500)

    async def test_large_and_nothing_to_come(self) -> None:
        """The same without news."""
        await self.attach_and_feed(19000, 0)

    async def test_resume_refused(self) -> None:
        """A node that must be empty and is not stays as it is."""
        before = self.load(points(0, 10))
        await self.assertFailure(self._coroutine(self.leader.attach(0, resume=False)), AttachError)
        self.assertEqual(self.log(), before)
        self.assertIsNone((await self.local.server()).following)

    async def test_trap_without_memory(self) -> None:
        """A log in the trap is made longer even when Tile38 takes no writes for lack of memory."""
        before = self.load(points(0, 8000))
        await self.local.config_set("maxmemory", "1mb")
        await self.leader.attach(0)
        await until(self.caught_up, "caught up")
        self.assertTrue(self.log().startswith(before))
        self.assertTrue((await self.local.server()).read_only)
        self.assertEqual((await self.local.server()).num_objects, 8000)

    async def test_expiring_objects(self) -> None:
        """A server whose own expiry writes its log all the time is attached without a cut."""
        expiring = b"".join(
            encode_request([b"SET", b"t", b"i%d" % n, b"EX", b"%d.%d" % (n % 8, n % 10), b"STRING", b"x"])
            for n in range(4000)
        )
        with self.server.connect() as client:
            client._socket.sendall(expiring)
            for _ in range(4000):
                client.read()
        before = self.load(points(0, 16000))
        for _ in range(5):
            attached = await self.leader.attach(0)
            self.assertGreaterEqual(attached.base, attached.size)
            self.assertEqual(self.log()[: len(before)], before)
        await until(self.caught_up, "caught up")
        self.assertEqual(self.lost, [])

    async def test_again(self) -> None:
        """Attaching again drops the old link, and what is written reaches the new one."""
        self.load(points(0, 10))
        for round in range(5):
            await self.leader.attach(len(point(0)))
            self.leader.write(point(100 + round), round)
            await self.grown(len(points(0, 11 + round)))
        self.assertEqual((await self.local.server()).num_objects, 15)
        self.assertEqual(self.lost, [])
        self.assertEqual(self.delivered[-1], 4)

    async def test_nobody_there(self) -> None:
        """Without a Tile38 it fails in time."""
        self.server.kill()
        await self.assertFailure(self._coroutine(self.leader.attach(0)), Tile38Error)

    async def test_not_wanted(self) -> None:
        """Outside an attach nobody gets in, and nothing can be written."""
        before = self.load(points(0, 19000))
        await self.assertFailure(self._coroutine(self.local.follow(self.leader.address)), Tile38Error)
        self.assertRaises(NotAttached, self.leader.write, point(1), None)
        self.assertEqual(self.log(), before)

    async def test_killed_and_attached_again(self) -> None:
        """A killed Tile38 is noticed; it keeps what it had, and goes on after its next start."""
        self.load(points(0, 19000))
        fed = points(19000, 1000)
        await self.leader.attach(len(fed))
        self.leader.write(fed, "all")
        await self.grown(len(points(0, 20000)))
        self.server.kill()
        await until(self.is_lost, "lost")
        self.assertEqual(len(self.lost), 1)
        self.assertRaises(NotAttached, self.leader.write, point(1), None)
        self.server.start()
        # By its own file it follows at once; it is put off until it is wanted.
        await deferLater(reactor, 1.2)
        self.assertEqual(self.log(), points(0, 20000))
        await self.leader.attach(len(point(1)))
        self.leader.write(point(20000), "more")
        await until(self.caught_up, "caught up")
        self.assertEqual(self.log(), points(0, 20001))

    async def is_lost(self) -> bool:
        return bool(self.lost)

    async def test_listener_stops(self) -> None:
        """When B goes away Tile38 keeps its log, and asks in vain."""
        before = self.load(points(0, 19000))
        await self.leader.attach(0)
        await self.leader.stop()
        await deferLater(reactor, 1.2)
        self.assertEqual(self.log(), before)
        self.assertEqual(self.lost, [])


class PasswordTests(VirtualLeaderCase):
    """The local Tile38 asks for a password; it gives none itself."""

    password = "open sesame"

    async def test_password(self) -> None:
        """Everything works as without."""
        before = self.load(points(0, 8000))
        await self.leader.attach(len(point(1)))
        self.leader.write(point(8000), None)
        await until(self.caught_up, "caught up")
        self.assertTrue(self.log().startswith(before))
        self.assertTrue((await self.leader.drain(pair(b"p", b"end"))).proven)


class DrainTests(VirtualLeaderCase):
    """The proof that everything was applied."""

    async def test_all_applied(self) -> None:
        """20,000 queued commands are applied before the drain ends, and it is proven."""
        await self.leader.attach(0)
        for first in range(0, 20000, 500):
            self.leader.write(points(first, 500), first)
        drained = await self.leader.drain(pair(b"p", b"the end"))
        await self.local.unfollow()
        log = points(0, 20000) + pair(b"p", b"the end")
        self.assertTrue(drained.proven)
        self.assertEqual(drained.size, len(log))
        self.assertEqual(self.log(), log)
        self.assertEqual((await self.local.server()).num_objects, 20000)
        self.assertEqual(self.delivered[-1], 19500)
        self.assertEqual(self.delivered, sorted(self.delivered, key=int))
        self.assertEqual(self.lost, [])
        self.assertFalse(self.leader.attached)

    async def test_without_marker(self) -> None:
        """Nothing is proven without a marker."""
        await self.leader.attach(0)
        self.leader.write(points(0, 10), None)
        drained = await self.leader.drain()
        self.assertEqual((drained.proven, drained.size), (False, len(points(0, 10))))

    async def test_not_applied(self) -> None:
        """Tile38 closes as well when it has no memory left: then it is not proven."""
        self.load(points(0, 100))
        await self.leader.attach(0)
        await self.local.config_set("maxmemory", "1mb")
        self.leader.write(points(100, 1000), None)
        drained = await self.leader.drain(pair(b"p", b"the end"))
        self.assertFalse(drained.proven)
        self.assertLess(drained.size, len(points(0, 1100)))

    async def test_stuck(self) -> None:
        """A stopped Tile38 is not waited for without end."""
        await self.leader.attach(0)
        self.leader.write(points(0, 100), None)
        self.server.pause()
        self.addCleanup(self.server.resume)
        waking = reactor.callLater(1.0, self.server.resume)
        drained = await self.leader.drain(pair(b"p", b"the end"), timeout=0.5)
        if waking.active():
            waking.cancel()  # the last of its threads stood still after the answer only
        self.assertFalse(drained.proven and drained.size < len(points(0, 100)))

    async def test_back_pressure(self) -> None:
        """A stopped Tile38 fills the buffer; the writer hears when it may go on."""
        await self.leader.attach(0)
        self.server.pause()
        self.addCleanup(self.server.resume)
        written = b""
        while not self.leader.full:
            written += points(len(written), 2000)
            self.leader.write(points(len(written), 2000), len(written))
            await deferLater(reactor, 0)
            if len(written) > 64 * 1024 * 1024:
                self.fail("never full")
        self.assertEqual(self.drained, 0)
        self.server.resume()

        async def has_drained() -> bool:
            return self.drained > 0

        await until(has_drained, "drained")
        self.assertFalse(self.leader.full)


class KilledTests(VirtualLeaderCase):
    """The process with B dies at the worst moment."""

    async def test_killed_while_asked(self) -> None:
        """A kill while Tile38 waits for a checksum leaves its log whole."""
        before = self.load(points(0, 19000))
        with subprocess.Popen(
            [sys.executable, "-m", "tests.integration.mute_leader", str(self.server.port)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as child:
            assert child.stdout is not None
            self.assertEqual(await deferToThread(child.stdout.readline), b"asked\n")
            child.kill()
        # Longer than Tile38 needs to try again.
        await deferLater(reactor, 1.5)
        self.assertEqual(self.log(), before)
        await self.leader.attach(0)
        self.assertEqual(self.log(), before)


class _LeaderLog(Protocol):
    """Reads a leader's log into a virtual leader, past every splice."""

    def __init__(self, port: int, leader: VirtualLeader, pos: int = 0) -> None:
        self.port, self.leader, self.pos = port, leader, pos
        self.splices = self.messages = 0

    def connectionMade(self) -> None:
        self.splitter = StreamSplitter()
        assert self.transport is not None
        self.transport.write(encode_request([b"AOF", b"%d" % self.pos]))

    def dataReceived(self, data: bytes) -> None:
        try:
            chunks, again = self.splitter.feed(data), False
        except Spliced as spliced:
            chunks, again = spliced.chunks, True
        self._pass_on(chunks)
        if again:
            self.splices += 1
            assert self.transport is not None
            self.transport.abortConnection()  # type: ignore[attr-defined]  # TCP has it
            reactor.connectTCP(LOOPBACK, self.port, _Again(self))

    def _pass_on(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self.pos += chunk.count
            self.messages += chunk.kind is Kind.PUBLISH
            self.leader.write(chunk.payload, None)

    def look(self) -> None:
        """What was held has waited long enough."""
        self._pass_on(self.splitter.release())


class _Again(ClientFactory):
    """Connects the same protocol once more."""

    noisy = False

    def __init__(self, log: _LeaderLog) -> None:
        self._log = log

    def buildProtocol(self, addr: Any) -> _LeaderLog:
        return self._log


class SplicedTests(VirtualLeaderCase):
    """A leader under load whose channel fence mangles its stream."""

    async def test_load(self) -> None:
        """What it logged arrives byte for byte, and the follower's link never breaks."""
        leader = LoadedTile38().start()
        self.addCleanup(leader.stop)
        self.addCleanup(leader.kill)  # quicker
        leader.command("SETCHAN", "zone", "NEARBY", "fleet", "FENCE", "POINT", 33, -112, 5_000_000)
        await self.leader.attach(0)
        log = _LeaderLog(leader.port, self.leader)
        reactor.connectTCP(LOOPBACK, leader.port, _Again(log))
        await gatherResults([deferToThread(self.write_for, leader, 3.0, lane) for lane in range(4)])
        size = int(leader.server()["aof_size"])

        async def level() -> bool:
            log.look()
            return log.pos == size and await self.local.log_size() == size

        await until(level, f"{size} bytes ({log.splices} splices)", 60.0)
        self.assertEqual(self.log(), Path(leader.directory, "appendonly.aof").read_bytes())
        self.assertEqual(self.lost, [])
        self.assertGreater(log.messages, 100)
        assert log.transport is not None
        log.transport.abortConnection()  # type: ignore[attr-defined]  # TCP has it

    def write_for(self, leader: LoadedTile38, seconds: float, lane: int) -> None:
        """Write moving points for so long, sixteen at a time (in a thread)."""
        end = time.monotonic() + seconds
        number = lane
        with leader.connect() as client:
            while time.monotonic() < end:
                for _ in range(16):
                    number += 4
                    client.send("SET", "fleet", number % 97, "POINT", 33 + number % 50 / 100, -112)
                for _ in range(16):
                    client.read()
