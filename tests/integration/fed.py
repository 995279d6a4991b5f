"""A leader and a follower for tests: real Tile38s, and between them our own parts without the cluster.

The leader's log is read by L{LogFeed}; the follower's L{Intake} takes it in.
What a L{Source<tile38cm.replication.source>} decides is asked of L{plan}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.real import LOOPBACK, RealTile38, Reply, ReplyError, require, wait_for
from tile38cm.coordination.status import EpochRecord
from tile38cm.model import Position
from tile38cm.peers.messages import Data
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.history import Continue, PresentLog, StartOver, plan
from tile38cm.replication.intake import Intake
from tile38cm.replication.local_log import start_over
from tile38cm.replication.log_feed import LogFeed
from tile38cm.replication.stream import Chunk, Kind
from tile38cm.tile38 import Tile38, Tile38Error
from tile38cm.wire.resp import encode_request

reactor: Any = the_reactor
SLACK = 5.0


def log_of(server: RealTile38) -> bytes:
    """The log file as it is."""
    return Path(server.directory, "appendonly.aof").read_bytes()


def points(first: int, count: int, key: str = "fleet") -> bytes:
    """So many writes of about 80 bytes, each of another object."""
    return b"".join(
        encode_request(
            [b"SET", key.encode(), b"truck%07d" % n, b"POINT", b"%d.%05d" % (n % 89, n % 9973), b"-112.12345"]
        )
        for n in range(first, first + count)
    )


def write(server: RealTile38, payload: bytes, count: int) -> None:
    """Send so many commands at once, and read their replies."""
    with server.connect(30.0) as client:
        client._socket.sendall(payload)
        for _ in range(count):
            client.read()


def asked(server: RealTile38, *words: str | int | float) -> Reply:
    """The reply to one command, an error as its text."""
    try:
        return server.command(*words)
    except ReplyError as error:
        return f"ERROR {error}"


async def until(probe: Callable[[], Awaitable[bool] | bool], what: str, timeout: float = 15.0) -> None:
    """Wait, with a bound, until a probe is true; errors of servers count as "not yet"."""
    end = reactor.seconds() + timeout
    while reactor.seconds() < end:
        try:
            found = probe()
            if found is True or (not isinstance(found, bool) and await found):
                return
        except (Tile38Error, ReplyError, OSError):
            pass
        await deferLater(reactor, 0.02)
    raise AssertionError(f"{what}: not within {timeout} s")


@define(eq=False)
class Fed:
    """A follower of ours; C{start} before anything else."""

    server: RealTile38
    local: Tile38
    intake: Intake
    backlog: Backlog
    epoch: int = 1
    feed: LogFeed | None = None
    lost: list[str] = field(factory=list)
    ended: list[str] = field(factory=list)

    def deliver(self, chunk: Chunk, end: int) -> None:
        """From the leader's log, as a sink of L{LogFeed}."""
        if chunk.kind is Kind.DATA:
            self.intake.take(Data(self.epoch, end, chunk.payload))
        else:
            self.intake.publish(chunk.payload)

    def decide(self, log_end: int, start: int = 0) -> Continue | StartOver:
        """What a leader whose only epoch is this one would answer."""
        records = {self.epoch: EpochRecord(self.epoch, "leader", self.epoch - 1, 0, start)}
        return plan(self.intake.position, records, PresentLog(self.epoch, log_end), self.backlog)

    async def follow(self, leader: Tile38) -> Continue | StartOver:
        """Look where this node stands, start over if need be, and follow; returns what was decided."""
        await self.intake.look()
        end = await leader.log_size()
        decision = self.decide(end)
        if isinstance(decision, StartOver):
            await self.intake.detach()
            await start_over(reactor, self.local)
            self.intake.know(Position(0, 0))
            again = self.decide(end)
            assert isinstance(again, Continue)
            begin, length = again, again.length(end)
        else:
            begin, length = decision, decision.length(end)
        self.intake.turn(begin.begin)
        await self.intake.attach(length)
        self.intake.mark()
        self.feed = LogFeed(leader, reactor, begin.log_from, _Sink(self))
        self.feed.start()
        return decision

    async def level(self, leader: Tile38) -> None:
        """Wait until all that the leader has was taken, and Tile38 says that it has caught up."""

        async def taken() -> bool:
            position = self.intake.position
            return position is not None and position.offset == await leader.log_size()

        await until(taken, "the leader's log taken")
        await Deferred.fromCoroutine(self.intake.caught_up()).addTimeout(15.0, reactor)

    def quiet(self) -> None:
        """The leader is gone."""
        if self.feed is not None:
            self.feed.stop()
            self.feed = None

    def objects(self) -> int:
        """How many there are."""
        return int(self.server.server()["num_objects"])


@define
class _Sink:
    fed: Fed

    def deliver(self, chunk: Chunk, end: int) -> None:
        self.fed.deliver(chunk, end)

    def ended(self, why: str, replaced: bool = False) -> None:
        self.fed.ended.append(why)


class Relay(Factory):
    """A way to a server that can be frozen, and cut."""

    noisy = False

    def __init__(self, server: RealTile38) -> None:
        self._server = server
        self._links: list[_RelayEnd] = []

    async def listen(self) -> None:
        """On a free port."""
        self._listening = reactor.listenTCP(0, self, interface=LOOPBACK)
        self.port = self._listening.getHost().port

    def buildProtocol(self, addr: Any) -> _RelayEnd:
        end = _RelayEnd()
        self._links.append(end)
        there = TCP4ClientEndpoint(reactor, LOOPBACK, self._server.port)
        connecting = connectProtocol(there, _RelayEnd(end))
        connecting.addErrback(lambda _: end.close())
        return end

    def freeze(self) -> None:
        """Pass nothing on that comes from the server."""
        for end in self._links:
            if end.other is not None:
                end.other.transport.pauseProducing()  # type: ignore[union-attr]  # connected

    def thaw(self) -> None:
        """Pass on what was held, and what comes."""
        for end in self._links:
            if end.other is not None and end.other.connected:
                end.other.transport.resumeProducing()  # type: ignore[union-attr]  # connected

    async def cut(self) -> None:
        """End all connections, and take no new ones."""
        for end in self._links:
            end.close()
            if end.other is not None:
                end.other.close()
        await maybeDeferred(self._listening.stopListening)


class _RelayEnd(Protocol):
    """One of two connections whose bytes are each other's."""

    def __init__(self, other: _RelayEnd | None = None) -> None:
        self.other = other
        self._early = b""

    def connectionMade(self) -> None:
        if self.other is not None:
            self.other.other = self
            self.pass_on(self.other._early)

    def dataReceived(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self.other.pass_on(data)

    def pass_on(self, data: bytes) -> None:
        """What the other end has received."""
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """End it at once."""
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]  # TCP has it

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.other is not None:
            self.other.close()


class FedCase(TestCase):
    """Starts servers and followers, and ends them."""

    timeout = 60

    def server(self, **how: Any) -> RealTile38:
        """A Tile38 of its own, which has loaded its log."""
        server = RealTile38(**how).start()
        self.addCleanup(server.stop)
        self.addCleanup(server.kill)  # quicker
        # PING is answered before that.
        wait_for(lambda: not str(asked(server, "ROLE")).startswith("ERROR LOADING"), "the log loaded")
        return server

    def client(self, server: RealTile38) -> Tile38:
        """Our client of it."""
        client = Tile38(reactor, TCP4ClientEndpoint(reactor, LOOPBACK, server.port))
        client.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(client.stop()))
        return client

    async def follower(self, server: RealTile38 | None = None, slack: float = SLACK) -> Fed:
        """Our parts in front of a Tile38, which follows nobody yet."""
        server = server or self.server()
        local, backlog = self.client(server), Backlog(64 * 1024 * 1024)
        bridge = TCP4ServerEndpoint(reactor, 0, interface=LOOPBACK)
        intake = Intake(reactor, bridge, local, backlog, "n1", slack)
        await intake.listen()
        fed = Fed(server, local, intake, backlog)
        intake.on_lost = fed.lost.append
        self.addCleanup(lambda: Deferred.fromCoroutine(intake.stop()))
        self.addCleanup(fed.quiet)
        return fed

    async def relay(self, server: RealTile38) -> Relay:
        """A way to a server."""
        relay = Relay(server)
        await relay.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(relay.cut()))
        return relay

    def plain(self, follower: RealTile38, leader: RealTile38) -> None:
        """Tile38's own C{FOLLOW}."""
        follower.command("FOLLOW", LOOPBACK, leader.port)

    async def plain_level(self, follower: RealTile38) -> None:
        """Until Tile38 says that it has caught up."""

        def caught_up() -> bool:
            return follower.server().get("caught_up") == "true"

        await until(caught_up, "caught up")


class TrapCase(FedCase):
    """About a trap of Tile38 itself, which the embedded node does not copy."""

    def setUp(self) -> None:
        require("tile38")
