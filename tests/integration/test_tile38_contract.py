"""The contract of the client of Tile38: on real servers, on embedded ones, and on one of each kind."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

from tests.contracts.tile38 import Tile38Contract, reactor
from tests.integration.loaded import LoadedEmbedded, LoadedTile38
from tests.real import require
from tile38cm.settings import Address
from tile38cm.tile38 import CatchingUp, Unreachable
from tile38cm.vitals import NAME


class ContractTests(Tile38Contract):
    """All of the contract, and what needs servers that can be killed."""

    kinds: tuple[type[LoadedTile38], type[LoadedTile38]]

    def addresses(self) -> tuple[Address, Address]:
        self.servers = [kind().start() for kind in self.kinds]
        for server in self.servers:
            self.addCleanup(server.stop)
            self.addCleanup(server.kill)  # quicker
        first, second = (Address(server.host, server.port) for server in self.servers)
        return first, second

    async def test_gone_and_back(self) -> None:
        """While it is away every question fails soon; when it is back the next ones are answered."""
        log = await self.write(self.one, 5)
        self.servers[0].kill()
        for _ in range(3):
            await self.refusal(Unreachable, self.one.server())
        self.servers[0].start()
        await deferLater(reactor, 1.1)
        self.assertEqual(await self.one.log_size(), len(log))

    async def test_stopped(self) -> None:
        """A server that stands still is not waited for beyond the bound."""
        client = self.client(self.one_address, timeout=0.3)
        await client.ping()
        self.servers[0].pause()
        self.addCleanup(self.servers[0].resume)
        await deferLater(reactor, 0.1)  # its threads stop one by one
        started = reactor.seconds()
        await self.refusal(Unreachable, client.ping())
        self.assertLess(reactor.seconds() - started, 2.0)
        self.servers[0].resume()
        await deferLater(reactor, 0.3)
        await client.ping()

    async def test_process(self) -> None:
        """Under the number that it tells the kernel knows it by a name that L{tile38cm.vitals} looks for."""
        server = await self.one.server()
        name = Path(f"/proc/{server.pid}/comm")
        if not name.exists():
            raise SkipTest("this system has no /proc")
        self.assertTrue(name.read_bytes().startswith(NAME))

    async def test_never_caught_up(self) -> None:
        """A follower that was started without its leader tells the size of its log only."""
        log = await self.write(self.other, 10)
        await self.one.follow(self.other_address)
        await self.until_caught_up()
        for server in self.servers:
            server.kill()
        self.servers[0].start()
        await deferLater(reactor, 1.1)
        await self.refusal(CatchingUp, self.one.server())
        self.assertFalse(await self.one.healthz())
        self.assertEqual(await self.one.log_size(), len(log))


class RealTile38ContractTests(ContractTests):
    """Tile38 itself."""

    kinds = (LoadedTile38, LoadedTile38)

    def setUp(self) -> None:
        require("tile38")
        super().setUp()


class EmbeddedTile38ContractTests(ContractTests):
    """The embedded node; two of them."""

    kinds = (LoadedEmbedded, LoadedEmbedded)


class EmbeddedFollowsTests(RealTile38ContractTests):
    """The embedded node is asked, and follows a real server."""

    kinds = (LoadedEmbedded, LoadedTile38)


class EmbeddedLeadsTests(RealTile38ContractTests):
    """A real server is asked, and follows the embedded node."""

    kinds = (LoadedTile38, LoadedEmbedded)


# The contract itself has no servers.
del Tile38Contract, ContractTests
