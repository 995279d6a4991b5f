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
from typing import Protocol

from tile38cm.proxy.exchange import LOST_TOO_OFTEN, PERHAPS, UNCERTAIN, Batch, Exchange, State, Verdict
from tile38cm.proxy.hold import Held
from tile38cm.proxy.link import Link
from tile38cm.proxy.sides import Side
from tile38cm.proxy.upstream import ROLE, Upstream
from tile38cm.wire.commands import Class
from tile38cm.wire.replies import is_failure, not_executed
from tile38cm.wire.resp import Output

#: How often a request may be sent again after it was lost with its server: one that
#: kills its server must not kill them all.
MAX_LOSSES = 4


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
        self._from_peer = from_peer
        self._link = Link(side, self, from_peer)
        self._queue: deque[Exchange] = deque()
        self._held = Held(side.budget, side.counters)
        self._output: Output = "resp"
        self._kept = 0
        self._heavy = 0
        #: The live command that was sent and not answered yet; nothing else is under way then.
        self._live: Exchange | None = None
        #: Another node has been turned away: nothing on this connection is executed any more.
        self._spent = False
        self._reading = True
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
        self._held.append(exchange)
        if exchange.command.class_ is Class.LIVE:
            self.closed_for_requests = True

    def answer(self, exchange: Exchange) -> None:
        """A request that is settled already; its reply keeps its place in the order."""
        self._add(exchange)
        self.closed_for_requests = self.closed_for_requests or exchange.last

    def proceed(self) -> None:
        """Do all that can be done now."""
        self._release()
        if self._held and not self.live:
            self._send()
            self._release()
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
        self._queue.clear()
        self._held.clear()

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
        expired = False
        for exchange in self._queue:
            if now - exchange.arrived < limit:
                break
            if exchange.state is not State.SETTLED:
                expired = True
                self._give_up(exchange, f"ERR no {self._side.wanted}: the command waited {limit:g} s for one")
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
        for exchange in self._queue:
            if exchange.state is State.SENT or exchange.batch is not None:
                self._judge(exchange)
        self._held.collect(self._queue)
        self.proceed()

    def link_replied(self, exchange: Exchange, reply: bytes) -> None:
        """Keep the reply for its turn."""
        if exchange.state is not State.SENT:
            return
        if reply.startswith(b"-" + self._side.elsewhere.encode()) and not self._link.sealed:
            exchange.doubtful |= reply.rstrip().endswith(PERHAPS)
            self._landed(exchange)
            exchange.hold_again()
            self._link.retire()
            return
        exchange.state = State.ANSWERED
        exchange.reply = reply
        self._kept += len(reply)
        if exchange is self._live:
            self._live_replied(exchange)

    def link_turned(self) -> None:
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
        upstream = link.upstream
        if upstream is None:
            link.ensure(self._output)
            upstream = link.upstream
        if upstream is None or upstream.congested or self._client_full or not self._held:
            return
        taken = self._take(upstream)
        if taken:
            self._transmit(upstream, taken)

    def _take(self, upstream: Upstream) -> list[Exchange]:
        """The requests that may go now, in order."""
        verdict = Verdict.of(self._side.gate) if self._link.sealed and self._side.gate is not None else None
        if verdict is not None and not (verdict.open and verdict.epoch == upstream.target.epoch):
            return []
        taken: list[Exchange] = []
        held = self._held
        while held and self._live is None:
            exchange = held.first
            command = exchange.command
            if verdict is not None and command.leader and not verdict.enough:
                break
            if command.heavy and self._heavy >= self._side.limits.max_heavy:
                break
            if command.class_ is Class.LIVE:
                # The server drops bytes behind a live command, and its reply may come
                # before a write sent in front of it is in the log: it goes alone.
                if self._queue[0] is not exchange:
                    break
                self._live = exchange
            self._heavy += command.heavy
            taken.append(held.take())
        return taken

    def _transmit(self, upstream: Upstream, taken: list[Exchange]) -> None:
        batch = None
        if self._link.sealed and self._live is None:
            batch = Batch(upstream.target.epoch, gate.least_log() if (gate := self._side.gate) else 0)
        for exchange in taken:
            exchange.state = State.SENT
            exchange.batch = batch
        self._side.sent(len(taken))
        data = b"".join([exchange.raw for exchange in taken])
        if batch is None:
            upstream.send(data, taken)
        else:
            upstream.send(data + ROLE, [*taken, batch])

    # -- a live command's first reply

    def _live_replied(self, exchange: Exchange) -> None:
        self._live = None
        if not exchange.flips():
            return
        upstream = self._link.give_away()
        self.end()
        self._port.become_stream(upstream, exchange.reply)

    # -- what is lost, given up, or turned away

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
        self._kept += len(exchange.raw) + len(exchange.reply)

    def _landed(self, exchange: Exchange) -> None:
        """It is under way no more, if it was."""
        if exchange.state is State.SENT or exchange.state is State.ANSWERED:
            self._heavy -= exchange.command.heavy
            self._side.landed(1)

    def _note_waiting(self) -> None:
        """Join those who are looked at when something changes, and pay for what is held."""
        if not self._queue or not self._is_waiting():
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
        limits, upstream = self._side.limits, self._link.upstream
        share = 1.0 if self._reading else 0.5
        read = not (
            self._client_full
            or self._live is not None
            or (upstream is not None and upstream.congested)
            or len(self._queue) > limits.max_pipeline * share
            or self._kept > limits.max_kept * share
        )
        if read != self._reading:
            self._reading = read
            self._port.regulate(read)
