"""Two nodes that meet over wires in memory, and a stranger who says what a test has him say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.peers.wires import End, Way, identity
from tile38cm.coordination.survey import Report
from tile38cm.model import Position
from tile38cm.peers.accept import Identity, PeerGreeter
from tile38cm.peers.connection import PeerConnection, PeerError
from tile38cm.peers.dial import PeerDialer
from tile38cm.peers.messages import (
    COMMAND,
    FORWARD,
    HEARTBEAT,
    HELLO,
    POSITION,
    VERSION,
    report_words,
)

REPORT = Report("b", Position(3, 9), 3, bound=True, priority=-1)


def words(*given: bytes) -> bytes:
    """A message as it is sent."""
    return b"*%d\r\n" % len(given) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in given)


def parsed(data: bytes) -> list[Any]:
    """All messages in some bytes."""
    reader, found = hiredis.Reader(), []
    reader.feed(data)
    while (message := reader.gets()) is not False:
        found.append(message)
    return found


class GreetingCase(SynchronousTestCase):
    """C{a} calls C{b}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.served: list[tuple[PeerConnection, list[bytes]]] = []
        self.meet(identity("a"), identity("b"))

    def meet(self, caller: Identity, listener: Identity, shown: str | None = None) -> None:
        """Two nodes that are told who they are, and what the caller's certificate says."""
        purposes = {HEARTBEAT: self.serve, POSITION: self.tell, FORWARD: self.forward}
        self.greeter = PeerGreeter(listener, self.clock, purposes)
        self.dialer = PeerDialer(caller, self.clock)
        self.way = Way(self.greeter, shown)

    def serve(self, conn: PeerConnection, rest: Sequence[bytes]) -> None:
        """A purpose that keeps the connection."""
        self.served.append((conn, list(rest)))

    def tell(self, conn: PeerConnection, rest: Sequence[bytes]) -> None:
        """A purpose that answers."""
        conn.send(*report_words(REPORT))

    def forward(self, conn: PeerConnection, rest: Sequence[bytes]) -> None:
        """A purpose that turns into another protocol, an echo."""
        conn.send(b"OK")
        echo = Echo()
        conn.become(echo)
        echo.makeConnection(conn.transport)

    def dial(self, piece: int = 1 << 20, *rest: bytes) -> Deferred[PeerConnection]:
        """One call with all bytes carried."""
        calling = Deferred.fromCoroutine(self.dialer.dial(self.way, HEARTBEAT, *rest))
        self.way.move(piece)
        return calling

    def refused(self) -> str:
        """A call that fails before or with the first answer; why."""
        calling = Deferred.fromCoroutine(self.dialer.position(self.way, 1.0))
        self.way.move()
        failure = self.failureResultOf(calling, PeerError)
        self.assertEqual((self.served, self.way.wires[-1].ended), ([], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return str(failure.value)


class Echo(Protocol):
    """Says again what it hears."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Stranger:
    """A connection to a greeter, word by word."""

    def __init__(self, greeter: PeerGreeter) -> None:
        self.end = End()
        self.conn: PeerConnection | None = None
        self.nonces = (b"n", b"")
        self._greeter = greeter

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        if self.conn is None:
            self.conn = self._greeter.accept(self.end, None, data)
        else:
            self.conn.dataReceived(data)

    def say(self, *given: bytes) -> None:
        """Send a message."""
        self.raw(words(*given))

    def hello(self, member: bytes = b"a") -> list[bytes]:
        """Begin as a node of the cluster does; the answer."""
        self.say(COMMAND, HELLO, b"%d" % VERSION, b"c", member, self.nonces[0])
        (answer,) = parsed(self.end.taken())
        self.nonces = (self.nonces[0], answer[3])
        return list(answer)

    def denied(self) -> bool:
        """Whether the last answer was a refusal, and the end."""
        last = parsed(self.end.value())[-1]
        return isinstance(last, hiredis.ReplyError) and "DENIED" in str(last) and self.end.disconnecting
