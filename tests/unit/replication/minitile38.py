"""A Tile38 of a few commands in memory, for blocking tools: what is written to it answers at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import define, field

from tile38cm.replication.direct import Direct
from tile38cm.settings import Secret
from tile38cm.wire.requests import Request, RequestParser
from tile38cm.wire.resp import encode_reply, encode_request, error

_OBJECTS = (b"OBJECT", b"POINT", b"BOUNDS", b"HASH", b"STRING")


@define
class Thing:
    """One object: what C{SCAN} shows of it, its fields by name, its lifetime in seconds or -1."""

    shape: bytes
    fields: dict[bytes, bytes] = field(factory=dict)
    ttl: int = -1

    def content(self) -> list[Any]:
        flat = [word for pair in sorted(self.fields.items()) for word in pair]
        return [self.shape, flat] if flat else [self.shape]


@define(eq=False)
class MiniTile38:
    """The server; C{before} is called with each command before it is done."""

    password: str | None = None
    data: dict[bytes, dict[bytes, Thing]] = field(factory=dict)
    #: By C{b"HOOKS"} and C{b"CHANS"}: name to the rest of the row, and to the lifetime.
    hooks: dict[bytes, dict[bytes, list[Any]]] = field(factory=lambda: {b"HOOKS": {}, b"CHANS": {}})
    hook_ttl: dict[bytes, int] = field(factory=dict)
    log: bytes = b""
    offset: int | None = None
    refuses: dict[bytes, str] = field(factory=dict)
    before: Callable[[list[bytes]], object] = lambda words: None
    seen: list[list[bytes]] = field(factory=list)

    def direct(self) -> Direct:
        """A new connection."""
        return Direct(
            lambda: MiniChannel(self), "mini", None if self.password is None else Secret(self.password)
        )

    def put(self, key: str, id: str, shape: str = "{}", ttl: int = -1, **fields: str) -> None:
        """Write an object without a command."""
        told = {name.encode(): value.encode() for name, value in fields.items()}
        self.data.setdefault(key.encode(), {})[id.encode()] = Thing(shape.encode(), told, ttl)

    def take(self, key: str, id: str) -> None:
        """Delete an object without a command."""
        del self.data[key.encode()][id.encode()]

    def answer(self, words: list[bytes], channel: MiniChannel) -> bytes:
        """The reply to one command."""
        self.seen.append(words)
        self.before(words)
        name = words[0].upper()
        if name in self.refuses:
            return error(self.refuses[name])
        if self.password is not None and name not in (b"AUTH", b"PING") and not channel.trusted:
            return error("ERR authentication required")
        method = getattr(self, f"_{name.decode().lower()}", None)
        if method is None:
            return error(f"ERR unknown command '{words[0].decode()}'")
        reply = method(words, channel)
        return reply if isinstance(reply, Raw) else encode_reply(reply)

    # -- commands -------------------------------------------------------------

    def _ping(self, words: list[bytes], channel: MiniChannel) -> Any:
        return "PONG"

    def _auth(self, words: list[bytes], channel: MiniChannel) -> Any:
        channel.trusted = words[1].decode() == self.password
        return "OK" if channel.trusted else Raw(error("ERR invalid password"))

    def _output(self, words: list[bytes], channel: MiniChannel) -> Any:
        channel.json = words[1] == b"json"
        return "OK"

    def _server(self, words: list[bytes], channel: MiniChannel) -> Any:
        objects = b"%d" % sum(map(len, self.data.values()))
        size = b"%d" % len(self.log)
        return [b"num_objects", objects, b"id", b"mini", b"aof_size", size, b"pid", b"1"]

    def _role(self, words: list[bytes], channel: MiniChannel) -> Any:
        return [b"master", len(self.log) if self.offset is None else self.offset, []]

    def _keys(self, words: list[bytes], channel: MiniChannel) -> Any:
        return sorted(key for key, things in self.data.items() if things)

    def _scan(self, words: list[bytes], channel: MiniChannel) -> Any:
        things = sorted(self.data.get(words[1], {}).items())
        cursor, limit = int(words[3]), int(words[5])
        page = things[cursor : cursor + limit]
        return [
            cursor + len(page) if cursor + len(page) < len(things) else 0,
            [[id, *thing.content()] for id, thing in page],
        ]

    def _get(self, words: list[bytes], channel: MiniChannel) -> Any:
        thing = self.data.get(words[1], {}).get(words[2])
        return None if thing is None else thing.content()

    def _ttl(self, words: list[bytes], channel: MiniChannel) -> Any:
        thing = self.data.get(words[1], {}).get(words[2])
        return -2 if thing is None else thing.ttl

    def _hooks(self, words: list[bytes], channel: MiniChannel) -> Any:
        return self._rows(b"HOOKS", "hooks", channel)

    def _chans(self, words: list[bytes], channel: MiniChannel) -> Any:
        return self._rows(b"CHANS", "chans", channel)

    def _rows(self, kind: bytes, name: str, channel: MiniChannel) -> Any:
        rows = sorted(self.hooks[kind].items())
        if channel.json:
            told = [{"name": row.decode(), "ttl": self.hook_ttl.get(row, -1)} for row, _ in rows]
            return json.dumps({"ok": True, name: told}).encode()
        return [[row, *rest] for row, rest in rows]

    def _aof(self, words: list[bytes], channel: MiniChannel) -> Any:
        return Raw(b"+OK\r\n" + self.log[int(words[1]) :])

    def _set(self, words: list[bytes], channel: MiniChannel) -> Any:
        things = self.data.setdefault(words[1], {})
        options, at = {}, 3
        while words[at].upper() not in _OBJECTS:
            option = words[at].upper()
            options[option] = words[at + 1]
            at += {b"FIELD": 3, b"EX": 2}.get(option, 1)
        if b"NX" in options and words[2] in things:
            return None
        fields = [at for at, word in enumerate(words[:at]) if word.upper() == b"FIELD" and at > 2]
        things[words[2]] = Thing(
            b" ".join(words[at:]),
            {words[f + 1]: words[f + 2] for f in fields},
            int(float(options.get(b"EX", b"-1"))),
        )
        return "OK"

    def _fset(self, words: list[bytes], channel: MiniChannel) -> Any:
        thing = self.data.get(words[1], {}).get(words[2])
        if thing is None:
            return Raw(error("ERR id not found"))
        thing.fields[words[3]] = words[4]
        return 1

    def _expire(self, words: list[bytes], channel: MiniChannel) -> Any:
        thing = self.data.get(words[1], {}).get(words[2])
        if thing is None:
            return 0
        thing.ttl = int(float(words[3]))
        return 1

    def _persist(self, words: list[bytes], channel: MiniChannel) -> Any:
        return self._expire([*words, b"-1"], channel)

    def _del(self, words: list[bytes], channel: MiniChannel) -> Any:
        return int(self.data.get(words[1], {}).pop(words[2], None) is not None)

    def _drop(self, words: list[bytes], channel: MiniChannel) -> Any:
        return int(self.data.pop(words[1], None) is not None)

    def _flushdb(self, words: list[bytes], channel: MiniChannel) -> Any:
        self.data.clear()
        return "OK"


class Raw(bytes):
    """Bytes to send as they are."""


class MiniChannel:
    """One connection; what is received comes in pieces of C{piece} bytes."""

    def __init__(self, server: MiniTile38, piece: int = 2**20) -> None:
        self.trusted = self.json = self.closed = False
        self._server = server
        self._piece = piece
        self._parser = RequestParser(2**30)
        self._out = b""

    def sendall(self, data: bytes, /) -> None:
        self._parser.feed(data)
        while isinstance(request := self._parser.next(), Request):
            self._out += self._server.answer(request.args, self)

    def recv(self, size: int, /) -> bytes:
        """Nothing to come is the end: a test would wait for ever."""
        size = min(size, self._piece)
        data, self._out = self._out[:size], self._out[size:]
        return data

    def settimeout(self, seconds: float, /) -> None:
        """Nothing is ever waited for."""

    def close(self) -> None:
        self.closed = True


def command(*words: str | bytes) -> bytes:
    """A command as it is in a log."""
    return encode_request([word if isinstance(word, bytes) else word.encode() for word in words])
