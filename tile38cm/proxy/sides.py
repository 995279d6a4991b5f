"""
What W and R have in common, and where they differ.

A side knows where requests may go now, which it refuses, and which clients
wait for that to change.  W sends to the leader, and while that is this node
every reply passes the gate; R sends to any node that is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tile38cm.proxy.coverage import Coverage
from tile38cm.proxy.exchange import Verdict
from tile38cm.proxy.lanes import Lanes, Origin
from tile38cm.proxy.limits import Counters, HoldBudget, Limits
from tile38cm.proxy.partners import Gate, Routes, Target
from tile38cm.settings import Secret
from tile38cm.wire.bundles import BundleScanner
from tile38cm.wire.commands import Command

#: How often clients that wait are looked at for requests that waited too long, in seconds.
SWEEP = 0.1
#: How many reasons why a server cannot be used are told apart in the log.
MAX_COMPLAINTS = 16
#: Seconds until one is repeated: a node that leads no more lets others in and turns away what they ask.
SAME_COMPLAINT = 10.0


class Waiter(Protocol):
    """A client's conversation, as far as its side is concerned."""

    def look_again(self) -> None:
        """The routes changed: release, send or answer what can be."""

    def gate_moved(self) -> None:
        """The gate changed: release or send what can be."""

    def expire(self, now: float) -> None:
        """Answer what has waited too long."""

    def close_live(self) -> None:
        """End a live connection."""


@define(eq=False)
class Side:
    """One of W and R; L{Writer} and L{Reader} are the two there are."""

    routes: Routes
    clock: IReactorTime
    limits: Limits
    budget: HoldBudget
    counters: Counters = field(factory=Counters)
    password: Secret | None = None
    #: Who takes what only a leader may run, if that is not this side.
    forward: Side | None = None
    #: No request is sent to the local server.
    draining: bool = field(default=False, init=False)
    #: Requests sent whose replies have not been released.
    in_flight: int = field(default=0, init=False)
    #: In the order in which they came; who waits, in that in which they began to.
    _conversations: dict[Waiter, None] = field(factory=dict, init=False)
    _waiting: dict[Waiter, None] = field(factory=dict, init=False)
    _sweep: IDelayedCall | None = field(default=None, init=False)
    #: What was complained of since a server could be used last, and when.
    _complaints: dict[str, float] = field(factory=dict, init=False)
    _seats: int = field(default=0, init=False)
    #: What waits for acknowledgements, where there is a gate.
    coverage: Coverage | None = field(init=False)
    #: What connections to servers are made with, and those that clients share.
    origin: Origin = field(init=False)
    lanes: Lanes = field(init=False)
    scanner: BundleScanner = field(factory=BundleScanner, init=False)
    _log = Logger()

    #: What such a side answers, without the code, to another node that asks in vain.
    elsewhere = "NOTHERE"
    #: What its clients wait for.
    wanted = "server"
    #: Whether it takes what only a leader may run.
    writes = True
    #: The gate that replies of the local server pass, if any.
    gate: Gate | None = None

    def __attrs_post_init__(self) -> None:
        self.coverage = None if self.gate is None else Coverage(self.gate, self.clock)
        self.origin = Origin(
            self.clock,
            self.limits.connect_timeout,
            self.password,
            self.coverage,
            self.complain,
            self.content,
            leading=self.gate is not None,
        )
        self.lanes = Lanes(self.origin)

    def start(self) -> None:
        """Listen for changes of the routes."""
        self.routes.subscribe(self.look_again)

    def stop(self) -> None:
        """Listen no more; who still waits is not looked at again."""
        self.routes.unsubscribe(self.look_again)
        self.lanes.keep(())
        if self.coverage is not None:
            self.coverage.stop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def pick(self, current: Target | None, failed: Sequence[Target], from_peer: bool) -> Target | None:
        """
        The server to use now.

        @param current: the one in use, kept if that is right.
        @param failed: not these.
        @param from_peer: the client is another node, whose requests are never sent on.
        """
        raise NotImplementedError

    def candidates(self) -> Sequence[Target]:
        """All servers that L{pick} may answer with now."""
        raise NotImplementedError

    def next_seat(self) -> int:
        """A number for a new client."""
        self._seats += 1
        return self._seats

    def refusal(self, command: Command) -> str | None:
        """Why this side does not take the command, worded as an error."""
        if command.refusal is not None:
            return f"ERR '{command.name}' is refused by tile38cm: {command.refusal}"
        return None

    def own_subscribers(self) -> int:
        """How many of the local server's subscribers hear everything, and are this node itself."""
        return 0

    # -- who is there, and who waits

    def join(self, conversation: Waiter) -> None:
        """A client came."""
        self._conversations[conversation] = None

    def leave(self, conversation: Waiter) -> None:
        """A client went."""
        self._conversations.pop(conversation, None)
        self._waiting.pop(conversation, None)

    def wait(self, conversation: Waiter) -> None:
        """This client waits for the gate, the routes, or an acknowledgement."""
        if conversation in self._waiting:
            return
        self._waiting[conversation] = None
        if self._sweep is None:
            self._sweep = self.clock.callLater(SWEEP, self._swept)

    def wait_no_more(self, conversation: Waiter) -> None:
        """This client has nothing to wait for."""
        self._waiting.pop(conversation, None)

    @property
    def waiting(self) -> int:
        """How many clients wait."""
        return len(self._waiting)

    def look_again(self) -> None:
        """Have every client look where its requests belong now."""
        self.lanes.keep(self.candidates())
        for conversation in list(self._conversations):
            conversation.look_again()

    def close_live(self) -> None:
        """End all live connections: their server is about to lose or replace its data."""
        for conversation in list(self._conversations):
            conversation.close_live()

    def sent(self, count: int) -> None:
        """So many requests went out."""
        self.in_flight += count
        self.counters.proxied += count

    def landed(self, count: int) -> None:
        """So many requests that went out are done with."""
        self.in_flight -= count

    def complain(self, reason: str) -> None:
        """Log why a server cannot be used: each reason once, until one can be; two servers may take turns."""
        if reason not in self._complaints and len(self._complaints) < MAX_COMPLAINTS:
            self._complaints[reason] = self.clock.seconds()
            self._log.warn("a server cannot be used: {reason}", reason=reason)

    def content(self) -> None:
        """A server can be used: the same complaint is worth a line again, but not many times a second."""
        old = self.clock.seconds() - SAME_COMPLAINT
        self._complaints = {reason: at for reason, at in self._complaints.items() if at > old}

    def _swept(self) -> None:
        self._sweep = None
        now = self.clock.seconds()
        for conversation in list(self._waiting):
            conversation.expire(now)
        if self._waiting and self._sweep is None:
            self._sweep = self.clock.callLater(SWEEP, self._swept)


@define(eq=False, kw_only=True)
class Writer(Side):
    """W: to the leader, wherever it is."""

    elsewhere = "NOTLEADER"
    wanted = "leader"

    gate: Gate
    #: Whether this node's own subscriber is there now.
    listening: Callable[[], bool] = field(default=lambda: False)
    _seen: tuple[bool, int, bool] = field(default=(False, -1, False), init=False)
    _drained: list[Deferred[None]] = field(factory=list, init=False)

    def start(self) -> None:
        """Listen for changes of routes and gate."""
        super().start()
        self.gate.subscribe(self._gate_moved)

    def stop(self) -> None:
        """Listen no more."""
        self.gate.unsubscribe(self._gate_moved)
        super().stop()

    def pick(self, current: Target | None, failed: Sequence[Target], from_peer: bool) -> Target | None:
        """The leader; for another node's requests only if it is this one and stays it."""
        target = self.routes.writer()
        if target is None or target in failed:
            return None
        return target if target.local or not from_peer else None

    def candidates(self) -> Sequence[Target]:
        """The leader."""
        target = self.routes.writer()
        return () if target is None else (target,)

    def own_subscribers(self) -> int:
        """As for each side: on a leader there is one, for the subscribers of its followers."""
        return int(self.listening())

    def wait(self, conversation: Waiter) -> None:
        """As for each side; the gate hears of it, so that the set may shrink."""
        if conversation not in self._waiting:
            self.gate.waiting()
        super().wait(conversation)

    def landed(self, count: int) -> None:
        """As for each side; the last one ends a drain."""
        super().landed(count)
        if self.draining and not self.in_flight:
            waiting, self._drained = self._drained, []
            for drained in waiting:
                drained.callback(None)

    async def drain(self, timeout: float) -> bool:
        """
        Send nothing more to the local server, and wait until all that was sent
        is answered and released.

        @return: whether that came to pass within C{timeout} seconds; either
            way nothing is sent until L{resume}.
        """
        self.draining = True
        self.look_again()
        if not self.in_flight:
            return True
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        try:
            await drained.addTimeout(timeout, self.clock)
        except TimeoutError:
            self._drained.remove(drained)
            return False
        return True

    def resume(self) -> None:
        """Send again; the opposite of L{drain}."""
        self.draining = False
        self.look_again()

    def _gate_moved(self) -> None:
        """All look when the gate opened, shut or changed its epoch; else only who waits."""
        verdict, coverage = Verdict(self.gate), self.coverage
        assert coverage is not None
        word = verdict.word
        now = (word.open, word.epoch, word.enough)
        if now != self._seen:
            self._seen = now
            coverage.let_go()
            concerned = self._conversations
        else:
            coverage.moved(verdict)
            concerned = self._waiting
        for conversation in list(concerned):
            conversation.gate_moved()


@define(eq=False)
class Reader(Side):
    """R: to any node that is ready, and for each client the same one while it is."""

    writes = False
    elsewhere = "NOTREADY"
    wanted = "server that is ready"

    def pick(self, current: Target | None, failed: Sequence[Target], from_peer: bool) -> Target | None:
        """The one in use while it is a candidate, else the first candidate that did not fail."""
        candidates = self.routes.readers()
        if current is not None and current in candidates:
            return current
        for target in candidates:
            if target not in failed and (target.local or not from_peer):
                return target
        return None

    def candidates(self) -> Sequence[Target]:
        """Whoever is ready."""
        return self.routes.readers()

    def refusal(self, command: Command) -> str | None:
        """Besides what no side takes, what only the leader may run."""
        if command.leader and command.refusal is None:
            return f"ERR write commands go to the writer port: '{command.name}' was refused"
        return super().refusal(command)
