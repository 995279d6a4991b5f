"""
One client's requests, from arrival to reply, in order.

All requests wait in one queue until their replies are released; those not
sent yet are in a second one as well.  Each event (bytes from the client,
replies, a change of routes or gate) ends in L{Conversation.proceed}, which
releases, sends, releases what that settled, and regulates the flow.  A
reply is released only from the head, so the order holds whatever happens in
between.

When a server is lost, what it had not answered for good is judged by the
command table: held and sent again if that is harmless, else answered with
C{-UNCERTAIN}.  A shut gate alone loses nothing: replies wait for it to open
in the same epoch.
"""

from __future__ import annotations

from collections import deque
from itertools import islice, takewhile
from typing import Protocol

from tile38cm.proxy.exchange import LOST_TOO_OFTEN, PERHAPS, UNCERTAIN, Exchange, State, Verdict
from tile38cm.proxy.hold import Held
from tile38cm.proxy.link import Link
from tile38cm.proxy.sides import Side
from tile38cm.proxy.upstream import Upstream
from tile38cm.wire.commands import Class
from tile38cm.wire.replies import is_failure, not_executed
from tile38cm.wire.resp import Output
from tile38cm.wire.weights import APART

#: How often a request may be sent again after it was lost with its server: one that
#: kills its server must not kill them all.
MAX_LOSSES = 4
#: Another node speaks for many clients, and so may have so many times as much under way.
PEER_CLIENTS = 8
#: How many held requests are looked at to find a connection that suits them together.
MAX_COMPANY = 64
#: Bytes of a reply on a lane after which a client's reads have a connection of their own.
LARGE_REPLY = 64 * 1024


class Port(Protocol):
    """The client's side of a conversation."""

    def deliver(self, data: bytes) -> None:
        """Replies for the client."""

    def regulate(self, read: bool) -> None:
        """Whether to read from the client; told on change."""

    def finish(self) -> None:
        """Close the connection once everything delivered is sent."""

    def go_on(self) -> None:
        """Requests are taken again."""

    def become_stream(self, upstream: Upstream, first: bytes) -> None:
        """From now on client and server talk directly; C{first} is the server's first reply."""


class Conversation:
    """See the module."""

    def __init__(self, side: Side, port: Port, from_peer: bool) -> None:
        self._side = side
        self._port = port
        self._elsewhere = b"-" + side.elsewhere.encode()
        self._max_heavy = side.limits.max_heavy * (PEER_CLIENTS if from_peer else 1)
        self._from_peer = from_peer
        self._link = Link(side, self, from_peer)
        self._queue: deque[Exchange] = deque()
        self._held = Held(side.budget, side.counters)
        #: What C{OUTPUT} chose: for replies that go out now, and for requests that come in.
        self._output: Output = "resp"
        self._next_output: Output = "resp"
        #: What the connection is for that carries what is under way.
        self._mode: Output = "resp"
        self._weight = APART
        #: Objects of this client are large: what asks for them goes apart.
        self._large = False
        #: Requests that were not answered.
        self._asked = 0
        self._kept = 0
        self._heavy = 0
        #: The live command that was sent and not answered yet; nothing else is under way then.
        self._live: Exchange | None = None
        #: Another node has been turned away: nothing on this connection is executed any more.
        self._spent = False
        self._reading = True
        self._waits = False
        self._client_full = False
        #: No request is taken: a live command or the last one waits.
        self.closed_for_requests = False
        self._reopened = False
        side.join(self)

    # -- from the client

    def ask(self, exchange: Exchange) -> None:
        """A request to be sent on; C{proceed} follows when this turn's requests are all here."""
        self._add(exchange)
        if self._spent:
            self._turn_away(exchange)
            return
        exchange.asker, exchange.mode = self, self._next_output
        if self._large and exchange.heavy:
            exchange.weight = APART
        self._held.append(exchange)
        if exchange.command.class_ is Class.LIVE:
            self.closed_for_requests = True

    def ask_together(self, bundle: Exchange) -> None:
        """
        Requests of one packet, sent on as they are if nothing is in their way.

        This is the way of nearly all requests, so it does no more than it must;
        whether the gate is open is asked when all of this turn are sent.
        """
        upstream = self._way(bundle)
        if upstream is None:
            for exchange in bundle.singles():
                self.ask(exchange)
            self.proceed()
            return
        self._add(bundle)
        self._depart(bundle, upstream)
        self._regulate()

    def answer(self, exchange: Exchange) -> None:
        """A request that is settled already; its reply keeps its place in the order."""
        if exchange.output is not None:
            self._next_output = exchange.output
        self._add(exchange)
        self.closed_for_requests = self.closed_for_requests or exchange.last

    def proceed(self) -> None:
        """Do all that can be done now."""
        if self._queue:
            self._release()
        if self._held and not self.live:
            self._send()
            self._release()
        if self._queue or self._waits:
            self._note_waiting()
        self._regulate()
        if self._reopened:
            self._reopened = False
            self._port.go_on()

    def client_full(self, full: bool) -> None:
        """Whether the client does not take its replies as fast as they come."""
        self._client_full = full
        self._link.read(not full)
        self.proceed()

    def end(self) -> None:
        """The client is gone, or its connection serves another purpose."""
        self._side.leave(self)
        self._link.close()
        for exchange in self._queue:
            self._landed(exchange)
            exchange.state = State.SETTLED
        self._queue.clear()
        self._held.clear()

    @property
    def idle(self) -> bool:
        """Whether nothing was asked that has no answer."""
        return not self._queue

    # -- from the side

    @property
    def live(self) -> bool:
        """Whether a live command waits for its first reply."""
        return self._live is not None

    def look_again(self) -> None:
        """The routes changed; what was sent to a server that is the wrong one now is lost with it."""
        if self._link.reroute():
            self.proceed()
        else:
            self.link_lost()

    def gate_moved(self) -> None:
        """The gate says something else than before."""
        self.proceed()

    def expire(self, now: float) -> None:
        """Answer what has waited for C{hold_timeout} since it arrived; only called for who waits."""
        limit = self._side.limits.hold_timeout
        problem = f"ERR no {self._side.wanted}: the command waited {limit:g} s for one"
        expired = False
        queue: deque[Exchange] = deque()
        for exchange in self._queue:
            late = now - exchange.arrived >= limit and exchange.state is not State.SETTLED
            for single in self._singles(exchange) if late else (exchange,):
                queue.append(single)
                if late:
                    expired = True
                    self._give_up(single, problem)
        self._queue = queue
        if expired:
            self._held.collect(self._queue)
            self.proceed()

    def close_live(self) -> None:
        """The port knows of streams; a conversation has none."""

    # -- from the link

    def link_changed(self) -> None:
        """Something can be sent."""
        self.proceed()

    def link_lost(self) -> None:
        """Judge what was under way; what can be sent again goes to the front, in order."""
        self._live = None
        queue: deque[Exchange] = deque()
        for exchange in self._queue:
            if exchange.state is State.SENT or exchange.batch is not None:
                for single in self._singles(exchange):
                    self._judge(single)
                    queue.append(single)
            else:
                queue.append(exchange)
        self._queue = queue
        self._held.collect(self._queue)
        self.proceed()

    # -- from the connection in use

    def replied(self, exchange: Exchange, reply: bytes) -> None:
        """Keep the reply for its turn."""
        if exchange.state is not State.SENT:
            return
        if exchange.batch is None and self._elsewhere in reply and not self._link.sealed:
            self._perhaps_turned_away(exchange, reply)
            return
        exchange.state = State.ANSWERED
        exchange.reply = reply
        self._kept += len(reply)
        if exchange is self._live:
            self._live_replied(exchange)
        elif len(reply) > LARGE_REPLY and exchange.count == 1:
            self._large = True

    def partly_replied(self, exchange: Exchange, replies: bytes) -> None:
        """What is here of a bundle's replies; the connection is lost, and they are judged then."""
        if exchange.state is State.SENT:
            exchange.reply = replies
            self._kept += len(replies)

    def not_sent(self, exchange: Exchange) -> None:
        """It is held again, in its place."""
        if exchange.state is not State.SENT:
            return
        self._landed(exchange)
        exchange.hold_again()
        self._replace(exchange, exchange.singles())

    def turned(self) -> None:
        """This turn's replies are all here."""
        self.proceed()

    # -- releasing

    def _release(self) -> None:
        queue, verdict = self._queue, None
        replies = []
        last = False
        exposed = 0
        while queue and not last:
            exchange = queue[0]
            if exchange.state is not State.ANSWERED and exchange.state is not State.SETTLED:
                break
            if exchange.batch is not None and self._side.gate is not None:
                verdict = verdict or Verdict.of(self._side.gate)
                if not verdict.releases(exchange):
                    break
                exposed = max(exposed, exchange.batch.offset or 0)
            queue.popleft()
            self._asked -= exchange.count
            self._landed(exchange)
            self._kept -= len(exchange.raw) + len(exchange.reply)
            replies.append(exchange.encoded(self._output))
            if exchange.output is not None and not is_failure(exchange.reply):
                self._output = exchange.output
            last = exchange.last
            if exchange.command.class_ is Class.LIVE:
                self.closed_for_requests = False
                self._reopened = True
        if exposed and self._side.gate is not None:
            self._side.gate.released(exposed)
        if replies:
            self._port.deliver(b"".join(replies))
        if last:
            self._port.finish()

    # -- sending

    def _send(self) -> None:
        link = self._link
        server = link.server
        drained = self._side.draining and server is not None and server.local
        if self._from_peer and (drained or server is None):
            self._turn_all_away()
            return
        if drained:
            return
        if self._client_full:
            return
        weight = self._next_weight()
        if weight is None:
            return
        mode = self._held.first.mode
        upstream = link.connection(mode, weight)
        if upstream is None or not self._held:
            return
        self._mode, self._weight = mode, weight
        for exchange in self._take(upstream):
            self._depart(exchange, upstream)

    def _next_weight(self) -> int | None:
        """The weight of the connection for what goes next; C{None}: not before replies are here."""
        first = self._held.first
        if self._under_way:
            fits = first.mode == self._mode and first.weight <= self._weight
            return self._weight if fits else None
        # What is asked together travels together.
        company = takewhile(lambda exchange: exchange.mode == first.mode, islice(self._held, MAX_COMPANY))
        return max(exchange.weight for exchange in company)

    @property
    def _under_way(self) -> bool:
        """Whether the connection in use has something left to say to this client."""
        return any(
            exchange.state is State.SENT or (exchange.batch is not None and exchange.batch.offset is None)
            for exchange in self._queue
        )

    def _take(self, upstream: Upstream) -> list[Exchange]:
        """The requests that may go now, in order."""
        gate = upstream.gate
        verdict = None if gate is None else Verdict.of(gate)
        if verdict is not None and not (verdict.open and verdict.epoch == upstream.target.epoch):
            return []
        taken: list[Exchange] = []
        held, heavy = self._held, self._heavy
        while held and self._live is None:
            exchange = held.first
            command = exchange.command
            if exchange.mode != self._mode or exchange.weight > self._weight:
                break
            if verdict is not None and command.leader and not verdict.enough:
                break
            if exchange.heavy and heavy >= self._max_heavy:
                break
            if command.class_ is Class.LIVE:
                # The server drops bytes behind a live command, and its reply may come
                # before a write sent in front of it is in the log: it goes alone.
                if self._queue[0] is not exchange:
                    break
                self._live = exchange
            heavy += exchange.heavy
            taken.append(held.take())
        return taken

    def _way(self, bundle: Exchange) -> Upstream | None:
        """The lane for a bundle, if it can go before this turn is over."""
        weight, mode = bundle.weight, self._next_output
        if self._held or self._live is not None or self._client_full or self._spent or self._side.draining:
            return None
        if bundle.heavy and (self._large or self._heavy + bundle.heavy > self._max_heavy):
            return None
        if self._queue and (weight != self._weight or mode != self._mode) and self._under_way:
            if weight > self._weight or mode != self._mode:
                return None
            weight = self._weight
        upstream = self._link.open_lane(mode, weight)
        if upstream is not None:
            self._weight, self._mode = weight, mode
            bundle.asker, bundle.mode = self, mode
        return upstream

    def _depart(self, exchange: Exchange, upstream: Upstream) -> None:
        exchange.state = State.SENT
        self._heavy += exchange.heavy
        self._side.sent(exchange.count)
        upstream.submit(exchange)

    # -- a live command's first reply

    def _live_replied(self, exchange: Exchange) -> None:
        self._live = None
        if not exchange.flips():
            return
        upstream = self._link.give_away()
        self.end()
        self._port.become_stream(upstream, exchange.reply)

    # -- what is lost, given up, or turned away

    def _singles(self, exchange: Exchange) -> list[Exchange]:
        """The same one by one; of a bundle's own exchange nothing is heard any more."""
        singles = exchange.singles()
        if exchange.bundled:
            exchange.state = State.SETTLED
        return singles

    def _replace(self, exchange: Exchange, singles: list[Exchange]) -> None:
        """Put a bundle's requests in its place, and see anew what is held."""
        if exchange.bundled:
            at = self._queue.index(exchange)
            del self._queue[at]
            for single in reversed(singles):
                self._queue.insert(at, single)
        self._held.collect(self._queue)

    def _perhaps_turned_away(self, exchange: Exchange, reply: bytes) -> None:
        """Another node does not serve us any more, if that is what the reply says."""
        exchange.reply = reply
        singles = self._singles(exchange)
        for single in singles:
            self._kept += len(single.reply)
            single.state = State.ANSWERED
            if single.reply.startswith(self._elsewhere):
                single.doubtful |= single.reply.rstrip().endswith(PERHAPS)
                self._kept -= len(single.reply)
                self._landed(single)
                single.hold_again()
                self._link.retire()
        self._replace(exchange, singles)

    def _judge(self, exchange: Exchange) -> None:
        """The server is gone: can this still be released, be sent again, or neither?"""
        if (
            exchange.state is State.ANSWERED
            and exchange.batch is not None
            and exchange.batch.offset is not None
        ):
            leader = self._side.routes.writer()
            if leader is not None and leader.local and leader.epoch == exchange.batch.epoch:
                return
        self._landed(exchange)
        self._kept -= len(exchange.reply)
        if not_executed(exchange.reply):
            exchange.hold_again()
        elif not exchange.command.repeatable:
            self._uncertain(exchange)
        else:
            exchange.lose()
            if exchange.losses > MAX_LOSSES:
                self._refuse(exchange, LOST_TOO_OFTEN)

    def _give_up(self, exchange: Exchange, problem: str) -> None:
        """It waited too long, held or for its release."""
        under_way = exchange.state is not State.HELD
        self._landed(exchange)
        self._held.forget(exchange)
        self._kept -= len(exchange.reply)
        if exchange is self._live:
            self._live = None
            self._link.leave()
        exchange.doubtful |= under_way and exchange.command.leader
        self._refuse(exchange, problem)

    def _refuse(self, exchange: Exchange, problem: str) -> None:
        self._side.counters.uncertain += not exchange.refuse(problem)

    def _uncertain(self, exchange: Exchange) -> None:
        self._side.counters.uncertain += 1
        exchange.settle(UNCERTAIN)

    def _turn_all_away(self) -> None:
        """
        Tell another node that what it sent is not executed here.

        From then on nothing on this connection is: otherwise what it sent
        next could overtake what it will send again elsewhere.
        """
        self._spent = True
        for exchange in self._held.clear():
            self._turn_away(exchange)

    def _turn_away(self, exchange: Exchange) -> None:
        # Not as JSON, whatever OUTPUT says: it is for the node, not for its client.
        exchange.state = State.SETTLED
        exchange.batch = None
        what = PERHAPS if exchange.doubtful else b"not executed"
        exchange.reply = b"-%b tile38cm: %b\r\n" % (self._side.elsewhere.encode(), what)
        self._kept += len(exchange.reply)

    # -- accounts

    def _add(self, exchange: Exchange) -> None:
        self._queue.append(exchange)
        self._asked += exchange.count
        self._kept += len(exchange.raw) + len(exchange.reply)

    def _landed(self, exchange: Exchange) -> None:
        """It is under way no more, if it was."""
        if exchange.state is State.SENT or exchange.state is State.ANSWERED:
            self._heavy -= exchange.heavy
            self._side.landed(exchange.count)

    def _note_waiting(self) -> None:
        """Join those who are looked at when something changes, and pay for what is held."""
        self._waits = bool(self._queue) and self._is_waiting()
        if not self._waits:
            self._side.wait_no_more(self)
            return
        self._side.wait(self)
        if not self._link.connecting and not self._held.reserve():
            self._held.collect(self._queue)
            self._release()

    def _is_waiting(self) -> bool:
        """Whether the head of the queue waits for something else than its server's work."""
        head = self._queue[0]
        if head.state is State.HELD:
            return not (self._client_full or self._live is not None)
        gate = self._side.gate
        if head.state is State.SENT:
            return self._link.sealed and gate is not None and not gate.is_open()
        return head.batch is not None and (head.batch.offset is not None or not gate or not gate.is_open())

    def _regulate(self) -> None:
        limits = self._side.limits
        share = 1.0 if self._reading else 0.5
        read = not (
            self._client_full
            or self._live is not None
            or self._asked > limits.max_pipeline * share
            or self._kept > limits.max_kept * share
            or self._link.congested
        )
        if read != self._reading:
            self._reading = read
            self._port.regulate(read)
