"""
RESP3, for clients that insist on it, out of what Tile38 says in RESP2.

Two things differ: RESP3 has a null of its own (redis-py's parser loses its
way in C{$-1}), and what comes unasked is a push, no array.  All else that
Tile38 says means the same in both.
"""

from __future__ import annotations

from typing import Final

NULL: Final = b"_\r\n"
_OLD_NULLS: Final = (b"$-1\r\n", b"*-1\r\n")
_PUSHES: Final = frozenset(
    (b"message", b"pmessage", b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe")
)


def with_nulls(replies: bytes) -> bytes:
    """One or several whole replies with RESP3's null."""
    if not any(old in replies for old in _OLD_NULLS):
        return replies
    parts, at, copied = [], 0, 0
    while at < len(replies):
        behind = replies.index(b"\n", at) + 1
        head = replies[at:behind]
        if head in _OLD_NULLS:
            parts += [replies[copied:at], NULL]
            copied = behind
        elif head.startswith(b"$"):
            behind += int(head[1:-2]) + 2
        at = behind
    return b"".join([*parts, replies[copied:]])


def as_push(message: bytes) -> bytes:
    """What a live connection is told, as a push if nobody asked for it."""
    if message.startswith(b"*") and message.split(b"\r\n", 3)[2].lower() in _PUSHES:
        return b">" + message[1:]
    return message
