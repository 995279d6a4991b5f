"""Mutual TLS with a real Consul's certificates and intentions, and a client of the standard library."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.certificates import key_pem, new_key
from tests.real import LOOPBACK
from tests.real_consul import RealConsul
from tile38cm.coordination.consul import consul_client
from tile38cm.coordination.watch import Watch
from tile38cm.settings import Address, ConsulSettings, Settings
from tile38cm.tls import Mesh, PlainMesh, mesh_for
from tile38cm.tls.identity import WrongPeer

reactor: Any = global_reactor
#: Seconds for a socket of the client.
PATIENCE = 5.0
#: Seconds for something that must come by itself.
SOON = 10.0
WEB = "web"


class Echo(Protocol):
    """Sends back what comes, and tells its factory who it was."""

    transport: ITransport

    def __init__(self, room: Room) -> None:
        self._room = room

    def connectionMade(self) -> None:
        self._room.present.append(self)
        self._room.seen.append(self._room.mesh.peer_service(self.transport))

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._room.present.remove(self)
        if not self._room.present and self._room.empty is not None:
            self._room.empty.callback(None)


class Room(Factory):
    """Makes echoes and remembers who came in."""

    def __init__(self, mesh: Mesh | PlainMesh) -> None:
        self.mesh = mesh
        self.seen: list[str | None] = []
        self.present: list[Echo] = []
        self.empty: Deferred[None] | None = None

    def buildProtocol(self, addr: object) -> Echo:
        return Echo(self)

    async def clear(self) -> None:
        """Close all connections and return when they are gone."""
        if self.present:
            self.empty = Deferred()
            for each in list(self.present):
                each.transport.abortConnection()  # type: ignore[attr-defined]  # TCP has it
            await self.empty


class Answer(Protocol):
    """A client that says something at once and keeps the answer."""

    transport: ITransport

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.answer.callback(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


class TlsTests(TestCase):
    """A node's mesh on a real Consul agent."""

    timeout = 90

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.consul = RealConsul().start()
        self.addCleanup(self.consul.stop)
        client = consul_client(reactor, ConsulSettings(address=Address(LOOPBACK, self.consul.port)))
        self.addCleanup(lambda: Deferred.fromCoroutine(client.close()))
        address = Address(LOOPBACK, 0)
        self.settings = Settings("a", LOOPBACK, address, address, address)
        self.mesh = mesh_for(self.settings, reactor, client, Watch)
        self.mesh.startService()
        self.addCleanup(lambda: maybeDeferred(self.mesh.stopService))
        await Deferred.fromCoroutine(self.mesh.ready()).addTimeout(SOON, reactor)
        self.room = Room(self.mesh)
        self.port = await self.listen(self.settings.writer_service)

    async def listen(self, service: str) -> int:
        """Listen for a service; its port."""
        factory = self.mesh.listener_factory(self.room, service)
        port: IListeningPort = await TCP4ServerEndpoint(reactor, 0, interface=LOOPBACK).listen(factory)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.room.clear()))
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        return int(port.getHost().port)  # type: ignore[attr-defined]  # an IPv4Address

    def context(self, service: str | None) -> ssl.SSLContext:
        """A client's context with the leaf that Consul has now, or without any."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        roots = self.consul.request("GET", "/v1/agent/connect/ca/roots")["Roots"]
        context.load_verify_locations(cadata="".join(root["RootCert"] for root in roots))
        if service is not None:
            leaf = self.consul.request("GET", f"/v1/agent/connect/ca/leaf/{service}")
            path = Path(self.mktemp())
            path.write_text(leaf["CertPEM"] + leaf["PrivateKeyPEM"])
            context.load_cert_chain(path)
        return context

    async def connect(self, context: ssl.SSLContext, port: int | None = None) -> ssl.SSLSocket:
        """A client's connection after its own half of the handshake."""

        def blocking() -> ssl.SSLSocket:
            plain = socket.create_connection((LOOPBACK, port or self.port), PATIENCE)
            return context.wrap_socket(plain)

        connection = await deferToThread(blocking)
        self.addCleanup(connection.close)
        return connection

    async def say(self, connection: socket.socket, data: bytes = b"hello") -> bytes:
        """Send something and read what comes back; nothing: the connection was cut off."""

        def blocking() -> bytes:
            try:
                connection.sendall(data)
                return connection.recv(100)
            except (ConnectionError, ssl.SSLError):
                return b""

        return await deferToThread(blocking)

    async def visit(self, context: ssl.SSLContext, port: int | None = None) -> bytes:
        """What a new connection gets back."""
        return await self.say(await self.connect(context, port))

    async def test_service_of_the_mesh(self) -> None:
        """A client with a leaf of the mesh is served; its service is known."""
        self.assertEqual(await self.visit(self.context(WEB)), b"hello")
        self.assertEqual(self.room.seen, [WEB])

    async def test_our_certificate(self) -> None:
        """Each listener shows its own service's URI, in a chain that the mesh's roots verify."""
        reader = await self.listen(self.settings.reader_service)
        for port, service in ((self.port, "tile38-writer"), (reader, "tile38-reader")):
            shown = (await self.connect(self.context(WEB), port)).getpeercert()
            assert shown is not None
            ((kind, uri),) = cast(tuple[tuple[str, str]], shown["subjectAltName"])
            self.assertEqual((kind, uri.rsplit("/", 1)[1]), ("URI", service))

    async def test_no_plain_byte(self) -> None:
        """Without TLS, or without a certificate, nobody is heard."""
        plain = socket.create_connection((LOOPBACK, self.port), PATIENCE)
        self.addCleanup(plain.close)
        answer = await self.say(plain, b"*1\r\n$4\r\nPING\r\n")
        self.assertNotIn(b"PING", answer)
        self.assertEqual(await self.visit(self.context(None)), b"")
        self.assertEqual(self.room.seen, [])

    async def test_peers(self) -> None:
        """A node calls another as the writer service, and speaks only with the service that it wanted."""
        plain = TCP4ClientEndpoint(reactor, LOOPBACK, self.port)
        good = await self.mesh.endpoint(plain, "tile38-writer").connect(Factory.forProtocol(Answer))
        assert isinstance(good, Answer)
        self.assertEqual(await good.answer, b"hello")
        good.transport.loseConnection()
        await good.gone
        with self.assertRaises(WrongPeer):
            await self.mesh.endpoint(plain, "tile38-reader").connect(Factory.forProtocol(Answer))
        self.assertEqual(self.room.seen[0], "tile38-writer")

    async def test_rotation(self) -> None:
        """After a rotation an open connection goes on, and old and new leaves are served at once."""
        old = self.context(WEB)
        kept = await self.connect(old)
        self.assertEqual(await self.say(kept), b"hello")
        before = kept.getpeercert(binary_form=True)
        rotation = {"Provider": "consul", "Config": {"PrivateKey": key_pem(new_key()), "RootCert": ""}}
        self.consul.request("PUT", "/v1/connect/ca/configuration", rotation)
        self.assertEqual(await self.visit(old), b"hello")
        await deferLater(reactor, 1.0)
        after = (await self.connect(self.context(WEB))).getpeercert(binary_form=True)
        assert before is not None and after is not None
        renewed, first = (x509.load_der_x509_certificate(shown) for shown in (after, before))
        self.assertNotEqual(renewed.issuer, first.issuer)
        for context in (old, self.context(WEB)):
            self.assertEqual(await self.visit(context), b"hello")
        self.assertEqual(await self.say(kept, b"still here"), b"still here")

    async def test_intentions(self) -> None:
        """Whom an intention denies is cut off unheard; a change counts soon, each service for itself."""
        path = "/v1/connect/intentions/exact?source=web&destination=tile38-writer"
        reader = await self.listen(self.settings.reader_service)
        context = self.context(WEB)
        self.consul.request("PUT", path, {"SourceType": "consul", "Action": "deny"})
        self.assertEqual(await self.visit(context), b"")
        self.assertEqual(self.room.seen, [])
        self.assertEqual(await self.visit(context, reader), b"hello")
        self.consul.request("PUT", path, {"SourceType": "consul", "Action": "allow"})
        await deferLater(reactor, 1.1)
        self.assertEqual(await self.visit(context), b"hello")

    async def test_agent_away(self) -> None:
        """While the agent is away, who was let in lately is let in again, and new ones are not."""
        known, unknown = self.context(WEB), self.context("other")
        self.assertEqual(await self.visit(known), b"hello")
        self.consul.kill()
        self.assertEqual(await self.visit(unknown), b"")
        await deferLater(reactor, 5.1)
        self.assertEqual(await self.visit(known), b"hello")
        self.assertEqual(self.room.seen, [WEB, WEB])

    async def test_another_consul(self) -> None:
        """When Consul begins anew with another trust domain, that becomes ours without a restart."""
        old = self.context(WEB)
        self.consul.kill()
        await deferToThread(self.consul.start)
        for _ in range(round(SOON / 0.1)):
            try:
                if await self.visit(self.context(WEB)) == b"hello":
                    break
            except ssl.SSLError:
                pass
            await deferLater(reactor, 0.1)
        self.assertEqual(self.room.seen, [WEB])
        self.assertEqual(await self.visit(self.unverified(old)), b"")

    def unverified(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """The context made to take any server."""
        context.verify_mode = ssl.CERT_NONE
        return context
