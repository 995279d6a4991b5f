"""
One connection to a server, for one client.

Requests go out with what is expected back for each, and replies come in that
order.  Before the first request the connection is I{prepared}: logged in,
asked whether the server can serve at all, and set to the client's C{OUTPUT}.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol as Shape

from attrs import frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tile38cm.proxy.exchange import Batch, Exchange
from tile38cm.proxy.partners import Target, Wire
from tile38cm.settings import Secret
from tile38cm.wire.replies import BadReply, ReplyParser, is_failure, leader_offset
from tile38cm.wire.resp import Output, encode_request

ROLE = encode_request([b"ROLE"])


@frozen
class Step:
    """One request of the preparation, and whether its reply lets us go on."""

    request: bytes
    passes: Callable[[bytes], bool]
    purpose: str


def preparation(target: Target, password: Secret | None, output: Output, leading: bool) -> tuple[Step, ...]:
    """
    What a fresh connection needs before the first request of a client.

    A local server is asked for its role, since while it loads, or was never
    synchronised, C{PING} answers and C{ROLE} does not.

    @param leading: the server must be a leader.
    """
    steps = []
    if target.local:
        if password is not None:
            login = encode_request([b"AUTH", password.value.encode()])
            steps.append(Step(login, _succeeds, "the server takes the password"))
        passes = _is_leader if leading else _succeeds
        steps.append(Step(ROLE, passes, "the server is a leader" if leading else "the server is ready"))
    if output == "json":
        steps.append(Step(encode_request([b"OUTPUT", b"json"]), _succeeds, "the server answers in JSON"))
    return tuple(steps)


def _succeeds(reply: bytes) -> bool:
    return not is_failure(reply)


def _is_leader(reply: bytes) -> bool:
    return leader_offset(reply) is not None


class Owner(Shape):
    """Who uses an upstream; told nothing any more once it dropped it."""

    def upstream_ready(self) -> None:
        """Requests may be sent."""

    def upstream_lost(self, reason: str) -> None:
        """It cannot be used, or not any more; what was not answered will not be."""

    def upstream_replied(self, exchange: Exchange, reply: bytes) -> None:
        """The whole reply to one request."""

    def upstream_turned(self) -> None:
        """All replies that came in one turn were reported."""

    def upstream_drained(self) -> None:
        """The server takes bytes again after C{congested} was true."""


class Upstream(Protocol):
    """The connection itself; C{open} it once."""

    transport: Wire  # type: ignore[assignment]  # ITransport lacks what all transports have

    def __init__(self, owner: Owner, target: Target, steps: Sequence[Step]) -> None:
        self.target = target
        #: Requests may be sent.
        self.ready = False
        #: Nothing more is to be sent: the peer does not serve us any more.
        self.retiring = False
        #: The server does not take bytes as fast as they come.
        self.congested = False
        self._owner: Owner | None = owner
        self._steps = deque(steps)
        self._expected: deque[Exchange | Batch] = deque()
        self._parser = ReplyParser()
        self._raw: Callable[[bytes], None] | None = None
        self._raw_ended: Callable[[], None] | None = None
        self._cut = False
        self._connecting: Deferred[IProtocol] | None = None

    # -- for the owner

    def open(self, clock: IReactorTime, timeout: float) -> None:
        """Connect; the owner hears the outcome, perhaps before this returns."""
        self._connecting = self.target.connect(_Sole(self)).addTimeout(timeout, clock)
        # The outcome is told to the owner by these two, so nobody needs to await it.
        _ = self._connecting.addCallbacks(self._connected, self._not_connected)

    def send(self, data: bytes, expected: Iterable[Exchange | Batch]) -> None:
        """Send requests whose replies, in order, are C{expected}."""
        self._expected.extend(expected)
        self.transport.write(data)

    @property
    def idle(self) -> bool:
        """Whether every reply has come."""
        return not self._expected

    def read(self, read: bool) -> None:
        """Whether to take bytes from the server, once it is there."""
        if self.ready:
            (self.transport.resumeProducing if read else self.transport.pauseProducing)()

    def drop(self) -> None:
        """Cut the connection; bytes that were not sent yet never are.  Harmless when repeated."""
        self._owner = None
        if self._connecting is not None:
            connecting, self._connecting = self._connecting, None
            connecting.cancel()
        if self.transport is not None and not self._cut:
            self._cut = True
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    def stream(self, raw: Callable[[bytes], None], ended: Callable[[], None]) -> bytes:
        """
        From now on hand over bytes as they come, and the end; replies are not looked for any more.

        @return: what has come already and belongs to no reply.
        """
        self._owner = None
        self._raw, self._raw_ended = raw, ended
        return self._parser.rest()

    # -- Protocol

    def connectionMade(self) -> None:
        """Prepare the connection; see the module."""
        transport = self.transport
        if self._owner is None:
            self._cut = True
            transport.abortConnection()
            return
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        transport.registerProducer(self, True)
        if self._steps:
            transport.write(b"".join(step.request for step in self._steps))

    def dataReceived(self, data: bytes) -> None:
        """Tell replies apart and report them."""
        if self._raw is not None:
            self._raw(data)
            return
        parser = self._parser
        parser.feed(data)
        try:
            while self._owner is not None and (reply := parser.next()) is not None:
                self._take(reply)
        except BadReply as bad:
            self._fail(f"the server answered rubbish: {bad}")
            return
        if self._owner is not None and self.ready:
            self._owner.upstream_turned()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Whatever was expected will not come."""
        if self._raw_ended is not None:
            self._raw_ended()
        self._fail("the connection was closed")

    # -- IPushProducer: the transport says how fast the server takes requests

    def pauseProducing(self) -> None:
        """The transport holds as much as it likes to."""
        self.congested = True

    def resumeProducing(self) -> None:
        """The transport has sent enough."""
        self.congested = False
        if self._owner is not None:
            self._owner.upstream_drained()

    def stopProducing(self) -> None:
        """The connection is gone; C{connectionLost} tells."""

    # -- inside

    def _connected(self, protocol: IProtocol) -> None:
        self._connecting = None
        if self._owner is None:
            self.drop()
        elif not self._steps and not self.ready:
            self.ready = True
            self._owner.upstream_ready()

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        late = failure.check(TimeoutError) is not None
        self._fail("connecting took too long" if late else f"connecting failed: {failure.getErrorMessage()}")

    def _take(self, reply: bytes) -> None:
        if not self.ready:
            self._step(reply)
            return
        if not self._expected:
            raise BadReply("it was not asked")
        item = self._expected.popleft()
        if isinstance(item, Exchange):
            assert self._owner is not None
            self._owner.upstream_replied(item, reply)
            return
        item.offset = leader_offset(reply)
        if item.offset is None:
            self._fail("the server is not a leader any more")

    def _step(self, reply: bytes) -> None:
        if not self._steps:
            raise BadReply("it was not asked")
        step = self._steps.popleft()
        if not step.passes(reply):
            self._fail(f"it is not so that {step.purpose}: {reply[:200].decode(errors='replace').strip()}")
        elif not self._steps and self._owner is not None:
            self.ready = True
            self._owner.upstream_ready()

    def _fail(self, reason: str) -> None:
        owner = self._owner
        self.drop()
        if owner is not None:
            owner.upstream_lost(reason)


class _Sole(Factory):
    """Gives the one protocol it was made for."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._protocol
