"""One member's data, and what it asks of the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field

from tile38cm.coordination.promises import SAFETY, Heartbeat, Promise
from tile38cm.coordination.status import EpochRecord, Settlement, Status
from tile38cm.coordination.term import Candidacy, LocalState, Term
from tile38cm.model import Leadership, Role


class Effects(Protocol):
    """What the election asks of the world. Nothing here blocks or fails."""

    def publish(self, leadership: Leadership) -> None:
        """Tell everybody; called in the turn of the change, gate first."""

    def ask_consul(self) -> None:
        """Read C{status} by quorum, for the sake of an answer -> L{Election.consul_answered}."""

    def survey(self, ticket: int, members: frozenset[str] | None) -> None:
        """Ask C{members} (C{None}: all known) where they stand -> L{Election.surveyed}."""

    def claim(self, ticket: int, settlement: Settlement, record: EpochRecord) -> None:
        """Win or lose a term in one transaction -> L{Election.claim_settled}."""

    def change(self, settlement: Settlement) -> None:
        """Write C{status} -> L{Election.change_settled}."""

    def take_bytes(self, allowed: bool) -> None:
        """Whether the bridge may take bytes from a leader now."""

    def prepare(self, record: EpochRecord) -> None:
        """Drain, unfollow, write the start offset -> L{Election.prepared}."""

    def open(self, epoch: int) -> None:
        """Make Tile38 writable -> L{Election.opened}."""

    def beat(self, heartbeat: Heartbeat) -> None:
        """Send to every connected member."""

    def release(self, member: str, epoch: int) -> None:
        """Give a member its promise back."""

    def gate_changed(self) -> None:
        """The gate opened or shut, or more was acknowledged: look again."""

    def seen(self, epoch: int, cluster: str) -> None:
        """Remember on disk that this epoch exists."""


@define
class Core:
    """The data of one member. C{now} is monotonic, in seconds, and runs in suspend."""

    me: str
    lease: float
    now: Callable[[], float]
    effects: Effects
    local: Callable[[], LocalState]
    new_cluster: Callable[[], str]
    started: float
    expect: int = 1
    insync_timeout: float = 5.0
    hold_timeout: float = 10.0
    seen: int = 0
    may_lead: bool = True
    priority: int = 0
    nofailover: bool = False
    #: An operator has decided that this member leads, whatever is lost.
    forced: bool = False
    promise: Promise = Promise()
    #: The epoch to whose leader the last promise was given.
    promised_epoch: int = 0
    #: The leader has given our promise back in this epoch.
    released_epoch: int = 0
    status: Status | None = None
    index: int = 0
    #: The newest status seen in this life, which Consul may have lost or taken back since.
    newest: Status | None = None
    status_known: bool = False
    #: When Consul was last asked, and when it last answered, only to know whether it does.
    consul_asked: float = float("-inf")
    consul_heard: float = float("-inf")
    lock_held: bool = False
    candidacy: Candidacy | None = None
    term: Term | None = None
    tickets: int = 0
    why_not: str = ""
    #: Why it does not stand until then, whatever else would allow it.
    resting: str = ""
    rest_until: float = float("-inf")
    leadership: Leadership = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.leadership = Leadership(Role.UNKNOWN, None, 0, self.started, "starting")

    def publish(self, role: Role, reason: str) -> None:
        """Tell what this node is now, if it is another thing than before."""
        leader, epoch = self._leader()
        if (role, leader, epoch) != (self.leadership.role, self.leadership.leader, self.leadership.epoch):
            self.leadership = Leadership(role, leader, epoch, self.now(), reason)
            self.effects.publish(self.leadership)

    def _leader(self) -> tuple[str | None, int]:
        if self.term is not None:
            return self.me, self.term.epoch
        # Consul that has lost its data must not part a leader from its followers: with their
        # promises it writes its truth again, and without them it never could.
        newest = self.newest
        if newest is None or newest.leader == self.me or newest.epoch < self.seen:
            return None, self.seen
        return newest.leader, newest.epoch

    def know(self, status: Status | None, index: int) -> None:
        """Note what Consul holds."""
        self.status, self.index = status, index
        if status is not None and (self.newest is None or status.epoch >= self.newest.epoch):
            self.newest = status

    def see(self, epoch: int, cluster: str = "") -> bool:
        """Note that an epoch exists; whether it is a new one."""
        if epoch <= self.seen:
            return False
        self.seen = epoch
        self.effects.seen(epoch, cluster)
        return True

    def grace(self) -> float:
        """How long promises may run that were given before a restart of this node."""
        return SAFETY * max(self.lease, self.status.lease if self.status is not None else 0.0)

    def consul_answered_within(self, seconds: float) -> bool:
        """Whether a claim would be settled soon, as far as can be known.

        A claim without an answer binds its sender, which can promise nothing to anybody
        until Consul is back: two members that try it would leave a living leader without
        promises for as long.
        """
        return self.now() - self.consul_heard <= seconds

    def unfit(self, now: float) -> str:
        """Why this member must not stand now; empty when it may."""
        local = self.local()
        if not self.may_lead:
            return "it is stopping"
        if self.nofailover:
            return "it is tagged nofailover"
        if not self.status_known:
            return "the status in Consul is not known yet"
        if not local.ready:
            return "its Tile38 does not answer, or rewrites its log"
        if not self.promise.expired(now):
            return "it has promised not to"
        if now < self.started + self.grace():
            return "it may have promised before it was restarted"
        if self.status is None:
            return "" if self.seen == 0 else "it remembers a cluster of which Consul knows nothing"
        if self.me not in self.status.sync_set:
            return "it is not in the sync set, so it may lack acknowledged writes"
        if now < self.rest_until:
            return self.resting
        if self.seen > self.status.epoch:
            return "Consul's status is older than what it has seen"
        if local.position is None:
            return "its position is not proven"
        if local.position.epoch == 0:
            return "its log is empty"
        return ""
