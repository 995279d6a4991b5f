"""What plain C{FOLLOW} does to data, on a real Tile38, and that our followers do not suffer it.

Each test first shows the trap itself, so that a Tile38 that mends it is noticed.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.integration.fed import Fed, TrapCase, asked, log_of, points, reactor, until, write
from tests.real import LOOPBACK, RealTile38, ReplyError, RespClient
from tile38cm.model import Position
from tile38cm.replication.history import Continue, StartOver
from tile38cm.replication.markers import marker
from tile38cm.settings import Address
from tile38cm.wire.resp import encode_request

#: What plain Tile38 compares at once, in bytes.
BLOCK = 512 * 1024
#: Objects whose log is larger than that.
MANY = 8000


def size(server: RealTile38) -> int:
    """The log's size as Tile38 tells it."""
    return int(server.server()["aof_size"])


def last_block(server: RealTile38) -> bytes:
    """The end of the log, as much as Tile38 compares at once."""
    return log_of(server)[-BLOCK:]


def count(server: RealTile38) -> int:
    """The number of objects."""
    return int(server.server()["num_objects"])


def deletes(first: int, many: int) -> bytes:
    """As many C{DEL} of what L{points} makes."""
    return b"".join(encode_request([b"DEL", b"fleet", b"truck%07d" % n]) for n in range(first, first + many))


async def shrunk(server: RealTile38) -> None:
    """C{AOFSHRINK}, and wait for its end."""
    before = len(log_of(server))
    server.command("AOFSHRINK")
    await until(lambda: len(log_of(server)) < before, "shrunk")


class MergeTests(TrapCase):
    """Old data of a follower."""

    async def test_small_log_is_appended(self) -> None:
        """Plain: a small log is kept, and gets the leader's whole log at each attach. Ours: nothing twice."""
        leader, plain = self.server(), self.server()
        write(leader, points(0, 5), 5)
        write(plain, points(0, 3, "old"), 3)
        own, one = len(log_of(plain)), len(log_of(leader))
        for times in (1, 2, 3):
            self.plain(plain, leader)
            await until(lambda: len(log_of(plain)) == own + times * one, "appended")  # noqa: B023  # called here
            plain.command("FOLLOW", "no", "one")
        self.assertEqual(count(plain), 8)

        fed, source = await self.follower(), self.client(leader)
        write(fed.server, points(0, 3, "old"), 3)
        self.assertIsInstance(await fed.follow(source), StartOver)
        for _ in range(3):
            await fed.level(source)
            fed.quiet()
            self.assertIsInstance(await fed.follow(source), Continue)
        await fed.level(source)
        self.assertEqual(count(fed.server), 5)
        self.assertEqual(log_of(fed.server).count(points(0, 5)), 1)

    async def test_ghosts(self) -> None:
        """Plain: what was deleted and shrunk away meanwhile stays on a follower for ever. Ours: it goes."""
        leader, plain = self.server(), self.server()
        write(leader, points(0, 2 * MANY), 2 * MANY)
        fed, source = await self.follower(), self.client(leader)
        await fed.follow(source)
        await fed.level(source)
        self.plain(plain, leader)
        await self.plain_level(plain)
        plain.command("FOLLOW", "no", "one")
        fed.quiet()
        write(leader, deletes(0, MANY), MANY)
        await shrunk(leader)
        self.plain(plain, leader)
        await deferLater(reactor, 1.5)
        self.assertEqual((count(leader), count(plain)), (MANY, 2 * MANY))
        self.assertEqual(plain.server()["caught_up"], "true")
        self.assertEqual(asked(plain, "HEALTHZ"), "OK")
        self.assertNotEqual(size(plain), len(log_of(plain)))

        self.assertIsInstance(await fed.follow(source), StartOver)
        await fed.level(source)
        self.assertEqual(count(fed.server), MANY)
        self.assertEqual(size(fed.server), len(log_of(fed.server)))


class ShrinkTests(TrapCase):
    """C{AOFSHRINK} on a leader whose followers are attached, and what comes of it."""

    async def test_inflated_size_poisons(self) -> None:
        """Plain: a live follower's size is wrong then; promoted it cannot be followed. Ours: both right."""
        leader, plain = self.server(), self.server()
        write(leader, points(0, MANY) + points(0, MANY), 2 * MANY)
        fed, source = await self.follower(), self.client(leader)
        await fed.follow(source)
        await fed.level(source)
        self.plain(plain, leader)
        await self.plain_level(plain)
        await shrunk(leader)
        await until(lambda: log_of(plain) == log_of(leader) and size(plain) > len(log_of(plain)), "inflated")
        # Our client is not deceived by it.
        self.assertEqual(await self.client(plain).log_size(), len(log_of(plain)))

        leader.kill()
        plain.command("FOLLOW", "no", "one")
        late = self.server()
        self.plain(late, plain)
        await until(lambda: len(log_of(late)) == len(log_of(plain)), "everything copied")
        await deferLater(reactor, 1.5)
        for words in (("GET", "fleet", "truck0000001"), ("SERVER",), ("ROLE",)):
            self.assertEqual(asked(late, *words), "ERROR ERR catching up to leader")
        self.assertNotEqual(asked(late, "HEALTHZ"), "OK")

        await self.promoted(fed)
        ours = await self.follower()
        await ours.follow(fed.local)
        await ours.level(fed.local)
        self.assertEqual(asked(ours.server, "HEALTHZ"), "OK")
        self.assertEqual(count(ours.server), MANY)

    async def promoted(self, fed: Fed) -> None:
        """A follower of ours is made a leader; its size is the truth."""
        fed.quiet()
        self.assertEqual(await fed.intake.promote(), len(log_of(fed.server)))
        self.assertEqual(size(fed.server), len(log_of(fed.server)))


class ExpiryTests(TrapCase):
    """Lifetimes make logs differ."""

    def mortal(self, first: int, many: int) -> bytes:
        """Objects that live for two seconds, between others."""
        return b"".join(
            encode_request([b"SET", b"t", b"i%d" % n, b"EX", b"2", b"STRING", b"x"]) + points(n, 1)
            for n in range(first, first + many)
        )

    async def test_rolled_back(self) -> None:
        """Plain: own expiries make logs differ, and the next attach throws some away. Ours: all is kept."""
        leader, plain = self.server(), self.server()
        fed, source = await self.follower(slack=0.0), self.client(leader)
        await fed.follow(source)
        relay = await self.relay(leader)
        await deferToThread(plain.command, "FOLLOW", LOOPBACK, relay.port)
        # Of one size with the leader's log, so that only the places of the expiries differ: the leader's come
        # behind what it writes meanwhile, those of a follower that lags before.
        half = MANY // 2
        write(leader, self.mortal(0, half), 2 * half)
        await until(lambda: count(plain) == 2 * half, "received")
        relay.freeze()
        write(leader, self.mortal(half, half), 2 * half)
        await until(lambda: count(plain) == half, "expired by itself")
        relay.thaw()
        await until(lambda: count(leader) == count(plain) == count(fed.server) == MANY, "expired", 30.0)
        await fed.level(source)
        before = log_of(plain)
        self.assertNotEqual(last_block(plain), last_block(leader))
        self.assertEqual(sorted(before.split(b"*")), sorted(log_of(leader).split(b"*")))
        plain.command("FOLLOW", "no", "one")
        self.plain(plain, leader)
        await until(lambda: log_of(plain) == log_of(leader), "read again")
        self.assertFalse(log_of(plain).startswith(before))

        fed.quiet()
        fed.intake.know(None)
        await fed.intake.detach()
        kept = log_of(fed.server)
        self.assertIsInstance(await fed.follow(source), Continue)
        await fed.level(source)
        after = log_of(fed.server)
        self.assertTrue(after.startswith(kept))
        self.assertLess(len(after) - len(kept), 20_000)
        self.assertNotIn(points(0, 1), after[len(kept) :])


class StaleTests(TrapCase):
    """Reads while a follower is being rolled back or filled."""

    def numbered(self, many: int) -> bytes:
        """Values of one object, each newer than the one before."""
        return b"".join(encode_request([b"SET", b"f", b"x", b"STRING", b"%07d" % n]) for n in range(many))

    async def test_read_while_filled(self) -> None:
        """Plain: C{HEALTHZ} is OK while older values are replayed. Ours: caught up means all is there."""
        many = 200_000
        leader, plain = self.server(), self.server()
        write(leader, self.numbered(many), many)
        write(plain, points(0, 12_000, "old"), 12_000)
        last = f"{many - 1:07d}"
        self.plain(plain, leader)
        stale = 0
        with plain.connect() as client:
            while (value := self.value(client)) != last:
                stale += value is not None and client.command("HEALTHZ") == "OK"
        self.assertGreater(stale, 0)

        fed, source = await self.follower(), self.client(leader)
        await fed.follow(source)
        padded = Deferred.fromCoroutine(fed.level(source))

        async def caught_up() -> bool:
            return (await fed.local.server()).caught_up

        await until(caught_up, "caught up")
        self.assertEqual(asked(fed.server, "GET", "f", "x"), last)
        await padded

    def value(self, client: RespClient) -> str | None:
        """The present value, if reads are answered."""
        try:
            found = client.command("GET", "f", "x")
        except ReplyError:
            return None
        return found if isinstance(found, str) else None


class LeaderDiesTests(TrapCase):
    """What followers say when their leader is gone."""

    async def test_who_has_more(self) -> None:
        """Plain: both tell offset 0, so Sentinel may take the one that lags. Ours: positions stay."""
        leader, near, far = self.server(), self.server(), self.server()
        ours_near, ours_far, source = await self.follower(), await self.follower(), self.client(leader)
        relay = await self.relay(leader)
        self.plain(near, leader)
        await self.client(far).follow(Address(LOOPBACK, relay.port))
        for fed in (ours_near, ours_far):
            await fed.follow(source)
        write(leader, points(0, 200), 200)
        await until(lambda: count(near) == count(far) == 200, "plain followers level")
        await ours_near.level(source)
        await ours_far.level(source)
        relay.freeze()
        ours_far.quiet()
        write(leader, points(200, 200), 200)
        await until(lambda: count(near) == 400, "the near one level")
        await ours_near.level(source)
        self.assertEqual(count(far), 200)
        leader.kill()
        await relay.cut()
        await until(lambda: self.offset(near) == self.offset(far) == 0, "no offsets")
        role = near.command("ROLE")
        assert isinstance(role, list)
        self.assertEqual(role[3], "connected")

        ours_near.quiet()
        for fed in (ours_near, ours_far):
            known = fed.intake.position
            await fed.intake.detach()
            fed.intake.know(None)
            self.assertEqual(await fed.intake.look(), known)
        near_at, far_at = ours_near.intake.position, ours_far.intake.position
        assert near_at is not None and far_at is not None
        self.assertEqual(near_at.offset - far_at.offset, len(points(200, 200)))

    def offset(self, server: RealTile38) -> int:
        """What Sentinel compares."""
        role = server.command("ROLE")
        assert isinstance(role, list)
        return int(role[4])

    async def test_restart_without_a_leader(self) -> None:
        """Plain: a follower started again without its leader answers no reads. Ours: it may be told to."""
        leader, plain = self.server(), self.server()
        fed, source = await self.follower(), self.client(leader)
        write(leader, points(0, 100), 100)
        self.plain(plain, leader)
        await self.plain_level(plain)
        await fed.follow(source)
        await fed.level(source)
        fed.quiet()
        leader.kill()
        plain.kill()
        plain.start()
        await deferLater(reactor, 1.5)
        self.assertEqual(asked(plain, "GET", "fleet", "truck0000001"), "ERROR ERR catching up to leader")

        at = fed.intake.position
        fed.server.kill()
        await until(lambda: bool(fed.lost), "lost")
        fed.server.start()
        await deferLater(reactor, 0.3)  # the client notices its lost connection in the next turns only
        self.assertEqual(await fed.intake.look(), at)
        await fed.intake.attach(0)
        await fed.intake.caught_up()
        self.assertEqual(count(fed.server), 100)
        self.assertIn("truck0000001", str(asked(fed.server, "SCAN", "fleet", "IDS")))


class PasswordTests(TrapCase):
    """A password for the leader that is wrong there."""

    async def test_wrong_leaderauth(self) -> None:
        """Plain: the follower's process ends. Ours: it follows, since we log in ourselves."""
        leader, plain, ours = self.server(), self.server(), self.server()
        for server in (plain, ours):
            server.command("CONFIG", "SET", "leaderauth", "wrong")
        try:
            self.plain(plain, leader)
        except ConnectionError:
            pass
        await until(lambda: not plain.running, "ended")
        self.assertEqual(plain.process and plain.process.returncode, 2)
        self.assertIn("Unlock of unlocked RWMutex", plain.log.read_text())

        write(leader, points(0, 10), 10)
        fed, source = await self.follower(ours), self.client(leader)
        await fed.follow(source)
        await fed.level(source)
        self.assertEqual(count(ours), 10)


class MarkedTests(TrapCase):
    """The marker that all of this rests on."""

    async def test_no_trace_in_the_data(self) -> None:
        """A marker is in the log, and in no collection."""
        server = self.server()
        write(server, marker("n1", Position(1, 2)), 2)
        self.assertEqual((server.command("KEYS", "*"), count(server)), ([], 0))
        self.assertEqual(log_of(server), marker("n1", Position(1, 2)))
