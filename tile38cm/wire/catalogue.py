"""
C{COMMAND}, which Tile38 does not know and some clients of Redis ask first: the table, in Redis' words.

An entry is name, arity, flags, first key, last key, step.  Tile38 tells no
arity, so that is the least that Redis' form can say: at least the name.
"""

from __future__ import annotations

from collections.abc import Sequence

from tile38cm.wire.commands import TABLE, Class, Command, Keys
from tile38cm.wire.resp import Value, encode_reply

_SHOWN = [row.command for row in TABLE.values() if row.command.class_ not in (Class.REFUSED, Class.PRIVATE)]
_PLACES = {Keys.FIRST: (1, 1, 1), Keys.FIRST_TWO: (1, 2, 1), Keys.ALL: (1, -1, 1), Keys.COUNTED: (3, 3, 1)}


def catalogue(args: Sequence[bytes]) -> bytes | None:
    """The answer to C{COMMAND ...}; C{None}: there is none, and the server may say so."""
    asked = args[1].lower() if len(args) > 1 else b""
    if not asked:
        return encode_reply([_entry(command) for command in _SHOWN])
    if asked == b"count" and len(args) == 2:
        return encode_reply(len(_SHOWN))
    if asked == b"list" and len(args) == 2:
        return encode_reply([command.name.encode() for command in _SHOWN])
    if asked == b"docs":
        return encode_reply(list[Value]())
    if asked == b"info":
        return encode_reply([_named(name) for name in args[2:]])
    return None


def _named(name: bytes) -> Value:
    row = TABLE.get(name.lower())
    return None if row is None or row.command not in _SHOWN else _entry(row.command)


def _entry(command: Command) -> Value:
    flags: list[Value] = ["write" if command.leader else "readonly"]
    if command.class_ is Class.LIVE:
        flags.append("pubsub")
    return [command.name.encode(), -1, flags, *_PLACES.get(command.keys, (0, 0, 0))]
