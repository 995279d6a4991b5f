"""L{tile38cm.replication.source} on a real Tile38: what a follower is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.integration import fed
from tests.integration.fed import FedCase, reactor, until, write
from tile38cm.coordination.election import Election
from tile38cm.coordination.status import EpochRecord
from tile38cm.model import Position
from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.messages import CONTINUE, DATA, EPOCH, Attach, Data, Resume, number
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.markers import commands
from tile38cm.replication.source import Reign, Source


def points(first: int, count: int) -> bytes:
    """Commands that are all of one length."""
    return fed.points(first + 10, count)


#: Bytes of one command.
SIZE = len(points(0, 1))


class Permissive:
    """An election that agrees to all."""

    def expel(self, member: str) -> bool:
        return True

    def disconnected(self, member: str) -> None:
        """Nothing depends on it."""


def read_as_follower(messages: Sequence[list[bytes]]) -> list[Data]:
    """The pieces, if each stands where a follower expects it."""
    assert messages[0][0] == CONTINUE, messages[0]
    at, pieces = Resume.read(messages[0]).position, []
    for words in messages[1:]:
        if words[0] == EPOCH:
            at = Position(number(words[1]), number(words[2]))
        elif words[0] == DATA:
            data = Data.read(words)
            assert at == Position(data.epoch, data.start), f"{data.epoch}:{data.start} came, {at} was next"
            at = Position(data.epoch, data.end)
            pieces.append(data)
    return pieces


class ContinueTests(FedCase):
    """A leader in its third epoch, which followed through two others."""

    def setUp(self) -> None:
        server = self.server()
        write(server, points(0, 40), 40)
        backlog = Backlog(2**20)
        # Epoch 1 went on to its 20th command; epoch 2 began at its own 25th and went on to the 35th.
        backlog.append(Data(1, 20 * SIZE, points(0, 20)))
        backlog.append(Data(2, 35 * SIZE, points(20, 10)))
        election = cast(Election, Permissive())  # the few questions that a source has for it
        self.source = Source(self.client(server), reactor, election, backlog, lambda *why: None)
        self.addCleanup(self.source.stop)
        records = [
            EpochRecord(1, "a", 0, 0, 0),
            EpochRecord(2, "b", 1, 20 * SIZE, 25 * SIZE),
            EpochRecord(3, "c", 2, 35 * SIZE, 30 * SIZE),
        ]
        self.source.lead(Reign(3, 30 * SIZE, {r.epoch: r for r in records}))

    async def told(self, position: Position, end: int) -> list[list[bytes]]:
        """All that a follower at a position is told until the log's end."""
        conn, transport = PeerConnection(Clock()), StringTransport()
        transport.abortConnection = lambda: None  # type: ignore[method-assign]  # nobody is there
        conn.makeConnection(transport)
        self.source.accept(conn, Attach(position).words())
        messages: list[Any] = []

        def all_there() -> bool:
            messages[:] = commands(transport.value())
            return bool(messages) and messages[-1][0] == DATA and Data.read(messages[-1]).end == end

        await until(all_there, "the log's end")
        return messages

    async def test_across_epochs(self) -> None:
        """Who was away for two failovers gets the rest of both epochs, then the log, each in its place."""
        for place in (3, 20):
            pieces = read_as_follower(await self.told(Position(1, place * SIZE), 40 * SIZE))
            self.assertEqual(b"".join(p.payload for p in pieces), points(place, 40 - place))
            self.assertEqual([p.epoch for p in pieces], sorted(p.epoch for p in pieces))

    async def test_across_one(self) -> None:
        """The same for one failover, and within the present epoch."""
        for position, first in ((Position(2, 27 * SIZE), 22), (Position(3, 33 * SIZE), 33)):
            pieces = read_as_follower(await self.told(position, 40 * SIZE))
            self.assertEqual(b"".join(p.payload for p in pieces), points(first, 40 - first))
