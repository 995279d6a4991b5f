"""
Which of one client's requests go now, and on which connection.

A client uses one connection at a time and takes another one only when nothing
is under way, so that its requests stay in order; what is light may travel
with what is heavier, not the other way round.
"""

from __future__ import annotations

from itertools import islice, takewhile

from tile38cm.proxy.exchange import Exchange
from tile38cm.proxy.line import Line
from tile38cm.proxy.link import Link
from tile38cm.proxy.upstream import Upstream
from tile38cm.wire.bundles import Bundle
from tile38cm.wire.commands import Class
from tile38cm.wire.resp import Output
from tile38cm.wire.weights import APART

#: How many held requests are looked at to find a connection that suits them together.
MAX_COMPANY = 64


class Passage:
    """
    One client's.

    @param max_heavy: how many requests may be under way at once that may be answered with megabytes.
    """

    def __init__(self, line: Line, link: Link, max_heavy: int) -> None:
        self._line = line
        self._link = link
        self._max_heavy = max_heavy
        #: What the connection is for that carries what is under way.
        self._mode: Output = "resp"
        self.weight = APART
        #: The lane that bundles went on last.
        self._lane: Upstream | None = None
        #: Objects of this client are large: what asks for them goes apart.
        self.large = False
        #: The live command that was sent and not answered yet; nothing else is under way then.
        self.live: Exchange | None = None

    def way(self, bundle: Bundle, mode: Output) -> Upstream | None:
        """The lane for a bundle, if it can go before this turn is over."""
        line, weight, lane = self._line, bundle.weight, self._lane
        if line.held.exchanges or self.live is not None:
            return None
        if bundle.heavy and (self.large or line.heavy + bundle.heavy > self._max_heavy):
            return None
        if weight == self.weight and mode == self._mode:
            if lane is not None and lane is self._link.chosen and lane.usable:
                return lane
        elif line.queue and line.under_way:
            # What is light may travel with what is under way, else it would overtake that.
            if weight > self.weight or mode != self._mode:
                return None
            weight = self.weight
        self._lane = self._link.open_lane(mode, weight)
        if self._lane is not None:
            self.weight, self._mode = weight, mode
        return self._lane

    def send(self) -> None:
        """Send what can go on one connection."""
        weight = self._next_weight()
        if weight is None:
            return
        held = self._line.held
        mode = held.first.mode
        upstream = self._link.connection(mode, weight)
        if upstream is None or not held:
            return
        self._mode, self.weight = mode, weight
        for exchange in self._take(upstream):
            self._line.send(exchange)
            upstream.submit(exchange)

    def _next_weight(self) -> int | None:
        """The weight of the connection for what goes next; C{None}: not before replies are here."""
        held = self._line.held
        first = held.first
        if self._line.under_way:
            fits = first.mode == self._mode and first.weight <= self.weight
            return self.weight if fits else None
        # What is asked together travels together.
        company = takewhile(lambda exchange: exchange.mode == first.mode, islice(held, MAX_COMPANY))
        return max(exchange.weight for exchange in company)

    def _take(self, upstream: Upstream) -> list[Exchange]:
        """The requests that may go now, in order."""
        gate = upstream.gate
        word = None if gate is None else gate.word()
        if word is not None and not (word.open and word.epoch == upstream.target.epoch):
            return []
        taken: list[Exchange] = []
        held, heavy = self._line.held, self._line.heavy
        while held and self.live is None:
            exchange = held.first
            command = exchange.command
            if exchange.mode != self._mode or exchange.weight > self.weight:
                break
            if word is not None and command.leader and not word.enough:
                break
            if exchange.heavy and heavy >= self._max_heavy:
                break
            if command.class_ is Class.LIVE:
                # The server drops bytes behind a live command, and its reply may come
                # before a write sent in front of it is in the log: it goes alone.
                if self._line.queue[0] is not exchange:
                    break
                self.live = exchange
            heavy += exchange.heavy
            taken.append(held.take())
        return taken
