"""Two ends joined through memory, with TLS between them."""

from __future__ import annotations

import contextlib

from attrs import define, field
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump, connect
from zope.interface import implementer

from tests.certificates import DATACENTER, TRUST_DOMAIN, Authority, Issued, spiffe
from tile38cm.tls.identity import MeshIdentities
from tile38cm.tls.keyring import Credentials, Keyring
from tile38cm.tls.material import Material

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


class Recorder(Protocol):
    """Remembers what it sees."""

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

    def buildProtocol(self, addr: object) -> Recorder:
        self.made.append(Recorder())
        return self.made[-1]


class Pipe(FakeTransport):  # type: ignore[misc]  # untyped
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

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        server = self.server_factory.buildProtocol(None)  # type: ignore[arg-type]  # no address in memory
        client = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]  # no address in memory
        assert server is not None and client is not None
        self.pipes.append(Pipe(server, isServer=True))
        far = Pipe(client, isServer=False)
        self.pumps.append(connect(server, self.pipes[-1], client, far, greet=False, clock=self.clock))
        return succeed(client)

    def flush(self) -> None:
        """Move all bytes that want to move."""
        for pump in self.pumps:
            pump.flush()


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
