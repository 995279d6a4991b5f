"""The Consul-compatible agent in memory, with the real client in front of it."""

from __future__ import annotations

from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet.task import Clock
from twisted.web.resource import IResource

from tile38cm.coordination.consul import Consul
from tile38cm.coordination.consul_agent import AgentLink, WholeBody
from tile38cm.dev.consul import DevConsul
from tile38cm.settings import ConsulSettings

#: Where the clock of these tests begins, seconds since 1970: certificates have no time before that.
START = 1_800_000_000.0


class InMemory:
    """A client, and the resource that answers it over in-memory connections."""

    def __init__(
        self, resource: IResource, clock: Clock, settings: ConsulSettings | None = None, timeout: float = 5.0
    ) -> None:
        settings = settings or ConsulSettings()
        self.clock = clock
        self.traversal = RequestTraversalAgent(resource)
        http = HTTPClient(self.traversal, data_to_body_producer=WholeBody)
        self.consul = Consul(http, settings, clock, timeout)
        self.link = AgentLink(http, settings, clock, timeout)

    def advance(self, seconds: float) -> None:
        """Let time pass on both sides, and their bytes arrive."""
        self.clock.advance(seconds)
        self.traversal.flush()


def dev_consul(ttl_min: float = 0.2) -> tuple[DevConsul, InMemory]:
    """A new agent and a client of it, on one clock."""
    clock = Clock()
    clock.advance(START)
    agent = DevConsul(clock, ttl_min=ttl_min)
    return agent, InMemory(agent.resource(), clock)
