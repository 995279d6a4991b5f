"""Bytes on their way into the local Tile38, and which of them have arrived.

"Arrived" means: handed to the socket.  It is said per mark, so whoever writes
can tell how far the follower's server has been given the leader's log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, ITransport
from zope.interface import implementer

from tile38cm.sending import sender

#: Above so many bytes not yet handed over the writer should pause.
HIGH_WATER = 1024 * 1024
#: Below so many it may go on.
LOW_WATER = 256 * 1024
#: Handed to the transport at once; a mark waits for the whole of it.
BATCH = 128 * 1024


@implementer(IPullProducer)
class Delivery:
    """A queue of whole commands in front of one transport.

    C{on_delivered} gets the last mark of what the socket has taken, at most once
    per turn; C{on_drained} is called when C{full} ends.

    @param soon: calls a function when this turn's events are dealt with.
    """

    def __init__(
        self,
        transport: ITransport,
        on_delivered: Callable[[object], None],
        on_drained: Callable[[], None],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._out = sender(transport)
        self._soon = soon
        self._transport = transport
        self._on_delivered = on_delivered
        self._on_drained = on_drained
        self._queue: deque[tuple[bytes, object | None]] = deque()
        self._in_transport = 0
        #: The socket has C{_in_transport} already, and it is not said yet.
        self._taken = False
        self._mark: object | None = None
        self._waiting: list[Deferred[None]] = []
        self._was_full = False
        #: Bytes not yet handed to the socket.
        self.buffered = 0
        transport.registerProducer(self, False)  # type: ignore[attr-defined]  # ITransport lacks IConsumer

    @property
    def full(self) -> bool:
        """Whether the writer should pause until C{on_drained}."""
        return self.buffered >= HIGH_WATER

    def write(self, payload: bytes, mark: object | None = None) -> None:
        """Queue whole commands; C{mark} is reported when the socket has them all."""
        self._queue.append((payload, mark))
        self.buffered += len(payload)
        self._was_full = self._was_full or self.full
        if not self._in_transport:
            self._send()

    def when_empty(self) -> Deferred[None]:
        """Fires when the socket has everything, or the link is lost."""
        waiting: Deferred[None] = Deferred()
        if self.buffered:
            self._waiting.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def _say_taken(self) -> None:
        if self._taken:
            self.resumeProducing()

    def resumeProducing(self) -> None:
        self._taken = False
        self.buffered -= self._in_transport
        self._in_transport = 0
        mark, self._mark = self._mark, None
        self._send()
        if mark is not None:
            self._on_delivered(mark)
        if self._was_full and self.buffered <= LOW_WATER:
            self._was_full = False
            self._on_drained()
        if not self.buffered:
            self._tell_waiting()

    def stopProducing(self) -> None:
        """The link is lost; its owner hears of it by itself."""
        self._taken = False
        self._queue.clear()
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def finish(self) -> None:
        """Let go of the transport; only after everything was handed over."""
        self._transport.unregisterProducer()  # type: ignore[attr-defined]

    def _send(self) -> None:
        batch = []
        while self._queue and self._in_transport < BATCH:
            payload, mark = self._queue.popleft()
            batch.append(payload)
            self._in_transport += len(payload)
            self._mark = self._mark if mark is None else mark
        # The writes of the leader's clients wait for this, so it is not left to the next turn.
        if batch and self._out(b"".join(batch)):
            self._taken = True
            self._soon(self._say_taken)
