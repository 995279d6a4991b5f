"""The rules, each weakened in one way, to show that the model sees the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import evolve

from tile38cm.coordination import election, member, promises, survey
from tile38cm.coordination.election import Election
from tile38cm.coordination.member import Core
from tile38cm.coordination.promises import Answer, Heartbeat, Promise
from tile38cm.coordination.status import EpochRecord, Settlement, Status
from tile38cm.coordination.term import Term
from tile38cm.model import Position
from tile38cm.replication import history
from tile38cm.replication.history import Continue, PresentLog

Records = Mapping[int, EpochRecord]
#: What is replaced: the owner, the name, the weaker thing.
Patch = tuple[Any, str, Any]


def promise_from_receipt() -> list[Patch]:
    """A promise is counted from the arrival of the answer."""
    answered = Election.answered

    def late(self: Election, answer: Answer) -> None:
        term = self._core.term
        if term is not None and answer.epoch == term.epoch:
            term.ledger._sent[answer.seq] = self._core.now()
        answered(self, answer)

    return [(Election, "answered", late)]


def no_safety() -> list[Patch]:
    """The giver keeps a promise no longer than the taker counts it."""
    return [(promises, "SAFETY", 1.0), (member, "SAFETY", 1.0)]


def no_union() -> list[Patch]:
    """While a change is unsettled only the old set is asked."""
    return [(Term, "required", lambda self: self.status.sync_set - {self.status.leader})]


def no_acknowledgements() -> list[Patch]:
    """Replies do not wait for followers."""
    return [(Election, "covered", lambda self: None)]


def answers_while_standing() -> list[Patch]:
    """A candidate goes on promising, and opens without asking its own promise again."""
    heartbeat, tick = Election.heartbeat, Election._tick_in_office

    def talkative(self: Election, beat: Heartbeat) -> Answer | None:
        candidacy, self._core.candidacy = self._core.candidacy, None
        try:
            return heartbeat(self, beat)
        finally:
            self._core.candidacy = candidacy

    def hasty(self: Election, term: Term, now: float) -> None:
        self._core.promise = Promise()
        tick(self, term, now)

    return [(Election, "heartbeat", talkative), (Election, "_tick_in_office", hasty)]


def promise_not_asked() -> list[Patch]:
    """A member stands and opens whatever it has promised."""
    return [(Promise, "expired", lambda self, now: True)]


def touch_off() -> list[Patch]:
    """An unchanged index is taken as proof that a write was not applied."""

    def outcome(self: Settlement, found: Status | None, index: int) -> bool | None:
        return found is not None and found.nonce in self.nonces

    return [(Settlement, "outcome", outcome)]


def no_grace() -> list[Patch]:
    """A member that was started again does not wait for the promises of its former life."""
    return [(Core, "grace", lambda self: 0.0)]


def nearly_caught_up() -> list[Patch]:
    """A follower is let into the set a little early."""
    admit = Election.admit

    def early(self: Election, name: str) -> None:
        term = self._core.term
        if term is not None:
            exposed, term.exposed = term.exposed, term.exposed - 2
            admit(self, name)
            term.exposed = exposed

    return [(Election, "admit", early)]


def wipe_in_set() -> list[Patch]:
    """A member starts over without leaving the set first."""
    return [(Election, "expel", lambda self, name: True)]


def epoch_forgotten() -> list[Patch]:
    """The highest epoch seen does not survive a restart, and is not learnt from Consul."""

    def start(self: Core) -> None:
        self.seen = 0

    return [(Core, "__attrs_post_init__", _then(Core.__attrs_post_init__, start))]


def drop_silently() -> list[Patch]:
    """A member that fell away is not waited for although Consul does not know yet."""

    def required(self: Term) -> frozenset[str]:
        members = self.status.sync_set if self.change is None else self.change.wanted.sync_set
        return members - {self.status.leader}

    return [(Term, "required", required)]


def earlier_terms_forgotten() -> list[Patch]:
    """Only replies of the present term count as shown to clients."""
    prepared = Election.prepared

    def forgetful(self: Election, epoch: int, start: int = 0) -> None:
        prepared(self, epoch, start)
        if self._core.term is not None:
            self._core.term.exposed = 0

    return [(Election, "prepared", forgetful)]


def not_shaken() -> list[Patch]:
    """A member whose machine has ended stands like any other."""
    advise = survey.advise
    return [(election, "advise", lambda me, others, epoch, rounds, hear: advise(me, others, epoch, rounds))]


def beyond_the_parting() -> list[Patch]:
    """How much of an epoch became part of the history is not asked."""
    plan = history.plan

    def lenient(position: Position | None, records: Records, log: PresentLog, holdings: Any) -> Any:
        ends = {r.parent: r.parent_offset for r in records.values()}
        if position is None or position.offset <= ends.get(position.epoch, position.offset):
            return plan(position, records, log, holdings)
        decision = plan(Position(position.epoch, ends[position.epoch]), records, log, holdings)
        return evolve(decision, begin=position) if isinstance(decision, Continue) else decision

    return [(history, "plan", lenient)]


def one_line_of_epochs() -> list[Patch]:
    """The parent of each epoch is taken to be the one before it by number."""
    plan = history.plan

    def straight(position: Position | None, records: Records, log: PresentLog, holdings: Any) -> Any:
        in_order = sorted(records)
        line = {
            epoch: evolve(records[epoch], parent=before)
            for before, epoch in zip([0, *in_order], in_order, strict=False)
        }
        return plan(position, line, log, holdings)

    return [(history, "plan", straight)]


def _then(first: Callable[[Any], None], second: Callable[[Any], None]) -> Callable[[Any], None]:
    def both(self: Any) -> None:
        first(self)
        second(self)

    return both


MUTANTS: dict[str, Callable[[], list[Patch]]] = {
    make.__name__: make
    for make in (
        promise_from_receipt,
        no_safety,
        no_union,
        no_acknowledgements,
        answers_while_standing,
        promise_not_asked,
        touch_off,
        no_grace,
        nearly_caught_up,
        wipe_in_set,
        epoch_forgotten,
        drop_silently,
        earlier_terms_forgotten,
        not_shaken,
        beyond_the_parting,
        one_line_of_epochs,
    )
}


@contextmanager
def weakened(name: str | None) -> Iterator[None]:
    """Run with one rule weakened; C{None}: intact."""
    patches = MUTANTS[name]() if name is not None else []
    kept = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    try:
        for owner, attribute, weaker in patches:
            setattr(owner, attribute, weaker)
        yield
    finally:
        for owner, attribute, original in kept:
            setattr(owner, attribute, original)
