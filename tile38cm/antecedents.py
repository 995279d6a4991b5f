"""What came before this start: whether this node is alone under its id, and its disk its newest one.

The state directory and Consul both count starts and orderly ends; each remembers what
the other may have lost.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from tile38cm.coordination.consul import ConsulError
from tile38cm.coordination.store import ClusterStore, Told, Twin
from tile38cm.footing import Footing
from tile38cm.model import Position
from tile38cm.settings import Address
from tile38cm.state import StateDirectory
from tile38cm.tasks import pause, within

#: Seconds for another manager of the same id to go, or for the session of a crash to end: twice its time.
TWIN_TIMEOUT = 25.0
#: Seconds between looks at it.
LOOK_EVERY = 0.5
#: Seconds to tell Consul of an orderly end.
NOTE_TIMEOUT = 1.0


@frozen
class Antecedents:
    """One node's.

    @param reach: the plain way to an address.
    @param void: told why nothing that the disk says of this node's position counts.
    """

    clock: IReactorTime
    store: ClusterStore
    state: StateDirectory
    footing: Footing
    member: str
    reach: Callable[[Address], IStreamClientEndpoint]
    void: Callable[[str], None]

    _log = Logger()

    async def alone(self) -> None:
        """Returns when no other manager runs under this node's id; waits for one that is about to go.

        Fails with C{ConsulError}, then it can be asked again, and with L{Twin}.
        """
        end, said = self.clock.seconds() + TWIN_TIMEOUT, False
        while (rival := await self.store.rival()) is not None:
            if await self._refused(rival.address):
                await self.store.end(rival.session)
                return
            if self.clock.seconds() >= end:
                raise Twin(self.member)
            if not said:
                said = True
                self._log.warn(
                    "another manager runs as {id}, or did until just now: waiting until it has gone",
                    id=self.member,
                )
            await pause(self.clock, LOOK_EVERY)

    async def _refused(self, address: str) -> bool:
        """Whether nobody listens there, for certain."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            return False
        endpoint = self.reach(Address(host.strip("[]"), int(port)))
        try:
            conn = await within(connectProtocol(endpoint, Protocol()), LOOK_EVERY, self.clock)
        except ConnectionRefusedError:
            return True
        except Exception:  # a name that is not known, a network that is away: endpoints' errors have no base
            return False
        if ITCPTransport.providedBy(conn.transport):
            conn.transport.abortConnection()
        return False

    async def judge(self, here: Position | None) -> None:
        """A disk that was put back to an earlier day proves nothing of what came after.

        Nothing is written to Consul here, so that an answer that was lost is not taken for
        an earlier start.  Fails with C{ConsulError}.
        """
        noted, told = await self.store.starts(), await self.store.last_told()
        if told is not None and not self.state.now.led:
            self.footing.had(told.position)
        if noted >= self.state.now.starts:
            self.state.change(starts=noted + 1)
            self.void("the state directory is older than this node's last start")
        elif told is not None and here is not None and self.state.now.led and _beyond(told, here):
            self.void(f"the log ends at {here}, but this node has led up to {told.position} at least")

    async def count(self) -> None:
        """Tell Consul of this start; fails with C{ConsulError}."""
        await self.store.count_start(self.state.now.starts)

    async def note_the_end(self) -> None:
        """Count an orderly end as a start is counted: a disk that is put back to before it is noticed."""
        self.footing.stopped()
        self.state.change(starts=self.state.now.starts + 1)
        try:
            await within(self.count(), NOTE_TIMEOUT, self.clock)
        except (ConsulError, TimeoutError) as e:
            self._log.info("Consul is not told of the end: {e}", e=str(e))


def _beyond(told: Told, here: Position) -> bool:
    """Whether a leader's log was longer than it is now; another log's offsets tell nothing."""
    return told.led and told.position.epoch >= here.epoch and told.position.offset > here.offset
