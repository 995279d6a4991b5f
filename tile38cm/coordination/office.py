"""What a leader does in office: the gate, heartbeats, the sync set."""

from __future__ import annotations

from attrs import evolve

from tile38cm.coordination.member import Core
from tile38cm.coordination.promises import BEATS_PER_LEASE, Answer, Heartbeat
from tile38cm.coordination.status import Settlement, Status, resize
from tile38cm.coordination.term import Term, Word

#: A leader that cannot lead is silent for so many leases, then tries again.
SILENT_LEASES = 3.0
#: It is one that cannot lead when requests have waited for so many leases.
BLOCKED_LEASES = 2.0


class Office:
    """The leading half of a member; without a term every call is harmless.

    How terms come and go is the election's part.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    # -- what others ask ------------------------------------------------------

    def word(self) -> Word:
        """All that a reply of this node depends on, judged now; asked for with each batch of requests."""
        term = self._core.term
        if term is None:
            return False, 0, 0, -1, 0
        members, ledger = term.required(), term.ledger
        may, covered, least = term.opened and term.final is None, None, 0
        if members:
            may = may and ledger.promised(members, self._core.now())
            covered = ledger.covered(members)
        if ledger.acknowledging:
            least = ledger.furthest()
        return may, term.status.epoch, 1 + len(members), covered, least

    def gate_open(self) -> bool:
        """Whether this node may serve as the leader, judged now."""
        return self.word()[0]

    def gate_until(self) -> float:
        """When the first of the promises that keep the gate open ends, by what is known now."""
        term = self._core.term
        if term is None:
            return float("-inf")
        return min((term.ledger.promised_until(m) for m in term.required()), default=float("inf"))

    def epoch(self) -> int:
        """The epoch that this node leads, or 0."""
        term = self._core.term
        return 0 if term is None else term.epoch

    def insync(self) -> int:
        """How many members, the leader included, hold every acknowledged write."""
        return self.word()[2]

    def required(self) -> frozenset[str]:
        """Whose promise and acknowledgement the gate asks for now."""
        return frozenset() if self._core.term is None else self._core.term.required()

    def covered(self) -> int | None:
        """The offset that all required members have acknowledged; C{None}: nobody is required."""
        return self.word()[3]

    def exposed(self, offset: int) -> None:
        """A reply that depends on the log up to C{offset} has been given to a client."""
        term = self._core.term
        if term is not None and offset > term.exposed:
            term.exposed = offset

    def wanted(self, offset: int) -> None:
        """A request waits, for the gate or until C{offset} is acknowledged."""
        term, now = self._core.term, self._core.now()
        if term is not None:
            term.wanted_until = now + self._core.hold_timeout
            term.ledger.wanted(offset, term.required(), now)
            if not self.gate_open():
                self._reconsider(term, now)

    # -- news of followers ----------------------------------------------------

    def answered(self, answer: Answer) -> None:
        """A follower's answer to one of our heartbeats."""
        term = self._core.term
        if term is not None:
            term.ledger.answered(answer)
            self._after_news(term)

    def acknowledged(self, member: str, epoch: int, offset: int) -> None:
        """A follower holds our log up to C{offset}."""
        term = self._core.term
        if term is not None and term.epoch == epoch:
            ledger, members = term.ledger, term.required()
            before = ledger.covered(members)
            ledger.acknowledged_by(member, offset)
            # With each batch of writes every follower says so, and only the last of them changes anything.
            if ledger.covered(members) != before or term.final is not None:
                self._after_news(term)

    def disconnected(self, member: str) -> None:
        """A follower's replication connection is gone."""
        if self._core.term is not None:
            self._core.term.ledger.forget(member)

    def departed(self, member: str) -> None:
        """A follower says that it stops: it leaves the set as soon as a request waits for it."""
        term, now = self._core.term, self._core.now()
        if term is not None:
            term.ledger.depart(member)
            self._reconsider(term, now)

    # -- duties ---------------------------------------------------------------

    def _beat(self, term: Term, now: float) -> None:
        core = self._core
        if now < term.next_beat or now < term.silent_until or term.released is not None:
            return  # after a release that was lost, the promises must be able to run out
        term.next_beat = now + core.lease / BEATS_PER_LEASE
        seq = term.ledger.beat(now)
        core.effects.beat(Heartbeat(term.epoch, core.me, seq, core.lease, core.local().log_size))

    def beat_now(self) -> None:
        """A member has connected: do not let it wait for the next heartbeat."""
        if self._core.term is not None:
            self._core.term.next_beat = float("-inf")
            self._beat(self._core.term, self._core.now())

    def _release(self, term: Term) -> None:
        """Choose the successor: a member of the set that holds everything."""
        assert term.final is not None
        fit = [m for m in sorted(term.inheriting()) if term.ledger.acked(m) >= term.final]
        if fit and term.change is None:
            term.released = fit[0]
            self._core.effects.release(fit[0], term.epoch)

    def _reconsider(self, term: Term, now: float) -> None:
        """Change the sync set where a rule asks for it; one change at a time."""
        core = self._core
        if term.change is not None or term.final is not None:
            return
        if term.forgotten_at is not None and self.gate_open():
            # Consul has gone back in time; a leader that holds all promises writes its truth again.
            self._change(evolve(term.status, version=term.status.version + 1), term.forgotten_at)
            term.forgotten_at = None
            return
        others = term.required()
        if now < term.wanted_until:
            fallen = term.ledger.fallen(others, now, core.insync_timeout)
            if fallen:
                self._change(resize(term.status, drop=fallen), term.index)
                return
        if term.opened and not core.lock_held:
            self._change(resize(term.status), term.index)

    def admit(self, member: str) -> None:
        """A member has all of our log as far as clients have been told: let it into the set.

        From this moment its acknowledgement is asked for; it is sent to
        Consul only when it covers every reply released so far.  While the lead is
        handed over only an heir is let in, if all have left just before: a release
        has to wait until the change is settled.
        """
        term, now = self._core.term, self._core.now()
        if term is None or term.change is not None or term.released is not None or not term.opened:
            return
        if member in term.status.sync_set or not term.ledger.stays(member, now):
            return
        if term.final is not None and not term.lacks_heir(member):
            return
        if term.ledger.acked(member) >= term.exposed:
            self._change(resize(term.status, add=frozenset({member})), term.index)

    def expel(self, member: str) -> bool:
        """A member is about to start over: take it out of the set first.

        @return: whether it is out, for certain. If not, ask again later.
        """
        term = self._core.term
        if term is None:
            return False
        if member not in term.required() and term.change is None:
            term.ledger.forget(member)  # what it had does not count for what it copies from now on
            return True
        if term.change is None and term.final is None:
            self._change(resize(term.status, drop=frozenset({member})), term.index)
        return False

    def _change(self, wanted: Status, index: int) -> None:
        assert self._core.term is not None
        settlement = Settlement(wanted, index)
        self._core.term.change = settlement
        self._core.effects.change(settlement)

    def _notice_block(self, term: Term, now: float) -> None:
        """A leader that cannot lead falls silent for a while, so that others may stand."""
        leading = term.opened and term.final is None  # an heir has to answer heartbeats
        blocked = leading and now < term.wanted_until and not self.gate_open()
        if not blocked or now < term.silent_until:
            term.blocked_since = None  # whoever is silent gets no promise, and has to try anew first
        elif term.blocked_since is None:
            term.blocked_since = now
        elif now - term.blocked_since >= BLOCKED_LEASES * self._core.lease:
            term.silent_until = now + SILENT_LEASES * self._core.lease
            term.blocked_since = None

    def _after_news(self, term: Term) -> None:
        if term.final is not None and term.released is None:
            self._release(term)
        term.gate_was_open = self.gate_open()
        self._core.effects.gate_changed()
