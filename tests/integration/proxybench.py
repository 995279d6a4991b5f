"""W and R on real sockets in front of a real Tile38, with partners that say yes."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.real import RealTile38
from tests.unit.proxy.fakes import FakeGate, FakeRoutes
from tile38cm.proxy.limits import HoldBudget, Limits
from tile38cm.proxy.listener import Listener
from tile38cm.proxy.session import Login
from tile38cm.proxy.sides import Reader, Writer


@frozen
class RealTarget:
    """A Tile38 on loopback."""

    port: int
    local: bool = True
    epoch: int = 1

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """A plain connection."""
        return TCP4ClientEndpoint(reactor, "127.0.0.1", self.port).connect(factory)


class ProxyTestCase(TestCase):
    """Starts a Tile38, and W and R before it; C{writer_port} and C{reader_port} are where.

    C{forwarding_port} is an R that sends writes on to the leader.
    """

    timeout = 60

    def setUp(self) -> None:
        self.tile38 = RealTile38().start()
        self.addCleanup(self.tile38.stop)
        self.gate = FakeGate()
        target = RealTarget(self.tile38.port)
        self.routes = FakeRoutes(target, [target])  # type: ignore[arg-type, list-item]  # as good as a fake one
        budget = HoldBudget(64 << 20)
        self.writer = Writer(self.routes, reactor, Limits(), budget, gate=self.gate)
        self.reader = Reader(self.routes, reactor, Limits(), budget)
        forwarding = Reader(self.routes, reactor, Limits(), budget, forward=self.writer)
        self.writer_port = self._serve(Listener(self.writer, Login()))
        self.reader_port = self._serve(Listener(self.reader, Login()))
        self.forwarding_port = self._serve(Listener(forwarding, Login()))

    def threaded(self, work: Callable[[], None]) -> Deferred[None]:
        """Run a blocking client while the proxies run in the reactor."""
        return deferToThread(work)

    def _serve(self, listener: Listener) -> int:
        listener.start()
        port: IListeningPort = reactor.listenTCP(0, listener, interface="127.0.0.1")  # type: ignore[arg-type]
        self.addCleanup(port.stopListening)
        self.addCleanup(listener.stop)
        return int(port.getHost().port)  # type: ignore[attr-defined]
