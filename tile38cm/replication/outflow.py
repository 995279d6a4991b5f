"""What one follower is sent: bytes of earlier epochs out of the backlog, then the log, each by its epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.messages import EPOCH, PUBLISH, Data
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.history import Continue
from tile38cm.replication.log_feed import LogFeed

#: Bytes of messages for subscribers that wait for one follower at most; the newest are lost then.
ROOM = 1024 * 1024
#: As many bytes of them go at once, or one message, and then none for so many seconds, in which the log may.
SHARE, MOMENT = 32 * 1024, 0.001
#: So many where the follower was behind and takes more again, every other time: the acknowledgement of
#: writes must not wait for messages for long, nor these for it.
TURN = 0.02
Words = tuple[bytes, ...]


def _turn(epoch: int, offset: int) -> Words:
    return (EPOCH, b"%d" % epoch, b"%d" % offset)


def earlier(decision: Continue, backlog: Backlog, labels: Labels) -> Iterator[Words]:
    """The messages that come before the log's own, made as they are asked for."""
    for segment in decision.segments:
        if segment.epoch != decision.begin.epoch:
            yield _turn(segment.epoch, segment.start)
        for data in backlog.read(segment.epoch, segment.start, segment.end):
            yield data.words()
    if decision.segments:
        yield _turn(decision.log_epoch, decision.log_from)
    yield from labels.named(b"", decision.log_from)


class Labels:
    """Names pieces of one log by their epochs, so that positions mean the same everywhere."""

    def __init__(self, decision: Continue) -> None:
        self._epoch = decision.log_epoch
        self._turns = deque(decision.turns)

    def named(self, payload: bytes, end: int) -> Iterator[Words]:
        """The messages for a piece of whole commands that ends at C{end}; pieces come in order."""
        start = end - len(payload)
        while self._turns and self._turns[0].offset <= end:
            turn = self._turns.popleft()
            if turn.offset > start:
                yield Data(self._epoch, turn.offset, payload[: turn.offset - start]).words()
                payload, start = payload[turn.offset - start :], turn.offset
            self._epoch = turn.epoch
            yield _turn(turn.epoch, turn.offset)
        if payload:
            yield Data(self._epoch, end, payload).words()


@implementer(IPushProducer)
class Outflow:
    """Sends as fast as the follower takes it, so that a slow one costs no memory here."""

    def __init__(
        self, conn: PeerConnection, messages: Iterator[Words], feed: LogFeed, clock: IReactorTime
    ) -> None:
        self._conn = conn
        self._clock = clock
        self._messages: Iterator[Words] | None = messages
        self._feed = feed
        self._paused = False
        #: Messages for subscribers that wait, and their bytes.
        self._told: deque[bytes] = deque()
        self._kept = 0
        #: It is their turn when the follower takes more again.
        self._their_turn = False
        self._moment: IDelayedCall | None = None

    def start(self) -> None:
        """Begin; the connection is there."""
        self._conn.transport.registerProducer(self, True)  # type: ignore[union-attr]  # connected
        self._go_on()

    def tell(self, published: bytes) -> None:
        """Messages for subscribers, in order: now, or when the follower is not behind any more."""
        if self._kept + len(published) <= ROOM or not self._told:
            self._told.append(published)
            self._kept += len(published)
            if self._moment is None:
                self._tell_some()

    def resumeProducing(self) -> None:
        self._paused = False
        if self._messages is not None:
            self._go_on()
            return
        self._their_turn = not self._their_turn
        if not self._their_turn:
            self._tell_some()
        if not self._paused:
            self._feed.resumeProducing()
            self._tell_later(TURN)

    def pauseProducing(self) -> None:
        self._paused = True
        self._feed.pauseProducing()

    def stopProducing(self) -> None:
        self._messages = None
        self._told.clear()
        if self._moment is not None:
            self._moment.cancel()
            self._moment = None
        self._feed.stop()

    def _go_on(self) -> None:
        while self._messages is not None and not self._paused and not self._conn.ended:
            words = next(self._messages, None)
            if words is not None:
                self._conn.send(*words)
            else:
                self._messages = None
                self._feed.start()
                self._tell_later()

    def _tell_some(self) -> None:
        sent = 0
        while self._told and sent < SHARE and self._messages is None and not self._paused:
            published = self._told.popleft()
            self._kept -= len(published)
            sent += len(published)
            self._conn.send(PUBLISH, published)
        self._tell_later()

    def _tell_later(self, seconds: float = MOMENT) -> None:
        """When the log has had its turn; while the follower takes nothing, when it does again."""
        if self._told and self._moment is None and self._messages is None and not self._paused:
            self._moment = self._clock.callLater(seconds, self._moment_over)

    def _moment_over(self) -> None:
        self._moment = None
        self._tell_some()
