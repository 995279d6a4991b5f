"""
In which of Tile38's protocols a request came, which is how its reply goes back.

Servers are only ever asked in RESP; a reply in RESP has all that the other
protocols need.  What they call their text is the JSON inside the bulk that
C{OUTPUT json} gives, or with C{OUTPUT resp} the reply as it stands.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

from attrs import field, frozen

from tile38cm.wire.resp import Output
from tile38cm.wire.resp3 import as_push
from tile38cm.wire.websocket import frame, switching


@frozen
class Form:
    """RESP, and inline commands too; the others are derived from it."""

    #: The C{OUTPUT} of a connection whose first command comes in this form.
    output: Output = "resp"
    #: The connection ends behind the reply.
    once: bool = False
    #: Whether what a live command tells later can be written.
    streams: bool = True
    #: What C{AUTH} would say, if it came with the request.
    password: bytes | None = field(default=None, repr=False)

    @property
    def opening(self) -> bytes:
        """What comes before the first thing that a live connection is told."""
        return b""

    def encode(self, reply: bytes, output: Output) -> bytes:
        """One whole reply, nothing if the server says nothing."""
        return reply

    def encode_live(self, message: bytes, first_of_fence: bool = False) -> bytes:
        """
        What a live connection is told; a fence's events are bulks in either output.

        @param first_of_fence: it is the answer to C{FENCE}, of which Tile38 shows the framing as well.
        """
        return message


@frozen
class Resp3Form(Form):
    """What C{HELLO 3} chose; its null is put into all that goes to the client at once."""

    def encode_live(self, message: bytes, first_of_fence: bool = False) -> bytes:
        """As L{Form}."""
        return as_push(message)


@frozen
class NativeForm(Form):
    """C{$<length> <text>\\r\\n}"""

    output: Output = "json"

    def encode(self, reply: bytes, output: Output) -> bytes:
        """As L{Form}."""
        return _native(text(reply, output)) if reply else b""

    def encode_live(self, message: bytes, first_of_fence: bool = False) -> bytes:
        """As L{Form}."""
        return _native(message if first_of_fence else _inner(message))


@frozen
class WebSocketForm(Form):
    """The handshake, and the text in frames."""

    output: Output = "json"
    once: bool = True
    key: bytes = b""

    @property
    def opening(self) -> bytes:
        """The handshake: Tile38 gives it at once, here it keeps its turn."""
        return switching(self.key)

    def encode(self, reply: bytes, output: Output) -> bytes:
        """As L{Form}."""
        return self.opening + (frame(text(reply, output)) if reply else b"")

    def encode_live(self, message: bytes, first_of_fence: bool = False) -> bytes:
        """As L{Form}."""
        return frame(message if first_of_fence else _inner(message))


@frozen
class HttpForm(Form):
    """
    A response that closes the connection.

    @ivar health: the command is C{HEALTHZ}, the only one whose failure is an error of HTTP.
    @ivar tile: the text is C{INTERSECTS ... MVT}'s, and the vector tile in it is what is wanted.
    """

    output: Output = "json"
    once: bool = True
    streams: bool = False
    health: bool = False
    tile: bool = False

    def encode(self, reply: bytes, output: Output) -> bytes:
        """As L{Form}."""
        if not reply:
            return b""
        body = text(reply, output)
        if self.health and not body.startswith(b'{"ok":true'):
            return response(body, SERVER_ERROR)
        if self.tile:
            tile = _tile(body)
            return response(body, SERVER_ERROR) if tile is None else response(tile, kind=_VECTOR_TILE)
        return response(body)


RESP: Final = Form()
RESP3: Final = Resp3Form()
NATIVE: Final = NativeForm()

SERVER_ERROR: Final = b"500 Internal Server Error"
_JSON: Final = b"application/json; charset=utf-8"
_VECTOR_TILE: Final = b"application/vnd.mapbox-vector-tile"


def response(body: bytes, status: bytes = b"200 OK", kind: bytes = _JSON) -> bytes:
    """A whole answer in HTTP; like Tile38's its body ends with a line end of its own."""
    return (
        b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Type: %b\r\nContent-Length: %d\r\n"
        b"Access-Control-Allow-Origin: *\r\n\r\n%b\r\n" % (status, kind, len(body) + 2, body)
    )


def text(reply: bytes, output: Output) -> bytes:
    """What the other protocols carry of one reply in RESP."""
    return _inner(reply) if output == "json" else reply


def _inner(reply: bytes) -> bytes:
    """The content of a bulk; other replies as they stand."""
    return reply[reply.index(b"\n") + 1 : -2] if reply.startswith(b"$") else reply


def _native(words: bytes) -> bytes:
    return b"$%d %b\r\n" % (len(words), words)


def _tile(body: bytes) -> bytes | None:
    try:
        encoded = json.loads(body)["mvt"].encode()
        # Without padding, as Go's RawStdEncoding.
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None
