"""What a simulated member is without its election: a process with a log and links.

Messages may be late, lost or doubled; what is sent on a link arrives in order
or not at all.  A stalled process looks at nothing that arrives until it wakes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field

from tile38cm.coordination.election import Election
from tile38cm.model import Position, Role

if TYPE_CHECKING:
    from tests.unit.coordination.model import World

LEASE = 1.0


@define(eq=False)
class Link:
    """A replication connection: in order, or broken."""

    follower: str
    leader: str
    epoch: int = 0
    accepted: bool = False
    sent: int = 0
    down: deque[Callable[[Replica], None]] = field(factory=deque)
    up: deque[int] = field(factory=deque)


@define(eq=False)
class Replica:
    """A process and its disk, and the replication between two of them."""

    name: str
    world: World
    # -- on disk
    disk_epoch: int = 0
    log: list[int] = field(factory=list)
    position: Position | None = None
    own_log: bool = False
    # -- one process
    life: int = 0
    up: bool = False
    stalled: bool = False
    inbox: list[Callable[[], None]] = field(factory=list)
    election: Election = field(init=False)
    role: Role = Role.UNKNOWN
    may_take: bool = True
    prepared: bool = False
    link: Link | None = None
    links: dict[str, Link] = field(factory=dict)
    #: The length of a full copy.
    goal: int = 0

    # -- process --------------------------------------------------------------

    def wake(self) -> None:
        """Look at everything that arrived during a stall, late and in any order."""
        late, self.inbox, self.stalled = self.inbox, [], False
        self.world.rng.shuffle(late)
        for call in late:
            self.post(self.world.rng.uniform(0, 0.02), call)

    def post(self, delay: float, call: Callable[[], None]) -> None:
        """Have this process do something later, or never if it ends."""
        self.world.at(delay, partial(self._arrive, self.life, call))

    def _arrive(self, life: int, call: Callable[[], None]) -> None:
        if life != self.life or not self.up:
            return
        if self.stalled:
            self.inbox.append(call)
        else:
            call()

    # -- replication ----------------------------------------------------------

    def _look_after_links(self) -> None:
        leadership, link = self.election.leadership, self.link
        if link is None:
            if self.role is Role.FOLLOWER and self.may_take and leadership.leader is not None:
                self._connect(Link(self.name, leadership.leader, leadership.epoch))
        elif link.accepted and self.world.nodes[link.leader].links.get(self.name) is not link:
            if self.world.rng.random() < 0.2:  # dead at the other end, which is noticed some time
                self._leave()
        for name in list(self.links):
            self.election.admit(name)

    def _connect(self, link: Link) -> None:
        self.link = link
        here, position = tuple(self.log), self.position
        self._on_link(link.leader, lambda leader: leader._attach(link, here, position))
        self.post(1.5 * LEASE, lambda: None if link.accepted else self._leave(link))

    def _on_link(self, name: str, call: Callable[[Replica], None]) -> None:
        """Hand something over on a connection: later, but neither lost nor doubled."""
        world, other = self.world, self.world.nodes[name]
        life = other.life
        if world.connected(self.name, name):
            delay = world.weather.stream_delay(world.rng)
            world.at(delay, lambda: other._arrive(life, lambda: call(other)))

    def _attach(self, link: Link, log: tuple[int, ...], position: Position | None) -> None:
        """The leader's side of a new connection: continue, start over, or not now."""
        name = link.follower
        old = self.links.pop(name, None)
        if old is not None:
            self.election.disconnected(name)
        if not self.prepared or self.election.epoch() != link.epoch:
            self._refuse(link)
            return
        fits = position is not None and tuple(self.log[: len(log)]) == log
        if not fits and not self.election.expel(name):
            self._refuse(link)
            return
        self.links[name], link.sent = link, len(log) if fits else 0
        goal = len(self.log)
        self._down(link, lambda follower: follower._accepted(link, fits, goal))
        self.election.beat_now()
        self._stream()

    def _refuse(self, link: Link) -> None:
        if self.links.get(link.follower) is link:
            del self.links[link.follower]
            self.election.disconnected(link.follower)
        self._on_link(link.follower, lambda follower: follower._leave(link))

    def _down(self, link: Link, item: Callable[[Replica], None]) -> None:
        link.down.append(item)
        self._on_link(link.follower, lambda follower: follower._receive(link))

    def _receive(self, link: Link) -> None:
        """One item of the stream, in order whatever the order of wake-ups."""
        if link.down:
            item = link.down.popleft()
            if self.link is link:
                item(self)

    def _stream(self) -> None:
        for link in self.links.values():
            if link.sent < len(self.log):
                part, link.sent = self.log[link.sent :], len(self.log)
                self._down(link, lambda follower, link=link, part=part: follower._take(link, part))  # type: ignore[misc]

    def _accepted(self, link: Link, fits: bool, goal: int) -> None:
        if not self._may_take(link):
            return
        link.accepted, self.own_log = True, False
        if fits:
            self.position = Position(link.epoch, len(self.log))
        else:
            self.world.note(f"{self.name} starts over from {link.leader}, epoch {link.epoch}")
            self.position, self.log, self.goal, self.world.dirty = None, [], goal, True
        self._took(link)

    def _take(self, link: Link, part: list[int]) -> None:
        if self._may_take(link):
            self.log.extend(part)
            self._took(link)

    def _may_take(self, link: Link) -> bool:
        """Nothing while standing, and nothing of an epoch below the highest seen."""
        if self.may_take and self.role is Role.FOLLOWER and link.epoch >= self.disk_epoch:
            return True
        self._leave(link)
        return False

    def _took(self, link: Link) -> None:
        copying = self.position is None and len(self.log) < self.goal
        if not copying:
            self.position = Position(link.epoch, len(self.log))
        if not copying or self.world.options.ack_copies:
            link.up.append(len(self.log))
            self._on_link(link.leader, lambda leader: leader._acknowledged(link))

    def _acknowledged(self, link: Link) -> None:
        if link.up:
            offset = link.up.popleft()
            if self.links.get(link.follower) is link:
                self.election.acknowledged(link.follower, link.epoch, offset)

    def _leave(self, link: Link | None = None) -> None:
        """Break the connection; the leader hears of it later, or never."""
        if self.link is None or (link is not None and self.link is not link):
            return
        gone, self.link = self.link, None
        if self.world.rng.random() < 0.7:
            self._on_link(gone.leader, lambda leader: leader._gone(gone))

    def _gone(self, link: Link) -> None:
        if self.links.get(link.follower) is link:
            del self.links[link.follower]
            self.election.disconnected(link.follower)
