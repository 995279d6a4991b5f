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


def crash(world: World, name: str, clean: bool, pause: float) -> None:
    """A process ends, and is started again after C{pause}."""
    node = world.nodes[name]
    if node.up:
        world.note(f"{name} crashes, clean: {clean}")
        node.crash(clean)
        world.at(pause, partial(_start, world, name))


def lose(world: World, name: str, most: int, pause: float) -> None:
    """A machine ends, and with it what was not synced; it is started again after C{pause}."""
    node = world.nodes[name]
    if node.up and world.lose(name, most):
        world.note(f"the machine of {name} ends, at {node.position}")
        node.crash(clean=True)
        world.at(pause, partial(_start, world, name))


def _start(world: World, name: str) -> None:
    if not world.nodes[name].up:
        world.note(f"{name} starts")
        world.nodes[name].start()


def stall(world: World, name: str, pause: float) -> None:
    """A process is frozen for a while."""
    node = world.nodes[name]
    if node.up and not node.stalled:
        world.note(f"{name} is frozen")
        node.stalled = True
        world.at(pause, partial(_wake, node, node.life))


def _wake(node: Node, life: int) -> None:
    if node.life == life and node.stalled:
        node.world.note(f"{node.name} wakes")
        node.wake()


def cut(world: World, name: str, other: str, pause: float) -> None:
    """Two nodes, or one node and Consul, do not reach each other for a while."""
    if name == other:
        world.note(f"{name} is cut from consul")
        world.without_consul.add(name)
        world.at(pause, lambda: world.without_consul.discard(name))
        return
    pair = frozenset((name, other))
    world.note(f"{name} and {other} are cut")
    world.cuts.add(pair)
    world.at(pause, lambda: world.cuts.discard(pair))


def isolate(world: World, name: str, pause: float, longer: float) -> None:
    """A node reaches nobody: no node for C{pause}, and Consul not for C{longer}."""
    world.note(f"{name} is alone")
    pairs = {frozenset((name, other)) for other in world.nodes if other != name}
    world.cuts |= pairs
    world.without_consul.add(name)
    world.at(pause, lambda: world.cuts.difference_update(pairs))
    world.at(longer, lambda: world.without_consul.discard(name))


def hand_over(world: World) -> None:
    """A leader ends its work well; later it is stopped and started again, or takes part again."""
    for node in world.gates():
        if not node.stalled:
            world.note(f"{node.name} hands over")
            node.election.hand_over(len(node.file))
            after = _come_back if world.rng.random() < 0.5 else _stop
            node.post(world.rng.choice((0.5, 2.0, 5.0)), partial(after, node))


def _come_back(node: Node) -> None:
    node.world.note(f"{node.name} takes part again")
    node.election.resign("nobody took over")
    node.election.come_back()


def leave(world: World, name: str) -> None:
    """A follower is stopped, which it tells its leader, and started again."""
    node = world.nodes[name]
    if _awake(node) and not node.election.epoch():
        node.take_leave()
        _stop(node)


def _stop(node: Node) -> None:
    node.world.note(f"{node.name} stops")
    node.election.stop()
    node.post(node.world.rng.uniform(0, 1.0), partial(_gone, node))


def _gone(node: Node) -> None:
    node.crash(clean=True)
    node.world.at(node.world.rng.choice((0.1, 3.0)), partial(_start, node.world, node.name))


def resign(world: World, name: str) -> None:
    """A leader's Tile38 was started again: its log has ended."""
    node = world.nodes[name]
    if _awake(node) and node.election.epoch():
        world.note(f"{name} resigns")
        node.election.resign("its Tile38 was started again")


def abandon(world: World) -> None:
    """A leader's Tile38 is gone for a while, and another member is to lead at once."""
    for node in world.gates():
        if not node.stalled:
            world.note(f"{node.name} lets another one lead")
            node.election.abandon("its Tile38 is gone", frozenset(world.nodes) - {node.name})


def _awake(node: Node) -> bool:
    return node.up and not node.stalled


# -- any of it, at random -------------------------------------------------


def _crash(world: World) -> None:
    crash(world, _favourite(world), world.rng.random() < 0.5, world.rng.choice((0.05, 0.5, 3.0, 10.0)))


def _lose(world: World) -> None:
    lose(world, _favourite(world), world.rng.choice((0, 1, 3)), world.rng.choice((0.05, 0.5, 3.0)))


def _stall(world: World) -> None:
    stall(world, _favourite(world), world.rng.choice((0.3, 1.1, 2.0, 4.0)))


def _cut(world: World) -> None:
    cut(world, _favourite(world), _any(world), world.rng.choice((0.7, 2.0, 6.0, 15.0)))


def _isolate(world: World) -> None:
    pause = world.rng.choice((1.0, 2.0, 4.0))
    isolate(world, _favourite(world), pause, pause + world.rng.choice((0.0, 1.0, 4.0)))


def _change_weather(world: World) -> None:
    world.weather = storm(world.rng) if world.rng.random() < 0.7 else CALM


def _write(world: World) -> None:
    node = world.nodes[_favourite(world)]
    if _awake(node):
        for _ in range(world.rng.randint(1, 3)):
            node.write()


def _read(world: World) -> None:
    node = world.nodes[_favourite(world)]
    if _awake(node):
        node.read()


def _leave(world: World) -> None:
    leave(world, _any(world))


def _resign(world: World) -> None:
    resign(world, _favourite(world))


def _lose_lock(world: World) -> None:
    node = world.nodes[_favourite(world)]
    if _awake(node):
        node.election.lock(False)


TROUBLES: tuple[tuple[Trouble, float], ...] = (
    (_write, 6.0),
    (_read, 2.0),
    (_stall, 1.5),
    (_crash, 1.0),
    (_lose, 0.7),
    (_cut, 2.0),
    (_isolate, 0.7),
    (_change_weather, 1.0),
    (hand_over, 0.7),
    (abandon, 0.7),
    (_leave, 0.3),
    (_resign, 0.3),
    (_lose_lock, 0.3),
)


def walk(seed: int, trace: list[str] | None = None) -> World:
    """One walk; raises L{Violation}, or whatever the rules raise."""
    rng = Random(seed)
    options = Options(
        tick=rng.choice((0.05, 0.1, 0.2, 0.4)),
        survey=rng.choice((0.01, 0.05, 0.2)),
        watch=rng.choice((0.2, 1.0, 3.0)),
        expect=rng.choice((1, 2)),
        busy=rng.choice((0.0, 0.0, 0.3)),
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


def judge(seed: int, trace: list[str] | None = None, counts: Counter[str] | None = None) -> str | None:
    """What is wrong with a walk, or C{None}; C{counts} adds up what good walks have been through."""
    try:
        world = walk(seed, trace)
        if counts is not None:
            counts.update(world.counts)
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
    counts: Counter[str] = Counter()
    seed, end = first, time.monotonic() + seconds
    while time.monotonic() < end:
        found = judge(seed, counts=counts)
        if found is not None:
            kinds[found.split(":")[0]] += 1
            if kinds.total() <= 20:
                print(f"seed {seed}: {found}", flush=True)
        seed += 1
    print(f"{seed - first} walks from seed {first}, violations: {dict(kinds)}; {dict(counts)}")


if __name__ == "__main__":
    main()
