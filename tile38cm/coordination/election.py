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
from tile38cm.coordination.office import Office
from tile38cm.coordination.promises import BEATS_PER_LEASE, Answer, Heartbeat, Ledger, Promise
from tile38cm.coordination.roles import SURVEY_PATIENCE, claim_for, role_machine
from tile38cm.coordination.status import Settlement, Status
from tile38cm.coordination.survey import Advice, Defer, Report, Rest, Stand, Withdraw, advise, founder
from tile38cm.coordination.term import Candidacy, Term
from tile38cm.model import Leadership, Role

#: So much longer (seconds) a node waits before it founds a cluster, if it is empty or was told of no others.
FOUNDING_PATIENCE = 3.0
#: Seconds between two questions to a Consul that does not answer.
ASK_AGAIN = 0.5
#: Why a member does not stand although it may.
NO_CONSUL = "Consul does not answer, and nobody can win a term without it"


class Election(Office):
    """One member's election: events in, L{Effects} out. All calls are cheap and do not fail.

    Call L{tick} often (every C{lease / 16}); it is only the prompt, each rule
    looks at the clock itself.
    """

    def __init__(self, core: Core) -> None:
        super().__init__(core)
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
    def standing(self) -> bool:
        """Whether this member tries to lead just now."""
        return self._core.candidacy is not None

    @property
    def why_not(self) -> str:
        """Why this member does not stand, for people; empty when it may."""
        return self._core.why_not

    @property
    def resting(self) -> bool:
        """Whether an operator may have to act before this member can stand."""
        return self._core.now() < self._core.rest_until

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
        core.know(status, index)
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
            core.know(status, index)
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
        else:
            term.forgotten_at = index
            self._reconsider(term, core.now())

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
        elif isinstance(advice, Rest):
            # A candidate answers no heartbeat; this one's only way back may be a leader that it follows.
            core.why_not = core.resting = advice.reason
            core.rest_until = core.now() + core.lease
            self._machine.withdraw(advice.reason)
        elif isinstance(advice, Defer):
            core.why_not = advice.reason
            pause = core.lease / BEATS_PER_LEASE
            core.candidacy = evolve(candidacy, rounds=candidacy.rounds + 1, next_round=core.now() + pause)
        elif isinstance(advice, Stand):
            if core.forced or core.consul_answered_within(2 * core.lease + SURVEY_PATIENCE):
                self._machine.claim()
            else:
                core.why_not = NO_CONSUL
                self._machine.withdraw(NO_CONSUL)

    def _advice(self, candidacy: Candidacy, reports: tuple[Report, ...]) -> Advice:
        core, me = self._core, self.report()
        if candidacy.status is not None:
            hear = candidacy.status.sync_set - {core.me} if core.local().shaken else frozenset()
            return advise(me, reports, candidacy.status.epoch, candidacy.rounds, hear)
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
            core.know(status, index)
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
            core.know(core.term.status, core.term.index)
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

    def abandon(self, reason: str, heirs: frozenset[str]) -> None:
        """The log cannot grow any more: let whoever has most of it lead at once.

        What clients were told every member of the set has, so any may be released;
        the rest of the log was never shown to anybody.  Where nobody is fit, or nobody
        takes over within a lease, the term is given up.

        @param heirs: who may be released.
        """
        term = self._core.term
        if term is None or term.final is not None:
            return
        acked = {m: term.ledger.acked(m) for m in term.required() & heirs}
        most = max(acked.values(), default=-1)
        if not term.opened or not acked or most < term.exposed:
            self.resign(reason)
            return
        term.heirs = frozenset(m for m, offset in acked.items() if offset == most)
        term.ends, term.why = self._core.now() + self._core.lease, reason
        self._machine.hand_over(most)
        self.tick()

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
        self._claim_now()
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
            if core.candidacy.claimed:
                return
            self._ask_consul(now)
            if now >= core.candidacy.next_round:
                self._machine.ask()
        elif not self._stopped():
            core.why_not = core.unfit(now)
            # Asked a little before the promise ends, so that a failover does not wait for the answer.
            if not core.unfit(now + core.lease / 2):
                self._ask_consul(now)
            if not core.why_not and not core.consul_answered_within(core.lease):
                core.why_not = NO_CONSUL
            if not core.why_not:
                self._stand()

    def consul_answered(self) -> None:
        """Consul's leader has answered a question of this member."""
        self._core.consul_heard = self._core.now()
        self.tick()

    def _ask_consul(self, now: float) -> None:
        core = self._core
        waits = core.consul_heard < core.consul_asked and now - core.consul_asked < ASK_AGAIN
        if not waits and now - core.consul_heard >= core.lease / 2:
            core.consul_asked = now
            core.effects.ask_consul()

    def _stand(self) -> None:
        core = self._core
        self._machine.stand()
        released = core.status is not None and core.released_epoch == core.status.epoch
        # The leader has chosen this node, and leads no more.  But it chose by what this node
        # told it before it was started again, which may be more than is left of it.
        if released and not core.local().shaken:
            self._claim_now()

    def _claim_now(self) -> None:
        """Claim, whatever others would answer; where nobody could be asked that has been done already."""
        candidacy = self._core.candidacy
        if candidacy is not None and not candidacy.claimed:
            self._machine.claim()

    def _tick_in_office(self, term: Term, now: float) -> None:
        core = self._core
        self._beat(term, now)
        if term.prepared and not term.opening and core.promise.expired(now):
            self._machine.begin_open()
        if term.final is not None and term.released is None:
            self._release(term)
        if now >= term.ends:
            self.resign(term.why)
            return
        self._reconsider(term, now)
        self._notice_block(term, now)
        open_now = self.gate_open()
        if open_now != term.gate_was_open:
            term.gate_was_open = open_now
            core.effects.gate_changed()
