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
from tile38cm.wire.commands import OWN_KEY

_POSITION = b"p"
#: Only payloads that match need a closer look; the others are fed as they are.
_INTERESTING = re.compile(rb"\r\n(?:ex|expire|tile38cm)\r\n", re.IGNORECASE)
#: Commands whose second word names a hook or a channel, no collection.
_ON_HOOKS = frozenset((b"sethook", b"setchan", b"delhook", b"delchan", b"pdelhook", b"pdelchan"))
#: Where the options of a command begin.
_OPTIONS_AT = {b"set": 3, b"sethook": 3, b"setchan": 2}
#: How many words an option takes, its own included; any other word stands alone.
_SET_WIDTHS = {b"field": 3, b"ex": 2, b"point": 3, b"bounds": 5, b"hash": 2, b"string": 2, b"object": 2}
_HOOK_WIDTHS = {b"meta": 3, b"ex": 2}
_SEARCHES = frozenset((b"nearby", b"within", b"intersects"))
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
    for match in _MARKER.finditer(piece):
        found = _walked(member, piece, match.start())
        if found is not None:
            return found
    return None


def _walked(member: str, piece: bytes, start: int) -> Found | None:
    """The last marker from C{start} on; C{None} if no command begins there.

    A value of a client's may hold the bytes of a marker; walking on from there
    comes to its end, where no command begins.
    """
    found, at = None, start
    named: Position | None = None
    for words in _whole_commands(piece[start:]):
        raw = packed(words)
        if piece[at : at + len(raw)] != raw:
            return None
        at += len(raw)
        if named is not None and words == [b"DEL", OWN_KEY, _POSITION]:
            found = Found(named, at)
        is_marker = words[:4] == [b"SET", OWN_KEY, _POSITION, b"STRING"] and len(words) == 5
        named = _read(member, words[4]) if is_marker else None
    return found


def _whole_commands(piece: bytes) -> Iterator[list[bytes]]:
    """Commands until the piece ends, or something comes that is none: an empty one stands for that."""
    reader = hiredis.Reader()
    reader.feed(piece)
    try:
        while (words := reader.gets()) is not False:
            sound = isinstance(words, list) and words and all(type(word) is bytes for word in words)
            yield words if sound else [b""]
    except hiredis.ProtocolError:
        yield [b""]


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
    return len(words) > 1 and words[1] == OWN_KEY and words[0].lower() not in _ON_HOOKS


def lengthened(words: list[bytes], slack: float) -> list[bytes]:
    """The command with its lifetime, if it has one, made C{slack} seconds longer."""
    name = words[0].lower()
    if name == b"expire" and len(words) == 4:
        return [*words[:3], _longer(words[3], slack)]
    if name not in _OPTIONS_AT:
        return words
    longer = list(words)
    for at in _lifetimes(name, words):
        longer[at] = _longer(words[at], slack)
    return longer


def _lifetimes(name: bytes, words: list[bytes]) -> Iterator[int]:
    """Where the seconds of each C{EX} stand.

    Tile38 takes the options of C{SET} before and behind the object, and the last
    C{EX} counts; those of a hook end where its search begins.
    """
    widths = _SET_WIDTHS if name == b"set" else _HOOK_WIDTHS
    at = _OPTIONS_AT[name]
    while at + 1 < len(words):
        word = words[at].lower()
        if name != b"set" and word in _SEARCHES:
            return
        if word == b"ex":
            yield at + 1
        at += widths.get(word, 1)


def _longer(seconds: bytes, slack: float) -> bytes:
    """Tile38 reads numbers as Go does, hexadecimal ones too."""
    try:
        text = seconds.decode("ascii")
        try:
            return str(Decimal(text) + Decimal(repr(slack))).encode()
        except InvalidOperation:
            return repr(float.fromhex(text) + slack).encode()
    except (ValueError, OverflowError):
        return seconds


def for_follower(payload: bytes, slack: float) -> bytes:
    """Whole commands of a leader's log as they are fed to a follower's Tile38."""
    if _INTERESTING.search(payload) is None:
        return payload
    return b"".join(packed(lengthened(words, slack)) for words in commands(payload) if not is_own(words))
