"""One connection of a follower to a leader, and what a follower is busy with.  Data only."""

from __future__ import annotations

from enum import Enum

from attrs import define

from tile38cm.model import Position
from tile38cm.peers.connection import PeerConnection


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
