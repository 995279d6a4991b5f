"""Continue, or start over: a pure decision about the tree of epochs.

An offset means something only together with its epoch, because each epoch's
offsets are bytes of that leader's own log.  A follower at C{(e, z)} may
continue if e lies on the chain of parents of the present epoch, if z lies
within what of e became part of that chain, and if every byte from there to
the present epoch's start is at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """The stream begins at C{begin}: the segments, then the present log from C{log_from}."""

    begin: Position
    segments: tuple[Segment, ...]
    log_from: int

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
        return Continue(Position(log.epoch, 0), (), 0)
    if position.epoch == log.epoch or position.epoch in log.same:
        return _within(position, records, log)
    segments: list[Segment] = []
    child = records.get(log.epoch)
    while child is not None and child.parent != position.epoch:
        parent = records.get(child.parent)
        if parent is None or parent.start is None or parent.epoch >= child.epoch:
            return StartOver(f"epoch {position.epoch} is not on the way to epoch {log.epoch}")
        segments.insert(0, Segment(parent.epoch, parent.start, child.parent_offset))
        child = parent
    own = records.get(position.epoch)
    if child is None or own is None or own.start is None:
        return StartOver(f"nothing is known of epoch {position.epoch}")
    if not own.start <= position.offset <= child.parent_offset:
        return StartOver(
            f"it is at {position}, but that epoch went on from {own.start} to {child.parent_offset} only"
        )
    segments.insert(0, Segment(position.epoch, position.offset, child.parent_offset))
    if any(s.end < s.start for s in segments):
        return StartOver("the recorded history contradicts itself")
    missing = [s for s in segments if s.start < s.end and not holdings.covers(s.epoch, s.start, s.end)]
    if missing:
        return StartOver(
            f"bytes {missing[0].start} to {missing[0].end} of epoch {missing[0].epoch} are not kept any more"
        )
    start = records[log.epoch].start
    if start is None:
        return StartOver(f"the start of epoch {log.epoch} is not known")
    return Continue(position, tuple(segments), start)


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


def _within(position: Position, records: Mapping[int, EpochRecord], log: PresentLog) -> Continue | StartOver:
    """A position whose offsets are those of the present log."""
    own = records.get(position.epoch)
    if own is None or own.start is None:
        return StartOver(f"nothing is known of epoch {position.epoch}")
    if position.offset < own.start:
        return StartOver("its first copy was never finished")
    if position.offset > log.end:
        return StartOver(f"it is at {position}, but the log ends at {log.end}")
    child = next(
        (r for r in records.values() if r.parent == position.epoch and r.epoch in log.same | {log.epoch}),
        None,
    )
    if position.epoch != log.epoch and (child is None or position.offset > child.parent_offset):
        return StartOver(f"it is at {position}, behind the end of that epoch")
    return Continue(Position(log.epoch, position.offset), (), position.offset)
