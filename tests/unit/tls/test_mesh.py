"""Tests of the mesh that the options ask for."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.application.service import IService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.certificates import Authority, spiffe
from tests.unit.tls.support import READER, WRITER, Agent, Memory, Recorder, Recorders
from tile38cm.coordination.watch import Watch
from tile38cm.settings import Address, Settings, TlsSettings
from tile38cm.tls import IMesh, Mesh, PlainMesh, mesh_for

ROOT = Authority()
SETTINGS = Settings(
    "a", "127.0.0.1", Address("127.0.0.1", 1), Address("127.0.0.1", 2), Address("127.0.0.1", 3)
)


class MeshTests(SynchronousTestCase):
    """L{mesh_for} and what it makes."""

    def setUp(self) -> None:
        self.clock, self.agent = Clock(), Agent(ROOT)
        self.factory = Recorders()

    def mesh(self, tls: TlsSettings) -> Mesh | PlainMesh:
        """The started mesh of these settings."""
        mesh = mesh_for(evolve(SETTINGS, tls=tls), self.clock, self.agent, Watch)
        verifyObject(IMesh, mesh)
        verifyObject(IService, mesh)
        mesh.startService()
        self.addCleanup(self.stop, mesh)
        return mesh

    def stop(self, mesh: Mesh | PlainMesh) -> None:
        """Stop it, and leave nothing behind."""
        stopped = mesh.stopService()
        if isinstance(stopped, Deferred):
            self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def files(self) -> TlsSettings:
        """Files with a certificate for this cluster."""
        folder = Path(self.mktemp())
        folder.mkdir()
        issued = ROOT.issue(["urn:tile38"])
        for name, text in (("cert", issued.chain_pem), ("key", issued.key_pem), ("ca", ROOT.root_pem)):
            (folder / name).write_text(text)
        return TlsSettings("files", folder / "cert", folder / "key", folder / "ca")

    def talk(self, mesh: Mesh | PlainMesh, service: str) -> tuple[Recorder, Recorder]:
        """A connection of the mesh with itself: our protocol and the listener's."""
        memory = Memory(mesh.listener_factory(self.factory, service), self.clock)
        connecting = mesh.endpoint(memory, service).connect(self.factory)
        memory.flush()
        while self.agent.answers:
            self.agent.say(True)
            memory.flush()
        ours = self.successResultOf(connecting)
        assert isinstance(ours, Recorder)
        (served,) = (each for each in self.factory.made if each is not ours)
        return ours, served

    def test_off(self) -> None:
        """Without TLS factory and endpoint stay what they are, and nobody is known."""
        mesh = self.mesh(TlsSettings("off"))
        self.assertIs(mesh.listener_factory(self.factory, WRITER), self.factory)
        memory = Memory(self.factory, self.clock)
        self.assertIs(mesh.endpoint(memory, WRITER), memory)
        self.successResultOf(Deferred.fromCoroutine(mesh.ready()))
        ours, served = self.talk(mesh, WRITER)
        self.assertIsNone(mesh.peer_service(served.transport))
        self.assertEqual(self.agent.asked, [])

    def test_connect(self) -> None:
        """In the mesh our calls are the writer's, and intentions of the called service are asked for."""
        mesh = self.mesh(TlsSettings("connect"))
        self.successResultOf(Deferred.fromCoroutine(mesh.ready()))
        ours, served = self.talk(mesh, READER)
        self.assertEqual(mesh.peer_service(served.transport), WRITER)
        self.assertEqual(mesh.peer_service(ours.transport), READER)
        self.assertEqual([asked[:2] for asked in self.agent.asked], [(READER, spiffe(WRITER))])

    def test_files(self) -> None:
        """With files, members count as the writer service; Consul is not asked."""
        mesh = self.mesh(self.files())
        ours, served = self.talk(mesh, READER)
        self.assertEqual(mesh.peer_service(served.transport), WRITER)
        self.assertEqual(mesh.peer_service(ours.transport), WRITER)
        self.assertEqual(self.agent.asked, [])

    def test_ready(self) -> None:
        """Ready waits for certificates, and may be given up."""
        self.agent.away = True
        mesh = self.mesh(TlsSettings("connect"))
        ready, given_up = (Deferred.fromCoroutine(mesh.ready()) for _ in range(2))
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.assertNoResult(ready)
        self.agent.away = False
        self.clock.pump([0.1] * 30)
        self.successResultOf(ready)

    def test_peer_of_something_else(self) -> None:
        """A transport that is not ours proves nothing."""
        mesh = self.mesh(TlsSettings("connect"))
        self.assertIsNone(mesh.peer_service(None))
        self.assertIsNone(mesh.peer_service(object()))
