"""One simulated member: the real L{Election}, its effects, clients and Consul's watch.

What is on disk (the log, what was kept, the highest epoch seen) survives
L{Node.crash}; all else belongs to one process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, evolve, field, frozen

from tests.unit.coordination.simconsul import Writing
from tests.unit.coordination.simlinks import LEASE, Replica
from tile38cm.coordination.election import Election
from tile38cm.coordination.member import Core
from tile38cm.coordination.promises import Heartbeat
from tile38cm.coordination.status import EpochRecord, Settlement, Status
from tile38cm.coordination.survey import Report
from tile38cm.coordination.term import LocalState
from tile38cm.model import Leadership, Position, Role


@frozen
class Waiting:
    """A request of a client whose reply waits for acknowledgements.

    A write has a C{number}; a read must show C{must}.
    """

    offset: int
    number: int | None
    must: frozenset[int]


@define(eq=False)
class Node(Replica):
    """A member of the simulated cluster."""

    #: Its clock shows C{base} + C{rate} times the true time.
    rate: float = 1.0
    base: float = 0.0
    waiting: deque[Waiting] = field(factory=deque)
    held_until: float = 0.0
    watched: int = -1

    # -- process --------------------------------------------------------------

    def now(self) -> float:
        """This node's own clock."""
        return self.base + self.rate * self.world.now

    def start(self) -> None:
        """A new process."""
        self.life += 1
        self.up, self.stalled, self.inbox = True, False, []
        self.role, self.may_take, self.link, self.prepared = Role.UNKNOWN, True, None, False
        self.links, self.waiting, self.watched = {}, deque(), -1
        options = self.world.options
        self.election = Election(
            Core(
                self.name,
                LEASE,
                self.now,
                self,
                self._local,
                lambda: "cluster",
                self.now(),
                expect=options.expect,
                insync_timeout=2.0,
                hold_timeout=4.0,
                seen=self.disk_epoch if options.persist_seen else 0,
            )
        )
        self.post(0.0, self._tick)
        self.post(0.0, self._watch)

    def crash(self, clean: bool) -> None:
        """The end of the process; after an unclean one a follower's log may fit nothing any more."""
        self.up, self.life, self.inbox = False, self.life + 1, []
        if self.led:
            self.position = Position(max(self.led), len(self.file))
            self.led = frozenset({max(self.led)})
        elif not clean and self.world.rng.random() < 0.3:
            self.position = None

    def _tell(self, name: str, call: Callable[[Node], None]) -> None:
        """Send a message to whatever process another node has then: late, lost or doubled."""
        world, other = self.world, self.world.nodes[name]
        for delay in world.weather.network_delays(world.rng):
            if world.connected(self.name, name):
                world.at(delay, lambda: other._arrive(other.life, lambda: call(other)))

    def _local(self) -> LocalState:
        return LocalState(True, self.position, self.position, len(self.file), self.shaken)

    def _tick(self) -> None:
        self.post(self.world.options.tick * self.world.rng.uniform(0.5, 1.0), self._tick)
        self.election.tick()
        if self.world.now < self.held_until and not self.election.gate_open():
            self.election.wanted(len(self.file))
        if self.waiting:
            self.election.wanted(self.waiting[-1].offset)
        self._reply()
        if self.election.epoch() and self.world.rng.random() < self.world.options.busy:
            self.write()
        self._look_after_links()

    def _watch(self) -> None:
        """One round of the watch: ask, be told later, ask again; sometimes shown what was long ago."""
        world = self.world
        delay = world.weather.consul_delay(world.rng)
        shown = (world.consul.status, world.consul.index)
        if world.rng.random() < world.weather.old_news:
            shown = world.rng.choice(world.consul.history)
        if delay is not None and self.name not in world.without_consul and shown[1] != self.watched:
            self.post(delay, lambda: self._observe(*shown))
        self.post((delay or 0.0) + world.options.watch * world.rng.uniform(0.5, 1.5), self._watch)

    def _observe(self, status: Status | None, index: int) -> None:
        self.watched = index
        self.election.observed(status, index)

    # -- clients --------------------------------------------------------------

    def write(self) -> None:
        """A client's write through this node's gate; held if it is shut."""
        if not self.election.gate_open():
            self._hold()
            return
        number = self.world.new_write()
        if self.world.rng.random() < 0.3:
            self.put(None)
        self.put(number)
        self.position = Position(self.election.epoch(), len(self.file))
        self.waiting.append(Waiting(len(self.file), number, frozenset()))
        self._stream()
        self._reply()

    def read(self) -> None:
        """A client's read through this node's gate; held if it is shut."""
        if not self.election.gate_open():
            self._hold()
            return
        self.waiting.append(Waiting(len(self.file), None, frozenset(self.world.acknowledged)))
        self._reply()

    def _hold(self) -> None:
        self.held_until = self.world.now + 3 * LEASE
        self.election.wanted(len(self.file))

    def _reply(self) -> None:
        while self.waiting and self.election.gate_open():
            covered = self.election.covered()
            if covered is not None and covered < self.waiting[0].offset:
                return
            done = self.waiting.popleft()
            self.election.exposed(done.offset)
            self.world.replied(self, done)

    def take_leave(self) -> None:
        """Tell the leader that this node stops."""
        leader = self.election.leadership.leader
        if leader is not None and leader != self.name:
            self._tell(leader, lambda other: other.election.departed(self.name))

    # -- effects --------------------------------------------------------------

    def publish(self, leadership: Leadership) -> None:
        """Note what this node is, and leave the links of what it was."""
        self.role = leadership.role
        what = f"{leadership.role.value}, epoch {leadership.epoch} of {leadership.leader}"
        self.world.note(f"{self.name}: {what} ({leadership.reason})")
        if self.role not in (Role.LEADER, Role.TAKING_OVER):
            self.waiting.clear()
            self.prepared = False
            for link in list(self.links.values()):
                self._refuse(link)
        mine = self.link
        if mine is not None and (mine.leader, mine.epoch) != (leadership.leader, leadership.epoch):
            self._leave()

    def ask_consul(self) -> None:
        """A question that is answered late, or never."""
        weather, rng = self.world.weather, self.world.rng
        there, back = weather.consul_delay(rng), weather.consul_delay(rng)
        if there is not None and back is not None and self.name not in self.world.without_consul:
            self.post(there + back, self.election.consul_answered)

    def survey(self, ticket: int, members: frozenset[str] | None) -> None:
        """Ask with messages; tell once, after a while, what came back."""
        world = self.world
        reports: list[Report] = []
        life = self.life

        def back(report: Report) -> None:
            if self.life == life:
                reports.append(report)

        def reach(other: Node) -> None:
            report = other.election.report()
            other._tell(self.name, lambda _: back(report))

        names = world.nodes.keys() - {self.name}
        for name in sorted(names if members is None else members & names):
            self._tell(name, reach)
        for delay in world.weather.local_delays(world.rng):
            self.post(world.options.survey + delay, lambda: self.election.surveyed(ticket, tuple(reports)))

    def claim(self, ticket: int, settlement: Settlement, record: EpochRecord) -> None:
        """Write until it is certain, then look at the lock."""

        def settled(won: bool, status: Status | None, index: int) -> None:
            self.election.claim_settled(ticket, won, status, index)
            if won:
                self.post(0.05, lambda: self.election.lock(True))

        Writing(self, settlement, settled, record).attempt()

    def change(self, settlement: Settlement) -> None:
        """Write until it is certain; the transaction takes the lock as well."""

        def settled(won: bool, status: Status | None, index: int) -> None:
            if won:
                self.election.lock(True)
            self.election.change_settled(settlement, won, status, index)

        Writing(self, settlement, settled).attempt()

    def take_bytes(self, allowed: bool) -> None:
        """Obeyed in L{_take}."""
        self.may_take = allowed

    def prepare(self, record: EpochRecord) -> None:
        """The log goes on in the new epoch as soon as Consul has its start."""

        def done() -> None:
            if self.election.epoch() != record.epoch:
                return
            if self.name in self.world.without_consul:
                self.post(0.3, done)
                return
            start = len(self.file)
            same = self.led if record.parent in self.led else frozenset()
            self.led, self.position, self.prepared = (
                same | {record.epoch},
                Position(record.epoch, start),
                True,
            )
            self.world.consul.records[record.epoch] = evolve(record, start=start)
            self.world.leads(self)
            self.election.prepared(record.epoch, start)

        self.post(self.world.weather.local_delay(self.world.rng), done)

    def open(self, epoch: int) -> None:
        """Tile38 is writable after a moment."""

        def done() -> None:
            self.shaken = self.shaken and self.election.epoch() != epoch
            self.election.opened(epoch)

        self.post(self.world.weather.local_delay(self.world.rng), done)

    def beat(self, heartbeat: Heartbeat) -> None:
        """To every other member; each answer comes back on its own."""

        def reach(other: Node) -> None:
            answer = other.election.heartbeat(heartbeat)
            if answer is not None:
                other._tell(self.name, lambda me: me.election.answered(answer))

        for name in self.world.nodes:
            if name != self.name:
                self._tell(name, reach)

    def release(self, member: str, epoch: int) -> None:
        """One message, which may be lost."""
        self._tell(member, lambda other: other.election.released(epoch))

    def gate_changed(self) -> None:
        """Replies may be due."""
        self._reply()

    def seen(self, epoch: int, cluster: str) -> None:
        """On disk at once."""
        self.disk_epoch = epoch
