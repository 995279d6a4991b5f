"""What can be done to a world, and undone.

Each fault takes what it needs for itself (a process, a link), does its harm,
waits, and undoes it.  Which ones, on what and for how long comes from the seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from attrs import define, field, frozen

from tests.chaos.world import Node, World, now
from tests.cluster import PREFIX
from tests.real import ReplyError, StartError

Say = Callable[[str], None]


#: Seconds in which a manager has seen what became of its Tile38's log, on a machine that others keep busy.
WATCH = 5.0


@frozen
class Fault:
    """A kind: how often it is chosen, and what it does."""

    name: str
    weight: int
    strike: Callable[[Striking], Awaitable[None]]


@define
class Striking:
    """Faults at work on one world."""

    world: World
    random: random.Random
    say: Say
    counts: dict[str, int] = field(factory=dict)
    _leader: str = ""
    _taken: set[str] = field(factory=set)
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    async def go_on(self, seconds: float, kinds: tuple[Fault, ...], at_once: int = 2) -> None:
        """Strike at random for so long; returns when all is undone."""
        end = now() + seconds
        weights = [kind.weight for kind in kinds]
        watching = asyncio.create_task(self._watch())
        while now() < end:
            await asyncio.sleep(self.random.uniform(0.3, 4.0))
            if len(self._tasks) < at_once:
                kind = self.random.choices(kinds, weights)[0]
                task = asyncio.create_task(self._strike(kind))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        await asyncio.gather(*self._tasks)
        watching.cancel()

    async def _strike(self, kind: Fault) -> None:
        self.counts[kind.name] = self.counts.get(kind.name, 0) + 1
        try:
            await kind.strike(self)
        except (OSError, ReplyError, StartError) as e:  # a server that still loads refuses
            self.say(f"{kind.name}: {type(e).__name__}: {e}")

    @contextlib.asynccontextmanager
    async def taken(self, *things: str) -> AsyncIterator[bool]:
        """Have these for oneself, or not at all."""
        free = self._taken.isdisjoint(things)
        if free:
            self._taken.update(things)
        try:
            yield free
        finally:
            if free:
                self._taken.difference_update(things)

    def node(self) -> Node:
        """Some node; the leader more often than others."""
        leading = [n for n in self.world.nodes if n.id == self._leader]
        if self.random.random() < 0.35 and leading:
            return leading[0]
        return self.random.choice(self.world.nodes)

    async def _watch(self) -> None:
        """Know who leads, or did lately; Consul may be away."""
        while True:
            with contextlib.suppress(OSError):
                self._leader = (await asyncio.to_thread(self.world.status)).get("leader", "")
            await asyncio.sleep(0.5)

    def some_time(self, least: float, most: float) -> float:
        """Short ones more often than long ones."""
        return least + (most - least) * self.random.random() ** 2


# -- processes -------------------------------------------------------------------


async def _start_tile38(node: Node) -> None:
    if not node.tile38.running:
        await asyncio.to_thread(node.tile38.start)


def _start_manager(node: Node) -> None:
    if not node.manager.running:
        node.manager.start()


def _kill(manager: bool, tile38: bool) -> Callable[[Striking], Awaitable[None]]:
    async def strike(s: Striking) -> None:
        node = s.node()
        away = s.some_time(0.0, 8.0)
        async with s.taken(node.id) as free:
            if not free:
                return
            what = " and ".join([*(["manager"] if manager else []), *(["Tile38"] if tile38 else [])])
            s.say(f"kill -9 {what} of {node.id} for {away:.2f} s")
            if manager:
                node.manager.signal(signal.SIGKILL)
            if tile38:
                await asyncio.to_thread(node.tile38.kill)
            if manager:
                await asyncio.to_thread(node.manager.ended, 10.0)
            await asyncio.sleep(away)
            if manager and s.random.random() < 0.5:
                _start_manager(node)
                await asyncio.sleep(s.some_time(0.0, 2.0))
            if tile38:
                await _start_tile38(node)
            _start_manager(node)

    return strike


def _stop(manager: bool, tile38: bool) -> Callable[[Striking], Awaitable[None]]:
    async def strike(s: Striking) -> None:
        node = s.node()
        away = s.some_time(0.2, 5.0)
        async with s.taken(node.id) as free:
            if not free:
                return
            what = " and ".join([*(["manager"] if manager else []), *(["Tile38"] if tile38 else [])])
            s.say(f"SIGSTOP {what} of {node.id} for {away:.2f} s")
            if manager:
                node.manager.signal(signal.SIGSTOP)
            if tile38:
                node.tile38.pause()
            await asyncio.sleep(away)
            if tile38:
                node.tile38.resume()
            if manager:
                await asyncio.sleep(s.random.choice([0.0, 0.0, 0.3]))
                node.manager.signal(signal.SIGCONT)

    return strike


async def _restart(s: Striking) -> None:
    node = s.node()
    away = s.some_time(0.0, 4.0)
    async with s.taken(node.id) as free:
        if not free:
            return
        s.say(f"stop manager of {node.id} in good order, start it {away:.2f} s later")
        node.manager.signal(signal.SIGTERM)
        if not await asyncio.to_thread(node.manager.ended, 30.0):
            s.say(f"manager of {node.id} did not stop within 30 s")
            node.manager.signal(signal.SIGKILL)
            await asyncio.to_thread(node.manager.ended, 5.0)
        await asyncio.sleep(away)
        _start_manager(node)


async def _kill_consul(s: Striking) -> None:
    away = s.some_time(0.2, 6.0)
    async with s.taken("consul") as free:
        if not free:
            return
        s.say(f"kill -9 Consul, start it {away:.2f} s later")
        await asyncio.to_thread(s.world.consul.kill)
        await asyncio.sleep(away)
        await asyncio.to_thread(s.world.consul.start)


async def _stop_consul(s: Striking) -> None:
    away = s.some_time(0.2, 8.0)
    async with s.taken("consul") as free:
        if not free:
            return
        s.say(f"SIGSTOP Consul for {away:.2f} s")
        s.world.consul.pause()
        await asyncio.sleep(away)
        s.world.consul.resume()


# -- links -----------------------------------------------------------------------


def _pairs(s: Striking) -> tuple[str, list[tuple[int, int]]]:
    """One pair of nodes, one node from all others, or one from Consul."""
    node = s.node().number
    others = [n.number for n in s.world.nodes if n.number != node]
    kind = s.random.choice(["pair", "pair", "node", "consul"])
    if kind == "pair":
        other = s.random.choice(others)
        return f"node{node} and node{other}", [(node, other)]
    if kind == "consul":
        return f"node{node} and Consul", [(node, 0)]
    return f"node{node} and the other nodes", [(node, other) for other in others]


def _names(pairs: Iterable[tuple[int, int]]) -> list[str]:
    return [f"link{min(pair)}-{max(pair)}" for pair in pairs]


def _reset(s: Striking, pairs: Iterable[tuple[int, int]]) -> None:
    for i, j in pairs:
        for key, relay in s.world.relays.items():
            if key[:2] in ((i, j), (j, i)):
                relay.reset()


async def _cut(s: Striking) -> None:
    what, pairs = _pairs(s)
    away = s.some_time(0.2, 8.0)
    refused, told = s.random.random() < 0.4, s.random.random() < 0.5
    async with s.taken(*_names(pairs)) as free:
        if not free:
            return
        how = ("refused" if refused else "silent") + (", then reset" if told else "")
        s.say(f"cut {what} for {away:.2f} s ({how})")
        wires = [s.world.wires[pair] for i, j in pairs for pair in ((i, j), (j, i))]
        for wire in wires:
            wire.stall()
            wire.refuses = refused
        if refused:
            _reset(s, pairs)
        await asyncio.sleep(away)
        if told:
            _reset(s, pairs)
        for wire in wires:
            wire.heal()


async def _one_way(s: Striking) -> None:
    what, pairs = _pairs(s)
    away = s.some_time(0.2, 8.0)
    back = s.random.random() < 0.5
    async with s.taken(*_names(pairs)) as free:
        if not free:
            return
        s.say(f"cut {what} one way ({'to' if back else 'from'} the first) for {away:.2f} s")
        wires = [s.world.wires[(j, i) if back else (i, j)] for i, j in pairs]
        for wire in wires:
            wire.stall()
        await asyncio.sleep(away)
        for wire in wires:
            wire.heal()


async def _slow(s: Striking) -> None:
    what, pairs = _pairs(s)
    away, delay = s.some_time(1.0, 10.0), s.some_time(0.005, 0.4)
    async with s.taken(*_names(pairs)) as free:
        if not free:
            return
        s.say(f"slow between {what}: {delay * 1000:.0f} ms each way for {away:.2f} s")
        wires = [s.world.wires[pair] for i, j in pairs for pair in ((i, j), (j, i))]
        for wire in wires:
            wire.delay = delay
        await asyncio.sleep(away)
        for wire in wires:
            wire.heal()


# -- the rest ----------------------------------------------------------------------


async def _disk(s: Striking) -> None:
    node = s.node()
    away = s.some_time(0.5, 10.0)
    process = node.manager.process
    if process is None or process.poll() is not None:
        return
    # Two at once would leave the limit of the first, since the second takes it for what was before.
    async with s.taken(f"disk of {node.id}") as free:
        if not free:
            return
        s.say(f"no file of the manager of {node.id} may grow for {away:.2f} s")
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
        await asyncio.sleep(away)
        if process.poll() is None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)


async def _shrink(s: Striking) -> None:
    node = s.node()
    async with s.taken(node.id) as free:
        # A log that is rewritten while nobody watches it proves nothing, and if it was the last
        # one that counted an operator must decide.  So its manager has the time to look, before and after.
        if not free:
            return
        await asyncio.sleep(WATCH)
        if await asyncio.to_thread(node.watched):
            s.say(f"AOFSHRINK on {node.id}, behind the cluster's back")
            await asyncio.to_thread(node.direct, "AOFSHRINK")
            await asyncio.sleep(WATCH)


async def _switch_over(s: Striking) -> None:
    s.say("an operator asks for a switchover")
    await _put(s, "switchover", {})


async def _shrink_all(s: Striking) -> None:
    s.say("an operator asks for a shrink of all logs")
    await _put(s, "shrink", {"id": str(now())})


async def _put(s: Striking, name: str, asked: object) -> None:
    async with s.taken("consul") as free:
        if free:
            await asyncio.to_thread(s.world.consul.request, "PUT", f"/v1/kv/{PREFIX}/{name}", asked)


FAULTS = (
    Fault("kill-manager", 4, _kill(True, False)),
    Fault("kill-tile38", 4, _kill(False, True)),
    Fault("kill-node", 4, _kill(True, True)),
    Fault("stop-manager", 4, _stop(True, False)),
    Fault("stop-tile38", 3, _stop(False, True)),
    Fault("stop-node", 3, _stop(True, True)),
    Fault("restart", 3, _restart),
    Fault("consul-kill", 2, _kill_consul),
    Fault("consul-stop", 2, _stop_consul),
    Fault("cut", 5, _cut),
    Fault("one-way", 4, _one_way),
    Fault("slow", 3, _slow),
    Fault("disk", 2, _disk),
    Fault("shrink", 2, _shrink),
    Fault("ask-switchover", 1, _switch_over),
    Fault("ask-shrink", 1, _shrink_all),
)


def chosen(prefixes: tuple[str, ...]) -> tuple[Fault, ...]:
    """The faults whose names begin so; all without a prefix."""
    found = tuple(f for f in FAULTS if not prefixes or f.name.startswith(prefixes))
    if not found:
        raise SystemExit(f"no such fault; there are {', '.join(f.name for f in FAULTS)}")
    return found
