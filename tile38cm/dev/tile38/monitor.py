"""C{MONITOR}: every command that was done or tried, as it came, to whoever asks for them."""

from __future__ import annotations

from typing import Any

from tile38cm.dev.tile38.calls import Call, wrong_arity
from tile38cm.dev.tile38.node import Client, Node, Reply
from tile38cm.dev.tile38.text import to_bytes
from tile38cm.wire.requests import Request, RequestParser
from tile38cm.wire.resp import OK

#: What Tile38 keeps to itself: secrets, and what nodes say to each other.
HIDDEN = frozenset(
    ("auth", "aof", "aofmd5", "client", "config get", "config set", "config rewrite", "follow", "replconf")
)
#: The largest request of a client that watches. Bytes.
REQUEST_MAX = 64 * 1024
_ESCAPES = {letter: f"\\{name}" for letter, name in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)}


class Monitors(Exception):
    """The connection watches from now on."""


def monitor(node: Node, call: Call, client: Client | None) -> Reply:
    """C{MONITOR}

    @raise Monitors: always, if nothing follows.
    """
    if len(call.args) > 1:
        wrong_arity()
    raise Monitors


def quoted(word: str) -> str:
    """A word as Go quotes it."""
    return f'"{"".join(map(_letter, word))}"'


def _letter(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    code = ord(letter)
    if letter.isprintable():
        return letter
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class MonitorStream:
    """A connection that is told of commands, in RESP whatever it spoke before."""

    def __init__(self, node: Node, transport: Any) -> None:
        self._node, self._transport = node, transport
        self._requests = RequestParser(REQUEST_MAX, http=False)

    def start(self) -> None:
        self._node.monitors.add(self._told)
        self._transport.write(OK)

    def received(self, data: bytes) -> None:
        """Any command ends it."""
        self._requests.feed(data)
        asked = self._requests.next()
        if asked is None:
            return
        if isinstance(asked, Request) and asked.args[0].lower() == b"quit":
            self._transport.write(OK)
        self._transport.loseConnection()

    def lost(self) -> None:
        self._node.monitors.discard(self._told)

    def _told(self, call: Call, client: Client) -> None:
        if call.name in HIDDEN:
            return
        words = " ".join(map(quoted, call.args))
        line = f"+{self._node.reactor.seconds():.6f} [0 {client.address}] {words}\r\n"
        self._transport.write(to_bytes(line))


COMMANDS = {"monitor": monitor}
