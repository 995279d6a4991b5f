"""L{tile38cm.replication.history} over generated trees of epochs, with the true history of every log."""

from __future__ import annotations

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.coordination.status import EpochRecord
from tile38cm.model import Position
from tile38cm.peers.messages import Data
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.history import EMPTY, Continue, PresentLog, Segment, StartOver, parted_at, plan

#: Bytes of a command, in all logs.
SIZE = 10
#: What is in a log and in no stream: a marker, an own expiry.
PRIVATE = 0


@define
class Node:
    """One member: the commands that it has applied, and its log, which holds private ones as well."""

    applied: list[int] = field(factory=list)
    log: list[int] = field(factory=list)
    position: Position = EMPTY
    #: The epochs that its log is the log of; none: it is a copy.
    led: frozenset[int] = frozenset()
    #: Commands of epochs that were delivered to it, by place.
    kept: dict[tuple[int, int], int] = field(factory=dict)

    def covers(self, epoch: int, start: int, end: int) -> bool:
        return all((epoch, at) in self.kept for at in range(start, end, SIZE))

    def take(self, epoch: int, start: int, command: int) -> None:
        """A command of a stream is delivered."""
        self.kept[epoch, start] = command
        self.position = Position(epoch, start + SIZE)
        if command != PRIVATE:
            self.applied.append(command)
            self.log.append(command)


@define
class World:
    """A cluster without a network: who leads whom, and what is true."""

    nodes: list[Node]
    records: dict[int, EpochRecord] = field(factory=dict)
    epoch: int = 0
    leader: int = 0
    commands: int = 0

    def lead(self, n: int, private: int) -> None:
        """A node begins a term where it stands, with something of its own in its log before."""
        node, self.leader = self.nodes[n], n
        parent, self.epoch = node.position, self.epoch + 1
        same = node.led if parent.epoch in node.led else frozenset()
        node.log += [PRIVATE] * private
        start = len(node.log) * SIZE
        self.records[self.epoch] = EpochRecord(self.epoch, str(n), parent.epoch, parent.offset, start)
        node.led = same | {self.epoch}
        node.position = Position(self.epoch, start)

    def write(self, count: int) -> None:
        """Clients write, by ones and twos with an expiry between."""
        node = self.nodes[self.leader]
        for _ in range(count):
            self.commands += 1
            node.applied.append(self.commands)
            node.log += [self.commands] if self.commands % 3 else [self.commands, PRIVATE]
        node.position = Position(self.epoch, len(node.log) * SIZE)

    def plan(self, n: int) -> Continue | StartOver:
        """What the leader decides for a node."""
        leader = self.nodes[self.leader]
        log = PresentLog(self.epoch, len(leader.log) * SIZE, leader.led - {self.epoch})
        return plan(self.nodes[n].position, self.records, log, leader)

    def stream(self, decision: Continue) -> list[tuple[int, int, int]]:
        """What the leader would send: epoch, place and command."""
        leader, sent = self.nodes[self.leader], []
        for segment in decision.segments:
            for at in range(segment.start, segment.end, SIZE):
                sent.append((segment.epoch, at, leader.kept[segment.epoch, at]))
        epoch, turns = decision.log_epoch, list(decision.turns)
        for at in range(decision.log_from, len(leader.log) * SIZE, SIZE):
            while turns and turns[0].offset <= at:
                epoch = turns.pop(0).epoch
            sent.append((epoch, at, leader.log[at // SIZE]))
        return sent

    def follow(self, n: int, most: int) -> None:
        """A node connects, and gets so many commands of what the leader has for it."""
        node, decision = self.nodes[n], self.plan(n)
        if n == self.leader:
            return
        if isinstance(decision, StartOver):
            self.nodes[n] = node = Node()
            decision = self.plan(n)
            assert isinstance(decision, Continue)
        node.led = frozenset()
        node.position = decision.begin
        for epoch, at, command in self.stream(decision)[:most]:
            node.take(epoch, at, command)
        if most > len(self.stream(decision)) and node.position.epoch != self.epoch:
            node.position = [Position(decision.log_epoch, decision.log_from), *decision.turns][-1]


Steps = list[tuple[str, int] | tuple[str, int, int]]

nodes = st.integers(0, 3)
steps: st.SearchStrategy[Steps] = st.lists(
    st.one_of(
        st.tuples(st.just("lead"), nodes, st.integers(0, 2)),
        st.tuples(st.just("write"), st.integers(1, 4)),
        st.tuples(st.just("follow"), nodes, st.sampled_from([1, 3, 100])),
    ),
    max_size=25,
)


def world(told: Steps) -> World:
    """A cluster to which all that has happened."""
    made = World([Node() for _ in range(4)])
    made.lead(0, 0)
    for name, *numbers in told:
        getattr(made, name)(*numbers)
    return made


class HistoryTests(SynchronousTestCase):
    """Continue, or start over."""

    @given(steps)
    def test_prefix(self, told: Steps) -> None:
        """Who continues has a prefix of what the leader has, and is sent exactly the rest."""
        made = world(told)
        truth = made.nodes[made.leader].applied
        for n, node in enumerate(made.nodes):
            decision = made.plan(n)
            if isinstance(decision, Continue):
                rest = [command for _, _, command in made.stream(decision) if command != PRIVATE]
                self.assertEqual(node.applied + rest, truth)
                length = decision.length(len(made.nodes[made.leader].log) * SIZE)
                self.assertEqual(length, len(made.stream(decision)) * SIZE)

    @given(steps, nodes)
    def test_everybody_ends_level(self, told: Steps, n: int) -> None:
        """Whoever follows long enough has what the leader has, at the leader's position, and may go on."""
        made = world(told)
        made.follow(n, 1000)
        leader, node = made.nodes[made.leader], made.nodes[n]
        self.assertEqual(node.applied, leader.applied)
        if n != made.leader:
            self.assertEqual(node.position, Position(made.epoch, len(leader.log) * SIZE))
            decision = made.plan(n)
            assert isinstance(decision, Continue)
            self.assertEqual(made.stream(decision), [])

    @given(steps)
    def test_unknown_and_empty(self, told: Steps) -> None:
        """Without a position everything is sent again; an empty node gets the whole log."""
        made = world(told)
        log = PresentLog(made.epoch, len(made.nodes[made.leader].log) * SIZE)
        self.assertIsInstance(plan(None, made.records, log, Node()), StartOver)
        self.assertEqual(
            plan(EMPTY, made.records, log, Node()), Continue(Position(made.epoch, 0), (), 0, made.epoch)
        )

    @given(steps, st.integers(0, 8), st.integers(0, 400))
    def test_any_position(self, told: Steps, epoch: int, offset: int) -> None:
        """Whatever a node claims, it is answered, and only with bytes that are there."""
        made = world(told)
        made.nodes[3 - made.leader % 2] = Node(position=Position(epoch, offset * SIZE))
        decision = made.plan(3 - made.leader % 2)
        if isinstance(decision, Continue):
            made.stream(decision)


def record(epoch: int, parent: int, parent_offset: int, start: int | None) -> EpochRecord:
    return EpochRecord(epoch, "n", parent, parent_offset, start)


class EverythingHeld:
    """Has all bytes that were ever written."""

    def covers(self, epoch: int, start: int, end: int) -> bool:
        return True


class PlanTests(SynchronousTestCase):
    """Single trees."""

    def plan(self, position: Position, log: PresentLog, *records: EpochRecord) -> Continue | StartOver:
        return plan(position, {r.epoch: r for r in records}, log, EverythingHeld())

    def test_two_failovers(self) -> None:
        """Away for two failovers: the rest of two epochs, then the log."""
        records = record(1, 0, 0, 0), record(2, 1, 100, 90), record(3, 2, 300, 310)
        self.assertEqual(
            self.plan(Position(1, 60), PresentLog(3, 500), *records),
            Continue(Position(1, 60), (Segment(1, 60, 100), Segment(2, 90, 300)), 310, 3),
        )

    def test_same_log(self) -> None:
        """What the leader's earlier terms wrote is in its log; the backlog of a leader has none of it."""
        records = record(1, 0, 0, 0), record(2, 1, 100, 90), record(3, 2, 300, 310), record(4, 3, 500, 500)
        log = PresentLog(4, 600, frozenset({2, 3}))
        turns = (Position(3, 300), Position(4, 500))
        by_epoch = {r.epoch: r for r in records}
        first = Backlog(1000)
        first.append(Data(1, 100, b"x" * 100))
        for position, expected in (
            (Position(1, 60), Continue(Position(1, 60), (Segment(1, 60, 100),), 90, 2, turns)),
            (Position(2, 200), Continue(Position(2, 200), (), 200, 2, turns)),
            (Position(3, 400), Continue(Position(3, 400), (), 400, 3, turns[1:])),
            (Position(4, 600), Continue(Position(4, 600), (), 600, 4)),
        ):
            self.assertEqual(plan(position, by_epoch, log, first), expected)
        for position in (Position(2, 301), Position(3, 501), Position(4, 601)):
            self.assertIsInstance(plan(position, by_epoch, log, first), StartOver, position)

    def test_unfinished_copy(self) -> None:
        """A first copy that was interrupted goes on where it was, also when its leader was started again."""
        records = record(1, 0, 0, 0), record(2, 1, 100, 90), record(3, 2, 300, 310)
        self.assertEqual(
            self.plan(Position(2, 50), PresentLog(2, 400), *records[:2]), Continue(Position(2, 50), (), 50, 2)
        )
        self.assertEqual(
            self.plan(Position(2, 50), PresentLog(3, 400, frozenset({2})), *records),
            Continue(Position(2, 50), (), 50, 2, (Position(3, 300),)),
        )
        self.assertIsInstance(self.plan(Position(2, 50), PresentLog(3, 400), *records), StartOver)

    def test_beyond(self) -> None:
        """What was written behind the parting is in no history but its own."""
        records = record(1, 0, 0, 0), record(2, 1, 100, 90)
        self.assertIsInstance(self.plan(Position(1, 101), PresentLog(2, 500), *records), StartOver)

    def test_side_branch(self) -> None:
        """An epoch that nobody went on from is no way."""
        records = record(1, 0, 0, 0), record(2, 1, 100, 90), record(3, 1, 100, 95)
        self.assertIsInstance(self.plan(Position(2, 90), PresentLog(3, 500), *records), StartOver)

    def test_circle(self) -> None:
        """Rubbish in Consul ends in a start over, not in a search without end."""
        records = record(2, 3, 10, 10), record(3, 2, 10, 10), record(4, 3, 10, 10)
        self.assertIsInstance(self.plan(Position(1, 5), PresentLog(4, 50), *records), StartOver)
        self.assertIsNone(parted_at({r.epoch: r for r in records}, 1, 4))

    def test_start_not_known(self) -> None:
        """Nobody continues in or across an epoch whose start is not written."""
        for records in (
            (record(1, 0, 0, 0), record(2, 1, 100, None)),
            (record(1, 0, 0, 0), record(2, 1, 100, None), record(3, 2, 150, 150)),
        ):
            log = PresentLog(records[-1].epoch, 500)
            self.assertIsInstance(self.plan(Position(1, 60), log, *records), StartOver)

    def test_parted(self) -> None:
        """Where a log of one's own left the history, across several terms."""
        records = record(1, 0, 0, 0), record(2, 1, 100, 90), record(3, 2, 300, 310), record(4, 1, 40, 7)
        by_epoch = {r.epoch: r for r in records}
        self.assertEqual(parted_at(by_epoch, 2, 3), Position(2, 300))
        self.assertEqual(parted_at(by_epoch, 1, 3), Position(1, 100))
        self.assertIsNone(parted_at(by_epoch, 3, 4))
        self.assertIsNone(parted_at(by_epoch, 1, 9))
