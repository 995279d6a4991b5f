"""A leader's term, event by event: its promises, its set, its heirs."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import LEASE, Member, beat, status
from tile38cm.coordination.office import BLOCKED_LEASES, SILENT_LEASES
from tile38cm.coordination.promises import BEATS_PER_LEASE, Answer
from tile38cm.model import Position


class OfficeTests(SynchronousTestCase):
    """A member that has won a term."""

    def test_becomes_writable_only_when_prepared(self) -> None:
        """First the drain and the epoch's start, then the local server is opened."""
        member = Member()
        member.follow(status("A", "B"))
        won = member.win()
        self.assertEqual(member.asked("open"), [])
        member.election.prepared(won.epoch)
        self.assertEqual(member.asked("open"), [(2,)])
        self.assertFalse(member.election.gate_open())
        member.election.opened(won.epoch)
        self.assertTrue(member.election.gate_open())

    def test_a_stale_outcome_opens_nothing(self) -> None:
        """Outcomes of another epoch are ignored."""
        member = Member()
        member.follow(status("A", "B"))
        won = member.win()
        member.election.prepared(won.epoch - 1)
        member.election.opened(won.epoch)
        self.assertEqual(member.asked("open"), [])
        self.assertFalse(member.election.gate_open())

    def test_the_gate_asks_every_member_of_the_set(self) -> None:
        """Open while each promise runs, counted from when its heartbeat was sent."""
        member = Member()
        member.lead(status("A", "B", "C", "D"))
        self.assertFalse(member.election.gate_open())
        member.promise_of("C")
        self.assertFalse(member.election.gate_open())
        member.promise_of("D")
        self.assertTrue(member.election.gate_open())

    def test_a_promise_runs_from_the_sending(self) -> None:
        """An answer that took half a lease is worth the other half."""
        member = Member()
        member.lead(status("A", "B", "C"))
        member.clock.advance(LEASE / 2)
        member.promise_of("C")
        member.clock.advance(LEASE / 2 - 0.01)
        self.assertTrue(member.election.gate_open())
        member.clock.advance(0.01)
        self.assertFalse(member.election.gate_open())

    def test_a_follower_that_fell_away_is_removed_only_on_demand(self) -> None:
        """Without a request that waits the set stays, so that a stop of all nodes keeps it whole."""
        member = Member()
        member.lead(status("A", "B", "C"))
        member.wait(5 * LEASE)
        self.assertEqual(member.asked("change"), [])
        member.election.wanted(100)
        member.wait(LEASE / 8)
        (settlement,) = member.last("change")
        self.assertEqual(settlement.wanted.sync_set, {"B"})

    def test_both_sets_are_asked_until_a_change_is_settled(self) -> None:
        """From meaning to remove a member until knowing it is out, its promise still counts."""
        member = Member()
        member.lead(status("A", "B", "C"))
        member.wait(2 * LEASE)
        member.election.wanted(100)
        member.wait(LEASE / 8)
        self.assertEqual(member.election.required(), {"C"})
        self.assertFalse(member.election.gate_open())
        (settlement,) = member.last("change")
        member.election.change_settled(settlement, True, settlement.wanted, 21)
        self.assertEqual(member.election.required(), frozenset())
        self.assertTrue(member.election.gate_open())

    def test_an_added_member_counts_at_once(self) -> None:
        """Its acknowledgement is asked for from the moment it is meant to be added."""
        member = Member()
        member.lead(status("A", "B"))
        member.promise_of("C", 100)
        member.election.admit("C")
        self.assertEqual(member.election.required(), {"C"})
        self.assertEqual(member.election.covered(), 100)

    def test_a_member_is_added_only_with_all_that_clients_saw(self) -> None:
        """What was released to a client before must be covered by the newcomer's acknowledgement."""
        member = Member()
        member.lead(status("A", "B"))
        member.election.exposed(150)
        member.promise_of("C", 149)
        member.election.admit("C")
        self.assertEqual(member.asked("change"), [])
        member.promise_of("C", 150)
        member.election.admit("C")
        self.assertEqual(len(member.asked("change")), 1)

    def test_earlier_terms_replies_count_as_shown(self) -> None:
        """What the log held when the term began may have been shown by an earlier leader."""
        member = Member()
        member.lead(status("A", "B"))
        member.promise_of("C", 99)
        member.election.admit("C")
        self.assertEqual(member.asked("change"), [])

    def test_a_member_without_a_promise_is_not_added(self) -> None:
        """It would shut the gate."""
        member = Member()
        member.lead(status("A", "B"))
        member.election.acknowledged("C", 2, 100)
        member.election.admit("C")
        self.assertEqual(member.asked("change"), [])

    def handing_over(self, *members: str, heirs: str) -> Member:
        """A leader that hands over at 100, with C{members} in the set of which none has it all."""
        member = Member()
        member.lead(status("A", "B", *members))
        member.wait(LEASE / 8)
        for name in members:
            member.promise_of(name, 90)
        self.assertTrue(member.election.hand_over(100, frozenset(heirs)))
        return member

    def test_an_heir_comes_back(self) -> None:
        """While the lead is handed over one that left before is let in again, settled, then released."""
        member = self.handing_over(heirs="CD")
        for name, has in (("E", 100), ("D", 100), ("C", 100)):
            member.promise_of(name, has)
            member.election.admit(name)
        self.assertEqual(member.asked("release"), [])
        self.assertEqual(member.settle_change().sync_set, {"B", "D"})
        self.assertEqual(member.asked("release"), [("D", 2)])
        member.election.admit("C")
        self.assertEqual(len(member.asked("change")), 1)

    def test_an_heir_does_not_wait_for_others(self) -> None:
        """A change of the set would only keep the one waiting that is in it."""
        member = self.handing_over("C", heirs="CD")
        member.promise_of("D", 100)
        member.election.admit("D")
        self.assertEqual(member.asked("change"), [])
        member.promise_of("C", 100)
        self.assertEqual(member.asked("release"), [("C", 2)])

    def test_who_stops_is_no_heir(self) -> None:
        """A member that said so would never take over, however good its promise is."""
        member = self.handing_over(heirs="C")
        member.promise_of("C", 100)
        member.election.departed("C")
        member.election.admit("C")
        self.assertEqual(member.asked("change"), [])

    def test_an_heir_comes_back_late(self) -> None:
        """Whoever hands over goes on asking for promises, though requests wait all the time."""
        member = self.handing_over(heirs="C")
        for _ in range(24):
            member.election.wanted(100)
            member.wait(LEASE / 8)
        member.promise_of("C", 100)
        member.election.admit("C")
        self.assertEqual(member.settle_change().sync_set, {"B", "C"})
        self.assertEqual(member.asked("release"), [("C", 2)])

    def test_expelled_for_certain_or_not_yet(self) -> None:
        """A member may erase its data only when Consul is known to list it no more."""
        member = Member()
        member.lead(status("A", "B", "C"))
        self.assertFalse(member.election.expel("C"))
        (settlement,) = member.last("change")
        self.assertFalse(member.election.expel("C"))
        member.election.change_settled(settlement, True, settlement.wanted, 21)
        self.assertTrue(member.election.expel("C"))

    def test_late_answers_do_not_vouch_for_erased_data(self) -> None:
        """An answer from before a member was sent to start over must not let it in again."""
        member = Member()
        member.lead(status("A", "B"))
        (late,) = member.last("beat")
        self.assertTrue(member.election.expel("C"))
        member.election.answered(Answer("C", 2, late.seq, Position(2, 100)))
        member.election.admit("C")
        self.assertEqual(member.asked("change"), [])

    def test_a_lost_connection_takes_the_acknowledgement_along(self) -> None:
        """What a member has is known only from its present connection."""
        member = Member()
        member.lead(status("A", "B", "C"))
        member.promise_of("C", 100)
        self.assertEqual(member.election.covered(), 100)
        (late,) = member.last("beat")
        member.election.disconnected("C")
        member.election.answered(Answer("C", 2, late.seq, Position(2, 100)))
        self.assertEqual(member.election.covered(), -1)

    def test_resigns_when_another_one_leads(self) -> None:
        """A later epoch in Consul or in a heartbeat ends the term in the same turn."""
        for news in ("consul", "heartbeat"):
            member = Member()
            member.lead(status("A", "B", "C"))
            member.promise_of("C")
            self.assertTrue(member.election.gate_open())
            if news == "consul":
                member.follow(status("C", epoch=3, version=9), 30)
            else:
                self.assertIsNotNone(member.election.heartbeat(beat(3, "C")))
            self.assertFalse(member.election.gate_open())
            self.assertEqual(member.election.epoch(), 0)

    def test_stands_again_with_what_it_knew_in_office(self) -> None:
        """After resigning, the next claim compares the index of the last own change."""
        member = Member()
        won = member.lead(status("A", "B"))
        member.promise_of("C", 100)
        member.election.admit("C")
        (settlement,) = member.last("change")
        member.election.change_settled(settlement, True, settlement.wanted, 21)
        member.election.resign("its Tile38 was started again")
        self.assertEqual(member.election.status, settlement.wanted)
        self.assertEqual(member.claim().index, 21)
        self.assertEqual(member.last("claim")[1].wanted.epoch, won.epoch + 1)

    def test_consul_restored_is_told_the_truth(self) -> None:
        """A leader that holds all promises writes its status again over an older one."""
        member = Member()
        won = member.lead(status("A", "B"))
        member.follow(status("A", "B"), 5)
        (settlement,) = member.last("change")
        self.assertEqual((settlement.index, settlement.wanted.epoch), (5, won.epoch))

    def test_consul_restored_while_the_gate_is_shut(self) -> None:
        """What could not be mended when it was seen is mended as soon as all promises are there again."""
        member = Member()
        member.lead(status("A", "B", "C"))
        member.election.observed(None, 0)
        self.assertEqual(member.asked("change"), [])
        member.wait(LEASE / 8)
        member.promise_of("C")
        member.wait(LEASE / 16)
        (settlement,) = member.last("change")
        self.assertEqual((settlement.index, settlement.wanted.leader), (0, "B"))

    def test_takes_a_lost_lock_again(self) -> None:
        """The lock is for others to read: losing it does not end the term."""
        member = Member()
        won = member.lead(status("A", "B"))
        member.election.lock(False)
        member.wait(LEASE / 16)
        (settlement,) = member.last("change")
        self.assertEqual(settlement.wanted, evolve(won, version=won.version + 1))
        self.assertTrue(member.election.gate_open())

    def test_falls_silent_when_it_cannot_lead(self) -> None:
        """With requests waiting and the gate shut for two leases it lets others stand, then tries again."""
        member = Member()
        member.lead(status("A", "B", "C"))
        member.election.wanted(100)
        member.wait((BLOCKED_LEASES + 0.5) * LEASE)
        before = len(member.asked("beat"))
        member.wait((SILENT_LEASES - 1) * LEASE)
        self.assertEqual(len(member.asked("beat")), before)
        member.wait(1.5 * LEASE)
        self.assertGreater(len(member.asked("beat")), before)
        # One heartbeat is not a try: its answers have to come back.
        member.wait((BLOCKED_LEASES - 1) * LEASE)
        self.assertGreater(len(member.asked("beat")), before + BEATS_PER_LEASE * (BLOCKED_LEASES - 1))
