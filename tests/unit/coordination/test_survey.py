"""Who stands first."""

from __future__ import annotations

from itertools import permutations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.coordination.survey import MAX_ROUNDS, Defer, Report, Rest, Stand, Withdraw, advise, founder
from tile38cm.model import Position

ME = Report("B", Position(2, 100), 2)
SAME = Report("C", Position(2, 100), 2)
reports = st.builds(
    Report,
    st.text("ABCDE", min_size=1, max_size=2),
    st.builds(Position, st.integers(1, 3), st.integers(0, 3)),
    st.just(3),
    priority=st.integers(0, 2),
    log_size=st.integers(0, 2),
)


class AdviseTests(SynchronousTestCase):
    """A member of the set whose promise has run out."""

    def test_nobody_answers(self) -> None:
        """Nothing speaks against standing."""
        self.assertEqual(advise(ME, (), 2, 0), Stand())

    def test_a_later_epoch_is_known(self) -> None:
        """However long it has waited, it must read the status again first."""
        self.assertIsInstance(advise(ME, (evolve(SAME, seen_epoch=3),), 2, MAX_ROUNDS), Withdraw)

    def test_own_knowledge_is_no_news(self) -> None:
        """An epoch that the member has seen itself, or that is in Consul, speaks against nothing."""
        self.assertEqual(advise(evolve(ME, seen_epoch=3), (evolve(SAME, seen_epoch=3),), 2, 0), Stand())
        self.assertEqual(advise(ME, (evolve(SAME, seen_epoch=3),), 3, 0), Stand())

    def test_the_fuller_goes_first(self) -> None:
        """Then the one with the higher priority, then the first by id."""
        fuller = evolve(SAME, position=Position(2, 101))
        later = evolve(SAME, position=Position(3, 0))
        preferred = evolve(SAME, priority=1)
        first = evolve(SAME, member="A")
        for other in (fuller, later, preferred, first):
            self.assertIsInstance(advise(ME, (other,), 2, 0), Defer, other)
        for other in (SAME, evolve(SAME, position=Position(2, 99), priority=9), evolve(SAME, position=None)):
            self.assertEqual(advise(ME, (other,), 2, 0), Stand(), other)

    def test_who_may_not_lead_is_not_waited_for(self) -> None:
        """Neither for its data nor for its promise."""
        other = evolve(SAME, position=Position(2, 200), bound=True, eligible=False)
        self.assertEqual(advise(ME, (other,), 2, 0), Stand())

    def test_shaken(self) -> None:
        """One that may have lost something hears all others first, and never goes before a fuller one."""
        hear = frozenset({"A", "C"})
        empty = evolve(SAME, member="A", position=Position(0, 0))
        for rounds in (0, MAX_ROUNDS):
            for others in (
                (),
                (SAME,),
                (SAME, evolve(SAME, member="A", position=None)),
                (SAME, evolve(empty, position=Position(2, 101), eligible=False)),
            ):
                self.assertIsInstance(advise(ME, others, 2, rounds, hear), Rest, others)
            self.assertEqual(advise(ME, (SAME, empty), 2, rounds, hear), Stand())
        self.assertIsInstance(advise(ME, (SAME, evolve(SAME, member="A")), 2, 0, hear), Defer)

    def test_somebody_may_still_hear_the_leader(self) -> None:
        """Then the leader may only be far from this node: wait, but not for ever."""
        bound = evolve(SAME, bound=True)
        self.assertIsInstance(advise(ME, (bound,), 2, MAX_ROUNDS - 1), Defer)
        self.assertEqual(advise(ME, (bound,), 2, MAX_ROUNDS), Stand())

    @given(st.lists(reports, min_size=1, max_size=4, unique_by=lambda r: r.member))
    def test_one_stands_at_once(self, members: list[Report]) -> None:
        """Of members that all hear each other exactly one stands in the first round."""
        advice = [advise(m, tuple(o for o in members if o is not m), 3, 0) for m in members]
        self.assertEqual(sum(isinstance(a, Stand) for a in advice), 1)

    def test_the_order_of_answers_does_not_matter(self) -> None:
        """Reports arrive as they like."""
        others = (SAME, evolve(SAME, member="D", bound=True), evolve(SAME, member="E", eligible=False))
        self.assertEqual({type(advise(ME, order, 2, 0)) for order in permutations(others)}, {Defer})


class FounderTests(SynchronousTestCase):
    """A node in a cluster of which nothing is known."""

    def setUp(self) -> None:
        self.me = Report("B", None, 0, log_size=10)
        self.other = Report("C", None, 0, log_size=10)

    def test_history_forbids(self) -> None:
        """One reachable member that remembers a cluster is enough."""
        self.assertIsInstance(founder(self.me, (evolve(self.other, seen_epoch=1),), 1, True), Withdraw)

    def test_expected_members(self) -> None:
        """They must have answered, this node counted."""
        self.assertIsInstance(founder(self.me, (), 2, True), Defer)
        self.assertEqual(founder(self.me, (self.other,), 2, True), Stand())

    def test_most_data_founds(self) -> None:
        """Nobody's data is erased for an emptier founder; equal ones go by id."""
        self.assertIsInstance(founder(self.me, (evolve(self.other, log_size=11),), 1, True), Defer)
        self.assertIsInstance(founder(self.me, (evolve(self.other, member="A"),), 1, True), Defer)
        self.assertEqual(founder(self.me, (evolve(self.other, log_size=9),), 2, False), Stand())

    def test_an_empty_node_is_patient(self) -> None:
        """One with data may be a moment later."""
        empty = evolve(self.me, log_size=0)
        self.assertIsInstance(founder(empty, (self.other,), 2, False), Defer)
        self.assertEqual(founder(empty, (), 1, True), Stand())

    def test_who_expects_nobody_is_patient(self) -> None:
        """One with more data may be a moment later, if nobody said how many there are."""
        self.assertIsInstance(founder(self.me, (), 1, False), Defer)
        self.assertEqual(founder(self.me, (), 1, True), Stand())

    @given(st.lists(reports, min_size=1, max_size=4, unique_by=lambda r: r.member))
    def test_one_founds(self, members: list[Report]) -> None:
        """Of nodes that all hear each other exactly one founds."""
        fresh = [evolve(m, seen_epoch=0) for m in members]
        advice = [founder(m, tuple(o for o in fresh if o is not m), 1, True) for m in fresh]
        self.assertEqual(sum(isinstance(a, Stand) for a in advice), 1)
