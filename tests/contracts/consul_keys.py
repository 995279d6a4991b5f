"""The Consul contract on keys and transactions."""

from __future__ import annotations

from tests.contracts.consul_case import WAIT, ConsulCase
from tile38cm.coordination.consul import (
    Cas,
    CheckIndex,
    CheckNotExists,
    CheckSession,
    Delete,
    DeleteCas,
    Get,
    GetOrEmpty,
    GetTree,
    Lock,
    Op,
    Set,
    Unlock,
)


class KeyContract(ConsulCase):
    """Single keys, trees, transactions."""

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
