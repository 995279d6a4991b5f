"""What the client sends, and what it makes of answers that a real Consul seldom gives."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refusal
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from tests.unit.dev.consul_bench import InMemory
from tile38cm.coordination.consul import Consul, Get, Refused, Unclear
from tile38cm.coordination.consul_agent import MAX_ANSWER, WholeBody
from tile38cm.settings import Address, ConsulSettings, Secret

T = TypeVar("T")

TOKEN = "11111111-aaaa-bbbb-cccc-222222222222"


class Scripted(Resource):
    """Answers everything alike, and keeps what it was asked."""

    isLeaf = True  # noqa: N815  # Twisted reads it

    def __init__(
        self, status: int = 200, body: bytes = b"true", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        self.status, self.body, self.headers = status, body, {"X-Consul-Index": "7"} | (headers or {})
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.act: Callable[[Request], None] | None = None

    def render(self, request: Request) -> bytes | int:
        """Twisted calls it for each request."""
        assert request.content is not None
        self.requests.append(request)
        self.bodies.append(request.content.read())
        if self.act is not None:
            self.act(request)
            return NOT_DONE_YET
        request.setResponseCode(self.status)
        for name, value in self.headers.items():
            request.setHeader(name.encode(), value.encode())
        return self.body

    def header(self, name: str) -> str | None:
        """A header of the last request."""
        return self.requests[-1].requestHeaders.getRawHeaders(name.encode(), [b""])[0].decode() or None

    def target(self) -> str:
        """What the last request asked for: its method, path and query."""
        last = self.requests[-1]
        return f"{last.method.decode()} {last.uri.decode()}"


EVERYTHING: dict[str, Callable[[Consul], Awaitable[object]]] = {
    "get": lambda consul: consul.get("k"),
    "get_tree": lambda consul: consul.get_tree("k"),
    "put": lambda consul: consul.put("k", b"v"),
    "delete": lambda consul: consul.delete("k"),
    "txn": lambda consul: consul.txn(Get("k")),
    "session_create": lambda consul: consul.session_create("n", ttl=10.0),
    "session_info": lambda consul: consul.session_info("s"),
    "status_leader": lambda consul: consul.status_leader(),
    "agent_self": lambda consul: consul.agent_self(),
    "agent_services": lambda consul: consul.agent_services(),
    "catalog_service": lambda consul: consul.catalog_service("s"),
    "health_service": lambda consul: consul.health_service("s"),
    "connect_roots": lambda consul: consul.connect_roots(),
    "connect_leaf": lambda consul: consul.connect_leaf("s"),
    "authorize": lambda consul: consul.authorize("s", "u", "09"),
}
#: Those that look at nothing but the status.
BLIND: dict[str, Callable[[Consul], Awaitable[object]]] = {
    "session_renew": lambda consul: consul.session_renew("s"),
    "session_destroy": lambda consul: consul.session_destroy("s"),
    "register": lambda consul: consul.register({"Name": "s"}),
    "deregister": lambda consul: consul.deregister("s"),
    "check_update": lambda consul: consul.check_update("c", "passing", ""),
}


class ClientCase(SynchronousTestCase):
    """A client before a scripted Consul."""

    def consul(self, resource: Resource, settings: ConsulSettings | None = None) -> Consul:
        """The client; its time is C{self.bench.clock}."""
        self.bench = InMemory(resource, Clock(), settings)
        return self.bench.consul

    def start(self, asked: Awaitable[T]) -> Deferred[T]:
        """Ask, and look later."""

        async def ask() -> T:
            return await asked

        return Deferred.fromCoroutine(ask())

    def unclear(self, asked: Awaitable[object]) -> str:
        """It fails as unclear, by now; its text."""
        return str(self.failureResultOf(self.start(asked), Unclear).value)


class AnswerTests(ClientCase):
    """Answers out of the ordinary."""

    def test_rubbish(self) -> None:
        """Whatever is asked, an answer that is not Consul's is unclear."""
        for body in (b"hello", b"", b"<html>", b"[[1]]", b'{"a": [}', b"17", b'[{"KV": 1}]', b"\xff"):
            for name, ask in EVERYTHING.items():
                self.assertTrue(self.unclear(ask(self.consul(Scripted(body=body)))), (name, body))

    def test_no_index(self) -> None:
        """A list without the header to block on is unclear."""
        resource = Scripted(body=b"[]", headers={"X-Consul-Index": "-"})
        self.unclear(self.consul(resource).health_service("s"))

    def test_no_leader(self) -> None:
        """A Consul without a leader makes everything unclear."""
        resource = Scripted(500, b"rpc error making call: No cluster leader")
        for ask in (EVERYTHING | BLIND).values():
            self.assertIn("No cluster leader", self.unclear(ask(self.consul(resource))))

    def test_forbidden(self) -> None:
        """A missing right is a definite no to everything."""
        resource = Scripted(403, b"Permission denied: token lacks 'key:write'")
        for ask in (EVERYTHING | BLIND).values():
            error = self.failureResultOf(self.start(ask(self.consul(resource))), Refused).value
            self.assertEqual((403, "Permission denied: token lacks 'key:write'"), (error.status, error.text))

    def test_redirection_is_not_followed(self) -> None:
        """An answer that sends elsewhere is unclear: our token goes nowhere else."""
        resource = Scripted(302, b"", headers={"Location": "http://elsewhere/"})
        self.unclear(self.consul(resource, ConsulSettings(token=Secret(TOKEN))).get("k"))
        self.assertEqual(1, len(resource.requests))

    def test_too_large(self) -> None:
        """More bytes than the limit are unclear and not kept."""
        pending = self.start(self.consul(Scripted(body=b" " * (MAX_ANSWER + 1))).get("k"))
        self.bench.advance(0)
        self.assertIn("too large", str(self.failureResultOf(pending, Unclear).value))

    def test_index_zero(self) -> None:
        """An index of 0 counts as 1, so that the next query can block on it."""
        consul = self.consul(Scripted(404, b"", headers={"X-Consul-Index": "0"}))
        self.assertEqual(1, self.successResultOf(self.start(consul.get("k"))).index)


class WaitTests(ClientCase):
    """Every request ends."""

    def silent(self, begin: bytes = b"") -> Scripted:
        """A Consul that takes requests and does not answer, or only begins to."""
        resource = Scripted()
        resource.act = lambda request: request.write(begin) if begin else None
        return resource

    def test_no_answer(self) -> None:
        """A request that is not answered is unclear after the time-out, not before."""
        for ask in (EVERYTHING | BLIND).values():
            pending = self.start(ask(self.consul(self.silent())))
            self.bench.advance(4.9)
            self.assertNoResult(pending)
            self.bench.advance(0.2)
            self.assertIn("5 s", str(self.failureResultOf(pending, Unclear).value))
            self.assertEqual([], self.bench.clock.getDelayedCalls())

    def test_half_an_answer(self) -> None:
        """So is one whose answer stops halfway."""
        pending = self.start(self.consul(self.silent(b"[")).get("k"))
        self.bench.advance(4.9)
        self.assertNoResult(pending)
        self.bench.advance(0.2)
        self.failureResultOf(pending, Unclear)

    def test_blocking(self) -> None:
        """A blocking query has its own time on top, with the sixteenth that Consul may add."""
        pending = self.start(self.consul(self.silent()).get("k", index=3, wait=16.0))
        self.bench.advance(21.9)
        self.assertNoResult(pending)
        self.bench.advance(0.2)
        self.failureResultOf(pending, Unclear)

    def test_connection_lost(self) -> None:
        """A connection that is closed instead of an answer is unclear."""
        resource = Scripted()
        resource.act = lambda request: request.loseConnection()
        pending = self.start(self.consul(resource).put("k", b""))
        self.bench.advance(0)
        self.failureResultOf(pending, Unclear)

    def test_cancel(self) -> None:
        """A request that its caller cancels ends as cancelled, at any point."""
        for begin in (b"", b"["):
            pending = self.start(self.consul(self.silent(begin)).get("k"))
            self.bench.advance(0)
            pending.cancel()
            self.bench.advance(0)
            self.failureResultOf(pending, CancelledError)
            self.assertEqual([], self.bench.clock.getDelayedCalls())

    def test_away(self) -> None:
        """Without an agent everything is unclear, and the text says why."""
        for error in (Refusal(), ResponseNeverReceived([Failure(Refusal())])):
            consul = over(Failing(error))
            self.assertIn("refused", self.unclear(consul.get("k")))


@implementer(IAgent)
class Failing:
    """An agent that reaches nobody."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        return fail(self._error)


def over(agent: IAgent, clock: IReactorTime | None = None) -> Consul:
    """A client over any agent."""
    http = HTTPClient(agent, data_to_body_producer=WholeBody)
    return Consul(http, ConsulSettings(), clock or Clock())


class RequestTests(ClientCase):
    """What goes over the wire."""

    def sent(self, ask: Callable[[Consul], Awaitable[object]], body: bytes = b"true") -> Scripted:
        """The Consul that was asked, by one request."""
        resource = Scripted(body=body)
        self.successResultOf(self.start(ask(self.consul(resource))))
        self.assertEqual(1, len(resource.requests))
        return resource

    def test_blocking(self) -> None:
        """A blocking query tells index and time with a unit; without both it tells neither."""
        for given, query in (
            ({"index": 5, "wait": 10.0}, "?index=5&wait=10000ms"),
            ({"index": 5, "wait": 0.0001}, "?index=5&wait=1ms"),
            ({"index": 5, "wait": 0.0}, ""),
            ({"index": 0, "wait": 9.0}, ""),
        ):
            resource = self.sent(lambda consul, given=given: consul.get("k", **given), b"[]")  # type: ignore[misc]
            self.assertEqual(f"GET /v1/kv/k{query}", resource.target())

    def test_key_names(self) -> None:
        """Keys are quoted, except for their slashes."""
        resource = self.sent(lambda consul: consul.put("a/b c?d#e%2F", b""))
        self.assertEqual("PUT /v1/kv/a/b%20c%3Fd%23e%252F", resource.target())

    def test_conditions(self) -> None:
        """The conditions of a write go into the query."""
        for given, query in (
            ({"cas": 0}, "?cas=0"),
            ({"acquire": "s"}, "?acquire=s"),
            ({"release": "s"}, "?release=s"),
            ({}, ""),
        ):
            resource = self.sent(lambda consul, given=given: consul.put("k", b"v", **given))  # type: ignore[misc]
            self.assertEqual((f"PUT /v1/kv/k{query}", [b"v"]), (resource.target(), resource.bodies))

    def test_session(self) -> None:
        """A session is asked for without checks and lock-delay, by a body of known length:
        Consul ignores a chunked one and makes a session that never ends.
        """
        resource = self.sent(lambda consul: consul.session_create("n", ttl=10.0), b'{"ID": "s"}')
        self.assertEqual(
            {"Name": "n", "TTL": "10000ms", "LockDelay": "0s", "Behavior": "release", "NodeChecks": []},
            json.loads(resource.bodies[0]),
        )
        self.assertEqual(str(len(resource.bodies[0])), resource.header("Content-Length"))
        self.assertIsNone(resource.header("Transfer-Encoding"))

    def test_register(self) -> None:
        """A registration replaces the checks that were there."""
        resource = self.sent(lambda consul: consul.register({"Name": "s"}), b"")
        self.assertEqual("PUT /v1/agent/service/register?replace-existing-checks=true", resource.target())

    def header_of(self, name: str, settings: ConsulSettings) -> str | None:
        """A header of a request with those settings."""
        resource = Scripted(404, b"")
        self.successResultOf(self.start(self.consul(resource, settings).get("k")))
        return resource.header(name)

    def test_token(self) -> None:
        """The token goes into Consul's header, and there is none without it."""
        self.assertEqual(TOKEN, self.header_of("X-Consul-Token", ConsulSettings(token=Secret(TOKEN))))
        self.assertIsNone(self.header_of("X-Consul-Token", ConsulSettings()))
        self.assertIsNone(self.header_of("X-Consul-Token", ConsulSettings(token=Secret(""))))

    def test_token_file(self) -> None:
        """The file wins over the token, is trimmed, and is read for each request."""
        path = Path(self.mktemp())
        settings = ConsulSettings(token=Secret("other"), token_file=path)
        for token in (TOKEN, "next"):
            path.write_text(f" {token}\n")
            self.assertEqual(token, self.header_of("X-Consul-Token", settings))
        path.unlink()
        self.assertIn(str(path), self.unclear(self.consul(Scripted(), settings).get("k")))

    def test_basic_auth(self) -> None:
        """User and password go into a Basic header."""
        settings = ConsulSettings(http_auth=Secret("user:pass:word"))
        self.assertEqual("Basic dXNlcjpwYXNzOndvcmQ=", self.header_of("Authorization", settings))

    def test_where(self) -> None:
        """The address, a prefix and a socket's host show in the request."""
        for settings, uri, host in (
            (ConsulSettings(Address("::1", 80)), "/v1/kv/k", "localhost"),
            (ConsulSettings(Address("h", 81), path_prefix="/consul"), "/consul/v1/kv/k", "h:81"),
            (ConsulSettings(unix_socket="/s"), "/v1/kv/k", "localhost"),
        ):
            resource = Scripted(404, b"")
            self.successResultOf(self.start(self.consul(resource, settings).get("k")))
            self.assertEqual((f"GET {uri}", host), (resource.target(), resource.header("Host")))


class SecretTests(ClientCase):
    """Secrets stay where they are."""

    def test_echoed_token(self) -> None:
        """A token that somebody sends back is in no error."""
        for settings in (ConsulSettings(token=Secret(TOKEN)), ConsulSettings(http_auth=Secret(TOKEN))):
            for status, kind in ((403, Refused), (500, Unclear)):
                consul = self.consul(Scripted(status, f"no: {TOKEN}".encode()), settings)
                failure: Any = self.failureResultOf(self.start(consul.get("k")), kind)
                self.assertNotIn(TOKEN, str(failure.value))
                self.assertIn("(hidden)", str(failure.value))

    def test_filtered(self) -> None:
        """A header that tells of hidden results changes nothing in the answer."""
        resource = Scripted(body=b"[]", headers={"X-Consul-Results-Filtered-By-ACLs": "true"})
        found = self.successResultOf(self.start(self.consul(resource).health_service("s")))
        self.assertEqual(((), 7), (found.value, found.index))
