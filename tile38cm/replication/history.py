"""Continue, or start over: a pure decision about the tree of epochs.

An offset means something only together with its epoch, because each epoch's
offsets are bytes of that leader's own log.  A follower at C{(e, z)} may
continue if e lies on the chain of parents of the present epoch, if z lies
within what of e became part of that chain, and if every byte from there to
the present epoch's start is at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import frozen

from tile38cm.coordination.status import EpochRecord
from tile38cm.model import Position

#: Where an empty node stands.
EMPTY = Position(0, 0)


class Holdings(Protocol):
    """The bytes of earlier epochs that the source still has."""

    def covers(self, epoch: int, start: int, end: int) -> bool:
        """Whether bytes C{start..end} of an epoch are all there."""


@frozen
class Segment:
    """Bytes of an earlier epoch that are sent first."""

    epoch: int
    start: int
    end: int


@frozen
class Continue:
    """The stream begins at C{begin}: the segments, then the present log from C{log_from}.

    C{turns}: where in that log later epochs begin; what comes before the first one is of the
    epoch that C{log_epoch} names.
    """

    begin: Position
    segments: tuple[Segment, ...]
    log_from: int
    log_epoch: int
    turns: tuple[Position, ...] = ()

    def length(self, log_end: int) -> int:
        """How many bytes that is when the present log ends at C{log_end}."""
        return sum(s.end - s.start for s in self.segments) + max(0, log_end - self.log_from)


@frozen
class StartOver:
    """Nothing the follower has can be built upon; C{reason} is for people."""

    reason: str


@frozen
class PresentLog:
    """The log that the leader's epoch C{epoch} writes.

    C{same}: earlier epochs, contiguous with this one, that this very log
    belongs to as well, so that their offsets are its offsets.
    """

    epoch: int
    end: int
    same: frozenset[int] = frozenset()


def plan(
    position: Position | None, records: Mapping[int, EpochRecord], log: PresentLog, holdings: Holdings
) -> Continue | StartOver:
    """What a follower at C{position} is to be sent."""
    if position is None:
        return StartOver("its position is unknown")
    if position == EMPTY:
        return copy_from(0, log)
    way = _way(records, position.epoch, log.epoch)
    if way is None:
        return StartOver(f"epoch {position.epoch} is not on the way to epoch {log.epoch}")
    unknown = [record.epoch for record in way if record.start is None]
    if unknown:
        return StartOver(f"the start of epoch {unknown[0]} is not known")
    in_log = len(way) - 1
    while in_log and way[in_log - 1].epoch in log.same:
        in_log -= 1
    end = way[1].parent_offset if len(way) > 1 else log.end
    # Of the present log a node may also have the beginning only, which is older than its epoch.
    start = 0 if in_log == 0 else way[0].start or 0
    if not start <= position.offset <= end:
        return StartOver(f"it is at {position}, but that epoch went on from {start} to {end} only")
    turns = tuple(Position(record.epoch, record.parent_offset) for record in way[in_log + 1 :])
    if in_log == 0:
        decision = Continue(position, (), position.offset, position.epoch, turns)
    else:
        parts = _segments(position, way[: in_log + 1])
        decision = Continue(position, parts, way[in_log].start or 0, way[in_log].epoch, turns)
    return _whole(decision, log, holdings)


def copy_from(offset: int, log: PresentLog) -> Continue:
    """For a node whose log is the beginning of the present one, byte by byte."""
    return Continue(Position(log.epoch, offset), (), offset, log.epoch)


def _way(records: Mapping[int, EpochRecord], first: int, last: int) -> list[EpochRecord] | None:
    """The terms from one to a later one, by their parents; C{None} if there is no such way."""
    way = [records.get(last)]
    while (record := way[0]) is not None and record.epoch != first:
        earlier = records.get(record.parent)
        way.insert(0, earlier if earlier is not None and earlier.epoch < record.epoch else None)
    found = [record for record in way if record is not None]
    return found if len(found) == len(way) else None


def _segments(position: Position, way: Sequence[EpochRecord]) -> tuple[Segment, ...]:
    """The bytes of each term of C{way} but the last, from C{position} on."""
    starts = [position.offset, *(record.start or 0 for record in way[1:-1])]
    return tuple(
        Segment(record.epoch, start, child.parent_offset)
        for record, start, child in zip(way, starts, way[1:], strict=False)
    )


def _whole(decision: Continue, log: PresentLog, holdings: Holdings) -> Continue | StartOver:
    """The decision, if it makes sense and every byte of it is there."""
    places = [decision.log_from, *(turn.offset for turn in decision.turns), log.end]
    if any(s.end < s.start for s in decision.segments) or places != sorted(places):
        return StartOver("the log of a term on the way was rewritten, or the recorded history is rubbish")
    missing = [
        s for s in decision.segments if s.start < s.end and not holdings.covers(s.epoch, s.start, s.end)
    ]
    if missing:
        return StartOver(
            f"bytes {missing[0].start} to {missing[0].end} of epoch {missing[0].epoch} are not kept any more"
        )
    return decision


def parted_at(records: Mapping[int, EpochRecord], led: int, epoch: int) -> Position | None:
    """Up to where the log of epoch C{led} became part of the history of C{epoch}.

    C{None}: it never did, or it is not known.
    """
    record = records.get(epoch)
    while record is not None and record.parent != led:
        later, record = record.epoch, records.get(record.parent)
        if record is not None and record.epoch >= later:
            return None
    return None if record is None else Position(led, record.parent_offset)
