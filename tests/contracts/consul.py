"""What the Consul client and whatever answers it promise together.

L{ConsulContract} is a test case without a provider; a subclass says which
Consul answers and how its time passes.  Sessions may be as short as
C{SHORT_TTL}.  Names are made from C{self.name}, so that a shared Consul does.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Client

from tests.contracts.consul_case import verify_chain, wall_clock
from tests.contracts.consul_keys import KeyContract
from tests.contracts.consul_services import ServiceContract
from tests.contracts.consul_waits import WaitContract
from tile38cm.coordination.consul import (
    consul_client,
)
from tile38cm.coordination.consul_agent import AgentLink, http_client
from tile38cm.settings import ConsulSettings

__all__ = ["ConsulContract", "ConsulOverSockets", "verify_chain", "wall_clock"]

T = TypeVar("T")


class ConsulContract(KeyContract, WaitContract, ServiceContract):
    """The whole of it."""


class ConsulOverSockets(ConsulContract):
    """The contract over real connections and in real time."""

    def connect(self, settings: ConsulSettings) -> None:
        """Make the clients that the contract uses."""
        self.consul = consul_client(reactor, settings)
        http, pool = http_client(reactor, settings, 5.0)
        self.link = AgentLink(http, settings, reactor, 5.0)
        self.addCleanup(self.all_closed)
        self.addCleanup(pool.closeCachedConnections)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.consul.close()))

    def all_closed(self) -> Deferred[None]:
        """Fires when no connection of ours is left; one that was cut while it sent much takes its time."""

        async def wait() -> None:
            while any(isinstance(each, Client) for each in (*reactor.getReaders(), *reactor.getWriters())):
                await deferLater(reactor, 0.01)

        return Deferred.fromCoroutine(wait())

    async def elapse(self, seconds: float) -> None:
        await deferLater(reactor, seconds)

    async def arrive(self, pending: Deferred[T]) -> T:
        return await pending

    def now(self) -> datetime:
        return wall_clock()
