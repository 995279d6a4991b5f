"""What the parts of the Consul contract have in common; no tests of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

from cryptography import x509
from OpenSSL import crypto
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tile38cm.coordination.consul import (
    Consul,
    KeyValue,
    Leaf,
    Op,
    Refused,
)
from tile38cm.coordination.consul_agent import AgentLink, Request

T = TypeVar("T")

#: Seconds; a provider has to allow sessions as short as this.
SHORT_TTL = 0.5
#: Seconds that a blocking query here may block.
WAIT = 5.0

_numbers = count(1)
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


def certificates(pem: str) -> list[x509.Certificate]:
    """All certificates in the text, in order."""
    return [x509.load_pem_x509_certificate(block.encode()) for block in _PEM.findall(pem)]


def verify_chain(leaf: Leaf, roots: list[str], at: datetime) -> None:
    """Fail unless the leaf, with what follows it in its chain, is signed by one of those roots."""
    store = crypto.X509Store()
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(certificates(root)[0]))
    store.set_time(at)
    own, *between = [crypto.X509.from_cryptography(each) for each in certificates(leaf.cert_pem)]
    crypto.X509StoreContext(store, own, between).verify_certificate()


class ConsulCase(TestCase):
    """Each provider's subclass fills C{consul} and C{link} in its C{setUp}.

    Trial runs C{async} tests in a L{TestCase} only: in a C{SynchronousTestCase}
    they would be made, never awaited, and counted as passed.
    """

    timeout = 20

    consul: Consul
    link: AgentLink

    def setUp(self) -> None:
        self.name = f"t38cm-{next(_numbers)}"
        self.key = f"{self.name}/key"

    async def elapse(self, seconds: float) -> None:
        """Let so much of Consul's time pass."""
        raise NotImplementedError

    async def arrive(self, pending: Deferred[T]) -> T:
        """The result of a query that was blocked when it was asked."""
        raise NotImplementedError

    def now(self) -> datetime:
        """The present in Consul's time."""
        raise NotImplementedError

    def background(self, asked: Awaitable[T]) -> Deferred[T]:
        """Ask now, look later."""

        async def ask() -> T:
            return await asked

        return Deferred.fromCoroutine(ask())

    async def session(self, *, ttl: float = 60.0, lock_delay: float = 0.0, behavior: str = "release") -> str:
        """A session that is destroyed after the test."""
        session = await self.consul.session_create(
            self.name, ttl=ttl, lock_delay=lock_delay, behavior=behavior
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(self.consul.session_destroy(session)))
        return session

    async def present(self, key: str | None = None) -> KeyValue:
        """The key, which must be there."""
        found = (await self.consul.get(key or self.key)).value
        assert found is not None, f"{key or self.key} is missing"
        return found

    async def refused(self, asked: Awaitable[object]) -> Refused:
        """What the request was refused with; it must be."""
        try:
            answer = await asked
        except Refused as error:
            return error
        raise AssertionError(f"not refused but {answer!r}")

    async def failing(self, *ops: Op) -> tuple[int, ...]:
        """The positions of the failing operations of a transaction that must fail."""
        answer = await self.consul.txn(*ops)
        self.assertFalse(answer.ok)
        self.assertEqual((), answer.results)
        self.assertTrue(all(error.what for error in answer.errors))
        return tuple(error.op_index for error in answer.errors)

    async def raw(self, method: str, path: str, body: Any) -> None:
        """A request of an operator, which the client does not make."""
        answer = await self.link.ask(Request(method, path, body=json.dumps(body).encode()))
        self.assertEqual(200, answer.status, answer.body)


def wall_clock() -> datetime:
    """The real time, for providers that live in it."""
    return datetime.now(UTC)
