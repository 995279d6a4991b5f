"""Where requests go, and whether they may: what the proxies are given by their node."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint

from tile38cm.coordination.cluster import ClusterView
from tile38cm.coordination.election import Election
from tile38cm.model import Leadership, Role
from tile38cm.peers.dial import PeerDialer
from tile38cm.proxy.partners import Target, Word
from tile38cm.settings import AckMode, Address

Callback = Callable[[], None]
#: Makes the endpoint of a peer's listener: its address and its service.
Reach = Callable[[Address, str], IStreamClientEndpoint]


class Listeners:
    """Callbacks that are told of every change."""

    def __init__(self) -> None:
        self._callbacks: dict[Callback, None] = {}

    def subscribe(self, callback: Callback) -> None:
        """Have C{callback} called on every change."""
        self._callbacks[callback] = None

    def unsubscribe(self, callback: Callback) -> None:
        """Undo L{subscribe}."""
        self._callbacks.pop(callback, None)

    def tell(self) -> None:
        """Something has changed."""
        for callback in list(self._callbacks):
            callback()


class NodeGate(Listeners):
    """The election's gate, as the proxies see it."""

    #: An offset beyond every log: nobody's acknowledgement is waited for.
    EVERYTHING = 1 << 62

    def __init__(self, election: Election, ack: AckMode, min_insync: int) -> None:
        super().__init__()
        self._election = election
        self._ack = ack
        self._min_insync = min_insync

    def is_open(self) -> bool:
        """Judged on the monotonic clock when called."""
        return self._election.gate_open()

    def word(self) -> Word:
        """All of it at once."""
        may, epoch, insync, covered, least = self._election.word()
        if covered is None or (covered >= 0 and self._ack == "leader"):
            covered = self.EVERYTHING
        return Word(may, epoch, covered, insync >= self._min_insync, least)

    def waiting(self) -> None:
        """A request waits, for the gate or an acknowledgement: members may be removed for it."""
        self._election.wanted(0)

    def released(self, offset: int) -> None:
        """A reply that depends on the log up to C{offset} goes to a client."""
        self._election.exposed(offset)


@frozen
class LocalTarget:
    """The node's own Tile38."""

    epoch: int
    endpoint: IStreamClientEndpoint = field(eq=False, repr=False)
    local: bool = True

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect to the local port."""
        return self.endpoint.connect(factory)


@frozen
class PeerTarget:
    """Another node's W or R; connected means greeted."""

    member: str
    service: str
    epoch: int
    endpoint: IStreamClientEndpoint = field(eq=False, repr=False)
    dialer: PeerDialer = field(eq=False, repr=False)
    local: bool = False

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, greet, and hand the connection to a protocol of C{factory}."""
        return Deferred.fromCoroutine(self.dialer.forward(self.endpoint, factory))


@frozen
class Surroundings:
    """What routes are made of; C{ready}: whether the local Tile38 may be read."""

    me: str
    writer_service: str
    reader_service: str
    local: IStreamClientEndpoint
    dialer: PeerDialer
    reach: Reach
    view: Callable[[], ClusterView]
    ready: Callable[[], bool]
    zone: str = ""


class NodeRoutes(Listeners):
    """Which servers W and R use now."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__()
        self._around = around
        self._leadership: Leadership | None = None
        self._leader_at: tuple[str, Address] | None = None

    def lead_by(self, leadership: Leadership) -> None:
        """Who leads has changed."""
        self._leadership = leadership
        self.tell()

    def leader_line(self) -> tuple[str, int, IStreamClientEndpoint] | None:
        """The leader of which this node is a follower: its id, its epoch, its W."""
        now, around = self._leadership, self._around
        if now is None or now.role is not Role.FOLLOWER or now.leader is None:
            return None
        address = around.view().writer(now.leader)
        if address is not None:
            self._leader_at = now.leader, address
        elif self._leader_at is not None and self._leader_at[0] == now.leader:
            # A catalog that loses an entry, for a moment or with all that it had, says nothing
            # about the leader: who leaves it for that ends its term.
            address = self._leader_at[1]
        else:
            return None
        return now.leader, now.epoch, around.reach(address, around.writer_service)

    def readable(self) -> bool:
        """Whether the local Tile38 may be read."""
        return self._around.ready()

    def writer(self) -> Target | None:
        """The leader, or nobody."""
        now, around = self._leadership, self._around
        if now is not None and now.role is Role.LEADER:
            return LocalTarget(now.epoch, around.local)
        line = self.leader_line()
        if line is None:
            return None
        leader, epoch, endpoint = line
        return PeerTarget(leader, around.writer_service, epoch, endpoint, around.dialer)

    def readers(self) -> Sequence[Target]:
        """Who may answer reads, the preferred one first; the leader only when nobody else can."""
        now, around = self._leadership, self._around
        if now is None:
            return []
        local = LocalTarget(0, around.local)
        if now.role is Role.LEADER:
            return [*self._followers(now.leader), local]
        if around.ready():
            return [local, *self._followers(now.leader)]
        # While this node takes over it is the leader itself, and must not call itself.
        leader = [] if now.leader in (None, around.me) else self._readers_of(now.leader)
        return [*self._followers(now.leader), *leader]

    def _followers(self, leader: str | None) -> list[Target]:
        members = self._around.view().members.values()
        fit = [m for m in members if m.ready and m.id not in (leader, self._around.me)]
        random.shuffle(fit)
        fit.sort(key=lambda member: member.zone != self._around.zone)
        return [target for member in fit for target in self._readers_of(member.id)]

    def _readers_of(self, member: str) -> list[Target]:
        around = self._around
        address = around.view().reader(member)
        if address is None:
            return []
        endpoint = around.reach(address, around.reader_service)
        return [PeerTarget(member, around.reader_service, 0, endpoint, around.dialer)]
