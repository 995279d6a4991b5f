"""
What is published on the leader, for the subscribers of its followers.

Tile38 pushes each message into the streams of its log as well, but often into the
middle of a command; then the stream has to be asked for again, and what is published
meanwhile never comes: while large objects are written several messages of a hundred.
So they are heard where they come whole, as a subscriber of everything, once for all
followers.
"""

from __future__ import annotations

from collections.abc import Callable

import hiredis
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tile38cm.tile38 import Tile38
from tile38cm.wire.resp import encode_request

#: Seconds between tries to subscribe, and how many may fail before it is worth a line; whether the server
#: is dead is decided elsewhere.
RETRY, TRIES = 0.1, 10
_EVERYTHING = encode_request([b"PSUBSCRIBE", b"*"])


class Messages:
    """
    All that is published on the local Tile38, from C{start} to C{stop}.

    @param hear: called with messages, each as the C{PUBLISH} that says the same.
    """

    _log = Logger()

    def __init__(self, local: Tile38, clock: IReactorTime, hear: Callable[[bytes], None]) -> None:
        self._local = local
        self._clock = clock
        self._hear = hear
        self._connecting: Deferred[_Subscriber] | None = None
        self._subscriber: _Subscriber | None = None
        self._retry: IDelayedCall | None = None
        #: Tile38 counts us among those that hear a message.
        self.subscribed = False
        #: How many tries have failed.
        self._failed = 0

    def start(self) -> None:
        """Subscribe, again and again if need be."""
        self.stop()
        self._failed = 0
        self._connect()

    def _connect(self) -> None:
        self._connecting = connectProtocol(self._local.endpoint, _Subscriber(self))
        self._connecting.addErrback(self._not_connected)

    def stop(self) -> None:
        """Hear no more; harmless when repeated."""
        self.subscribed = False
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            subscriber.abort()

    def connected(self, subscriber: _Subscriber) -> None:
        """The connection is there."""
        self._subscriber = subscriber
        login = self._local.password
        words = b"" if login is None else encode_request([b"AUTH", login.value.encode()])
        subscriber.say(words + _EVERYTHING)

    def confirmed(self, subscriber: _Subscriber) -> None:
        """From now on all comes."""
        if subscriber is self._subscriber:
            self.subscribed, self._failed = True, 0

    def heard(self, subscriber: _Subscriber, messages: bytes) -> None:
        """Some messages came."""
        if subscriber is self._subscriber:
            self._hear(messages)

    def lost(self, subscriber: _Subscriber, why: str) -> None:
        """The connection is of no use any more."""
        if subscriber is self._subscriber:
            self._subscriber, self.subscribed = None, False
            self._again(why)

    def _not_connected(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None and self._connecting is not None:
            self._again(failure.getErrorMessage())

    def _again(self, why: str) -> None:
        self._connecting = None
        self._failed += 1
        if self._failed == TRIES:
            self._log.warn("what is published does not reach the followers' subscribers: {why}", why=why)
        self._retry = self._clock.callLater(RETRY, self._start_again)

    def _start_again(self) -> None:
        self._retry = None
        self._connect()


class _Subscriber(Protocol):
    """One connection."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._reader = hiredis.Reader()

    def connectionMade(self) -> None:
        self._messages.connected(self)

    def say(self, data: bytes) -> None:
        """Send bytes."""
        assert self.transport is not None
        self.transport.write(data)

    def abort(self) -> None:
        """Close."""
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]  # all that an endpoint connects has it

    def dataReceived(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            messages = self._whole()
        except (hiredis.HiredisError, TypeError, MemoryError) as e:
            self._fail(f"Tile38 said {e}")
            return
        if messages:
            self._messages.heard(self, b"".join(messages))

    def _whole(self) -> list[bytes]:
        """The messages that have come."""
        found: list[bytes] = []
        while (said := self._reader.gets()) is not False:
            if isinstance(said, hiredis.ReplyError):
                raise said
            if isinstance(said, list) and said[:1] == [b"psubscribe"]:
                self._messages.confirmed(self)
            elif isinstance(said, list) and len(said) == 4 and said[0] == b"pmessage":
                found.append(encode_request([b"PUBLISH", said[2], said[3]]))
        return found

    def _fail(self, why: str) -> None:
        self.abort()
        self._messages.lost(self, why)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._messages.lost(self, reason.getErrorMessage())
