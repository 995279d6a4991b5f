"""Connections that have become streams: a fence's events, channels, the log."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from tile38cm.dev.tile38.asked import Search
from tile38cm.dev.tile38.calls import ARITY, Call, Change
from tile38cm.dev.tile38.fences import Fence, events
from tile38cm.dev.tile38.node import Node
from tile38cm.dev.tile38.text import json_string, to_bytes, to_text
from tile38cm.dev.tile38.values import is_json
from tile38cm.wire.forms import Form, WebSocketForm
from tile38cm.wire.requests import Request, RequestParser
from tile38cm.wire.resp import OK, bulk, encode_reply, encode_request

#: Bytes of the log that are read for a follower at once.
CHUNK = 256 * 1024
#: The largest request of a subscriber. Bytes.
REQUEST_MAX = 1024 * 1024


class Live(Protocol):
    """What a connection has become."""

    def start(self) -> None:
        """Say that it has."""

    def received(self, data: bytes) -> None:
        """The client sent something."""

    def lost(self) -> None:
        """The connection is gone."""


class FenceStream:
    """C{NEARBY key FENCE ...}: an event for each change that the fence has something to say of."""

    def __init__(self, node: Node, transport: Any, search: Search, json: bool, form: Form) -> None:
        self._node, self._transport = node, transport
        self._fence, self._json, self._form = Fence(search), json, form

    def start(self) -> None:
        self._node.watchers.add(self)
        hello = bulk(b'{"ok":true,"live":true}') if self._json else OK
        self._transport.write(self._form.opening + self._form.encode_live(hello, first_of_fence=True))

    def changed(self, change: Change) -> None:
        """Something was written."""
        for event in events(self._node.data, self._fence, change):
            self._node.counters.messages += 1
            self._transport.write(self._form.encode_live(bulk(to_bytes(event))))

    def received(self, data: bytes) -> None:
        """Whatever it is, it ends the stream; a WebSocket's client is not listened to."""
        if not isinstance(self._form, WebSocketForm):
            self._transport.loseConnection()

    def lost(self) -> None:
        self._node.watchers.discard(self)


class Subscription:
    """Channels; the connection stays in this mode when the last is left."""

    def __init__(self, node: Node, transport: Any, first: Call, form: Form) -> None:
        self._node, self._transport, self._form, self._json = node, transport, form, first.json
        self._first = first
        self._requests = RequestParser(REQUEST_MAX, http=False)
        self._joined: set[tuple[str, bool]] = set()

    def start(self) -> None:
        self._transport.write(self._form.opening)
        self._do(self._first)

    def received(self, data: bytes) -> None:
        if isinstance(self._form, WebSocketForm):
            return
        self._requests.feed(data)
        while (event := self._requests.next()) is not None:
            if not isinstance(event, Request):
                self._transport.loseConnection()
                return
            self._do(Call([to_text(arg) for arg in event.args], self._json))

    def lost(self) -> None:
        for name, pattern in self._joined:
            self._node.hub.leave(name, self._told, pattern)

    def _do(self, call: Call) -> None:
        name = call.name
        if name == "quit":
            self._say(call.done())
            self._transport.loseConnection()
        elif name == "ping":
            self._say(self._pong(call))
        elif name.removeprefix("p") in ("subscribe", "unsubscribe"):
            if len(call.args) < 2:
                self._say(call.error(ARITY))
            for channel in call.args[1:]:
                self._change(call, channel)
        else:
            allowed = "only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT allowed in this context"
            self._say(call.error(allowed))

    def _pong(self, call: Call) -> bytes:
        word = call.args[1] if len(call.args) > 1 else ""
        return call.reply([b"PONG", to_bytes(word)], f'"ping":{json_string(word or "pong")}')

    def _change(self, call: Call, channel: str) -> None:
        pattern, leaving = call.name.startswith("p"), "unsub" in call.name
        if leaving:
            self._joined.discard((channel, pattern))
            self._node.hub.leave(channel, self._told, pattern)
        else:
            self._joined.add((channel, pattern))
            self._node.hub.join(channel, self._told, pattern)
        count = len(self._joined)
        names = f'"command":"{call.name}","channel":{json_string(channel)}'
        self._say(call.reply([to_bytes(call.name), to_bytes(channel), count], f'{names},"num":{count}'))

    def _told(self, pattern: str | None, channel: str, text: str) -> None:
        if self._json:
            self._say(to_bytes(text if is_json(text) else json_string(text)))
            return
        head = [b"message"] if pattern is None else [b"pmessage", to_bytes(pattern)]
        self._say(encode_reply([*head, to_bytes(channel), to_bytes(text)]))

    def _say(self, reply: bytes) -> None:
        self._transport.write(self._form.encode_live(bulk(reply) if self._json else reply))


@implementer(IPushProducer)
class LogStream:
    """C{AOF position}: the file from there on, for ever, with what is published between commands."""

    def __init__(self, node: Node, transport: Any, position: int) -> None:
        self._node, self._transport, self._position = node, transport, position
        self._messages: deque[bytes] = deque()
        self._paused = False

    def start(self) -> None:
        self._transport.write(OK)
        self._node.readers.add(self)
        self._transport.registerProducer(self, True)
        self.wake()

    def received(self, data: bytes) -> None:
        """Whatever it is, it ends the stream."""
        self.cut()

    def lost(self) -> None:
        self._node.readers.discard(self)

    def cut(self) -> None:
        """End it; the file may be another one from now on."""
        self._node.readers.discard(self)
        self._transport.abortConnection()

    def wake(self) -> None:
        """Send what the file has, and then what was published: never inside a command."""
        file = self._node.file
        while not self._paused and file is not None and self._position < file.flushed:
            data = file.read(self._position, min(CHUNK, file.flushed - self._position))
            if not data:
                return
            self._position += len(data)
            self._transport.write(data)
        while self._messages and file is not None and self._position >= file.flushed:
            self._transport.write(self._messages.popleft())

    def message(self, channel: str, text: str) -> None:
        """Something was published."""
        self._messages.append(encode_request([b"PUBLISH", to_bytes(channel), to_bytes(text)]))
        self.wake()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.wake()

    def stopProducing(self) -> None:
        self._paused = True
