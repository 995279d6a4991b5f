"""
WebSocket as far as Tile38 speaks it: one command in the URL, its replies as text frames.

What a client sends later has no meaning to Tile38, which does not even look
for frames in it.  Here pings are answered and a closing client is let go.
RFC 6455, sections 4.2.2 and 5.2.
"""

from __future__ import annotations

import base64
import hashlib
from enum import IntEnum
from typing import NamedTuple

from tile38cm.wire.fed import Fed

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: The largest frame of a client, in bytes; none of them means anything.
MAX_FRAME = 64 * 1024
_FINAL, _MASKED = 0x80, 0x80
_LENGTH = 0x7F


class Opcode(IntEnum):
    """The kinds of frame that are told apart here."""

    TEXT = 1
    CLOSE = 8
    PING = 9
    PONG = 10


class Frame(NamedTuple):
    """One frame of a client, unmasked."""

    opcode: int
    payload: bytes


class BadFrame(Exception):
    """No frame of a client begins like that; the connection is of no use any more."""


def switching(key: bytes) -> bytes:
    """The server's half of the handshake, word for word as Tile38 gives it."""
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """One whole frame of a server."""
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    elif size < 1 << 16:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes((_FINAL | opcode,)) + length + payload


class FrameParser(Fed):
    """Feed it what a client sent, then ask for the next frame until there is none."""

    def next(self) -> Frame | None:
        """
        The next frame, or C{None} if more bytes are needed for it.

        @raise BadFrame: it is not masked, or too large.
        """
        data, start = self._data, self._start
        at = start + 2
        if len(data) < at:
            return None
        size = data[start + 1] & _LENGTH
        if not data[start + 1] & _MASKED:
            raise BadFrame("a client's frames are masked")
        if size > 125:
            at += 2 if size == 126 else 8
            if len(data) < at:
                return None
            size = int.from_bytes(data[start + 2 : at], "big")
        if size > MAX_FRAME:
            raise BadFrame(f"a frame of {size} bytes")
        end = at + 4 + size
        if len(data) < end:
            return None
        mask, payload = data[at : at + 4], data[at + 4 : end]
        self._start = self._next = end
        # As numbers: byte by byte a frame of the largest size takes 5 ms, in which nobody else is served.
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        return Frame(data[start] & 0x0F, (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big"))
