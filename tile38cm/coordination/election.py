"""Who leads: one member's part, as a machine around pure rules.

Theory (PacificA, with Consul as the configuration manager).  C{status} in
Consul names the epoch, the leader and the sync set.  A leader may serve while
it holds an unexpired promise from every other member of the set; a member may
stand only when its own last promise has run out; and whoever wants to become
leader, or to change the set, must win a transaction on C{status} at the index
it read.  So two leaders would need the same member's promise at one time.

Three parts: L{tile38cm.coordination.roles} is the machine of what is allowed
when, L{tile38cm.coordination.member.Core} holds the data, and L{Election}
translates events (heartbeats, answers from Consul, the clock)
into inputs by asking the rules; it does no I/O.  What must be done in the
world goes out through C{Effects} and comes back as an event, late, twice or
never: every event carries what makes a stale one harmless.
"""

from __future__ import annotations

from attrs import evolve

from tile38cm.coordination.member import Core
from tile38cm.coordination.promises import BEATS_PER_LEASE, Answer, Heartbeat, Ledger, Promise
from tile38cm.coordination.roles import claim_for, role_machine
from tile38cm.coordination.status import Settlement, Status, resize
from tile38cm.coordination.survey import Defer, Report, Stand, Withdraw, advise, founder
from tile38cm.coordination.term import Candidacy, Term
from tile38cm.model import Leadership, Role

#: An empty node waits so much longer (seconds) before it founds a cluster.
FOUNDING_PATIENCE = 3.0
#: A leader that cannot lead is silent for so many leases, then tries again.
SILENT_LEASES = 3.0
#: It is one that cannot lead when requests have waited for so many leases.
BLOCKED_LEASES = 2.0


class Election:
    """One member's election: events in, L{Effects} out. All calls are cheap and do not fail.

    Call L{tick} often (every C{lease / 16}); it is only the prompt, each rule
    looks at the clock itself.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._machine = role_machine(core)

    # -- what others ask ------------------------------------------------------

    @property
    def leadership(self) -> Leadership:
        """Who leads, as last published."""
        return self._core.leadership

    @property
    def status(self) -> Status | None:
        """The newest status that this member knows of."""
        return self._core.term.status if self._core.term is not None else self._core.status

    @property
    def why_not(self) -> str:
        """Why this member does not stand, for people; empty when it may."""
        return self._core.why_not

    def gate_open(self) -> bool:
        """Whether this node may serve as the leader, judged now."""
        core, term = self._core, self._core.term
        if term is None or not term.opened or term.final is not None:
            return False
        return term.ledger.promised(term.required(), core.now())

    def gate_until(self) -> float:
        """When the first of the promises that keep the gate open ends, by what is known now."""
        term = self._core.term
        if term is None:
            return float("-inf")
        return min((term.ledger.promised_until(m) for m in term.required()), default=float("inf"))

    def epoch(self) -> int:
        """The epoch that this node leads, or 0."""
        return self._core.term.epoch if self._core.term is not None else 0

    def insync(self) -> int:
        """How many members, the leader included, hold every acknowledged write."""
        return 0 if self._core.term is None else 1 + len(self._core.term.required())

    def required(self) -> frozenset[str]:
        """Whose promise and acknowledgement the gate asks for now."""
        return frozenset() if self._core.term is None else self._core.term.required()

    def covered(self) -> int | None:
        """The offset that all required members have acknowledged; C{None}: nobody is required."""
        term = self._core.term
        return -1 if term is None else term.ledger.covered(term.required())

    def least_log(self) -> int:
        """How long this epoch's log is at least, by what followers have of it."""
        return 0 if self._core.term is None else self._core.term.ledger.furthest()

    def exposed(self, offset: int) -> None:
        """A reply that depends on the log up to C{offset} has been given to a client."""
        if self._core.term is not None:
            self._core.term.exposed = max(self._core.term.exposed, offset)

    def wanted(self, offset: int) -> None:
        """A request waits, for the gate or until C{offset} is acknowledged."""
        term, now = self._core.term, self._core.now()
        if term is not None:
            term.wanted_until = now + self._core.hold_timeout
            term.ledger.wanted(offset, term.required(), now)
            if not self.gate_open():
                self._reconsider(term, now)

    def report(self) -> Report:
        """Where this member stands, for another one that asks."""
        core, local, now = self._core, self._core.local(), self._core.now()
        position = core.candidacy.position if core.candidacy is not None else local.position
        return Report(
            member=core.me,
            position=position,
            seen_epoch=core.seen,
            bound=core.term is not None or not core.promise.expired(now),
            eligible=core.may_lead
            and not core.nofailover
            and local.ready
            and (position is not None or core.seen == 0),
            priority=core.priority,
            log_size=local.log_size,
        )

    # -- events ---------------------------------------------------------------

    def observed(self, status: Status | None, index: int) -> None:
        """C{status} as Consul shows it now (C{index} 0: no such key)."""
        core = self._core
        if self._stopped():
            return
        if core.term is not None:
            self._observed_in_office(core.term, status, index)
            return
        if core.candidacy is not None and core.candidacy.claimed:
            return  # the settlement decides; what is seen meanwhile proves nothing
        changed = index != core.index or not core.status_known
        core.status, core.index = status, index
        first, core.status_known = not core.status_known, True
        if status is not None and core.see(status.epoch, status.cluster) and status.leader != core.me:
            # A new epoch, once seen, counts as a promise: its leader's heartbeats are on their way.
            self._promise(status.epoch, status.lease)
        if core.candidacy is not None and changed:
            self._machine.withdraw("the status has changed")
        if first:
            self._machine.follow()
        if core.leadership.role in (Role.FOLLOWER, Role.UNKNOWN):
            core.publish(Role.FOLLOWER, "the status has changed")

    def _observed_in_office(self, term: Term, status: Status | None, index: int) -> None:
        core = self._core
        if status is not None and (
            status.epoch > term.epoch or (status.epoch == term.epoch and status.leader != core.me)
        ):
            core.status, core.index = status, index
            core.see(status.epoch, status.cluster)
            self._promise(status.epoch, status.lease)
            self._machine.resign(f"{status.leader} leads epoch {status.epoch}")
            return
        if term.change is not None or index == term.index:
            return
        if status is not None and status.nonce == term.status.nonce:
            term.index = index
        elif status is not None and status.version > term.status.version:
            term.status, term.index = status, index
        elif self.gate_open():
            # Consul has gone back in time; a leader that holds all promises writes its truth again.
            self._change(evolve(term.status, version=term.status.version + 1), index)

    def heartbeat(self, beat: Heartbeat) -> Answer | None:
        """A leader's heartbeat: the promise, or C{None} to stay silent."""
        core = self._core
        if core.candidacy is not None or beat.leader == core.me or beat.epoch < core.seen or self._stopped():
            return None
        if core.term is not None:
            if beat.epoch <= core.term.epoch:
                return None
            self.resign(f"{beat.leader} leads epoch {beat.epoch}")
        core.see(beat.epoch)
        self._promise(beat.epoch, beat.lease)
        return Answer(core.me, beat.epoch, beat.seq, core.local().acknowledged)

    def _promise(self, epoch: int, lease: float) -> None:
        core = self._core
        core.promise = core.promise.extended(core.now(), max(lease, core.lease))
        core.promised_epoch = max(core.promised_epoch, epoch)

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
            term.ledger.acknowledged_by(member, offset)
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

    def released(self, epoch: int) -> None:
        """The leader gives our promise back: stand at once."""
        core = self._core
        if epoch != core.promised_epoch or core.term is not None or core.candidacy is not None:
            return
        core.promise, core.released_epoch = Promise(), epoch
        self.tick()

    def surveyed(self, ticket: int, reports: tuple[Report, ...]) -> None:
        """What the others answered; whoever did not answer is not among them."""
        core, candidacy = self._core, self._core.candidacy
        if candidacy is None or candidacy.ticket != ticket or candidacy.claimed:
            return
        advice = self._advice(candidacy, reports)
        if isinstance(advice, Withdraw):
            core.why_not = advice.reason
            self._machine.withdraw(advice.reason)
        elif isinstance(advice, Defer):
            core.why_not = advice.reason
            pause = core.lease / BEATS_PER_LEASE
            core.candidacy = evolve(candidacy, rounds=candidacy.rounds + 1, next_round=core.now() + pause)
        elif isinstance(advice, Stand):
            self._machine.claim()

    def _advice(self, candidacy: Candidacy, reports: tuple[Report, ...]) -> Stand | Defer | Withdraw:
        core, me = self._core, self.report()
        if candidacy.status is not None:
            return advise(me, reports, candidacy.status.epoch, candidacy.rounds)
        patient = core.now() >= core.started + core.grace() + FOUNDING_PATIENCE
        return founder(me, reports, core.expect, patient)

    def claim_settled(self, ticket: int, won: bool, status: Status | None, index: int) -> None:
        """What became of a claim, once it is certain; C{status} is what Consul holds."""
        core, candidacy = self._core, self._core.candidacy
        if candidacy is None or candidacy.ticket != ticket or not candidacy.claimed:
            return
        if won and status is not None:
            _, record = claim_for(core, candidacy)
            before = core.status
            core.status, core.index = status, index
            core.see(status.epoch, status.cluster)
            ledger = Ledger(status.epoch, core.lease, core.now())
            if before is not None and core.released_epoch == before.epoch:
                ledger.depart(before.leader)
            term = Term(status, index, evolve(record, epoch=status.epoch), ledger)
            core.forced = False
            self._machine.won(term)
            self.tick()
        else:
            core.forced = False
            self._machine.lost()
            self.observed(status, index)

    def change_settled(self, settlement: Settlement, won: bool, status: Status | None, index: int) -> None:
        """What became of a change of the set, once it is certain."""
        term = self._core.term
        if term is None or term.change is not settlement:
            return
        term.change = None
        if won and status is not None:
            term.status, term.index = status, index
        self._observed_in_office(term, status, index)
        if self._core.term is not None:
            self._after_news(term)

    def prepared(self, epoch: int, start: int = 0) -> None:
        """This node is no follower any more and the epoch's start is written: its log had C{start} bytes."""
        term = self._core.term
        if term is not None and term.epoch == epoch:
            term.prepared = True
            # Any byte of the log so far may have been shown to a client by an earlier leader.
            term.exposed = max(term.exposed, start, self._core.local().log_size)
            self.tick()

    def opened(self, epoch: int) -> None:
        """Tile38 takes writes."""
        term = self._core.term
        if term is not None and term.epoch == epoch and term.opening and not term.opened:
            self._machine.opened()
            self.tick()

    def resign(self, reason: str) -> None:
        """The log of this epoch has ended (Tile38 died, shrank, …) or the node cannot lead."""
        core = self._core
        if core.term is not None:
            core.status, core.index = core.term.status, core.term.index
            self._machine.resign(reason)

    def lock(self, held: bool) -> None:
        """Whether the lock key shows this node's session."""
        self._core.lock_held = held

    def hand_over(self, final: int, heirs: frozenset[str] | None = None) -> bool:
        """Shut the gate for good and release a member that holds everything up to C{final}.

        This member does not stand again until L{come_back}.

        @param heirs: who may be released; C{None}: anybody in the set.
        @return: whether this node was leading.
        """
        term = self._core.term
        self._core.may_lead = False
        if term is None or not term.opened or term.final is not None:
            return False
        term.heirs = heirs
        self._machine.hand_over(final)
        self.tick()
        return True

    def force(self) -> bool:
        """Lead alone from now on: an operator has decided, and answers for what is lost.

        Outside of all that is promised: whoever still leads elsewhere is not asked.

        @return: whether the claim was sent.
        """
        core = self._core
        if core.term is not None or core.candidacy is not None or core.status is None:
            return False
        if core.leadership.role is not Role.FOLLOWER or not core.local().ready:
            return False
        core.forced = True
        self._machine.stand()
        self._machine.claim()
        return True

    def come_back(self) -> None:
        """Stand again when the time comes: the hand-over is over, and this node lives on."""
        self._core.may_lead = True

    def retire(self) -> None:
        """Never stand again; go on following."""
        core = self._core
        core.may_lead = False
        if core.candidacy is not None and not core.candidacy.claimed:
            self._machine.withdraw("it is stopping")

    def stop(self) -> None:
        """The end of this member: whatever arrives later changes nothing."""
        self._machine.stop()

    def _stopped(self) -> bool:
        return self._core.leadership.role is Role.STOPPED

    # -- time -----------------------------------------------------------------

    def tick(self) -> None:
        """Look at the clock and do what is due."""
        core, now = self._core, self._core.now()
        if core.term is not None:
            self._tick_in_office(core.term, now)
        elif core.candidacy is not None:
            if not core.candidacy.claimed and now >= core.candidacy.next_round:
                self._machine.ask()
        elif not self._stopped():
            core.why_not = core.unfit(now)
            if not core.why_not:
                self._stand()

    def _stand(self) -> None:
        core = self._core
        self._machine.stand()
        if (
            core.candidacy is not None
            and core.status is not None
            and core.released_epoch == core.status.epoch
        ):
            self._machine.claim()  # the leader has chosen this node, and leads no more

    def _tick_in_office(self, term: Term, now: float) -> None:
        core = self._core
        self._beat(term, now)
        if term.prepared and not term.opening and core.promise.expired(now):
            self._machine.begin_open()
        if term.final is not None and term.released is None:
            self._release(term)
        self._reconsider(term, now)
        self._notice_block(term, now)
        open_now = self.gate_open()
        if open_now != term.gate_was_open:
            term.gate_was_open = open_now
            core.effects.gate_changed()

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
        members = term.required() if term.heirs is None else term.required() & term.heirs
        fit = [m for m in sorted(members) if term.ledger.acked(m) >= term.final]
        if fit and term.change is None:
            term.released = fit[0]
            self._core.effects.release(fit[0], term.epoch)

    def _reconsider(self, term: Term, now: float) -> None:
        """Change the sync set where a rule asks for it; one change at a time."""
        core = self._core
        if term.change is not None or term.final is not None:
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
        Consul only when it covers every reply released so far.
        """
        term, now = self._core.term, self._core.now()
        if term is None or term.change is not None or term.final is not None or not term.opened:
            return
        if member in term.status.sync_set or not term.ledger.promised(frozenset({member}), now):
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
        blocked = term.opened and now < term.wanted_until and not self.gate_open()
        if not blocked:
            term.blocked_since = None
        elif term.blocked_since is None:
            term.blocked_since = now
        elif now - term.blocked_since >= BLOCKED_LEASES * self._core.lease and now >= term.silent_until:
            term.silent_until = now + SILENT_LEASES * self._core.lease
            term.blocked_since = None

    def _after_news(self, term: Term) -> None:
        if term.final is not None and term.released is None:
            self._release(term)
        term.gate_was_open = self.gate_open()
        self._core.effects.gate_changed()
