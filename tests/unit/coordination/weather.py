"""A Consul in memory whose answers get lost, with the real client before it."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from tests.unit.dev.consul_bench import START, InMemory
from tile38cm.coordination.store import ClusterStore
from tile38cm.dev.consul import DevConsul
from tile38cm.dev.consul_keys import Entry, Operation

T = TypeVar("T")
PREFIX = "p"


class Weather(Resource):
    """In front of an agent: C{faults} are what happens to the next requests that change something.

    C{"lost"}: it takes effect, and the answer says nothing.  C{"before"}: it has
    no effect.  C{"late"}: it takes effect when L{arrive} is called.  A text: it is
    refused with that.  C{None}: nothing.
    """

    isLeaf = True  # noqa: N815  # Twisted reads it

    def __init__(self, agent: DevConsul) -> None:
        super().__init__()
        self.faults: list[str | None] = []
        self.away = False
        #: Called before each request that changes something has its effect.
        self.before: Callable[[], None] = lambda: None
        self.changes = 0
        self._agent = agent
        self._inner: IResource = agent.resource()
        self._late: list[list[Operation]] = []

    def render(self, request: Request) -> Any:
        """Twisted calls it for each request."""
        if self.away:
            return self._says(request, 500, b"No cluster leader")
        if request.method != b"PUT" or request.path.startswith(b"/v1/session"):
            return self._inner.render(request)
        self.changes += 1
        self.before()
        fault = self.faults.pop(0) if self.faults else None
        if fault is None:
            return self._inner.render(request)
        if fault not in ("lost", "before", "late"):
            return self._says(request, 403, fault.encode())
        if fault != "before":
            assert request.content is not None
            operations = [_operation(each["KV"]) for each in json.loads(request.content.read())]
            if fault == "lost":
                self._agent.keys.transact(operations)
            else:
                self._late.append(operations)
        return self._says(request, 500, b"rpc error: EOF")

    def arrive(self) -> None:
        """What was late takes effect now."""
        late, self._late = self._late, []
        for operations in late:
            self._agent.keys.transact(operations)

    def _says(self, request: Request, status: int, text: bytes) -> bytes:
        request.setResponseCode(status)
        return text


def _operation(words: dict[str, Any]) -> Operation:
    return Operation(
        words["Verb"],
        words["Key"],
        b64decode(words.get("Value") or ""),
        index=int(words.get("Index") or 0),
        session=words.get("Session") or "",
    )


class Station:
    """An agent, its weather, and stores of members."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.agent = DevConsul(self.clock, ttl_min=0.2)
        self.weather = Weather(self.agent)
        self.bench = InMemory(self.weather, self.clock)
        self.consul = self.bench.consul

    def store(self, member: str) -> ClusterStore:
        """The keys of the cluster as a member sees them."""
        return ClusterStore(self.consul, PREFIX, member, self.clock)

    def run(self, work: Coroutine[Deferred[Any], Any, T], seconds: float = 0.0) -> Deferred[T]:
        """Begin, and let so much time pass."""
        task = Deferred.fromCoroutine(work)
        self.wait(seconds)
        return task

    def wait(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        self.bench.traversal.flush()
        for _ in range(round(seconds / 0.05)):
            self.bench.advance(0.05)

    def entry(self, name: str) -> Entry | None:
        """A key below the prefix."""
        entry: Entry | None = self.agent.keys.read(f"{PREFIX}/{name}").value
        return entry

    def put(self, name: str, value: bytes, verb: str = "set", session: str = "") -> None:
        """Somebody else's write."""
        assert self.agent.keys.attempt(Operation(verb, f"{PREFIX}/{name}", value, session=session))

    def session(self) -> str:
        """Somebody else's session."""
        return self.agent.keys.create_session("other", "n", 10.0, 0.0, "release").id
