"""Metrics over real UDP, and of a real Tile38."""

from __future__ import annotations

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from tests.real import RealTile38, free_port
from tests.unit.operate.test_metrics import SETTINGS
from tile38cm.operate.metrics import EVERY, TABLE, Metrics
from tile38cm.settings import Address
from tile38cm.tile38 import ServerInfo, Unreachable


class _Agent(DatagramProtocol):
    """Hands out the first datagram."""

    def __init__(self) -> None:
        self.first: Deferred[bytes] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        if not self.first.called:
            self.first.callback(datagram)


async def _no_server() -> ServerInfo:
    raise Unreachable("there is none here")


class MetricsTests(TestCase):
    """What unit tests cannot see."""

    timeout = 20

    def start(self, port: int) -> Clock:
        """Send one figure each time that the clock says so."""
        clock = Clock()
        settings = evolve(SETTINGS, dogstatsd=Address("localhost", port))
        metrics = Metrics(settings, clock, {"gate": lambda: 1}, _no_server)
        metrics.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(metrics.stop()))
        return clock

    async def test_arrives(self) -> None:
        """A datagram reaches an agent that is named by its host name."""
        agent = _Agent()
        port = reactor.listenUDP(0, agent, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        self.start(port.getHost().port)
        self.assertIn(b"tile38.cluster.gate:1|g|#id:n1,", await agent.first)

    async def test_no_agent(self) -> None:
        """Where nobody listens rounds go on without a word; an agent that comes later gets the next one."""
        number = free_port()
        with capturedLogs() as logs:
            clock = self.start(number)
            for _ in range(4):
                await deferLater(reactor, 0.05)
                clock.advance(EVERY)
            await deferLater(reactor, 0.05)
        self.assertEqual([log for log in logs if "metrics" in log.get("log_namespace", "")], [])
        agent = _Agent()
        port = reactor.listenUDP(number, agent, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        clock.advance(EVERY)
        self.assertIn(b"tile38.cluster.gate:1|g|#id:n1,", await agent.first)

    def test_names(self) -> None:
        """A real Tile38 knows every figure that is read from its SERVER."""
        with RealTile38() as real:
            self.assertLessEqual({metric.server for metric in TABLE if metric.server}, set(real.server()))
