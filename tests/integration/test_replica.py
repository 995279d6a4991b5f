"""L{tile38cm.replication.replica} in front of a real Tile38, with a leader that is only words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.integration.fed import FedCase, points, reactor, until, write
from tile38cm.model import Position
from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.dial import PeerDialer
from tile38cm.peers.messages import OVER, Attach, Resume
from tile38cm.replication.contact import Contact
from tile38cm.replication.markers import marker
from tile38cm.replication.replica import Replica


class IdleLeader:
    """Has nothing behind C{end}; whoever does not know where it stands has to start over."""

    def __init__(self, end: Position) -> None:
        self.end = end
        self.asked: list[Position | None] = []

    async def dial(self, endpoint: Any, purpose: bytes, *words: bytes) -> PeerConnection:
        """A connection that leads nowhere."""
        self.asked.append(Attach.read(words).position)
        conn, transport = PeerConnection(Clock()), StringTransport()
        transport.abortConnection = lambda: None  # type: ignore[method-assign]  # nobody is there
        conn.makeConnection(transport)
        return conn

    async def reply(self, conn: PeerConnection, timeout: float) -> list[bytes]:
        """Continue, or start over."""
        return [OVER, b"unknown"] if self.asked[-1] is None else list(Resume(self.end, 0).words())


class IdleTests(FedCase):
    """A leader to whom nobody writes."""

    async def test_more_than_the_leader_has(self) -> None:
        """A log that holds what an idle leader never sent is given up at once, not when somebody writes."""
        fed = await self.follower()
        write(fed.server, marker("n1", Position(3, 77)) + points(0, 1), 3)
        leader = IdleLeader(Position(3, 77))
        contact = Contact(Path(self.mktemp()), lambda: 0.0, 4.0)
        replica = Replica(fed.intake, cast(PeerDialer, leader), fed.backlog, reactor, contact)
        self.addCleanup(lambda: Deferred.fromCoroutine(replica.stop()))
        erased: list[str] = []

        async def erase(why: str) -> Any:
            erased.append(why)
            await Deferred()

        replica.owner.erase = erase
        replica.start(lambda: ("n2", 3, cast(Any, None)))
        await until(lambda: bool(erased), "given up", 5.0)
        self.assertEqual(leader.asked, [Position(3, 77), None])
