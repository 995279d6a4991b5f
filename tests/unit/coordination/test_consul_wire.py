"""How Consul's answers are judged and read, whatever they hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.coordination import consul_wire as wire
from tile38cm.coordination.consul_values import (
    Cas,
    CheckNotExists,
    ConsulError,
    DeleteCas,
    KeyValue,
    Lock,
    Refused,
    TxnAnswer,
    TxnError,
    Unclear,
    Unlock,
)

KEY: dict[str, Any] = {
    "LockIndex": 1,
    "Key": "k",
    "Flags": 42,
    "Value": "bWU=",
    "Session": "s",
    "CreateIndex": 2,
    "ModifyIndex": 3,
}
HEALTH = {
    "Node": {"Node": "n", "Address": "10.0.0.1"},
    "Service": {"ID": "i", "Service": "s", "Port": 5, "Meta": {"id": "1"}, "Connect": {"Native": True}},
    "Checks": [{"Status": "passing"}],
}
CATALOG = {"ServiceID": "i", "ServiceName": "s", "Node": "n", "Address": "10.0.0.1", "ServicePort": 5}
ROOTS = {
    "ActiveRootID": "b",
    "TrustDomain": "td",
    "Roots": [{"RootCert": "A", "IntermediateCerts": ["I"]}, {"RootCert": "B", "IntermediateCerts": None}],
}
LEAF = {
    "SerialNumber": "09",
    "CertPEM": "C",
    "PrivateKeyPEM": "K",
    "Service": "s",
    "ServiceURI": "spiffe://td/ns/default/dc/dc1/svc/s",
    "ValidBefore": "2030-01-02T03:04:05Z",
    "ModifyIndex": 7,
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def answer(status: int, body: object = b"", index: str = "") -> wire.Answer:
    """An answer with bytes as they are, or another value as JSON."""
    return wire.Answer(status, body if isinstance(body, bytes) else json.dumps(body).encode(), index)


def damaged(whole: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The object with some of its members replaced by anything."""
    return st.dictionaries(st.sampled_from(sorted(whole)), json_values, min_size=1).map(
        lambda new: whole | new
    )


class JudgeTests(SynchronousTestCase):
    """L{wire.judge}"""

    def test_good(self) -> None:
        """200 and the normal noes of a request are handed on."""
        self.assertEqual(200, wire.judge(answer(200)).status)
        self.assertEqual(404, wire.judge(answer(404), (404,)).status)

    def test_refused(self) -> None:
        """Requests that are wrong, or forbidden, are refused."""
        for status in (400, 401, 403, 404, 405, 409, 413):
            with self.assertRaises(Refused) as caught:
                wire.judge(answer(status, b" no \n"))
            self.assertEqual((status, "no"), (caught.exception.status, caught.exception.text))

    def test_sure_500(self) -> None:
        """Some 500s are a definite no, as Consul words them."""
        for text in (
            b'raft apply failed: invalid session "x"',
            b"apply failed: Check 'serfHealth' is in critical state",
            b"apply failed: Missing check 'nope' registration",
            b"apply failed: Missing node registration",
            b"Invalid Session TTL '9000000000', must be between [10s=24h0m0s]",
            b"Invalid Behavior setting 'foo'",
        ):
            with self.assertRaises(Refused):
                wire.judge(answer(500, text))

    def test_unclear(self) -> None:
        """Overload, a lost leader and redirections leave the outcome open."""
        for status, text in (
            (429, b"Your IP is issuing too many concurrent connections"),
            (500, b"raft apply failed: leadership lost while committing log"),
            (500, b"rpc error making call: No cluster leader"),
            (503, b"rate limit exceeded"),
            (502, b""),
            (301, b""),
            (204, b""),
        ):
            with self.assertRaises(Unclear):
                wire.judge(answer(status, text))

    def test_long_text_is_cut(self) -> None:
        """An error's text stays a sentence, however long the answer."""
        with self.assertRaises(Refused) as caught:
            wire.judge(answer(400, "é".encode() * 100_000))
        self.assertLess(len(str(caught.exception)), 400)

    @given(st.integers(100, 599), st.binary(max_size=50))
    def test_any(self, status: int, body: bytes) -> None:
        """Whatever status and body come, nothing but a C{ConsulError} is raised."""
        try:
            self.assertEqual(200, wire.judge(answer(status, body)).status)
        except ConsulError:
            pass


class ReadTests(SynchronousTestCase):
    """The C{read_*} functions on good answers."""

    def test_index(self) -> None:
        """0 counts as 1; what is no number is not understood."""
        self.assertEqual([1, 1, 18], [wire.read_index(answer(200, b"", text)) for text in ("0", "1", "18")])
        for text in ("", "-1", "x", "1.0", "²", "9" * 21):
            with self.assertRaises(Unclear):
                wire.read_index(answer(200, b"", text))

    def test_key(self) -> None:
        """A key has all its members; without a holder and a value it has none."""
        self.assertEqual(KeyValue("k", b"me", 3, 2, 1, 42, "s"), wire.read_key(KEY))
        bare = {name: KEY[name] for name in ("Key", "CreateIndex", "ModifyIndex", "LockIndex")}
        self.assertEqual(KeyValue("k", b"", 3, 2, 1, 0, None), wire.read_key(bare | {"Value": None}))

    def test_health(self) -> None:
        """An instance passes if all its checks do, and has its node's address if none of its own."""
        self.assertTrue(wire.read_health(HEALTH).passing)
        self.assertEqual("10.0.0.1", wire.read_health(HEALTH).address)
        for status in ("warning", "critical", "maintenance"):
            checks = [{"Status": "passing"}, {"Status": status}]
            self.assertFalse(wire.read_health(HEALTH | {"Checks": checks}).passing)

    def test_catalog(self) -> None:
        """An instance of the catalog has its own address before its node's."""
        self.assertEqual("10.0.0.1", wire.read_catalog(CATALOG).address)
        self.assertEqual("10.0.0.2", wire.read_catalog(CATALOG | {"ServiceAddress": "10.0.0.2"}).address)

    def test_roots(self) -> None:
        """All roots are given with their intermediates."""
        self.assertEqual(("A", "I", "B"), wire.read_roots(ROOTS).pems)

    def test_leaf(self) -> None:
        """A leaf's end is a moment in UTC, its key is not shown."""
        leaf = wire.read_leaf(LEAF)
        self.assertEqual(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), leaf.valid_before)
        self.assertEqual("K", leaf.key_pem.value)
        self.assertNotIn("'K'", repr(leaf))

    def test_txn(self) -> None:
        """A transaction's answer has results or errors; one that has both or neither is not understood."""
        good = {"Results": [{"KV": KEY}], "Errors": None}
        bad = {"Results": None, "Errors": [{"OpIndex": 2, "What": "index is stale"}]}
        self.assertEqual(TxnAnswer(True, (wire.read_key(KEY),), ()), wire.read_txn(answer(200, good)))
        expected = TxnAnswer(False, (), (TxnError(2, "index is stale"),))
        self.assertEqual(expected, wire.read_txn(answer(409, bad)))
        for status, body in ((200, bad), (409, good), (409, {"Results": None, "Errors": []})):
            with self.assertRaises(Unclear):
                wire.read_txn(answer(status, body))

    def test_bool(self) -> None:
        """Only true and false are an answer to a write."""
        self.assertEqual(
            [True, False], [wire.read_bool(answer(200, b"true")), wire.read_bool(answer(200, b"false\n"))]
        )
        for body in (b"", b"1", b"null", b'"true"', b"[]"):
            with self.assertRaises(Unclear):
                wire.read_bool(answer(200, body))


class WriteTests(SynchronousTestCase):
    """L{wire.write_op}"""

    def test_ops(self) -> None:
        """Operations carry their verb and just the members that they have."""
        self.assertEqual(
            [
                {"KV": {"Verb": "cas", "Key": "k", "Value": "djE=", "Index": 5}},
                {"KV": {"Verb": "lock", "Key": "k", "Value": "", "Session": "s"}},
                {"KV": {"Verb": "unlock", "Key": "k", "Session": "s"}},
                {"KV": {"Verb": "check-not-exists", "Key": "k"}},
                {"KV": {"Verb": "delete-cas", "Key": "k", "Index": 0}},
            ],
            [
                wire.write_op(Cas("k", b"v1", 5)),
                wire.write_op(Lock("k", b"", "s")),
                wire.write_op(Unlock("k", "s")),
                wire.write_op(CheckNotExists("k")),
                wire.write_op(DeleteCas("k", 0)),
            ],
        )


class RubbishTests(SynchronousTestCase):
    """Whatever comes instead of an answer is L{Unclear}, never another exception."""

    def unclear_or_read(self, read: Callable[[Any], object], value: object) -> None:
        """It is read, or it is unclear."""
        try:
            read(value)
        except Unclear:
            pass

    @given(st.binary(max_size=200))
    def test_bytes(self, body: bytes) -> None:
        """Bytes that are no JSON."""
        for read in (wire.read_json, wire.read_bool, wire.read_object, wire.read_txn):
            self.unclear_or_read(read, answer(200, body))

    def test_deep(self) -> None:
        """JSON that is nested too deeply."""
        with self.assertRaises(Unclear):
            wire.read_json(answer(200, b"[" * 100_000))

    @given(json_values)
    def test_other_json(self, value: object) -> None:
        """JSON of any other shape."""
        readers = (wire.read_key, wire.read_health, wire.read_catalog, wire.read_roots, wire.read_leaf)
        for read in readers:
            self.unclear_or_read(read, value)
        self.unclear_or_read(wire.read_txn, answer(200, value))

    @given(
        st.one_of(
            damaged(KEY).map(lambda value: (wire.read_key, value)),
            damaged(HEALTH).map(lambda value: (wire.read_health, value)),
            damaged(CATALOG).map(lambda value: (wire.read_catalog, value)),
            damaged(ROOTS).map(lambda value: (wire.read_roots, value)),
            damaged(LEAF).map(lambda value: (wire.read_leaf, value)),
        )
    )
    def test_damaged(self, case: tuple[Callable[[Any], object], object]) -> None:
        """Answers of the right shape with some members replaced."""
        self.unclear_or_read(*case)
