"""The proxies' partners in memory, and a bench that joins a client, a side and servers by their bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tile38cm.proxy.beside import Beside
from tile38cm.proxy.client import Client
from tile38cm.proxy.express import take
from tile38cm.proxy.limits import HoldBudget, Limits
from tile38cm.proxy.listener import Listener
from tile38cm.proxy.partners import Wire, Word
from tile38cm.proxy.session import Login
from tile38cm.proxy.sides import Reader, Side, Writer
from tile38cm.settings import Secret
from tile38cm.wire.requests import Request, RequestParser
from tile38cm.wire.resp import encode_request

OK = b"+OK\r\n"
ASK = [b"ROLE"]
SET = "SET k i POINT 1 2"
DEL = "DEL k i"
GET = "GET k i"


def words(text: str) -> list[bytes]:
    """A request as the server sees it."""
    return text.encode().split()


@define(eq=False)
class Changing:
    """What is listened to, and can be told to say something else."""

    callbacks: list[Callable[[], None]] = field(factory=list, kw_only=True)
    clock: Clock = field(factory=Clock, kw_only=True)

    def subscribe(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def unsubscribe(self, callback: Callable[[], None]) -> None:
        self.callbacks.remove(callback)

    def change(self, **what: object) -> None:
        """Say something else, and tell whoever listens."""
        for name, value in what.items():
            setattr(self, name, value)
        for callback in list(self.callbacks):
            callback()
        self.clock.advance(0)


@define(eq=False)
class FakeGate(Changing):
    """A gate that says what it is told to say."""

    opened: bool = True
    epoch: int = 1
    offset: int = 1 << 60
    members: bool = True
    least: int = 0
    told_waiting: int = 0
    told_released: list[int] = field(factory=list)

    def is_open(self) -> bool:
        return self.opened

    def word(self) -> Word:
        return Word(self.opened, self.epoch, self.offset, self.members, self.least)

    def released(self, offset: int) -> None:
        self.told_released.append(offset)

    def waiting(self) -> None:
        self.told_waiting += 1


class MemoryTransport(StringTransport):
    """A transport whose cut is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


class Connected:
    """The server's end of one connection that a proxy made."""

    def __init__(self, protocol: Protocol, clock: Clock) -> None:
        self.protocol = protocol
        self.clock = clock
        self.transport = MemoryTransport()
        self._requests = RequestParser(1 << 30)

    def requests(self) -> list[list[bytes]]:
        """The requests that came since the last call."""
        self._requests.feed(self.transport.value())
        self.transport.clear()
        found = []
        while isinstance(event := self._requests.next(), Request):
            found.append(event.args)
        return found

    def reply(self, data: bytes) -> None:
        """Send bytes to the proxy."""
        self.protocol.dataReceived(data)
        self.clock.advance(0)

    def lose(self) -> None:
        """The connection breaks."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


@define(eq=False)
class FakeTarget:
    """A server; equal only to itself."""

    local: bool = True
    epoch: int = 1
    #: A connection never comes about.
    slow: bool = False
    refusing: bool = False
    #: What a local server says when asked for its role at first; C{None}: the test answers.
    first_role: bytes | None = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
    connections: list[Connected] = field(factory=list)
    attempts: int = 0
    clock: Clock = field(factory=Clock)

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        self.attempts += 1
        if self.refusing:
            failed: Deferred[IProtocol] = Deferred()
            failed.errback(ConnectionRefusedError("refused"))
            return failed
        if self.slow:
            return Deferred()
        return succeed(self._build(factory))

    @property
    def last(self) -> Connected:
        """The newest connection."""
        return self.connections[-1]

    def _build(self, factory: IProtocolFactory) -> IProtocol:
        protocol = cast(Protocol, factory.buildProtocol(None))  # type: ignore[arg-type]  # nobody looks at it
        connected = Connected(protocol, self.clock)
        self.connections.append(connected)
        protocol.makeConnection(connected.transport)
        if self.local and self.first_role is not None:
            asked = connected.requests()
            assert [b"ROLE"] in asked
            connected.reply(self.first_role)
            if [b"OUTPUT", b"json"] in asked:
                connected.reply(b'$11\r\n{"ok":true}\r\n')
        return protocol


@define(eq=False)
class FakeRoutes(Changing):
    """Routes that are what they are told to be."""

    leader: FakeTarget | None = None
    ready: list[FakeTarget] = field(factory=list)

    def writer(self) -> FakeTarget | None:
        return self.leader

    def readers(self) -> Sequence[FakeTarget]:
        return list(self.ready)


class FakeOwn:
    """A manager that knows what it is told to know."""

    def __init__(self) -> None:
        self.known: dict[str, str | int] = {"role": "follower", "epoch": 7}
        self.why: str | None = None

    def facts(self) -> dict[str, str | int]:
        return self.known

    def trouble(self) -> str | None:
        return self.why


class FakePrivate:
    """Keeps the bytes of the connections it is given."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str | None, bytes]] = []
        self.protocols: list[Keeper] = []

    def accept(self, transport: Wire, identity: str | None, data: bytes) -> IProtocol:
        self.accepted.append((identity, data))
        self.protocols.append(Keeper())
        return self.protocols[-1]


class Keeper(Protocol):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.lost = True


class Caller:
    """A client at its end of the connection."""

    def __init__(self, protocol: Client, clock: Clock) -> None:
        self.protocol = protocol
        self.clock = clock
        self.transport = MemoryTransport()
        protocol.makeConnection(self.transport)

    def send(self, *requests: str) -> None:
        """Send requests, words parted by spaces, in one packet."""
        self.raw(b"".join(encode_request(request.encode().split()) for request in requests))

    def raw(self, data: bytes) -> None:
        """Send bytes, all that comes in one turn of the reactor."""
        take(iter([(self.protocol.line, data)]))
        self.clock.advance(0)

    def got(self) -> bytes:
        """What came since the last call."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def lose(self) -> None:
        """The connection breaks."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Bench:
    """One listener with partners in memory; started."""

    def __init__(
        self,
        reader: bool = False,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        hold_bytes: int = 1 << 20,
        login: Login = Login(),  # noqa: B008  # frozen
        password: Secret | None = None,
        forward: bool = False,
    ) -> None:
        self.clock = Clock()
        self.gate = FakeGate(clock=self.clock)
        self.here = FakeTarget(clock=self.clock)
        self.routes = FakeRoutes(leader=self.here, ready=[self.here], clock=self.clock)
        self.private = FakePrivate()
        self.budget = HoldBudget(hold_bytes)
        self.side: Side
        common = (self.routes, self.clock, limits, self.budget)
        if reader:
            leader = Writer(*common, gate=self.gate, password=password) if forward else None
            if leader is not None:
                leader.start()
            self.side = Reader(*common, password=password, forward=leader)
        else:
            self.side = Writer(*common, gate=self.gate, password=password)
        self.own = FakeOwn()
        self.beside = FakeTarget(clock=self.clock)
        beside = Beside(*common, password=password, target=self.beside, own=self.own)
        self.listener = Listener(
            self.side, login, self.private, identify=lambda transport: "somebody", beside=beside
        )
        self.listener.start()

    @property
    def writer(self) -> Writer:
        """The side, if it is W."""
        assert isinstance(self.side, Writer)
        return self.side

    def caller(self) -> Caller:
        """A new client."""
        client = self.listener.buildProtocol(None)
        assert client is not None
        return Caller(client, self.clock)

    def peer(self) -> Caller:
        """A new client that is another node."""
        transport = MemoryTransport()
        protocol = self.listener.serve_peer(transport)
        assert isinstance(protocol, Client)
        caller = Caller.__new__(Caller)
        caller.protocol, caller.transport, caller.clock = protocol, transport, self.clock
        return caller


def role(offset: int) -> bytes:
    """A leader's answer to C{ROLE}."""
    return b"*3\r\n$6\r\nmaster\r\n:%d\r\n*0\r\n" % offset
