"""Positions inside the local log, and what is changed on the way into it.  Pure.

Every so often the bridge feeds a pair, C{SET tile38cm p STRING <node>:<epoch>:<offset>}
and its C{DEL}: without effect on the data, but in the log, atomically with the
commands before it.  So any log, torn, cut or started again, tells how far it is.

A promoted node hands its log to others; markers in it speak of that node, and are
counted on the way but not fed.  The collection C{tile38cm} is therefore ours alone.

Lifetimes are lengthened on their way to a follower: it expires objects by its own
clock, and one that is gone there when the leader's C{EXPIRE}, C{PERSIST} or C{FSET}
arrives would be missing for good.  The leader's own C{del} comes first, as long as
the follower lags less than that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation

import hiredis
from attrs import frozen
from hiredis import pack_command

from tile38cm.model import Position

#: The collection that belongs to this program.
OWN_KEY = b"tile38cm"
_POSITION = b"p"
#: Only payloads that match need a closer look; the others are fed as they are.
_INTERESTING = re.compile(rb"\r\n(?:ex|expire|tile38cm)\r\n", re.IGNORECASE)
_MARKER = re.compile(
    rb"\*5\r\n\$3\r\nSET\r\n\$8\r\ntile38cm\r\n\$1\r\np\r\n\$6\r\nSTRING\r\n\$(\d+)\r\n([^\r\n]*)\r\n"
    rb"\*3\r\n\$3\r\nDEL\r\n\$8\r\ntile38cm\r\n\$1\r\np\r\n"
)


def packed(words: Sequence[bytes]) -> bytes:
    """A command as Tile38 writes it."""
    return bytes(pack_command(tuple(words)))  # type: ignore[arg-type]  # typed for one word only


def pair(id: bytes, value: bytes) -> bytes:
    """A C{SET} and its C{DEL}: in the log for good, in the data for no time."""
    return packed((b"SET", OWN_KEY, id, b"STRING", value)) + packed((b"DEL", OWN_KEY, id))


def marker(member: str, position: Position) -> bytes:
    """The pair that says: up to here this node's log holds that position."""
    return pair(_POSITION, f"{member}:{position.epoch}:{position.offset}".encode())


@frozen
class Found:
    """The last marker of a piece of log, and the byte of the piece behind it."""

    position: Position
    end: int


def last_marker(member: str, piece: bytes) -> Found | None:
    """The last whole marker of this node in a piece of its log; C{None} if there is none."""
    found = None
    for match in _MARKER.finditer(piece):
        position = _read(member, match.group(2))
        if position is not None:
            found = Found(position, match.end())
    return found


def _read(member: str, text: bytes) -> Position | None:
    who, _, rest = text.rpartition(b":")
    who, _, epoch = who.rpartition(b":")
    if who != member.encode() or not epoch.isdigit() or not rest.isdigit():
        return None
    return Position(int(epoch), int(rest))


def commands(payload: bytes) -> Iterator[list[bytes]]:
    """The whole commands of a piece of log, which must begin with one; a torn last one is left out."""
    reader = hiredis.Reader()
    reader.feed(payload)
    while (words := reader.gets()) is not False:
        yield words


def is_own(words: Sequence[bytes]) -> bool:
    """Whether a command is about our own collection."""
    return len(words) > 1 and words[1] == OWN_KEY


def lengthened(words: list[bytes], slack: float) -> list[bytes]:
    """The command with its lifetime, if it has one, made C{slack} seconds longer."""
    name = words[0].lower()
    if name == b"expire" and len(words) == 4:
        return [*words[:3], _longer(words[3], slack)]
    if name in (b"set", b"sethook", b"setchan"):
        at = _lifetime_at(name, words)
        if at is not None:
            return [*words[:at], _longer(words[at], slack), *words[at + 1 :]]
    return words


def _lifetime_at(name: bytes, words: list[bytes]) -> int | None:
    """Where the seconds of C{EX} stand: among the options, before the object or the search begins."""
    ends: tuple[bytes, ...] = (b"object", b"point", b"bounds", b"hash", b"string")
    if name != b"set":
        ends = (b"nearby", b"within", b"intersects")
    at = 3 if name == b"set" else 2
    while at + 1 < len(words):
        word = words[at].lower()
        if word in ends:
            return None
        if word == b"ex":
            return at + 1
        at += {b"field": 3, b"meta": 3}.get(word, 1)
    return None


def _longer(seconds: bytes, slack: float) -> bytes:
    try:
        return str(Decimal(seconds.decode()) + Decimal(repr(slack))).encode()
    except (InvalidOperation, UnicodeDecodeError):
        return seconds


def for_follower(payload: bytes, slack: float) -> bytes:
    """Whole commands of a leader's log as they are fed to a follower's Tile38."""
    if _INTERESTING.search(payload) is None:
        return payload
    return b"".join(packed(lengthened(words, slack)) for words in commands(payload) if not is_own(words))
