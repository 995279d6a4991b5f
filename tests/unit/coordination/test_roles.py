"""The machine of roles: every pair of state and input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from automat import NoTransition
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import Member, status
from tile38cm.coordination.promises import Ledger
from tile38cm.coordination.roles import Inputs, role_machine
from tile38cm.coordination.status import EpochRecord
from tile38cm.coordination.term import LocalState, Term
from tile38cm.model import Position

TERM = Term(
    status("B", "C", epoch=2), 20, EpochRecord(2, "B", 1, 100, reason="A fell away"), Ledger(2, 1.0, 0.0)
)

#: How each input is fed.
INPUTS: dict[str, Callable[[Inputs], None]] = {
    "follow": lambda m: m.follow(),
    "stand": lambda m: m.stand(),
    "ask": lambda m: m.ask(),
    "withdraw": lambda m: m.withdraw("reason"),
    "claim": lambda m: m.claim(),
    "lost": lambda m: m.lost(),
    "won": lambda m: m.won(TERM),
    "begin_open": lambda m: m.begin_open(),
    "opened": lambda m: m.opened(),
    "hand_over": lambda m: m.hand_over(100),
    "resign": lambda m: m.resign("reason"),
    "stop": lambda m: m.stop(),
}

#: The inputs that lead to each state.
PATHS: dict[str, tuple[str, ...]] = {
    "starting": (),
    "following": ("follow",),
    "standing": ("follow", "stand"),
    "claiming": ("follow", "stand", "claim"),
    "taking_over": ("follow", "stand", "claim", "won"),
    "opening": ("follow", "stand", "claim", "won", "begin_open"),
    "leading": ("follow", "stand", "claim", "won", "begin_open", "opened"),
    "handing_over": ("follow", "stand", "claim", "won", "begin_open", "opened", "hand_over"),
    "stopped": ("stop",),
}

#: Every allowed pair, with the state after it and the effects asked for, in order.
ALLOWED: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("starting", "follow"): ("following", ("publish",)),
    ("starting", "stop"): ("stopped", ("gate_changed", "publish")),
    ("following", "stand"): ("standing", ("take_bytes", "survey")),
    ("following", "stop"): ("stopped", ("gate_changed", "publish")),
    ("standing", "ask"): ("standing", ("survey",)),
    ("standing", "withdraw"): ("following", ("take_bytes",)),
    ("standing", "claim"): ("claiming", ("claim",)),
    ("standing", "stop"): ("stopped", ("gate_changed", "publish")),
    ("claiming", "lost"): ("following", ("take_bytes",)),
    ("claiming", "won"): ("taking_over", ("publish", "prepare")),
    ("claiming", "stop"): ("stopped", ("gate_changed", "publish")),
    ("taking_over", "begin_open"): ("opening", ("open",)),
    ("taking_over", "resign"): ("following", ("gate_changed", "take_bytes", "publish")),
    ("taking_over", "stop"): ("stopped", ("gate_changed", "publish")),
    ("opening", "opened"): ("leading", ("publish", "gate_changed")),
    ("opening", "resign"): ("following", ("gate_changed", "take_bytes", "publish")),
    ("opening", "stop"): ("stopped", ("gate_changed", "publish")),
    ("leading", "hand_over"): ("handing_over", ("gate_changed",)),
    ("leading", "resign"): ("following", ("gate_changed", "take_bytes", "publish")),
    ("leading", "stop"): ("stopped", ("gate_changed", "publish")),
    ("handing_over", "resign"): ("following", ("gate_changed", "take_bytes", "publish")),
    ("handing_over", "stop"): ("stopped", ("gate_changed", "publish")),
    ("stopped", "stop"): ("stopped", ()),
}


def machine_in(state: str) -> tuple[Member, Inputs]:
    """A fresh machine, taken to C{state}; effects so far forgotten."""
    member = Member(local=LocalState(True, Position(1, 100), Position(1, 100), 100))
    member.core.status, member.core.index = status("A", "B", "C"), 10
    machine = role_machine(member.core)
    for step in PATHS[state]:
        INPUTS[step](machine)
    member.effects.done.clear()
    return member, machine


def accepted(state: str, more: str | None = None) -> frozenset[str]:
    """The inputs that a machine in C{state} takes, after one C{more}."""
    taken = set()
    for name, feed in INPUTS.items():
        _, machine = machine_in(state)
        if more is not None:
            INPUTS[more](machine)
        try:
            feed(machine)
        except NoTransition:
            continue
        taken.add(name)
    return frozenset(taken)


class TableTests(SynchronousTestCase):
    """The whole table, as written above."""

    def test_inputs_are_all_there(self) -> None:
        """The table speaks of every input that the machine has."""
        self.assertEqual(set(INPUTS), {name for name in vars(Inputs) if not name.startswith("_")})

    def test_every_pair(self) -> None:
        """A listed pair asks for just its effects; any other raises and asks for nothing."""
        for state in PATHS:
            for name, feed in INPUTS.items():
                member, machine = machine_in(state)
                if (state, name) not in ALLOWED:
                    self.assertRaises(NoTransition, feed, machine)
                    self.assertEqual(member.effects.done, [], (state, name))
                    continue
                feed(machine)
                done = tuple(call[0] for call in member.effects.done)
                self.assertEqual(done, ALLOWED[state, name][1], (state, name))

    def test_every_state_after(self) -> None:
        """After a listed pair the machine takes what its new state takes, and only that."""
        expected = {state: frozenset(name for of, name in ALLOWED if of == state) for state in PATHS}
        for (state, name), (after, _) in ALLOWED.items():
            self.assertEqual(accepted(state, name), expected[after], (state, name))


class EffectTests(SynchronousTestCase):
    """What the steps do to a member's data."""

    def test_standing_and_giving_up(self) -> None:
        """No bytes are taken while standing, and they are again afterwards."""
        member, machine = machine_in("standing")
        self.assertIsNotNone(member.core.candidacy)
        machine.withdraw("reason")
        self.assertIsNone(member.core.candidacy)
        self.assertEqual(member.effects.done, [("take_bytes", True)])

    def test_each_try_has_its_ticket(self) -> None:
        """Outcomes of an earlier try can be told from those of this."""
        member, machine = machine_in("standing")
        first = member.core.tickets
        machine.withdraw("reason")
        machine.stand()
        self.assertEqual(member.core.tickets, first + 1)

    def test_the_term_ends_with_the_office(self) -> None:
        """Who has resigned has no term, so its gate cannot be open."""
        member, machine = machine_in("leading")
        self.assertIs(member.core.term, TERM)
        machine.resign("reason")
        self.assertIsNone(member.core.term)

    def test_the_claim_names_its_lease_and_parent(self) -> None:
        """Others learn from the status how long this leader's promises run."""
        member, machine = machine_in("standing")
        member.core.lease = 2.5
        machine.claim()
        _, settlement, record = member.last("claim")
        self.assertEqual(settlement.wanted.lease, 2.5)
        self.assertEqual((record.epoch, record.parent, record.parent_offset), (2, 1, 100))

    def test_reasons(self) -> None:
        """The record says why the lead changed, for people."""
        for leader, released, reason in (
            ("A", 0, "A fell away"),
            ("A", 1, "A handed over"),
            ("B", 0, "the leader was started again"),
        ):
            member, machine = machine_in("standing")
            assert member.core.candidacy is not None
            member.core.candidacy = evolve(member.core.candidacy, status=status(leader, "B"))
            member.core.released_epoch = released
            machine.claim()
            record: Any = member.last("claim")[2]
            self.assertEqual(record.reason, reason)
