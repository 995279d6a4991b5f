"""What a follower is busy with, its connection to a leader, and what it asks of its node.  Data only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

from attrs import define

from tile38cm.model import Position
from tile38cm.peers.connection import PeerConnection
from tile38cm.replication.virtual_leader import AttachError


class Stage(Enum):
    """What a replica is busy with, for people and for R."""

    IDLE = "idle"
    CONNECTING = "connecting"
    STARTING_OVER = "starting-over"
    MATCHING = "matching"
    COPYING = "copying"
    FOLLOWING = "following"


@define(eq=False)
class Session:
    """One connection to a leader."""

    conn: PeerConnection
    leader: str
    epoch: int
    #: Where the stream stands.
    at: Position
    #: Bytes until this node has what the leader had when it was asked.
    remaining: int
    #: What has come while Tile38 is being attached; C{None}: it is attached.
    waiting: list[list[bytes]] | None
    #: Whether somebody waits already for Tile38 to say that it has caught up.
    asked: bool = False


async def _nothing_to_erase(reason: str) -> Position:
    raise AttachError(f"this node may not be emptied: {reason}")


@define
class Owner:
    """What a replica tells and asks whoever owns it, who sets these."""

    #: Keeps what the cluster lacks, then empties Tile38; told why, returns where the node stands.
    erase: Callable[[str], Awaitable[Position]] = _nothing_to_erase
    #: Told when C{ready}, C{stage} or a position became known or lost.
    on_change: Callable[[], None] = lambda: None
    #: Told when this node has all that the leader had when it was asked.
    on_caught_up: Callable[[], None] = lambda: None
    #: Whether a copy was finished here once, and not begun anew since.
    whole: Callable[[], bool] = lambda: False
    #: Whether this node lags less than lifetimes may differ; asked once it has caught up.
    level: Callable[[], bool] = lambda: True
    #: Told before the local log takes in the first foreign byte.
    before_attach: Callable[[], None] = lambda: None
    #: Whether the local log is that of this node's own reign: markers in it are void.
    own_log: Callable[[], bool] = lambda: False
