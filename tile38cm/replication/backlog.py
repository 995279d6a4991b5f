"""The last bytes that a bridge has delivered, kept so that others can catch up from them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator

from attrs import define, field

from tile38cm.model import Position
from tile38cm.peers.messages import Data
from tile38cm.replication.spill import Spill


@define
class Backlog:
    """Whole commands of the log, by epoch and offset; the oldest go when C{limit} bytes are held.

    Within an epoch the pieces are contiguous: a gap forgets what came before it.
    C{spill}, if given, keeps the same on disk for the next start.
    """

    limit: int
    size: int = 0
    spill: Spill | None = None
    _pieces: deque[Data] = field(factory=deque)

    def load(self) -> None:
        """Take in what an earlier run has left on disk; fails with C{OSError}."""
        if self.spill is not None:
            for data in self.spill.load():
                # What was delivered twice, after a crash, is there twice.
                self._drop_behind(data.epoch, data.start)
                self._keep(data)

    def append(self, data: Data) -> None:
        """Keep a piece that follows the last one."""
        if self._pieces and not self._follows(self._pieces[-1], data):
            self.clear()
        if self.spill is not None:
            self.spill.append(data)
        self._keep(data)

    def _keep(self, data: Data) -> None:
        if self._pieces and not self._follows(self._pieces[-1], data):
            self._pieces.clear()
            self.size = 0
        self._pieces.append(data)
        self.size += len(data.payload)
        while self.size > self.limit and self._pieces:
            self.size -= len(self._pieces.popleft().payload)

    def _follows(self, last: Data, data: Data) -> bool:
        # The first piece of a later epoch follows whatever was delivered before it.
        return data.epoch > last.epoch or (data.epoch == last.epoch and data.start == last.end)

    def clear(self) -> None:
        """Forget all: this node has started over."""
        self._pieces.clear()
        self.size = 0
        if self.spill is not None:
            self.spill.clear()

    def covers(self, epoch: int, start: int, end: int) -> bool:
        """Whether bytes C{start..end} of an epoch are all there."""
        kept = [p for p in self._pieces if p.epoch == epoch]
        return bool(kept) and kept[0].start <= start and kept[-1].end >= end

    def since(self, position: Position) -> list[Data] | None:
        """All that was delivered behind C{position}; C{None} if its beginning is not kept."""
        behind = itertools.takewhile(
            lambda p: (p.epoch, p.end) > (position.epoch, position.offset), reversed(self._pieces)
        )
        pieces = list(behind)[::-1]
        if not pieces:
            return []
        first = pieces[0]
        if first.epoch != position.epoch or first.start > position.offset:
            return None
        return [Data(first.epoch, first.end, first.payload[position.offset - first.start :]), *pieces[1:]]

    def forget(self, pieces: list[Data]) -> None:
        """Drop these last ones: they are about to be delivered again."""
        if pieces:
            self._drop_behind(pieces[0].epoch, pieces[0].start)

    def _drop_behind(self, epoch: int, end: int) -> None:
        while self._pieces and (self._pieces[-1].epoch, self._pieces[-1].end) > (epoch, end):
            last = self._pieces.pop()
            self.size -= len(last.payload)
            if last.epoch == epoch and last.start < end:
                self._pieces.append(Data(epoch, end, last.payload[: end - last.start]))
                self.size += end - last.start

    def read(self, epoch: int, start: int, end: int) -> Iterator[Data]:
        """Those bytes, in pieces; both ends must be ends of commands."""
        for piece in list(self._pieces):
            if piece.epoch == epoch and piece.end > start and piece.start < end:
                first, last = max(piece.start, start), min(piece.end, end)
                yield Data(epoch, last, piece.payload[first - piece.start : last - piece.start])
