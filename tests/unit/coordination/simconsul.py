"""A simulated Consul that holds C{status}: late, lossy, but consistent.

Requests take effect when their delay is over, whatever became of the
requester meanwhile; L{Writing} is the loop around the real L{Settlement}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from attrs import define, evolve, field

from tile38cm.coordination.status import EpochRecord, Settlement, Status

if TYPE_CHECKING:
    from tests.unit.coordination.simnode import Node

#: How it ended: whether ours is there, what is there, its index.
Settled = Callable[[bool, Status | None, int], None]
T = TypeVar("T")


@define
class Consul:
    """The document, its C{ModifyIndex}, and all that it ever was."""

    status: Status | None = None
    index: int = 0
    #: The tree of terms.
    records: dict[int, EpochRecord] = field(factory=dict)
    #: Writes that are under way, by whomever.
    flying: int = 0
    _raft: int = 10
    history: list[tuple[Status | None, int]] = field(factory=lambda: [(None, 0)])

    def write(self, status: Status, index: int) -> bool:
        """Compare and set; an index of 0 creates."""
        if index != self.index:
            return False
        self._raft += 1
        self.status, self.index = status, self._raft
        self.history.append((status, self._raft))
        return True


@define(eq=False)
class Writing:
    """One wanted write of one process, attempted until its outcome is certain."""

    node: Node
    settlement: Settlement
    settled: Settled
    record: EpochRecord | None = None
    _stage: int = 0

    def attempt(self) -> None:
        """Send the document once more."""
        doc = self.settlement.attempt(self.node.world.nonce)
        self._ask(lambda: self._apply(doc), self._written, self.read)

    def read(self) -> None:
        """Look what became of it."""
        consul = self.node.world.consul
        self._ask(lambda: (consul.status, consul.index), self._found, self.read)

    def _apply(self, doc: Status) -> tuple[bool, Status, int]:
        world = self.node.world
        done = world.consul.write(doc, self.settlement.index)
        if done:
            world.dirty = True
            if self.record is not None:
                world.consul.records[doc.epoch] = evolve(self.record, epoch=doc.epoch)
            members = ", ".join(sorted(doc.sync_set))
            world.note(
                f"consul: {self.node.name} wrote epoch {doc.epoch} version {doc.version} set {members}"
            )
        return done, doc, world.consul.index

    def _written(self, answer: tuple[bool, Status, int]) -> None:
        done, doc, index = answer
        if done:
            self.settled(True, doc, index)
        else:
            self.read()

    def _found(self, answer: tuple[Status | None, int]) -> None:
        outcome = self.settlement.outcome(*answer)
        if outcome is None:
            self.attempt()
        else:
            self.settled(outcome, *answer)

    def _ask(self, effect: Callable[[], T], then: Callable[[T], None], otherwise: Callable[[], None]) -> None:
        """Have C{effect} at Consul some time, and go on with its answer or after a time-out."""
        world, node = self.node.world, self.node
        self._stage += 1
        stage = self._stage

        def go_on(step: Callable[[], None]) -> None:
            if self._stage == stage:
                self._stage += 1
                step()

        def arrive() -> None:
            world.consul.flying -= 1
            answer = effect()
            back = world.weather.consul_delay(world.rng)
            if back is not None:
                node.post(back, lambda: go_on(lambda: then(answer)))

        there = world.weather.consul_delay(world.rng)
        if there is not None and node.name not in world.without_consul:
            world.consul.flying += 1
            world.at(there, arrive)
        node.post(world.rng.uniform(0.2, 1.2), lambda: go_on(otherwise))
