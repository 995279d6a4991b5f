"""L{tile38cm.replication.local_log} on a real Tile38."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.loaded import LoadedTile38
from tests.real import LOOPBACK
from tile38cm.replication.local_log import LogError, NoRoom, copy_log, read_log, start_over
from tile38cm.settings import Secret
from tile38cm.tile38 import Tile38

reactor: Any = the_reactor


class LocalLogTests(TestCase):
    """A server with a password, some data, a hook and a channel."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.server = LoadedTile38(password="open sesame").start()
        self.addCleanup(self.server.stop)
        self.addCleanup(self.server.kill)  # quicker
        self.local = Tile38(
            reactor, TCP4ClientEndpoint(reactor, LOOPBACK, self.server.port), Secret("open sesame")
        )
        self.local.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.local.stop()))
        with self.server.connect() as client:
            client.command("SETCHAN", "zone", "NEARBY", "fleet", "FENCE", "POINT", 33, -112, 500000)
            for number in range(30):
                client.command("SET", "big", number, "STRING", "x" * 100_000)
            for number in range(300):
                client.command("SET", "fleet", number, "POINT", 33, -112)

    def log(self) -> bytes:
        """The log file as it is."""
        return Path(self.server.directory, "appendonly.aof").read_bytes()

    async def test_read(self) -> None:
        """Any range comes as it is in the file, also across pieces."""
        log = self.log()
        for pos, size in ((0, 10), (0, len(log)), (1_000_000, 1_200_000), (len(log) - 1, 1), (5, 0)):
            self.assertEqual(await read_log(reactor, self.local, pos, size), log[pos : pos + size])

    async def test_read_past_the_end(self) -> None:
        """What is not there is not waited for."""
        await self.assertFailure(
            Deferred.fromCoroutine(read_log(reactor, self.local, len(self.log()) + 1, 10)), LogError
        )

    async def test_copy(self) -> None:
        """The copy is the log, and nothing else is left in the folder."""
        folder = Path(self.mktemp())
        folder.mkdir()
        size = await copy_log(reactor, self.local, folder / "kept.aof", 2**30, deferToThread)
        self.assertEqual((folder / "kept.aof").read_bytes(), self.log())
        self.assertEqual(size, len(self.log()))
        self.assertEqual([path.name for path in folder.iterdir()], ["kept.aof"])

    async def test_copy_while_messages_come(self) -> None:
        """Messages in the stream are no part of the copy."""
        folder = Path(self.mktemp())
        folder.mkdir()
        with self.server.connect() as client:
            copy = Deferred.fromCoroutine(
                copy_log(reactor, self.local, folder / "kept.aof", 2**30, deferToThread)
            )
            for _ in range(200):
                client.command("PUBLISH", "chat", "m" * 500)
            await copy
        self.assertEqual((folder / "kept.aof").read_bytes(), self.log())

    async def test_copy_over_budget(self) -> None:
        """A log that is larger than allowed is not copied at all."""
        folder = Path(self.mktemp())
        folder.mkdir()
        copy = copy_log(reactor, self.local, folder / "kept.aof", len(self.log()) - 1, deferToThread)
        await self.assertFailure(Deferred.fromCoroutine(copy), NoRoom)
        self.assertEqual(list(folder.iterdir()), [])

    async def test_start_over(self) -> None:
        """Everything is gone, log and hooks too, and clients cannot write; twice is the same."""
        for _ in range(2):
            await start_over(reactor, self.local)
            self.assertEqual(self.log(), b"")
            info = await self.local.server()
            self.assertEqual((info.num_objects, info.aof_size, info.read_only), (0, 0, True))
            self.assertEqual(info.raw["num_hooks"], "0")
            self.assertIsNone(info.following)

    async def test_start_over_after_a_crash(self) -> None:
        """After a crash behind any of its steps it still ends well."""
        steps: list[list[Any]] = [["READONLY", "no"], ["FLUSHDB"], ["AOFSHRINK"]]
        for count in range(1, len(steps) + 1):
            with self.server.connect() as client:
                client.command("READONLY", "no")
                client.command("SET", "fleet", "left over", "STRING", "x" * count)
                for step in steps[:count]:
                    client.command(*step)
            self.server.kill()
            self.server.start()
            # The lost connection is noticed in the next turns only.
            await deferLater(reactor, 0.2)
            await start_over(reactor, self.local)
            self.assertEqual(self.log(), b"")
            self.assertEqual((await self.local.server()).num_objects, 0)
