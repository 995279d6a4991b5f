"""What the client of Tile38 and whatever answers it promise together.

L{Tile38Contract} is a test case without a provider; a subclass says how two servers
without data, hooks or password are had, and how they go away.
"""

from __future__ import annotations

from collections.abc import Coroutine
from hashlib import md5
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tile38cm.settings import Address, Secret
from tile38cm.tile38 import CatchingUp, Refused, Tile38, Tile38Error, Unreachable
from tile38cm.wire.resp import encode_request

reactor: Any = the_reactor


class Tile38Contract(TestCase):
    """Every promise of L{Tile38}, asked of C{self.one} while C{self.other} is there to be followed."""

    timeout = 60

    def addresses(self) -> tuple[Address, Address]:
        """Start two servers, which C{addCleanup} stops."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.one_address, self.other_address = self.addresses()
        self.one = self.client(self.one_address)
        self.other = self.client(self.other_address)

    def client(self, address: Address, password: Secret | None = None, timeout: float = 5.0) -> Tile38:
        """A started client, which ends with the test."""
        client = Tile38(
            reactor, TCP4ClientEndpoint(reactor, address.host, address.port), password, timeout=timeout
        )
        client.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(client.stop()))
        return client

    async def refusal(self, error: type[Tile38Error], asked: Coroutine[Any, Any, Any]) -> Any:
        """The error with which it fails."""
        return await self.assertFailure(Deferred.fromCoroutine(asked), error)

    async def write(self, client: Tile38, count: int = 1) -> bytes:
        """So many objects; returns the log that they make in an empty server."""
        log = b""
        for number in range(count):
            words = [b"SET", b"key", b"id%d" % number, b"STRING", b"value"]
            await client.command(*words)
            log += encode_request(words)
        return log

    async def test_answers(self) -> None:
        """A server without trouble answers and is fit."""
        await self.one.ping()
        self.assertTrue(await self.one.healthz())

    async def test_server(self) -> None:
        """It tells of its log and of itself."""
        log = await self.write(self.one, 3)
        info = await self.one.server()
        self.assertEqual((info.aof_size, info.num_objects), (len(log), 3))
        self.assertEqual((info.following, info.caught_up, info.read_only), (None, False, False))
        self.assertNotEqual(info.id, (await self.other.server()).id)
        self.assertEqual(info.raw["num_points"], "0")
        self.assertTrue(info.version)

    async def test_sizes(self) -> None:
        """All ways to ask for the size of the log agree, whatever is guessed."""
        self.assertEqual(await self.one.log_size(), 0)
        size = len(await self.write(self.one, 5))
        self.assertEqual(await self.one.role_offset(), size)
        for guess in (0, 1, size - 1, size, size + 1, 10 * size):
            self.assertEqual(await self.one.log_size(guess), size)

    async def test_aofmd5(self) -> None:
        """The sum of any range, and nothing past the end."""
        log = await self.write(self.one, 5)
        for pos, size in ((0, len(log)), (0, 1), (7, 30), (len(log) - 1, 1)):
            self.assertEqual(await self.one.aofmd5(pos, size), md5(log[pos : pos + size]).hexdigest())
        for pos, size in ((0, len(log) + 1), (len(log), 1), (10**12, 5)):
            self.assertIsNone(await self.one.aofmd5(pos, size))

    async def test_aofmd5_of_nothing(self) -> None:
        """A range of no bytes is never asked for: it ends a server that runs without a log."""
        for pos, size in ((0, 0), (5, -1), (-1, 5)):
            await self.assertFailure(Deferred.fromCoroutine(self.one.aofmd5(pos, size)), ValueError)
        await self.one.ping()

    async def test_follow(self) -> None:
        """It follows, says whom and whether it is level, and refuses writes; then no longer."""
        log = await self.write(self.other, 10)
        await self.one.follow(self.other_address)
        await self.until_caught_up()
        info = await self.one.server()
        self.assertEqual(info.following, str(self.other_address))
        self.assertEqual((info.num_objects, await self.one.log_size()), (10, len(log)))
        self.assertEqual(await self.one.role_offset(), len(log))
        error = await self.refusal(Refused, self.one.command("SET", "a", "b", "STRING", "c"))
        self.assertEqual(error.text, "not the leader")
        await self.one.unfollow()
        self.assertIsNone((await self.one.server()).following)
        await self.one.unfollow()

    async def until_caught_up(self) -> None:
        """Wait, with a bound, until C{self.one} says so; before, it may refuse to tell."""
        for _ in range(500):
            try:
                if (await self.one.server()).caught_up:
                    return
            except CatchingUp:
                pass
            await deferLater(reactor, 0.01)
        self.fail("did not catch up")

    async def test_follow_nobody_there(self) -> None:
        """Where no leader answers it is refused, and follows nobody."""
        error = await self.refusal(Refused, self.one.follow(Address("127.0.0.1", 1)))
        self.assertIn("cannot follow", error.text)
        self.assertIsNone((await self.one.server()).following)

    async def test_follow_does_not_block(self) -> None:
        """While a leader to be lets it wait, the server answers other questions."""
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        follow = Deferred.fromCoroutine(self.one.follow(Address("127.0.0.1", port.getHost().port)))
        await deferLater(reactor, 0.1)
        await self.one.server()
        self.assertFalse(follow.called)
        await self.one.stop()
        await self.assertFailure(follow, Unreachable)

    async def test_readonly(self) -> None:
        """Clients' writes are refused while it is on."""
        await self.one.readonly(True)
        self.assertTrue((await self.one.server()).read_only)
        error = await self.refusal(Refused, self.one.command("SET", "a", "b", "STRING", "c"))
        self.assertEqual(error.text, "read only")
        await self.one.readonly(False)
        await self.write(self.one)

    async def test_emptied(self) -> None:
        """Flushed and shrunk, it has an empty log."""
        await self.write(self.one, 5)
        await self.one.flushdb()
        self.assertEqual((await self.one.server()).num_objects, 0)
        self.assertGreater(await self.one.log_size(), 0)
        await self.one.aofshrink()
        for _ in range(500):
            if await self.one.log_size() == 0:
                return
            await deferLater(reactor, 0.01)
        self.fail("did not become empty")

    async def test_password(self) -> None:
        """With the right password all is answered, without or with another only its health."""
        await self.one.config_set("requirepass", "gr\xfcn")
        right = self.client(self.one_address, Secret("gr\xfcn"))
        await right.server()
        self.assertEqual(await right.config_get("requirepass"), "gr\xfcn".encode().decode("latin-1"))
        for client in (self.one, self.client(self.one_address, Secret("wrong"))):
            self.assertTrue(await client.healthz())
            error = await self.refusal(Refused, client.server())
            self.assertEqual(error.text, "authentication required")

    async def test_password_set_later(self) -> None:
        """A client with a password, connected before the server asked for one, logs in anew."""
        early = self.client(self.one_address, Secret("sesame"))
        await early.server()
        await self.one.config_set("requirepass", "")
        await early.config_set("requirepass", "sesame")
        for _ in range(100):
            try:
                await early.server()
                return
            except Tile38Error:
                await deferLater(reactor, 0.01)
        self.fail("did not log in")

    async def test_unknown(self) -> None:
        """What it does not know it refuses, in its own words, and goes on."""
        error = await self.refusal(Refused, self.one.command("NOPE"))
        self.assertEqual(error.text, "unknown command 'NOPE'")
        await self.one.ping()

    async def test_binary(self) -> None:
        """Any bytes go in, and come out as one character each."""
        value = bytes(range(256))
        await self.one.command("SET", "key", "id", "STRING", value)
        self.assertEqual((await self.one.command("GET", "key", "id")).encode("latin-1"), value)

    async def test_many_at_once(self) -> None:
        """Answers go to those who asked."""
        await self.write(self.one, 20)
        asked = [Deferred.fromCoroutine(self.one.aofmd5(pos, 10)) for pos in range(200)]
        self.assertEqual(
            [await each for each in asked], [await self.one.aofmd5(pos, 10) for pos in range(200)]
        )
