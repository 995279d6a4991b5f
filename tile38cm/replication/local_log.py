"""The local Tile38's log: read, copied to a file, emptied.

The log is read through the C{AOF} command, so it works wherever the server's
files are.  Tile38 may mix C{PUBLISH} into any such stream, so what was read is
compared with C{AOFMD5} and read again where it differs.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import BinaryIO, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from tile38cm.disk import InThread, publish, sync
from tile38cm.settings import Secret
from tile38cm.tasks import within
from tile38cm.tile38 import Refused, Tile38, Tile38Error, Unreachable
from tile38cm.wire.resp import encode_request

#: Read and compared at once; a larger sum would stop the server for too long.
PIECE = 1024 * 1024
#: A piece that never agrees has a C{PUBLISH} in it each time, or the log was cut.
ATTEMPTS = 5
#: Seconds for one piece to come.
PIECE_TIMEOUT = 10.0
#: Bytes that a copy leaves free on the disk.
DISK_RESERVE = 64 * 1024 * 1024
#: Seconds: for C{start_over}; between two looks; until C{AOFSHRINK} is given again,
#: since it is silently ignored while another one runs.
START_OVER_TIMEOUT, LOOK_EVERY, SHRINK_AGAIN = 30.0, 0.02, 1.0

_log = Logger()


class LogError(Exception):
    """The log could not be read, copied or emptied."""


class NoRoom(LogError):
    """The copy would be larger than allowed, or than the disk has room for."""


class LogStream(Protocol):
    """One C{AOF} stream, read on demand; close it by C{abort}."""

    def __init__(self, password: Secret | None, pos: int) -> None:
        self._to_say = [] if password is None else [encode_request([b"AUTH", password.value.encode()])]
        self._to_say.append(encode_request([b"AOF", b"%d" % pos]))
        self._greeted = False
        self._buffer = bytearray()
        self._wanted = 0
        self._waiting: Deferred[bytes] | None = None
        self._failed: Exception | None = None

    def connectionMade(self) -> None:
        self._say_next()

    def _say_next(self) -> None:
        # One at a time: Tile38 drops what is pipelined around AOF.
        self._tcp.write(self._to_say.pop(0))

    @property
    def _tcp(self) -> ITCPTransport:
        return cast(ITCPTransport, self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while not self._greeted and b"\r\n" in self._buffer and self._failed is None:
            self._greet()
        if self._greeted:
            self._deliver()
            if len(self._buffer) > self._wanted + PIECE:
                self._tcp.pauseProducing()  # type: ignore[attr-defined]  # not in ITCPTransport

    def _greet(self) -> None:
        line, _, rest = bytes(self._buffer).partition(b"\r\n")
        self._buffer[:] = rest
        if line != b"+OK":
            # An error, or a PUBLISH that was quicker than the answer.
            self._fail(Refused(line[1:].decode("latin-1")))
        elif self._to_say:
            self._say_next()
        else:
            self._greeted = True

    def read(self, size: int) -> Deferred[bytes]:
        """The next bytes of the stream; one call at a time."""
        self._wanted = size
        waiting: Deferred[bytes] = Deferred()
        self._waiting = waiting
        if self._failed is not None:
            self._fail(self._failed)
        elif self._greeted:
            self._tcp.resumeProducing()  # type: ignore[attr-defined]  # not in ITCPTransport
            self._deliver()
        return waiting

    def _deliver(self) -> None:
        if self._waiting is not None and len(self._buffer) >= self._wanted:
            waiting, self._waiting = self._waiting, None
            data = bytes(self._buffer[: self._wanted])
            del self._buffer[: self._wanted]
            self._wanted = 0
            waiting.callback(data)

    def _fail(self, error: Exception) -> None:
        self._failed = error
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._failed is None:
            self._fail(Unreachable(f"the stream of the log ended: {reason.getErrorMessage()}"))

    def abort(self) -> None:
        """Close at once; Tile38 has no other end for a stream."""
        self._failed = self._failed or Unreachable("closed")
        self._tcp.abortConnection()


class LogReader:
    """Pieces of the local log, each proven by its checksum; C{close} it at the end."""

    def __init__(self, clock: IReactorTime, local: Tile38) -> None:
        self._clock = clock
        self._local = local
        self._stream: LogStream | None = None
        self._at = 0

    async def read(self, pos: int, size: int) -> bytes:
        """C{size} bytes from C{pos}, at most L{PIECE}; reading on from the last end is cheap.

        Fails with L{Tile38Error}, or with L{LogError} when they are not to be had.
        """
        for _ in range(ATTEMPTS):
            try:
                data = await self._read_once(pos, size)
            except Refused as refused:
                self.close()
                if "too big" in refused.text:
                    break
                continue
            if await self._local.aofmd5(pos, size) == md5(data, usedforsecurity=False).hexdigest():
                return data
            self.close()
        raise LogError(f"no stable {size} bytes at {pos} of the log")

    async def pieces(self, pos: int, end: int) -> AsyncIterator[bytes]:
        """All bytes from C{pos} to C{end}, in order."""
        while pos < end:
            piece = await self.read(pos, min(PIECE, end - pos))
            yield piece
            pos += len(piece)

    def close(self) -> None:
        """Hang up; C{read} connects again."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()

    async def _read_once(self, pos: int, size: int) -> bytes:
        if self._stream is None or self._at != pos:
            self.close()
            self._stream, self._at = await self._connected(pos), pos
        try:
            data = await within(self._stream.read(size), PIECE_TIMEOUT, self._clock)
        except TimeoutError:
            self.close()
            raise LogError(f"the log has no {size} bytes at {pos}") from None
        except Tile38Error:
            self.close()
            raise
        self._at += size
        return data

    async def _connected(self, pos: int) -> LogStream:
        stream = LogStream(self._local.password, pos)
        try:
            await within(connectProtocol(self._local.endpoint, stream), PIECE_TIMEOUT, self._clock)
        except CancelledError:
            raise
        except Exception as error:
            # Endpoints' errors have no common base.
            raise Unreachable(f"Tile38 cannot be reached: {error}") from error
        return stream


async def read_log(clock: IReactorTime, local: Tile38, pos: int, size: int) -> bytes:
    """So many bytes of the local log, proven by their checksums.

    Fails with L{Tile38Error} or L{LogError}.  What Tile38 has not written out
    is not in the log: C{ping} it before.
    """
    reader = LogReader(clock, local)
    try:
        return b"".join([piece async for piece in reader.pieces(pos, pos + size)])
    finally:
        reader.close()


async def copy_log(clock: IReactorTime, local: Tile38, path: Path, budget: int, in_thread: InThread) -> int:
    """Copy the whole local log, as it is now, to a file that is on disk when this returns.

    Returns its size.  The file appears under its name only when it is whole.
    Fails with L{NoRoom} before anything is written if it has more than C{budget}
    bytes or the disk lacks room, and with L{LogError}, L{Tile38Error} or
    C{OSError}; then no file is left.
    """
    size = await local.log_size()
    if size > budget:
        raise NoRoom(f"the log has {size} bytes, {budget} are allowed")
    free = shutil.disk_usage(path.parent).free
    if size > free - DISK_RESERVE:
        raise NoRoom(f"the log has {size} bytes, {path.parent} has {free} free")
    unfinished = path.with_name(path.name + ".part")
    reader = LogReader(clock, local)
    try:
        with open(unfinished, "wb") as file:
            async for piece in reader.pieces(0, size):
                await in_thread(partial(_write, file, piece))
            await in_thread(partial(sync, file))
        await in_thread(partial(publish, unfinished, path))
    finally:
        reader.close()
        unfinished.unlink(missing_ok=True)
    return size


def _write(file: BinaryIO, piece: bytes) -> None:
    file.write(piece)


async def start_over(clock: IReactorTime, local: Tile38, timeout: float = START_OVER_TIMEOUT) -> None:
    """Erase all data of the local Tile38, so that it may follow from the beginning.

    When it returns the log is empty, nobody is followed, and clients cannot write.
    Run it again after a failure or a crash at any step: each step may be repeated.
    Fails with L{Tile38Error} or L{LogError}; then clients cannot write either,
    unless Tile38 itself could not be told so.
    """
    await local.unfollow()
    try:
        await local.readonly(False)
        await local.flushdb()
        await _emptied(clock, local, clock.seconds() + timeout)
    finally:
        await local.readonly(True)
    _log.info("the local Tile38 is empty")


async def _emptied(clock: IReactorTime, local: Tile38, end: float) -> None:
    again = clock.seconds()
    while True:
        if clock.seconds() >= again:
            await local.aofshrink()
            again = clock.seconds() + SHRINK_AGAIN
        if await local.log_size() == 0:
            return
        if clock.seconds() > end:
            raise LogError("the log did not become empty")
        await deferLater(clock, LOOK_EVERY)


async def log_digest(local: Tile38, size: int) -> str:
    """A sum over the first C{size} bytes of the log, in pieces that stop nobody for long.

    Equal sums on two servers mean equal bytes.  Fails with L{Tile38Error}.
    """
    digest = md5(usedforsecurity=False)
    for pos in range(0, size, PIECE):
        digest.update((await local.aofmd5(pos, min(PIECE, size - pos)) or "").encode())
    return digest.hexdigest()
