"""Two ends joined through memory, with TLS between them."""

from __future__ import annotations

import contextlib
from typing import Generic, TypeVar, cast

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.certificates import DATACENTER, TRUST_DOMAIN, Authority, Issued, spiffe
from tile38cm.coordination.consul_values import Unclear
from tile38cm.settings import Secret
from tile38cm.tls.identity import MeshIdentities
from tile38cm.tls.keyring import Credentials, Keyring
from tile38cm.tls.material import Material

T = TypeVar("T")

WRITER, READER, WEB = "tile38-writer", "tile38-reader", "web"


def credentials(authority: Authority, issued: Issued, *roots: Authority) -> Credentials:
    """Credentials of the mesh that trust C{roots}, or else the issuer's root."""
    pems = [root.root_pem for root in roots or (authority,)]
    material = Material.parse(issued.chain_pem, issued.key_pem, pems)
    return Credentials.of(material, MeshIdentities(TRUST_DOMAIN, DATACENTER))


def service_credentials(authority: Authority, service: str, *roots: Authority) -> Credentials:
    """Credentials of a service of the mesh."""
    return credentials(authority, authority.issue([spiffe(service)]), *roots)


def keyring(authority: Authority) -> Keyring:
    """A node's complete keyring."""
    ring = Keyring((WRITER, READER))
    for service in ring.services:
        ring.put(service, service_credentials(authority, service))
    return ring


def log_of(case: SynchronousTestCase) -> list[LogEvent]:
    """All that is logged until the test ends."""
    events: list[LogEvent] = []
    observer: ILogObserver = cast(ILogObserver, events.append)
    globalLogPublisher.addObserver(observer)
    case.addCleanup(globalLogPublisher.removeObserver, observer)
    return events


class Recorder(Protocol):
    """Remembers what it sees."""

    transport: ITransport

    def __init__(self) -> None:
        self.data = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Recorders(Factory):
    """Makes recorders and keeps them."""

    def __init__(self) -> None:
        self.made: list[Recorder] = []
        self.full = False

    def buildProtocol(self, addr: object) -> Recorder | None:
        if self.full:
            return None
        self.made.append(Recorder())
        return self.made[-1]


class Pipe(FakeTransport):
    """A transport in memory that tells whether it was paused or aborted."""

    paused = False
    aborted = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


@implementer(IStreamClientEndpoint)
@define
class Memory:
    """An endpoint that leads to a server's factory; C{flush} moves the bytes."""

    server_factory: IProtocolFactory
    clock: Clock
    pumps: list[IOPump] = field(factory=list)
    pipes: list[Pipe] = field(factory=list)

    def connect(self, protocol_factory: IProtocolFactory) -> Deferred[IProtocol]:
        server = self.server_factory.buildProtocol(None)  # type: ignore[arg-type]  # no address in memory
        client = protocol_factory.buildProtocol(None)  # type: ignore[arg-type]  # no address in memory
        assert server is not None and client is not None
        self.pipes.append(Pipe(server, isServer=True))
        far = Pipe(client, isServer=False)
        self.pumps.append(connect(server, self.pipes[-1], client, far, greet=False, clock=self.clock))
        return succeed(client)

    def flush(self) -> None:
        """Move all bytes that want to move."""
        for pump in self.pumps:
            pump.flush()


@frozen
class Said:
    """An intention's answer."""

    authorized: bool
    reason: str = "because"


@frozen
class At(Generic[T]):
    """A value with its index."""

    value: T
    index: int


@frozen
class GivenRoots:
    """What the Connect CA tells of its roots."""

    trust_domain: str
    pems: tuple[str, ...]


@frozen
class GivenLeaf:
    """What the Connect CA issues to a service."""

    uri: str
    cert_pem: str
    key_pem: Secret


class Agent:
    """A Consul agent in memory, as much as is asked of one here.

    C{busy}: somebody else's blocking query for leaves is under way, so that
    they come from the cache even after a rotation.
    """

    def __init__(self, root: Authority) -> None:
        self.roots = [root]
        self.issuer = root
        self.index = 1
        self.away = False
        self.busy = False
        self.leaves: dict[str, GivenLeaf] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.answers: list[Deferred[Said]] = []
        self._blocked: list[Deferred[None]] = []

    def rotate(self, root: Authority) -> None:
        """Issue from a new root; the old ones stay trusted."""
        self.roots.append(root)
        self.issuer = root
        if not self.busy:
            self.leaves.clear()
        self.wake()

    def renew(self) -> None:
        """Issue each service a new leaf."""
        self.leaves.clear()

    def wake(self) -> None:
        """Let blocked queries answer."""
        self.index += 1
        blocked, self._blocked = self._blocked, []
        for waiting in blocked:
            waiting.callback(None)

    def issue(self, service: str, days: tuple[float, float] = (-0.01, 3)) -> GivenLeaf:
        """A new leaf."""
        issued = self.issuer.issue([spiffe(service)], days=days)
        return GivenLeaf(spiffe(service), issued.chain_pem, Secret(issued.key_pem))

    async def connect_roots(self, *, index: int = 0, wait: float = 0.0) -> At[GivenRoots]:
        if index >= self.index and not self.away:
            blocked: Deferred[None] = Deferred()
            self._blocked.append(blocked)
            await blocked
        if self.away:
            raise Unclear("away")
        return At(GivenRoots(TRUST_DOMAIN, tuple(root.root_pem for root in self.roots)), self.index)

    async def connect_leaf(self, service: str) -> At[GivenLeaf]:
        if self.away:
            raise Unclear("away")
        if service not in self.leaves:
            self.leaves[service] = self.issue(service)
        return At(self.leaves[service], self.index)

    async def authorize(self, target: str, uri: str, serial: str) -> Said:
        self.asked.append((target, uri, serial))
        answer: Deferred[Said] = Deferred()
        self.answers.append(answer)
        return await answer

    def say(self, authorized: bool, reason: str = "because") -> None:
        """Answer the oldest open question about an intention."""
        self.answers.pop(0).callback(Said(authorized, reason))

    def fail(self) -> None:
        """Let the oldest open question fail."""
        self.answers.pop(0).errback(Unclear("away"))


def handshake(server: SSL.Context, client: SSL.Context) -> tuple[SSL.Connection, SSL.Connection]:
    """Two connections after their handshake, without Twisted.

    @raise SSL.Error: one of them did not want the other.
    """
    near, far = SSL.Connection(server, None), SSL.Connection(client, None)
    near.set_accept_state()
    far.set_connect_state()
    for _ in range(4):
        for one, other in ((far, near), (near, far)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(1 << 16))
    return near, far
