"""The follower's side: keeps the local Tile38 fed from whoever leads.

One local link outlives many leaders: Tile38 follows the virtual leader of its
own node, and only what arrives behind that changes.  C{position} is how far
this node has taken bytes over; it is known for as long as that link lives,
and lost with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from enum import Enum

from attrs import define
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.logger import Logger

from tile38cm.model import Position
from tile38cm.peers.connection import NotLeader, PeerConnection, PeerError
from tile38cm.peers.dial import DIAL_TIMEOUT, PeerDialer
from tile38cm.peers.messages import (
    ACK,
    BRIDGE,
    CONTINUE,
    DATA,
    EPOCH,
    OVER,
    PUBLISH,
    Attach,
    BadMessage,
    Data,
    Resume,
    number,
)
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.history import EMPTY
from tile38cm.replication.local_log import LogError
from tile38cm.replication.virtual_leader import AttachError, VirtualLeader, pair
from tile38cm.tasks import Tasks, pause
from tile38cm.tile38 import Tile38, Tile38Error

LeaderLine = Callable[[], "tuple[str, int, IStreamClientEndpoint] | None"]

#: Seconds between tries to reach the leader; short, since promotions take milliseconds.
RETRY = 0.05
#: Seconds between looks at the local Tile38 until it says that it has caught up.
CAUGHT_UP_POLL = 0.02


class Stage(Enum):
    """What a replica is busy with, for people and for R."""

    IDLE = "idle"
    CONNECTING = "connecting"
    STARTING_OVER = "starting-over"
    COPYING = "copying"
    FOLLOWING = "following"


@define(eq=False)
class _Session:
    """One connection to a leader."""

    conn: PeerConnection
    leader: str
    epoch: int
    #: Where the stream stands.
    at: Position
    #: The position at which this node has what the leader had when it attached.
    remaining: int
    waiting: list[list[bytes]] | None
    ended: str | None = None


class Replica:
    """Follows the leader, whoever that is, until told to stop.

    @param erase: coroutine function that keeps a copy of the local data and then empties Tile38.
    @param on_change: told when C{ready}, C{stage} or a position became known or lost.
    """

    _log = Logger()

    def __init__(
        self,
        bridge: IStreamServerEndpoint,
        local: Tile38,
        dialer: PeerDialer,
        backlog: Backlog,
        clock: IReactorTime,
    ) -> None:
        self._virtual = VirtualLeader(clock, bridge, local, self._local_lost, self._delivered, self._drained)
        self._local = local
        self._dialer = dialer
        self._backlog = backlog
        self._clock = clock
        self._leader: LeaderLine = lambda: None
        self._tasks = Tasks()
        self._session: _Session | None = None
        self._allowed = True
        self._trouble = ""
        self.erase: Callable[[str], Awaitable[None]] = _nothing_to_erase
        self.on_change: Callable[[], None] = lambda: None
        #: Told before the local log takes in the first foreign byte.
        self.before_attach: Callable[[], None] = lambda: None
        self.position: Position | None = None
        self.acknowledged: Position | None = None
        self.stage = Stage.IDLE
        self.ready = False

    # -- from outside ---------------------------------------------------------

    async def listen(self) -> None:
        """Open B; fails with C{CannotListenError}."""
        await self._virtual.start()

    def start(self, leader: LeaderLine) -> None:
        """Follow whoever C{leader} names, from now on."""
        self._leader = leader
        self._tasks.start(self._run(), "following the leader")

    async def stop(self) -> None:
        """Follow no more; the local link is cut without harm to the log."""
        self._cut("this node stops")
        await self._tasks.cancel()
        await self._virtual.stop()

    def take_bytes(self, allowed: bool) -> None:
        """Forbidden while this node stands for election: its position must not move."""
        self._allowed = allowed
        if not allowed:
            self._cut("this node stands for election")

    def leader_changed(self) -> None:
        """Look at once whether the connection is still to whoever leads."""
        line = self._leader()
        session = self._session
        if session is not None and (line is None or line[:2] != (session.leader, session.epoch)):
            self._cut("the leader has changed")

    def know(self, position: Position | None) -> None:
        """What is proven of the position by other means than this link."""
        self.position = self.acknowledged = position
        self.on_change()

    async def promote(self) -> int:
        """Have Tile38 apply everything and follow nobody; returns the size of its log.

        Fails with C{Tile38Error} or C{AttachError}; then this node must not lead.
        """
        self._cut("this node leads")
        if self._virtual.attached:
            marker = pair(b"p", b"promotion " + secrets.token_hex(8).encode())
            if not (await self._virtual.drain(marker)).proven:
                raise AttachError("Tile38 has not applied everything that it was sent")
        await self._local.unfollow()
        self._stage(Stage.IDLE)
        self._set_ready(False)
        await self._local.ping()
        return await self._local.log_size()

    # -- following ------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            line = self._leader() if self._allowed else None
            if line is None or self._session is not None:
                await pause(self._clock, RETRY)
                continue
            try:
                await self._follow(*line)
            except NotLeader:
                pass
            except (PeerError, AttachError, LogError, OSError, Tile38Error) as e:
                self._say(f"replication has to wait: {e}")
            await pause(self._clock, RETRY)

    async def _follow(self, leader: str, epoch: int, endpoint: IStreamClientEndpoint) -> None:
        """One connection to a leader, until it ends."""
        position = await self._where()
        conn = await self._dialer.dial(endpoint, BRIDGE, *Attach(position).words())
        message = await self._dialer.reply(conn, DIAL_TIMEOUT * 2)
        if message[0] == OVER:
            conn.close("starting over")
            await self._start_over(message[1].decode("utf-8", "replace") if len(message) > 1 else "")
            return
        if message[0] != CONTINUE:
            conn.close("no answer to BRIDGE")
            raise PeerError("the leader's answer was not understood")
        resume = Resume.read(message)
        session = _Session(conn, leader, epoch, resume.position, resume.to_come, [])
        self._session = session
        conn.receive = lambda words: self._receive(session, words)
        conn.lost = lambda why: self._lost(session, why)
        if not self._allowed or self.position != position:
            self._cut("the position has moved meanwhile")
            return
        await self._begin(session)

    async def _where(self) -> Position | None:
        """This node's position; an empty log is one as well."""
        if self.position is None and not self._virtual.attached and await self._local.log_size() == 0:
            self.know(EMPTY)
        return self.position

    async def _begin(self, session: _Session) -> None:
        if not self._virtual.attached:
            session.conn.pause(True)
            self._stage(Stage.COPYING)
            self.before_attach()
            try:
                await self._virtual.attach(session.remaining)
            except AttachError:
                self._cut("the local Tile38 does not follow")
                raise
            if session.ended is None:
                session.conn.pause(False)
        if self._session is not session or session.waiting is None:
            return
        self.position = session.at
        self._say(f"following {session.leader} in epoch {session.epoch} from {session.at}", good=True)
        waiting, session.waiting = session.waiting, None
        for words in waiting:
            self._receive(session, words)
        self._stage(Stage.FOLLOWING)
        if not self._virtual.buffered and self._session is session:
            self._delivered(session.at)

    def _receive(self, session: _Session, words: list[bytes]) -> None:
        if session is not self._session:
            return
        if session.waiting is not None:
            session.waiting.append(words)
        elif words[0] == DATA:
            self._take(session, Data.read(words))
        elif words[0] == PUBLISH and len(words) == 2:
            self._virtual.write(words[1], None)
        elif words[0] == EPOCH and len(words) == 3:
            session.at = self.position = Position(number(words[1]), number(words[2]))
            # A command without effect carries the mark, and writes it into the local log.
            self._virtual.write(pair(b"p", str(session.at).encode()), session.at)
        else:
            raise BadMessage(f"the leader said {words[0][:20]!r}")

    def _take(self, session: _Session, data: Data) -> None:
        if session.at != Position(data.epoch, data.start):
            raise BadMessage(f"bytes for {data.epoch}:{data.start} came, {session.at} was next")
        self._backlog.append(data)
        session.at = self.position = Position(data.epoch, data.end)
        session.remaining -= len(data.payload)
        self._virtual.write(data.payload, session.at)
        if self._virtual.full:
            session.conn.pause(True)

    def _drained(self) -> None:
        if self._session is not None and self._session.waiting is None:
            self._session.conn.pause(False)

    def _delivered(self, mark: object) -> None:
        """The local Tile38's socket has taken everything up to here: that is our acknowledgement."""
        if not isinstance(mark, Position):
            return
        self.acknowledged = mark
        session = self._session
        if session is not None:
            session.conn.send(ACK, b"%d" % mark.epoch, b"%d" % mark.offset)
            self._reached(session)

    def _reached(self, session: _Session) -> None:
        if not self.ready and session.remaining <= 0 and self._session is session:
            session.remaining = 0
            if session.waiting is None and self.acknowledged != session.at:
                return
            self._tasks.start(self._await_caught_up(session), "waiting until Tile38 has caught up")

    async def _await_caught_up(self, session: _Session) -> None:
        """Delivered is not applied: Tile38 itself says when it has all of it."""
        while self._session is session and not self.ready:
            try:
                if (await self._local.server()).caught_up:
                    self._set_ready(True)
                    return
            except Tile38Error:
                pass  # "catching up to leader", until it has
            await pause(self._clock, CAUGHT_UP_POLL)

    def _lost(self, session: _Session, why: str) -> None:
        session.ended = why
        if self._session is session:
            self._session = None
            self._say(f"the connection to {session.leader} ended: {why}")
            self._stage(Stage.CONNECTING)

    def _cut(self, why: str) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.conn.close(why)

    # -- the local side -------------------------------------------------------

    def _local_lost(self, why: str) -> None:
        """What Tile38 has applied is not known any more."""
        self._log.warn("the local Tile38 has left its bridge: {why}", why=why)
        self._cut("the local Tile38 has left the bridge")
        self._set_ready(False)
        self.know(None)

    async def _start_over(self, reason: str) -> None:
        self._log.warn("this node starts over: {reason}", reason=reason)
        self._stage(Stage.STARTING_OVER)
        self._set_ready(False)
        self.know(None)
        self._backlog.clear()
        await self._virtual.detach()
        await self.erase(reason)
        self.know(EMPTY)

    # -- saying ---------------------------------------------------------------

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._log.info("reads are served here" if ready else "reads are served elsewhere")
            self.on_change()

    def _stage(self, stage: Stage) -> None:
        if stage is not self.stage:
            self.stage = stage
            self.on_change()

    def _say(self, text: str, good: bool = False) -> None:
        if text != self._trouble:
            self._trouble = text
            (self._log.info if good else self._log.warn)("{text}", text=text)


async def _nothing_to_erase(reason: str) -> None:
    raise AttachError(f"this node may not be emptied: {reason}")
