"""What the Consul client and whatever answers it promise together.

L{ConsulContract} is a test case without a provider; a subclass says which
Consul answers and how its time passes.  Sessions may be as short as
L{SHORT_TTL}.  Names are made from C{self.name}, so that a shared Consul does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import crypto
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tile38cm.coordination.consul import (
    Cas,
    CheckIndex,
    CheckNotExists,
    CheckSession,
    Consul,
    Delete,
    DeleteCas,
    Get,
    GetOrEmpty,
    GetTree,
    KeyValue,
    Leaf,
    Lock,
    Op,
    Refused,
    Roots,
    Set,
    Unlock,
    consul_client,
)
from tile38cm.coordination.consul_agent import AgentLink, Request, http_client
from tile38cm.settings import ConsulSettings

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


class ConsulContract(TestCase):
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

    # --- keys

    async def test_missing_key(self) -> None:
        """A key that is not there is None, with an index that can be blocked on."""
        found = await self.consul.get(self.key)
        self.assertIsNone(found.value)
        self.assertGreaterEqual(found.index, 1)

    async def test_missing_tree(self) -> None:
        """A prefix without keys is an empty tuple."""
        found = await self.consul.get_tree(self.name)
        self.assertEqual((), found.value)
        self.assertGreaterEqual(found.index, 1)

    async def test_put_and_get(self) -> None:
        """What was put comes back byte for byte, under its exact name."""
        key, value = f"{self.name}/a b%2F+?#&é", bytes(range(256))
        self.assertTrue(await self.consul.put(key, value))
        found = (await self.consul.get(key, consistent=True)).value
        assert found is not None
        self.assertEqual((key, value, None), (found.key, found.value, found.session))
        self.assertEqual(found.create_index, found.modify_index)

    async def test_empty_value(self) -> None:
        """An empty value is an empty value."""
        await self.consul.put(self.key, b"")
        self.assertEqual(b"", (await self.present()).value)

    async def test_tree(self) -> None:
        """A tree has all keys that begin with the prefix, in order, and no others."""
        for key in ("b", "a", "c/d"):
            await self.consul.put(f"{self.name}/{key}", key.encode())
        await self.consul.put(f"{self.name[:-1]}x/other", b"")
        found = (await self.consul.get_tree(f"{self.name}/")).value
        self.assertEqual([b"a", b"b", b"c/d"], [each.value for each in found])

    async def test_cas_create_only(self) -> None:
        """Index 0 writes a key that is not there, and only such a one."""
        self.assertTrue(await self.consul.put(self.key, b"1", cas=0))
        self.assertFalse(await self.consul.put(self.key, b"2", cas=0))
        self.assertEqual(b"1", (await self.present()).value)

    async def test_cas(self) -> None:
        """A write at a wrong index is a plain no and changes nothing; at the right one it is done."""
        await self.consul.put(self.key, b"1")
        index = (await self.present()).modify_index
        self.assertFalse(await self.consul.put(self.key, b"2", cas=index + 1))
        self.assertEqual(b"1", (await self.present()).value)
        self.assertTrue(await self.consul.put(self.key, b"2", cas=index))
        self.assertEqual(b"2", (await self.present()).value)

    async def test_cas_missing(self) -> None:
        """A write at an index does not create a key."""
        self.assertFalse(await self.consul.put(self.key, b"1", cas=7))

    async def test_equal_value_keeps_index(self) -> None:
        """Writing what is there already does not move the index; so a nonce is needed to move it."""
        await self.consul.put(self.key, b"1")
        before = await self.present()
        await self.consul.put(self.key, b"1")
        self.assertEqual(before, await self.present())
        await self.consul.put(self.key, b"2")
        self.assertGreater((await self.present()).modify_index, before.modify_index)

    async def test_delete(self) -> None:
        """A deletion succeeds whether there is a key or not; with a wrong index it does not."""
        self.assertTrue(await self.consul.delete(self.key))
        await self.consul.put(self.key, b"1")
        index = (await self.present()).modify_index
        self.assertFalse(await self.consul.delete(self.key, cas=index + 1))
        self.assertTrue(await self.consul.delete(self.key, cas=index))
        self.assertIsNone((await self.consul.get(self.key)).value)

    async def test_delete_tree(self) -> None:
        """A recursive deletion takes all keys below and nothing beside."""
        for key in ("x/1", "x/2", "y"):
            await self.consul.put(f"{self.name}/{key}", b"")
        await self.consul.delete(f"{self.name}/x/", recurse=True)
        self.assertEqual([f"{self.name}/y"], [e.key for e in (await self.consul.get_tree(self.name)).value])

    async def test_too_large(self) -> None:
        """A value above Consul's limit is refused."""
        error = await self.refused(self.consul.put(self.key, bytes(512 * 1024 + 1)))
        self.assertEqual(413, error.status)

    # --- locks and sessions

    async def test_acquire(self) -> None:
        """One session holds a lock: others get no, the holder yes again, without a new lock."""
        mine, other = await self.session(), await self.session()
        self.assertTrue(await self.consul.put(self.key, b"me", acquire=mine))
        held = await self.present()
        self.assertEqual((b"me", mine, 1), (held.value, held.session, held.lock_index))
        self.assertFalse(await self.consul.put(self.key, b"other", acquire=other))
        self.assertTrue(await self.consul.put(self.key, b"me", acquire=mine))
        self.assertEqual(held, await self.present())

    async def test_release(self) -> None:
        """Only the holder releases, with a new value; then the lock is free, whatever the lock-delay."""
        mine, other = await self.session(lock_delay=30.0), await self.session()
        await self.consul.put(self.key, b"me", acquire=mine)
        self.assertFalse(await self.consul.put(self.key, b"", release=other))
        self.assertTrue(await self.consul.put(self.key, b"left", release=mine))
        self.assertEqual((b"left", None), ((await self.present()).value, (await self.present()).session))
        self.assertTrue(await self.consul.put(self.key, b"other", acquire=other))
        self.assertEqual(2, (await self.present()).lock_index)

    async def test_plain_write_on_lock(self) -> None:
        """A plain write passes a lock by: the holder stays, the lock index is 0."""
        mine = await self.session()
        await self.consul.put(self.key, b"me", acquire=mine)
        self.assertTrue(await self.consul.put(self.key, b"vandal"))
        found = await self.present()
        self.assertEqual((b"vandal", mine, 0), (found.value, found.session, found.lock_index))

    async def test_acquire_for_unknown_session(self) -> None:
        """To lock for a session that is not there is a definite no, though Consul says 500."""
        error = await self.refused(
            self.consul.put(self.key, b"", acquire="00000000-0000-0000-0000-000000000000")
        )
        self.assertEqual(500, error.status)

    async def test_destroy_frees_at_once(self) -> None:
        """The end of a session without lock-delay frees its locks for the next one at once."""
        mine, other = await self.session(), await self.session()
        await self.consul.put(self.key, b"me", acquire=mine)
        await self.consul.session_destroy(mine)
        self.assertEqual((b"me", None), ((await self.present()).value, (await self.present()).session))
        self.assertTrue(await self.consul.put(self.key, b"other", acquire=other))

    async def test_lock_delay(self) -> None:
        """The end of a session with a lock-delay keeps its locks from others for that time."""
        mine, other = await self.session(lock_delay=0.5), await self.session()
        await self.consul.put(self.key, b"me", acquire=mine)
        await self.consul.session_destroy(mine)
        self.assertFalse(await self.consul.put(self.key, b"other", acquire=other))
        self.assertEqual((0,), await self.failing(Lock(self.key, b"other", other)))
        await self.elapse(0.8)
        self.assertTrue(await self.consul.put(self.key, b"other", acquire=other))

    async def test_behavior_delete(self) -> None:
        """A session of that behaviour takes its keys along."""
        mine = await self.session(behavior="delete")
        await self.consul.put(self.key, b"me", acquire=mine)
        await self.consul.session_destroy(mine)
        self.assertIsNone((await self.consul.get(self.key)).value)

    async def test_session_life(self) -> None:
        """A session is there, can be renewed, and destroyed more than once; then it is gone."""
        mine = await self.session()
        self.assertTrue(await self.consul.session_info(mine))
        self.assertTrue(await self.consul.session_renew(mine))
        await self.consul.session_destroy(mine)
        await self.consul.session_destroy(mine)
        self.assertFalse(await self.consul.session_info(mine))
        self.assertFalse(await self.consul.session_renew(mine))

    async def test_session_expires(self) -> None:
        """A session lives on while it is renewed, and ends between one and a few TTLs after."""
        mine = await self.session(ttl=SHORT_TTL)
        for _ in range(3):
            await self.elapse(SHORT_TTL * 0.8)
            self.assertTrue(await self.consul.session_renew(mine))
        await self.elapse(SHORT_TTL * 4)
        self.assertFalse(await self.consul.session_renew(mine))

    async def test_bad_session(self) -> None:
        """A TTL or behaviour that Consul does not take is a definite no."""
        await self.refused(self.consul.session_create(self.name, ttl=0.001))
        await self.refused(self.consul.session_create(self.name, ttl=60.0, behavior="stay"))

    # --- transactions

    async def test_txn_results(self) -> None:
        """A transaction gives back what it read, writes without their values, deletions nothing."""
        mine = await self.session()
        answer = await self.consul.txn(
            Set(self.key, b"1"),
            Get(self.key),
            Lock(f"{self.name}/lock", b"me", mine),
            GetOrEmpty(f"{self.name}/none"),
            GetTree(f"{self.name}/"),
            Delete(self.key),
        )
        self.assertTrue(answer.ok)
        self.assertEqual(
            [
                (self.key, b""),
                (self.key, b"1"),
                (f"{self.name}/lock", b""),
                (f"{self.name}/none", b""),
                (self.key, b"1"),
                (f"{self.name}/lock", b"me"),
            ],
            [(each.key, each.value) for each in answer.results],
        )
        self.assertEqual(0, answer.results[3].modify_index)
        lock = await self.present(f"{self.name}/lock")
        self.assertEqual((lock.modify_index, mine), (answer.results[2].modify_index, lock.session))
        self.assertIsNone((await self.consul.get(self.key)).value)

    async def test_txn_is_atomic(self) -> None:
        """If one operation fails nothing is done, and the answer names the one that failed."""
        mine = await self.session()
        await self.consul.put(self.key, b"1")
        failing = await self.failing(
            Lock(f"{self.name}/lock", b"me", mine),
            Set(f"{self.name}/other", b"2"),
            Delete(self.key),
            Cas(f"{self.name}/status", b"3", 99),
        )
        self.assertEqual((3,), failing)
        self.assertEqual([self.key], [each.key for each in (await self.consul.get_tree(self.name)).value])

    async def test_txn_hand_over(self) -> None:
        """One transaction moves a lock from one session to another; who watches sees one change."""
        old, new = await self.session(lock_delay=30.0), await self.session()
        await self.consul.put(self.key, b"old", acquire=old)
        before = await self.consul.get(self.key)
        pending = self.background(self.consul.get(self.key, index=before.index, wait=WAIT))
        answer = await self.consul.txn(
            CheckSession(self.key, old), Unlock(self.key, old), Lock(self.key, b"new", new)
        )
        self.assertTrue(answer.ok)
        seen = (await self.arrive(pending)).value
        assert seen is not None
        self.assertEqual((b"new", new), (seen.value, seen.session))
        self.assertEqual(seen, await self.present())

    async def test_txn_hand_over_to_the_dead(self) -> None:
        """A hand-over to a session that is gone fails, and the lock stays where it was."""
        old, new = await self.session(), await self.session()
        await self.consul.put(self.key, b"old", acquire=old)
        await self.consul.session_destroy(new)
        self.assertEqual((1,), await self.failing(Unlock(self.key, old), Lock(self.key, b"new", new)))
        self.assertEqual((b"old", old), ((await self.present()).value, (await self.present()).session))

    async def test_txn_unlock_value(self) -> None:
        """An unlock without a value empties the key, one with a value writes it."""
        mine = await self.session()
        for value, expected in ((None, b""), (b"kept", b"kept")):
            await self.consul.put(self.key, b"me", acquire=mine)
            self.assertTrue((await self.consul.txn(Unlock(self.key, mine, value))).ok)
            self.assertEqual((expected, None), ((await self.present()).value, (await self.present()).session))

    async def test_txn_checks(self) -> None:
        """Each check fails where it should and lets pass where it should."""
        mine, other = await self.session(), await self.session()
        await self.consul.put(self.key, b"me", acquire=mine)
        index, missing = (await self.present()).modify_index, f"{self.name}/none"
        good = (CheckIndex(self.key, index), CheckSession(self.key, mine), CheckNotExists(missing))
        self.assertTrue((await self.consul.txn(*good, Set(f"{self.name}/x", b""))).ok)
        bad: tuple[Op, ...] = (
            CheckIndex(self.key, index + 1),
            CheckIndex(missing, 1),
            CheckSession(self.key, other),
            CheckNotExists(self.key),
            Get(missing),
            Lock(self.key, b"", other),
            Unlock(self.key, other),
            Cas(self.key, b"", index + 1),
            DeleteCas(self.key, index + 1),
        )
        for op in bad:
            self.assertEqual((1,), await self.failing(Set(f"{self.name}/y", b""), op), op)
        self.assertIsNone((await self.consul.get(f"{self.name}/y")).value)

    async def test_txn_cas(self) -> None:
        """A compared write creates at index 0, then writes and deletes at the right index only."""
        first = await self.consul.txn(Cas(self.key, b"1", 0))
        self.assertEqual((0,), await self.failing(Cas(self.key, b"2", 0)))
        second = await self.consul.txn(Cas(self.key, b"2", first.results[0].modify_index))
        self.assertGreater(second.results[0].modify_index, first.results[0].modify_index)
        self.assertEqual(b"2", (await self.present()).value)
        self.assertTrue((await self.consul.txn(DeleteCas(self.key, second.results[0].modify_index))).ok)

    async def test_txn_too_many(self) -> None:
        """More operations than Consul takes are refused."""
        error = await self.refused(self.consul.txn(*(Set(f"{self.key}{n}", b"") for n in range(129))))
        self.assertEqual(413, error.status)

    # --- blocking

    async def test_blocking_wakes_on_change(self) -> None:
        """A blocked query answers with the new value once there is one."""
        await self.consul.put(self.key, b"1")
        before = await self.consul.get(self.key)
        pending = self.background(self.consul.get(self.key, index=before.index, wait=WAIT))
        self.assertNoResult(pending)
        await self.consul.put(self.key, b"2")
        found = await self.arrive(pending)
        assert found.value is not None
        self.assertEqual((b"2", found.value.modify_index), (found.value.value, found.index))
        self.assertGreater(found.index, before.index)

    async def test_blocking_on_missing_key(self) -> None:
        """A query for a missing key blocks until it is created, whatever else is written."""
        before = await self.consul.get(self.key)
        pending = self.background(self.consul.get(self.key, index=before.index, wait=WAIT))
        await self.consul.put(f"{self.name}/beside", b"")
        await self.elapse(0.1)
        self.assertNoResult(pending)
        await self.consul.put(self.key, b"1")
        found = await self.arrive(pending)
        assert found.value is not None
        self.assertEqual(b"1", found.value.value)

    async def test_blocking_sees_deletion(self) -> None:
        """A blocked query answers None when the key goes."""
        await self.consul.put(self.key, b"1")
        before = await self.consul.get(self.key)
        pending = self.background(self.consul.get(self.key, index=before.index, wait=WAIT))
        await self.consul.delete(self.key)
        self.assertIsNone((await self.arrive(pending)).value)

    async def test_blocking_tree(self) -> None:
        """A blocked query for a tree wakes for a new key below it."""
        await self.consul.put(f"{self.name}/a", b"")
        before = await self.consul.get_tree(self.name)
        pending = self.background(self.consul.get_tree(self.name, index=before.index, wait=WAIT))
        await self.consul.put(f"{self.name}/b", b"")
        self.assertEqual(2, len((await self.arrive(pending)).value))

    async def test_blocking_ends(self) -> None:
        """Without a change a blocked query ends after its time with what it had."""
        await self.consul.put(self.key, b"1")
        before = await self.consul.get(self.key)
        pending = self.background(self.consul.get(self.key, index=before.index, wait=0.3))
        await self.elapse(0.6)
        self.assertEqual(before, await self.arrive(pending))

    async def test_no_wait_does_not_block(self) -> None:
        """An index without a time to wait does not block, although Consul would for five minutes."""
        await self.consul.put(self.key, b"1")
        before = await self.consul.get(self.key)
        self.assertEqual(before, await self.consul.get(self.key, index=before.index))

    async def test_cancel(self) -> None:
        """A blocked query may be cancelled; the client is as good as before."""
        before = await self.consul.get(self.key)
        pending = self.background(self.consul.get(self.key, index=before.index, wait=WAIT))
        await self.elapse(0.05)
        pending.cancel()
        with self.assertRaises(CancelledError):
            await pending
        self.assertIsNone((await self.consul.get(self.key)).value)

    # --- services

    def definition(self, number: int = 1, **more: Any) -> dict[str, Any]:
        """A native instance with a TTL check, taken away after the test."""
        service_id = f"{self.name}-{number}"
        self.addCleanup(lambda: Deferred.fromCoroutine(self.consul.deregister(service_id)))
        check = {"CheckID": f"{service_id}:ttl", "Name": "manager", "TTL": "60s", "Status": "passing"}
        return {
            "ID": service_id,
            "Name": self.name,
            "Address": "127.0.0.9",
            "Port": 4000 + number,
            "Meta": {"id": f"node-{number}"},
            "Tags": ["v1"],
            "Connect": {"Native": True},
            "Checks": [check],
            **more,
        }

    async def test_unknown_service(self) -> None:
        """A service that nobody registered has no instances."""
        self.assertEqual((), (await self.consul.health_service(self.name)).value)
        self.assertEqual((), (await self.consul.catalog_service(self.name, connect=True)).value)

    async def test_register(self) -> None:
        """A registered instance is seen with all that was told, in health, catalog and at its agent."""
        await self.consul.register(self.definition())
        for connect in (False, True):
            (health,) = (await self.consul.health_service(self.name, connect=connect, passing=True)).value
            (catalog,) = (await self.consul.catalog_service(self.name, connect=connect)).value
            self.assertEqual(health, catalog)
        self.assertEqual(
            (f"{self.name}-1", self.name, "127.0.0.9", 4001, {"id": "node-1"}, ("v1",), True, True),
            (
                *(health.id, health.name, health.address, health.port),
                *(health.meta, health.tags, health.passing, health.native),
            ),
        )
        self.assertEqual(4001, (await self.consul.agent_services())[f"{self.name}-1"]["Port"])

    async def test_address_of_node(self) -> None:
        """An instance without an address of its own is reached at its node's; not native is not native."""
        await self.consul.register(self.definition(Address="", Connect={}))
        (health,) = (await self.consul.health_service(self.name)).value
        self.assertEqual(("127.0.0.1", False), (health.address, health.native))
        self.assertEqual((), (await self.consul.health_service(self.name, connect=True)).value)

    async def test_several_instances(self) -> None:
        """Instances come ordered, so that the same ones compare equal."""
        for number in (2, 3, 1):
            await self.consul.register(self.definition(number))
        found = (await self.consul.catalog_service(self.name)).value
        self.assertEqual([4001, 4002, 4003], [each.port for each in found])

    async def test_check_update(self) -> None:
        """A check's news change the instance's health and wake who is blocked on it."""
        await self.consul.register(self.definition())
        before = await self.consul.health_service(self.name)
        pending = self.background(self.consul.health_service(self.name, index=before.index, wait=WAIT))
        await self.consul.check_update(f"{self.name}-1:ttl", "critical", "gone")
        (seen,) = (await self.arrive(pending)).value
        self.assertFalse(seen.passing)
        self.assertEqual((), (await self.consul.health_service(self.name, passing=True)).value)
        await self.consul.check_update(f"{self.name}-1:ttl", "warning", "hm")
        self.assertEqual((), (await self.consul.health_service(self.name, passing=True)).value)
        await self.consul.check_update(f"{self.name}-1:ttl", "passing", "")
        self.assertEqual(1, len((await self.consul.health_service(self.name, passing=True)).value))

    async def test_ttl_check_expires(self) -> None:
        """A TTL check that nobody updates becomes critical."""
        check = {"CheckID": f"{self.name}-1:ttl", "Name": "m", "TTL": "300ms", "Status": "passing"}
        await self.consul.register(self.definition(Checks=[check]))
        self.assertTrue((await self.consul.health_service(self.name)).value[0].passing)
        await self.elapse(0.8)
        self.assertFalse((await self.consul.health_service(self.name)).value[0].passing)

    async def test_register_again(self) -> None:
        """Registering again changes what is told, keeps a check's status, and drops checks left out."""
        await self.consul.register(self.definition())
        await self.consul.check_update(f"{self.name}-1:ttl", "critical", "")
        await self.consul.register(self.definition(Meta={"id": "other"}))
        (health,) = (await self.consul.health_service(self.name)).value
        self.assertEqual(({"id": "other"}, False), (health.meta, health.passing))
        await self.consul.register(self.definition(Checks=[]))
        self.assertTrue((await self.consul.health_service(self.name)).value[0].passing)
        await self.refused(self.consul.check_update(f"{self.name}-1:ttl", "passing", ""))

    async def test_bad_definition(self) -> None:
        """A definition that Consul does not understand is refused."""
        self.assertEqual(400, (await self.refused(self.consul.register(self.definition(Bogus=1)))).status)
        self.assertEqual(400, (await self.refused(self.consul.register({"ID": self.name}))).status)

    async def test_deregister(self) -> None:
        """A service is taken away once; then its agent does not know it."""
        await self.consul.register(self.definition())
        self.assertTrue(await self.consul.deregister(f"{self.name}-1"))
        self.assertFalse(await self.consul.deregister(f"{self.name}-1"))
        self.assertEqual((), (await self.consul.catalog_service(self.name)).value)
        self.assertNotIn(f"{self.name}-1", await self.consul.agent_services())

    # --- the agent

    async def test_agent(self) -> None:
        """The agent knows Consul's leader and its own name."""
        self.assertIn(":", await self.consul.status_leader())
        self.assertTrue((await self.consul.agent_self())["Config"]["NodeName"])

    # --- Connect

    async def test_leaf(self) -> None:
        """A leaf is signed by the roots, names the service in its only name, and is valid now."""
        roots, leaf = (
            (await self.consul.connect_roots()).value,
            (await self.consul.connect_leaf(self.name)).value,
        )
        verify_chain(leaf, list(roots.pems), self.now())
        self.assertEqual(f"spiffe://{roots.trust_domain}/ns/default/dc/dc1/svc/{self.name}", leaf.uri)
        certificate = certificates(leaf.cert_pem)[0]
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([leaf.uri], [name.value for name in names])
        self.assertEqual(certificate.not_valid_after_utc, leaf.valid_before)
        self.assertLess(self.now(), leaf.valid_before)
        self.assertLess(leaf.valid_before, self.now() + timedelta(hours=73))
        self.assertIn("PRIVATE KEY", leaf.key_pem.value)
        self.assertNotIn("PRIVATE KEY", repr(leaf))

    async def test_leaf_is_kept(self) -> None:
        """The same leaf comes each time, until it is renewed."""
        first = await self.consul.connect_leaf(self.name)
        self.assertEqual(first, await self.consul.connect_leaf(self.name))

    async def rotate(self) -> Roots:
        """Let the CA take a new root; the roots after it."""
        before = await self.consul.connect_roots()
        pending = self.background(self.consul.connect_roots(index=before.index, wait=WAIT))
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
        body = {"Provider": "consul", "Config": {"PrivateKey": pem, "RootCert": ""}}
        await self.raw("PUT", "/v1/connect/ca/configuration", body)
        after = await self.arrive(pending)
        self.assertGreater(after.index, before.index)
        self.assertNotEqual(before.value.active_id, after.value.active_id)
        self.assertTrue(set(before.value.pems) <= set(after.value.pems), "the old roots stay")
        return after.value

    async def test_rotation(self) -> None:
        """After a rotation a leaf asked for without an index is new, and good for peers of both roots."""
        old_roots = (await self.consul.connect_roots()).value
        old_leaf = (await self.consul.connect_leaf(self.name)).value
        roots = await self.rotate()
        leaf = (await self.consul.connect_leaf(self.name)).value
        self.assertNotEqual(old_leaf.serial, leaf.serial)
        verify_chain(leaf, [pem for pem in roots.pems if pem not in old_roots.pems], self.now())
        verify_chain(leaf, list(old_roots.pems), self.now())
        verify_chain(old_leaf, list(roots.pems), self.now())

    async def intend(self, **actions: str) -> None:
        """Say who may connect to this test's service; C{any} is everybody else."""
        sources = [
            {"Name": "*" if name == "any" else name, "Action": action} for name, action in actions.items()
        ]
        body = {"Kind": "service-intentions", "Name": self.name, "Sources": sources}
        await self.raw("PUT", "/v1/config", body)

    async def authorized(self, service: str) -> bool:
        """Whether a service of that name is let in."""
        domain = (await self.consul.connect_roots()).value.trust_domain
        uri = f"spiffe://{domain}/ns/default/dc/dc1/svc/{service}"
        found = await self.consul.authorize(self.name, uri, "09")
        self.assertTrue(found.reason)
        return found.authorized

    async def test_authorize(self) -> None:
        """Intentions decide by the service's name, the more exact one first."""
        self.assertTrue(await self.authorized("friend"), "without ACLs the default is to allow")
        await self.intend(friend="allow", any="deny")
        self.assertEqual((True, False), (await self.authorized("friend"), await self.authorized("foe")))
        await self.intend(friend="deny", any="allow")
        self.assertEqual((False, True), (await self.authorized("friend"), await self.authorized("foe")))

    async def test_authorize_nonsense(self) -> None:
        """What is no identity is refused."""
        error = await self.refused(self.consul.authorize(self.name, "http://example.com", "09"))
        self.assertEqual(400, error.status)


def wall_clock() -> datetime:
    """The real time, for providers that live in it."""
    return datetime.now(UTC)


class ConsulOverSockets(ConsulContract):
    """The contract over real connections and in real time."""

    def connect(self, settings: ConsulSettings) -> None:
        """Make the clients that the contract uses."""
        self.consul = consul_client(reactor, settings)
        http, pool = http_client(reactor, settings, 5.0)
        self.link = AgentLink(http, settings, reactor, 5.0)
        self.addCleanup(pool.closeCachedConnections)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.consul.close()))

    async def elapse(self, seconds: float) -> None:
        await deferLater(reactor, seconds)

    async def arrive(self, pending: Deferred[T]) -> T:
        return await pending

    def now(self) -> datetime:
        return wall_clock()
