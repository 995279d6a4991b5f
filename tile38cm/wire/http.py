"""
HTTP as far as Tile38 speaks it: a command in the path, continued in the body of a C{POST}.

Each connection carries one request, whatever it says of C{Connection}.  Where
Tile38 closes without a word (C{GET /}, C{PUT}, chunked bodies) the client is
told here what is wrong, and a preflight C{OPTIONS} ends its connection as its
answer says, while Tile38 repeats the answer with each further packet.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, unquote_to_bytes

from attrs import field, frozen

from tile38cm.wire.forms import Form, HttpForm, WebSocketForm, response
from tile38cm.wire.native import split_native
from tile38cm.wire.resp import failure

#: The longest head, in bytes.
MAX_HEAD: Final = 64 * 1024
#: Line ends, which may have been written as LF alone.
_LINE_END: Final = re.compile(rb"\r?\n")
_END: Final = re.compile(rb"\r?\n\r?\n")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9a-fA-F]{2})")
_TILE: Final = re.compile(rb"([^/]*)/([^/]*)/([^/]*)/([^/]*)\.(?:mvt|pbf)")
_EVERYTHING: Final = b"100000000"

PREFLIGHT: Final = (
    b"HTTP/1.1 204 No Content\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Headers: *, Authorization\r\n"
    b"Access-Control-Allow-Methods: POST, GET, OPTIONS\r\n\r\n"
)


class BadHttp(Exception):
    """It cannot be read; C{response} is what to answer before closing."""

    def __init__(self, why: str, status: bytes = b"400 Bad Request") -> None:
        super().__init__(why)
        self.response = response(failure(why), status)


@frozen
class Head:
    """
    What a request's head says.

    C{line} is the path without its slash, as a line of the native protocol;
    C{length} how many bytes of the body go on with it; C{key} is set if the
    client wants to speak WebSocket.
    """

    method: bytes
    line: bytes
    length: int = 0
    password: bytes | None = field(default=None, repr=False)
    key: bytes | None = None

    def request(self, body: bytes) -> tuple[list[bytes], Form]:
        """
        The command, and how it is to be answered.

        @raise BadHttp: there is none.
        """
        args = split_native(self.line + body)
        if not args:
            raise BadHttp("invalid HTTP request: the path holds no command")
        if self.key is not None:
            return args, WebSocketForm(password=self.password, key=self.key)
        tile = False
        if len(args) == 1:
            args, tile = _single(args[0])
        return args, HttpForm(password=self.password, health=args[0].lower() == b"healthz", tile=tile)


def head_end(data: bytes | bytearray, start: int) -> int | None:
    """
    Where the head that begins at C{start} ends, or C{None} if more is needed.

    @raise BadHttp: it is too long.
    """
    found = _END.search(data, start, start + MAX_HEAD)
    if found is None:
        if len(data) - start >= MAX_HEAD:
            raise BadHttp(f"the head is longer than {MAX_HEAD} bytes", b"431 Request Header Fields Too Large")
        return None
    return found.end()


def parse_head(head: bytes) -> Head:
    """
    Read a whole head.

    @raise BadHttp: Tile38 would not take it either.
    """
    first, *lines = _LINE_END.split(head)
    words = first.split(b" ")
    if len(words) != 3:
        raise BadHttp("invalid HTTP request")
    method, path, _ = words
    if method == b"OPTIONS":
        return Head(method, b"")
    if method not in (b"GET", b"POST"):
        raise BadHttp("only GET and POST are spoken here", b"405 Method Not Allowed")
    if not path.startswith(b"/") or _BAD_ESCAPE.search(path):
        raise BadHttp("invalid HTTP request")
    fields = _fields(lines)
    if b"transfer-encoding" in fields:
        raise BadHttp("send a Content-Length, not chunks", b"411 Length Required")
    key = _websocket_key(fields)
    return Head(
        method,
        unquote_to_bytes(path[1:].replace(b"+", b" ")),
        _number(fields.get(b"content-length", b"0")) if key is None else 0,
        fields.get(b"authorization"),
        key,
    )


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Names in lower case; of a name that is there twice the last counts."""
    fields = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            fields[name.lower()] = value.strip()
    return fields


def _websocket_key(fields: dict[bytes, bytes]) -> bytes | None:
    """The key, if this is a handshake that Tile38 takes for one."""
    version = _number(fields.get(b"sec-websocket-version", b"0"))
    key = fields.get(b"sec-websocket-key", b"")
    if fields.get(b"upgrade", b"").lower() != b"websocket" or version < 13 or not key:
        return None
    return key


def _number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 19:
        raise BadHttp(f"{digits.decode(errors='replace')!r} is no number")
    return int(digits)


def _single(path: bytes) -> tuple[list[bytes], bool]:
    """A path of one word may have a query, and may be that of a vector tile."""
    path, _, query = path.partition(b"?")
    found = _TILE.fullmatch(path)
    if found is None or any(_BAD_ESCAPE.search(part) for part in found.groups()):
        return [path], False
    key, z, x, y = (unquote_to_bytes(part) for part in found.groups())
    asked = parse_qs(query)
    sparse, limit = asked.get(b"sparse", [b""])[0], asked.get(b"limit", [b""])[0]
    few = [b"SPARSE", sparse] if sparse else [b"LIMIT", limit or _EVERYTHING]
    return [b"INTERSECTS", key, *few, b"MVT", x, y, z], True
