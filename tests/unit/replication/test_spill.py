"""L{tile38cm.replication.spill}: the backlog on disk, and disks that do not want it."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.peers.messages import Data
from tile38cm.replication import spill as module
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.spill import Spill


def pieces(*lengths: int, epoch: int = 1, start: int = 0) -> list[Data]:
    """Neighbours of these lengths."""
    found: list[Data] = []
    for length in lengths:
        start += length
        found.append(Data(epoch, start, bytes([65 + len(found) % 26]) * length))
    return found


class SpillCase(SynchronousTestCase):
    """One directory."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def spill(self, limit: int = 1 << 20) -> tuple[Spill, list[Data]]:
        """As after a start, with what was there."""
        spill = Spill(self.path, limit)
        found = list(spill.load())
        self.addCleanup(spill.close)
        return spill, found

    def files(self) -> list[Path]:
        """The files, in order."""
        return sorted(self.path.iterdir())

    def fail_writes(self, *outcomes: int | OSError) -> list[int]:
        """Let C{os.write} do so much, or fail, each time; the sizes that were asked for."""
        left, write = list(outcomes), os.write
        asked: list[int] = []

        def fake(fd: int, data: bytes) -> int:
            if not isinstance(data, bytes) or not left:
                return write(fd, data)
            asked.append(len(data))
            outcome = left.pop(0)
            if isinstance(outcome, OSError):
                raise outcome
            return write(fd, data[:outcome])

        self.patch(os, "write", fake)
        return asked


class KeepingTests(SpillCase):
    """A disk that works."""

    def test_round_trip(self) -> None:
        """What was appended is there after a start, in order, over many starts."""
        given = pieces(3, 0, 5) + pieces(4, epoch=2, start=100)
        for i, data in enumerate(given):
            spill, found = self.spill()
            self.assertEqual(found, given[:i])
            spill.append(data)
        self.assertEqual(self.spill()[1], given)

    @settings(deadline=None, max_examples=25)
    @given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.data())
    def test_torn(self, lengths: list[int], data: st.DataObject) -> None:
        """Of a file that is cut anywhere the whole pieces come, and what is appended later comes as well."""
        self.path = Path(self.mktemp())
        spill, _ = self.spill()
        given = pieces(*lengths)
        ends = [0]
        for piece in given:
            spill.append(piece)
            ends.append(self.files()[0].stat().st_size)
        cut = data.draw(st.integers(0, ends[-1]))
        os.truncate(self.files()[0], cut)
        whole = given[: sum(end <= cut for end in ends[1:])]
        spill, found = self.spill()
        self.assertEqual(found, whole)
        spill.append(Data(2, 7, b"later"))
        self.assertEqual(self.spill()[1], [*whole, Data(2, 7, b"later")])

    @settings(deadline=None, max_examples=25)
    @given(st.binary(max_size=100))
    def test_rubbish(self, raw: bytes) -> None:
        """A file of anything gives pieces that make sense, or none."""
        self.path.mkdir(exist_ok=True)
        (self.path / "000000000001.pieces").write_bytes(raw)
        for data in self.spill()[1]:
            self.assertGreaterEqual(data.start, 0)

    def test_before_the_beginning(self) -> None:
        """A piece that would begin before the log does ends the file."""
        self.path.mkdir()
        raw = struct.pack("!QQI", 1, 3, 3) + b"abc" + struct.pack("!QQI", 1, 2, 3) + b"def"
        (self.path / "000000000001.pieces").write_bytes(raw)
        self.assertEqual(self.spill()[1], [Data(1, 3, b"abc")])

    def test_limit(self) -> None:
        """The oldest files go: what stays is the newest, at least the limit and at most a file more."""
        self.patch(module, "FILE_BYTES", 1000)
        spill, _ = self.spill(limit=3000)
        given = pieces(*[100] * 200)
        for piece in given:
            spill.append(piece)
            self.assertLessEqual(sum(f.stat().st_size for f in self.files()), 3000 + 1000 + 120)
        found = self.spill()[1]
        self.assertEqual(found, given[-len(found) :])
        self.assertGreaterEqual(len(found) * 120, 2000)

    def test_limit_after_start(self) -> None:
        """What earlier runs have left counts."""
        self.patch(module, "FILE_BYTES", 1000)
        for _ in range(10):
            spill, _found = self.spill(limit=500)
            spill.append(Data(1, 400, b"x" * 400))
        self.assertLessEqual(len(self.files()), 3)

    def test_clear(self) -> None:
        """Nothing is left, on disk either, and what comes then is kept."""
        spill, _ = self.spill()
        spill.append(Data(1, 3, b"abc"))
        spill.clear()
        self.assertEqual(self.files(), [])
        spill.append(Data(2, 3, b"def"))
        self.assertEqual(self.spill()[1], [Data(2, 3, b"def")])

    def test_clear_what_an_earlier_run_left(self) -> None:
        """That too is forgotten."""
        self.spill()[0].append(Data(1, 3, b"abc"))
        self.spill()[0].clear()
        self.assertEqual(self.spill()[1], [])


class RefusingTests(SpillCase):
    """A disk that does not work costs the file, not the node."""

    def complaints(self, spill: Spill, *given: Data) -> list[str]:
        """What is said while these are appended."""
        with capturedLogs() as events:
            for data in given:
                spill.append(data)
        return [event["e"] for event in events]

    def test_full(self) -> None:
        """A full disk is complained of once, and not tried again; what was kept before is."""
        for first in (OSError(errno.ENOSPC, "full"), 5):
            self.setUp()
            spill, _ = self.spill()
            spill.append(Data(1, 3, b"abc"))
            asked = self.fail_writes(first)
            self.assertEqual(len(self.complaints(spill, *pieces(4, 4, 4, start=3))), 1)
            self.assertEqual(len(asked), 1)
            self.assertEqual(self.spill()[1], [Data(1, 3, b"abc")])

    def test_tried_again_after_clear(self) -> None:
        """After a start over the disk has another chance."""
        spill, _ = self.spill()
        told: list[bool] = []
        spill.on_kept = told.append
        self.fail_writes(OSError(errno.ENOSPC, "full"))
        spill.append(Data(1, 3, b"abc"))
        spill.append(Data(1, 6, b"abc"))
        self.assertEqual(told, [False])
        spill.clear()
        self.assertEqual(told, [False, True])
        spill.append(Data(2, 3, b"def"))
        self.assertEqual(self.spill()[1], [Data(2, 3, b"def")])

    def test_no_new_file(self) -> None:
        """A directory in which no file can be made is the same."""
        spill, _ = self.spill()
        self.path.rmdir()
        self.assertEqual(len(self.complaints(spill, *pieces(1, 1))), 1)

    def test_clear_refused(self) -> None:
        """Files that cannot be removed stop nobody; nothing is added to them, and that is said once."""
        spill, _ = self.spill()
        spill.append(Data(1, 3, b"abc"))

        def unlink(*args: Any, **more: Any) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        self.patch(Path, "unlink", unlink)
        with capturedLogs() as events:
            spill.clear()
            spill.append(Data(2, 3, b"def"))
        self.assertEqual(len(events), 1)
        self.assertEqual(self.spill()[1], [Data(1, 3, b"abc")])

    def test_backlog_goes_on(self) -> None:
        """The backlog in memory has everything all the same."""
        spill, _ = self.spill()
        self.fail_writes(OSError(errno.EIO, "broken"))
        backlog = Backlog(100, spill=spill)
        for data in pieces(4, 4):
            backlog.append(data)
        self.assertTrue(backlog.covers(1, 0, 8))


class LoadingTests(SpillCase):
    """What a backlog makes of files."""

    def test_overlap(self) -> None:
        """What was delivered twice around a crash is held once."""
        spill, _ = self.spill()
        for data in (*pieces(4, 4, 4), Data(1, 10, b"xyz234"), *pieces(5, start=10)):
            spill.append(data)
        backlog = Backlog(1000, spill=self.spill()[0])
        backlog.load()
        self.assertEqual(
            b"".join(data.payload for data in backlog.read(1, 0, 15)), b"AAAA" + b"xyz234" + b"AAAAA"
        )
        self.assertEqual(backlog.size, 15)

    def test_gap(self) -> None:
        """Bytes before a gap are not offered."""
        spill, _ = self.spill()
        for data in (*pieces(4), *pieces(4, start=6)):
            spill.append(data)
        backlog = Backlog(1000, spill=self.spill()[0])
        backlog.load()
        self.assertEqual((backlog.covers(1, 0, 4), backlog.covers(1, 6, 10)), (False, True))
