"""The append-only file: every write as the array of words that it came as."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path

import hiredis
from twisted.logger import Logger

from tile38cm.dev.tile38.text import to_bytes, to_text
from tile38cm.wire.resp import encode_request

#: Bytes read at once.
CHUNK = 1024 * 1024
#: How far back the beginning of a command is looked for. Bytes.
BACK = 64 * 1024 * 1024


class Damaged(Exception):
    """The file has something in it that is no command."""


class LogFile:
    """One file, written behind a buffer; C{size} counts what is in the buffer, too.

    @ivar on_flush: Called when bytes have reached the file.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.on_flush: Callable[[], None] = lambda: None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        self.flushed = os.lseek(self._file, 0, os.SEEK_END)

    @property
    def size(self) -> int:
        """Bytes of all commands."""
        return self.flushed + self._buffered

    @property
    def buffered(self) -> int:
        """Bytes that are not in the file yet."""
        return self._buffered

    def append(self, args: list[str]) -> None:
        """Take one command into the buffer."""
        raw = encode_request([to_bytes(arg) for arg in args])
        self._buffer.append(raw)
        self._buffered += len(raw)

    def flush(self) -> None:
        """Write the buffer to the file."""
        if self._buffer:
            data = b"".join(self._buffer)
            self._buffer.clear()
            self._buffered = 0
            while data:
                written = os.pwrite(self._file, data, self.flushed)
                self.flushed += written
                data = data[written:]
            self.on_flush()

    def sync(self) -> None:
        """Write the buffer, and let the disk have the file."""
        self.flush()
        os.fsync(self._file)

    def read(self, position: int, size: int = CHUNK) -> bytes:
        """Bytes of the file; fewer, or none, at its end."""
        return os.pread(self._file, size, position)

    def md5(self, position: int, size: int) -> str | None:
        """The sum of a range in hexadecimal digits; C{None} past the end."""
        if position + size > self.size or (size == 0 and position >= self.size):
            return None
        total, end = md5(usedforsecurity=False), position + size
        while position < end:
            data = self.read(position, min(CHUNK, end - position))
            if not data:
                return None
            total.update(data)
            position += len(data)
        return total.hexdigest()

    def load(self) -> Iterator[list[str]]:
        """Every command from the beginning; a torn last one is cut off.

        @raise Damaged: Something else is in between.
        """
        reader = hiredis.Reader()
        position = whole = 0
        while data := self.read(position):
            position += len(data)
            reader.feed(data)
            for raw in _arrays(reader):
                whole += len(encode_request(raw))
                yield [to_text(word) for word in raw]
        if whole < position:
            self._log.warn("{count} bytes of an incomplete command are cut off", count=position - whole)
            self.truncate(whole)

    def truncate(self, size: int) -> None:
        """Cut the file, and forget the buffer."""
        self._buffer.clear()
        self._buffered = 0
        os.ftruncate(self._file, size)
        self.flushed = size

    def end_of_command(self, position: int) -> int:
        """The end of the last command that begins before C{position}; 0 without one."""
        start = max(position - BACK, 0)
        data = self.read(start, position - start)
        at = data.rfind(b"*")
        while at >= 0:
            end = self._whole(start + at)
            if end is not None:
                return end
            at = data.rfind(b"*", 0, at)
        return 0

    def _whole(self, position: int) -> int | None:
        """The end of the command at C{position}, or C{None} if there is none."""
        reader, at = hiredis.Reader(), position
        while data := self.read(at, 64 * 1024):
            reader.feed(data)
            at += len(data)
            try:
                for raw in _arrays(reader):
                    return position + len(encode_request(raw))
            except Damaged:
                return None
        return None

    def replace(self, path: Path) -> None:
        """Another file takes this one's place and name."""
        os.close(self._file)
        os.replace(path, self.path)
        self._file = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
        self._buffer.clear()
        self._buffered = 0
        self.flushed = os.lseek(self._file, 0, os.SEEK_END)

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self.sync()
        os.close(self._file)


def _arrays(reader: hiredis.Reader) -> Iterator[list[bytes]]:
    """All whole commands that a reader has.

    @raise Damaged: Something is no array of texts.
    """
    while True:
        try:
            found = reader.gets()
        except hiredis.ProtocolError as error:
            raise Damaged(str(error)) from None
        if found is False:
            return
        if not isinstance(found, list) or not all(isinstance(word, bytes) for word in found):
            raise Damaged(f"no command: {found!r}"[:100])
        yield found


def commands(reader: hiredis.Reader) -> Iterator[list[str]]:
    """All whole commands that a reader has, as text.

    @raise Damaged: Something is no array of texts.
    """
    for raw in _arrays(reader):
        if raw:
            yield [to_text(word) for word in raw]
