"""What the election asks of the world, done: one node's hands.

L{Duties} provides C{Effects} to the election.  It starts coroutines and feeds
their outcome back as events; it decides nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from tile38cm.coordination.consul import ConsulError
from tile38cm.coordination.election import Election
from tile38cm.coordination.promises import Heartbeat
from tile38cm.coordination.status import EpochRecord, Settlement
from tile38cm.coordination.store import ClusterStore, with_start
from tile38cm.coordination.survey import Report
from tile38cm.disk import InThread
from tile38cm.health import LocalHealth
from tile38cm.model import Leadership, Position, Role
from tile38cm.peers.dial import PeerDialer
from tile38cm.peers.heartbeats import Members
from tile38cm.replication.replica import Replica
from tile38cm.replication.source import Reign, Source
from tile38cm.replication.virtual_leader import AttachError
from tile38cm.state import Remembered, StateDirectory
from tile38cm.tasks import Tasks, pause, within
from tile38cm.tile38 import Tile38, Tile38Error

#: Seconds for the local Tile38 to apply what it has been sent and to stop following.
PROMOTION_TIMEOUT = 30.0
#: Seconds for a member to say where it stands, when a cluster is founded.
FOUNDING_SURVEY = 1.0
#: The leader that fell away is given so many times less.
FALLEN_SHARE = 4
#: Bytes at the end of a log by which it is known again.
FINGERPRINT = 64 * 1024
#: Seconds between tries of what must succeed sooner or later.
RETRY = 0.1
#: What the last byte of every log hashes to: Tile38 ends each command with a line feed.
_LINE_FEED = hashlib.md5(b"\n", usedforsecurity=False).hexdigest()


@frozen
class Hands:
    """The parts of a node that its duties move."""

    clock: IReactorTime
    local: Tile38
    health: LocalHealth
    state: StateDirectory
    store: ClusterStore
    replica: Replica
    dialer: PeerDialer
    #: All other known nodes, or the named ones, with the way to their W.
    others: Callable[[frozenset[str] | None], dict[str, IStreamClientEndpoint]]
    #: Told of every change of leadership, in this turn; the gate first.
    told: Callable[[Leadership], None]
    gate_changed: Callable[[], None]
    #: Told when others know of a later epoch than Consul has told us.
    outdated: Callable[[], None]
    lease: float


class Duties:
    """Provides C{Effects}. C{bind} must be called before the election is fed."""

    _log = Logger()

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._tasks = Tasks()
        self._same_log: frozenset[int] = frozenset()
        self._role = Role.UNKNOWN
        self._log_replaced = False
        #: The newest epoch that this node was in office in.
        self._term = 0
        #: What the log looks like that was rewritten in that epoch, as long as it may be of use.
        self._rewritten: tuple[int, str] | None = None

    def bind(self, election: Election, members: Members, source: Source) -> None:
        """The parts that know the election themselves."""
        self._election = election
        self._members = members
        self._source = source

    def follows(self) -> None:
        """The local log takes in another leader's commands from now on."""
        self._same_log = frozenset()
        self._rewritten = None
        self._hands.state.change(led=0, rewritten=0)

    def log_lost(self, why: str, replaced: bool) -> None:
        """The local log gives nothing more, or is another one by now: the term ends."""
        self._log_replaced = self._log_replaced or replaced
        self._election.resign(why)

    def log_shorter(self) -> None:
        """The local Tile38 says that its log is shorter than it was.

        Only of a leader's own log that means something, from its start on: a follower's
        word falls to 0 at each cut, and what it said last may be from before a shrink.
        """
        if self._election.epoch() in self._same_log:
            self.log_lost("its log became shorter", replaced=True)

    def owns_log(self) -> bool:
        """Whether the local log is that of this node's own reign, not a leader's copy."""
        return bool(self._same_log)

    async def stop(self) -> None:
        """End all work."""
        await self._tasks.cancel()

    def _start(self, work: Coroutine[Deferred[Any], Any, object], name: str) -> None:
        self._tasks.start(work, name)

    # -- Effects --------------------------------------------------------------

    def publish(self, leadership: Leadership) -> None:
        before, self._role = self._role, leadership.role
        if leadership.role in (Role.TAKING_OVER, Role.LEADER):
            self._term, self._rewritten = leadership.epoch, None
        self._hands.told(leadership)
        self._log.info(
            "{role} in epoch {epoch}, leader {leader}: {reason}",
            role=leadership.role.value,
            epoch=leadership.epoch,
            leader=leadership.leader or "unknown",
            reason=leadership.reason,
        )
        in_office = (Role.TAKING_OVER, Role.LEADER)
        if before in in_office and leadership.role not in in_office:
            self._source.retire()
            self._members.drop_all()
            if leadership.role is Role.FOLLOWER:
                self._start(self._step_down(), "stepping down")

    def ask_consul(self) -> None:
        self._start(self._ask_consul(), "asking Consul whether it answers")

    def survey(self, ticket: int, members: frozenset[str] | None) -> None:
        self._start(self._survey(ticket, members), "asking the others where they stand")

    def claim(self, ticket: int, settlement: Settlement, record: EpochRecord) -> None:
        self._start(self._claim(ticket, settlement, record), "claiming the lead")

    def change(self, settlement: Settlement) -> None:
        self._start(self._change(settlement), "changing the sync set")

    def take_bytes(self, allowed: bool) -> None:
        self._hands.replica.take_bytes(allowed)

    def prepare(self, record: EpochRecord) -> None:
        self._start(self._prepare(record), "preparing to lead")

    def open(self, epoch: int) -> None:
        self._start(self._open(epoch), "opening for writes")

    def beat(self, heartbeat: Heartbeat) -> None:
        self._members.beat(heartbeat)
        self._source.offer()

    def release(self, member: str, epoch: int) -> None:
        self._log.info("{member} is released from its promise: it may lead", member=member)
        self._members.release(member, epoch)

    def gate_changed(self) -> None:
        self._hands.gate_changed()

    def seen(self, epoch: int, cluster: str) -> None:
        if cluster:
            self._hands.state.change(seen=epoch, cluster=cluster)
        else:
            self._hands.state.change(seen=epoch)

    # -- the work -------------------------------------------------------------

    async def _ask_consul(self) -> None:
        if await self._hands.store.answers():
            self._election.consul_answered()

    async def _survey(self, ticket: int, members: frozenset[str] | None) -> None:
        hands, status = self._hands, self._election.status
        limit = FOUNDING_SURVEY if members is None else max(0.1, hands.lease / 4)
        asked = []
        for member, endpoint in hands.others(members).items():
            # Whoever led is most likely gone, and a frozen machine is waited for in full.
            fallen = status is not None and member == status.leader
            patience = limit / FALLEN_SHARE if fallen else limit
            position = hands.dialer.position(endpoint, patience)
            asked.append(Deferred.fromCoroutine(within(position, patience, hands.clock)))
        answers = await DeferredList(asked, consumeErrors=True)
        reports = tuple(answer for good, answer in answers if good and isinstance(answer, Report))
        if status is not None and any(report.seen_epoch > status.epoch for report in reports):
            hands.outdated()
        self._election.surveyed(ticket, reports)

    async def _claim(self, ticket: int, settlement: Settlement, record: EpochRecord) -> None:
        # An offset counts in its own epoch, and this one's log has none before its record tells the start.
        settlement.wanted = evolve(settlement.wanted, offset=0)
        settled = await self._hands.store.settle(settlement, record)
        self._election.lock(settled.won)
        self._election.claim_settled(ticket, settled.won, settled.status, settled.index)

    async def _change(self, settlement: Settlement) -> None:
        # For people: so long was the leader's log at least, if one day nobody else can tell.
        settlement.wanted = evolve(settlement.wanted, offset=self._hands.health.log_size)
        settled = await self._hands.store.settle(settlement)
        if settled.won and settled.status is not None:
            self._election.lock(True)
            members = ", ".join(sorted(settled.status.sync_set))
            self._log.info("the sync set is {members}", members=members)
        self._election.change_settled(settlement, settled.won, settled.status, settled.index)

    async def _prepare(self, record: EpochRecord) -> None:
        """Become nobody's follower, and tell all where the new epoch begins."""
        hands, epoch = self._hands, record.epoch
        try:
            start = await within(self._promoted(record), PROMOTION_TIMEOUT, hands.clock)
        except (Tile38Error, AttachError, TimeoutError) as e:
            self._log.error("this node cannot lead: {e}", e=str(e) or "Tile38 took too long")
            self._election.resign(f"it could not be promoted: {e}")
            return
        hands.health.measured(start)  # what it had heard may be from before a shrink
        same = self._same_log if record.parent in self._same_log else frozenset()
        self._same_log = same | {epoch}
        hands.state.change(led=epoch, rewritten=0, fingerprint=await self._fingerprint(start))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        full = with_start(record, start, now)
        if not await hands.store.write_record(full, lambda: self._election.epoch() == epoch):
            return
        records = await self._records(epoch)
        if self._election.epoch() == epoch:
            self._source.lead(Reign(epoch, start, {**records, epoch: full}, same))
            self._election.prepared(epoch, start)

    async def _promoted(self, record: EpochRecord) -> int:
        """The size of the log, proven by its last byte: Tile38's own word for it may be inflated."""
        if record.parent and self._hands.replica.position is None:
            # It has crashed since this node claimed the lead, and may have lost what only the backlog has.
            raise AttachError("what the local Tile38 has is not known any more")
        size = await self._hands.replica.promote()
        if size and await self._hands.local.aofmd5(size - 1, 1) != _LINE_FEED:
            raise AttachError("the log does not end with a whole command")
        return size

    async def remember(self, in_thread: InThread) -> None:
        """Note on disk what the log of our own reign looks like by now."""
        state, size = self._hands.state, self._hands.health.log_size
        if self._role is Role.LEADER and state.now.led and size != state.now.fingerprint[0]:
            await state.change_apart(in_thread, fingerprint=await self._fingerprint(size))

    async def _fingerprint(self, size: int) -> tuple[int, str]:
        """The size, and the sum of the last bytes up to there; fails with C{Tile38Error}."""
        piece = min(size, FINGERPRINT)
        return size, await self._hands.local.aofmd5(size - piece, piece) or "" if piece else ""

    async def log_unchanged(self) -> bool:
        """Whether the log is still the one of this reign; fails with C{Tile38Error}."""
        known = self._hands.state.now.fingerprint
        return await self._fingerprint(known[0]) == known

    async def proven(self, before: Remembered, size: int) -> Position | None:
        """Where a log stands with which this node led, if it is still that one; fails with C{Tile38Error}."""
        if not (before.led or before.rewritten):
            return None
        known, _ = before.fingerprint
        if known > size or await self._fingerprint(known) != before.fingerprint:
            self._log.warn("the log is not the one that this node led with: it proves nothing")
            self._hands.state.change(led=0, rewritten=0)
            return None
        if not before.led:
            return Position(before.rewritten, 0)
        self._same_log = frozenset({before.led})
        return Position(before.led, size)

    async def _records(self, epoch: int) -> dict[int, EpochRecord]:
        while self._election.epoch() == epoch:
            try:
                return await self._hands.store.epochs()
            except ConsulError as e:
                self._log.warn("the history of epochs cannot be read: {e}", e=str(e))
                await pause(self._hands.clock, RETRY)
        return {}

    async def _open(self, epoch: int) -> None:
        try:
            await self._hands.local.readonly(False)
        except Tile38Error as e:
            self._election.resign(f"Tile38 could not be opened for writes: {e}")
            return
        self._election.opened(epoch)

    async def _step_down(self) -> None:
        """Fence Tile38, then measure the log: only then is this node's position certain."""
        hands, epoch = self._hands, max(self._same_log, default=0)
        replaced, self._log_replaced = self._log_replaced, False
        hands.replica.know(None)
        while self._role is Role.FOLLOWER:
            try:
                await hands.local.readonly(True)
                size = await hands.local.log_size()
                seen = await self._fingerprint(size)
                # Of a term that could not begin nothing is in the log: it proves what it proved before.
                stands = Position(epoch, size) if epoch else await self.proven(hands.state.now, size)
            except Tile38Error as e:
                self._log.debug("not fenced yet: {e}", e=str(e))
                await pause(hands.clock, RETRY)
                continue
            hands.health.measured(size)  # else a rewrite that is known already would be found once more
            if replaced:
                self._forget_log(seen)
            elif stands is not None and self._role is Role.FOLLOWER:
                hands.replica.know(stands)
            return

    def _forget_log(self, seen: tuple[int, str]) -> None:
        """The log was rewritten: its offsets are no longer those that others know.

        The data is whole, so where nobody else could lead this node may, now or after it was
        started again; nobody continues from such a log.  Else it follows, from the beginning.
        """
        self._same_log = frozenset()
        self._rewritten = seen
        self.status_seen()
        if self._rewritten is not None:
            self._hands.state.change(led=0, rewritten=0)

    def status_seen(self) -> None:
        """Call it with each news of C{status}: that nobody else is left may be settled after the term."""
        status, seen = self._election.status, self._rewritten
        if seen is None or status is None or self._role is not Role.FOLLOWER or self._hands.replica.position:
            return
        if status.epoch == self._term and status.sync_set == {status.leader}:
            self._rewritten = None
            self._hands.state.change(led=0, rewritten=status.epoch, fingerprint=seen)
            self._hands.replica.know(Position(status.epoch, 0))
