"""One run from start to verdict."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import time
from collections.abc import Iterable, Iterator

from attrs import define, field

from tests.chaos.clients import LIFETIMES, TTL, Load
from tests.chaos.contents import Contents, contents, differences, registers
from tests.chaos.faults import Striking, chosen
from tests.chaos.gates import by_node, overlaps
from tests.chaos.history import Outcome, wrong_ends, wrong_reads
from tests.chaos.options import Options
from tests.chaos.world import Node, World, now
from tests.real import ReplyError

#: Seconds for the cluster to be of one mind, once everything is healed.
SETTLE_TIMEOUT = 90.0
#: Seconds for all nodes to hold the same, once settled and without load.
EQUAL_TIMEOUT = 20.0
#: Followers' objects live that much longer (C{--replication.ttl-slack}).
SLACK = 6.0
#: What a full disk looks like here; a manager that is started on one may end, if it says so.
FULL = "[Errno 27]"
#: With findings so many lines of each manager's log are printed.
LAST_LINES = 8
#: And so many of where it was.
STACK_LINES = 8
#: At most so many findings of one kind are printed, and so much of each: others see only the end of a log.
SHOWN, WIDTH = 5, 300


@define
class Run:
    """A run and what was found."""

    options: Options
    findings: list[str] = field(factory=list)
    _began: float = 0.0

    def say(self, text: str) -> None:
        """One line, with seconds since the start and the wall clock, as in the managers' logs."""
        wall = time.strftime("%H:%M:%S", time.gmtime())
        print(f"{now() - self._began:8.2f} {wall}Z  {text}", flush=True)

    async def go(self) -> bool:
        """Everything; returns whether nothing was found."""
        self._began = now()
        world = World(self.options)
        self.say(f"seed {self.options.seed}, logs in {world.folder}, clock {self._began:.3f}")
        load = Load(world, self.options.seed)
        striking = Striking(world, random.Random(self.options.seed), self.say)
        try:
            await world.start()
            self.say("settled")
            load.start()
            await striking.go_on(self.options.minutes * 60, chosen(self.options.only))
            self.say("all faults are undone")
            await self._judge(world, load)
            if self.findings:
                self._tell_last(world)
        finally:
            await world.stop()
        self._gates(world)
        self._sum_up(world, load, striking)
        if not self.findings and not self.options.keep:
            world.forget()
        return not self.findings

    def _tell_last(self, world: World) -> None:
        """What the managers logged last, and where they were: on another machine nobody can look."""
        for node in world.nodes:
            said = node.manager.text().splitlines()
            state = node.manager.state()
            node.manager.abort()
            where = itertools.dropwhile(
                lambda line: "Current thread" not in line, node.manager.text().splitlines()[len(said) :]
            )
            for line in (
                *said[-LAST_LINES:],
                f"it was in state {state}",
                *itertools.islice(where, STACK_LINES),
            ):
                self.say(f"LAST {node.id}: {_short(line)}")

    async def _judge(self, world: World, load: Load) -> None:
        for node in world.nodes:
            if not node.manager.running:
                self.say(f"the manager of {node.id} has ended, and is started again")
                node.manager.start()
        await asyncio.sleep(2.0)
        await load.stop()
        settled = True
        try:
            self.say(f"settled {await world.settled(SETTLE_TIMEOUT):.1f} s later")
        except TimeoutError as e:
            settled = False
            self._found([f"NOT SETTLED: {e}"])
        await asyncio.sleep(max(LIFETIMES) + SLACK)
        leader = world.status().get("leader", "")
        held = await self._equal(node for node in world.nodes if settled or node.id == leader)
        self._found(f"READ: {each}" for each in wrong_reads(load.history))
        self._found(f"READ THROUGH R: {each}" for each in _phantoms(load))
        if leader in held:
            values = registers(held[leader])
            if not self.options.lifetimes:
                load.history.forget(TTL)
            known = {key: v for key, v in values.items() if key[0] != TTL or key in load.history.writes}
            self._found(f"{leader}: {each}" for each in wrong_ends(load.history, known, now()))

    async def _equal(self, compared: Iterable[Node]) -> dict[str, Contents]:
        """What these nodes hold, as soon as it is the same."""
        nodes, end = list(compared), now() + EQUAL_TIMEOUT
        while True:
            try:
                held = {node.id: await asyncio.to_thread(contents, node) for node in nodes}
            except (OSError, ReplyError) as e:
                if now() > end:
                    self._found([f"NOT READABLE: {e}"])
                    return {}
                await asyncio.sleep(0.5)
                continue
            if not self.options.lifetimes:
                held = {node: {k: v for k, v in found.items() if k != TTL} for node, found in held.items()}
            wrong = [
                f"{a} / {b}: {d}" for a, b in itertools.pairwise(held) for d in differences(held[a], held[b])
            ]
            if not wrong:
                return held
            if now() > end:
                self._found(f"NOT EQUAL: {each}" for each in wrong)
                return held
            await asyncio.sleep(0.5)

    def _gates(self, world: World) -> None:
        logs = {node.id: node.manager.text().splitlines() for node in world.nodes}
        found = by_node(logs, {node.id: node.manager.deaths for node in world.nodes})
        self.say(f"gates were open {len(found)} times")
        self._found(f"TWO GATES: {one} and {other}" for one, other in overlaps(found))
        if not found:
            self._found(["no gate was ever seen open"])

    def _found(self, findings: list[str] | Iterator[str]) -> None:
        every = list(findings)
        for each in every[:SHOWN]:
            self.say(f"FOUND {each[:WIDTH]}")
        if len(every) > SHOWN:
            self.say(f"FOUND {len(every) - SHOWN} more of that kind")
        self.findings += every

    def _sum_up(self, world: World, load: Load, striking: Striking) -> None:
        history = load.history
        logs = "\n".join(node.manager.text() for node in world.nodes)
        pause, when = history.longest_pause()
        epochs = {int(n) for n in re.findall(r'"gate": "open", .*?"epoch": (\d+)', logs)}
        epochs |= {int(n) for n in re.findall(r'"epoch": (\d+),.*?"gate": "open"', logs)}
        for text, count in load.errors.most_common(12):
            self.say(f"{count:6} x -{text}")
        self.say("faults: " + ", ".join(f"{name} {n}" for name, n in sorted(striking.counts.items())))
        outcomes = ", ".join(f"{history.count(outcome)} {outcome.value}" for outcome in Outcome)
        self.say(f"writes: {sum(1 for _ in history.all_writes())}, {outcomes}")
        self.say(
            f"reads: {len(history.reads)} through W, {len(load.stale_reads)} through R;"
            f" {load.published} messages published, {load.messages} heard"
        )
        self.say(
            f"longest pause {pause:.2f} s at {when - self._began:.2f}, {max(0, len(epochs) - 1)} failovers, "
            f"{logs.count('this node starts over')} start-overs, {logs.count('kept in /')} tails or copies"
        )
        trouble = sorted(set(re.findall(r'"level": "critical".*?"message": "([^"]*)"', logs)))
        self._found(f"CRITICAL: {each}" for each in trouble if FULL not in each)
        self.say(f"{len(self.findings)} findings, seed {self.options.seed}, logs in {world.folder}")


def _short(line: str) -> str:
    """Of a line that a manager logged as JSON what a person reads first."""
    try:
        record = json.loads(line)
        return f"{record['time']} {record['message']}"[:WIDTH]
    except (ValueError, KeyError, TypeError):
        return line[:WIDTH]


def _phantoms(load: Load) -> Iterator[str]:
    """What R answered and nobody can have written by then."""
    for read in load.stale_reads:
        writes = load.history.writes.get(read.key, [])
        fit = [w for w in writes if w.outcome is not Outcome.REFUSED and w.invoked <= read.ended]
        if read.value is not None and not any(w.value == read.value for w in fit):
            yield f"{read.by} read {read.key} = {read.value!r}"
