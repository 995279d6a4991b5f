"""Who is there: the catalog's addresses and the members' own words, as one frozen view."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.coordination.consul import Consul, Instance, KeyValue
from tile38cm.coordination.status import MEMBERS
from tile38cm.coordination.watch import Watch
from tile38cm.model import Peer
from tile38cm.settings import Address


@frozen
class MemberState:
    """What a member says of itself in Consul; for routing and for people, never for the election."""

    id: str
    role: str = "unknown"
    ready: bool = False
    epoch: int = 0
    offset: int = 0
    seen: int = 0
    version: str = ""
    shrunk: str = ""
    nosync: bool = False
    nofailover: bool = False
    zone: str = ""
    #: Where its sentinel listens; 0: it has none.
    sentinel: int = 0

    @classmethod
    def decode(cls, member: str, raw: bytes) -> MemberState | None:
        """Read a member's key; C{None} if it is rubbish."""
        try:
            doc: Any = json.loads(raw)
            return cls(
                id=member,
                role=str(doc["role"]),
                ready=doc["ready"] is True,
                epoch=int(doc["epoch"]),
                offset=int(doc["offset"]),
                seen=int(doc["seen"]),
                version=str(doc.get("version", "")),
                shrunk=str(doc.get("shrunk", "")),
                nosync=doc.get("nosync") is True,
                nofailover=doc.get("nofailover") is True,
                zone=str(doc.get("zone", "")),
                sentinel=int(doc.get("sentinel", 0)),
            )
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None


@frozen
class ClusterView:
    """All that is known of the other nodes, replaced whole on each change."""

    peers: Mapping[str, Peer] = field(factory=dict)
    members: Mapping[str, MemberState] = field(factory=dict)

    def writer(self, member: str) -> Address | None:
        """Where a node's W is, if the catalog knows."""
        peer = self.peers.get(member)
        return peer.writer if peer is not None else None

    def reader(self, member: str) -> Address | None:
        """Where a node's R is, if the catalog knows."""
        peer = self.peers.get(member)
        return peer.reader if peer is not None else None


class Discovery:
    """Keeps a L{ClusterView} fresh by three blocking queries.

    Which nodes are fit is told by the members themselves: a catalog check
    turns green only some seconds after a start, and red after several probes.
    """

    _log = Logger()

    def __init__(self, consul: Consul, services: tuple[str, str], prefix: str, clock: IReactorTime) -> None:
        self.view = ClusterView()
        self._listeners: list[Callable[[ClusterView], None]] = []
        self._writers: tuple[Instance, ...] = ()
        self._readers: tuple[Instance, ...] = ()
        writer, reader = services
        tree = f"{prefix}/{MEMBERS}/"
        self._watches: list[Watch[Any]] = [
            Watch(
                lambda index, wait: consul.catalog_service(writer, index=index, wait=wait),
                self._take_writers,
                clock,
                name=f"the service {writer}",
            ),
            Watch(
                lambda index, wait: consul.catalog_service(reader, index=index, wait=wait),
                self._take_readers,
                clock,
                name=f"the service {reader}",
            ),
            Watch(
                lambda index, wait: consul.get_tree(tree, index=index, wait=wait),
                lambda found: self._take_members(tree, found),
                clock,
                name="the members",
            ),
        ]

    def listen(self, listener: Callable[[ClusterView], None]) -> None:
        """C{listener} is told each new view."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to watch."""
        for watch in self._watches:
            watch.startService()

    async def stop(self) -> None:
        """Watch no more."""
        for watch in self._watches:
            await watch.stopService()

    def _take_writers(self, found: tuple[Instance, ...]) -> None:
        self._writers = found
        self._put_peers()

    def _take_readers(self, found: tuple[Instance, ...]) -> None:
        self._readers = found
        self._put_peers()

    def _put_peers(self) -> None:
        peers: dict[str, Peer] = {}
        for instance in self._writers:
            if member := instance.meta.get("id"):
                peers[member] = Peer(member, writer=Address(instance.address, instance.port))
        for instance in self._readers:
            if member := instance.meta.get("id"):
                known = peers.get(member, Peer(member))
                peers[member] = evolve(known, reader=Address(instance.address, instance.port))
        self._put(evolve(self.view, peers=peers))

    def _take_members(self, tree: str, found: tuple[KeyValue, ...]) -> None:
        members = {}
        for entry in found:
            member = entry.key.removeprefix(tree)
            state = MemberState.decode(member, entry.value)
            if state is not None and entry.session is not None:
                members[member] = state
        self._put(evolve(self.view, members=members))

    def _put(self, view: ClusterView) -> None:
        if view != self.view:
            self.view = view
            for listener in list(self._listeners):
                listener(view)
