"""Starting over: what a node has is kept in a file, then its Tile38 is emptied.

One node at a time, by a lock in Consul: the others go on serving reads.  What is
kept is the tail, if it is known which bytes the cluster never saw, else the whole log.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.coordination.consul import ConsulError
from tile38cm.coordination.store import ClusterStore
from tile38cm.disk import InThread
from tile38cm.model import Position
from tile38cm.replication.history import EMPTY, parted_at
from tile38cm.replication.local_log import copy_log, start_over
from tile38cm.replication.tail import TailSpan, save_tail
from tile38cm.state import StateDirectory
from tile38cm.tasks import Tasks, pause
from tile38cm.tile38 import Tile38

#: The lock below the prefix that one node holds while it starts over.
TURN = "starting-over"
#: Seconds between tries to get the turn, or to read what is needed from Consul.
RETRY = 0.25
#: Tails and copies of one node may take so many bytes of disk together.
BUDGET = 64 * 1024**3


@frozen
class Grounds:
    """What an erasure works with."""

    clock: IReactorTime
    local: Tile38
    state: StateDirectory
    store: ClusterStore
    member: str
    in_thread: InThread


class Erasure:
    """Empties this node's Tile38, never without a proof or a copy."""

    _log = Logger()

    def __init__(self, grounds: Grounds, epoch: Callable[[], int]) -> None:
        self._grounds = grounds
        #: The newest epoch that is known.
        self._epoch = epoch
        self._has_turn = False
        #: Told when the log is no reign's any more: from then on it is not what it was.
        self.on_emptying: Callable[[], None] = lambda: None
        #: Where the node was said to stand instead; if that is of no use either, it starts over.
        self._offered: Position | None = None
        self._tasks = Tasks()

    async def erase(self, reason: str) -> Position:
        """Keep what must be kept, then empty Tile38; returns where the node stands now.

        That is not the empty beginning if the log ends where it parted from the cluster's.
        What expired here since must be undone too, though there is nothing to keep: the
        cluster may have lengthened these lifetimes, and a client's C{del} looks the same.
        Fails with C{Tile38Error}, C{LogError} or C{OSError}; then everything is as it
        was, or empty and kept.
        """
        await self._wait_for_turn()
        try:
            kept = await self._keep(reason)
            if kept is not None:
                return kept
            self._grounds.state.change(led=0, rewritten=0, clean=None, whole=False)
            self.on_emptying()
            await start_over(self._grounds.clock, self._grounds.local)
        except BaseException:
            self.done()
            raise
        return EMPTY

    async def _keep(self, reason: str) -> Position | None:
        g = self._grounds
        size = await g.local.log_size()
        if size == 0:
            return None
        directory = g.state.path / "kept"
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        parted = await self._parted()
        if parted is None or parted.offset > size:
            await self._copy(directory, reason)
        elif parted.offset == size and parted != self._offered:
            self._offered = parted
            return parted
        else:
            span = TailSpan(g.member, parted.epoch, parted.offset, size, reason)
            if await save_tail(g.clock, g.local, directory, span, BUDGET, g.in_thread) is None:
                self._log.info("this node has nothing that the cluster lacks, but for expiry")
        return None

    async def _copy(self, directory: Path, reason: str) -> None:
        g = self._grounds
        path = directory / f"{datetime.now():%Y%m%d-%H%M%S}-{g.member}.aof"
        await copy_log(g.clock, g.local, path, BUDGET, g.in_thread)
        self._log.warn("all that this node had is kept in {path} ({reason})", path=str(path), reason=reason)

    async def _parted(self) -> Position | None:
        """Where this node's own reign parted from the cluster's history; C{None}: not known."""
        led = self._grounds.state.now.led
        while led:
            try:
                return parted_at(await self._grounds.store.epochs(), led, self._epoch())
            except ConsulError as e:
                self._log.debug("the history cannot be read: {e}", e=str(e))
                await pause(self._grounds.clock, RETRY)
        return None

    async def _wait_for_turn(self) -> None:
        said = False
        while not self._has_turn:
            try:
                self._has_turn = await self._grounds.store.take(TURN)
            except ConsulError as e:
                self._log.debug("the turn cannot be asked for: {e}", e=str(e))
            if not self._has_turn:
                if not said:
                    said = True
                    self._log.info("waiting until no other node starts over")
                await pause(self._grounds.clock, RETRY)

    def done(self) -> None:
        """This node serves again, or has given up: let the next one begin."""
        if self._has_turn:
            self._has_turn = False
            self._tasks.start(self._grounds.store.give_back(TURN), "ending the turn")

    async def stop(self) -> None:
        """End."""
        await self._tasks.cancel()
