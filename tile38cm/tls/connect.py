"""The keyring kept fresh from Consul's Connect CA.

A blocking query watches the roots.  Leaves are asked for without blocking, every
few seconds and as soon as the roots have changed: such a question makes Consul's
agent look at root and dates and renew the leaf at once, while a blocking one hides a
rotation for up to 30 s, even from others that ask the same agent without blocking
(Consul 1.20; measured, and so in its C{agent/leafcert}).  The answers come from the
agent's cache and cost it well under a millisecond.

When the roots change, new contexts with the old leaf trust them first; then the
new leaf is fetched.
"""

from __future__ import annotations

from collections.abc import Coroutine
from time import time
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tile38cm.tasks import Tasks, pause
from tile38cm.tls.identity import MeshIdentities, SpiffeId, WrongPeer
from tile38cm.tls.keyring import CHECK_EVERY, Credentials, Keyring
from tile38cm.tls.material import BadMaterial, Material
from tile38cm.tls.partners import Authority, Indexed, Leaf, Roots, WallClock, WatchMaker

#: Seconds between two attempts to fetch a leaf: the first, and the longest.
FETCH_AGAIN = 0.1
FETCH_AGAIN_MOST = 5.0


class ConnectSource(MultiService):
    """Fills C{keyring} while it runs, and keeps what is there when Consul is away.  Is not started twice."""

    _log = Logger("tile38cm.tls")

    def __init__(
        self,
        keyring: Keyring,
        authority: Authority,
        clock: IReactorTime,
        watch: WatchMaker,
        wall: WallClock = time,
    ) -> None:
        super().__init__()
        self._keyring, self._authority, self._clock, self._wall = keyring, authority, clock, wall
        self._roots: Roots | None = None
        self._leaves: dict[str, Leaf] = {}
        self._tasks = Tasks()
        self._fetches: dict[str, Deferred[Any]] = {}
        self._rounds = LoopingCall(self._round)
        self._rounds.clock = clock
        watch(self._ask_roots, self._roots_came, clock, name="Connect roots").setServiceParent(self)

    def _ask_roots(self, index: int, wait: float) -> Coroutine[Any, Any, Indexed[Roots]]:
        return self._authority.connect_roots(index=index, wait=wait)

    def startService(self) -> None:
        """Begin to ask."""
        super().startService()
        _ = self._rounds.start(CHECK_EVERY).addErrback(self._rounds_failed)

    def stopService(self) -> Deferred[None]:
        """Fires when nothing is asked any more."""
        if self._rounds.running:
            self._rounds.stop()
        return Deferred.fromCoroutine(self._stop(super().stopService()))

    async def _stop(self, watches: Deferred[Any]) -> None:
        await self._tasks.cancel()
        await watches

    def _roots_came(self, roots: Roots) -> None:
        self._roots = roots
        for service in self._keyring.services:
            self._build(service)
            self._fetch(service)

    def _leaf_came(self, service: str, leaf: Leaf) -> None:
        if self._leaves.get(service) != leaf:
            self._leaves[service] = leaf
            self._build(service)

    def _build(self, service: str) -> None:
        roots, leaf = self._roots, self._leaves.get(service)
        if roots is None or leaf is None:
            return
        try:
            datacenter = SpiffeId.parse(leaf.uri).datacenter
            identities = MeshIdentities(roots.trust_domain, datacenter)
            material = Material.parse(leaf.cert_pem, leaf.key_pem.value, roots.pems)
            identities.caller(material.own, service)
            self._keyring.put(service, Credentials.of(material, identities))
        except (BadMaterial, WrongPeer) as error:
            self._log.error(
                "what Consul gives as certificate for {service} is of no use: {error}",
                service=service,
                error=error,
            )

    def _round(self) -> None:
        self._keyring.check_dates(self._wall())
        for service in self._keyring.services:
            if service not in self._fetches:
                self._fetch(service)

    def _fetch(self, service: str) -> None:
        """Ask for the leaf, in place of an attempt that may be older than the roots."""
        before = self._fetches.pop(service, None)
        if before is not None:
            before.cancel()
        fetch = self._tasks.start(self._fetch_leaf(service), f"fetching the leaf of {service}")
        if fetch is not None and not fetch.called:
            self._fetches[service] = fetch
            _ = fetch.addBoth(self._fetched, service, fetch)

    def _fetched(self, result: object, service: str, fetch: Deferred[Any]) -> object:
        if self._fetches.get(service) is fetch:
            del self._fetches[service]
        return result

    async def _fetch_leaf(self, service: str) -> None:
        wait = FETCH_AGAIN
        while True:
            try:
                leaf = await self._authority.connect_leaf(service)
            except CancelledError:
                raise
            except Exception as error:  # the edge towards Consul: whatever it was, ask again
                self._log.debug("no leaf for {service} yet: {error}", service=service, error=error)
            else:
                return self._leaf_came(service, leaf.value)
            await pause(self._clock, wait)
            wait = min(wait * 2, FETCH_AGAIN_MOST)

    def _rounds_failed(self, failure: Failure) -> None:
        self._log.failure("keeping certificates fresh failed", failure)
