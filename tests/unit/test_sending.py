"""Sending at once keeps what a transport promises: the order of bytes, and that none is lost."""

from __future__ import annotations

from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.sending import sender


class Pipe:
    """A socket that takes so many bytes and then is full."""

    def __init__(self) -> None:
        self.room = 1 << 20
        self.took = b""
        self.broken = False

    def send(self, data: bytes) -> int:
        if self.broken:
            raise ConnectionResetError("gone")
        if not self.room:
            raise BlockingIOError("full")
        taken = data[: self.room]
        self.room -= len(taken)
        self.took += taken
        return len(taken)


class Line(Connection):
    """A TCP connection with a pipe for a socket, and no reactor."""

    def __init__(self) -> None:
        self.pipe = Pipe()
        self.dataBuffer = b""
        self._tempDataBuffer: list[bytes] = []
        self.connected = 1
        self.disconnecting = False

    def getHandle(self) -> Pipe:  # type: ignore[override]  # as much of a socket as is used
        return self.pipe

    def write(self, data: bytes) -> None:
        self._tempDataBuffer.append(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """It is told nothing here."""

    @property
    def kept(self) -> bytes:
        """What waits for its turn."""
        return b"".join(self._tempDataBuffer)


class SenderTests(SynchronousTestCase):
    """What goes at once and what does not"""

    def setUp(self) -> None:
        self.line = Line()
        self.send = sender(self.line)

    def test_at_once(self) -> None:
        """With nothing in front of them bytes go to the socket."""
        self.send(b"abc")
        self.assertEqual((self.line.pipe.took, self.line.kept), (b"abc", b""))

    def test_full(self) -> None:
        """What the socket does not take the transport keeps, and what follows goes behind it."""
        self.line.pipe.room = 2
        self.send(b"abc")
        self.line.pipe.room = 10
        self.send(b"def")
        self.assertEqual((self.line.pipe.took, self.line.kept), (b"ab", b"cdef"))

    def test_nothing_taken(self) -> None:
        """A socket that takes nothing, or is broken, is the transport's business."""
        self.line.pipe.room = 0
        self.send(b"abc")
        self.assertEqual(self.line.kept, b"abc")
        other = Line()
        other.pipe.broken = True
        sender(other)(b"abc")
        self.assertEqual(other.kept, b"abc")

    def test_closing(self) -> None:
        """A connection that closes, or is closed, decides itself what is still sent."""
        for name, value in (("disconnecting", True), ("connected", 0), ("dataBuffer", b"x")):
            line = Line()
            setattr(line, name, value)
            sender(line)(b"abc")
            self.assertEqual((line.pipe.took, line.kept), (b"", b"abc"), name)

    def test_other_transports(self) -> None:
        """What is no TCP connection gets its bytes as always."""
        transport = StringTransport()
        sender(transport)(b"abc")
        self.assertEqual(transport.value(), b"abc")
