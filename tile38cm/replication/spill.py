"""The backlog on disk, so that a node that was started again can still feed others.

Pieces are appended to files of some MiB, the oldest file goes when there is too
much.  Nothing is synced: what a power failure takes is made up by a start over
of whoever would have needed it.  A disk that refuses costs the file, not the node.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.logger import Logger

from tile38cm.peers.messages import Data

#: Epoch, end, and length of a piece, before its bytes.
_HEADER = struct.Struct("!QQI")
#: A file is closed at this size.
FILE_BYTES = 4 * 1024 * 1024


class Spill:
    """Files of one directory, written in order.  All calls block for as long as the page cache takes."""

    _log = Logger()

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._files: list[tuple[Path, int]] = []
        self._fd: int | None = None
        self._broken = False
        #: Told that from now on the files hold what is kept, or do not.
        self.on_kept: Callable[[bool], None] = lambda _: None

    def load(self) -> Iterator[Data]:
        """What is there, in order; a torn last piece is left out. Fails with C{OSError}."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._files = [(p, p.stat().st_size) for p in sorted(self._directory.glob("*.pieces"))]
        for path, _ in self._files:
            yield from _pieces(path.read_bytes())

    def append(self, data: Data) -> None:
        """Keep a piece; a disk that cannot is complained of once."""
        if self._broken:
            return
        try:
            self._write(_HEADER.pack(data.epoch, data.end, len(data.payload)) + data.payload)
        except OSError as e:
            self._give_up(e)

    def clear(self) -> None:
        """Forget all; what a disk does not let go stays, and is not added to."""
        self._close()
        try:
            for path, _ in self._files:
                path.unlink(missing_ok=True)
        except OSError as e:
            self._give_up(e)
        else:
            self._files, self._broken = [], False
            self.on_kept(True)

    def _give_up(self, e: OSError) -> None:
        if not self._broken:
            self._broken = True
            self._log.error("the backlog is kept in memory only: {e}", e=str(e))
            self.on_kept(False)
        self._close()

    def close(self) -> None:
        """Write no more for now."""
        self._close()

    def _write(self, raw: bytes) -> None:
        if self._fd is None or self._files[-1][1] >= FILE_BYTES:
            self._next()
        assert self._fd is not None
        written = os.write(self._fd, raw)
        if written < len(raw):
            raise OSError("the disk is full")
        path, size = self._files[-1]
        self._files[-1] = (path, size + written)

    def _next(self) -> None:
        self._close()
        number = int(self._files[-1][0].stem) + 1 if self._files else 1
        path = self._directory / f"{number:012d}.pieces"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        self._files.append((path, 0))
        while len(self._files) > 1 and sum(size for _, size in self._files) > self._limit:
            self._files.pop(0)[0].unlink(missing_ok=True)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _pieces(raw: bytes) -> Iterator[Data]:
    at = 0
    while at + _HEADER.size <= len(raw):
        epoch, end, length = _HEADER.unpack_from(raw, at)
        at += _HEADER.size
        if at + length > len(raw) or end < length:
            return
        yield Data(epoch, end, raw[at : at + length])
        at += length
