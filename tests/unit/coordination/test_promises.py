"""The arithmetic of promises, on clocks that differ."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.coordination.promises import BEATS_PER_LEASE, SAFETY, Answer, Ledger, Promise
from tile38cm.model import Position

LEASE = 1.0
C = frozenset({"C"})


def answer(seq: int, offset: int | None = None, member: str = "C", epoch: int = 2) -> Answer:
    """An answer to the heartbeat C{seq}."""
    return Answer(member, epoch, seq, None if offset is None else Position(epoch, offset))


class PromiseTests(SynchronousTestCase):
    """What a follower gave."""

    def test_none_given(self) -> None:
        """A member that has promised nothing is free."""
        self.assertTrue(Promise().expired(-1e9))

    def test_runs_a_quarter_longer(self) -> None:
        """It binds for the lease and a quarter, and ends on the dot."""
        promise = Promise().extended(10.0, LEASE)
        self.assertFalse(promise.expired(11.2499))
        self.assertTrue(promise.expired(11.25))

    def test_a_shorter_one_does_not_shorten(self) -> None:
        """Promises to leaders with different leases all hold."""
        self.assertEqual(Promise().extended(10.0, 8.0).extended(11.0, 1.0), Promise(20.0))

    @given(
        st.fractions(Fraction(4, 5), 1),
        st.fractions(Fraction(4, 5), 1),
        st.fractions(0, 20),
        st.fractions(0, 2),
    )
    def test_the_takers_count_ends_first(
        self, slow: Fraction, fast: Fraction, sent: Fraction, way: Fraction
    ) -> None:
        """On clocks of rates within 4:5 the leader's lease is over before the follower is free.

        Exact numbers: the leader sends at C{sent} of true time, the follower answers C{way} later.
        """
        lease = Fraction(1)
        leader_ends = (sent * slow + lease) / slow
        answered = (sent + way) * fast
        follower_free = (answered + lease * Fraction(SAFETY)) / fast
        self.assertLessEqual(leader_ends, follower_free)

    def test_one_more_than_a_quarter_would_not_do(self) -> None:
        """With rates farther apart the order turns round: the quarter is used up entirely."""
        leader_ends = LEASE / Fraction(79, 100)
        follower_free = LEASE * Fraction(SAFETY) / 1
        self.assertGreater(leader_ends, follower_free)


class LedgerTests(SynchronousTestCase):
    """What the leader counts."""

    def setUp(self) -> None:
        self.ledger = Ledger(2, LEASE, 0.0)

    def test_counts_from_the_sending(self) -> None:
        """However late the answer is, the promise ends a lease after its heartbeat was sent."""
        seq = self.ledger.beat(10.0)
        self.ledger.answered(answer(seq))
        self.assertEqual(self.ledger.promised_until("C"), 11.0)
        self.assertTrue(self.ledger.promised(C, 10.999))
        self.assertFalse(self.ledger.promised(C, 11.0))

    def test_an_older_answer_does_not_shorten(self) -> None:
        """Answers may overtake each other."""
        first, second = self.ledger.beat(10.0), self.ledger.beat(10.5)
        self.ledger.answered(answer(second))
        self.ledger.answered(answer(first))
        self.assertEqual(self.ledger.promised_until("C"), 11.5)

    def test_an_unknown_heartbeat_counts_nothing(self) -> None:
        """A number that was never sent, or a lease ago, is worth nothing."""
        seq = self.ledger.beat(10.0)
        self.ledger.answered(answer(seq + 1))
        self.ledger.beat(11.0)
        self.ledger.answered(answer(seq, 50))
        self.assertFalse(self.ledger.promised(C, 10.0))
        self.assertEqual(self.ledger.acked("C"), -1)

    def test_another_epoch_counts_nothing(self) -> None:
        """A promise to an earlier term is not one to this."""
        self.ledger.answered(answer(self.ledger.beat(10.0), epoch=1))
        self.assertFalse(self.ledger.promised(C, 10.0))

    def test_a_position_of_another_epoch_is_no_acknowledgement(self) -> None:
        """Its offset belongs to another log; the promise counts all the same."""
        self.ledger.answered(Answer("C", 2, self.ledger.beat(10.0), Position(1, 500)))
        self.assertTrue(self.ledger.promised(C, 10.0))
        self.assertEqual(self.ledger.acked("C"), -1)

    def test_all_must_promise(self) -> None:
        """One silent member is enough to shut the gate; nobody to ask is enough to open it."""
        self.ledger.answered(answer(self.ledger.beat(10.0)))
        self.assertFalse(self.ledger.promised(frozenset("CD"), 10.0))
        self.assertTrue(self.ledger.promised(frozenset(), 10.0))

    def test_covered_by_the_slowest(self) -> None:
        """What all have; nothing while one is unknown, everything when nobody is asked."""
        self.ledger.acknowledged_by("C", 70)
        self.assertEqual(self.ledger.covered(frozenset("CD")), -1)
        self.ledger.acknowledged_by("D", 60)
        self.assertEqual(self.ledger.covered(frozenset("CD")), 60)
        self.assertIsNone(self.ledger.covered(frozenset()))

    def test_forgotten_acknowledgement(self) -> None:
        """With the connection goes what was acknowledged on it, but not the promise."""
        seq = self.ledger.beat(10.0)
        self.ledger.answered(answer(seq, 70))
        self.ledger.forget("C")
        self.assertEqual(self.ledger.acked("C"), -1)
        self.assertTrue(self.ledger.promised(C, 10.5))

    def test_late_position(self) -> None:
        """Only an answer to a heartbeat sent after that tells again what a member has."""
        early = self.ledger.beat(10.0)
        self.ledger.forget("C")
        late = self.ledger.beat(10.1)
        self.ledger.answered(answer(early, 70))
        self.assertEqual(self.ledger.acked("C"), -1)
        self.ledger.answered(answer(late, 5))
        self.assertEqual(self.ledger.acked("C"), 5)

    def test_silent_members_fall_away(self) -> None:
        """After a lease without a promise, and not before the term is a lease old."""
        self.assertEqual(self.ledger.fallen(C, 0.99, 5.0), frozenset())
        self.assertEqual(self.ledger.fallen(C, 1.0, 5.0), C)

    def test_slow_members_fall_away(self) -> None:
        """A member that promises but lacks what a request waits for is given so many seconds."""
        self.ledger.answered(answer(self.ledger.beat(10.0), 50))
        self.ledger.wanted(60, C, 10.0)
        self.ledger.answered(answer(self.ledger.beat(15.1), 59))
        self.assertEqual(self.ledger.fallen(C, 15.0, 5.0), frozenset())
        self.assertEqual(self.ledger.fallen(C, 15.1, 5.0), C)
        self.ledger.acknowledged_by("C", 60)
        self.assertEqual(self.ledger.fallen(C, 15.1, 5.0), frozenset())

    def test_lag_counts_from_the_first_request(self) -> None:
        """Requests that come later do not make a slow member look faster."""
        self.ledger.answered(answer(self.ledger.beat(10.0), 50))
        self.ledger.wanted(60, C, 10.0)
        self.ledger.wanted(70, C, 14.0)
        self.ledger.answered(answer(self.ledger.beat(15.1), 59))
        self.assertEqual(self.ledger.fallen(C, 15.1, 5.0), C)

    def test_only_members_fall_away(self) -> None:
        """Whoever is not in the set cannot be removed from it."""
        self.ledger.wanted(60, C, 10.0)
        self.assertEqual(self.ledger.fallen(frozenset("D"), 99.0, 5.0), {"D"})

    def test_memory_is_bounded(self) -> None:
        """Heartbeats are forgotten when no answer to them can count."""
        for n in range(1000):
            self.ledger.beat(n * LEASE / BEATS_PER_LEASE)
        self.assertLessEqual(len(self.ledger._sent), BEATS_PER_LEASE)
