"""The Consul contract on what passes with time: locks, sessions, blocking queries."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from tests.contracts.consul_case import SHORT_TTL, WAIT, ConsulCase
from tile38cm.coordination.consul import (
    Lock,
)


class WaitContract(ConsulCase):
    """Locks, sessions, blocking queries."""

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
        ttl = 2 * SHORT_TTL
        mine = await self.session(ttl=ttl)
        for _ in range(12):  # often, since a busy machine may make one of them late
            await self.elapse(ttl / 5)
            self.assertTrue(await self.consul.session_renew(mine))
        await self.elapse(4 * ttl)
        self.assertFalse(await self.consul.session_renew(mine))

    async def test_bad_session(self) -> None:
        """A TTL or behaviour that Consul does not take is a definite no."""
        await self.refused(self.consul.session_create(self.name, ttl=0.001))
        await self.refused(self.consul.session_create(self.name, ttl=60.0, behavior="stay"))

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
        # A query that arrives after the other write would be answered at once, with nothing.
        await self.elapse(0.2)
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
