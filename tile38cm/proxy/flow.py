"""
Large replies, passed on while they come, so that they are never here as a whole.

A reply that passes no gate goes at once.  One out of a leader's own Tile38
must first be covered, and what covers it would come behind it on its
connection.  But a server begins to answer when it has executed: what has been
executed on another connection after the first bytes came is later than all
that the reply can show.  So a question is asked there, its answer waits for
the set and the gate as every other does, and until it is there the reply's
connection is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tile38cm.proxy.exchange import Exchange, State
from tile38cm.proxy.line import Line
from tile38cm.proxy.link import Link
from tile38cm.proxy.port import Port
from tile38cm.proxy.question import Asked, Question
from tile38cm.proxy.sides import Side
from tile38cm.wire.commands import classify
from tile38cm.wire.requests import Request
from tile38cm.wire.resp import encode_request

_PING = [b"PING"]
_PONG = b"+PONG\r\n"


class Flow:
    """
    One client's.

    @param changed: told when C{waits} has changed.
    """

    __slots__ = ("_changed", "_line", "_link", "_port", "_question", "_side", "_wanted")

    def __init__(self, side: Side, line: Line, link: Link, port: Port, changed: Callable[[], None]) -> None:
        self._side = side
        self._line = line
        self._link = link
        self._port = port
        self._changed = changed
        self._question: Question | None = None
        #: The client takes its replies.
        self._wanted = True

    @property
    def waits(self) -> bool:
        """Whether a reply waits to be covered."""
        return self._question is not None

    def read(self, read: bool) -> None:
        """Whether the client takes what comes for it alone."""
        self._wanted = read
        self._link.read(read and self._question is None)

    def comes(
        self,
        exchange: Exchange,
        part: Callable[[], bytes],
        open_aside: Callable[[Side, Port, bool], Asked],
    ) -> None:
        """
        There is much of the reply that is the client's next one, and more to come.

        @param part: takes what there is.
        @param open_aside: makes a conversation with a side.
        """
        if exchange.begun:
            self._port.deliver(part())
        elif not self._link.sealed:
            self._begin(exchange, part)
        elif self._question is None and not (exchange.command.leader or self._side.draining):
            # In a drain no question would be sent, and the drain would wait for this reply.
            clock = self._side.clock
            answered = partial(self._answered, exchange, part)
            # The client is answered before: both wait by the same rules, and it has waited longer.
            question = Question(clock, 2 * self._side.limits.hold_timeout, answered)
            self._turn(question)
            ping = Exchange.of(Request(_PING, encode_request(_PING)), classify(_PING), clock.seconds())
            question.ask(open_aside(self._side, question, False), ping)

    def forget(self) -> None:
        """What waits is lost or given up."""
        if self._question is not None:
            self._question.drop()
            self._turn(None)

    def _answered(self, exchange: Exchange, part: Callable[[], bytes], reply: bytes | None) -> None:
        if reply == _PONG and exchange.state is State.SENT:
            self._begin(exchange, part)
        self._turn(None)

    def _begin(self, exchange: Exchange, part: Callable[[], bytes]) -> None:
        self._line.begin(exchange)
        self._port.deliver(part())

    def _turn(self, question: Question | None) -> None:
        self._question = question
        self.read(self._wanted)
        self._changed()
