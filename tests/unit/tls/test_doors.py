"""Tests of listeners and endpoints with mutual TLS, through memory."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.test.iosim import IOPump, connect
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.certificates import Authority, spiffe
from tests.unit.tls.support import (
    READER,
    WEB,
    WRITER,
    Agent,
    Memory,
    Pipe,
    Recorder,
    Recorders,
    credentials,
    keyring,
    log_of,
    service_credentials,
)
from tile38cm.tls.doors import CALL_TIMEOUT, REFUSED_EVERY, MutualEndpoint, NoCredentials
from tile38cm.tls.entrance import HELD_BYTES
from tile38cm.tls.identity import WrongPeer
from tile38cm.tls.intentions import Intentions
from tile38cm.tls.keyring import Credentials, Keyring
from tile38cm.tls.mesh import Mesh
from tile38cm.tls.transport import MutualTLS

ROOT = Authority()
NEW_ROOT = ROOT.successor("new")
KEYRING = keyring(ROOT)
#: Seconds that a client has here.
PATIENCE = 7.0
WEB_CREDENTIALS = service_credentials(ROOT, WEB)


class Case(SynchronousTestCase):
    """A node's listener of W in memory, and clients with credentials of all kinds."""

    intentions: Intentions | None = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.agent = Agent(ROOT)
        self.keyring = Keyring((WRITER, READER))
        for service in self.keyring.services:
            current = KEYRING.current(service)
            assert current is not None
            self.keyring.put(service, current)
        self.mesh = self.make_mesh()
        self.served, self.called = Recorders(), Recorders()
        self.listener = self.mesh.listener_factory(self.served, WRITER)
        self.memory = Memory(self.listener, self.clock)
        self.events = log_of(self)

    def make_mesh(self) -> Mesh:
        return Mesh(self.keyring, WRITER, self.clock, None, PATIENCE)

    def call(self, own: Credentials | None = WEB_CREDENTIALS, service: str = WRITER) -> Deferred[IProtocol]:
        """Connect to the listener with these credentials, and let the bytes flow."""
        result = MutualEndpoint(self.memory, lambda: own, service, self.clock).connect(self.called)
        self.memory.flush()
        return result

    def refusals(self) -> list[str]:
        """What was logged of refused clients."""
        return [str(e["why"]) for e in self.events if "was refused" in str(e.get("log_format"))]

    def assert_stranger(self, own: Credentials, why: str) -> None:
        """The client's handshake may seem to succeed, but it costs no protocol and is cut off."""
        _ = self.call(own).addErrback(lambda _: None)
        self.assertEqual(self.served.made, [])
        self.assertTrue(self.memory.pipes[-1].disconnected)
        self.assertIn(why, self.refusals()[-1])
        self.clock.advance(REFUSED_EVERY)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ListenerTests(Case):
    """Whom a listener lets in."""

    def test_good(self) -> None:
        """A service of the mesh gets its protocol; bytes go both ways; its name is known."""
        ours = self.successResultOf(self.call())
        assert isinstance(ours, Recorder)
        (served,) = self.served.made
        self.assertEqual(self.mesh.peer_service(served.transport), WEB)
        self.assertEqual(self.mesh.peer_service(ours.transport), WRITER)
        ours.transport.write(b"ping")
        self.memory.flush()
        served.transport.write(b"pong")
        self.memory.flush()
        self.assertEqual((served.data, ours.data), (b"ping", b"pong"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_entrance_is_gone(self) -> None:
        """Afterwards the protocol stands directly behind TLS."""
        _ = self.call()
        (served,) = self.served.made
        assert isinstance(served.transport, MutualTLS)
        self.assertIs(served.transport.wrappedProtocol, served)

    def test_close(self) -> None:
        """The protocols learn when the other side closes."""
        ours = self.successResultOf(self.call())
        assert isinstance(ours, Recorder)
        ours.transport.loseConnection()
        self.memory.flush()
        (served,) = self.served.made
        assert served.lost is not None and ours.lost is not None
        served.lost.trap(ConnectionDone)

    def test_first_bytes(self) -> None:
        """What the client sends together with the end of its handshake arrives."""

        class Eager(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"at once")

        endpoint = MutualEndpoint(self.memory, lambda: WEB_CREDENTIALS, WRITER, self.clock)
        result = endpoint.connect(Factory.forProtocol(Eager))
        self.memory.flush()
        self.successResultOf(result)
        self.assertEqual(self.served.made[0].data, b"at once")

    def test_strangers(self) -> None:
        """Unknown root, other trust domain or datacenter, two names, an ended one: nobody comes in."""
        stranger = Authority("stranger")
        foreign = credentials(stranger, stranger.issue([spiffe(WEB)]), ROOT)
        self.assert_stranger(foreign, "certificate verify failed")
        for uris, why in (
            ([spiffe(WEB, trust_domain="evil.consul")], "not " + spiffe("*")),
            ([spiffe(WEB, datacenter="dc2")], "not " + spiffe("*")),
            ([spiffe(WEB), spiffe(WRITER)], "2 URI names"),
            ([], "0 URI names"),
            (["https://web"], "no identity of a service"),
        ):
            self.assert_stranger(credentials(ROOT, ROOT.issue(uris)), why)
        ended = credentials(ROOT, ROOT.issue([spiffe(WEB)], days=(-2, -1)))
        self.assert_stranger(ended, "certificate verify failed")

    def plain_client(self, data: bytes) -> IOPump:
        """A client that speaks without TLS, and then waits."""
        server = self.listener.buildProtocol(None)  # type: ignore[arg-type]  # no address in memory
        assert server is not None
        client = Recorder()
        pipe, far = Pipe(server, isServer=True), Pipe(client, isServer=False)
        pump: IOPump = connect(server, pipe, client, far, clock=self.clock)
        far.write(data)
        pump.flush()
        return pump

    def test_plain_bytes(self) -> None:
        """Whoever speaks without TLS is cut off and never heard."""
        pump = self.plain_client(b"*1\r\n$4\r\nPING\r\n")
        self.assertTrue(pump.serverIO.disconnected)
        self.assertEqual(self.served.made, [])
        self.assertEqual(len(self.refusals()), 1)

    def test_silence(self) -> None:
        """Whoever says nothing is cut off after ten seconds."""
        pump = self.plain_client(b"")
        self.clock.advance(PATIENCE - 0.1)
        self.assertFalse(pump.serverIO.aborted)
        self.clock.advance(0.1)
        self.assertTrue(pump.serverIO.aborted)
        pump.flush()
        self.assertEqual(self.refusals(), [f"no handshake within {PATIENCE:g} s"])

    def test_health_check(self) -> None:
        """A client that connects and goes, as a health check by TCP does, is not worth a line."""
        pump = self.plain_client(b"")
        pump.clientIO.loseConnection()
        pump.flush()
        self.assertEqual((self.refusals(), self.clock.getDelayedCalls()), ([], []))

    def test_log_is_bounded(self) -> None:
        """Many refused clients give one line, and the next one tells how many there were."""
        for _ in range(5):
            self.plain_client(b"nonsense\r\n")
        self.assertEqual(len(self.refusals()), 1)
        self.clock.advance(REFUSED_EVERY)
        self.plain_client(b"nonsense\r\n")
        self.assertEqual([e["more"] for e in self.events if "was refused" in str(e["log_format"])], [0, 4])

    def test_full(self) -> None:
        """A factory that has no protocol for the client ends the connection."""
        self.served.full = True
        _ = self.call().addErrback(lambda _: None)
        self.assertTrue(self.memory.pipes[-1].disconnected)

    def test_before_credentials(self) -> None:
        """Before there is a certificate, connections are closed at once."""
        listener = Mesh(Keyring((WRITER,)), WRITER, self.clock, None, PATIENCE).listener_factory(
            self.served, WRITER
        )
        self.assertIsNone(listener.buildProtocol(None))  # type: ignore[arg-type]  # no address in memory

    def test_renewal(self) -> None:
        """New handshakes see the new certificate, a connection from before goes on."""
        before = self.successResultOf(self.call())
        assert isinstance(before, Recorder)
        renewed = service_credentials(NEW_ROOT, WRITER, ROOT, NEW_ROOT)
        self.keyring.put(WRITER, renewed)
        after = self.successResultOf(self.call(service_credentials(NEW_ROOT, WEB, ROOT, NEW_ROOT)))
        assert isinstance(after, Recorder) and isinstance(after.transport, MutualTLS)
        seen = after.transport.getHandle().get_peer_certificate(as_cryptography=True)
        self.assertEqual(seen, renewed.material.own)
        self.successResultOf(self.call())
        before.transport.write(b"still here")
        self.memory.flush()
        self.assertEqual(self.served.made[0].data, b"still here")

    def test_listening_ends(self) -> None:
        """When the port closes, unfinished handshakes end and open connections stay."""
        _ = self.call()
        pump = self.plain_client(b"")
        self.listener.doStart()
        self.listener.doStop()
        pump.flush()
        self.memory.flush()
        self.assertTrue(pump.serverIO.aborted)
        self.assertIsNone(self.served.made[0].lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class EndpointTests(Case):
    """Whom our own calls accept."""

    def test_interface(self) -> None:
        """It is an endpoint."""
        endpoint = self.mesh.endpoint(self.memory, WRITER)
        verifyObject(IStreamClientEndpoint, endpoint)

    def test_shows_the_writer(self) -> None:
        """Our calls are made as the writer service."""
        result = self.mesh.endpoint(self.memory, WRITER).connect(self.called)
        self.memory.flush()
        self.successResultOf(result)
        self.assertEqual(self.mesh.peer_service(self.served.made[0].transport), WRITER)

    def test_other_service(self) -> None:
        """A peer that is another service than wanted is not spoken to."""
        self.failureResultOf(self.call(service=READER), WrongPeer)
        self.assertEqual(self.called.made, [])
        self.memory.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unknown_root(self) -> None:
        """A peer whose root is unknown is not spoken to."""
        narrow = service_credentials(ROOT, WEB, Authority("another"))
        self.failureResultOf(self.call(narrow), SSL.Error)
        self.assertEqual(self.called.made, [])

    def test_no_credentials(self) -> None:
        """Without a certificate of our own nothing is tried."""
        self.failureResultOf(self.call(None), NoCredentials)
        self.assertEqual(self.memory.pipes, [])

    def test_silent_peer(self) -> None:
        """A peer that does not finish its handshake is given up after ten seconds."""
        silent = Memory(Recorders(), self.clock)
        result = MutualEndpoint(silent, lambda: WEB_CREDENTIALS, WRITER, self.clock).connect(self.called)
        silent.flush()
        self.assertNoResult(result)
        self.clock.advance(CALL_TIMEOUT)
        silent.flush()
        self.failureResultOf(result, WrongPeer)

    def test_cancelled_in_handshake(self) -> None:
        """Cancelling ends a connection whose handshake is under way."""
        silent = Memory(Recorders(), self.clock)
        result = MutualEndpoint(silent, lambda: WEB_CREDENTIALS, WRITER, self.clock).connect(self.called)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        silent.flush()
        self.assertTrue(silent.pipes[0].disconnected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled_before(self) -> None:
        """Cancelling ends an attempt to connect."""
        attempt: Deferred[IProtocol] = Deferred()

        class Slow(Memory):
            def connect(self, protocol_factory: object) -> Deferred[IProtocol]:
                return attempt

        slow = Slow(self.listener, self.clock)
        result = MutualEndpoint(slow, lambda: WEB_CREDENTIALS, WRITER, self.clock).connect(self.called)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(attempt.called)


class IntentionTests(Case):
    """The entrance while an intention is asked for."""

    def make_mesh(self) -> Mesh:
        return Mesh(self.keyring, WRITER, self.clock, Intentions(self.agent, self.clock), PATIENCE)

    def waiting(self, data: bytes) -> Recorder:
        """A client that has sent this and is waiting to be let in."""
        ours = self.successResultOf(self.call())
        assert isinstance(ours, Recorder)
        ours.transport.write(data)
        self.memory.flush()
        return ours

    def test_asked_first(self) -> None:
        """No protocol is made before the answer; what was sent meanwhile is then delivered, in order."""
        ours = self.waiting(b"before ")
        self.assertEqual([asked[:2] for asked in self.agent.asked], [(WRITER, spiffe(WEB))])
        self.assertEqual(self.served.made, [])
        self.assertTrue(self.memory.pipes[-1].paused)
        self.agent.say(True)
        self.assertFalse(self.memory.pipes[-1].paused)
        ours.transport.write(b"after")
        self.memory.flush()
        self.assertEqual(self.served.made[0].data, b"before after")

    def test_denied(self) -> None:
        """A client that no intention lets in is cut off, with Consul's reason in the log."""
        ours = self.waiting(b"hello")
        self.agent.say(False, "Matched L4 intention")
        self.memory.flush()
        self.assertEqual(self.served.made, [])
        self.assertIsNotNone(ours.lost)
        self.assertEqual(self.refusals(), [f"{spiffe(WEB)} is not let in: Matched L4 intention"])

    def test_remembered(self) -> None:
        """The next connection is let in without asking, in the turn of its handshake."""
        self.waiting(b"")
        self.agent.say(True)
        self.successResultOf(self.call())
        self.assertEqual((len(self.served.made), len(self.agent.asked)), (2, 1))

    def test_foreign_is_not_asked_for(self) -> None:
        """Consul looks at the service's name alone, so that a foreign identity must not get that far."""
        self.assert_stranger(credentials(ROOT, ROOT.issue([spiffe(WEB, trust_domain="evil")])), "not spiffe")
        self.assertEqual(self.agent.asked, [])

    def test_agent_away(self) -> None:
        """Without an agent an unknown client is refused."""
        self.waiting(b"")
        self.agent.fail()
        self.memory.flush()
        self.assertEqual(self.served.made, [])
        self.assertIn("does not answer", self.refusals()[0])

    def test_gone_meanwhile(self) -> None:
        """An answer for a client that has gone is of no consequence."""
        ours = self.waiting(b"")
        assert isinstance(ours.transport, MutualTLS)
        ours.transport.loseConnection()
        self.memory.flush()
        self.agent.say(True)
        self.assertEqual(self.served.made, [])

    def test_too_much(self) -> None:
        """A client that sends on and on before it is let in is cut off."""
        self.waiting(b"x" * (HELD_BYTES + 1))
        self.assertEqual(self.refusals(), ["it sends too much before it is let in"])
        self.agent.say(True)
        self.assertEqual(self.served.made, [])

    def test_broken_protocol(self) -> None:
        """If the protocol fails at its start, the connection ends and the failure is logged."""

        def broken(addr: object) -> Recorder:
            raise RuntimeError("broken")

        self.served.buildProtocol = broken  # type: ignore[method-assign]  # it fails
        self.waiting(b"")
        self.agent.say(True)
        self.memory.flush()
        self.assertTrue(self.memory.pipes[-1].disconnected)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
