"""
The requests of one client that have no answer yet, in order, and what they cost.

Beside is also decided what becomes of those that are lost with their server,
wait too long, or are turned away: what could not have been executed may be
sent again, and nobody is told that nothing was done when something may have
been.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from os import write
from typing import Protocol

from tile38cm.proxy.exchange import (
    LARGE_REPLY,
    LOST_TOO_OFTEN,
    PERHAPS,
    UNCERTAIN,
    Exchange,
    State,
    Verdict,
)
from tile38cm.proxy.hold import Held
from tile38cm.proxy.port import Port
from tile38cm.proxy.sides import Side
from tile38cm.proxy.upstream import Upstream
from tile38cm.turns import NO_DESCRIPTOR
from tile38cm.wire.replies import not_executed
from tile38cm.wire.resp import Output

#: How often a request may be sent again after it was lost with its server: one that
#: kills its server must not kill them all.
MAX_LOSSES = 4
#: Looked up for each reply; as an attribute of the class it costs four times as much.
_SENT = State.SENT


class Whole(Protocol):
    """What a line is a part of: its conversation."""

    def replied(self, exchange: Exchange, reply: bytes) -> None:
        """See L{Asker.replied}."""

    def turned(self, verdict: Verdict | None) -> None:
        """See L{Asker.turned}."""

    def flows(self, exchange: Exchange, part: Callable[[], bytes]) -> None:
        """See L{Asker.flows}."""


class Line:
    """
    One client's; C{queue} is always the same object.

    C{asked} counts requests, C{kept} the bytes of requests and replies,
    C{heavy} the requests under way that may be answered with megabytes.

    It is the L{Asker} of its requests, so that nearly all replies find here
    all that they need; see L{tile38cm.proxy.express}.
    """

    __slots__ = (
        "asked",
        "express",
        "heard",
        "heavy",
        "held",
        "kept",
        "mode",
        "port",
        "queue",
        "side",
        "way",
        "weight",
        "whole",
        "word",
    )

    def __init__(self, side: Side, whole: Whole, port: Port) -> None:
        self.side = side
        self.whole = whole
        self.port = port
        #: The descriptor that takes replies as they are while nothing stands before them: the port's to say.
        self.way = NO_DESCRIPTOR
        #: Something came from the client since this was cleared.
        self.heard = False
        #: Where a plain request of C{weight} may go while nothing else is under way; any event but
        #: such requests and their replies clears it.
        self.express: Upstream | None = None
        self.weight = 0
        self.mode: Output = "resp"
        self.word = b"-" + side.elsewhere.encode()
        self.queue: deque[Exchange] = deque()
        self.held = Held(side.budget, side.counters)
        self.asked = 0
        self.kept = 0
        self.heavy = 0

    # -- Asker

    def landed(self, exchange: Exchange, reply: bytes) -> bool:
        """Release it at once, if it is the first of its client and nothing special; see L{Asker.landed}."""
        queue = self.queue
        if exchange.state is not _SENT or not exchange.bundled or queue[0] is not exchange:
            return False
        if len(reply) > LARGE_REPLY or (exchange.batch is None and (exchange.begun or self.word in reply)):
            return False
        queue.popleft()
        count = exchange.count
        self.side.in_flight -= count
        if not queue:
            self.asked = self.kept = self.heavy = 0
        else:
            self.asked -= count
            self.kept -= len(exchange.raw)
            self.heavy -= exchange.heavy
        sent = 0
        if self.way >= 0:
            try:
                sent = write(self.way, reply)
            except OSError:
                sent = 0  # full, or broken: the port finds out which
        if sent < len(reply):
            self.port.deliver(reply[sent:])
        if queue or self.express is None:
            self.side.landed(0)
            self.whole.turned(None)
        return True

    def replied(self, exchange: Exchange, reply: bytes) -> None:
        """See L{Asker.replied}."""
        self.whole.replied(exchange, reply)

    def turned(self, verdict: Verdict | None) -> None:
        """See L{Asker.turned}."""
        self.whole.turned(verdict)

    def flows(self, exchange: Exchange, part: Callable[[], bytes]) -> None:
        """See L{Asker.flows}."""
        self.whole.flows(exchange, part)

    def partly_replied(self, exchange: Exchange, replies: bytes) -> None:
        """To some of a bundle's requests: the connection is lost, and they are judged then."""
        if exchange.state is _SENT:
            exchange.reply = replies
            self.kept += len(replies)

    def not_sent(self, exchange: Exchange) -> None:
        """It is held again, in its place."""
        if exchange.state is _SENT:
            self.put_back(exchange)

    # -- the usual way

    def add(self, exchange: Exchange) -> None:
        """The newest request; hold it, unless it is sent or settled already."""
        self.queue.append(exchange)
        self.asked += exchange.count
        self.kept += len(exchange.raw) + len(exchange.reply)

    def send(self, exchange: Exchange) -> None:
        """It is under way."""
        exchange.state = State.SENT
        self.heavy += exchange.heavy
        self.side.sent(exchange.count)

    def answer(self, exchange: Exchange, reply: bytes) -> None:
        """Its reply is here."""
        exchange.state = State.ANSWERED
        exchange.reply = reply
        self.kept += len(reply)

    def release(self) -> Exchange:
        """Remove the first: its reply goes to the client."""
        exchange = self.queue.popleft()
        self.asked -= exchange.count
        self.kept -= len(exchange.raw) + len(exchange.reply)
        self.ended(exchange)
        if exchange.begun:
            now = self.side.clock.seconds()
            for other in self.queue:
                other.arrived = now  # until then they waited for the client's own pace
        return exchange

    def ended(self, exchange: Exchange) -> None:
        """It is under way no more, if it was."""
        if exchange.state is State.SENT or exchange.state is State.ANSWERED:
            self.heavy -= exchange.heavy
            if not exchange.begun:
                self.side.landed(exchange.count)

    def begin(self, exchange: Exchange) -> None:
        """
        Its client gets the reply from now on, whatever becomes of the lead: nothing
        that comes can cover it better, and nobody waits for the client's pace.
        """
        self.side.landed(exchange.count)
        exchange.begun, exchange.batch = True, None

    @property
    def begun(self) -> bool:
        """Whether the client has the beginning of a reply, and not its end."""
        return bool(self.queue) and self.queue[0].begun

    @property
    def under_way(self) -> bool:
        """Whether a server has something left to say: a reply, or the offset that covers one."""
        return any(
            exchange.state is State.SENT if exchange.batch is None else exchange.batch.offset is None
            for exchange in self.queue
        )

    def clear(self) -> None:
        """The client is gone: nothing is heard of its requests any more."""
        for exchange in self.queue:
            self.ended(exchange)
            exchange.state = State.SETTLED
        self.queue.clear()
        self.held.clear()

    # -- what could not be sent after all, or was lost

    def put_back(self, exchange: Exchange) -> None:
        """Hold it again, in its place."""
        self.ended(exchange)
        exchange.hold_again()
        self._replace(exchange, self._singles(exchange, State.HELD))

    def take_back(self) -> None:
        """Behind a reply that has begun: hold what only reads again, so that nobody waits for its answer."""
        for exchange in list(self.queue)[1:]:
            sent = exchange.state is State.SENT or exchange.state is State.ANSWERED
            if sent and not exchange.command.leader:
                self.kept -= len(exchange.reply)
                self.put_back(exchange)

    def lose(self) -> None:
        """The server is gone: judge what was under way; what can be sent again is held, in order."""
        queue = list(self.queue)
        self.queue.clear()
        for exchange in queue:
            if exchange.state is State.SENT or exchange.batch is not None:
                singles = self._singles(exchange, exchange.state)
                for single in singles:
                    self._judge(single)
                self.queue.extend(singles)
            else:
                self.queue.append(exchange)
        self.held.collect(self.queue)

    def _judge(self, exchange: Exchange) -> None:
        """Can this still be released, be sent again, or neither?"""
        if self._still_covered(exchange):
            return
        if exchange.state is State.ANSWERED and exchange.batch is None:
            # A peer's answer to one of several, of which others are missing: it is as good as any.
            if exchange.reply.startswith(self.word):
                self._refused(exchange)
            return
        self.ended(exchange)
        self.kept -= len(exchange.reply)
        if not_executed(exchange.reply):
            exchange.hold_again()
        elif not exchange.command.repeatable:
            self.side.counters.uncertain += 1
            exchange.settle(UNCERTAIN)
        else:
            exchange.lose()
            if exchange.losses > MAX_LOSSES:
                self.refuse(exchange, LOST_TOO_OFTEN)

    def _still_covered(self, exchange: Exchange) -> bool:
        batch = exchange.batch
        if exchange.state is not State.ANSWERED or batch is None or batch.offset is None:
            return False
        leader = self.side.routes.writer()
        return leader is not None and leader.local and leader.epoch == batch.epoch

    # -- what waits too long

    def expire(self, before: float, problem: str) -> list[Exchange]:
        """Answer what arrived not later than C{before}; returns what that was."""
        given_up: list[Exchange] = []
        queue = list(self.queue)
        self.queue.clear()
        for exchange in queue:
            # A reply that has begun can only be gone on with.
            if exchange.arrived > before or exchange.state is State.SETTLED or exchange.begun:
                self.queue.append(exchange)
                continue
            singles = self._singles(exchange, exchange.state)
            for single in singles:
                self._give_up(single, problem)
            self.queue.extend(singles)
            given_up += singles
        if given_up:
            self.held.collect(self.queue)
        return given_up

    def _give_up(self, exchange: Exchange, problem: str) -> None:
        under_way = exchange.state is not State.HELD
        self.ended(exchange)
        self.held.forget(exchange)
        self.kept -= len(exchange.reply)
        exchange.doubtful |= under_way and exchange.command.leader
        self.refuse(exchange, problem)

    def refuse(self, exchange: Exchange, problem: str) -> None:
        """Answer with an error, which says that nothing was done only if that is sure."""
        self.side.counters.uncertain += not exchange.refuse(problem)

    # -- between nodes

    def seems_turned_away(self, exchange: Exchange, reply: bytes) -> bool:
        """Whether another node may have said that it does not serve us any more."""
        return self.word in reply if exchange.bundled else reply.startswith(self.word)

    def turned_away(self, exchange: Exchange, reply: bytes) -> bool:
        """
        Take a reply that seems to say so apart.

        @return: whether it does; then what was not executed is held again.
        """
        exchange.reply = reply
        singles = self._singles(exchange, State.ANSWERED)
        refused = [single for single in singles if single.reply.startswith(self.word)]
        for single in singles:
            single.state = State.ANSWERED
            self.kept += len(single.reply)
        for single in refused:
            self._refused(single)
        self._replace(exchange, singles)
        return bool(refused)

    def _refused(self, exchange: Exchange) -> None:
        self.ended(exchange)
        self.kept -= len(exchange.reply)
        exchange.doubtful |= exchange.reply.rstrip().endswith(PERHAPS)
        exchange.hold_again()

    def turn_all_away(self) -> None:
        """All that is held."""
        for exchange in self.held.clear():
            self.turn_away(exchange)

    def turn_away(self, exchange: Exchange) -> None:
        """Tell another node that what it asked is not executed here."""
        # Not as JSON, whatever OUTPUT says: it is for the node, not for its client.
        exchange.state = State.SETTLED
        exchange.batch = None
        what = PERHAPS if exchange.doubtful else b"not executed"
        exchange.reply = b"%b tile38cm: %b\r\n" % (self.word, what)
        self.kept += len(exchange.reply)

    # -- bundles

    def _singles(self, exchange: Exchange, state: State) -> list[Exchange]:
        """The same one by one; of a bundle's own exchange nothing is heard any more."""
        exchange.state = state
        singles = exchange.singles()
        if exchange.bundled:
            exchange.state = State.SETTLED
        return singles

    def _replace(self, exchange: Exchange, singles: Iterable[Exchange]) -> None:
        """Put a bundle's requests in its place, and see anew what is held."""
        if exchange.bundled:
            queue = list(self.queue)
            at = queue.index(exchange)
            queue[at : at + 1] = singles
            self.queue.clear()
            self.queue.extend(queue)
        self.held.collect(self.queue)
