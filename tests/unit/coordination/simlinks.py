"""What a simulated member is without its election: a process with a log and links.

Messages may be late, lost or doubled; what is sent on a link arrives in order
or not at all.  A stalled process looks at nothing that arrives until it wakes.

A log holds writes, and entries of its own that no client sees (a marker, an expiry), so
that offsets differ from node to node.  What a leader sends to whom is decided by
the real L{tile38cm.replication.history.plan}, over the epochs in Consul and what the leader has kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field

from tile38cm.coordination.election import Election
from tile38cm.model import Position, Role
from tile38cm.replication import history
from tile38cm.replication.history import EMPTY, Continue, PresentLog, StartOver

if TYPE_CHECKING:
    from tests.unit.coordination.model import World

LEASE = 1.0
#: So many entries of earlier streams are kept for others.
BACKLOG = 12
#: One entry of a log: a write's number, or the node's own.
Entry = int | None


@define(eq=False)
class Link:
    """A replication connection: in order, or broken."""

    follower: str
    leader: str
    epoch: int = 0
    accepted: bool = False
    #: How much of the leader's log was sent, of which epoch that is, and where the next ones begin.
    sent: int = 0
    label: int = 0
    turns: deque[Position] = field(factory=deque)
    down: deque[Callable[[Replica], None]] = field(factory=deque)
    up: deque[Position] = field(factory=deque)


@define
class Kept:
    """The last entries that were delivered, by epoch and offset."""

    entries: dict[tuple[int, int], Entry] = field(factory=dict)

    def add(self, epoch: int, offset: int, entry: Entry) -> None:
        """One more; the oldest goes."""
        self.entries[epoch, offset] = entry
        if len(self.entries) > BACKLOG:
            del self.entries[next(iter(self.entries))]

    def covers(self, epoch: int, start: int, end: int) -> bool:
        """As L{history.Holdings}."""
        return all((epoch, at) in self.entries for at in range(start, end))

    def cut(self, position: Position) -> None:
        """Forget what came behind."""
        behind = [at for at in self.entries if at >= (position.epoch, position.offset)]
        for at in behind:
            del self.entries[at]


@define(eq=False)
class Replica:
    """A process and its disk, and the replication between two of them."""

    name: str
    world: World
    # -- on disk
    disk_epoch: int = 0
    file: list[Entry] = field(factory=list)
    #: The writes in it.
    log: list[int] = field(factory=list)
    position: Position | None = None
    #: The terms whose log it is; none: it is a copy.
    led: frozenset[int] = frozenset()
    kept: Kept = field(factory=Kept)
    #: Places in the log that a crash may fall back to: bytes, writes, position.
    marks: list[tuple[int, int, Position]] = field(factory=list)
    shaken: bool = False
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
    #: What the leader had when this node was attached.
    goal: int = 0

    # -- disk -----------------------------------------------------------------

    def put(self, entry: Entry) -> None:
        """The log grows."""
        self.file.append(entry)
        if entry is not None:
            self.log.append(entry)

    def mark(self) -> None:
        """Note the position in the log."""
        assert self.position is not None
        self.file.append(None)
        self.marks.append((len(self.file), len(self.log), self.position))

    def lose(self, most: int) -> None:
        """The machine ends: what was not synced is gone."""
        self.shaken = True
        if self.led:
            cut = min(most, len(self.file))
            lost = self.file[len(self.file) - cut :]
            del self.file[len(self.file) - cut :]
            del self.log[len(self.log) - sum(entry is not None for entry in lost) :]
            self.marks = [mark for mark in self.marks if mark[0] <= len(self.file)]
            epoch = max(self.led)
            start = self.world.consul.records[epoch].start
            if start is None or len(self.file) < start:
                # Shorter than what is remembered of it: it proves nothing.
                self.position, self.led, self.marks = None, frozenset(), []
            else:
                self.position = Position(epoch, len(self.file))
        elif self.marks:
            del self.marks[max(1, len(self.marks) - most) :]
            size, writes, self.position = self.marks[-1]
            del self.file[size:], self.log[writes:]
            self.kept.cut(self.position)

    def erase(self) -> None:
        """Start over."""
        self.file, self.log, self.marks, self.kept = [], [], [], Kept()
        self.position, self.world.dirty = EMPTY, True

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
        position = self.position
        self._on_link(link.leader, lambda leader: leader._attach(link, position))
        self.post(1.5 * LEASE, lambda: None if link.accepted else self._leave(link))

    def _on_link(self, name: str, call: Callable[[Replica], None]) -> None:
        """Hand something over on a connection: later, but neither lost nor doubled."""
        world, other = self.world, self.world.nodes[name]
        life = other.life
        if world.connected(self.name, name):
            delay = world.weather.stream_delay(world.rng)
            world.at(delay, lambda: other._arrive(life, lambda: call(other)))

    def _attach(self, link: Link, position: Position | None) -> None:
        """The leader's side of a new connection: continue, start over, or not now."""
        name = link.follower
        old = self.links.pop(name, None)
        if old is not None:
            self.election.disconnected(name)
        if not self.prepared or self.election.epoch() != link.epoch:
            self._refuse(link)
            return
        log = PresentLog(link.epoch, len(self.file), self.led - {link.epoch})
        decision = history.plan(position, self.world.consul.records, log, self.kept)
        if (isinstance(decision, StartOver) or position == EMPTY) and not self.election.expel(name):
            self._refuse(link)
            return
        over = isinstance(decision, StartOver)
        if isinstance(decision, StartOver):
            decision = history.copy_from(0, log)
        self.links[name] = link
        begin, goal = decision.begin, len(self.file)
        self._down(link, lambda follower: follower._accepted(link, begin, over, goal))
        self._send_earlier(link, decision)
        self.election.beat_now()
        self._stream()
        self.world.seen(over, len(decision.segments))

    def _send_earlier(self, link: Link, decision: Continue) -> None:
        for segment in decision.segments:
            if segment.epoch != decision.begin.epoch:
                self._turn(link, Position(segment.epoch, segment.start))
            if segment.start < segment.end:
                offsets = range(segment.start, segment.end)
                part = [self.kept.entries[segment.epoch, at] for at in offsets]
                self._send(link, segment.epoch, segment.start, part)
        if decision.segments:
            self._turn(link, Position(decision.log_epoch, decision.log_from))
        link.sent, link.label = decision.log_from, decision.log_epoch
        link.turns = deque(decision.turns)

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

    def _turn(self, link: Link, position: Position) -> None:
        self._down(link, lambda follower: follower._turned(link, position))

    def _send(self, link: Link, epoch: int, start: int, part: list[Entry]) -> None:
        self._down(link, lambda follower: follower._take(link, epoch, start, part))

    def _stream(self) -> None:
        for link in self.links.values():
            while link.sent < len(self.file) or link.turns:
                if link.turns and link.turns[0].offset <= link.sent:
                    turn = link.turns.popleft()
                    link.label = turn.epoch
                    self._turn(link, turn)
                    continue
                end = min([len(self.file), *(turn.offset for turn in link.turns)])
                part, start = self.file[link.sent : end], link.sent
                link.sent = end
                self._send(link, link.label, start, part)

    def _accepted(self, link: Link, begin: Position, over: bool, goal: int) -> None:
        if not self._may_take(link):
            return
        if over:
            self.world.note(f"{self.name} starts over from {link.leader}, epoch {link.epoch}")
            self.erase()
        elif self.position not in (begin, EMPTY):
            self._leave(link)
            return
        link.accepted, self.led, self.goal, self.position = True, frozenset(), goal, begin
        self.world.prefix(self, link, 0)
        self._took(link)

    def _turned(self, link: Link, position: Position) -> None:
        if self._may_take(link):
            self.position = position
            self._took(link)

    def _take(self, link: Link, epoch: int, start: int, part: list[Entry]) -> None:
        if not self._may_take(link):
            return
        self.world.expect(self, Position(epoch, start))
        before = len(self.log)
        for at, entry in enumerate(part, start):
            self.kept.add(epoch, at, entry)
            if entry is not None:
                self.put(entry)
        self.position = Position(epoch, start + len(part))
        self.world.prefix(self, link, before)
        self._took(link)

    def _may_take(self, link: Link) -> bool:
        """Nothing while standing, and nothing of an epoch below the highest seen."""
        if self.may_take and self.role is Role.FOLLOWER and link.epoch >= self.disk_epoch:
            return True
        self._leave(link)
        return False

    def _took(self, link: Link) -> None:
        position = self.position
        assert position is not None
        if self.world.rng.random() < 0.3:
            self.mark()
        if position.epoch == link.epoch and position.offset >= self.goal:
            self.shaken = False
        link.up.append(position)
        self._on_link(link.leader, lambda leader: leader._acknowledged(link))

    def _acknowledged(self, link: Link) -> None:
        if link.up:
            position = link.up.popleft()
            if self.links.get(link.follower) is link and position.epoch == link.epoch:
                self.election.acknowledged(link.follower, link.epoch, position.offset)

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
