"""One member's election, event by event, with its effects written down."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import GRACE, LEASE, Effects, Member, status
from tile38cm.coordination.election import ASK_AGAIN, FOUNDING_PATIENCE
from tile38cm.coordination.office import BLOCKED_LEASES, SILENT_LEASES
from tile38cm.coordination.promises import BEATS_PER_LEASE, Answer, Heartbeat
from tile38cm.coordination.survey import Report
from tile38cm.coordination.term import LocalState
from tile38cm.model import Position, Role


def beat(epoch: int = 1, leader: str = "A", seq: int = 1) -> Heartbeat:
    """A heartbeat of the leader."""
    return Heartbeat(epoch, leader, seq, LEASE, 100)


class FollowingTests(SynchronousTestCase):
    """A member that does not lead."""

    def test_a_heartbeat_is_answered_with_a_promise(self) -> None:
        """The answer names the heartbeat, and the member is bound a quarter longer than the lease."""
        member = Member()
        member.follow(status("A", "B"))
        member.wait(GRACE - LEASE / 8)
        answer = member.election.heartbeat(beat(seq=7))
        self.assertEqual(answer, Answer("B", 1, 7, Position(1, 100)))
        member.wait(GRACE - LEASE / 16)
        self.assertEqual(member.asked("survey"), [])
        member.wait(LEASE / 8)
        self.assertEqual(len(member.asked("survey")), 1)

    def test_promises_before_the_status_is_known(self) -> None:
        """A member that knows nothing of Consul yet still keeps a leader in office."""
        member = Member(seen=0)
        self.assertIsNotNone(member.election.heartbeat(beat()))
        self.assertEqual(member.asked("seen"), [(1, "")])

    def test_an_earlier_epoch_is_not_answered(self) -> None:
        """A leader that was deposed gets no promise from a member that knows of its successor."""
        member = Member(seen=5)
        self.assertIsNone(member.election.heartbeat(beat(epoch=4)))

    def test_a_consul_that_forgets_parts_nobody_from_the_leader(self) -> None:
        """The status is gone or an older one: only with its followers can the leader write it again."""
        for after in (None, status("C", "B", epoch=2)):
            member = Member(seen=1)
            member.follow(status("A", "B", epoch=3))
            member.election.observed(after, 4)
            self.assertEqual((member.election.leadership.leader, member.election.leadership.epoch), ("A", 3))
            self.assertIsNotNone(member.election.heartbeat(beat(epoch=3)))
            member.wait(10 * LEASE)
            self.assertEqual(member.asked("survey"), [])

    def test_own_epoch_is_seen_in_consul(self) -> None:
        """A member that finds itself as leader of an epoch it forgot answers no earlier one."""
        member = Member(seen=1)
        member.follow(status("B", "C", epoch=3))
        self.assertIsNone(member.election.heartbeat(beat(epoch=2)))
        self.assertEqual(member.asked("seen"), [(3, "cluster")])

    def test_own_heartbeat_is_not_answered(self) -> None:
        """What comes back to its sender is no promise."""
        self.assertIsNone(Member().election.heartbeat(beat(leader="B")))

    def test_a_new_epoch_counts_as_a_promise(self) -> None:
        """Who learns from Consul that another one leads gives it a lease to send heartbeats."""
        member = Member()
        member.follow(status("A", "B"))
        member.wait(GRACE - LEASE / 16)
        member.follow(status("C", "B", epoch=2), 11)
        member.wait(GRACE - LEASE / 16)
        self.assertEqual(member.asked("survey"), [])

    def test_grace_after_a_start(self) -> None:
        """A member that was started again may be bound by promises of its former life."""
        member = Member()
        member.follow(status("A", "B"))
        member.wait(GRACE - LEASE / 16)
        self.assertEqual(member.asked("survey"), [])
        self.assertIn("before it was restarted", member.election.why_not)

    def test_who_is_not_in_the_set_never_stands(self) -> None:
        """It may lack acknowledged writes."""
        member = Member()
        member.follow(status("A", "C"))
        member.wait(10 * LEASE)
        self.assertEqual(member.asked("survey"), [])
        self.assertIn("not in the sync set", member.election.why_not)

    def test_who_cannot_prove_its_position_never_stands(self) -> None:
        """Being in the set is not enough after an unclean restart."""
        member = Member(local=LocalState(True, None, None, 100))
        member.follow(status("A", "B"))
        member.wait(10 * LEASE)
        self.assertEqual(member.asked("survey"), [])

    def test_a_release_ends_the_promise_and_skips_the_questions(self) -> None:
        """The leader that gives the promise back has chosen this member."""
        member = Member()
        member.follow(status("A", "B"))
        member.wait(GRACE + LEASE / 16 - LEASE / 8)
        member.election.heartbeat(beat())
        member.wait(LEASE / 4)
        member.election.released(1)
        self.assertEqual(len(member.asked("claim")), 1)

    def test_a_release_of_a_shaken_member_skips_no_questions(self) -> None:
        """The leader has chosen it by what it had before it was started again."""
        member = Member()
        member.local = evolve(member.local, shaken=True)
        member.follow(status("A", "B"))
        member.wait(GRACE + LEASE / 16 - LEASE / 8)
        member.election.heartbeat(beat())
        member.wait(LEASE / 4)
        member.election.released(1)
        self.assertEqual(len(member.asked("survey")), 1)
        self.assertEqual(member.asked("claim"), [])

    def test_a_release_of_another_epoch_is_ignored(self) -> None:
        """A message from an earlier term does not free from the promise of this one."""
        member = Member(seen=2)
        member.follow(status("A", "B", epoch=2))
        member.election.heartbeat(beat(epoch=2))
        member.clock.advance(GRACE - LEASE / 8)
        member.election.released(1)
        self.assertEqual(member.asked("claim"), [])

    def test_without_consul_nobody_stands(self) -> None:
        """A claim that nobody settles would keep its sender from promising to a leader that lives."""
        member = Member(consul=False)
        member.follow(status("A", "B"))
        member.wait(10 * LEASE)
        self.assertEqual(member.asked("survey"), [])
        self.assertIn("Consul", member.election.why_not)
        self.assertIsNotNone(member.election.heartbeat(beat(seq=7)))
        self.assertLessEqual(len(member.asked("ask_consul")), 10 * LEASE / ASK_AGAIN + 1)

    def test_it_stands_as_soon_as_consul_answers(self) -> None:
        """However late that is."""
        member = Member(consul=False)
        member.follow(status("A", "B"))
        member.wait(10 * LEASE)
        member.election.consul_answered()
        self.assertEqual(len(member.asked("survey")), 1)

    def test_consul_is_asked_before_the_promise_has_run_out(self) -> None:
        """The answer is there when it is needed; while heartbeats come nothing is asked."""
        member = Member()
        member.follow(status("A", "B"))
        for seq in range(40):
            member.election.heartbeat(beat(seq=seq))
            member.wait(LEASE / 8)
        self.assertEqual(member.asked("ask_consul"), [])
        member.wait(GRACE - LEASE / 4)
        self.assertEqual(len(member.asked("ask_consul")), 1)
        self.assertEqual(member.asked("survey"), [])

    def test_a_consul_that_goes_away_between_gets_no_claim(self) -> None:
        """The questions to the others took long: the member follows on."""
        member = Member()
        member.follow(status("A", "B", "C"))
        ticket = member.stand()
        member.consul = False
        member.wait(5 * LEASE)
        member.election.surveyed(ticket, ())
        self.assertEqual(member.asked("claim"), [])
        self.assertIsNotNone(member.election.heartbeat(beat(seq=7)))


class Alone(Effects):
    """Nobody can be asked: questions are answered at once, by nobody."""

    answer: Callable[[int, tuple[Report, ...]], None]

    def survey(self, ticket: int, members: frozenset[str] | None) -> None:
        self.answer(ticket, ())


class StandingTests(SynchronousTestCase):
    """A member that tries to lead."""

    def setUp(self) -> None:
        self.member = Member()
        self.member.follow(status("A", "B", "C"))

    def test_takes_no_bytes_and_answers_nothing(self) -> None:
        """From standing until the outcome is known there is neither a promise nor an acknowledgement."""
        self.member.stand()
        self.assertEqual(self.member.last("take_bytes"), (False,))
        self.assertIsNone(self.member.election.heartbeat(beat()))
        self.member.election.surveyed(self.member.core.tickets, ())
        self.assertIsNone(self.member.election.heartbeat(beat()))

    def test_claims_against_the_status_it_read(self) -> None:
        """The transaction compares the index read, raises the epoch and leaves the old leader out."""
        settlement = self.member.claim()
        self.assertEqual(settlement.index, 10)
        self.assertEqual(settlement.wanted.epoch, 2)
        self.assertEqual(settlement.wanted.leader, "B")
        self.assertEqual(settlement.wanted.sync_set, {"B", "C"})
        record = self.member.last("claim")[2]
        self.assertEqual((record.parent, record.parent_offset, record.start), (1, 100, None))

    def test_nobody_to_ask(self) -> None:
        """Where nobody could be asked the answer comes at once; who claims in any case claims once."""
        for way in ("forced", "released"):
            alone = Alone()
            member = Member(effects=alone)
            alone.answer = member.election.surveyed
            member.follow(status("A", "B"))
            if way == "forced":
                self.assertTrue(member.election.force())
            else:
                member.election.heartbeat(beat())
                member.wait(GRACE)
                member.election.heartbeat(beat())
                member.election.consul_answered()
                member.election.released(1)
            self.assertEqual(len(member.asked("claim")), 1, way)

    def test_withdraws_when_the_status_changes(self) -> None:
        """Before it has claimed, another index means that the reasons to stand may be gone."""
        ticket = self.member.stand()
        self.member.follow(status("A", "B", version=2), 11)
        self.assertEqual(self.member.last("take_bytes"), (True,))
        self.member.election.surveyed(ticket, ())
        self.assertEqual(self.member.asked("claim"), [])

    def test_what_is_seen_while_claiming_proves_nothing(self) -> None:
        """Only the settlement tells what became of a claim."""
        self.member.claim()
        self.member.follow(status("C", "B", epoch=2), 11)
        self.assertIsNone(self.member.election.heartbeat(beat(epoch=2, leader="C")))

    def test_a_round_without_an_end_is_asked_again(self) -> None:
        """A candidate answers no heartbeat, so it must not wait for ever for the others' answers."""
        self.member.stand()
        self.member.wait(10 * LEASE)
        self.assertGreater(len(self.member.asked("survey")), 1)

    def test_waits_for_a_fuller_member_but_not_for_ever(self) -> None:
        """A member that is further gets four rounds, no more."""
        fuller = Report("C", Position(1, 200), 1)
        ticket = self.member.stand()
        for _ in range(4):
            self.member.election.surveyed(ticket, (fuller,))
            self.assertEqual(self.member.asked("claim"), [])
            self.member.wait(LEASE / 4)
        self.member.election.surveyed(ticket, (fuller,))
        self.assertEqual(len(self.member.asked("claim")), 1)

    def test_waits_for_a_fuller_member_with_a_slow_consul(self) -> None:
        """An answer of Consul counts for all the rounds that it takes."""
        fuller = Report("C", Position(1, 200), 1)
        ticket = self.member.stand()
        self.member.consul = False
        for _ in range(4):
            self.member.election.surveyed(ticket, (fuller,))
            self.member.wait(LEASE / 2)
        self.member.election.surveyed(ticket, (fuller,))
        self.assertEqual(len(self.member.asked("claim")), 1)

    def test_shaken(self) -> None:
        """One that may have lost something does not stand before it has heard the others."""
        member = self.member
        member.local = evolve(member.local, shaken=True)
        member.stand()
        for _ in range(6):
            ticket = member.last("survey")[0]
            member.election.surveyed(ticket, (Report("C", None, 1),))
            self.assertIn("A does not say", member.election.why_not)
            self.assertIsNone(member.core.candidacy)
            member.wait(LEASE / 2)
            self.assertEqual(member.last("survey")[0], ticket)
            member.wait(LEASE)
        self.assertEqual(member.asked("claim"), [])
        hear = member.core.status.sync_set - {"B"}  # type: ignore[union-attr]  # it follows one
        member.election.surveyed(
            member.last("survey")[0], tuple(Report(name, Position(1, 50), 1) for name in hear)
        )
        self.assertEqual(len(member.asked("claim")), 1)

    def test_shaken_hears_a_leader(self) -> None:
        """Its way back is a leader that lives: it promises, and stands no more."""
        member = self.member
        member.local = evolve(member.local, shaken=True)
        member.election.surveyed(member.stand(), ())
        self.assertIsNotNone(member.election.heartbeat(Heartbeat(1, "A", 1, LEASE, 100)))

    def test_answers_to_an_earlier_try_are_ignored(self) -> None:
        """Each try has a ticket; a doubled answer to another one changes nothing."""
        ticket = self.member.stand()
        self.member.election.surveyed(ticket - 1, ())
        self.assertEqual(self.member.asked("claim"), [])

    def test_a_lost_claim_makes_a_follower_of_the_winner(self) -> None:
        """What Consul holds then is taken as seen, with the promise that goes with a new epoch."""
        self.member.claim()
        self.member.election.claim_settled(self.member.core.tickets, False, status("C", "B", epoch=2), 11)
        self.assertEqual(self.member.last("publish"), (Role.FOLLOWER, "C", 2))
        self.assertEqual(self.member.last("take_bytes"), (True,))
        self.member.wait(GRACE - LEASE / 8)
        self.assertEqual(len(self.member.asked("survey")), 1)

    def test_a_claim_is_settled_once(self) -> None:
        """The second report of the same outcome changes nothing."""
        won = self.member.win()
        self.member.election.claim_settled(self.member.core.tickets, True, won, 20)
        self.assertEqual(len(self.member.asked("prepare")), 1)


class FoundingTests(SynchronousTestCase):
    """A cluster of which nothing is known anywhere."""

    def test_founds_by_creating_the_status(self) -> None:
        """The first status is written only where there is none; the founder is the whole set."""
        member = Member(seen=0)
        member.clock.advance(GRACE + FOUNDING_PATIENCE)
        member.election.observed(None, 0)
        settlement = member.claim()
        self.assertEqual(settlement.index, 0)
        self.assertEqual((settlement.wanted.epoch, settlement.wanted.sync_set), (1, {"B"}))
        self.assertEqual(member.last("survey")[1], None)

    def test_who_remembers_a_cluster_does_not_found_one(self) -> None:
        """A Consul without status is not taken for a new cluster by a member with history."""
        member = Member(seen=3)
        member.election.observed(None, 0)
        member.wait(20 * LEASE)
        self.assertEqual(member.asked("survey"), [])


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
