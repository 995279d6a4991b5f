"""The end of a term or of a member's part, event by event: handed over, abandoned, stopped, retired."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import LEASE, Member, beat, status
from tile38cm.model import Role


class EndTests(SynchronousTestCase):
    """Handing over, and stopping."""

    def test_the_gate_is_shut_for_good(self) -> None:
        """From the hand-over on nothing is served, whatever is promised."""
        member = Member()
        member.lead(status("A", "B", "C"))
        member.promise_of("C")
        self.assertTrue(member.election.hand_over(100))
        self.assertFalse(member.election.gate_open())
        member.promise_of("C", 50)
        self.assertFalse(member.election.gate_open())
        self.assertEqual(member.asked("release"), [])

    def test_releases_a_member_that_has_everything(self) -> None:
        """One member of the set, once it has acknowledged the last byte."""
        member = Member()
        member.lead(status("A", "B", "C", "D"))
        member.election.hand_over(100)
        member.promise_of("C", 99)
        member.promise_of("D", 100)
        member.promise_of("C", 100)
        self.assertEqual(member.asked("release"), [("D", 2)])

    def test_no_heartbeats_after_the_release(self) -> None:
        """If the message was lost the promises run out by themselves, and others may stand."""
        member = Member()
        member.lead(status("A", "B", "C"))
        member.election.hand_over(100)
        member.promise_of("C", 100)
        before = len(member.asked("beat"))
        member.wait(LEASE)
        self.assertEqual(len(member.asked("beat")), before)

    def abandoned(self, *acked: tuple[str, int], exposed: int = 100, heirs: str = "CDE") -> Member:
        """C{B} led a set of all that acknowledged something, until its Tile38 died."""
        member = Member()
        member.lead(status("A", "B", *(name for name, _ in acked)))
        for name, offset in acked:
            member.promise_of(name, offset)
        member.election.exposed(exposed)
        member.election.abandon("it is gone", frozenset(heirs))
        return member

    def test_abandon_releases_who_has_most(self) -> None:
        """At once, although the log may be longer: of what nobody was shown nothing need survive."""
        member = self.abandoned(("C", 100), ("D", 120), ("E", 100))
        self.assertEqual(member.asked("release"), [("D", 2)])
        self.assertFalse(member.election.gate_open())
        self.assertIs(member.election.leadership.role, Role.LEADER)

    def test_abandon_without_an_heir(self) -> None:
        """Where nobody may be released, or has what clients were told, the promises have to run out."""
        for member in (
            self.abandoned(("C", 100), exposed=101),
            self.abandoned(("C", 100), heirs=""),
            self.abandoned(("C", 100), heirs="D"),
            self.abandoned(),
        ):
            self.assertEqual(member.asked("release"), [])
            self.assertIs(member.election.leadership.role, Role.FOLLOWER)

    def test_abandon_in_vain(self) -> None:
        """If nobody takes over within a lease, this node leads no more all the same."""
        member = self.abandoned(("C", 100))
        member.wait(LEASE * 0.9)
        self.assertIs(member.election.leadership.role, Role.LEADER)
        member.wait(LEASE * 0.2)
        self.assertIs(member.election.leadership.role, Role.FOLLOWER)
        self.assertEqual(member.election.leadership.reason, "it is gone")

    def test_abandon_while_the_set_changes(self) -> None:
        """Whoever joins the set or leaves it is released only when that is certain."""
        member = Member()
        member.lead(status("A", "B", "C", "D"))
        member.promise_of("D", 100)
        self.assertFalse(member.election.expel("C"))
        member.election.abandon("it is gone", frozenset("CD"))
        self.assertEqual(member.asked("release"), [])
        (settlement,) = member.last("change")
        member.election.change_settled(settlement, True, settlement.attempt(lambda: "n"), 21)
        self.assertEqual(member.asked("release"), [("D", 2)])

    def test_abandon_at_any_time(self) -> None:
        """Who does not lead has nothing to give away; who is about to gives the term up."""
        member = Member()
        member.election.abandon("it is gone", frozenset("C"))
        member.follow(status("A", "B", "C"))
        member.election.abandon("it is gone", frozenset("C"))
        self.assertIs(member.election.leadership.role, Role.FOLLOWER)
        member.win()
        member.election.abandon("it is gone", frozenset("C"))
        self.assertEqual((member.asked("release"), member.election.epoch()), ([], 0))

    def test_stop_at_any_time_is_final(self) -> None:
        """Whatever arrives after the stop, nothing more is asked of the world, and nothing fails."""
        for stage in ("starting", "following", "standing", "claiming", "taking over", "leading"):
            member = Member()
            if stage != "starting":
                member.follow(status("A", "B", "C"))
            if stage in ("standing", "claiming"):
                member.stand()
            if stage == "claiming":
                member.election.surveyed(member.core.tickets, ())
            if stage in ("taking over", "leading"):
                member.win()
            if stage == "leading":
                member.election.prepared(2)
                member.election.opened(2)
            member.election.stop()
            self.assertIs(member.election.leadership.role, Role.STOPPED, stage)
            done = list(member.effects.done)
            member.wait(5 * LEASE)
            member.election.surveyed(member.core.tickets, ())
            member.election.claim_settled(member.core.tickets, True, status("B", "C", epoch=2), 20)
            member.election.prepared(2)
            member.election.opened(2)
            member.election.released(1)
            member.election.wanted(1)
            member.follow(status("C", epoch=3, version=9), 30)
            self.assertIsNone(member.election.heartbeat(beat(9, "C")))
            member.wait(5 * LEASE)
            member.election.stop()
            self.assertEqual(member.effects.done[len(done) :], [], stage)

    def test_retired_members_do_not_stand(self) -> None:
        """A member that is about to stop goes on following and promising, no more."""
        member = Member()
        member.follow(status("A", "B"))
        member.election.retire()
        member.wait(5 * LEASE)
        self.assertEqual(member.asked("survey"), [])
        self.assertIsNotNone(member.election.heartbeat(beat()))

    def test_retiring_ends_a_try_that_has_not_claimed(self) -> None:
        """A candidate that is about to stop sends no transaction any more."""
        member = Member()
        member.follow(status("A", "B"))
        ticket = member.stand()
        member.election.retire()
        member.election.surveyed(ticket, ())
        self.assertEqual(member.asked("claim"), [])
