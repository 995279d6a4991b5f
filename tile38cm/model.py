"""The words of a cluster as frozen values; no I/O, no clock, no Twisted.

L{Position} says how much of history a node has, L{Member} what a peer tells
of itself, L{Peer} where it can be reached, L{Leadership} who leads as this
node sees it.  They are replaced whole; whoever holds an old one may keep it.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from tile38cm.settings import Address


class Role(Enum):
    """What this node is to the cluster at this moment."""

    #: Not yet known: starting, or waiting for Consul or for Tile38.
    UNKNOWN = "unknown"
    FOLLOWER = "follower"
    #: Won the election; not yet allowed to serve (draining, unfollowing).
    TAKING_OVER = "taking-over"
    LEADER = "leader"
    STOPPED = "stopped"


@frozen(order=True)
class Position:
    """How far a node is: bytes of the AOF of that epoch's leader.

    Comparable between nodes only through the history of epochs, except that
    a position of a higher epoch is never behind one of a lower epoch on the
    same chain (design, section 2).
    """

    epoch: int
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


@frozen
class Peer:
    """One node as the catalog shows it; C{id} is the service's C{meta.id}."""

    id: str
    writer: Address | None = None
    reader: Address | None = None
    reader_passing: bool = False


@frozen
class Leadership:
    """Who leads, as this node knows it; published whole on every change.

    C{since} is in seconds of the injected monotonic clock.
    """

    role: Role
    leader: str | None
    epoch: int
    since: float
    reason: str

    @property
    def leading(self) -> bool:
        """Whether this node may serve as the leader; the gate still decides."""
        return self.role is Role.LEADER
