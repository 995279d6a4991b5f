"""Who stands first: one member's view of the others, and what follows from it.  Pure."""

from __future__ import annotations

from attrs import frozen

from tile38cm.model import Position

#: A member waits so often for one that is fuller or still hears the leader.
MAX_ROUNDS = 4


@frozen
class Report:
    """What a member answers when it is asked where it stands.

    C{bound}: it is still held by a promise, so it hears the leader, or did
    until just now.  C{objects} is what an empty cluster is founded by.
    """

    member: str
    position: Position | None
    seen_epoch: int
    bound: bool = False
    eligible: bool = True
    priority: int = 0
    log_size: int = 0

    @property
    def rank(self) -> tuple[Position, int]:
        """How good a leader it would make; the id breaks what ties are left."""
        return (self.position or Position(0, 0), self.priority)


@frozen
class Stand:
    """Nothing speaks against standing now."""


@frozen
class Defer:
    """Wait another round; C{reason} is for people."""

    reason: str


@frozen
class Withdraw:
    """Somebody knows of a later epoch: read C{status} again before anything else."""

    reason: str


@frozen
class Rest:
    """This node must not stand while that is so: follow for a while, then ask again."""

    reason: str


Advice = Stand | Defer | Withdraw | Rest


def advise(
    me: Report,
    others: tuple[Report, ...],
    epoch: int,
    rounds: int,
    hear: frozenset[str] = frozenset(),
) -> Advice:
    """Whether C{me} should stand, given the members of the set that answered.

    @param epoch: the epoch in C{status} as this member read it.
    @param rounds: how many rounds it has waited already.
    @param hear: if C{me} is shaken, the other members of the set: each of them may be the only
        one left that has an acknowledged write.
    """
    later = [r for r in others if r.seen_epoch > max(epoch, me.seen_epoch)]
    if later:
        return Withdraw(f"{later[0].member} has seen epoch {later[0].seen_epoch}")
    unheard = _unheard(me, others, hear)
    if unheard:
        return Rest(unheard)
    if rounds >= MAX_ROUNDS:
        return Stand()
    for other in others:
        if not other.eligible:
            continue
        if _before(other, me):
            return Defer(f"{other.member} is at {other.position}, before this node")
    bound = [r.member for r in others if r.bound and r.eligible]
    if bound:
        return Defer(f"{bound[0]} may still hear the leader")
    return Stand()


def founder(me: Report, others: tuple[Report, ...], expect: int, patient: bool) -> Advice:
    """Whether C{me} should found a cluster that has no history anywhere.

    @param expect: members that must be known first, this one included.
    @param patient: this node has waited as long as for others that are started with it.
    """
    known = [r for r in others if r.seen_epoch > 0]
    if known:
        return Withdraw(f"{known[0].member} remembers epoch {known[0].seen_epoch}, but Consul has no status")
    if len(others) + 1 < expect:
        return Defer(f"{len(others) + 1} of {expect} expected members are there")
    for other in others:
        if (other.log_size, _reverse(other.member)) > (me.log_size, _reverse(me.member)):
            return Defer(
                f"{other.member} has more data"
                if other.log_size > me.log_size
                else f"{other.member} goes first"
            )
    if not patient and me.log_size == 0:
        return Defer("this node is empty: one with data may come")
    if not patient and expect == 1:
        return Defer("nobody said how many nodes to expect: one with more data may come")
    return Stand()


def _unheard(me: Report, others: tuple[Report, ...], hear: frozenset[str]) -> str:
    """Why a shaken member may not know enough, or has not enough; empty when neither is so."""
    known = {r.member: r.position for r in others if r.member in hear and r.position is not None}
    why = "this node may have lost acknowledged writes in a crash of its machine"
    missing = sorted(hear - known.keys())
    if missing:
        return f"{why}, and {missing[0]} does not say what it has"
    fuller = [name for name, position in known.items() if position > (me.position or Position(0, 0))]
    return f"{why}, and {fuller[0]} has more" if fuller else ""


def _before(other: Report, me: Report) -> bool:
    if other.rank != me.rank:
        return other.rank > me.rank
    return other.member < me.member


def _reverse(name: str) -> tuple[int, ...]:
    """A key that sorts names downwards, so that the first id wins a tie."""
    return tuple(-ord(c) for c in name)
