"""
One client's connection: bytes in, requests to a conversation, replies out.

The first command decides what the connection is for: a private one gives it
to the nodes' own protocol, and then this only passes on what comes.
"""

from __future__ import annotations

import hmac
from typing import Protocol as Shape

from attrs import frozen
from twisted.internet.interfaces import IProtocol, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from tile38cm.proxy.conversation import Conversation
from tile38cm.proxy.exchange import Exchange, State
from tile38cm.proxy.greeting import Greeting
from tile38cm.proxy.live import Stream
from tile38cm.proxy.partners import Wire
from tile38cm.proxy.sides import Side
from tile38cm.proxy.upstream import Upstream
from tile38cm.sending import sender
from tile38cm.settings import Secret
from tile38cm.wire.commands import Class, Command, classify
from tile38cm.wire.requests import Foreign, Malformed, Request, RequestParser
from tile38cm.wire.resp import Output, error, okay

_FOREIGN = {
    "native": b"$%d %b\r\n",
    "http": b"HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b",
}
_NOT_SPOKEN = b'{"ok":false,"err":"tile38cm takes RESP and inline commands here, not this protocol"}'
#: What an unknown client may say: Tile38 answers these before C{AUTH} too.
_BEFORE_LOGIN = frozenset(("ping", "echo", "output", "auth", "hello", "quit", "healthz"))
#: Bytes of a request that began in an earlier packet, up to which the next packet is looked at as a whole.
SHORT = 4096
#: No transport gives more bytes at once.
LARGEST_PACKET = 128 * 1024
_FRAMING = Command("", Class.REFUSED)


@frozen
class Login:
    """
    How clients log in.

    @param password: what C{AUTH} must say; C{None}: as a server without one, none is right.
    @param required: whether clients must log in, as no certificate tells who they are.
    """

    password: Secret | None = None
    required: bool = False

    def accepts(self, args: list[bytes]) -> bool:
        """Whether this C{AUTH} is right."""
        if self.password is None or len(args) != 2:
            return False
        return hmac.compare_digest(args[1], self.password.value.encode())


class House(Shape):
    """Where a client is; its listener."""

    def gone(self, client: Client) -> None:
        """The connection is closed."""

    def admits(self, client: Client) -> bool:
        """Whether there is room for one more that is a client and no other node."""

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
        self._login = login
        self._from_peer = from_peer
        self._logged_in = from_peer or not login.required
        self._parser = RequestParser(side.limits.max_request, side.limits.max_args)
        self._conversation: Conversation | None = None
        self._stream: Stream | None = None
        self._successor: IProtocol | None = None
        #: Nothing was asked yet.
        self._fresh = True
        self._closing = False
        #: The next packet may be looked at as a whole.
        self._plain = False
        #: It will be the rest of a request that began in an earlier one.
        self._split = False
        limits = side.limits
        self._whole_packets = limits.max_request >= LARGEST_PACKET and limits.max_args >= 1000

    # -- Protocol

    def connectionMade(self) -> None:
        """Requests may come; the transport says how fast the client takes replies."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self._conversation = Conversation(self._side, self, self._from_peer)
        #: Replies for the client.
        self.deliver = sender(self.transport)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Take requests, or pass the bytes on to whom the connection belongs now."""
        if self._successor is not None:
            self._successor.dataReceived(data)
        elif self._stream is not None:
            self._stream.data_from_client(data)
        elif not self._closing:
            if self._plain:
                data = self._bundled(data)
            if data:
                self._parser.feed(data)
                self.go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget everything about this client."""
        self._closing = True
        self._house.gone(self)
        if self._successor is not None:
            self._successor.connectionLost(reason)
        elif self._stream is not None:
            self._stream.close()
        elif self._conversation is not None:
            self._conversation.end()

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

    def regulate(self, read: bool) -> None:
        """Whether to read from the client."""
        if not self._closing:
            (self.transport.resumeProducing if read else self.transport.pauseProducing)()

    def finish(self) -> None:
        """Close once all is sent; a transport waits for its producer first."""
        if not self._closing:
            self._closing = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()

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
        self._notice()

    def become_stream(self, upstream: Upstream, first: bytes) -> None:
        """Client and server talk directly from here on."""
        self._conversation = None
        self.transport.unregisterProducer()
        self._stream = Stream(self._side, self.transport, upstream, self._stream_ended)
        self._stream.start(first, self._parser.rest())
        self.transport.resumeProducing()

    # -- inside

    def _bundled(self, data: bytes) -> bytes:
        """Ask what can be asked as it stands; returns the rest."""
        if self._split:
            self._split = False
            data = self._parser.withdraw() + data
        bundle = self._side.scanner.scan(data)
        if bundle is None or (bundle.leader and not self._side.writes) or self._conversation is None:
            return data
        self._conversation.ask_together(bundle)
        return b"" if len(bundle.raw) == len(data) else data[len(bundle.raw) :]

    def _notice(self) -> None:
        """Whether the next packet may be looked at as a whole."""
        conversation = self._conversation
        self._split = self._parser.pending > 0
        self._plain = (
            conversation is not None
            and not (self._fresh or self._closing or conversation.closed_for_requests)
            and self._logged_in
            and self._parser.pending <= SHORT
            and self._whole_packets
        )

    def _request(self, conversation: Conversation, request: Request) -> None:
        command = classify(request.args)
        if self._fresh:
            self._fresh = False
            if command.class_ is Class.PRIVATE and self._give_over(request):
                return
            if not self._from_peer and not self._house.admits(self):
                self._settle(conversation, command, "ERR max number of clients reached", last=True)
                return
        problem = self._problem(command)
        if problem is not None:
            self._side.counters.refused += 1
            self._settle(conversation, command, problem)
        elif command.name == "auth":
            self._auth(conversation, command, request.args)
        elif command.name == "hello":
            self._hello(conversation, command, request.args)
        elif command.name == "quit":
            self._settle(conversation, command, None, last=True)
        else:
            output = _OUTPUTS.get(request.args[-1].lower()) if command.name == "output" else None
            if output is not None and len(request.args) == 2:
                self._output(conversation, command, output)
            else:
                conversation.ask(Exchange.of(request, command, self._side.clock.seconds()))

    def _problem(self, command: Command) -> str | None:
        if not self._logged_in and command.name not in _BEFORE_LOGIN:
            return "ERR authentication required"
        if command.class_ is Class.PRIVATE:
            return "ERR 'tile38cm' must be the first command of a connection between nodes"
        return self._side.refusal(command)

    def _auth(self, conversation: Conversation, command: Command, args: list[bytes]) -> None:
        """Answered here, since the server knows only this node's own login."""
        accepted = self._login.accepts(args)
        self._logged_in = self._logged_in or accepted
        self._settle(conversation, command, None if accepted else "ERR invalid password")

    def _hello(self, conversation: Conversation, command: Command, args: list[bytes]) -> None:
        """Answered here, since the server does not know it."""
        greeting = Greeting.of(args)
        problem = greeting.problem
        if problem is None and greeting.login is not None:
            self._logged_in = self._logged_in or self._login.accepts(greeting.login)
            problem = None if self._login.accepts(greeting.login) else "WRONGPASS invalid password"
        if problem is None and not self._logged_in:
            problem = "NOAUTH authentication required"
        exchange = Exchange(b"", command, self._side.clock.seconds(), state=State.SETTLED, problem=problem)
        if problem is None:
            exchange.reply = greeting.reply("master" if self._side.gate is not None else "replica")
        conversation.answer(exchange)

    def _output(self, conversation: Conversation, command: Command, output: Output) -> None:
        """Answered here, since connections are shared by all clients that chose the same."""
        exchange = Exchange(b"", command, self._side.clock.seconds(), state=State.SETTLED, output=output)
        exchange.reply = okay(output)
        conversation.answer(exchange)

    def _settle(
        self, conversation: Conversation, command: Command, problem: str | None, last: bool = False
    ) -> None:
        exchange = Exchange(b"", command, self._side.clock.seconds(), last=last)
        exchange.state = State.SETTLED
        exchange.problem = problem
        conversation.answer(exchange)

    def _no_request(self, conversation: Conversation, event: Malformed | Foreign) -> None:
        """What cannot be read ends the connection, after the replies that are due."""
        exchange = Exchange(b"", _FRAMING, self._side.clock.seconds(), state=State.SETTLED, last=True)
        if isinstance(event, Malformed):
            exchange.reply = error(event.text)
        else:
            exchange.reply = _FOREIGN[event.protocol] % (len(_NOT_SPOKEN), _NOT_SPOKEN)
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


_OUTPUTS: dict[bytes, Output] = {b"json": "json", b"resp": "resp"}
