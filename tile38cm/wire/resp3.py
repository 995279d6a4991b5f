"""
RESP3, for clients that insist on it, out of what Tile38 says in RESP2.

Two things differ: RESP3 has a null of its own (redis-py's parser loses its
way in C{$-1}), and what comes unasked is a push, no array.  All else that
Tile38 says means the same in both.
"""

from __future__ import annotations

from typing import Final

NULL: Final = b"_\r\n"
_BULK, _MINUS = b"$-"
_PUSHES: Final = frozenset(
    (b"message", b"pmessage", b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe")
)


class Nulls:
    """Puts RESP3's null in the place of RESP2's, in replies that come in any pieces."""

    def __init__(self) -> None:
        #: Bytes of a bulk that are still to come, its line end included.
        self._bulk = 0
        #: The beginning of a line whose end is still to come.
        self._line = b""

    def replaced(self, data: bytes) -> bytes:
        """What can be passed on of all that came; at most a line stays here."""
        data = self._line + data
        at, copied, size = min(self._bulk, len(data)), 0, len(data)
        self._bulk -= at
        parts = []
        while at < size:
            behind = data.find(b"\n", at) + 1
            if not behind:
                break
            if data[at] == _BULK and data[at + 1] != _MINUS:
                whole = behind + int(data[at + 1 : behind - 2]) + 2
                self._bulk = max(whole - size, 0)
                behind = min(whole, size)
            elif data[at + 1] == _MINUS and data[at] in b"$*":
                parts += [data[copied:at], NULL]
                copied = behind
            at = behind
        self._line = data[at:]
        parts.append(data[copied:at])
        return parts[0] if len(parts) == 1 else b"".join(parts)


def with_nulls(replies: bytes) -> bytes:
    """One or several whole replies with RESP3's null."""
    return Nulls().replaced(replies)


def as_push(message: bytes) -> bytes:
    """What a live connection is told, as a push if nobody asked for it."""
    if message.startswith(b"*") and message.split(b"\r\n", 3)[2].lower() in _PUSHES:
        return b">" + message[1:]
    return message
