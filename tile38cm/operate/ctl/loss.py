"""What is lost if a node leads that does not hold everything: what is known, and what is not.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from tile38cm.model import Position
from tile38cm.operate.ctl.cluster import Member, Seen


@frozen
class Lost:
    """Bytes C{start..end} of the log of an epoch. More may follow behind the last one."""

    epoch: int
    start: int
    end: int


@frozen
class Forecast:
    """What would become of a cluster that C{candidate} were forced to lead.

    C{lost} is C{None} where nothing can be said, since the candidate's position is
    not known or lies on no way to the present epoch.
    """

    candidate: Member
    lost: tuple[Lost, ...] | None
    #: Other members that are further, or may be: their ids.
    further: tuple[str, ...]
    #: Members of the sync set that may lead: the cluster needs no force.
    living: tuple[str, ...]


def forecast(seen: Seen, candidate: Member) -> Forecast:
    """Compare what is known of a candidate with what is known of all others."""
    position = candidate.position
    others = [m for m in seen.members.values() if m.id != candidate.id]
    return Forecast(
        candidate,
        None if position is None else _lost(seen, position),
        tuple(m.id for m in others if m.position is not None and (position is None or m.position > position)),
        tuple(m.id for m in others if not seen.against(m)),
    )


def _lost(seen: Seen, position: Position) -> tuple[Lost, ...] | None:
    """The way from a position to all that is known of the present epoch, as pieces of logs."""
    epoch, end = seen.status.epoch, seen.told_by_leader()
    way: list[Lost] = []
    while epoch != position.epoch:
        record = seen.records.get(epoch)
        if record is None or record.parent >= epoch or record.parent < position.epoch:
            return None
        # Without a start its leader never opened for writes.
        way.insert(0, Lost(epoch, end if record.start is None else record.start, end))
        epoch, end = record.parent, record.parent_offset
    if position.offset > end and way:
        return None  # what it has of that epoch has been undone since
    return tuple(each for each in (Lost(epoch, position.offset, end), *way) if each.end > each.start)


def sentences(seen: Seen, found: Forecast) -> Iterator[str]:
    """For people; the most important last."""
    status, candidate = seen.status, found.candidate
    yield f"{candidate.id} is at {_at(candidate)}; {_age(candidate)}."
    yield (
        f"{status.leader} leads epoch {status.epoch}, by the status; "
        f"its log had at least {seen.told_by_leader():,} bytes."
    )
    for member in seen.members.values():
        if member.id != candidate.id:
            yield f"{member.id} was last known at {_at(member)}; {_age(member)}."
    unheard = sorted(status.sync_set - seen.members.keys())
    if unheard:
        yield f"Nothing is known of {', '.join(unheard)}."
    if found.living:
        yield f"{', '.join(found.living)}: here, in the sync set and fit, so it should lead without force."
    if found.further:
        yield f"{', '.join(found.further)}: further than {candidate.id}; better, if it comes back."
    yield from _known(found)
    if status.leader != candidate.id:
        yield (
            f"UNKNOWN: whatever was written since these positions were told, up to five seconds before "
            f"{status.leader} fell away, or later if it lives on."
        )
    yield (
        "What a node has and the new leader lacks is kept in files on that node when it comes back "
        "(tile38ctl tail list), and is in no server then."
    )


def _known(found: Forecast) -> Iterator[str]:
    name = found.candidate.id
    if found.lost is None:
        yield (
            f"LOST: it cannot be said how much. "
            f"What {name} has is not known to be part of the cluster's history."
        )
    elif not found.lost:
        yield f"LOST: nothing that is known of; {name} has all that was told."
    for piece in found.lost or ():
        size = piece.end - piece.start
        yield f"LOST: {size:,} bytes of epoch {piece.epoch}, from {piece.start:,} to {piece.end:,}, at least."


def _at(member: Member) -> str:
    if member.position is None:
        return "no known position"
    return f"{member.position.epoch}:{member.position.offset}"


def _age(member: Member) -> str:
    return "it is here, and says so every five seconds" if member.here else "it is away, and that may be old"
