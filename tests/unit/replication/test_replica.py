"""L{tile38cm.replication.replica}: one connection after another to whoever leads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.peers.wires import End
from tests.unit.replication.minitile38 import command
from tile38cm.model import Position
from tile38cm.peers.connection import PeerConnection, PeerError
from tile38cm.peers.dial import PeerDialer
from tile38cm.peers.messages import OVER, PUBLISH, Data, Resume
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.contact import Contact
from tile38cm.replication.history import EMPTY
from tile38cm.replication.intake import Intake
from tile38cm.replication.replica import ALONE, RETRY, Replica
from tile38cm.replication.session import Stage
from tile38cm.tile38 import Tile38Error

HERE = Position(2, 100)


class SlowIntake:
    """Stands at C{HERE}; Tile38 is attached when it is told so."""

    def __init__(self) -> None:
        self.position: Position | None = HERE
        self.acknowledged: Position | None = HERE
        self.attached = self.matching = self.full = False
        self.explained = True
        self.asked: list[int] = []
        self.doubts = 0
        self.silent: Callable[[], bool] = lambda: False
        self.level: Deferred[None] = Deferred()
        self.taken: list[Data] = []
        self.attaching: Deferred[None] = Deferred()
        self.on_delivered: Callable[[Position], None] = lambda _: None

    async def look(self) -> Position | None:
        return self.position

    async def refeed(self) -> None:
        """Nothing was lost."""

    async def caught_up(self) -> None:
        self.level = Deferred()
        await self.level

    async def attach(self, to_come: int) -> None:
        self.asked.append(to_come)
        await self.attaching
        self.attached = True

    def take(self, data: Data) -> None:
        self.taken.append(data)
        self.position = Position(data.epoch, data.end)

    def begin(self) -> None:
        """Nothing is to be matched."""

    def hold_off(self) -> None:
        self.attaching.cancel()

    def mark(self) -> None:
        """Nobody reads it."""

    def turn(self, position: Position) -> None:
        self.position = position

    async def doubt(self) -> None:
        self.doubts += 1

    def know(self, position: Position | None) -> None:
        self.position = self.acknowledged = position

    async def detach(self) -> None:
        self.attached = False

    def publish(self, payload: bytes) -> None:
        """Tile38 takes nothing of it."""
        self.full = True

    async def stop(self) -> None:
        """Nothing is there."""


class Leader:
    """Accepts everybody where they stand, unless they are to start over."""

    def __init__(self) -> None:
        self.over = False
        self.ends: list[End] = []
        self.conns: list[PeerConnection] = []

    async def dial(self, endpoint: Any, purpose: bytes, *words: bytes) -> PeerConnection:
        conn, end = PeerConnection(Clock()), End()
        conn.makeConnection(end)
        conn.trusted = True
        self.conns.append(conn)
        self.ends.append(end)
        return conn

    async def reply(self, conn: PeerConnection, timeout: float) -> list[bytes]:
        return [OVER, b"test"] if self.over else list(Resume(HERE, 20).words())


class ReplicaCase(SynchronousTestCase):
    """A replica, and a leader that it may follow."""

    def setUp(self) -> None:
        self.clock, self.intake, self.leader = Clock(), SlowIntake(), Leader()
        contact = Contact(Path(self.mktemp()), self.clock.seconds, 4.0)
        intake, dialer = cast(Intake, self.intake), cast(PeerDialer, self.leader)
        self.replica = Replica(intake, dialer, Backlog(1 << 20), self.clock, contact)
        self.line: tuple[str, int, Any] | None = ("n2", 2, None)
        self.begin()

    def begin(self) -> None:
        """Follow whoever leads."""
        self.replica.start(lambda: self.line)

    def tearDown(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.replica.stop()))

    def send(self, *data: Data) -> None:
        """The leader sends on the newest connection."""
        self.leader.conns[-1].dataReceived(b"".join(command(*each.words()) for each in data))


class HeldTests(ReplicaCase):
    """A leader that sends while Tile38 is being attached."""

    def test_held_until_attached(self) -> None:
        """What comes meanwhile is taken afterwards, in order."""
        pieces = [Data(2, 110, b"x" * 10), Data(2, 120, b"y" * 10)]
        self.send(*pieces)
        self.assertEqual(self.intake.taken, [])
        self.intake.attaching.callback(None)
        self.assertEqual((self.intake.taken, self.replica.stage), (pieces, Stage.FOLLOWING))

    def test_messages(self) -> None:
        """Messages that its Tile38 does not take keep it from reading more, as data does."""
        self.intake.attaching.callback(None)
        (end,) = self.leader.ends
        self.assertEqual(end.producerState, "producing")
        self.leader.conns[0].dataReceived(command(PUBLISH, command("PUBLISH", "news", "one")))
        self.assertEqual(end.producerState, "paused")

    def test_held_rubbish(self) -> None:
        """Rubbish among it ends the connection, and the next one begins."""
        self.send(Data(2, 110, b"x" * 10), Data(2, 999, b"y"))
        self.intake.attaching.callback(None)
        self.assertEqual(len(self.intake.taken), 1)
        self.assertTrue(self.leader.ends[0].aborted)
        self.assertEqual(self.replica.stage, Stage.CONNECTING)
        self.clock.advance(RETRY)
        self.assertEqual(len(self.leader.ends), 2)


class OverTests(ReplicaCase):
    """A node that led until just now, and is told to start over while its Tile38 is away."""

    def begin(self) -> None:
        self.asked, self.own, self.away = 0, True, True
        self.leader.over = True
        self.replica.owner.own_log = lambda: self.own
        self.replica.owner.erase = self.erase
        super().begin()

    async def erase(self, reason: str) -> Position:
        """As an erasure that fails before it has changed anything."""
        self.asked += 1
        if self.away:
            raise Tile38Error("it cannot be reached")
        self.own = False
        return EMPTY

    def test_again(self) -> None:
        """It still stands where it stood, and does so as soon as that can be."""
        self.assertEqual((self.asked, self.replica.position), (1, HERE))
        self.clock.advance(RETRY)
        self.away = False
        self.clock.advance(RETRY)
        self.assertEqual((self.asked, self.replica.position), (3, EMPTY))

    def test_half(self) -> None:
        """A log that is not what it was proves nothing by its length."""
        self.own = False
        self.clock.advance(RETRY)
        self.assertEqual((self.asked, self.replica.position), (2, None))


class AloneTests(ReplicaCase):
    """A node that was started again while nobody leads."""

    def begin(self) -> None:
        self.told: list[str] = []
        self.replica.owner.on_caught_up = lambda: self.told.append("caught up")
        self.replica.owner.whole = lambda: True
        self.line = None
        super().begin()

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.pump([RETRY] * round(seconds / RETRY))

    def test_serves(self) -> None:
        """After a while Tile38 is told that it has caught up with what it had, and reads are served."""
        self.wait(ALONE - 0.2)
        self.assertEqual(self.intake.asked, [])
        self.wait(0.5)
        self.assertEqual(self.intake.asked, [0])
        self.intake.attaching.callback(None)
        self.assertFalse(self.replica.ready)
        self.intake.level.callback(None)
        self.assertEqual((self.replica.ready, self.told), (True, []))

    def test_unfinished(self) -> None:
        """A copy that was never finished, or a log that is not explained, is not shown to anybody."""
        self.replica.owner.whole = lambda: False
        self.wait(ALONE * 2)
        self.replica.owner.whole, self.intake.explained = lambda: True, False
        self.wait(ALONE * 2)
        self.assertEqual((self.intake.asked, self.replica.ready), ([], False))

    def test_not_told(self) -> None:
        """A Tile38 that does not say that it has caught up is asked again; no leader is missed for it."""
        self.intake.attaching.callback(None)
        self.wait(ALONE * 2 + 1)
        self.line = ("n2", 2, None)
        self.wait(ALONE + 1)
        self.assertEqual((self.replica.ready, len(self.leader.conns)), (False, 1))


class UnreachableTests(ReplicaCase):
    """A leader that cannot be reached."""

    def begin(self) -> None:
        self.calls = 0
        cast(Any, self.leader).dial = self.dial
        super().begin()

    async def dial(self, *_: Any) -> PeerConnection:
        self.calls += 1
        raise PeerError(("refused", "reset", "no answer")[self.calls % 3])

    def test_said_once(self) -> None:
        """However it fails, that is said once."""
        with capturedLogs() as events:
            self.clock.pump([RETRY] * 20)
        self.assertGreater(self.calls, 10)
        self.assertEqual([event for event in events if "has to wait" in event.get("text", "")], [])


class LateTests(ReplicaCase):
    """A leader whose bytes come, but late."""

    def setUp(self) -> None:
        super().setUp()
        self.level = True
        self.replica.owner.level = lambda: self.level
        self.intake.attaching.callback(None)
        self.end = HERE.offset

    def pieces(self, seconds: float) -> None:
        """For so long there is always something."""
        for _ in range(round(seconds / 0.5)):
            self.end += 10
            self.send(Data(2, self.end, b"x" * 10))
            self.clock.advance(0.5)

    def test_level(self) -> None:
        """As long as it is level it goes on."""
        self.pieces(20)
        self.assertFalse(self.leader.ends[0].aborted)

    def test_late(self) -> None:
        """Who lags for longer than lifetimes may differ looks at what has expired before it goes on."""
        self.pieces(2)
        self.level = False
        self.assertTrue(self.intake.silent())
        self.pieces(3.5)
        self.assertFalse(self.leader.ends[0].aborted)
        doubts = self.intake.doubts
        self.send(Data(2, self.end + 1, b"x"))
        self.clock.advance(1.0)
        self.send(Data(2, self.end + 2, b"x"))
        self.assertTrue(self.leader.ends[0].aborted)
        self.clock.advance(RETRY)
        self.assertEqual((self.intake.doubts, len(self.leader.ends)), (doubts + 1, 2))

    def test_catching_up(self) -> None:
        """What is copied first is old, and no reason to stop."""
        self.level = False
        self.send(Data(2, self.end + 1, b"x"))
        self.clock.advance(3)
        self.send(Data(2, self.end + 2, b"x"))
        self.assertFalse(self.intake.silent())
        self.clock.advance(3)
        self.send(Data(2, self.end + 3, b"x"))
        self.assertFalse(self.leader.ends[0].aborted)
