"""Where a node stands after a crash, read from the end of its own log."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from tile38cm.model import Position
from tile38cm.replication.local_log import read_log
from tile38cm.replication.markers import commands, is_own, last_marker
from tile38cm.tile38 import Tile38

#: How much of the log's end is read, in turn, until a marker is found.
WINDOWS = (256 * 1024, 4 * 1024 * 1024, 64 * 1024 * 1024)


@frozen
class Recovered:
    """The last marker in the log, and what the log holds behind it.

    C{end} is the byte of the log at which the marker ends: up to there the log
    is exactly C{position}; the commands of C{behind} came later.
    """

    position: Position
    end: int
    behind: Sequence[Sequence[bytes]]


async def recover(clock: IReactorTime, local: Tile38, member: str) -> Recovered | None:
    """Look for this node's last marker; C{None} if its log has none.

    Fails with C{Tile38Error} or C{LogError}.  Nobody may feed Tile38 meanwhile.
    """
    size = await local.log_size()
    for window in WINDOWS:
        start = max(0, size - window)
        piece = await read_log(clock, local, start, size - start)
        found = last_marker(member, piece)
        if found is not None:
            behind = [words for words in commands(piece[found.end :]) if not is_own(words)]
            return Recovered(found.position, start + found.end, behind)
        if start == 0:
            return None
    return None
