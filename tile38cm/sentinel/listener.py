"""The sentinel's port: connections, what they ask, and what their subscribers are told."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tile38cm.sentinel.answers import SWITCH, answer, switch
from tile38cm.sentinel.encoding import Encoding
from tile38cm.sentinel.scene import Scene
from tile38cm.settings import Address
from tile38cm.wire.forms import RESP
from tile38cm.wire.greeting import Greeting
from tile38cm.wire.requests import Malformed, Request, RequestParser
from tile38cm.wire.resp import OK, error

#: The largest request in bytes, its most arguments, and the most subscriptions of a connection.
MAX_REQUEST, MAX_ARGS, MAX_CHANNELS = 16 * 1024, 256, 64
_NOT_SPOKEN = "ERR Protocol error: only RESP is spoken here"
#: What a subscriber may say in RESP2, where replies cannot be told from messages.
_SUBSCRIBED = frozenset(("subscribe", "psubscribe", "unsubscribe", "punsubscribe", "ping", "quit"))


class SentinelListener(Factory):
    """Makes connections; give it to an endpoint, wrapped for TLS if need be.

    @param scene: what there is to say now.
    @param accepts: whether an C{AUTH} is right; nobody has to log in, since all that
        is told here are addresses.
    """

    noisy = False

    def __init__(
        self, scene: Callable[[], Scene], accepts: Callable[[list[bytes]], bool], max_clients: int
    ) -> None:
        self.scene = scene
        self.accepts = accepts
        self._max_clients = max_clients
        self._open: set[SentinelConnection] = set()
        #: Where the leader was that subscribers know of.
        self._leader: Address | None = None

    def buildProtocol(self, addr: IAddress | None) -> SentinelConnection | None:
        if len(self._open) >= self._max_clients:
            return None
        connection = SentinelConnection(self)
        self._open.add(connection)
        return connection

    def gone(self, connection: SentinelConnection) -> None:
        """One less."""
        self._open.discard(connection)

    def look(self) -> None:
        """Something has changed: tell subscribers if another node leads."""
        scene = self.scene()
        if scene.leader is None or scene.leader.address == self._leader:
            return
        before, self._leader = self._leader, scene.leader.address
        if before is not None:
            message = switch(scene.here.name, before, self._leader)
            for connection in list(self._open):
                connection.publish(SWITCH, message)

    def stop(self) -> None:
        """Close all connections; the port must not listen any more."""
        for connection in list(self._open):
            connection.abort()


class SentinelConnection(Protocol):
    """One client."""

    def __init__(self, house: SentinelListener) -> None:
        self._house = house
        self._parser = RequestParser(MAX_REQUEST, MAX_ARGS, http=False)
        self._encoding = Encoding()
        self._channels: dict[bytes, None] = {}
        self._patterns: dict[bytes, None] = {}
        self._paused = self._closing = False

    # -- Protocol, and the transport's push consumer ---------------------------

    def connectionMade(self) -> None:
        self._transport().registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._parser.feed(data)
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._house.gone(self)

    def pauseProducing(self) -> None:
        """The client does not take its replies: take no requests."""
        self._paused = True
        self._transport().pauseProducing()

    def resumeProducing(self) -> None:
        """It has taken them."""
        self._paused = False
        self._transport().resumeProducing()
        self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone; C{connectionLost} tells."""

    def abort(self) -> None:
        """Close at once."""
        self._transport().abortConnection()

    def publish(self, channel: str, message: str) -> None:
        """Tell this client, if it has subscribed, once for each subscription that fits."""
        if self._closing:
            return
        if channel.encode() in self._channels:
            self._send(self._encoding.push("message", channel, message))
        for pattern in self._patterns:
            if fnmatchcase(channel, pattern.decode("utf-8", "replace")):
                self._send(self._encoding.push("pmessage", pattern, channel, message))

    # -- requests --------------------------------------------------------------

    def _go_on(self) -> None:
        while not (self._paused or self._closing):
            event = self._parser.next()
            if event is None:
                return
            if isinstance(event, Request) and event.form is RESP:
                self._request(event.args)
            else:
                self._send(error(event.text if isinstance(event, Malformed) else _NOT_SPOKEN))
                self._close()

    def _request(self, args: list[bytes]) -> None:
        name = args[0].decode("utf-8", "replace").lower()
        subscribed = bool(self._channels or self._patterns)
        if subscribed and self._encoding.protocol == 2 and name not in _SUBSCRIBED:
            self._send(
                error(f"ERR Can't execute '{name[:64]}': only (P|S)SUBSCRIBE / PING / QUIT are allowed")
            )
        elif subscribed and self._encoding.protocol == 2 and name == "ping":
            self._send(self._encoding.push("pong", args[1] if len(args) > 1 else b""))
        elif name in ("subscribe", "psubscribe"):
            self._subscribe(name, args[1:])
        elif name in ("unsubscribe", "punsubscribe"):
            self._unsubscribe(name, args[1:])
        elif name == "hello":
            self._hello(args)
        elif name == "auth":
            self._send(OK if self._house.accepts(args) else error("WRONGPASS invalid password"))
        elif name == "quit":
            self._send(OK)
            self._close()
        else:
            self._send(answer(self._house.scene(), args, self._encoding))

    def _hello(self, args: list[bytes]) -> None:
        greeting = Greeting.of(args)
        problem = greeting.problem
        if problem is None and greeting.login is not None and not self._house.accepts(greeting.login):
            problem = "WRONGPASS invalid password"
        if problem is not None:
            self._send(error(problem))
            return
        if greeting.protocol:
            self._encoding = Encoding(greeting.protocol)
        self._send(greeting.reply(self._encoding.protocol, "sentinel", 0, "sentinel"))

    # -- subscriptions -----------------------------------------------------------

    def _kind(self, name: str) -> dict[bytes, None]:
        return self._patterns if name.startswith("p") else self._channels

    def _subscribe(self, name: str, wanted: list[bytes]) -> None:
        if not wanted:
            self._send(error(f"ERR wrong number of arguments for '{name}' command"))
        for channel in wanted:
            if len(self._channels) + len(self._patterns) >= MAX_CHANNELS:
                self._send(error(f"ERR more than {MAX_CHANNELS} subscriptions"))
                self._close()
                return
            self._kind(name)[channel] = None
            self._confirm(name, channel)

    def _unsubscribe(self, name: str, wanted: list[bytes]) -> None:
        known = self._kind(name)
        leaving = wanted or list(known)
        for channel in leaving:
            known.pop(channel, None)
            self._confirm(name, channel)
        if not leaving:
            self._confirm(name, None)

    def _confirm(self, name: str, channel: bytes | None) -> None:
        count = len(self._channels) + len(self._patterns)
        self._send(self._encoding.push(name, channel, count))

    # -- bytes --------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        self._transport().write(data)

    def _close(self) -> None:
        """Close when all is sent; a transport waits for its producer first."""
        self._closing = True
        self._transport().unregisterProducer()
        self._transport().loseConnection()

    def _transport(self) -> Any:
        return self.transport
