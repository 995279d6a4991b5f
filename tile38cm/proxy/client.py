"""
One client's connection: bytes in, requests to a conversation, replies out.

The first command decides what the connection is for: a private one gives it
to the nodes' own protocol, and then this only passes on what comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Protocol as Shape

from twisted.internet.interfaces import IAddress, IProtocol, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from tile38cm.proxy.badge import Badge
from tile38cm.proxy.beside import Beside
from tile38cm.proxy.conversation import Conversation
from tile38cm.proxy.errands import Errands
from tile38cm.proxy.exchange import Exchange, State
from tile38cm.proxy.limits import FREE, HoldBudget
from tile38cm.proxy.live import Stream
from tile38cm.proxy.partners import Wire
from tile38cm.proxy.session import Login, Session
from tile38cm.proxy.sides import Side
from tile38cm.proxy.upstream import Upstream
from tile38cm.sending import sender
from tile38cm.turns import NO_DESCRIPTOR, join, leave
from tile38cm.wire.commands import Class, Command, classify
from tile38cm.wire.forms import RESP, Form
from tile38cm.wire.live import Talk
from tile38cm.wire.requests import Answered, Malformed, Request, RequestParser
from tile38cm.wire.resp import error
from tile38cm.wire.resp3 import Nulls

#: Bytes of a request that began in an earlier packet, up to which the next packet is looked at as a whole.
SHORT = 4096
#: No transport gives more bytes at once.
LARGEST_PACKET = 128 * 1024
#: Seconds for a client to take what it was sent last, and for TLS's farewell.
FAREWELL = 30
_FRAMING = Command("", Class.REFUSED)
_FULL = "ERR max number of clients reached"
_NO_ROOM = "ERR too many large requests at once: the memory for all clients is used up"
_NO_STREAM = "a live command needs a connection that lasts: use WebSocket, RESP or the native protocol"


class House(Shape):
    """Where a client is; its listener."""

    #: Who answers for this node; C{None}: the server that is asked for everything else.
    beside: Beside | None
    #: What all clients may have here together.
    room: HoldBudget

    def gone(self, client: Client) -> None:
        """The connection is closed."""

    def admits(self, client: Client) -> bool:
        """Whether there is room for one more that is a client and no other node."""

    def next_number(self) -> int:
        """A number that no client had before."""

    def badges(self) -> Iterable[Badge]:
        """What all clients say of themselves."""

    def give_over(self, client: Client, data: bytes) -> IProtocol | None:
        """Who takes a connection whose first command is private; C{None}: nobody here."""


class Client(Protocol):
    """
    The protocol of W and R.

    @param from_peer: the requests are another node's, which checked its clients itself.
    """

    transport: Wire  # type: ignore[assignment]  # ITransport lacks what all transports have

    def __init__(self, house: House, side: Side, login: Login, from_peer: bool = False) -> None:
        self._house = house
        self._side = side
        self.badge = Badge(house.next_number(), "", side.clock.seconds(), house.badges)
        self._session = Session(side, login, self.badge, trusted=from_peer)
        self._from_peer = from_peer
        limits = side.limits
        self._parser = RequestParser(limits.max_request, limits.max_args)
        self._conversation: Conversation | None = None
        #: Of the connection, if it is read together with others; and where replies go as they are.
        self._descriptor = self._way = NO_DESCRIPTOR
        self._stream: Stream | None = None
        #: Requests for another side.
        self._errands: Errands | None = None
        self._successor: IProtocol | None = None
        #: What is taken of the room for all clients.
        self._taken = 0
        #: Nothing was asked yet.
        self._fresh = True
        self._closing = False
        self._lost = False
        #: Since when it has been closing, as C{look} saw it.
        self._closing_since: float | None = None
        #: The next packet may be looked at as a whole.
        self._plain = False
        #: It will be the rest of a request that began in an earlier one.
        self._split = False
        self._whole_packets = limits.max_request >= LARGEST_PACKET and limits.max_args >= 1000

    # -- Protocol

    def connectionMade(self) -> None:
        """Requests may come; the transport says how fast the client takes replies."""
        self._conversation = Conversation(self._side, self, self._from_peer)
        self.line = self._conversation.line
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self.badge.address = _written(self.transport.getPeer())
        self._send = self._write = sender(self.transport)
        self._descriptor = self._way = self.line.way = join(self._side.clock, self, self.line)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Take requests, or pass the bytes on to whom the connection belongs now."""
        self.line.heard = True
        if self._plain:
            if self._split:
                self._split = False
                data = self._parser.withdraw() + data
            side, conversation = self._side, self._conversation
            bundle = side.scanner.scan(data)
            if bundle is not None and conversation is not None and (side.writes or not bundle.leader):
                conversation.ask_together(bundle)
                if len(bundle.raw) == len(data):
                    return
                data = data[len(bundle.raw) :]
        if self._lost:
            return  # by what another one got in the same turn
        if self._successor is not None:
            self._successor.dataReceived(data)
        elif self._stream is not None:
            self._stream.data_from_client(data)
        elif not self._closing:
            self._parser.feed(data)
            self.go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget everything about this client."""
        # First of all: another connection may get the descriptor.
        leave(self._side.clock, self._descriptor)
        if self._conversation is not None:
            self._slow_down()
        self._closing = self._lost = True
        self._plain = False
        if self._errands is not None:
            self._errands.end()
        self._house.room.give(self._taken)
        self._taken = 0
        self._house.gone(self)
        if self._successor is not None:
            self._successor.connectionLost(reason)
        elif self._stream is not None:
            self._stream.close()
        elif self._conversation is not None:
            self._conversation.end()

    # -- for the listener

    def look(self, now: float) -> None:
        """Once a second: what it has here is counted anew, and whether it has gone to sleep."""
        if not self.connected:
            return  # its connection broke before it began
        if self.line.heard:
            self.line.heard, self.badge.heard = False, now
        conversation, limit = self._conversation, self._side.limits.idle_timeout
        if self._closing:
            self._end_farewell(now)
        if conversation is None or self._closing:
            return
        self._take_room(conversation)
        silent = now - max(self.badge.heard, self.badge.opened)
        if limit and silent >= limit and conversation.idle and not self._from_peer:
            self.finish()

    def _end_farewell(self, now: float) -> None:
        """Who takes nothing of its last reply, or never answers TLS's farewell, keeps no place here."""
        if self._closing_since is None:
            self._closing_since = now
        elif now - self._closing_since >= FAREWELL:
            self.transport.abortConnection()

    # -- IPushProducer: how fast the client takes replies

    def pauseProducing(self) -> None:
        """The client does not take its replies as fast as they come."""
        if self._conversation is not None:
            self._conversation.client_full(True)

    def resumeProducing(self) -> None:
        """The client took its replies."""
        if self._conversation is not None:
            self._conversation.client_full(False)

    def stopProducing(self) -> None:
        """The connection is gone; C{connectionLost} tells."""

    # -- Port

    def deliver(self, data: bytes) -> None:
        """Replies for the client; as long as all are taken at once, the next may go without this."""
        self.line.way = self._way if self._write(data) else NO_DESCRIPTOR

    def regulate(self, read: bool) -> None:
        """Whether to read from the client."""
        if not self._closing:
            (self.transport.resumeProducing if read else self.transport.pauseProducing)()

    def finish(self) -> None:
        """Close once all is sent; a transport waits for its producer first."""
        if not self._closing:
            self._closing = True
            self._slow_down()
            # TLS ends with what the client says to that.
            self.transport.resumeProducing()
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def cut(self) -> None:
        """End the connection; the client has a part of a reply that will never be whole."""
        self._closing = True
        self._slow_down()
        self.transport.abortConnection()

    def go_on(self) -> None:
        """Take the requests that are whole."""
        conversation = self._conversation
        while conversation is not None and not (conversation.closed_for_requests or self._closing):
            event = self._parser.next()
            if event is None:
                break
            if isinstance(event, Request):
                self._request(conversation, event)
            else:
                self._no_request(conversation, event)
            conversation = self._conversation
        if conversation is not None:
            conversation.proceed()
            self._take_room(conversation)
        self._notice()

    def become_stream(self, upstream: Upstream, asked: Exchange) -> None:
        """Client and server talk directly from here on."""
        self._conversation = None
        if not asked.form.streams:
            upstream.drop()
            self.deliver(asked.form.encode(error(_NO_STREAM, "json"), "json"))
            self.finish()
            return
        self.transport.unregisterProducer()
        form = self._session.form if asked.form is RESP else asked.form
        talk = Talk(form, self._parser, asked.fence)
        self._stream = Stream(self._side, self.transport, upstream, talk, self._stream_ended)
        self._stream.start(asked.form.opening, asked.reply)
        self.transport.resumeProducing()

    # -- inside

    def _slow_down(self) -> None:
        """From now on no short way is taken: each packet is looked at, each reply is the transport's."""
        self._plain, self.line.express = False, None
        self._way = self.line.way = NO_DESCRIPTOR

    def _take_room(self, conversation: Conversation) -> None:
        """Take as much of the room for all clients as this one needs now; end it if there is too little."""
        needed = self._parser.pending + conversation.kept
        more = (needed if needed > FREE else 0) - self._taken
        if more > 0 and not self._house.room.take(more):
            if not self._closing and not conversation.closed_for_requests:
                self._parser.withdraw()
                self._no_request(conversation, Malformed(_NO_ROOM))
                conversation.proceed()
            return
        if more < 0:
            self._house.room.give(-more)
        self._taken += more

    def _notice(self) -> None:
        """Whether the next packet may be looked at as a whole."""
        conversation = self._conversation
        self._split = self._parser.pending > 0
        self._plain = (
            conversation is not None
            and not (self._fresh or self._closing or conversation.closed_for_requests)
            and self._session.logged_in
            and self._parser.pending <= SHORT
            and self._whole_packets
        )

    def _request(self, conversation: Conversation, request: Request) -> None:
        command = classify(request.args)
        if self._fresh:
            self._fresh = False
            if command.class_ is Class.PRIVATE and request.form is RESP and self._give_over(request):
                return
            conversation.begin_with(request.form.output)
            if not self._from_peer and not self._house.admits(self):
                conversation.answer(self._session.settled(request.form, command, _FULL, last=True))
                return
        if command.name == "hello":
            # What is settled already is written as it was asked for.
            conversation.proceed()
        settled = self._session.answer(request, command, conversation.output, conversation.idle)
        if settled is None:
            self._ask(conversation, request, command)
            return
        if command.name == "hello":
            self._speak(self._session.form)
        conversation.answer(settled)

    def _ask(self, conversation: Conversation, request: Request, command: Command) -> None:
        """Of a server of this side, or of whom it concerns instead."""
        beside, output = self._house.beside, conversation.output
        if command.class_ is Class.STATUS and beside is not None and not self._from_peer:
            exchange = self._await(conversation, request, command, beside.form(request))
            beside.ask(request, command, output, partial(conversation.told, exchange))
        elif command.leader and self._session.forward is not None:
            if self._errands is None:
                self._errands = Errands(self._session.forward, conversation.told)
            exchange = self._await(conversation, request, command, request.form)
            self._errands.ask(request, command, output, exchange)
        else:
            conversation.ask(Exchange.of(request, command, self._side.clock.seconds()))

    def _await(self, conversation: Conversation, request: Request, command: Command, form: Form) -> Exchange:
        exchange = self._session.settled(form, command)
        exchange.state, exchange.raw = State.AWAITED, request.raw
        conversation.answer(exchange)
        return exchange

    def _speak(self, form: Form) -> None:
        """What all replies from now on are written in; none is due."""
        send, nulls = self._send, Nulls()
        plain = form is RESP
        self._write = send if plain else lambda replies: send(nulls.replaced(replies))
        self._way = self._descriptor if plain else NO_DESCRIPTOR
        self.line.way = NO_DESCRIPTOR  # until C{deliver} says more

    def _no_request(self, conversation: Conversation, event: Malformed | Answered) -> None:
        """What cannot be read ends the connection, after the replies that are due."""
        problem = event.text if isinstance(event, Malformed) else None
        exchange = self._session.settled(RESP, _FRAMING, problem, last=True)
        if isinstance(event, Answered):
            exchange.reply = event.reply
        conversation.answer(exchange)

    def _give_over(self, request: Request) -> bool:
        """Hand the connection to the nodes' own protocol, if there is one here."""
        if self._from_peer or self._conversation is None:
            return False
        self.transport.unregisterProducer()
        successor = self._house.give_over(self, request.raw + self._parser.rest())
        if successor is None:
            self.transport.registerProducer(self, True)
            return False
        self._conversation.end()
        self._conversation = None
        self._successor = successor
        return True

    def _stream_ended(self) -> None:
        self._closing = True


def _written(address: IAddress) -> str:
    host, port = getattr(address, "host", "?"), getattr(address, "port", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
