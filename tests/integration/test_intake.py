"""L{tile38cm.replication.intake} and L{tile38cm.replication.recovery} in front of a real Tile38."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.integration.fed import FedCase, log_of, points, reactor, until, write
from tile38cm.model import Position
from tile38cm.peers.messages import Data
from tile38cm.replication.history import EMPTY
from tile38cm.replication.markers import lengthened, marker, packed
from tile38cm.replication.matching import NoMatch
from tile38cm.replication.virtual_leader import AttachError
from tile38cm.tile38 import Tile38Error


class RecoveryTests(FedCase):
    """Where a node stands after a crash."""

    async def test_empty(self) -> None:
        """An empty log is the beginning."""
        fed = await self.follower()
        self.assertEqual(await fed.intake.look(), EMPTY)

    async def test_no_marker(self) -> None:
        """A log of somebody else says nothing, however long it is, and is not read again each round."""
        fed = await self.follower()
        write(fed.server, points(0, 6000), 6000)
        self.assertIsNone(await fed.intake.look())
        self.assertIsNone(await fed.intake.look())

    async def test_far_back(self) -> None:
        """A marker is found behind more than the first window."""
        fed = await self.follower()
        write(fed.server, marker("n1", Position(3, 77)), 2)
        write(fed.server, points(0, 6000), 6000)
        self.assertGreater(len(log_of(fed.server)), 256 * 1024)
        self.assertEqual(await fed.intake.look(), Position(3, 77))

    async def test_nothing_owed(self) -> None:
        """What was found in the log while Tile38 was being attached in vain is owed no more."""
        fed = await self.follower()
        fed.intake.know(EMPTY)
        fed.intake.turn(Position(2, 0))
        fed.backlog.append(Data(2, len(points(0, 1)), points(0, 1)))
        write(fed.server, marker("n1", Position(2, 0)) + points(0, 1), 3)
        fed.intake.know(None)
        self.assertEqual(await fed.intake.look(), Position(2, 0))
        self.assertTrue(fed.intake.owes)
        task = Deferred.fromCoroutine(fed.intake.refeed())
        fed.intake.hold_off()
        await self.assertFailure(task, AttachError)
        await fed.intake.refeed()
        self.assertEqual((fed.intake.owes, fed.intake.position), (False, Position(2, len(points(0, 1)))))

    async def test_own_expiry_behind(self) -> None:
        """Objects that expired by themselves after the last marker are no reason to start over."""
        fed = await self.follower()
        fed.server.command("SET", "fleet", "mortal", "EX", 0.2, "STRING", "x")
        write(fed.server, marker("n1", Position(3, 77)), 2)
        await until(lambda: log_of(fed.server).endswith(packed([b"del", b"fleet", b"mortal"])), "expired")
        self.assertEqual(await fed.intake.look(), Position(3, 77))
        fed.intake.begin()
        self.assertFalse(fed.intake.matching)
        self.assertEqual(fed.intake.position, Position(3, 77))

    async def test_another_slack(self) -> None:
        """What was fed under another setting for lifetimes is found in the stream all the same."""
        fed = await self.follower()
        words = [b"SET", b"fleet", b"1", b"EX", b"60", b"STRING", b"x"]
        write(fed.server, marker("n1", Position(3, 77)) + packed(lengthened(words, 3.0)), 3)
        await fed.intake.look()
        fed.intake.slacks = (5.0, 3.0)
        fed.intake.begin()
        sent = packed(words)
        self.assertIsNone(fed.intake.skip(Data(3, 77 + len(sent), sent)))
        self.assertEqual(fed.intake.position, Position(3, 77 + len(sent)))

    async def test_foreign(self) -> None:
        """What the leader never sent is found out."""
        fed = await self.follower()
        write(fed.server, marker("n1", Position(3, 77)) + points(0, 1), 3)
        await fed.intake.look()
        fed.intake.begin()
        with self.assertRaises(NoMatch):
            fed.intake.skip(Data(3, 77 + len(points(7, 1)), points(7, 1)))
        fed.intake.give_up("test")
        self.assertIsNone(await fed.intake.look())

    async def test_skip(self) -> None:
        """What the log holds is skipped, and only that; the lifetimes in it are longer than the leader's."""
        fed = await self.follower()
        mortal = packed([b"SET", b"fleet", b"m", b"POINT", b"1", b"2", b"EX", b"90"])
        longer = packed([b"SET", b"fleet", b"m", b"POINT", b"1", b"2", b"EX", b"95.0"])
        write(fed.server, marker("n1", Position(3, 77)) + points(0, 2) + longer + points(2, 1), 6)
        await fed.intake.look()
        fed.intake.begin()
        stream = points(0, 2) + mortal + marker("n2", Position(1, 1)) + points(2, 4)
        rest = fed.intake.skip(Data(3, 77 + len(stream), stream))
        self.assertFalse(fed.intake.matching)
        self.assertEqual(rest, Data(3, 77 + len(stream), points(3, 3)))
        self.assertEqual(fed.intake.position, Position(3, 77 + len(stream) - len(points(3, 3))))

    async def test_killed(self) -> None:
        """After a kill of Tile38 it is given what it had lost out of the backlog, and has all once."""
        fed = await self.follower()
        fed.intake.know(EMPTY)
        fed.intake.turn(Position(2, 0))
        await fed.intake.attach(0)
        end = 0
        for first in range(0, 3000, 10):
            end += len(points(first, 10))
            fed.intake.take(Data(2, end, points(first, 10)))
            await deferLater(reactor, 0)
        fed.server.kill()
        await until(lambda: bool(fed.lost), "lost")
        self.assertIsNone(fed.intake.position)
        fed.server.start()
        await deferLater(reactor, 0.3)  # the client notices its lost connection in the next turns only

        async def found() -> bool:
            return await fed.intake.look() is not None

        await until(found, "found")
        self.assertEqual(fed.intake.owes, fed.intake.position != Position(2, end))
        owed = fed.intake.owes
        task = Deferred.fromCoroutine(fed.intake.refeed())
        fed.intake.hold_off()
        if owed:
            await self.assertFailure(task, AttachError)
            self.assertTrue(fed.intake.owes)

        async def fed_again() -> bool:
            try:
                await fed.intake.refeed()
            except Tile38Error:
                return False  # the question that was given up took the connection with it
            return True

        await until(fed_again, "fed again")
        self.assertFalse(fed.intake.matching or fed.intake.owes)
        self.assertEqual(fed.intake.position, Position(2, end))
        if not fed.intake.attached:
            await fed.intake.attach(0)  # it had lost nothing
        await fed.intake.caught_up()
        self.assertEqual(fed.objects(), 3000)
        self.assertTrue(fed.backlog.covers(2, 0, end))


class PromotionTests(FedCase):
    """A follower becomes nobody's."""

    async def test_shrunk_meanwhile(self) -> None:
        """Though its log is being rewritten it has all, and its log says where it stands."""
        fed = await self.follower()
        fed.intake.know(EMPTY)
        fed.intake.turn(Position(2, 0))
        await fed.intake.attach(0)
        sent, last = points(0, 20000), points(20000, 1)
        fed.intake.take(Data(2, len(sent), sent))
        await fed.intake.caught_up()
        await fed.local.aofshrink()
        fed.intake.take(Data(2, len(sent + last), last))
        await fed.intake.promote()
        fed.intake.know(None)
        self.assertEqual(await fed.intake.look(), Position(2, len(sent + last)))
        self.assertTrue(fed.intake.explained)
        self.assertEqual(fed.objects(), 20001)
