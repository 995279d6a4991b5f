"""L{tile38cm.replication.intake} where Tile38 does not follow; the integration tests have a real one."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.unit.local38 import LocalWay
from tests.unit.replication.minitile38 import command
from tile38cm.model import Position
from tile38cm.peers.messages import Data
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.intake import Intake
from tile38cm.replication.virtual_leader import AttachError, NotAttached

HERE = Position(1, 10)


@implementer(IStreamServerEndpoint)
class NoPort:
    """Nobody ever listens."""

    def listen(self, protocolFactory: Any) -> Deferred[Any]:  # noqa: N803  # zope's name
        return Deferred()


class UnattachedTests(SynchronousTestCase):
    """Tile38 has lost what was acknowledged, and cannot be given it yet."""

    def setUp(self) -> None:
        self.way = LocalWay()
        self.way.client.start()
        self.backlog = Backlog(1 << 20)
        first, second = command("SET", "a", "1", "STRING", "x"), command("SET", "a", "2", "STRING", "y")
        middle = HERE.offset + len(first)
        self.pieces = [Data(1, middle, first), Data(1, middle + len(second), second)]
        for piece in self.pieces:
            self.backlog.append(piece)
        self.intake = Intake(self.way.clock, NoPort(), self.way.client, self.backlog, "n1", 5.0)
        self.intake.know(HERE)

    def test_refeed_fails(self) -> None:
        """What could not be given again stays in the backlog: the next try, and other nodes, need it."""
        for _ in range(2):
            refeeding = Deferred.fromCoroutine(self.intake.refeed())
            self.way.settle()
            self.failureResultOf(refeeding, NotAttached)
            self.assertEqual(self.backlog.since(HERE), self.pieces)

    def test_held_off(self) -> None:
        """A node that stands gives up to attach, and loses nothing by it."""
        self.way.frozen = True
        refeeding = Deferred.fromCoroutine(self.intake.refeed())
        self.assertNoResult(refeeding)
        self.intake.hold_off()
        self.failureResultOf(refeeding, AttachError)
        self.assertEqual((self.intake.position, self.backlog.since(HERE)), (HERE, self.pieces))
