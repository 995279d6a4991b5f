"""Requests of a connection, each in one of Tile38's protocols; and what a reply looks like in it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tile38cm.dev.tile38.text import to_text
from tile38cm.wire.requests import Foreign, Malformed, Request, RequestParser
from tile38cm.wire.resp import bulk

#: The largest request, and the longest announcement of a native one. Bytes.
REQUEST_MAX, HEADER_MAX = 512 * 1024 * 1024, 32


class Frame(Enum):
    """How a request came, and its reply goes."""

    RESP = "resp"
    #: C{$4 PING\\r\\n}; JSON unless told otherwise.
    NATIVE = "native"


class Asked(NamedTuple):
    """One request."""

    args: list[str]
    frame: Frame


class Broken(NamedTuple):
    """Nothing can be understood any more; C{text} is said before the connection is closed."""

    text: str


class Frames:
    """Feed it what came, then ask for the next request until there is none."""

    def __init__(self) -> None:
        self._parser = RequestParser(REQUEST_MAX)
        #: Bytes that begin with a native request, or nothing.
        self._native = b""

    def feed(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._native:
            self._native += data
        else:
            self._parser.feed(data)

    def next(self) -> Asked | Broken | None:
        """The next request, or C{None} if more bytes are needed for it."""
        if self._native:
            return self._take_native()
        event = self._parser.next()
        if isinstance(event, Request):
            return Asked([to_text(arg) for arg in event.args], Frame.RESP)
        if isinstance(event, Malformed):
            return Broken(event.text)
        if isinstance(event, Foreign):
            if event.protocol == "http":
                return Broken("ERR this node speaks no HTTP")
            self._native = self._parser.rest()
            return self._take_native()
        return None

    def _take_native(self) -> Asked | Broken | None:
        head, space, behind = self._native[1:].partition(b" ")
        if not space and len(self._native) < HEADER_MAX:
            return None
        if not head.isdigit():
            return Broken("Protocol error: invalid bulk length")
        size = int(head)
        if len(behind) < size + 2:
            return None
        if behind[size : size + 2] != b"\r\n":
            return Broken("Protocol error: invalid bulk line ending")
        self._native, self._parser = b"", RequestParser(REQUEST_MAX)
        self._parser.feed(behind[size + 2 :])
        return Asked(native_words(to_text(behind[:size])), Frame.NATIVE)


def native_words(line: str) -> list[str]:
    """The words of a native line: JSON, and the text of a C{SET}, go to its end."""
    words: list[str] = []
    while line:
        if line[0] == "{":
            return [*words, line]
        quoted = len(line) > 1 and line[0] == '"' == line[-1]
        if quoted and words and words[0].lower() == "set" and words[-1].lower() == "string":
            return [*words, line[1:-1]]
        word, _, line = line.partition(" ")
        words += [word] if word else []
    return words


def framed(reply: bytes, frame: Frame, json: bool) -> bytes:
    """A reply as it goes out."""
    if frame is Frame.NATIVE:
        return b"$%d %b\r\n" % (len(reply), reply)
    return bulk(reply) if json else reply
