"""The machine of roles: which step is allowed when, and what it does at once.

L{Inputs} is its alphabet; L{tile38cm.coordination.election} decides when to
feed it.  Every pair of state and input that is not listed raises
C{NoTransition}: it would be a mistake of ours.
"""

from __future__ import annotations

from typing import Protocol

from attrs import evolve
from automat import TypeMachineBuilder

from tile38cm.coordination.member import Core
from tile38cm.coordination.status import EpochRecord, Settlement, found, take_over
from tile38cm.coordination.term import Candidacy, Term
from tile38cm.model import Position, Role

#: A round of questions that is not over by then (seconds, beyond a lease) is asked again.
SURVEY_PATIENCE = 2.0


class Inputs(Protocol):
    """What may happen to a member; L{Election} decides when."""

    def follow(self) -> None:
        """Consul's status is known: be a follower."""

    def stand(self) -> None:
        """The promise has run out: try to lead."""

    def ask(self) -> None:
        """Ask the others once more."""

    def withdraw(self, reason: str) -> None:
        """Give the try up before anything was claimed."""

    def claim(self) -> None:
        """Send the transaction."""

    def lost(self) -> None:
        """Another transaction won."""

    def won(self, term: Term) -> None:
        """The term is ours."""

    def begin_open(self) -> None:
        """Prepared, and free of promises: become writable."""

    def opened(self) -> None:
        """Tile38 takes writes."""

    def hand_over(self, final: int) -> None:
        """Shut the gate for good and let another one lead."""

    def resign(self, reason: str) -> None:
        """Lose the term, for whatever reason."""

    def stop(self) -> None:
        """Take no further part."""


def role_machine(core: Core) -> Inputs:
    builder = TypeMachineBuilder(Inputs, Core)
    starting = builder.state("starting")
    following = builder.state("following")
    standing = builder.state("standing")
    claiming = builder.state("claiming")
    taking_over = builder.state("taking_over")
    opening = builder.state("opening")
    leading = builder.state("leading")
    handing_over = builder.state("handing_over")
    stopped = builder.state("stopped")
    in_office = (taking_over, opening, leading, handing_over)

    @starting.upon(Inputs.follow).to(following)
    def begin(_: Inputs, core: Core) -> None:
        core.publish(Role.FOLLOWER, "started")

    @following.upon(Inputs.stand).to(standing)
    def stand(_: Inputs, core: Core) -> None:
        core.effects.take_bytes(False)
        core.tickets += 1
        position = core.local().position or Position(0, 0)
        core.candidacy = Candidacy(core.tickets, core.status, core.index, position)
        _survey(core)

    @standing.upon(Inputs.ask).loop()
    def ask(_: Inputs, core: Core) -> None:
        _survey(core)

    @standing.upon(Inputs.withdraw).to(following)
    def withdraw(_: Inputs, core: Core, reason: str) -> None:
        core.candidacy = None
        core.effects.take_bytes(True)
        core.publish(Role.FOLLOWER, reason)

    @standing.upon(Inputs.claim).to(claiming)
    def claim(_: Inputs, core: Core) -> None:
        assert core.candidacy is not None
        core.candidacy = evolve(core.candidacy, claimed=True)
        settlement, record = claim_for(core, core.candidacy)
        core.effects.claim(core.candidacy.ticket, settlement, record)

    @claiming.upon(Inputs.lost).to(following)
    def lost(_: Inputs, core: Core) -> None:
        core.candidacy = None
        core.effects.take_bytes(True)
        core.publish(Role.FOLLOWER, "another node was faster")

    @claiming.upon(Inputs.won).to(taking_over)
    def won(_: Inputs, core: Core, term: Term) -> None:
        core.candidacy = None
        core.term = term
        core.publish(Role.TAKING_OVER, term.record.reason)
        core.effects.prepare(term.record)

    @taking_over.upon(Inputs.begin_open).to(opening)
    def begin_open(_: Inputs, core: Core) -> None:
        assert core.term is not None
        core.term.opening = True
        core.effects.open(core.term.epoch)

    @opening.upon(Inputs.opened).to(leading)
    def opened(_: Inputs, core: Core) -> None:
        assert core.term is not None
        core.term.opened = True
        core.publish(Role.LEADER, core.term.record.reason)
        core.effects.gate_changed()

    @leading.upon(Inputs.hand_over).to(handing_over)
    def hand_over(_: Inputs, core: Core, final: int) -> None:
        assert core.term is not None
        core.term.final = final
        core.effects.gate_changed()

    def resign(_: Inputs, core: Core, reason: str) -> None:
        core.term = None
        core.effects.gate_changed()
        core.effects.take_bytes(True)
        core.publish(Role.FOLLOWER, reason)

    def stop(_: Inputs, core: Core) -> None:
        core.term = core.candidacy = None
        core.effects.gate_changed()
        core.publish(Role.STOPPED, "stopped")

    for state in in_office:
        state.upon(Inputs.resign).to(following)(resign)
    for state in (starting, following, standing, claiming, *in_office):
        state.upon(Inputs.stop).to(stopped)(stop)
    stopped.upon(Inputs.stop).loop().returns(None)
    return builder.build()(core)


def _survey(core: Core) -> None:
    """Send one round of questions to the others that may stand."""
    assert core.candidacy is not None
    # A round of which nothing is heard is asked again: a candidate that waits answers no heartbeat.
    core.candidacy = evolve(core.candidacy, next_round=core.now() + core.lease + SURVEY_PATIENCE)
    status = core.candidacy.status
    core.effects.survey(core.candidacy.ticket, None if status is None else status.sync_set - {core.me})


def claim_for(core: Core, candidacy: Candidacy) -> tuple[Settlement, EpochRecord]:
    """The transaction that would make this node leader."""
    status, position = candidacy.status, candidacy.position
    if status is None:
        first = found(core.new_cluster(), core.me, core.lease)
        return Settlement(first, candidacy.index), EpochRecord(
            1, core.me, 0, 0, reason="the cluster was founded"
        )
    released = core.released_epoch == status.epoch
    wanted = evolve(take_over(status, core.me, core.seen, released), lease=core.lease, offset=position.offset)
    reason = "the leader was started again" if status.leader == core.me else f"{status.leader} fell away"
    if released:
        reason = f"{status.leader} handed over"
    if core.forced:
        wanted, reason = evolve(wanted, sync_set=frozenset({core.me})), "an operator has forced it"
    record = EpochRecord(wanted.epoch, core.me, position.epoch, position.offset, reason=reason)
    return Settlement(wanted, candidacy.index), record
