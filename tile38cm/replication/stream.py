"""A leader's C{AOF} stream cut into whole commands; nothing mangled gets through.

Tile38 answers C{AOF pos} with C{+OK} and then with the bytes of its log, for ever.
Into the same socket, independently of that copy, it pushes every C{PUBLISH} as
an array of three, so one may land in the middle of a command, or before the C{+OK}.

The log is written canonically: an array of bulk strings, lengths without leading
zeros.  So each parsed command is encoded again and must give the very bytes
that came.  Parsing alone is not enough: hiredis does not check the line end after
a bulk string, and spliced bytes may parse as nested arrays.

One splice escapes that comparison: it hits so near the end of a command that
a line end I{inside} the C{PUBLISH} array stands where the command should end.
What follows then is the rest of the array, which does not begin with C{*}.
A command that looks so is therefore held until its next byte is seen.
"""

from __future__ import annotations

from enum import Enum
from itertools import groupby
from typing import Any

import hiredis
from attrs import frozen
from hiredis import pack_command

_MORE = object()
_STAR = ord("*")
_GREETING = b"+OK\r\n"
_PUBLISH_HEAD = b"*3\r\n$7\r\nPUBLISH\r\n"

#: Bytes of one command; more can only be a length that a splice has mangled.
MAX_COMMAND = 512 * 1024 * 1024


class Kind(Enum):
    """What a chunk holds."""

    #: Commands out of the leader's log.
    DATA = "data"
    #: Messages for subscribers, which are in no log and in no offset.
    PUBLISH = "publish"


@frozen
class Chunk:
    """One or more whole commands of one kind; C{count} of their bytes are log."""

    kind: Kind
    payload: bytes

    @property
    def count(self) -> int:
        return len(self.payload) if self.kind is Kind.DATA else 0


class StreamError(Exception):
    """Nothing more can be read from this stream."""


class Spliced(StreamError):
    """The stream holds something that is no command of a log.

    C{good} bytes of log came whole in the life of the splitter: ask again from there.
    C{chunks} are those of the failed call that are still good, and counted in it.
    """

    def __init__(self, good: int, chunks: list[Chunk]) -> None:
        super().__init__(f"stream broken after {good} good bytes")
        self.good = good
        self.chunks = chunks


class StreamRefused(StreamError):
    """The leader answered C{AOF} with an error."""


class StreamSplitter:
    """Feed it what comes after C{AOF pos} was sent; it gives whole commands.

    After a L{StreamError} it must not be used again.
    """

    def __init__(self, max_command: int = MAX_COMMAND) -> None:
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._max_command = max_command
        self._raw = bytearray()
        self._held = b""
        self._greeted = False
        #: Bytes of log that were given out.
        self.good = 0

    @property
    def held(self) -> bool:
        """Whether a command waits for the byte after it."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[Chunk]:
        """The commands that are whole now, in order, neighbours of one kind joined.

        Fails with L{Spliced} or L{StreamRefused}.
        """
        if not data:
            return []
        if self._held and not self._may_begin(data[0]):
            raise Spliced(self.good, [])
        released = self.release()
        self._raw += data
        items, sound = self._parse(data)
        packed = self._encode(items)
        joined = b"".join(packed)
        if not (sound and len(packed) == len(items) and self._follows(joined)):
            released += self._salvage(packed)
            raise Spliced(self.good, released)
        del self._raw[: len(joined)]
        if packed and not self._raw and _looks_cut(packed[-1]):
            self._held = packed.pop()
            joined = joined[: -len(self._held)]
        return released + self._chunks(joined, packed)

    def release(self) -> list[Chunk]:
        """Give out the held command: the caller has read all there is, for a while.

        Tile38 writes a C{PUBLISH} in one go; its rest would follow within milliseconds.
        """
        held, self._held = self._held, b""
        return self._chunks(held, [held]) if held else []

    def _parse(self, data: bytes) -> tuple[list[Any], bool]:
        items: list[Any] = []
        self._reader.feed(data)
        try:
            items.extend(iter(self._reader.gets, _MORE))  # keeps what came before an error
        except hiredis.ProtocolError:
            return items, False
        return items, bool(items) or len(self._raw) <= self._max_command

    def _encode(self, items: list[Any]) -> list[bytes]:
        """What the items should have looked like, up to the first that is no command."""
        if self._greeted and all(items):
            try:
                return [pack_command(tuple(item)) for item in items]
            except TypeError:
                pass
        packed = []
        for item in items:
            if not self._greeted and not isinstance(item, list):
                packed.append(self._greet(item))
            elif isinstance(item, list) and item and all(type(word) is bytes for word in item):
                packed.append(pack_command(tuple(item)))
            else:
                break
        return packed

    def _greet(self, item: Any) -> bytes:
        if isinstance(item, hiredis.ReplyError):
            raise StreamRefused(str(item))
        self._greeted = True
        return _GREETING

    def _follows(self, joined: bytes) -> bool:
        """Whether the bytes are these, and what comes after them may be a command."""
        raw = self._raw
        return raw.startswith(joined) and (len(raw) == len(joined) or self._may_begin(raw[len(joined)]))

    def _may_begin(self, byte: int) -> bool:
        return byte == _STAR or (not self._greeted and byte in b"+-")

    def _salvage(self, packed: list[bytes]) -> list[Chunk]:
        """What came whole before the break, without a last command that may be cut."""
        end, sound = 0, []
        for pack in packed:
            if self._raw[end : end + len(pack)] != pack:
                break
            end += len(pack)
            sound.append(pack)
        if sound and end < len(self._raw) and not self._may_begin(self._raw[end]):
            sound.pop()
        return self._chunks(b"".join(sound), sound)

    def _chunks(self, joined: bytes, packed: list[bytes]) -> list[Chunk]:
        if not packed:
            return []
        if _PUBLISH_HEAD not in joined and _GREETING not in joined[: len(_GREETING)]:
            chunks = [Chunk(Kind.DATA, joined)]
        else:
            grouped = groupby((pack for pack in packed if pack is not _GREETING), _kind)
            chunks = [Chunk(kind, b"".join(packs)) for kind, packs in grouped]
        self.good += sum(chunk.count for chunk in chunks)
        return chunks


def _kind(pack: bytes) -> Kind:
    return Kind.PUBLISH if pack.startswith(_PUBLISH_HEAD) else Kind.DATA


def _looks_cut(pack: bytes) -> bool:
    """Whether the end of a C{PUBLISH}'s inner line could be the end of this command."""
    return pack.endswith((b"*3\r\n", b"*3\r\n$7\r\n")) or pack.find(_PUBLISH_HEAD, 1) > 0
