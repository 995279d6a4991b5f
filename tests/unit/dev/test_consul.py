"""What only the Consul-compatible agent promises, or what tests of the real one would take too long for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from tests.contracts.consul import verify_chain
from tests.unit.dev.consul_bench import dev_consul
from tile38cm.coordination.consul import Leaf, Roots
from tile38cm.coordination.consul_agent import Request
from tile38cm.coordination.consul_wire import Answer
from tile38cm.dev import consul
from tile38cm.dev.consul_changes import FIRST_INDEX


class DevConsulCase(SynchronousTestCase):
    """An agent whose time the test has in hand."""

    def setUp(self) -> None:
        self.agent, self.bench = dev_consul(ttl_min=10.0)
        self.consul = self.bench.consul

    def ask(self, method: str, path: str, body: Any = None, **params: str) -> Answer:
        """One request as it is, answered by now."""
        raw = json.dumps(body).encode() if body is not None else b""
        request = Request(method, path, tuple(params.items()), raw)
        return self.successResultOf(Deferred.fromCoroutine(self.bench.link.ask(request)))

    def session(self, **given: Any) -> str:
        """A new session's id."""
        session: str = json.loads(self.ask("PUT", "/v1/session/create", given).body)["ID"]
        return session


class QueryTests(DevConsulCase):
    """Words of a query."""

    def test_without_value(self) -> None:
        """A word needs no value, as with curl C{…?recurse}."""
        request: Any = DummyRequest([])
        request.uri, request.args = b"/v1/kv/a?recurse&passing", {}
        self.assertTrue(consul._said(request, "recurse"))
        self.assertTrue(consul._said(request, "passing"))
        self.assertFalse(consul._said(request, "keys"))


class IntentionTests(DevConsulCase):
    """Intentions, one by one."""

    def test_one(self) -> None:
        """One is set, and taken away again."""
        path, uri = "/v1/connect/intentions/exact", "spiffe://x.consul/ns/default/dc/dc1/svc/banned"
        asked = {"Target": "writer", "ClientCertURI": uri}
        named = {"source": "banned", "destination": "writer"}
        for method, allowed in (("PUT", False), ("DELETE", True)):
            self.assertEqual(self.ask(method, path, {"Action": "deny"}, **named).body, b"true")
            told = json.loads(self.ask("POST", "/v1/agent/connect/authorize", asked).body)
            self.assertEqual(told["Authorized"], allowed)


class SessionTests(DevConsulCase):
    """Sessions over long times."""

    def test_two_ttls(self) -> None:
        """A session falls two TTLs after its last renewal, and not before."""
        session = self.session(TTL="10s", NodeChecks=[])
        self.bench.advance(19.0)
        self.assertEqual(200, self.ask("PUT", f"/v1/session/renew/{session}").status)
        self.bench.advance(19.9)
        self.assertEqual(1, len(self.agent.keys.sessions))
        self.bench.advance(0.2)
        self.assertEqual(404, self.ask("PUT", f"/v1/session/renew/{session}").status)

    def test_default_lock_delay(self) -> None:
        """Without a lock-delay it is 15 seconds, plain numbers are seconds, and no more than 60 count."""
        for given, seconds in (({}, 15.0), ({"LockDelay": 5}, 5.0), ({"LockDelay": "90s"}, 60.0)):
            first, second = self.session(**given), self.session()
            key = f"/v1/kv/k{seconds:g}"
            self.assertEqual(b"true", self.ask("PUT", key, acquire=first).body)
            self.ask("PUT", f"/v1/session/destroy/{first}")
            self.bench.advance(seconds - 0.1)
            self.assertEqual(b"false", self.ask("PUT", key, acquire=second).body)
            self.bench.advance(0.2)
            self.assertEqual(b"true", self.ask("PUT", key, acquire=second).body)

    def test_close(self) -> None:
        """A closed agent leaves no timer behind."""
        for _ in range(3):
            self.session(TTL="10s")
        self.agent.close()
        self.assertEqual([], self.bench.clock.getDelayedCalls())


class KeyTests(DevConsulCase):
    """Forms of questions that the client does not use, but people and tools do."""

    def test_raw_and_keys(self) -> None:
        """A bare value and a list of names can be asked for."""
        self.ask("PUT", "/v1/kv/a/b", [1])
        self.assertEqual(b"[1]", self.ask("GET", "/v1/kv/a/b", raw="").body)
        self.assertEqual(["a/b"], json.loads(self.ask("GET", "/v1/kv/", keys="").body))
        self.assertEqual(1, len(json.loads(self.ask("GET", "/v1/kv/", recurse="").body)))

    def test_rejected(self) -> None:
        """Questions that contradict themselves or are no numbers are told so."""
        for method, path, params in (
            ("PUT", "/v1/kv/k", {"acquire": "s", "cas": "1"}),
            ("PUT", "/v1/kv/k", {"cas": "x"}),
            ("GET", "/v1/kv/k", {"index": "-1", "wait": "1s"}),
            ("GET", "/v1/kv/k", {"index": "1", "wait": "1"}),
            ("GET", "/v1/kv/k", {"stale": "", "consistent": ""}),
            ("PUT", "/v1/txn", {}),
        ):
            self.assertEqual(400, self.ask(method, path, **params).status, (path, params))

    def test_unknown_path(self) -> None:
        """What is not there is not found, another method not allowed."""
        self.assertEqual(404, self.ask("GET", "/v1/nothing").status)
        self.assertEqual(405, self.ask("GET", "/v1/txn").status)

    def test_index_grows(self) -> None:
        """The index grows with each write and is never one that would not block."""
        self.assertGreater(FIRST_INDEX, 1)
        before = self.agent.changes.index
        for value in (1, 1, 2):
            self.ask("PUT", "/v1/kv/k", value)
        self.assertGreaterEqual(self.agent.changes.index, before + 2)

    def test_reader_goes(self) -> None:
        """A blocked reader that goes away is forgotten."""
        self.ask("PUT", "/v1/kv/k", 1)
        index = self.agent.changes.index
        pending = Deferred.fromCoroutine(self.consul.get("k", index=index, wait=10.0))
        self.assertEqual(2, len(self.bench.clock.getDelayedCalls()))
        pending.cancel()
        self.bench.advance(0)
        self.failureResultOf(pending)
        self.assertEqual([], self.bench.clock.getDelayedCalls())


class ConnectTests(DevConsulCase):
    """Certificates over their lives, intentions in their order."""

    def leaf(self) -> Leaf:
        """The present leaf of a service."""
        return self.successResultOf(Deferred.fromCoroutine(self.consul.connect_leaf("w"))).value

    def roots(self) -> Roots:
        """The present roots."""
        return self.successResultOf(Deferred.fromCoroutine(self.consul.connect_roots())).value

    def now(self) -> datetime:
        """The agent's time."""
        return datetime.fromtimestamp(self.bench.clock.seconds(), UTC)

    def test_renewal(self) -> None:
        """A leaf is the same for most of its life, and another one before it ends."""
        first = self.leaf()
        self.bench.advance(50 * 3600.0)
        self.assertEqual(first, self.leaf())
        self.bench.advance(10 * 3600.0)
        second = self.leaf()
        self.assertNotEqual(first.serial, second.serial)
        self.assertGreater(second.modify_index, first.modify_index)
        verify_chain(second, list(self.roots().pems), self.now())

    def test_two_rotations(self) -> None:
        """After each rotation a new leaf is good for those who know only the root before."""
        for _ in range(2):
            before = self.roots()
            self.agent.authority.rotate()
            verify_chain(self.leaf(), [before.pems[0]], self.now())
            verify_chain(self.leaf(), [self.roots().pems[0]], self.now())
        self.assertEqual(3, len(self.roots().pems))

    def test_precedence(self) -> None:
        """The target's own rules come before those for all, the source's before those for any."""
        intentions, uri = self.agent.intentions, "spiffe://td/ns/default/dc/dc1/svc/web"
        allowed: list[bool] = []
        for destination, source, allow in (("*", "*", False), ("*", "web", True), ("db", "*", False)):
            intentions.put_one(destination, source, allow)
            judged = intentions.judge("db", uri)
            assert judged is not None
            allowed.append(judged[0])
        intentions.put_one("db", "web", True)
        self.assertEqual([False, True, False], allowed)
        reason = "Matched L4 intention: default/web => default/db (Precedence: 9, Action: ALLOW)"
        self.assertEqual((True, reason), intentions.judge("db", uri))
