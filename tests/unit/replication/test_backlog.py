"""L{tile38cm.replication.backlog} against a list that keeps everything."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.model import Position
from tile38cm.peers.messages import Data
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.spill import Spill


def letters(start: int, size: int) -> bytes:
    """Bytes that tell where they stand."""
    return bytes((start + n) % 251 for n in range(size))


def piece(epoch: int, start: int, size: int) -> Data:
    return Data(epoch, start + size, letters(epoch * 17 + start, size))


def held(backlog: Backlog) -> list[Data]:
    """All that it has."""
    return [data for epoch in range(1, 200) for data in backlog.read(epoch, 0, 10**6)]


@define
class Naive:
    """Every byte that was delivered, each with its place."""

    all: list[tuple[int, int, int]] = field(factory=list)

    def append(self, data: Data) -> None:
        self.all += [(data.epoch, data.start + n, byte) for n, byte in enumerate(data.payload)]

    def range(self, epoch: int, start: int, end: int) -> bytes | None:
        """Those bytes, if all are there."""
        found = [byte for e, at, byte in self.all if e == epoch and start <= at < end]
        return bytes(found) if len(found) == end - start else None

    def behind(self, position: Position) -> list[tuple[int, int, int]]:
        return [each for each in self.all if each[:2] >= (position.epoch, position.offset)]


def placed(pieces: list[Data]) -> list[tuple[int, int, int]]:
    naive = Naive()
    for data in pieces:
        naive.append(data)
    return naive.all


class BacklogMachine(RuleBasedStateMachine):
    """Any order of deliveries, new epochs, gaps, crashes and questions."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(limit=60)
        self.naive = Naive()
        self.at = Position(1, 0)

    def _deliver(self, data: Data) -> None:
        self.backlog.append(data)
        self.naive.append(data)
        self.at = Position(data.epoch, data.end)

    @rule(size=st.integers(1, 25))
    def deliver(self, size: int) -> None:
        self._deliver(piece(self.at.epoch, self.at.offset, size))

    @rule(more=st.integers(1, 3), start=st.integers(0, 40), size=st.integers(1, 25))
    def new_epoch(self, more: int, start: int, size: int) -> None:
        self._deliver(piece(self.at.epoch + more, start, size))

    @rule(gap=st.integers(1, 20), size=st.integers(1, 25))
    def gap(self, gap: int, size: int) -> None:
        self.naive = Naive()
        self._deliver(piece(self.at.epoch, self.at.offset + gap, size))

    @rule()
    def start_over(self) -> None:
        self.backlog.clear()
        self.naive = Naive()

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Tile38 is found to stand earlier, in the middle of a piece perhaps; the same is delivered again."""
        kept = placed(held(self.backlog))
        if not kept:
            return
        epoch, offset, _ = data.draw(st.sampled_from(kept))
        pieces = self.backlog.since(Position(epoch, offset))
        assert pieces
        before = [each for each in kept if each[:2] < (epoch, offset)]
        assert placed(pieces) == [each for each in kept if each[:2] >= (epoch, offset)]
        self.backlog.forget(pieces)
        assert placed(held(self.backlog)) == before
        for each in pieces:
            self.backlog.append(each)
        assert placed(held(self.backlog)) == kept

    @rule(epoch=st.integers(1, 4), start=st.integers(0, 80), size=st.integers(1, 40))
    def ask(self, epoch: int, start: int, size: int) -> None:
        """What is said to be there is there, byte for byte."""
        if self.backlog.covers(epoch, start, start + size):
            got = list(self.backlog.read(epoch, start, start + size))
            assert b"".join(each.payload for each in got) == self.naive.range(epoch, start, start + size)
            assert (got[0].start, got[-1].end) == (start, start + size)
            assert all(one.end == other.start for one, other in zip(got, got[1:], strict=False))

    @rule(epoch=st.integers(1, 4), offset=st.integers(0, 80))
    def ask_behind(self, epoch: int, offset: int) -> None:
        """Either all that was delivered behind a position, or nothing is promised."""
        pieces = self.backlog.since(Position(epoch, offset))
        if pieces:
            assert placed(pieces) == self.naive.behind(Position(epoch, offset))

    @invariant()
    def bounded(self) -> None:
        """It holds what it says, no more than the limit, and nothing older is gone first."""
        kept = placed(held(self.backlog))
        assert self.backlog.size == len(kept) <= 60
        assert kept == self.naive.all[len(self.naive.all) - len(kept) :]


class BacklogTests(SynchronousTestCase):
    """Any order of events, and single questions."""

    def test_against_a_list(self) -> None:
        """Whatever happens, it says nothing that a list of all bytes does not say."""
        run_state_machine_as_test(BacklogMachine, settings=settings(max_examples=60, deadline=None))

    def filled(self) -> Backlog:
        backlog = Backlog(limit=1000)
        for data in (piece(1, 0, 100), piece(1, 100, 100), piece(2, 50, 100)):
            backlog.append(data)
        return backlog

    def test_forget_within_a_piece(self) -> None:
        """What was delivered before the position stays, also of the same piece."""
        backlog = self.filled()
        pieces = backlog.since(Position(1, 150))
        assert pieces is not None
        backlog.forget(pieces)
        self.assertTrue(backlog.covers(1, 0, 150))
        for data in pieces:
            backlog.append(data)
        self.assertTrue(backlog.covers(1, 0, 200))
        self.assertTrue(backlog.covers(2, 50, 150))

    def test_nothing_behind(self) -> None:
        """Behind the end there is nothing, and that is known."""
        self.assertEqual(self.filled().since(Position(2, 150)), [])
        self.assertEqual(Backlog(limit=10).since(Position(1, 5)), [])

    def test_too_old(self) -> None:
        """From before its beginning, or from an epoch of which it has nothing, it promises nothing."""
        backlog = Backlog(limit=250)
        for data in (piece(1, 0, 100), piece(1, 100, 100), piece(2, 50, 100)):
            backlog.append(data)
        for position in (Position(1, 0), Position(1, 99), Position(0, 0)):
            self.assertIsNone(backlog.since(position))
        self.assertFalse(backlog.covers(1, 99, 200))
        self.assertTrue(backlog.covers(1, 100, 200))

    def test_huge(self) -> None:
        """A piece larger than the limit is not kept, and nothing before it either."""
        backlog = self.filled()
        backlog.append(piece(2, 150, 2000))
        self.assertEqual(backlog.size, 0)
        self.assertEqual(held(backlog), [])
        self.assertEqual(backlog.since(Position(2, 2150)), [])
        backlog.append(piece(2, 2150, 10))
        self.assertTrue(backlog.covers(2, 2150, 2160))

    @given(st.integers(0, 400), st.integers(0, 400))
    def test_covers(self, start: int, end: int) -> None:
        """Exactly the ranges that lie within."""
        backlog = self.filled()
        self.assertEqual(backlog.covers(2, start, end), 50 <= start and end <= 150)
        self.assertFalse(backlog.covers(3, start, end))


class LoadedTests(SynchronousTestCase):
    """What an earlier run has left on disk."""

    def backlog(self, directory: str, limit: int = 1000) -> Backlog:
        backlog = Backlog(limit, spill=Spill(Path(directory), limit))
        backlog.load()
        return backlog

    def test_again(self) -> None:
        """A new run has what the old one had."""
        directory = self.mktemp()
        first = self.backlog(directory)
        for data in (piece(1, 0, 100), piece(1, 100, 100), piece(2, 50, 100)):
            first.append(data)
        self.assertEqual(held(self.backlog(directory)), held(first))

    def test_delivered_twice(self) -> None:
        """What was delivered twice, from the middle of a piece, is there once."""
        directory = self.mktemp()
        first = self.backlog(directory)
        for data in (piece(1, 0, 100), piece(1, 100, 100), piece(2, 50, 100)):
            first.append(data)
        pieces = first.since(Position(1, 150))
        assert pieces is not None
        first.forget(pieces)
        for data in pieces:
            first.append(data)
        first.append(piece(2, 150, 20))
        second = self.backlog(directory)
        self.assertTrue(second.covers(1, 0, 200))
        self.assertEqual(placed(held(second)), placed(held(first)))

    def test_emptied(self) -> None:
        """What was forgotten does not come back."""
        directory = self.mktemp()
        first = self.backlog(directory)
        first.append(piece(1, 0, 100))
        first.clear()
        first.append(piece(3, 7, 10))
        self.assertEqual(held(self.backlog(directory)), [piece(3, 7, 10)])
