"""L{tile38cm.health}: when the local Tile38 is taken for dead, and when its log for another one."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.local38 import LocalWay
from tile38cm.health import BUSY_LIMIT, EVERY, STARVE_LIMIT, STEP, SUSPECT, LocalHealth
from tile38cm.vitals import Vitals

GRACE = 0.5


class HealthTests(SynchronousTestCase):
    """A node that looks at its Tile38."""

    def setUp(self) -> None:
        self.way = LocalWay()
        self.way.server.log = b"x" * 50
        self.way.client.start()
        self.starving = False
        self.vitals = Vitals()
        self.patch(self.vitals, "wants_processor", lambda: self.starving and self.vitals.known)
        self.health = LocalHealth(self.way.client, self.way.clock, GRACE, self.vitals)
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

    def test_measured(self) -> None:
        """What was asked before a better measure tells nothing newer; what is asked after it counts."""
        asked: list[Deferred[int]] = []

        async def offset(_limit: float) -> int:
            asked.append(Deferred())
            return await asked[-1]

        self.patch(self.way.client, "watched_offset", offset)
        self.way.wait(2 * EVERY)
        self.health.measured(30)
        asked.pop().callback(20)
        self.assertEqual((self.shorter, self.health.log_size), ([], 30))
        self.way.wait(2 * EVERY)
        asked.pop().callback(20)
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
        """A longer one is told once, right after the grace, with a reason, and its end too."""
        self.way.refusing = True
        self.way.server.cut()
        self.way.wait(GRACE + 3 * STEP)
        self.assertEqual((self.health.alive, len(self.changes)), (False, 2))
        self.assertIn("refused", self.changes[1])
        self.way.wait(5)
        self.way.refusing = False
        self.way.wait(0.3)
        self.assertEqual((self.health.alive, self.changes[2:]), (True, [""]))

    def test_hanging(self) -> None:
        """One that accepts connections and does nothing else is found dead as soon."""
        self.way.frozen = True
        self.way.wait(GRACE + EVERY + 3 * STEP)
        self.assertFalse(self.health.alive)
        self.assertIn("hangs", self.changes[1])

    def test_comes_back_from_hanging(self) -> None:
        """It lives when it answers again."""
        self.way.frozen = True
        self.way.wait(5)
        self.way.frozen = False
        self.way.server.cut()
        self.way.wait(1)
        self.assertEqual((self.health.alive, self.changes[2:]), (True, [""]))

    def test_busy(self) -> None:
        """One that answers nothing, but still closes connections when asked to, is left in peace."""
        self.way.busy = True
        self.way.wait(BUSY_LIMIT * 0.9)
        self.assertEqual((self.health.alive, self.changes), (True, [""]))
        self.assertIn(b"QUIT", self.way.asked)

    def test_busy_for_too_long(self) -> None:
        """Not for ever: a server that keeps everybody waiting is of no use."""
        self.way.busy = True
        self.way.wait(BUSY_LIMIT + 2)
        self.assertFalse(self.health.alive)

    def test_starving(self) -> None:
        """One that does nothing because it gets no processor is left in peace, but not for ever."""
        self.way.frozen = self.starving = True
        self.way.wait(STARVE_LIMIT * 0.9)
        self.assertEqual((self.health.alive, self.changes), (True, [""]))
        self.way.wait(STARVE_LIMIT * 0.1 + GRACE + 3 * STEP)
        self.assertFalse(self.health.alive)

    def test_starving_again(self) -> None:
        """Each sign of life is the beginning of another silence."""
        self.starving = True
        for _ in range(5):
            self.way.frozen = True
            self.way.wait(STARVE_LIMIT * 0.6)
            self.way.frozen = False
            self.way.server.cut()
            self.way.wait(0.3)
        self.assertTrue(self.health.alive)
        self.assertEqual(self.changes, [""])

    def test_starving_at_first(self) -> None:
        """Once it does not even want one, the grace begins."""
        self.way.frozen = self.starving = True
        self.way.wait(STARVE_LIMIT * 0.5)
        self.starving = False
        self.way.wait(GRACE + 3 * STEP)
        self.assertFalse(self.health.alive)

    def test_gone_under_load(self) -> None:
        """What refuses connections is gone, whatever its process may want."""
        self.starving = self.way.refusing = True
        self.way.server.cut()
        self.way.wait(GRACE + 3 * STEP)
        self.assertFalse(self.health.alive)

    def test_another_process(self) -> None:
        """After a restart it says its number anew; till then nobody can tell."""
        self.way.server.refuses[b"SERVER"] = "ERR catching up to leader"
        self.way.refusing = True
        self.way.server.cut()
        self.way.wait(GRACE * 0.6)
        self.way.refusing = False
        self.way.wait(1)
        self.assertFalse(self.vitals.known)
        del self.way.server.refuses[b"SERVER"]
        self.way.wait(1)
        self.assertTrue(self.vitals.known)

    def test_no_knocks_in_peace(self) -> None:
        """A server that answers is not knocked at, and tells its process once."""
        self.way.wait(5)
        self.assertEqual(set(self.way.asked), {b"ROLE", b"SERVER"})
        self.assertEqual(self.way.asked.count(b"SERVER"), 1)

    def test_frozen_ourselves(self) -> None:
        """What a manager does not hear while it is frozen itself is no silence of the server."""
        self.way.frozen = True
        self.way.wait(SUSPECT)
        self.way.clock.advance(60)
        self.way.frozen = False
        self.way.wait(GRACE * 0.5)
        self.assertEqual(self.changes, [""])

    def test_tells_nothing_of_itself(self) -> None:
        """A follower that was never in sync refuses to tell, but lives."""
        self.way.server.refuses[b"ROLE"] = "ERR catching up to leader"
        self.way.wait(2)
        self.assertEqual((self.health.alive, self.changes, self.health.log_size), (True, [""], 50))

    def test_loading(self) -> None:
        """One that loads its log does not serve, and is dead so long, though it runs."""
        self.way.server.refuses[b"ROLE"] = "LOADING Tile38 is loading the dataset in memory"
        self.way.wait(2)
        self.assertFalse(self.health.alive)

    def test_stop(self) -> None:
        """After the end nothing is asked."""
        self.successResultOf(Deferred.fromCoroutine(self.health.stop()))
        self.way.asked.clear()
        self.way.wait(1)
        self.assertEqual(self.way.asked, [])
