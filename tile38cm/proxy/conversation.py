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

from collections.abc import Callable

from tile38cm.proxy.exchange import LARGE_REPLY, Exchange, Packet, State, Verdict
from tile38cm.proxy.flow import Flow
from tile38cm.proxy.line import Line
from tile38cm.proxy.link import Link
from tile38cm.proxy.passage import Passage
from tile38cm.proxy.port import Port
from tile38cm.proxy.sides import Side
from tile38cm.wire.bundles import Bundle
from tile38cm.wire.commands import Class
from tile38cm.wire.forms import RESP
from tile38cm.wire.replies import published
from tile38cm.wire.resp import Output
from tile38cm.wire.weights import APART

#: Another node speaks for many clients, and so may have so many times as much under way.
PEER_CLIENTS = 8


class Conversation:
    """See the module."""

    def __init__(self, side: Side, port: Port, from_peer: bool) -> None:
        self._side = side
        self._port = port
        self._from_peer = from_peer
        self._line = self.line = Line(side, self, port)
        self._link = Link(side, self, from_peer)
        max_heavy = side.limits.max_heavy * (PEER_CLIENTS if from_peer else 1)
        self._passage = Passage(self._line, self._link, max_heavy)
        self._flow = Flow(side, self._line, self._link, port, self._note_waiting)
        #: What C{OUTPUT} chose: for replies that go out now, and for requests that come in.
        self._output: Output = "resp"
        self._next_output: Output = "resp"
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

    @property
    def kept(self) -> int:
        """Bytes of requests and replies that are here."""
        return self._line.kept

    @property
    def output(self) -> Output:
        """What C{OUTPUT} chose for requests that come in now."""
        return self._next_output

    def begin_with(self, output: Output) -> None:
        """What C{OUTPUT} is before it is chosen; only before the first request."""
        self._output = self._next_output = output

    def ask(self, exchange: Exchange) -> None:
        """A request to be sent on; C{proceed} follows when this turn's requests are all here."""
        line = self._line
        line.add(exchange)
        if self._spent:
            line.turn_away(exchange)
            return
        exchange.asker, exchange.mode = line, self._next_output
        if self._passage.large and exchange.heavy:
            exchange.weight = APART
        line.held.append(exchange)
        if exchange.last or exchange.command.class_ is Class.LIVE:
            self.closed_for_requests = True

    def ask_together(self, bundle: Bundle) -> None:
        """
        Requests of one packet, sent on as they are if nothing is in their way.

        This is the way of nearly all requests, so it does no more than it must;
        whether the gate is open is asked when all of this turn are sent.
        """
        side, passage = self._side, self._passage
        stopped = self._client_full or self._spent or side.draining
        upstream = None if stopped else passage.way(bundle, self._next_output)
        line, mode = self._line, self._next_output
        packet = Packet.of_bundle(bundle, side.clock.seconds(), line, mode, passage.weight)
        if upstream is None:
            packet.state = State.HELD
            for single in packet.singles():
                self.ask(single)
            self.proceed()
            return
        count, limits = packet.count, side.limits
        line.queue.append(packet)
        line.heavy += packet.heavy
        line.asked += count
        line.kept += len(packet.raw)
        side.in_flight += count
        side.counters.proxied += count
        if line.asked > limits.max_pipeline or line.kept > limits.max_kept:
            self._regulate()
        # Before it is sent: it may be given back at once, and all be different then.
        line.express = upstream if self._reading and not self._waits else None
        line.weight, line.mode = passage.weight, mode
        upstream.submit(packet)

    def answer(self, exchange: Exchange) -> None:
        """A request that is settled, or awaited from elsewhere; its reply keeps its place in the order."""
        if exchange.output is not None:
            self._next_output = exchange.output
        self._line.add(exchange)
        self.closed_for_requests = self.closed_for_requests or exchange.last

    def told(self, exchange: Exchange, reply: bytes, problem: str | None = None) -> None:
        """The answer to one that was awaited; too late for one that has been given up."""
        if exchange.state is not State.AWAITED:
            return
        exchange.state = State.SETTLED
        exchange.reply, exchange.problem = reply, problem
        self._line.kept += len(reply)
        self.proceed()

    def proceed(self, verdict: Verdict | None = None) -> None:
        """Do all that can be done now."""
        line = self._line
        line.express = None
        if line.queue:
            self._release(verdict)
        if line.held and self._passage.live is None:
            self._send()
            self._release()
        if line.queue or self._waits:
            self._note_waiting()
        if line.queue or not self._reading or self._client_full:
            self._regulate()
        if self._reopened:
            self._reopened = False
            self._port.go_on()

    def client_full(self, full: bool) -> None:
        """Whether the client does not take its replies as fast as they come."""
        self._client_full = full
        self._flow.read(not full)
        self.proceed()

    def end(self) -> None:
        """The client is gone, or its connection serves another purpose."""
        # Which may wait once more, so before the side forgets who waits.
        self._flow.forget()
        self._line.express = None
        self._side.leave(self)
        self._link.close()
        self._line.clear()

    # -- from the side

    def look_again(self) -> None:
        """The routes changed; what was sent to a server that is the wrong one now is lost with it."""
        if self._line.begun and self._side.draining:
            self._line.take_back()
        if self._line.begun and self._link.astray:
            # The rest of a reply that has begun is as good as its beginning: it ends first.
            self._link.retire()
        elif self._link.reroute():
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
        given_up = self._line.expire(now - limit, problem)
        if self._passage.live is not None and self._passage.live in given_up:
            self._passage.live = None
            self._link.leave()
        if given_up:
            self._flow.forget()
            self.proceed()

    def close_live(self) -> None:
        """The port knows of streams; a conversation has none."""

    # -- from the link

    @property
    def idle(self) -> bool:
        """Whether nothing was asked that has no answer."""
        return not self._line.queue

    def link_changed(self) -> None:
        """Something can be sent."""
        self.proceed()

    def link_lost(self) -> None:
        """Judge what was under way, and begin again."""
        self._passage.live = None
        self._flow.forget()
        if self._line.begun:
            # Nothing that could follow would be understood.
            self._port.cut()
            return
        self._line.lose()
        self.proceed()

    # -- from the line: what came from the connection in use

    def replied(self, exchange: Exchange, reply: bytes) -> None:
        """Keep the reply for its turn."""
        if exchange.state is not State.SENT:
            return
        line = self._line
        apart = exchange.batch is None and not (self._link.sealed or exchange.begun)
        if apart and line.seems_turned_away(exchange, reply):
            if line.turned_away(exchange, reply):
                self._link.retire()
            return
        if exchange.command.class_ is Class.MESSAGE and exchange.batch is not None:
            reply = published(reply, self._side.own_subscribers())
        line.answer(exchange, reply)
        if exchange is self._passage.live:
            self._live_replied(exchange)
        elif len(reply) > LARGE_REPLY and exchange.heavy:
            self._passage.large = True

    def flows(self, exchange: Exchange, part: Callable[[], bytes]) -> None:
        """
        Pass on what is here of a large reply, so that it is never kept as a whole: on a
        connection of the client's own, whose pace is the client's.
        """
        passage = self._passage
        apart = passage.weight == APART and exchange is not passage.live
        if apart and exchange.state is _SENT and exchange is self._line.queue[0] and exchange.form is RESP:
            self._flow.comes(exchange, part, Conversation)

    def turned(self, verdict: Verdict | None) -> None:
        """This turn's replies are all here."""
        self.proceed(verdict)

    # -- releasing

    def _release(self, verdict: Verdict | None = None) -> None:
        line, gate = self._line, self._side.gate
        queue = line.queue
        replies = []
        last = False
        while queue and not last:
            exchange = queue[0]
            if exchange.state is not _ANSWERED and exchange.state is not _SETTLED:
                break
            batch = exchange.batch
            if batch is not None and gate is not None:
                verdict = verdict or Verdict(gate)
                if not verdict.releases(exchange):
                    break
                if batch.offset is not None and batch.offset > verdict.told:
                    # Told before the reply goes.
                    verdict.told = batch.offset
                    gate.released(batch.offset)
            line.release()
            if exchange.bundled:
                replies.append(exchange.reply)
            else:
                replies.append(exchange.encoded(self._output))
                last = exchange.last
                self._released(exchange)
        if replies:
            self._port.deliver(replies[0] if len(replies) == 1 else b"".join(replies))
        if last:
            self._port.finish()

    def _released(self, exchange: Exchange) -> None:
        if exchange.output is not None:
            self._output = exchange.output
        if exchange.command.class_ is Class.LIVE:
            self.closed_for_requests = False
            self._reopened = True

    # -- sending

    def _send(self) -> None:
        link, side = self._link, self._side
        server = link.server
        drained = side.draining and server is not None and server.local
        if self._from_peer and (drained or server is None):
            # From then on nothing on this connection is executed: otherwise what the other node
            # sent next could overtake what it will send again elsewhere.
            self._spent = True
            self._line.turn_all_away()
        elif not drained and not self._client_full:
            self._passage.send()

    # -- a live command's first reply

    def _live_replied(self, exchange: Exchange) -> None:
        self._passage.live = None
        if not exchange.flips():
            return
        upstream = self._link.give_away()
        self.end()
        self._port.become_stream(upstream, exchange)

    # -- waiting

    def _note_waiting(self) -> None:
        """Join those who are looked at when something changes, and pay for what is held."""
        line = self._line
        self._waits = bool(line.queue) and self._is_waiting()
        if not self._waits:
            self._side.wait_no_more(self)
            return
        self._side.wait(self)
        if not self._link.connecting and not line.held.reserve():
            line.held.collect(line.queue)
            self._release()

    def _is_waiting(self) -> bool:
        """Whether the head of the queue waits for something else than its server's work."""
        head = self._line.queue[0]
        if head.state is State.HELD:
            return not (self._client_full or self._passage.live is not None)
        gate = self._side.gate
        if head.state is State.SENT:
            shut = self._link.sealed and gate is not None and not gate.is_open()
            return self._flow.waits or (shut and not head.begun)
        return head.batch is not None and (head.batch.offset is not None or not gate or not gate.is_open())

    def _regulate(self) -> None:
        limits, line = self._side.limits, self._line
        share = 1.0 if self._reading else 0.5
        read = not (
            self._client_full
            or self.closed_for_requests
            or line.asked > limits.max_pipeline * share
            or line.kept > limits.max_kept * share
            or (line.held and self._link.congested)
        )
        if read != self._reading:
            self._reading = read
            self._port.regulate(read)


#: Looked up for each reply; as attributes of the class they cost four times as much.
_SENT, _ANSWERED, _SETTLED = State.SENT, State.ANSWERED, State.SETTLED
