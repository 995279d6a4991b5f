"""Handing the lead over: at a stop, on demand, and before a leader's log is shrunk.

One path for all three: nothing new goes to Tile38, what is under way is
answered, Tile38 is fenced, a member that holds everything is released from its
promise, and takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.coordination.election import Election
from tile38cm.model import Role
from tile38cm.peers.heartbeats import Members
from tile38cm.proxy.sides import Writer
from tile38cm.replication.conversation import in_trap
from tile38cm.replication.virtual_leader import lengthen
from tile38cm.tasks import Interruptible, Tasks, pause, within
from tile38cm.tile38 import Tile38, Tile38Error

#: Seconds for requests under way to be answered.
DRAIN_TIMEOUT = 3.0
#: Seconds for another member to take over.
TAKE_OVER_TIMEOUT = 5.0
#: Seconds for a member that is connected to come into the set, before a stop.
JOIN_TIMEOUT = 3.0
#: Seconds until a Consul that is away is asked again.
ASK_AGAIN = 0.1
#: Seconds for Consul to answer; clients wait for longer than it takes another node to lead after that.
PATIENCE = 4.0


class NotHandedOver(Exception):
    """Nobody else leads; the sentence says why."""


@frozen
class HandOver:
    """What is needed to hand over."""

    clock: IReactorTime
    local: Tile38
    election: Election
    members: Members
    writer: Writer
    #: Members that never stand by themselves.
    unwilling: Callable[[], frozenset[str]]
    #: Whether Consul answers now.
    consul_answers: Callable[[], Coroutine[Deferred[Any], Any, bool]]
    _tasks: Tasks = field(factory=Tasks, init=False)
    _abandoning: Interruptible = field(factory=Interruptible, init=False)

    _log = Logger()

    def successors(self, candidate: str | None = None) -> frozenset[str]:
        """Who could take over; fails with L{NotHandedOver} if nobody could."""
        if self.election.leadership.role is not Role.LEADER:
            raise NotHandedOver("this node does not lead")
        required = self.election.required()
        fit = required & self.members.names
        if candidate in self.unwilling():
            raise NotHandedOver(f"{candidate} is tagged nofailover")
        if candidate is not None and candidate not in fit:
            why = "not in the sync set" if candidate not in required else "not connected"
            raise NotHandedOver(f"{candidate} is {why}")
        if candidate is not None:
            return frozenset({candidate})
        willing = fit - self.unwilling()
        if not willing:
            why = "is tagged otherwise than nofailover" if fit else "is connected"
            raise NotHandedOver(f"no other member of the sync set {why}")
        return willing

    async def expect_successors(self) -> None:
        """Wait, but not for long, while nobody could take over and somebody soon may.

        A member that was started just now, or that stood still, is connected some time before
        it is in the set.  Clients are served meanwhile.
        """
        end = self.clock.seconds() + JOIN_TIMEOUT
        while self._soon() and self.clock.seconds() < end:
            await pause(self.clock, ASK_AGAIN)

    def _soon(self) -> bool:
        willing = self.members.names - self.unwilling()
        leads = self.election.leadership.role is Role.LEADER
        return leads and bool(willing) and not willing & self.election.required()

    def abandon(self, why: str, gone: Callable[[], bool]) -> None:
        """Tile38 is gone: let a connected member lead at once; this node does not lead any more.

        While Consul is away nobody could take over, and Tile38 may come back with the same
        log: for L{PATIENCE} this node stays in office.  Not for longer, since it may be this
        node's agent that is away, and not the others'.  A Tile38 that came back and is gone
        again is waited for anew.

        @param gone: whether that is still so.
        """
        self._abandoning.interrupt()
        self._tasks.start(self._abandoning.run(self._abandon(why, gone)), "giving the lead up")

    async def stop(self) -> None:
        """Wait for nothing any more."""
        await self._tasks.cancel()

    async def _abandon(self, why: str, gone: Callable[[], bool]) -> None:
        try:
            await within(self._asked(gone), PATIENCE, self.clock)
        except TimeoutError:
            self._log.warn("Consul does not answer; another node may reach it, and take over")
        if gone():
            self.election.abandon(why, self.members.names - self.unwilling())

    async def _asked(self, gone: Callable[[], bool]) -> None:
        while gone() and not await self.consul_answers():
            await pause(self.clock, ASK_AGAIN)

    async def _leave_the_trap(self) -> None:
        """Lengthen a log that Tile38 would cut when it follows; later that needs the fence lifted."""
        size = await self.local.role_offset()
        if in_trap(size):
            await lengthen(self.local, size)

    async def __call__(self, candidate: str | None = None) -> str:
        """Hand over; returns the new leader's id.

        Fails with L{NotHandedOver}: before anything was changed, or after the
        term was given up; then this node may win the next one.  Either way
        C{writer.drain} stays in force: C{resume} it if this node lives on.
        """
        fit = self.successors(candidate)
        if not await self.writer.drain(DRAIN_TIMEOUT):
            self._log.warn("some requests were not answered within {s} s", s=DRAIN_TIMEOUT)
        try:
            await self._leave_the_trap()
            await self.local.readonly(True)
            final = await self.local.role_offset()
        except Tile38Error as e:
            # It may be fenced by now: a leader that stayed in office would take no writes.
            self.election.resign(f"Tile38 cannot be asked for its last offset: {e}")
            raise NotHandedOver(f"Tile38 cannot be asked for its last offset: {e}") from e
        if not self.election.hand_over(final, fit):
            raise NotHandedOver("the lead was lost meanwhile")
        end = self.clock.seconds() + TAKE_OVER_TIMEOUT
        while self.election.leadership.role is Role.LEADER:
            if self.clock.seconds() > end:
                self.election.resign("nobody took over")
                raise NotHandedOver(f"nobody took over within {TAKE_OVER_TIMEOUT:g} s")
            await pause(self.clock, 0.01)
        return self.election.leadership.leader or "nobody"
