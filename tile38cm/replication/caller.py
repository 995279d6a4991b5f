"""One connection that the local Tile38 has opened to its leader.

Three kinds come: to look whether there is a leader, to ask for checksums, and one
that ends in C{AOF} and then carries the stream.  They all begin alike, so each
is protected from the accept on: while Tile38 waits for a checksum it takes a
clean close for "your log differs", and wipes its log.
"""

from __future__ import annotations

import socket
import struct
from typing import Any
from typing import Protocol as Typing

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: A small buffer in the kernel, so that "handed to the socket" means little is left.
SEND_BUFFER = 64 * 1024
#: Bytes of questions that are read from one connection; a real one needs 400.
MAX_QUESTIONS = 64 * 1024
#: Seconds that a connection may live without becoming the stream.
LIFE = 10.0


class Leader(Typing):
    """Who answers. All are called in the reactor's thread."""

    def came(self, caller: Caller) -> None:
        """A connection was accepted."""

    async def asked(self, caller: Caller, words: list[bytes]) -> None:
        """One command came; the next is given when this has returned."""

    def gone(self, caller: Caller, reason: str) -> None:
        """The connection has ended."""


@implementer(IHalfCloseableProtocol)
class Caller(Protocol):
    """Questions in, answers out, perhaps then the stream; ended by RST only."""

    _log = Logger()
    # Typed loosely: a TCP transport has more than any one of Twisted's interfaces says.
    transport: Any

    def __init__(self, clock: IReactorTime, leader: Leader) -> None:
        self._clock = clock
        self._leader = leader
        self._reader = hiredis.Reader()
        self._read = 0
        self._busy = False
        self._questions: list[list[bytes]] = []
        self._reason = ""
        self.streaming = False
        self.lost = False

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._set(socket.SO_SNDBUF, SEND_BUFFER)
        self._linger(True)
        self._life = self._clock.callLater(LIFE, self.abort, "it asked for too long")
        self._leader.came(self)

    def dataReceived(self, data: bytes) -> None:
        self._read += len(data)
        if self.streaming or self._read > MAX_QUESTIONS:
            self.abort("it said what a follower does not say")
            return
        try:
            self._reader.feed(data)
            while (words := self._reader.gets()) is not False:
                self._questions.append(_command(words))
        except (hiredis.ProtocolError, ValueError):
            self.abort("it does not speak RESP")
            return
        if self._questions and not self._busy:
            self._busy = True
            self._answering = Deferred.fromCoroutine(self._answer_all()).addErrback(self._broken)

    async def _answer_all(self) -> None:
        while self._questions and not self.lost:
            await self._leader.asked(self, self._questions.pop(0))
        self._busy = False

    def _broken(self, failure: Failure) -> None:
        self._log.failure("a question of Tile38 could not be answered", failure)
        self.abort("internal error")

    def answer(self, reply: bytes) -> None:
        """Send a reply, unless the connection is gone."""
        if not self.lost:
            self.transport.write(reply)

    def begin_stream(self, reply: bytes) -> None:
        """Answer C{AOF}. From here on a clean close is harmless, and losing queued bytes is not."""
        self.streaming = True
        self._life.cancel()
        self._linger(False)
        self.answer(reply)

    def end_stream(self) -> None:
        """Say that nothing follows; Tile38 closes when it has applied everything."""
        if not self.lost:
            self.transport.loseWriteConnection()

    def abort(self, reason: str) -> None:
        """End it by RST, whatever it is doing."""
        self._reason = self._reason or reason
        if not self.lost:
            self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """Tile38 has closed; by then it has read all that it ever will."""
        self.abort("Tile38 closed the connection")

    def writeConnectionLost(self) -> None:
        """Our half is closed, as C{end_stream} wanted."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        if self._life.active():
            self._life.cancel()
        self._leader.gone(self, self._reason or reason.getErrorMessage())

    def _linger(self, reset: bool) -> None:
        """Whether the kernel sends RST when this process closes the socket or dies."""
        self._set(socket.SO_LINGER, struct.pack("ii", int(reset), 0))

    def _set(self, option: int, value: int | bytes) -> None:
        self.transport.getHandle().setsockopt(socket.SOL_SOCKET, option, value)


class Callers(Factory):
    """Accepts the local Tile38, for one leader."""

    noisy = False

    def __init__(self, clock: IReactorTime, leader: Leader) -> None:
        self._clock = clock
        self._leader = leader

    def buildProtocol(self, addr: IAddress | None) -> Caller:
        return Caller(self._clock, self._leader)


def _command(words: object) -> list[bytes]:
    if isinstance(words, list) and words and all(type(word) is bytes for word in words):
        return words
    raise ValueError("not a command")
