"""What has been fed to a parser and not been given out: bytes that come in any pieces."""

from __future__ import annotations


class Fed:
    """The bytes of a parser that is fed what came and gives out what is whole."""

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        #: Where what is to be given out next begins, and how far it was understood.
        self._start = 0
        self._next = 0

    def feed(self, data: bytes) -> None:
        """Take what came; what is left of earlier bytes stays in front of it."""
        if self._start == len(self._data):
            self._data = data
        else:
            # A bytearray grows, and loses its front, in time proportional to what is
            # added, so that one who sends a byte at a time cannot make this quadratic.
            if isinstance(self._data, bytes):
                self._data = bytearray(memoryview(self._data)[self._start :])
            else:
                del self._data[: self._start]
            self._data += data
        self._next -= self._start
        self._start = 0

    def rest(self) -> bytes:
        """All bytes that have not been given out yet."""
        return bytes(self._data[self._start :])
