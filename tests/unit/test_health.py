"""L{tile38cm.health}: when the local Tile38 is taken for dead, and when its log for another one."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.local38 import LocalWay
from tile38cm.health import EVERY, GRACE, LocalHealth
from tile38cm.tile38 import ANSWER_TIMEOUT


class HealthTests(SynchronousTestCase):
    """A node that looks at its Tile38."""

    def setUp(self) -> None:
        self.way = LocalWay()
        self.way.server.log = b"x" * 50
        self.way.client.start()
        self.health = LocalHealth(self.way.client, self.way.clock)
        self.changes: list[str] = []
        self.shorter: list[int] = []
        self.health.on_change = self.changes.append
        self.health.on_shorter = lambda: self.shorter.append(self.health.log_size)
        self.health.start()
        self.way.settle()

    def test_answers(self) -> None:
        """The first answer tells the size of the log, and that it lives; later ones only the size."""
        self.assertEqual((self.health.alive, self.health.log_size, self.changes), (True, 50, [""]))
        self.way.server.log += b"y"
        self.way.wait(2 * EVERY)
        self.assertEqual((self.health.log_size, self.changes, self.shorter), (51, [""], []))

    def test_shorter(self) -> None:
        """A log that became shorter is another one; that is told once."""
        self.way.server.log = b"x" * 20
        self.way.wait(5 * EVERY)
        self.assertEqual((self.shorter, self.health.log_size), ([20], 20))

    def test_short_absence(self) -> None:
        """An absence within the grace is none."""
        self.way.refusing = True
        self.way.server.cut()
        self.way.wait(GRACE * 0.6)
        self.way.refusing = False
        self.way.wait(2)
        self.assertEqual((self.health.alive, self.changes), (True, [""]))

    def test_dead(self) -> None:
        """A longer one is told once, with a reason, and its end too."""
        self.way.refusing = True
        self.way.server.cut()
        self.way.wait(GRACE * 3)
        self.assertEqual((self.health.alive, len(self.changes)), (False, 2))
        self.assertTrue(self.changes[1])
        self.way.refusing = False
        self.way.wait(2)
        self.assertEqual((self.health.alive, self.changes[2:]), (True, [""]))

    def test_hanging(self) -> None:
        """One that accepts and does not answer is found dead in the end."""
        self.way.frozen = True
        self.way.wait(ANSWER_TIMEOUT + GRACE)
        self.assertFalse(self.health.alive)

    def test_tells_nothing_of_itself(self) -> None:
        """A follower that was never in sync refuses to tell, but lives."""
        self.way.server.refuses[b"ROLE"] = "ERR catching up to leader"
        self.way.wait(2)
        self.assertEqual((self.health.alive, self.changes, self.health.log_size), (True, [""], 50))

    def test_loading(self) -> None:
        """One that loads its log does not serve, and is dead so long."""
        self.way.server.refuses[b"ROLE"] = "LOADING Tile38 is loading the dataset in memory"
        self.way.wait(2)
        self.assertFalse(self.health.alive)

    def test_stop(self) -> None:
        """After the end nothing is asked."""
        self.successResultOf(Deferred.fromCoroutine(self.health.stop()))
        self.way.asked.clear()
        self.way.wait(1)
        self.assertEqual(self.way.asked, [])
