"""Tails: what a node has and the cluster has not, kept in a file before it is undone.

A tail is a dated file of commands as in Tile38's log, C{<time>-epoch<n>-<start>-<end>.aof},
and a summary beside it, C{….json}.  Our own markers are left out.  What expired
by itself is in the file but is no loss: a tail of nothing else is none.

A file without a summary is a copy of a whole log, made where a node did not
know its position; it is read in the same way.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import hiredis
from attrs import asdict, define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.disk import InThread, sync, sync_directory
from tile38cm.replication.local_log import DISK_RESERVE, PIECE, LogError, LogReader, NoRoom
from tile38cm.replication.markers import is_own, packed
from tile38cm.replication.matching import expired_here
from tile38cm.tile38 import Tile38
from tile38cm.wire.commands import classify, keys_of

#: Where they are, below a node's state directory: tails, and copies of whole logs.
TAILS, KEPT = "tails", "kept"

_log = Logger()


class BadTail(Exception):
    """The file is no tail; the sentence says why."""


@frozen
class TailSpan:
    """Which bytes of the log of which node are no part of the cluster's history, and why."""

    member: str
    epoch: int
    start: int
    end: int
    reason: str


@frozen
class Content:
    """What commands are there. Own markers count nowhere."""

    #: All but C{expiries}.
    commands: int
    #: Commands by the collection that they name.
    keys: Mapping[str, int]
    #: Commands by name.
    names: Mapping[str, int]
    #: Deletions that this node did by itself, since a lifetime was over.
    expiries: int
    #: Bytes behind the last whole command: one that was never finished, nor acknowledged.
    torn: int


@frozen
class Tail:
    """A saved tail, or with C{span} and C{content} L{None} a copy of a whole log.

    C{time} is when it was saved; C{size} is that of the file in bytes.
    """

    path: Path
    time: datetime
    size: int
    span: TailSpan | None = None
    content: Content | None = None


# -- saving -------------------------------------------------------------------


async def save_tail(
    clock: IReactorTime, local: Tile38, directory: Path, span: TailSpan, budget: int, in_thread: InThread
) -> Tail | None:
    """Save bytes C{span.start..span.end} of the local log; on disk when this returns.

    C{span.start} must be the end of a command.  L{None}, and no file, if there is nothing
    but own expiries and markers.  The same span is saved once: if it was, before
    a crash perhaps, that file is returned.

    Fails with L{NoRoom} where C{directory} would hold more than C{budget} bytes, or the
    disk is full; with L{LogError}, L{Tile38Error<tile38cm.tile38.Tile38Error>} or C{OSError}.
    Then no file is left and nothing may be undone.
    """
    saved = next((tail for tail in list_tails(directory) if tail.span and _same(tail.span, span)), None)
    if saved is not None:
        return saved
    directory.mkdir(parents=True, exist_ok=True, mode=0o750)
    writing = _Writing(directory, span, budget)
    reader = LogReader(clock, local)
    try:
        await local.ping()
        await in_thread(writing.open)
        async for piece in reader.pieces(span.start, span.end):
            await in_thread(partial(writing.take, piece))
        await in_thread(writing.publish)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom(f"the tail of {span.end - span.start} bytes: {error}") from error
    finally:
        reader.close()
        writing.close()
    if writing.tail is not None:
        _log.warn(
            "{count} commands that the cluster does not have are kept in {path}: {reason}",
            count=writing.tally.commands,
            path=str(writing.tail.path),
            reason=span.reason,
        )
    return writing.tail


def _same(one: TailSpan, other: TailSpan) -> bool:
    # Within an epoch a byte of the log is one byte for all time; the reason may be told in other words.
    return (one.member, one.epoch, one.start, one.end) == (other.member, other.epoch, other.start, other.end)


@define
class _Tally:
    """Counts commands."""

    commands: int = 0
    expiries: int = 0
    keys: Counter[str] = field(factory=Counter)
    names: Counter[str] = field(factory=Counter)

    def add(self, words: Sequence[bytes]) -> None:
        if expired_here(words):
            self.expiries += 1
            return
        self.commands += 1
        self.names[text(words[0]).upper()] += 1
        self.keys.update(map(text, set(keys_of(classify(words), words))))

    def content(self, torn: int) -> Content:
        return Content(self.commands, dict(self.keys), dict(self.names), self.expiries, torn)


@define
class _Writing:
    """The file while it grows. All of it blocks."""

    directory: Path
    span: TailSpan
    budget: int
    tally: _Tally = field(factory=_Tally)
    tail: Tail | None = None
    _file: BinaryIO | None = None
    _written: int = 0
    _used: int = 0
    _reader: _Commands = field(factory=lambda: _Commands())
    _time: datetime = field(factory=lambda: datetime.now(UTC).replace(microsecond=0))

    @property
    def _name(self) -> str:
        span = self.span
        return f"{self._time:%Y%m%d-%H%M%S}-epoch{span.epoch}-{span.start}-{span.end}"

    def _part(self, kind: str) -> Path:
        return self.directory / f"{self._name}.{kind}.part"

    def open(self) -> None:
        """Begin; what an interrupted attempt left is removed, since only one may run."""
        for left in self.directory.glob("*.part"):
            left.unlink(missing_ok=True)
        self._used = sum(path.stat().st_size for path in self.directory.iterdir() if path.is_file())
        self._file = open(self._part("aof"), "wb")

    def take(self, piece: bytes) -> None:
        assert self._file is not None
        out = []
        for words in self._reader.feed(piece):
            if not is_own(words):
                self.tally.add(words)
                out.append(packed(words))
        data = b"".join(out)
        self._written += len(data)
        # Expiries alone are no tail, so they need no room.
        if self.tally.commands and self._used + self._written > self.budget:
            raise NoRoom(
                f"the tail has {self.span.end - self.span.start} bytes, {self.directory} has {self._used}"
                f" of the {self.budget} that are allowed"
            )
        if len(data) > shutil.disk_usage(self.directory).free - DISK_RESERVE:
            raise NoRoom(f"the disk of {self.directory} has no room for the tail")
        self._file.write(data)

    def publish(self) -> None:
        """Give the files their names, the commands last: what has no C{.aof} is no tail."""
        assert self._file is not None
        if not self.tally.commands:
            return
        sync(self._file)
        path = self.directory / f"{self._name}.aof"
        content = self.tally.content(self._reader.torn)
        with open(self._part("json"), "wb") as file:
            file.write(json.dumps(_summary(self.span, content, self._time), indent=1).encode() + b"\n")
            sync(file)
        self._part("json").replace(path.with_suffix(".json"))
        self._part("aof").replace(path)
        sync_directory(self.directory)
        self.tail = Tail(path, self._time, self._written, self.span, content)

    def close(self) -> None:
        """Leave nothing unfinished behind."""
        if self._file is not None:
            self._file.close()
        self._part("aof").unlink(missing_ok=True)
        self._part("json").unlink(missing_ok=True)


def _summary(span: TailSpan, content: Content, time: datetime) -> dict[str, Any]:
    return {**asdict(span), **asdict(content), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ")}


# -- reading ------------------------------------------------------------------


class _Commands:
    """Whole commands out of pieces; C{torn} counts the bytes behind the last."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._fed = 0
        self._whole = 0

    @property
    def torn(self) -> int:
        return self._fed - self._whole

    def feed(self, piece: bytes) -> Iterator[list[bytes]]:
        """Fails with L{LogError} where it is no log."""
        self._reader.feed(piece)
        self._fed += len(piece)
        while True:
            try:
                words = self._reader.gets()
            except hiredis.ProtocolError as error:
                raise LogError(f"no log of commands: {error}") from None
            if words is False:
                return
            if not isinstance(words, list) or not words or not all(isinstance(word, bytes) for word in words):
                raise LogError("no log of commands")
            self._whole += len(packed(words))
            yield words


def list_tails(directory: Path) -> list[Tail]:
    """All tails and copies of logs in a directory, the oldest first; none if there is no directory.

    Only summaries are read.  A summary that cannot be understood is as good as none.
    """
    found = [_listed(path) for path in directory.glob("*.aof")]
    return sorted(found, key=lambda tail: (tail.time, tail.path.name))


def _listed(path: Path) -> Tail:
    stat = path.stat()
    plain = Tail(path, datetime.fromtimestamp(stat.st_mtime, UTC).replace(microsecond=0), stat.st_size)
    try:
        doc = json.loads(path.with_suffix(".json").read_bytes())
        span = TailSpan(
            str(doc["member"]), int(doc["epoch"]), int(doc["start"]), int(doc["end"]), str(doc["reason"])
        )
        content = Content(
            int(doc["commands"]),
            dict(doc["keys"]),
            dict(doc["names"]),
            int(doc["expiries"]),
            int(doc["torn"]),
        )
        time = datetime.strptime(doc["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (OSError, ValueError, KeyError, TypeError):
        return plain
    return Tail(path, time, stat.st_size, span, content)


def open_tail(path: Path) -> Tail:
    """One tail by its file; fails with L{BadTail}."""
    if not path.is_file():
        raise BadTail(f"there is no file {path}")
    return _listed(path)


def read_tail(path: Path) -> Iterator[list[bytes]]:
    """The commands of a tail, or of a copy of a log, without our own markers; holds a piece at a time.

    A torn last command is left out.

    @raise BadTail: the file cannot be read, or holds something else.
    """
    commands = _Commands()
    try:
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                yield from (words for words in commands.feed(piece) if not is_own(words))
    except (OSError, LogError) as error:
        raise BadTail(f"{path} cannot be read: {error}") from None


def count_tail(path: Path) -> Content:
    """What is in a file, counted anew; fails with L{BadTail}."""
    tally = _Tally()
    for words in read_tail(path):
        tally.add(words)
    return tally.content(0)


def text(word: bytes) -> str:
    """A word of a command as text, without loss: C{os.fsencode} gives the bytes again."""
    return word.decode("utf-8", "surrogateescape")
