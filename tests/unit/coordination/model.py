"""A simulated world around the real rules: clocks, networks, stalls, crashes, a late Consul.

Members run the real L{Election}; what is simulated is all that surrounds it.
After every event L{World.check} looks for what must never be:

  - C{gates}: two gates are open at one true time;
  - C{lost}: an open gate over a log that lacks an acknowledged write;
  - C{set}: a member of the sync set lacks an acknowledged write;
  - C{read}: a read was answered without a write acknowledged before it;
  - C{prefix}: a follower's writes are not the first ones of its leader's;
  - C{stream}: a leader sends what does not follow on what its follower has;
  - C{dead}: in calm weather no gate opens or no write is acknowledged.

Time is in leases of a clock whose rate is 1; no clock is slower, none a
quarter faster.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from random import Random

from attrs import define, field, frozen

from tests.unit.coordination.simconsul import Consul
from tests.unit.coordination.simlinks import Link, Replica
from tests.unit.coordination.simnode import Node, Waiting
from tile38cm.coordination.status import EpochRecord, Status
from tile38cm.model import Position

RATES = (1.0, 1.0, 1.1, 1.2, 1.2499)


class Violation(AssertionError):
    """The rules allowed what must never be."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@frozen
class Weather:
    """How likely things go wrong on the way, and how late what is late arrives."""

    late: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0
    stream_late: float = 0.0
    consul_late: float = 0.0
    consul_lost: float = 0.0
    local_late: float = 0.0
    old_news: float = 0.0
    storm: float = 3.0

    def network_delays(self, rng: Random) -> tuple[float, ...]:
        """When a message arrives: never, once or twice."""
        if rng.random() < self.lost:
            return ()
        first = self._delay(rng, self.late)
        if rng.random() < self.doubled:
            return (first, self._delay(rng, 0.7))
        return (first,)

    def stream_delay(self, rng: Random) -> float:
        """When bytes on a connection arrive."""
        return self._delay(rng, self.stream_late)

    def consul_delay(self, rng: Random) -> float | None:
        """When a request takes effect, or its answer arrives; C{None}: never."""
        if rng.random() < self.consul_lost:
            return None
        return self._delay(rng, self.consul_late)

    def local_delay(self, rng: Random) -> float:
        """How long the local Tile38 takes for something."""
        return self._delay(rng, self.local_late)

    def local_delays(self, rng: Random) -> tuple[float, ...]:
        """When a round of questions ends: once; rarely never or twice."""
        if rng.random() < self.local_late:
            return rng.choice(((), (0.1, 0.6)))
        return (0.0,)

    def _delay(self, rng: Random, late: float) -> float:
        if rng.random() < late:
            return rng.uniform(0.05, self.storm)
        return rng.uniform(0.002, 0.02)


CALM = Weather()


@frozen
class Options:
    """What stays the same during one walk."""

    tick: float = 0.2
    watch: float = 0.4
    #: How long others are given to say where they stand.
    survey: float = 0.1
    expect: int = 1
    persist_seen: bool = True
    #: How likely it is that a client writes at each tick of a node that leads.
    busy: float = 0.0


@define(eq=False)
class World:
    """All nodes, what is under way between them, and what clients were told."""

    rng: Random
    options: Options = Options()
    weather: Weather = CALM
    now: float = 0.0
    nodes: dict[str, Node] = field(factory=dict)
    consul: Consul = field(factory=Consul)
    without_consul: set[str] = field(factory=set)
    cuts: set[frozenset[str]] = field(factory=set)
    acknowledged: set[int] = field(factory=set)
    events: int = 0
    trace: list[str] | None = None
    #: Something changed that the slower checks look at.
    dirty: bool = True
    _queue: list[tuple[float, int, Callable[[], None]]] = field(factory=list)
    _order: itertools.count[int] = field(factory=itertools.count)
    _writes: itertools.count[int] = field(factory=itertools.count)
    #: How often each thing has come to pass: what walks have been through.
    counts: Counter[str] = field(factory=Counter)
    _open: tuple[str, int, int] | None = None

    @classmethod
    def build(cls, rng: Random, size: int, options: Options, founded: bool) -> World:
        """C{size} members, up; C{founded}: with an epoch behind them, else with nothing anywhere."""
        world = cls(rng, options)
        names = [chr(ord("A") + i) for i in range(size)]
        for name in names:
            world.nodes[name] = Node(name, world, rate=rng.choice(RATES), base=rng.uniform(0, 1000))
        if founded:
            others = {name for name in names[1:] if rng.random() < 0.8}
            world.consul.write(Status("cluster", 1, 1, "A", frozenset({"A"} | others), 1.0, "first"), 0)
            world.consul.records[1] = EpochRecord(1, "A", 0, 0, 0)
            first = world.new_write()
            for node in world.nodes.values():
                node.disk_epoch, node.position = 1, Position(1, 1)
                node.put(first)
                if node.name == "A":
                    node.led = frozenset({1})
                else:
                    node.kept.add(1, 0, first)
                    node.mark()
        for node in world.nodes.values():
            node.start()
        return world

    # -- time -----------------------------------------------------------------

    def at(self, delay: float, call: Callable[[], None]) -> None:
        """Have something happen later."""
        heapq.heappush(self._queue, (self.now + delay, next(self._order), call))

    def run(self, duration: float) -> None:
        """Let time pass, with all that happens in it."""
        end = self.now + duration
        queue = self._queue
        while queue and queue[0][0] <= end:
            self.now, _, call = heapq.heappop(queue)
            call()
            self.events += 1
            self.check()
        self.now = end

    # -- what nodes ask -------------------------------------------------------

    def nonce(self) -> str:
        """Different each time."""
        return str(next(self._order))

    def new_write(self) -> int:
        """The number of a write."""
        return next(self._writes)

    def connected(self, one: str, other: str) -> bool:
        """Whether a message sent now may arrive."""
        return frozenset((one, other)) not in self.cuts

    def note(self, text: str) -> None:
        """For a trace that people read."""
        if self.trace is not None:
            self.trace.append(f"{self.now:9.3f} {text}")

    def replied(self, node: Node, done: Waiting) -> None:
        """A client was given its reply."""
        if done.number is not None:
            self.acknowledged.add(done.number)
            self.dirty = True
            self.note(f"{node.name} acknowledged write {done.number}")
            return
        missing = done.must - set(node.file[: done.offset])
        if missing:
            raise Violation("read", f"{node.name} did not show {sorted(missing)}")

    def seen(self, over: bool, segments: int) -> None:
        """A follower was told how to go on."""
        self.counts["over" if over else f"continued over {min(segments, 2)} epochs"] += 1

    # -- checks ---------------------------------------------------------------

    def expect(self, node: Replica, begin: Position) -> None:
        """A piece of a stream that begins there has come to a follower."""
        if node.position != begin:
            raise Violation("stream", f"{node.name} is at {node.position}, and is sent {begin}")

    def prefix(self, node: Replica, link: Link, begin: int) -> None:
        """A follower has what its leader has, in that order: looked at from the C{begin}th write on."""
        leader = self.nodes[link.leader]
        if (
            leader.up
            and leader.election.epoch() == link.epoch
            and node.log[begin:] != leader.log[begin : len(node.log)]
        ):
            raise Violation(
                "prefix", f"{node.name} has {node.log[begin:]}, {leader.name} {leader.log[begin:]}"
            )

    def leads(self, node: Node) -> None:
        """A node has taken the newest term over: it has whatever any client was told."""
        missing = self.acknowledged - set(node.log)
        newest = self.consul.status is not None and self.consul.status.epoch == node.election.epoch()
        if missing and newest:
            raise Violation("lost", f"{node.name} leads without {sorted(missing)}")

    def gates(self) -> list[Node]:
        """The nodes whose gate is open now."""
        return [node for node in self.nodes.values() if node.up and node.election.gate_open()]

    def check(self) -> None:
        """Raise L{Violation} if something is that must never be."""
        gates = self.gates()
        if len(gates) > 1:
            raise Violation("gates", " and ".join(f"{n.name} in epoch {n.election.epoch()}" for n in gates))
        opened = (gates[0].name, gates[0].life, gates[0].election.epoch()) if gates else None
        if opened is not None and opened != self._open:
            self._open = opened
            self.dirty = True
            self.note(f"{opened[0]}: gate open in epoch {opened[2]}")
        if self.dirty:
            self.dirty = False
            self._check_logs(gates)

    def _check_logs(self, gates: list[Node]) -> None:
        for node in gates:
            missing = self.acknowledged - set(node.log)
            if missing:
                raise Violation("lost", f"{node.name} has an open gate without {sorted(missing)}")
        members = self.consul.status.sync_set if self.consul.status is not None else frozenset()
        for name in members.union(*(node.election.required() for node in gates)):
            missing = self.acknowledged - set(self.nodes[name].log)
            if missing and not self.nodes[name].shaken:
                raise Violation("set", f"{name} is in the sync set without {sorted(missing)}")

    def calm(self, leases: int = 20) -> None:
        """End all trouble; then requests must be answered before long."""
        self.note("calm")
        self.weather = CALM
        self.cuts.clear()
        self.without_consul.clear()
        for node in self.nodes.values():
            if node.up and node.stalled:
                node.wake()
            if node.up and not node.election._core.may_lead:
                node.crash(clean=True)
            if not node.up:
                node.start()
        for _ in range(leases):
            before = len(self.acknowledged)
            for node in self.nodes.values():
                node.write()
            self.run(1.0)
        if (len(self.gates()) != 1 or len(self.acknowledged) == before) and not self._hopeless():
            words = [f"{n.name}: {n.role.value} {n.election.why_not}" for n in self.nodes.values()]
            raise Violation("dead", "; ".join(words))

    def _hopeless(self) -> bool:
        """Nobody in the set knows its position, or only who may have lost something: people decide."""
        if self.consul.status is None:
            return False
        members = [self.nodes[name] for name in self.consul.status.sync_set]
        unknown = [node for node in members if node.position is None]
        return bool(unknown) and all(node.shaken or node in unknown for node in members)

    # -- machines -------------------------------------------------------------

    def lose(self, name: str, most: int) -> bool:
        """A machine ends, if what it loses is elsewhere in the sync set, and no change of that is under way.

        Else the write would be nowhere, or only where nobody is asked for it: that is not promised.

        @return: whether it was lost.
        """
        node, status = self.nodes[name], self.consul.status
        if self.consul.flying or status is None or (node.up and _changes(node)):
            return False
        others = [self.nodes[other] for other in status.sync_set - {name} if not self.nodes[other].shaken]
        if not any(self.acknowledged <= set(other.log) for other in others):
            return False
        node.lose(most)
        self.dirty = True
        self.counts["lost"] += 1
        return True


def _changes(node: Node) -> bool:
    term = node.election._core.term
    return term is not None and term.change is not None


#: The most that each kind of trouble is given.
WORST = {
    "late": 0.4,
    "lost": 0.4,
    "doubled": 0.4,
    "stream_late": 0.4,
    "consul_late": 0.6,
    "consul_lost": 0.4,
    "local_late": 0.3,
    "old_news": 0.2,
}


def storm(rng: Random) -> Weather:
    """Some weather: a little of everything, or one or two kinds of trouble and no other."""
    longest = rng.choice((0.5, 1.5, 3.0, 8.0))
    if rng.random() < 0.4:
        some = {kind: WORST[kind] for kind in rng.sample(sorted(WORST), rng.choice((1, 2)))}
    else:
        some = {
            kind: most * rng.choice((0.0, rng.random() ** 2, rng.random())) for kind, most in WORST.items()
        }
    return Weather(storm=longest, **some)
