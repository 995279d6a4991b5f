"""Promises: what followers give and what the leader counts.  Pure.

A promise is a follower's word, "I shall not lead for the next lease".  The
leader counts it from the moment it I{sent} the heartbeat that the answer
names; the follower from the moment it I{answered}, and a quarter longer.  So
the leader's count ends first on clocks whose rates differ by less than a
quarter, and no two clocks are ever compared.
"""

from __future__ import annotations

from attrs import define, field, frozen

from tile38cm.model import Position

#: How much longer the giver keeps a promise than the taker counts it.
SAFETY = 1.25
#: Heartbeats in one lease; three may be lost in a row without harm.
BEATS_PER_LEASE = 8


@frozen
class Heartbeat:
    """Leader to follower. C{seq} names it in the answer; C{offset} is the leader's log size."""

    epoch: int
    leader: str
    seq: int
    lease: float
    offset: int


@frozen
class Answer:
    """Follower to leader: a promise, and how far the follower has acknowledged.

    C{position} is C{None} while it is unknown or the node is starting over.
    """

    member: str
    epoch: int
    seq: int
    position: Position | None


@frozen
class Promise:
    """What this node has promised; C{until} by its own monotonic clock."""

    until: float = float("-inf")

    def extended(self, now: float, lease: float) -> Promise:
        """This promise, or one given now, whichever runs longer."""
        return Promise(max(self.until, now + lease * SAFETY))

    def expired(self, now: float) -> bool:
        """Whether this node is free to lead."""
        return now >= self.until


@define
class _Lag:
    """Since when a member lacks an offset that a request waits for."""

    offset: int
    since: float


@define
class Ledger:
    """The leader's book on its followers, for one epoch."""

    epoch: int
    lease: float
    #: When the term was won: members have a lease from then to be heard of.
    began: float
    _sent: dict[int, float] = field(factory=dict)
    _next: int = 1
    _until: dict[str, float] = field(factory=dict)
    #: What each member has acknowledged; those that have acknowledged nothing are not in it.
    acknowledging: dict[str, int] = field(factory=dict, init=False)
    _lag: dict[str, _Lag] = field(factory=dict)
    _departed: set[str] = field(factory=set)
    #: The first heartbeat whose answer may tell what a member has.
    _since: dict[str, int] = field(factory=dict)

    def beat(self, now: float) -> int:
        """Note that a heartbeat is being sent; returns its number."""
        seq, self._next = self._next, self._next + 1
        self._sent[seq] = now
        # An answer that comes later than a lease is worth nothing.
        for old in [s for s, at in self._sent.items() if at + self.lease <= now]:
            del self._sent[old]
        return seq

    def answered(self, answer: Answer) -> None:
        """Count a promise; an answer of another epoch or to an unknown heartbeat counts nothing."""
        sent = self._sent.get(answer.seq)
        if answer.epoch != self.epoch or sent is None:
            return
        self._until[answer.member] = max(self._until.get(answer.member, sent), sent + self.lease)
        self._departed.discard(answer.member)
        if answer.seq < self._since.get(answer.member, 0):
            return
        if answer.position is not None and answer.position.epoch == self.epoch:
            self.acknowledged_by(answer.member, answer.position.offset)

    def acknowledged_by(self, member: str, offset: int) -> None:
        """A member holds all bytes of this epoch's log up to C{offset}."""
        self.acknowledging[member] = offset
        lag = self._lag.get(member)
        if lag is not None and offset >= lag.offset:
            del self._lag[member]

    def forget(self, member: str) -> None:
        """A member's connection is gone: what it acknowledged is no longer known to be there.

        Answers to heartbeats that were sent before may still be under way,
        from before the member lost its data, so they vouch for nothing.  Its
        promise stays: it was given, and binds the giver.
        """
        self.acknowledging.pop(member, None)
        self._since[member] = self._next

    def wanted(self, offset: int, members: frozenset[str], now: float) -> None:
        """A request waits until C{members} have acknowledged C{offset}."""
        for member in members:
            if member not in self._lag and self.acked(member) < offset:
                self._lag[member] = _Lag(offset, now)

    def acked(self, member: str) -> int:
        """The last offset that a member acknowledged; -1: none."""
        return self.acknowledging.get(member, -1)

    def promised_until(self, member: str) -> float:
        """When the promise of a member ends by our count."""
        return self._until.get(member, float("-inf"))

    def promised(self, members: frozenset[str], now: float) -> bool:
        """Whether each of C{members} has an unexpired promise with us."""
        # Asked for with each batch of requests: a loop costs a third of what C{all} does.
        until = self._until
        for member in members:
            if until.get(member, now) <= now:
                return False
        return True

    def stays(self, member: str, now: float) -> bool:
        """Whether a member has promised, and has not said that it goes."""
        return self.promised_until(member) > now and member not in self._departed

    def furthest(self) -> int:
        """The largest offset that anybody acknowledged in this epoch; the log is as long, at least."""
        return max(self.acknowledging.values()) if self.acknowledging else 0

    def covered(self, members: frozenset[str]) -> int | None:
        """The offset that every one of C{members} has acknowledged; C{None}: no members, no limit."""
        return min([self.acknowledging.get(m, -1) for m in members]) if members else None

    def fallen(self, members: frozenset[str], now: float, patience: float) -> frozenset[str]:
        """Members without an unexpired promise, or that lag longer than C{patience} seconds."""
        late = {m for m, lag in self._lag.items() if now - lag.since > patience}
        silent = {m for m in members if max(self.promised_until(m), self.began + self.lease) <= now}
        return frozenset(members & (late | silent | self._departed))

    def depart(self, member: str) -> None:
        """A member has said that it goes: nobody need wait for its promise to end."""
        self._departed.add(member)
