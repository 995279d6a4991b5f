"""What one server holds of single things: digests of objects, hooks and channels, and lifetimes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple

from tile38cm.replication.direct import Direct
from tile38cm.tile38 import Tile38Error
from tile38cm.wire.resp import encode_reply


class Kind(Enum):
    """What can differ."""

    OBJECT = "object"
    HOOK = "hook"
    CHANNEL = "channel"
    OBJECT_LIFETIME = "lifetime of object"
    HOOK_LIFETIME = "lifetime of hook"
    CHANNEL_LIFETIME = "lifetime of channel"


LIFETIME_OF = {
    Kind.OBJECT: Kind.OBJECT_LIFETIME,
    Kind.HOOK: Kind.HOOK_LIFETIME,
    Kind.CHANNEL: Kind.CHANNEL_LIFETIME,
}
_HOOK_KINDS = {
    Kind.HOOK: b"HOOKS",
    Kind.CHANNEL: b"CHANS",
    Kind.HOOK_LIFETIME: b"HOOKS",
    Kind.CHANNEL_LIFETIME: b"CHANS",
}


class Subject(NamedTuple):
    """One thing that either side may have; hooks and channels have no collection."""

    kind: Kind
    collection: bytes
    id: bytes


#: The digest of what a server has, the seconds of a lifetime (-1: for ever), or nothing.
Value = bytes | int | None


def read(server: Direct, subjects: Sequence[Subject]) -> dict[Subject, Value]:
    """What the server has of each of them at this moment."""
    found: dict[Subject, Value] = {}
    found.update(_objects(server, [s for s in subjects if s.kind is Kind.OBJECT]))
    found.update(_ends(server, [s for s in subjects if s.kind is Kind.OBJECT_LIFETIME]))
    for kind in {s.kind for s in subjects} & _HOOK_KINDS.keys():
        there = hooks(server, kind)
        found.update((s, there.get(s.id)) for s in subjects if s.kind is kind)
    return found


def _objects(server: Direct, subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Value]]:
    replies = server.ask_each((b"GET", s.collection, s.id, b"WITHFIELDS") for s in subjects)
    for subject, reply in zip(subjects, _certain(replies), strict=True):
        yield subject, None if reply is None else _digest(reply)


def _ends(server: Direct, subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Value]]:
    replies = server.ask_each((b"TTL", s.collection, s.id) for s in subjects)
    for subject, reply in zip(subjects, _certain(replies), strict=True):
        yield subject, None if reply == -2 else reply


def _certain(replies: Iterable[Any]) -> Iterator[Any]:
    for reply in replies:
        if isinstance(reply, Tile38Error):
            raise reply
        yield reply


def hooks(server: Direct, kind: Kind) -> dict[bytes, Value]:
    """All hooks or channels by name, with a digest of all else, or with their lifetimes."""
    if kind in (Kind.HOOK, Kind.CHANNEL):
        return {name: _digest(rest) for name, *rest in server.ask(_HOOK_KINDS[kind], "*")}
    # Only the JSON output tells lifetimes; it belongs to a connection.
    with server.again() as speaks_json:
        speaks_json.ask("OUTPUT", "json")
        answer = json.loads(speaks_json.ask(_HOOK_KINDS[kind], "*"))
    rows = answer["hooks" if kind is Kind.HOOK_LIFETIME else "chans"]
    return {row["name"].encode(): int(row["ttl"]) for row in rows}


def _digest(reply: Any) -> bytes:
    return blake2b(encode_reply(reply), digest_size=16).digest()


def collections(server: Direct) -> list[bytes]:
    """The names of all collections."""
    keys: list[bytes] = server.ask("KEYS", "*")
    return keys
