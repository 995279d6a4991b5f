"""One member's way to the lead, event by event, with its effects written down."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import GRACE, LEASE, Effects, Member, beat, status
from tile38cm.coordination.election import ASK_AGAIN, FOUNDING_PATIENCE
from tile38cm.coordination.promises import Answer, Heartbeat
from tile38cm.coordination.survey import Report
from tile38cm.coordination.term import LocalState
from tile38cm.model import Position, Role


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
