"""L{tile38cm.coordination.store}: every write ends in certainty, whatever becomes of its answers."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import status
from tests.unit.coordination.weather import Station
from tile38cm.coordination.consul import ConsulError, Unclear
from tile38cm.coordination.status import EpochRecord, Rubbish, Settlement, Status, take_over
from tile38cm.coordination.store import (
    REFUSED_RETRY,
    RETRY,
    SESSION_TTL,
    ClusterStore,
    Rival,
    Settled,
    Told,
    Twin,
    with_start,
)
from tile38cm.model import Position

RECORD = EpochRecord(2, "B", 1, 100, reason="test")


class StoreCase(SynchronousTestCase):
    """C{B} at Consul, where C{A} leads epoch 1."""

    def setUp(self) -> None:
        self.station = Station()
        self.weather = self.station.weather
        self.store = self.station.store("B")
        self.other = self.station.session()
        self.station.put("status", status("A", "B").encode())
        self.station.put("leader", b"A", "lock", self.other)
        self.index = self.modified()
        self.weather.changes = 0

    def modified(self) -> int:
        """The index of C{status}; 0: it is not there."""
        entry = self.station.entry("status")
        return 0 if entry is None else entry.modify_index

    def stored(self) -> Status:
        """What Consul holds."""
        entry = self.station.entry("status")
        assert entry is not None
        return Status.decode(entry.value)

    def settle(self, seconds: float = 1.0, index: int | None = None) -> Deferred[Settled]:
        """C{B} takes over; so much time passes."""
        wanted = take_over(status("A", "B"), "B", 1)
        at = self.index if index is None else index
        return self.station.run(self.store.settle(Settlement(wanted, at), RECORD), seconds)

    def assert_won(self, task: Deferred[Settled]) -> None:
        """C{B} leads, with lock and record, and knows it."""
        settled = self.successResultOf(task)
        self.assertTrue(settled.won)
        self.assertEqual((settled.status, settled.index), (self.stored(), self.modified()))
        self.assertEqual((self.stored().leader, self.stored().epoch), ("B", 2))
        lock, record = self.station.entry("leader"), self.station.entry("epochs/2")
        assert lock is not None and record is not None
        self.assertTrue(lock.session is not None and lock.value == b"B")
        self.assertEqual(EpochRecord.decode(record.value), RECORD)


class SettleTests(StoreCase):
    """The outcome is certain when it is told, not before."""

    def test_calm(self) -> None:
        """One transaction takes status, lock and record, the lock even from its holder."""
        self.assert_won(self.settle(0))
        self.assertEqual(self.weather.changes, 1)
        lock = self.station.entry("leader")
        assert lock is not None
        self.assertNotEqual(lock.session, self.other)

    def test_first(self) -> None:
        """A cluster without any key is founded in the same way."""
        self.station = Station()
        self.weather, self.store = self.station.weather, self.station.store("B")
        self.assert_won(self.settle(0, index=0))

    def test_answer_lost(self) -> None:
        """A write that took effect is recognised by its nonce."""
        self.weather.faults = ["lost"]
        task = self.settle(0)
        self.assertEqual(self.stored().leader, "B")
        self.assertNoResult(task)
        self.station.wait(RETRY * 2)
        self.assert_won(task)

    def test_no_effect(self) -> None:
        """A write without effect is repeated."""
        self.weather.faults = ["before", "before"]
        task = self.settle(0)
        self.assertEqual(self.modified(), self.index)
        self.station.wait(RETRY * 4)
        self.assert_won(task)
        self.assertEqual(self.weather.changes, 3)

    def test_late(self) -> None:
        """A write that arrives while its repetition is under way is recognised too, and wins once."""
        self.weather.faults = ["late"]
        task = self.settle(0)
        self.weather.before = self.weather.arrive
        self.station.wait(RETRY * 4)
        self.assert_won(task)
        self.assertEqual(self.stored().version, 2)

    def test_another_was_faster(self) -> None:
        """A status that moved under another one's hand is a loss, and what is there is told."""
        theirs = evolve(status("C", epoch=2, version=2), nonce="theirs")
        self.station.put("status", theirs.encode())
        settled = self.successResultOf(self.settle())
        self.assertEqual((settled.won, settled.status, settled.index), (False, theirs, self.modified()))
        self.assertIsNone(self.station.entry("epochs/2"))

    def test_another_between(self) -> None:
        """The same while an answer of ours is outstanding that had no effect."""
        theirs = evolve(status("C", epoch=2, version=2), nonce="theirs")
        self.weather.faults = ["before"]
        task = self.settle(0)
        self.station.put("status", theirs.encode())
        self.station.wait(RETRY * 3)
        self.assertFalse(self.successResultOf(task).won)

    def test_gone(self) -> None:
        """A status that is not there any more is a loss."""
        self.station = Station()
        self.weather, self.store = self.station.weather, self.station.store("B")
        settled = self.successResultOf(self.settle(index=77))
        self.assertEqual((settled.won, settled.status, settled.index), (False, None, 0))

    def test_lock_taken_between(self) -> None:
        """A lock that changed hands after it was looked at fails the transaction, which is tried again."""
        third = self.station.session()
        steal = [True]

        def before() -> None:
            if steal.pop() if steal else False:
                self.station.put("leader", b"A", "unlock", self.other)
                self.station.put("leader", b"C", "lock", third)

        self.weather.before = before
        task = self.settle(0)
        self.assertNoResult(task)
        self.station.wait(RETRY * 3)
        self.assert_won(task)

    def test_own_session_gone(self) -> None:
        """A session that has ended unnoticed is made again."""
        self.successResultOf(self.station.run(self.store.announce({})))
        for session in list(self.station.agent.keys.sessions):
            if session != self.other:
                self.station.agent.keys.destroy_session(session)
        self.assert_won(self.settle())

    def test_away(self) -> None:
        """It waits as long as Consul is away, complains once, and says when it works again."""
        self.weather.away = True
        task = self.settle(30)
        self.assertNoResult(task)
        self.weather.away = False
        self.station.wait(RETRY * 3)
        self.assert_won(task)

    def test_refused(self) -> None:
        """So it does for an operator who has to allow it, with patience."""
        self.weather.faults = ["Permission denied"] * 3
        task = self.settle(2.5 * REFUSED_RETRY)
        self.assertEqual(self.weather.changes, 3)
        self.assertNoResult(task)
        self.station.wait(REFUSED_RETRY)
        self.assert_won(task)

    def test_rubbish(self) -> None:
        """A status that nobody can read is nobody's outcome: it waits until somebody has repaired it."""
        self.station.put("status", b"rubbish")
        task = self.settle(3)
        self.assertNoResult(task)
        self.station.put("status", status("C", epoch=2, version=2).encode())
        self.station.wait(2)
        self.assertFalse(self.successResultOf(task).won)

    def test_cancelled(self) -> None:
        """Who gives up learns nothing, and nothing goes on."""
        self.weather.away = True
        task = self.settle(0)
        task.cancel()
        self.failureResultOf(task, CancelledError)
        self.weather.away = False
        self.station.wait(1)
        self.assertEqual(self.weather.changes, 0)

    @settings(deadline=None, max_examples=25)
    @given(st.lists(st.sampled_from(["lost", "before", "late", None]), max_size=5), st.integers(0, 6))
    def test_any_weather(self, faults: list[str | None], theirs: int) -> None:
        """Whatever is lost, and whenever another one writes: what is told is what Consul holds, for good."""
        self.setUp()
        self.weather.faults = list(faults)
        task = self.settle(0)
        for step in range(8):
            if step == theirs and self.modified() == self.index:
                self.station.put("status", evolve(status("C", epoch=2, version=2), nonce="c").encode())
            self.weather.arrive()
            self.station.wait(RETRY * 1.5)
        settled = self.successResultOf(task)
        self.assertEqual(settled.won, self.stored().leader == "B")
        self.assertEqual((settled.status, settled.index), (self.stored(), self.modified()))
        before = self.modified()
        self.weather.arrive()
        self.assertEqual(self.modified(), before)


class SessionTests(StoreCase):
    """The session, and what hangs on it."""

    def mine(self) -> list[str]:
        """The sessions of C{B}."""
        return [s for s in self.station.agent.keys.sessions if s != self.other]

    def test_kept(self) -> None:
        """It lives as long as it is renewed."""
        keeping = self.station.run(self.store.keep_session())
        self.successResultOf(self.station.run(self.store.announce({"role": "follower"})))
        (session,) = self.mine()
        self.station.wait(4 * SESSION_TTL)
        self.assertEqual(self.mine(), [session])
        keeping.cancel()
        self.failureResultOf(keeping, CancelledError)
        self.station.wait(3 * SESSION_TTL)
        self.assertEqual(self.mine(), [])

    def test_made_again(self) -> None:
        """One that ended is made again where it is needed: for the own key, for a turn."""
        for use in (lambda: self.store.announce({}), lambda: self.store.take("turn")):
            for needed in range(2):
                task = self.station.run(use())
                if needed == 0:
                    self.assertTrue(self.successResultOf(task))
                    self.station.agent.keys.destroy_session(self.mine()[0])
                else:
                    self.failureResultOf(task, ConsulError)
                    self.assertTrue(self.successResultOf(self.station.run(use())))

    def test_after_a_crash(self) -> None:
        """The session that a crash has left ends as soon as the member is back."""
        self.assertTrue(self.successResultOf(self.station.run(self.store.announce({"run": 1}))))
        again = self.station.store("B")
        again.mine.update(self.mine())
        self.assertFalse(self.successResultOf(self.station.run(again.announce({"run": 2}))))
        self.assertTrue(self.successResultOf(self.station.run(again.announce({"run": 2}))))
        entry = self.station.entry("members/B")
        self.assertEqual((entry and entry.value, len(self.mine())), (b'{"run": 2}', 1))

    def test_twin(self) -> None:
        """Who comes second under an id ends nobody's session; the first never notices."""
        self.successResultOf(self.station.run(self.store.announce({"address": "10.0.0.1:7001"})))
        (session,) = self.mine()
        second = self.station.store("B")
        self.failureResultOf(self.station.run(second.announce({})), Twin)
        self.assertEqual(
            self.successResultOf(self.station.run(second.rival())), Rival(session, "10.0.0.1:7001")
        )
        self.assertTrue(self.successResultOf(self.station.run(self.store.announce({}))))
        self.assertEqual(self.successResultOf(self.station.run(second.rival())), Rival(session, ""))
        self.assertIsNone(self.successResultOf(self.station.run(self.store.rival())))

    def test_sessions_are_told(self) -> None:
        """So that the next run knows its own."""
        told: list[str] = []
        self.store.on_session = told.append
        self.successResultOf(self.station.run(self.store.announce({})))
        self.assertEqual(told, self.mine())

    def test_away(self) -> None:
        """A Consul that is away for a while costs nothing."""
        keeping = self.station.run(self.store.keep_session())
        self.successResultOf(self.station.run(self.store.announce({})))
        self.weather.away = True
        self.station.wait(SESSION_TTL)
        self.weather.away = False
        self.station.wait(SESSION_TTL)
        self.assertEqual(len(self.mine()), 1)
        self.assertNoResult(keeping)
        keeping.cancel()
        self.failureResultOf(keeping, CancelledError)

    def turn(self) -> ClusterStore:
        """A member gives its turn back while Consul is away; its session is kept."""
        keeping = self.station.run(self.store.keep_session())
        self.addCleanup(self.failureResultOf, keeping, CancelledError)
        self.addCleanup(keeping.cancel)
        self.assertTrue(self.successResultOf(self.station.run(self.store.take("turn"))))
        self.weather.away = True
        _ = self.station.run(self.store.give_back("turn"))
        self.station.wait(SESSION_TTL)
        self.weather.away = False
        return self.station.store("C")

    def test_given_back_later(self) -> None:
        """The others get the turn when Consul is there again, though the session lives on."""
        other = self.turn()
        self.station.wait(SESSION_TTL)
        self.assertTrue(self.successResultOf(self.station.run(other.take("turn"))))

    def test_taken_again_meanwhile(self) -> None:
        """Who takes it again before it was given back keeps it."""
        other = self.turn()
        self.assertTrue(self.successResultOf(self.station.run(self.store.take("turn"))))
        self.station.wait(SESSION_TTL)
        self.assertFalse(self.successResultOf(self.station.run(other.take("turn"))))

    def test_leave(self) -> None:
        """Who leaves frees its lock, its key and its session."""
        self.assert_won(self.settle(0))
        self.successResultOf(self.station.run(self.store.announce({})))
        self.assertIsNotNone(self.station.entry("members/B"))
        self.successResultOf(self.station.run(self.store.leave()))
        lock = self.station.entry("leader")
        assert lock is not None
        self.assertEqual((lock.session, self.station.entry("members/B"), self.mine()), (None, None, []))

    def test_leave_without_consul(self) -> None:
        """Who leaves while Consul is away leaves all the same; without a session there is nothing to do."""
        self.successResultOf(self.station.run(self.store.leave()))
        self.successResultOf(self.station.run(self.store.announce({})))
        self.weather.away = True
        self.successResultOf(self.station.run(self.store.leave()))

    def test_holds(self) -> None:
        """The lock is held if it shows this member's own session, and only then."""
        consul, key = self.station.consul, self.store.key("leader")
        lock = self.successResultOf(self.station.run(consul.get(key))).value
        self.assertFalse(self.store.holds(lock) or self.store.holds(None))
        self.assert_won(self.settle(0))
        lock = self.successResultOf(self.station.run(consul.get(key))).value
        self.assertTrue(self.store.holds(lock))

    def test_turn(self) -> None:
        """A turn is one member's until it is given back."""
        other = self.station.store("C")
        self.assertTrue(self.successResultOf(self.station.run(self.store.take("turn"))))
        self.assertTrue(self.successResultOf(self.station.run(self.store.take("turn"))))
        self.assertFalse(self.successResultOf(self.station.run(other.take("turn"))))
        self.successResultOf(self.station.run(other.give_back("turn")))
        self.assertFalse(self.successResultOf(self.station.run(other.take("turn"))))
        self.successResultOf(self.station.run(self.store.give_back("turn")))
        self.assertTrue(self.successResultOf(self.station.run(other.take("turn"))))

    def test_nothing_to_give_back(self) -> None:
        """Without a session nothing was taken."""
        self.successResultOf(self.station.run(self.store.give_back("turn")))
        self.assertEqual(self.weather.changes, 0)


class KeyTests(StoreCase):
    """The other keys."""

    def test_status(self) -> None:
        """The document with its index; none; rubbish is said to be that."""
        found = self.successResultOf(self.station.run(self.store.read_status()))
        self.assertEqual(found, (status("A", "B"), self.index))
        self.station.put("status", b"{}")
        self.failureResultOf(self.station.run(self.store.read_status()), Rubbish)
        self.assertEqual(
            self.successResultOf(self.station.run(Station().store("B").read_status())), (None, 0)
        )

    def test_starts(self) -> None:
        """The highest count stays, so that a disk that went back in time is noticed."""
        counts = []
        for mine in (1, 2, 9, 3, 10):
            counts.append(self.successResultOf(self.station.run(self.store.count_start(mine))))
        self.assertEqual(counts, [0, 1, 2, 9, 9])
        self.station.put("starts/B", b"x")
        self.assertEqual(self.successResultOf(self.station.run(self.store.count_start(1))), 0)

    def test_last_told(self) -> None:
        """A member's own word for what it had; anything else is nothing."""
        for value, expected in (
            (b'{"role": "leader", "epoch": 3, "offset": 70}', Told(True, Position(3, 70))),
            (b'{"role": "follower", "epoch": 3, "offset": 70}', Told(False, Position(3, 70))),
            (b'{"role": "leader"}', None),
            (b'{"role": "leader", "epoch": Infinity, "offset": 70}', None),
            (b"[]", None),
            (b"x", None),
        ):
            self.station.put("members/B", value)
            self.assertEqual(self.successResultOf(self.station.run(self.store.last_told())), expected)
        self.assertIsNone(self.successResultOf(self.station.run(self.station.store("C").last_told())))

    def test_epochs(self) -> None:
        """All terms that can be read."""
        self.station.put("epochs/2", RECORD.encode())
        self.station.put("epochs/3", b"rubbish")
        self.station.put("epochs/4", evolve(RECORD, epoch=4, parent=2).encode())
        found = self.successResultOf(self.station.run(self.store.epochs()))
        self.assertEqual((sorted(found), found[2]), ([2, 4], RECORD))

    def test_record(self) -> None:
        """The start of a term is written sooner or later, if it is still wanted."""
        full = with_start(RECORD, 5, "now")
        self.weather.faults = ["before", "Permission denied"]
        task = self.station.run(self.store.write_record(full, lambda: True), RETRY * 3)
        self.assertNoResult(task)
        self.station.wait(REFUSED_RETRY)
        self.assertTrue(self.successResultOf(task))
        entry = self.station.entry("epochs/2")
        assert entry is not None
        self.assertEqual(EpochRecord.decode(entry.value).start, 5)

    def test_record_not_wanted(self) -> None:
        """A term that ended meanwhile needs none."""
        wanted = [True]
        self.weather.faults = ["before"]
        task = self.station.run(self.store.write_record(RECORD, lambda: bool(wanted)), 0)
        wanted.clear()
        self.station.wait(1)
        self.assertFalse(self.successResultOf(task))
        self.assertIsNone(self.station.entry("epochs/2"))

    def test_secret(self) -> None:
        """Whoever comes first makes it, and all get the same."""
        first = self.successResultOf(self.station.run(self.store.secret()))
        second = self.successResultOf(self.station.run(self.station.store("C").secret()))
        self.assertEqual((first, len(first)), (second, 64))
        self.weather.away = True
        self.failureResultOf(self.station.run(self.store.secret()), Unclear)

    def test_secret_at_once(self) -> None:
        """Two that come at the same time agree."""
        self.weather.before = lambda: (
            self.station.put("secret", b"theirs") if self.station.entry("secret") is None else None
        )
        self.assertEqual(self.successResultOf(self.station.run(self.store.secret())), "theirs")
