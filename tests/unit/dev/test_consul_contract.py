"""The Consul-compatible agent keeps the contract, in memory and in faked time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

from twisted.internet.defer import Deferred

from tests.contracts import consul as contract
from tests.unit.dev.consul_bench import dev_consul

T = TypeVar("T")


class DevConsulContractTests(contract.ConsulContract):
    """All of the contract."""

    def setUp(self) -> None:
        super().setUp()
        agent, self.bench = dev_consul()
        self.addCleanup(agent.close)
        self.consul, self.link = self.bench.consul, self.bench.link

    async def elapse(self, seconds: float) -> None:
        self.bench.advance(seconds)

    async def arrive(self, pending: Deferred[T]) -> T:
        self.bench.advance(0)
        return self.successResultOf(pending)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.bench.clock.seconds(), UTC)
