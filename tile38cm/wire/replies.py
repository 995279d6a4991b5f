"""
Whole replies out of a server's bytes, byte for byte.

A proxy needs to know where one reply ends, not what it says, so nothing is
decoded here but the lengths.  A reply is kept whole until its last byte came.
"""

from __future__ import annotations

import re

from tile38cm.wire.fed import Fed
from tile38cm.wire.resp import OK, bulk, bulk_pattern, bulks_pattern

#: The longest status or error line, in bytes; a script's error holds its stack.
MAX_LINE = 1024 * 1024

_BULK, _ARRAY = b"$*"
_LINES = frozenset(b"+-:")
#: A bulk of few bytes, and what most replies are: one line; a bulk, or two (a point); the ids of a small
#: search; what a leader without followers says of its role.
_SHORT_BULK = bulk_pattern(32)
_FEW_BULKS = bulks_pattern(range(11), _SHORT_BULK)
_USUAL = re.compile(
    rb"[+:-][^\r\n]*\r\n|%b|\*2\r\n(?:%b|:[0-9]+\r\n\*(?:%b))|"
    rb"\*3\r\n\$6\r\nmaster\r\n:[0-9]+\r\n\*0\r\n" % (_SHORT_BULK, _SHORT_BULK * 2, _FEW_BULKS),
    re.DOTALL,
)
_ROLE = re.compile(rb"\*3\r\n\$6\r\nmaster\r\n:(\d+)\r\n|\$\d+\r\n\{.*?\"role\":\"master\",\"offset\":(\d+)")
#: What Tile38 answers when it has done nothing because of its role or state.
_NOT_EXECUTED = re.compile(
    rb"(?:-|\$\d+\r\n\{\"ok\":false,\"err\":\")"
    rb"(?:(?:ERR )?(?:not the leader|read only|catching up to leader)|LOADING )"
)
#: How many heard a message.
_PUBLISHED = re.compile(rb":(\d+)\r\n|\$\d+\r\n(\{\"ok\":true,\"published\":)(\d+)(.*)\r\n", re.DOTALL)
_JSON_FAILURE = re.compile(rb"\$\d+\r\n\{\"ok\":false")


class BadReply(Exception):
    """The server did not speak RESP2; the connection is of no use any more."""


class ReplyParser(Fed):
    """Feed it what came, then ask for the next reply until there is none."""

    def __init__(self) -> None:
        super().__init__()
        #: How many values are still missing in the replies that were asked for.
        self._missing = 0
        #: Bytes that are still missing of a bulk whose beginning was given out.
        self._ahead = 0

    def next(self, count: int = 1) -> bytes | None:
        """
        All bytes of the next C{count} replies, or C{None} if more are needed for them.

        Ask for the same number again until they are there.

        @raise BadReply: no reply begins like that.
        """
        data, at, missing = self._data, self._next, self._missing
        if not missing:
            missing = count
            if count == 1:
                if data.startswith(OK, at):
                    # What most writes are answered needs nothing more.
                    self._start = self._next = at + len(OK)
                    return OK
                if (usual := _USUAL.match(data, at)) is not None:
                    self._start = self._next = usual.end()
                    return usual[0] if isinstance(data, bytes) else bytes(usual[0])
        find, size = data.find, len(data)
        if self._ahead:
            if size - at < self._ahead:
                return None
            at, self._ahead, missing = at + self._ahead, 0, missing - 1
        try:
            while missing:
                end = find(b"\r\n", at)
                if end < 0:
                    if size - at > MAX_LINE:
                        raise BadReply(f"a line of more than {MAX_LINE} bytes")
                    break
                kind, behind = data[at], end + 2
                if kind == _BULK:
                    length = int(data[at + 1 : end])
                    if length >= 0:
                        behind += length + 2
                        if behind > size:
                            break
                elif kind == _ARRAY:
                    missing += max(int(data[at + 1 : end]), 0)
                elif kind not in _LINES:
                    raise BadReply(f"a reply cannot begin with {bytes(data[at : at + 1])!r}")
                at = behind
                missing -= 1
        except ValueError as wrong:
            raise BadReply(f"{bytes(data[at:end])!r} tells no length") from wrong
        self._next, self._missing = at, missing
        if missing:
            return None
        begin, self._start = self._start, at
        return data[begin:at] if isinstance(data, bytes) else bytes(memoryview(data)[begin:at])

    def part(self) -> bytes:
        """
        All that has come of a reply that is not whole, as far as its lengths are known.

        Only behind a C{next} that gave nothing; the next one gives what is missing then.
        """
        data, at, size = self._data, self._next, len(self._data)
        if not self._ahead and at < size and data[at] == _BULK and (end := data.find(b"\r\n", at)) >= 0:
            self._ahead = end + 4 + int(data[at + 1 : end]) - at
        if self._ahead:
            self._ahead -= size - at
            at = size
        begin, self._start, self._next = self._start, at, at
        return bytes(memoryview(data)[begin:at])

    @property
    def kept(self) -> int:
        """How many bytes there are that belong to no reply that was given out."""
        return len(self._data) - self._start

    @property
    def empty(self) -> bool:
        """Whether every byte belongs to a reply that was given out."""
        return self._start == len(self._data)


def leader_offset(reply: bytes) -> int | None:
    """The bytes in the log of a leader, from its reply to C{ROLE} in either output; else C{None}."""
    found = _ROLE.match(reply)
    return int(found[1] or found[2]) if found else None


def published(reply: bytes, own: int) -> bytes:
    """The reply to C{PUBLISH}, in either output, where C{own} of those that heard it do not count."""
    found = _PUBLISHED.fullmatch(reply) if own else None
    if found is None:
        return reply
    if found[1]:
        return b":%d\r\n" % max(int(found[1]) - own, 0)
    return bulk(b"%b%d%b" % (found[2], max(int(found[3]) - own, 0), found[4]))


def is_failure(reply: bytes) -> bool:
    """Whether the server says that it did not do as told, in either output."""
    return reply.startswith(b"-") or _JSON_FAILURE.match(reply) is not None


def not_executed(reply: bytes) -> bool:
    """Whether the server refused because of its role or state, and so changed nothing."""
    return _NOT_EXECUTED.match(reply) is not None
