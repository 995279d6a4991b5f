"""One conversation between two managers, as either side sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hiredis
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime, ITCPTransport, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tile38cm.peers.messages import BadMessage
from tile38cm.sending import sender

#: Before a peer has shown who it is, it may not make us hold more than this.
GREETING_BYTES = 4096

#: How a line of it may begin, and how much may stand behind that: digits, or the text of an error.
_LONGEST = {b"*": 2, b"$": 4, b"-": GREETING_BYTES}

#: Seconds for the last words to go out, and for a peer's own close, which TLS waits for.
FAREWELL_TIMEOUT = 2.0

Receive = Callable[[list[bytes]], None]
Lost = Callable[[str], None]


class PeerError(Exception):
    """A peer cannot be reached, refused us, or broke the conversation off."""


class NotLeader(PeerError):
    """The peer does not lead, or not yet; ask again soon, or somebody else."""


def _ignore(_: object) -> None:
    """Nobody listens."""


class PeerConnection(Protocol):
    """Messages in, messages out.

    C{receive} gets each message; what it raises as L{BadMessage} closes the
    connection.  C{lost} is told once, with a reason for people.

    @param clock: bounds a close that waits for the peer.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._farewell: IDelayedCall | None = None
        self.receive: Receive = _ignore
        self.lost: Lost = _ignore
        self.peer = "?"
        self.trusted = False
        self._reader = hiredis.Reader()
        self._greeted = b""
        self._becoming: IProtocol | None = None
        self._ended = False
        self._out: Callable[[bytes], object] = _ignore

    def makeConnection(self, transport: ITransport) -> None:
        """Connected: what is said goes out at once, as every write of a client waits for it."""
        if ITCPTransport.providedBy(transport):
            # Else an acknowledgement waits until the one before it is confirmed by TCP.
            transport.setTcpNoDelay(True)
        self._out = sender(transport)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        if self._becoming is not None:
            self._becoming.dataReceived(data)
            return
        try:
            if not self.trusted:
                self._check_greeting(data)
            self._reader.feed(data)
            while self._becoming is None and not self._ended and (message := self._next()) is not False:
                self.receive(_words(message))
        except (hiredis.HiredisError, BadMessage) as e:
            self.close(f"the peer sent rubbish: {e}")

    def _check_greeting(self, data: bytes) -> None:
        """Look at the bytes of a stranger before a parser does; fails with L{BadMessage}."""
        self._greeted += data
        if len(self._greeted) > GREETING_BYTES:
            raise BadMessage("too much before the greeting ended")
        if not _plain(self._greeted):
            raise BadMessage("neither a short array of strings nor an error")

    def _next(self) -> object:
        """The next message, C{False} if none is whole; fails with L{BadMessage} or C{HiredisError}."""
        try:
            return self._reader.gets()
        except (TypeError, MemoryError) as e:  # a map whose keys are lists; more words than there is room for
            raise BadMessage("no message of ours") from e

    @property
    def ended(self) -> bool:
        """Whether nothing can be said or heard any more."""
        return self._ended

    def send(self, *words: bytes) -> None:
        """Say something; nothing happens when the connection has ended."""
        if self.transport is not None and not self._ended:
            self._out(hiredis.pack_command(words))  # type: ignore[arg-type]  # typed for one word only

    def error(self, text: str) -> None:
        """Refuse, and close; nothing more is heard."""
        self.receive = _ignore
        if self.transport is not None and not self._ended:
            self._out(b"-%s\r\n" % text.encode())
            self._close_when_sent()

    def finish(self) -> None:
        """End when all that was said has gone out; C{lost} is not told."""
        if self.transport is not None and not self._ended:
            self._ended = True
            self._close_when_sent()

    def _close_when_sent(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()
        if self._farewell is None:
            self._farewell = self._clock.callLater(FAREWELL_TIMEOUT, self._abort)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]  # ITCPTransport, and TLS's

    def close(self, why: str) -> None:
        """End at once; C{lost} is told C{why}."""
        if not self._ended:
            self._end(why)
            self._abort()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading; a peer that may not send waits in its own buffers."""
        producer: Any = self.transport
        if not self._ended:
            (producer.pauseProducing if paused else producer.resumeProducing)()

    def become(self, protocol: IProtocol) -> None:
        """From now on the bytes are another protocol's, which is connected to our transport already."""
        self._becoming = protocol

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._farewell is not None and self._farewell.active():
            self._farewell.cancel()
        if self._becoming is not None:
            self._becoming.connectionLost(reason)
        else:
            self._end(reason.getErrorMessage())

    def _end(self, why: str) -> None:
        if not self._ended:
            self._ended = True
            self.lost(why)


def _plain(raw: bytes) -> bool:
    """Whether some bytes may be the beginning of short arrays of strings, or of errors.

    hiredis makes room for all words that an array announces: by a dozen bytes a
    stranger could have it reserve gigabytes, and stop this node for seconds.
    """
    at = 0
    while at < len(raw):
        end = raw.find(b"\r\n", at)
        line = raw[at:].removesuffix(b"\r") if end < 0 else raw[at:end]
        kind, length = line[:1], line[1:]
        if kind not in _LONGEST or (length and kind != b"-" and not length.isdigit()):
            return False
        if len(length) > _LONGEST[kind]:
            return False
        if end < 0:
            break
        at = end + 2
        if kind == b"$":
            at += int(length or b"0") + 2
    return True


def _words(message: object) -> list[bytes]:
    """A message as words; an error reply becomes the one word that begins with C{-}."""
    if isinstance(message, hiredis.ReplyError):
        return [b"-" + str(message).encode()]
    if isinstance(message, list) and message and all(isinstance(w, bytes) for w in message):
        return message
    raise BadMessage("not an array of strings")
