"""
Requests of one client that another side answers: writes that came to R and go to the leader.

They are asked in a conversation of their own, by all the rules of that side,
and keep their place among the client's other replies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tile38cm.proxy.conversation import Conversation
from tile38cm.proxy.exchange import UNCERTAIN, Exchange
from tile38cm.proxy.port import Within
from tile38cm.proxy.sides import Side
from tile38cm.wire.commands import Class, Command
from tile38cm.wire.forms import RESP
from tile38cm.wire.replies import ReplyParser
from tile38cm.wire.requests import Request
from tile38cm.wire.resp import Output

_SWITCH = Command("output", Class.CONNECTION)


class Errands(Within):
    """
    One client's, in order.

    @param told: told each reply, as RESP, or the error in place of one.
    """

    def __init__(self, side: Side, told: Callable[[Exchange, bytes, str | None], None]) -> None:
        self._side = side
        self._told = told
        self._output: Output = "resp"
        #: Whom the replies belong to; nobody waits for those to C{OUTPUT}.
        self._awaited: deque[Exchange | None] = deque()
        self._replies = ReplyParser()
        self._conversation = Conversation(side, self, from_peer=False)

    def ask(self, request: Request, command: Command, output: Output, exchange: Exchange) -> None:
        """Ask; C{exchange} waits for the answer."""
        now = self._side.clock.seconds()
        if output != self._output:
            self._output = output
            switch = Exchange.settled(RESP, _SWITCH, now)
            switch.output = output
            self._awaited.append(None)
            self._conversation.answer(switch)
        self._awaited.append(exchange)
        self._conversation.ask(Exchange.of(Request(request.args, request.raw), command, now))
        self._conversation.proceed()

    def end(self) -> None:
        """Nobody waits any more."""
        self._awaited.clear()
        self._conversation.end()

    # -- Port

    def deliver(self, data: bytes) -> None:
        """Replies, in any pieces."""
        self._replies.feed(data)
        while self._awaited and (reply := self._replies.next()) is not None:
            exchange = self._awaited.popleft()
            if exchange is not None:
                self._told(exchange, reply, None)

    def cut(self) -> None:
        """The rest of a reply will never come, and nothing can be said of those behind it."""
        awaited = [exchange for exchange in self._awaited if exchange is not None]
        self.end()
        self._conversation, self._replies = Conversation(self._side, self, from_peer=False), ReplyParser()
        self._output = "resp"
        for exchange in awaited:
            self._told(exchange, b"", UNCERTAIN)
