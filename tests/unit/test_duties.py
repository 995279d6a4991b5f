"""L{tile38cm.duties}: what becomes of a leader's own log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import Member, status
from tests.unit.local38 import LocalWay
from tile38cm.coordination.status import EpochRecord, Status
from tile38cm.duties import Duties, Hands
from tile38cm.health import LocalHealth
from tile38cm.model import Leadership, Position, Role
from tile38cm.peers.heartbeats import Members
from tile38cm.replication.source import Source
from tile38cm.replication.virtual_leader import AttachError
from tile38cm.state import StateDirectory
from tile38cm.vitals import Vitals

HERE = Position(1, 100)


class Known:
    """A replica that is told where the node stands."""

    def __init__(self) -> None:
        self.position: Position | None = None
        #: Where the epoch begins; C{None}: Tile38 cannot be promoted.
        self.start: int | None = 0

    def know(self, position: Position | None) -> None:
        self.position = position

    async def promote(self) -> int:
        if self.start is None:
            raise AttachError("not now")
        return self.start


class Book:
    """A store of epochs that takes what it is given."""

    async def write_record(self, record: EpochRecord, still_wanted: Callable[[], bool]) -> bool:
        return still_wanted()

    async def epochs(self) -> dict[int, EpochRecord]:
        return {}


class Nobody:
    """A source without followers."""

    def lead(self, reign: object) -> None:
        """Nobody comes."""

    def retire(self) -> None:
        """Nobody is served."""


class RewrittenTests(SynchronousTestCase):
    """C{B} leads with a log of its own, and somebody has Tile38 rewrite it."""

    def setUp(self) -> None:
        self.way = LocalWay()
        self.way.server.log = b"x" * 100
        self.way.client.start()
        self.state = StateDirectory(Path(self.mktemp()))
        self.start()

    def start(self) -> Position | None:
        """A start of the process; where the node stands by what it remembers."""
        before = self.state.open()
        self.replica = Known()
        self.health = LocalHealth(self.way.client, self.way.clock, 0.5, Vitals())
        nothing = cast(Any, None)
        hands = Hands(
            self.way.clock,
            self.way.client,
            self.health,
            self.state,
            cast(Any, Book()),
            cast(Any, self.replica),
            nothing,
            lambda _: {},
            lambda _: None,
            lambda: None,
            lambda: None,
            1.0,
        )
        self.duties = Duties(hands)
        self.member = Member("B", clock=self.way.clock)
        source = cast(Source, Nobody())
        self.duties.bind(self.member.election, Members(self.member.election), source)
        proving = Deferred.fromCoroutine(self.duties.proven(before, len(self.way.server.log)))
        self.way.settle()
        return self.successResultOf(proving)

    def lead(self, document: Status) -> int:
        """Win and take office, but no more; the epoch."""
        self.member.follow(document)
        epoch = self.member.win().epoch
        self.duties.publish(Leadership(Role.TAKING_OVER, "B", epoch, 0.0, "test"))
        return epoch

    def rewrite(self, log: bytes) -> None:
        """Tile38 does, it is noticed, and the term ends."""
        self.way.server.log = log
        self.duties.log_lost("its log became shorter", replaced=True)
        self.duties.publish(Leadership(Role.FOLLOWER, None, self.member.core.seen, 0.0, "test"))
        self.way.settle()

    def prepare(self, position: Position | None = HERE) -> None:
        """The term that was won begins; Tile38 follows nobody any more."""
        assert self.member.core.term is not None
        self.replica.start = len(self.way.server.log)
        self.replica.position = position
        self.duties.prepare(self.member.core.term.record)
        self.way.settle()

    def test_shrunk_just_before(self) -> None:
        """What Tile38 said before it shrank its log, as a follower, is no length of the log it leads with."""
        self.way.server.log = b"x" * 999 + b"\n"
        self.health.on_shorter = self.duties.log_shorter
        self.health.start()
        self.way.settle()
        self.way.server.log = b"y" * 99 + b"\n"
        epoch = self.lead(status("A", "B", "C"))
        self.prepare()
        self.assertEqual((self.member.election.epoch(), self.health.log_size), (epoch, 100))
        self.way.wait(1.0)
        self.assertEqual(self.member.election.epoch(), epoch)
        self.way.server.log = b"z" * 49 + b"\n"
        self.way.wait(1.0)
        self.assertEqual(self.member.election.epoch(), 0)

    def test_crashed_meanwhile(self) -> None:
        """Who has lost the Tile38 with which it claimed the lead does not lead with the rest."""
        self.way.server.log = b"x" * 99 + b"\n"
        self.lead(status("A", "B", "C"))
        self.prepare(None)
        self.assertEqual(self.member.election.epoch(), 0)

    def test_alone(self) -> None:
        """Who leads alone has the data, whatever its log is, from the first moment of the term on."""
        epoch = self.lead(status("A", "B"))
        self.rewrite(b"y" * 50)
        self.assertEqual(self.replica.position, Position(epoch, 0))
        self.assertFalse(self.duties.owns_log())
        self.assertEqual(self.health.log_size, 50)
        for _ in range(2):
            self.assertEqual(self.start(), Position(epoch, 0))

    def test_not_promoted(self) -> None:
        """Who could not take over then still has what it had: another try is as good."""
        epoch = self.lead(status("A", "B"))
        self.rewrite(b"y" * 50)
        self.lead(status("B", epoch=epoch, version=9))
        self.replica.start, self.replica.position = None, HERE
        assert self.member.core.term is not None
        self.duties.prepare(self.member.core.term.record)
        self.way.settle()
        self.duties.publish(Leadership(Role.FOLLOWER, None, self.member.core.seen, 0.0, "test"))
        self.way.settle()
        self.assertEqual(self.replica.position, Position(epoch, 0))

    def test_alone_and_rewritten_again(self) -> None:
        """A log that is another one once more proves nothing after a start."""
        self.lead(status("A", "B"))
        self.rewrite(b"y" * 50)
        self.way.server.log = b"z" * 50
        self.assertIsNone(self.start())
        self.way.server.log = b"y" * 50
        self.assertIsNone(self.start())

    def test_not_alone(self) -> None:
        """Where others have the data this node copies it."""
        self.lead(status("A", "B", "C"))
        self.rewrite(b"y" * 50)
        self.assertIsNone(self.replica.position)
        self.duties.status_seen()
        self.assertIsNone(self.replica.position)
        self.assertIsNone(self.start())

    def test_alone_afterwards(self) -> None:
        """That the others were removed may become known when the term has ended."""
        epoch = self.lead(status("A", "B", "C"))
        self.rewrite(b"y" * 50)
        self.member.election.observed(status("B", epoch=epoch, version=9), 99)
        self.duties.status_seen()
        self.assertEqual(self.replica.position, Position(epoch, 0))
        self.assertEqual(self.start(), Position(epoch, 0))

    def test_deposed(self) -> None:
        """So it does where another one leads by now."""
        self.lead(status("A", "B"))
        self.member.election.observed(status("C", epoch=9, version=9), 99)
        self.rewrite(b"y" * 50)
        self.assertIsNone(self.replica.position)

    def test_follows(self) -> None:
        """Another leader's commands end it."""
        self.lead(status("A", "B"))
        self.rewrite(b"y" * 50)
        self.duties.follows()
        self.assertIsNone(self.start())
