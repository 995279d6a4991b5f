"""The secret by which nodes without certificates know each other.

It lives in Consul, and every node that has learnt it has it in memory.  A Consul
that comes back empty is told again; until then a node that starts may have made
another one, and then what the leader knows is the truth.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.coordination.consul import Consul, ConsulError, KeyValue
from tile38cm.coordination.store import ClusterStore
from tile38cm.coordination.watch import Watch
from tile38cm.tasks import Tasks, pause

#: Seconds between tries to write it again.
RETRY = 1.0


class SharedSecret:
    """One node's knowledge of the secret, C{value}; C{None} until L{learn} has returned.

    @param leads: whether this node leads, asked in the moment when it matters.
    """

    _log = Logger()

    def __init__(
        self, consul: Consul, store: ClusterStore, clock: IReactorTime, leads: Callable[[], bool]
    ) -> None:
        self._consul = consul
        self._store = store
        self._clock = clock
        self._leads = leads
        self._tasks = Tasks()
        self._key = store.key("secret")
        self._watch: Watch[KeyValue | None] = Watch(
            lambda index, wait: consul.get(self._key, index=index, wait=wait),
            self._seen,
            clock,
            name="the cluster's secret",
        )
        self.value: str | None = None

    async def learn(self) -> None:
        """Read it, or make it as the first one; fails with C{ConsulError}."""
        self.value = await self._store.secret()

    def start(self) -> None:
        """Keep what is in Consul and what is known here the same."""
        self._watch.startService()

    async def stop(self) -> None:
        """Watch no more; C{value} stays."""
        await self._watch.stopService()
        await self._tasks.cancel()

    def _seen(self, found: KeyValue | None) -> None:
        stored = None if found is None else found.value.decode("ascii", "replace")
        if self.value is None or stored == self.value:
            return
        if stored is None or self._leads():
            self._tasks.start(self._restore(stored), "restoring the cluster's secret")
        else:
            self._log.warn("the cluster's secret is another one now")
            self.value = stored

    async def _restore(self, stored: str | None) -> None:
        """Write it again; who finds none there gives way to whoever was faster."""
        assert self.value is not None
        while True:
            try:
                cas = 0 if stored is None else None
                written = await self._consul.put(self._key, self.value.encode(), cas=cas)
            except ConsulError as e:
                self._log.warn("the cluster's secret cannot be restored: {e}", e=str(e))
                await pause(self._clock, RETRY)
            else:
                if written:
                    self._log.info("the cluster's secret was written again, as Consul had lost it")
                return
