"""A client's connection: its requests in order, until one turns it into a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tile38cm.dev.tile38.administration import Subscribed
from tile38cm.dev.tile38.calls import Call
from tile38cm.dev.tile38.commands import answer
from tile38cm.dev.tile38.live import FenceStream, Live, LogStream, Subscription
from tile38cm.dev.tile38.monitor import Monitors, MonitorStream
from tile38cm.dev.tile38.node import SLICE, Client, Node
from tile38cm.dev.tile38.replication import Streams
from tile38cm.dev.tile38.scans import GoesLive
from tile38cm.dev.tile38.text import to_text
from tile38cm.wire.forms import Form
from tile38cm.wire.requests import Answered, Request, RequestParser
from tile38cm.wire.resp import Output, bulk, error

#: The largest request. Bytes.
REQUEST_MAX = 512 * 1024 * 1024


class Connection(Protocol):
    """One connection."""

    transport: Any

    def __init__(self, node: Node, number: int) -> None:
        self._node, self._number = node, number
        self._requests = RequestParser(REQUEST_MAX, http=node.options.http)
        self._out: list[bytes] = []
        self._waiting: Deferred[bytes] | None = None
        #: There is more to do, in another turn.
        self._later = False
        self._live: Live | None = None
        self._closed = False

    def connectionMade(self) -> None:
        node, transport = self._node, self.transport
        peer = transport.getPeer()
        host, port = getattr(peer, "host", "unix"), getattr(peer, "port", 0)
        self._client = Client(self._number, host, port, node.reactor.seconds(), transport.abortConnection)
        node.clients[self._number] = self._client
        node.counters.connections += 1
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self._node.clients.pop(self._number, None)
        if self._live is not None:
            self._live.lost()

    def dataReceived(self, data: bytes) -> None:
        if self._live is not None:
            self._live.received(data)
            return
        self._requests.feed(data)
        if not self._later:
            self._go_on()

    def _go_on(self) -> None:
        """Do requests that are there, then let the log and the client have what comes of them."""
        for _ in range(SLICE):
            if self._waiting is not None or self._live is not None or self._closed:
                break
            event = self._requests.next()
            if event is None:
                break
            if isinstance(event, Request):
                self._request(event)
            else:
                output: Output = "json" if self._client.json else "resp"
                self._out.append(event.reply if isinstance(event, Answered) else error(event.text, output))
                self._close()
        else:
            self._later = True
            self.transport.pauseProducing()
            self._node.reactor.callLater(0, self._resume)
        self._send()

    def _resume(self) -> None:
        self._later = False
        if not self._closed:
            self.transport.resumeProducing()
            self._go_on()

    def _request(self, asked: Request) -> None:
        node, client, form = self._node, self._client, asked.form
        if client.json is None:
            client.json = node.options.json or form.output == "json"
        if not asked.args[0]:
            self._out.append(b"HTTP/1.1 500 Bad Request\r\nConnection: close\r\n\r\n")
            return
        password = None if form.password is None else to_text(form.password)
        call = Call([to_text(arg) for arg in asked.args], client.json, password)
        client.last = node.reactor.seconds()
        node.counters.commands += 1
        if call.name == "quit":
            self._out += [] if call.json else [b"+OK\r\n"]
            self._close()
            return
        try:
            reply = answer(node, call, client)
        except (GoesLive, Monitors, Streams, Subscribed) as kind:
            self._go_live(kind, call, form)
            return
        if isinstance(reply, Deferred):
            self._waiting = reply
            _ = reply.addCallback(self._late, form, call)
        else:
            self._reply(reply, form, call)

    def _reply(self, reply: bytes, form: Form, call: Call) -> None:
        self._out.append(form.encode(bulk(reply) if call.json else reply, "json" if call.json else "resp"))
        if form.once:
            self._close()

    def _late(self, reply: bytes, form: Form, call: Call) -> None:
        self._waiting = None
        self._reply(reply, form, call)
        if not self._closed:
            self._go_on()

    def _go_live(self, kind: GoesLive | Monitors | Streams | Subscribed, call: Call, form: Form) -> None:
        """What came behind the command in the same packet is forgotten, as by Tile38."""
        self._send()
        if not form.streams:
            self._close()
        elif isinstance(kind, GoesLive):
            self._live = FenceStream(self._node, self.transport, kind.search, call.json, form)
        elif isinstance(kind, Streams):
            self._live = LogStream(self._node, self.transport, kind.position)
        elif isinstance(kind, Monitors):
            self._live = MonitorStream(self._node, self.transport)
        else:
            self._live = Subscription(self._node, self.transport, call, form)
        if self._live is not None:
            self._live.start()

    def _send(self) -> None:
        """Nobody is told of a write that is not in the file."""
        if self._out:
            self._node.flush()
            if self.transport is not None:
                self.transport.writeSequence(self._out)
            self._out = []

    def _close(self) -> None:
        self._send()
        self._closed = True
        if self.transport is not None:
            self.transport.loseConnection()


class Connections(Factory):
    """Makes one for each client; C{stopping} closes them all."""

    noisy = False

    def __init__(self, node: Node) -> None:
        self._node, self._last = node, 0

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        self._last += 1
        return Connection(self._node, self._last)

    def close_all(self) -> None:
        """Hang up on every client."""
        closing: list[Callable[[], object]] = [client.close for client in self._node.clients.values()]
        for close in closing:
            close()
