"""
One connection to a server, for one client or for many.

All requests of one turn of the reactor go out in one piece, since a system
call costs more than a request, and a server is quickest with many commands at
once.  Replies come in that order.  Before the first request the connection is
I{prepared}: logged in, asked whether the server can serve at all, and set to
an C{OUTPUT}.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol as Shape

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tile38cm.proxy.coverage import Coverage, keep
from tile38cm.proxy.exchange import LARGE_REPLY, Asker, Batch, Exchange, Verdict
from tile38cm.proxy.partners import Target, Wire
from tile38cm.proxy.preparation import ROLE, Step
from tile38cm.sending import sender, widen
from tile38cm.turns import later, soon
from tile38cm.wire.commands import Class
from tile38cm.wire.replies import BadReply, ReplyParser, leader_offset
from tile38cm.wire.weights import VALUE

#: Requests with which a server is kept busy long enough.
ENOUGH = 24


class Owner(Shape):
    """Who uses an upstream, or shares it out; told nothing any more once it dropped it."""

    def upstream_ready(self) -> None:
        """Requests may be sent."""

    def upstream_lost(self, reason: str) -> None:
        """It cannot be used, or not any more; what was not answered will not be."""

    def upstream_drained(self) -> None:
        """The server takes bytes again after C{congested} was true."""


class Upstream(Protocol):
    """
    The connection itself; C{open} it once.

    @param coverage: what replies pass, if this is the local server of a leader.
    @param wide: large replies are expected.
    """

    transport: Wire  # type: ignore[assignment]  # ITransport lacks what all transports have

    def __init__(
        self,
        owner: Owner,
        target: Target,
        steps: Sequence[Step],
        coverage: Coverage | None,
        clock: IReactorTime,
        wide: bool = False,
    ) -> None:
        self.target = target
        self._wide = wide
        self._coverage = coverage if target.local else None
        self.gate = None if self._coverage is None else self._coverage.gate
        #: Requests may be sent.
        self.ready = False
        #: Nothing more is to be sent: the peer does not serve us any more.
        self.retiring = False
        #: The server does not take bytes as fast as they come.
        self.congested = False
        #: Requests may be submitted now, by all of these.
        self.usable = False
        #: A reply has come: it is worth a quick attempt again.
        self.answered = False
        self._owner: Owner | None = owner
        self._steps = deque(steps)
        self._clock = clock
        self._soon, self._later = soon(clock), later(clock)
        #: What goes out next.
        self._pending: list[Exchange] = []
        #: It does when this turn is over, whatever else may wait for company.
        self._urgent = False
        #: It was one request when something went out last.
        self._alone = False
        self._expected: deque[Exchange | Batch | Step] = deque()
        self._parser = ReplyParser()
        self._out: Callable[[bytes], object] = _nowhere
        self._raw: Callable[[bytes], None] | None = None
        self._raw_ended: Callable[[], None] | None = None
        self._cut = False
        self._connecting: Deferred[IProtocol] | None = None

    # -- for the owner

    def open(self, timeout: float) -> None:
        """Connect; the owner hears the outcome, perhaps before this returns."""
        self._connecting = self.target.connect(_Sole(self)).addTimeout(timeout, self._clock)
        # The outcome is told to the owner by these two, so nobody needs to await it.
        _ = self._connecting.addCallbacks(self._connected, self._not_connected)

    def submit(self, exchange: Exchange) -> None:
        """
        Send a request together with others, and ask for the offset that covers them if the gate needs one.

        What concerns one object may wait for more such while the reactor is busy: the server needs less
        for it than for being woken up.  All else is work enough to begin at the end of this turn.
        """
        self._pending.append(exchange)
        count = len(self._pending)
        if count == 1 and self._alone and not self._expected:
            # Nobody else was there in the last turn: do not wait for others.
            self._flush()
        elif exchange.count > 1 or exchange.weight > VALUE or count == ENOUGH:
            if not self._urgent:
                self._urgent = True
                self._soon(self._flush)
        elif count == 1:
            self._later(self._flush)

    def prefix(self, step: Step) -> None:
        """Change the connection's state before what is submitted next; the server must agree."""
        self._expected.append(step)
        self._out(step.request)

    def retire(self) -> None:
        """Take no requests any more, and end when every reply has come."""
        self.retiring = True
        self.usable = False

    @property
    def idle(self) -> bool:
        """Whether every reply has come."""
        return not self._expected and not self._pending

    def read(self, read: bool) -> None:
        """Whether to take bytes from the server, once it is there."""
        if self.ready:
            (self.transport.resumeProducing if read else self.transport.pauseProducing)()

    def drop(self) -> None:
        """Cut the connection; bytes that were not sent yet never are.  Harmless when repeated."""
        self._owner = None
        pending, self._pending = self._pending, []
        for exchange in pending:
            _asker(exchange).not_sent(exchange)
        if self._coverage is not None:
            self._coverage.let_go(self)
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
        if self._wide:
            widen(transport)
        transport.registerProducer(self, True)
        self._out = sender(transport)
        if self._steps:
            self._out(b"".join(step.request for step in self._steps))

    def dataReceived(self, data: bytes) -> None:
        """Tell replies apart and report them."""
        if self._raw is not None:
            self._raw(data)
            return
        self._parser.feed(data)
        try:
            if not self.ready:
                self._prepare()
            concerned, verdict = self._take()
        except BadReply as bad:
            self._fail(f"the server answered rubbish: {bad}")
            return
        self.answered = self.ready
        for asker in concerned:
            asker.turned(verdict)
        if self.retiring and self.idle:
            self._fail("the peer does not serve us any more")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Whatever was expected will not come."""
        if self._raw_ended is not None:
            self._raw_ended()
        self._fail("the connection was closed")

    # -- IPushProducer: the transport says how fast the server takes requests

    def pauseProducing(self) -> None:
        """The transport holds as much as it likes to."""
        self.congested = True
        self.usable = False

    def resumeProducing(self) -> None:
        """The transport has sent enough."""
        self.congested = False
        self.usable = self.ready and not self.retiring
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
            self._become_ready()
            self._owner.upstream_ready()

    def _become_ready(self) -> None:
        self.ready = True
        self.usable = not (self.congested or self.retiring)

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        late = failure.check(TimeoutError) is not None
        self._fail("connecting took too long" if late else f"connecting failed: {failure.getErrorMessage()}")

    def _prepare(self) -> None:
        """Take the replies of the preparation."""
        while self._owner is not None and not self.ready and (reply := self._parser.next()) is not None:
            if not self._steps:
                raise BadReply("it was not asked")
            step = self._steps.popleft()
            if not step.passes(reply):
                self._refused(step, reply)
            elif not self._steps:
                self._become_ready()
                self._owner.upstream_ready()

    def _take(self) -> tuple[Collection[Asker], Verdict | None]:
        """
        Hand out the replies that are whole, and release what may be.

        @return: who may have something to release now, and what the gate said, if it was asked.
        """
        expected, next_ = self._expected, self._parser.next
        concerned: dict[Asker, None] = {}
        verdict = None
        #: Replies of a batch whose offset has not come yet.
        got: list[tuple[Exchange, bytes]] = []
        try:
            while expected and self._owner is not None:
                item = expected[0]
                reply = next_(item.count)
                if reply is None:
                    if isinstance(item, Exchange) and (item.begun or self._parser.kept > LARGE_REPLY):
                        _asker(item).flows(item, self._parser.part)
                    break
                expected.popleft()
                if isinstance(item, Exchange):
                    if item.batch is not None:
                        got.append((item, reply))
                    elif not _asker(item).landed(item, reply):
                        _asker(item).replied(item, reply)
                        concerned[_asker(item)] = None
                elif isinstance(item, Batch):
                    verdict = self._cover(item, reply, got, verdict, concerned)
                    got = []
                elif not item.passes(reply):
                    self._refused(item, reply)
        finally:
            if got:
                keep(got)
        if self.ready and self._owner is not None and not (expected or self._parser.empty):
            raise BadReply("it was not asked")
        return concerned, verdict

    def _cover(
        self,
        batch: Batch,
        role: bytes,
        got: list[tuple[Exchange, bytes]],
        verdict: Verdict | None,
        concerned: dict[Asker, None],
    ) -> Verdict | None:
        """A batch is complete; who has something to release now is C{concerned}."""
        batch.offset = leader_offset(role)
        if self._coverage is None or batch.offset is None:
            keep(got)
            self._fail("the server is not a leader any more")
            return verdict
        return self._coverage.arrived(batch, got, verdict, concerned, self)

    def _flush(self) -> None:
        """Send what was submitted."""
        pending, self._pending, self._urgent = self._pending, [], False
        if not pending:
            return
        self._alone = len(pending) == 1
        data = [exchange.raw for exchange in pending]
        gate = self.gate
        if gate is None:
            self._expected.extend(pending)
        else:
            # It may have shut since they were submitted.
            word = gate.word()
            if not word.open or word.epoch != self.target.epoch or not (word.enough or _harmless(pending)):
                self._give_back(pending)
                return
            self._expected.extend(pending)
            if pending[0].command.class_ is not Class.LIVE:
                batch = Batch(word.epoch, word.least, exchanges=pending)
                for exchange in pending:
                    exchange.batch = batch
                self._expected.append(batch)
                data.append(ROLE)
        self._out(b"".join(data))

    def _give_back(self, pending: list[Exchange]) -> None:
        for exchange in pending:
            _asker(exchange).not_sent(exchange)
        for asker in dict.fromkeys(map(_asker, pending)):
            asker.turned(None)

    def _keep_partial(self) -> None:
        """Of a bundle some replies may have come: they are as good as any."""
        if not self._expected or not isinstance(bundle := self._expected[0], Exchange) or bundle.count == 1:
            return
        replies, whole = ReplyParser(), b""
        replies.feed(self._parser.rest())
        try:
            while (reply := replies.next()) is not None:
                whole += reply
        except BadReply:
            return
        _asker(bundle).partly_replied(bundle, whole)

    def _refused(self, step: Step, reply: bytes) -> None:
        words = reply[:200].decode(errors="replace").strip()
        self._fail(f"it is not so that {step.purpose}: {words}")

    def _fail(self, reason: str) -> None:
        owner = self._owner
        self._keep_partial()
        self.drop()
        if owner is not None:
            owner.upstream_lost(reason)


def _harmless(exchanges: Iterable[Exchange]) -> bool:
    """Whether none of them can write."""
    return not any(exchange.command.leader for exchange in exchanges)


def _asker(exchange: Exchange) -> Asker:
    """Whoever submits an exchange has signed it."""
    assert exchange.asker is not None
    return exchange.asker


def _nowhere(data: bytes) -> None:
    """A connection that is not made yet takes nothing."""
    raise AssertionError("nothing can be sent before there is a connection")


class _Sole(Factory):
    """Gives the one protocol it was made for."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._protocol
