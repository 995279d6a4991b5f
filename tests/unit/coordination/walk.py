"""Random walks through the simulated world, for depth: C{python -m tests.unit.coordination.walk}.

Each walk is decided by its seed alone: its clocks, its weather and how likely
each kind of trouble is.  The default says how many walks there were and lists
the violations; C{--trace SEED} tells one walk.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

from tests.unit.coordination.model import CALM, Options, Violation, World, storm
from tests.unit.coordination.mutants import MUTANTS, weakened
from tests.unit.coordination.simnode import Node

Trouble = Callable[[World], None]


def _any(world: World) -> str:
    return world.rng.choice(sorted(world.nodes))


def _favourite(world: World) -> str:
    """Mostly one that leads or has just led."""
    leading = [n.name for n in world.nodes.values() if n.up and n.election.epoch()]
    return world.rng.choice(leading) if leading and world.rng.random() < 0.6 else _any(world)


def crash(world: World) -> None:
    """A process ends, mostly to be started again soon."""
    node = world.nodes[_favourite(world)]
    if node.up:
        clean = world.rng.random() < 0.5
        world.note(f"{node.name} crashes, clean: {clean}")
        node.crash(clean)
        world.at(world.rng.choice((0.05, 0.5, 3.0, 10.0)), lambda: _start(world, node.name))


def _start(world: World, name: str) -> None:
    if not world.nodes[name].up:
        world.note(f"{name} starts")
        world.nodes[name].start()


def stall(world: World) -> None:
    """A process is frozen for a while."""
    node = world.nodes[_favourite(world)]
    if node.up and not node.stalled:
        world.note(f"{node.name} is frozen")
        node.stalled = True
        life = node.life
        world.at(world.rng.choice((0.3, 1.1, 2.0, 4.0)), lambda: _wake(world, node.name, life))


def _wake(world: World, name: str, life: int) -> None:
    if world.nodes[name].life == life and world.nodes[name].stalled:
        world.note(f"{name} wakes")
        world.nodes[name].wake()


def cut(world: World) -> None:
    """Two nodes do not reach each other for a while."""
    pair = frozenset((_favourite(world), _any(world)))
    if len(pair) == 2 and pair not in world.cuts:
        world.note(f"{sorted(pair)} are cut")
        world.cuts.add(pair)
        world.at(world.rng.choice((0.7, 2.0, 6.0, 15.0)), lambda: world.cuts.discard(pair))


def cut_consul(world: World) -> None:
    """A node does not reach Consul for a while."""
    name = _favourite(world)
    world.note(f"{name} is cut from consul")
    world.without_consul.add(name)
    world.at(world.rng.choice((1.0, 3.0, 8.0)), lambda: world.without_consul.discard(name))


def isolate(world: World) -> None:
    """A node reaches nobody for a while, and the other nodes sooner than Consul."""
    name = _favourite(world)
    world.note(f"{name} is alone")
    pairs = {frozenset((name, other)) for other in world.nodes if other != name}
    world.cuts |= pairs
    world.without_consul.add(name)
    pause = world.rng.choice((1.0, 2.0, 4.0))
    world.at(pause, lambda: world.cuts.difference_update(pairs))
    world.at(pause + world.rng.choice((0.0, 1.0, 4.0)), lambda: world.without_consul.discard(name))


def change_weather(world: World) -> None:
    """Better or worse."""
    world.weather = storm(world.rng) if world.rng.random() < 0.7 else CALM


def write(world: World) -> None:
    """Some clients write through a node that may lead."""
    node = world.nodes[_favourite(world)]
    if node.up and not node.stalled:
        for _ in range(world.rng.randint(1, 3)):
            node.write()


def read(world: World) -> None:
    """A client reads through a node that may lead."""
    node = world.nodes[_favourite(world)]
    if node.up and not node.stalled:
        node.read()


def hand_over(world: World) -> None:
    """A leader ends its work well, is stopped a little later, and started again."""
    for node in world.gates():
        if not node.stalled:
            world.note(f"{node.name} hands over")
            node.election.hand_over(len(node.log))
            node.post(world.rng.choice((0.5, 2.0, 5.0)), partial(_stop, node))


def _stop(node: Node) -> None:
    node.world.note(f"{node.name} stops")
    node.election.stop()
    node.post(node.world.rng.uniform(0, 1.0), partial(_gone, node))


def _gone(node: Node) -> None:
    node.crash(clean=True)
    node.world.at(node.world.rng.choice((0.1, 3.0)), partial(_start, node.world, node.name))


def resign(world: World) -> None:
    """A leader's Tile38 was started again: its log has ended."""
    node = world.nodes[_favourite(world)]
    if node.up and not node.stalled and node.election.epoch():
        world.note(f"{node.name} resigns")
        node.election.resign("its Tile38 was started again")


def lose_lock(world: World) -> None:
    """The session of a leader has expired."""
    node = world.nodes[_favourite(world)]
    if node.up and not node.stalled:
        node.election.lock(False)


TROUBLES: tuple[tuple[Trouble, float], ...] = (
    (write, 6.0),
    (read, 2.0),
    (stall, 1.5),
    (crash, 1.0),
    (cut, 1.5),
    (cut_consul, 0.7),
    (isolate, 0.7),
    (change_weather, 1.0),
    (hand_over, 0.5),
    (resign, 0.3),
    (lose_lock, 0.3),
)


def walk(seed: int, trace: list[str] | None = None) -> World:
    """One walk; raises L{Violation}, or whatever the rules raise."""
    rng = Random(seed)
    options = Options(
        tick=rng.choice((0.05, 0.1, 0.2, 0.4)),
        survey=rng.choice((0.01, 0.05, 0.2)),
        watch=rng.choice((0.2, 1.0, 3.0)),
        expect=rng.choice((1, 2)),
        ack_copies=rng.random() < 0.5,
    )
    world = World.build(rng, rng.choice((2, 3, 3, 3, 4)), options, founded=rng.random() < 0.85)
    world.trace = trace
    world.run(rng.choice((0.0, 3.0)))
    troubles = [trouble for trouble, _ in TROUBLES]
    weights = [weight * rng.choice((0.1, 1.0, 1.0, 4.0)) for _, weight in TROUBLES]
    pause = rng.choice((0.1, 0.4, 1.0))
    world.weather = storm(rng)
    for _ in range(rng.randint(20, 80)):
        rng.choices(troubles, weights)[0](world)
        world.check()
        world.run(rng.uniform(0, pause))
    if rng.random() < 0.5:
        world.calm()
    return world


def judge(seed: int, trace: list[str] | None = None) -> str | None:
    """What is wrong with a walk, or C{None}."""
    try:
        walk(seed, trace)
    except Violation as e:
        return str(e)
    except Exception as e:  # whatever the rules raise is a finding too
        return f"error: {e!r}"
    return None


def main() -> None:
    """Walk for a while, or tell one walk."""
    parser = argparse.ArgumentParser(description="walk at random through the simulated world")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    parser.add_argument("--trace", action="store_true", help="tell the walk of this seed")
    args = parser.parse_args()
    with weakened(args.mutant):
        if args.trace:
            trace: list[str] = []
            found = judge(args.seed, trace)
            print("\n".join(trace), found, sep="\n")
        else:
            _many(args.seed, args.seconds)


def _many(first: int, seconds: float) -> None:
    kinds: Counter[str] = Counter()
    seed, end = first, time.monotonic() + seconds
    while time.monotonic() < end:
        found = judge(seed)
        if found is not None:
            kinds[found.split(":")[0]] += 1
            if kinds.total() <= 20:
                print(f"seed {seed}: {found}", flush=True)
        seed += 1
    print(f"{seed - first} walks from seed {first}, violations: {dict(kinds)}")


if __name__ == "__main__":
    main()
