"""Links between three nodes are cut, in every way that leaves somebody who can go on.

Relays stand in for the network (C{tests.chaos.links}): a cut link carries nothing, and tells nobody.
Clients are not behind them: they are on the nodes' own machines.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.chaos.options import parse
from tests.chaos.world import Node, World, now
from tests.cluster import WRITER_PORT
from tests.real import ReplyError, RespClient

#: Seconds for writes to go on after a cut (the issue), and what a busy machine is granted besides.
PAUSE, BUSY = 3.0, 3.0
#: Seconds that a cut lasts; and without one before it.
CUT, BEFORE = 8.0, 1.0
#: Seconds for a follower, once all is quiet, to apply what it has acknowledged.
APPLIED = 20.0
#: Consul, among the places between which there are wires.
CONSUL = 0


@define
class Writer:
    """Writes through one node's W all the time, until it is told to stop."""

    node: Node
    name: str
    going: bool = True
    #: When each acknowledgement came, and of what.
    acknowledged: list[tuple[float, str]] = field(factory=list)
    errors: list[tuple[float, str]] = field(factory=list)

    def run(self) -> None:
        """In a thread of its own."""
        count = itertools.count()
        client: RespClient | None = None
        while self.going:
            try:
                client = client or RespClient(self.node.host, WRITER_PORT, timeout=60)
                number = f"{self.name}-{next(count)}"
                client.command("SET", "cuts", number, "POINT", 1, 2)
                self.acknowledged.append((now(), number))
            except (OSError, ReplyError) as e:
                self.errors.append((now(), f"{type(e).__name__}: {e}"))
                if not isinstance(e, ReplyError):
                    client = None

    def times(self, since: float, until: float) -> list[float]:
        """When it was acknowledged something between these times."""
        return [at for at, _ in self.acknowledged if since <= at <= until]


class CutTests(TestCase):
    """One cluster, cut again and again"""

    timeout = 400

    def test_cuts(self) -> Deferred[None]:
        """Whoever can go on does within three seconds, without an error; nobody else is told so."""
        return deferToThread(lambda: asyncio.run(self.go()))

    async def go(self) -> None:
        """All cuts, one after the other."""
        world = World(parse(["--lease", "1s", "--seed", "1"]))
        try:
            await world.start()
            for name in ("alone", "with Consul", "without Consul", "deaf", "mute", "one link"):
                await self.cut(world, name)
        finally:
            await world.stop()
            world.forget()

    async def cut(self, world: World, name: str) -> None:
        """One cut: before, during, after."""
        leader = next(node for node in world.nodes if node.id == world.status()["leader"])
        others = [node for node in world.nodes if node is not leader]
        wires = cuts(name, leader, others)
        writers = {node.id: Writer(node, f"{name}-{node.id}".replace(" ", "-")) for node in world.nodes}
        running = [asyncio.create_task(asyncio.to_thread(writer.run)) for writer in writers.values()]
        await asyncio.sleep(BEFORE)
        began = now()
        for wire in wires:
            world.wires[wire].stall()
        await asyncio.sleep(CUT)
        leads = next(node for node in world.nodes if node.id == world.status()["leader"])
        ended = now()
        for wire in wires:
            world.wires[wire].heal()
        await world.settled(60)
        for writer in writers.values():
            writer.going = False
        await asyncio.wait(running, timeout=60)
        await world.settled(60)
        winners, losers = sides(name, leads, leader, others)
        for node in winners:
            self.check_goes_on(name, writers[node.id], began, ended)
        for node in losers:
            late = writers[node.id].times(began + PAUSE, ended)
            self.assertEqual(late, [], f"{name}: {node.id} was told that it wrote")
        await self.check_kept(name, world, writers.values())

    def check_goes_on(self, name: str, writer: Writer, began: float, ended: float) -> None:
        """No error, and no pause that is longer than promised."""
        self.assertEqual(writer.errors, [], f"{name}: {writer.node.id}")
        times = [began, *writer.times(began, ended), ended]
        pause = max(b - a for a, b in itertools.pairwise(times))
        self.assertLess(pause, PAUSE + BUSY, f"{name}: {writer.node.id}")
        print(f"{name}: {writer.node.id} paused for {pause:.2f} s")

    async def check_kept(self, name: str, world: World, writers: Iterable[Writer]) -> None:
        """What anybody was told is written is on every node, once its Tile38 has applied all it holds."""
        told = {number for writer in writers for _, number in writer.acknowledged}
        until = now() + APPLIED
        for node in world.nodes:
            while missing := told - await asyncio.to_thread(held, node):
                lacks = f"{name}: {node.id} lacks {len(missing)}, such as {min(missing)}"
                self.assertLess(now(), until, lacks)
                await asyncio.sleep(0.1)


def held(node: Node) -> set[str]:
    """What a node's own Tile38 has of what was written."""
    found: Any = node.direct("SCAN", "cuts", "LIMIT", 100_000_000, "IDS")
    return set(found[1])


def cuts(name: str, leader: Node, others: list[Node]) -> list[tuple[int, int]]:
    """The wires of a cut."""
    one, two = (node.number for node in others)
    led = leader.number
    to, back = [(led, one), (led, two)], [(one, led), (two, led)]
    with_consul = [(led, CONSUL), (CONSUL, led)]
    return {
        "alone": [*to, *back, *with_consul],
        "with Consul": [*to, *back],
        "without Consul": with_consul,
        "deaf": back,
        "mute": to,
        "one link": [(led, one), (one, led)],
    }[name]


def sides(name: str, leads: Node, leader: Node, others: list[Node]) -> tuple[list[Node], list[Node]]:
    """The nodes whose clients go on, and those whose clients must not be answered."""
    if name == "without Consul":
        return [leader, *others], []
    if name == "one link":
        return [leads, others[1]], []
    return ([leader], others) if leads is leader else (others, [leader])
