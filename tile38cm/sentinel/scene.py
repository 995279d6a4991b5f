"""What a sentinel can say of the cluster at one moment.  Pure."""

from __future__ import annotations

import hashlib

from attrs import frozen

from tile38cm.coordination.cluster import ClusterView
from tile38cm.model import Leadership
from tile38cm.settings import Address, Settings


@frozen
class Place:
    """A node's listener."""

    member: str
    address: Address

    @property
    def run_id(self) -> str:
        """What Redis calls a server's id: 40 hexadecimal digits, always the same for a node."""
        return hashlib.sha1(self.member.encode(), usedforsecurity=False).hexdigest()


@frozen
class Follower:
    """A node whose R may be asked; C{ready}: its own Tile38 answers there."""

    place: Place
    ready: bool
    offset: int


@frozen
class Here:
    """What a node says of itself: its own W, and its sentinel; C{lease} in seconds."""

    name: str
    member: str
    writer: Address
    sentinel: Address
    lease: float

    @classmethod
    def of(cls, settings: Settings) -> Here:
        """This node."""
        host, port = settings.advertise, (settings.sentinel or settings.writer).port
        writer, sentinel = Address(host, settings.writer.port), Address(host, port)
        return cls(settings.sentinel_name, settings.id, writer, sentinel, settings.lease)


@frozen
class Scene:
    """One cluster under the name that its sentinels are asked for.

    C{leader} is C{None} while nobody leads; then C{master} is this node's own W, where
    requests wait for whoever will.
    """

    here: Here
    epoch: int
    leader: Place | None
    followers: tuple[Follower, ...]
    #: The sentinels of the other nodes.
    sentinels: tuple[Place, ...]
    #: How many nodes are there, this one included.
    nodes: int

    @property
    def master(self) -> Place:
        """Where writes are taken now."""
        return self.leader or Place(self.here.member, self.here.writer)

    @property
    def quorum(self) -> int:
        """More than half of the sentinels; for people, since Consul and promises decide."""
        return (len(self.sentinels) + 1) // 2 + 1


def scene_of(here: Here, leadership: Leadership, view: ClusterView) -> Scene:
    """What is known now."""
    leader = leadership.leader
    writer = None if leader is None else here.writer if leader == here.member else view.writer(leader)
    followers, sentinels = [], []
    for member, state in sorted(view.members.items()):
        reader, its_writer = view.reader(member), view.writer(member)
        if reader is not None and member != leader:
            followers.append(Follower(Place(member, reader), state.ready, state.offset))
        if its_writer is not None and state.sentinel and member != here.member:
            sentinels.append(Place(member, Address(its_writer.host, state.sentinel)))
    return Scene(
        here,
        leadership.epoch,
        None if leader is None or writer is None else Place(leader, writer),
        tuple(followers),
        tuple(sentinels),
        len(view.members.keys() | {here.member}),
    )
