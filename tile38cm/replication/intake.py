"""What arrives from a leader, on its way into the local Tile38.

The intake knows this node's position: how much of which epoch's log its
Tile38 has been given.  It skips what the log has already (after a crash), marks
the position in the log every so often, and says what was delivered.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger

from tile38cm.model import Position
from tile38cm.peers.messages import Data
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.history import EMPTY
from tile38cm.replication.local_log import log_digest
from tile38cm.replication.markers import commands, for_follower, is_own, lengthened, marker, packed, pair
from tile38cm.replication.matching import Doubts, Matcher, NoMatch
from tile38cm.replication.recovery import Recovered, recover
from tile38cm.replication.virtual_leader import AttachError, LogCut, NotAttached, VirtualLeader
from tile38cm.tasks import Interruptible, pause
from tile38cm.tile38 import Tile38, Tile38Error

#: A marker is fed at least every so many bytes, and so many seconds after the first byte behind one.
MARK_BYTES, MARK_SECONDS = 16 * 1024, 0.1
#: Tile38 is told that so much more comes than is known; what is missing in the end is padded.
SPARE = 4096
#: Seconds for Tile38 to apply what it was given before this node stops.
STOP_TIMEOUT = 3.0
#: Seconds between looks at the local Tile38 until it says that it has caught up.
CAUGHT_UP_POLL = 0.02
#: Bytes of one command without effect.
MOST_PADDING = 256 * 1024


class Intake:
    """One node's way in.

    @param on_delivered: told each position that Tile38's socket has been given whole.
    @param on_lost: told when Tile38 has left; the position is not known then.
    @param on_room: told when C{full} ends.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        bridge: IStreamServerEndpoint,
        local: Tile38,
        backlog: Backlog,
        member: str,
        slack: float,
    ) -> None:
        self._clock = clock
        self._local = local
        self._backlog = backlog
        self._member = member
        self._slack = slack
        self._virtual = VirtualLeader(clock, bridge, local, self._lost, self._delivered, self._room)
        self._matcher: Matcher | None = None
        self._recovered: Recovered | None = None
        self._doubts = Doubts(())
        self._hopeless = False
        self._prefix: tuple[int, str] | None = None
        self._unmarked = 0
        self._marking: IDelayedCall | None = None
        self._announced = 0
        self._attaching = Interruptible()
        self.on_delivered: Callable[[Position], None] = lambda _: None
        self.on_lost: Callable[[str], None] = lambda _: None
        self.on_room: Callable[[], None] = lambda: None
        #: Whether nothing was heard for longer than lifetimes may differ, or only what is older than that.
        self.silent: Callable[[], bool] = lambda: False
        #: By what lifetimes may have been lengthened behind the log's last marker.
        self.slacks: tuple[float, ...] = (slack,)
        #: Everything that was taken over, delivered or not.
        self.position: Position | None = None
        #: What Tile38's socket has been given.
        self.acknowledged: Position | None = None
        #: The log is being rewritten at our own wish: what is marked in it now may not be there afterwards.
        self.rewriting = False

    async def listen(self) -> None:
        """Open B; fails with C{CannotListenError}."""
        await self._virtual.start()

    async def stop(self) -> Position | None:
        """Have everything applied that was taken, and cut the link.

        @return: the position at which the log ends then; C{None} if that is not proven.
        """
        self._mark_no_more()
        position = await self._finish() if self.attached else self.position
        await self._virtual.stop()
        return None if self._recovered is not None else position

    async def _finish(self) -> Position | None:
        """What Tile38 has not read when the link is cut never reaches its log."""
        position = self.position
        if position is None:
            return None
        try:
            drained = await self._virtual.drain(marker(self._member, position), STOP_TIMEOUT)
        except (NotAttached, Tile38Error) as e:
            self._log.warn("what Tile38 has of the last bytes is not known: {e}", e=str(e))
            return None
        return position if drained.proven else None

    @property
    def attached(self) -> bool:
        """Whether Tile38 follows us."""
        return self._virtual.attached

    @property
    def full(self) -> bool:
        """Whether the leader should be kept waiting."""
        return self._virtual.full

    # -- the position ---------------------------------------------------------

    def know(self, position: Position | None) -> None:
        """Set what is known by other means: a proof on disk, an own reign, an empty log."""
        self.position = self.acknowledged = position
        self._matcher = self._recovered = self._prefix = None
        self._hopeless = False
        if position is None or position == EMPTY:
            self._doubts = Doubts(())

    async def look(self) -> Position | None:
        """Find the position in the log if it is not known; fails as L{recover} does."""
        if self.position is None and not self.attached and not self._hopeless:
            if await self._local.log_size() == 0:
                self.know(EMPTY)
            else:
                self._found(await recover(self._clock, self._local, self._member))
        return self.position

    def _found(self, recovered: Recovered | None) -> None:
        if recovered is None:
            self._hopeless = True
            return
        self.know(recovered.position)
        self._recovered = recovered if recovered.behind else None
        self._log.info(
            "the log is at {position}, and {n} commands behind it",
            position=str(recovered.position),
            n=len(recovered.behind),
        )

    async def prefix(self) -> tuple[int, str] | None:
        """The size of the log and a sum over it, for a leader to compare; made once.

        That is how a node comes in that followed plainly until now.  Fails with C{Tile38Error}.
        """
        if self._prefix is None:
            size = await self._local.log_size()
            self._prefix = (size, await log_digest(self._local, size))
        return self._prefix

    def give_up(self, why: str) -> None:
        """Nothing is known of the log, and nothing can be."""
        self._log.warn("the position cannot be found again: {why}", why=why)
        self.know(None)
        self._hopeless = True

    # -- taking ---------------------------------------------------------------

    @property
    def matching(self) -> bool:
        """Whether the log holds commands of which it is not known yet where they end in the stream."""
        return self._matcher is not None

    @property
    def explained(self) -> bool:
        """Whether the log is exactly what C{position} says."""
        return self.position not in (None, EMPTY) and self._recovered is None and self._matcher is None

    @property
    def owes(self) -> bool:
        """Whether the backlog has what was acknowledged and the log has not.

        Until that is fed again C{position} is less than this node has promised to have.
        """
        return bool(self._owed())

    def _owed(self) -> list[Data] | None:
        """Nothing while the log is known to hold more than that, which only a leader can explain."""
        if self.position is None or self.attached or self.matching:
            return None
        return self._backlog.since(self.position)

    def begin(self) -> None:
        """A stream begins at C{position}: what the log holds behind that is to be found in it."""
        matcher = None if self._recovered is None else Matcher(self._recovered.behind)
        if matcher is not None and matcher.done:
            self.know(self.position)  # nothing but own expiries stand behind it
        else:
            self._matcher = matcher

    def skip(self, data: Data) -> Data | None:
        """What of C{data} the log does not hold yet; C{None}: it holds all of it, perhaps more.

        C{position} moves only when all is explained: until then nothing is known
        but the marker.  Fails with L{NoMatch}; then L{give_up}.
        """
        rest = self._unmatched(data)
        held = len(data.payload) - (0 if rest is None else len(rest.payload))
        self._backlog.append(evolve(data, end=data.start + held, payload=data.payload[:held]))
        return rest

    def _unmatched(self, data: Data) -> Data | None:
        """As L{skip}, and leaves the backlog alone."""
        assert self._matcher is not None
        start = data.start
        for words in commands(data.payload):
            start += len(packed(words))
            self._doubts.hear(words)
            if not is_own(words) and self._matcher.feed(*(lengthened(words, s) for s in self.slacks)):
                self.know(Position(data.epoch, start))
                break
        if start == data.end:
            return None
        return evolve(data, payload=data.payload[start - data.start :])

    async def doubt(self) -> None:
        """Nothing was heard for a while: note what has expired here since; fails as L{look} does."""
        found = await recover(self._clock, self._local, self._member)
        if found is not None:
            self._doubts = Doubts(found.behind)

    async def refeed(self) -> None:
        """After a crash of Tile38: give it again what it had acknowledged, out of our own backlog.

        Fails with L{AttachError} or C{Tile38Error}; what does not match is given up.
        """
        pieces = self._owed()
        if not pieces:
            return
        self.begin()
        try:
            fresh = [p for p in (self._unmatched(p) if self.matching else p for p in pieces) if p is not None]
        except NoMatch as e:
            self._backlog.forget(pieces)
            self.give_up(str(e))
            return
        if self.matching:
            return  # see _owed
        await self.attach(sum(len(p.payload) for p in fresh))
        self._backlog.forget(fresh)  # not before: it is acknowledged, and nowhere else
        self.mark()
        for piece in fresh:
            if self.position is not None and piece.epoch != self.position.epoch:
                self.turn(Position(piece.epoch, piece.start))
            self.take(piece)
        self._log.info("Tile38 was given again what it had lost, up to {at}", at=str(self.position))

    async def attach(self, to_come: int) -> None:
        """Have Tile38 follow, with its log as it is; L{mark} is the caller's next step.

        Fails with L{AttachError} or C{Tile38Error}.
        """
        announced = to_come + to_come // 64 + SPARE if to_come else 0
        try:
            attached = await self._attaching.run(self._virtual.attach(announced))
        except LogCut:
            self.know(None)  # what is left of the log has a marker of its own
            raise
        if attached is None:
            raise AttachError("this node stands for election, or leads")
        self._announced = attached.size + announced

    def hold_off(self) -> None:
        """Give up an attach that is under way: Tile38 would follow though this node may lead by then."""
        self._attaching.interrupt()

    def take(self, data: Data) -> None:
        """Feed the next piece; fails with C{NotAttached}, and with L{NoMatch} as C{skip} does."""
        if self._doubts:
            for words in commands(data.payload):
                self._doubts.hear(words)
        self._backlog.append(data)
        self.position = Position(data.epoch, data.end)
        payload = for_follower(data.payload, self._slack)
        if payload:
            self._virtual.write(payload, self.position)
        self._unmarked += len(data.payload)
        if (self._unmarked >= MARK_BYTES and not self.silent()) or not payload:
            self.mark()
        elif self._marking is None:
            self._marking = self._clock.callLater(MARK_SECONDS, self._mark_late)

    def publish(self, payload: bytes) -> None:
        """Pass messages for subscribers on; they are in no log."""
        if self.attached:
            self._virtual.write(payload)

    def turn(self, position: Position) -> None:
        """A new epoch begins here."""
        self.position = position
        self.mark()

    def mark(self) -> None:
        """Write the position into the log, behind all that was taken."""
        self._mark_no_more()
        if self.attached and self.position is not None:
            self._virtual.write(marker(self._member, self.position), self.position)

    def _mark_late(self) -> None:
        self._marking = None
        if not self.silent():  # what has expired meanwhile must stay behind the last marker
            self.mark()

    def _mark_no_more(self) -> None:
        self._unmarked = 0
        if self._marking is not None:
            self._marking.cancel()
            self._marking = None

    def _delivered(self, mark: object) -> None:
        if isinstance(mark, Position):
            self.acknowledged = mark
            self.on_delivered(mark)

    def _room(self) -> None:
        self.on_room()

    def _lost(self, why: str) -> None:
        """What Tile38 has applied of the last bytes is in its log only."""
        self._mark_no_more()
        self.know(None)
        self.on_lost(why)

    # -- caught up, and the end -----------------------------------------------

    async def caught_up(self) -> None:
        """Returns when Tile38 says that it has caught up with all that was taken so far.

        It counts bytes of its log, where commands without effect are missing; what
        it was promised too much is made up by a command without effect.
        """
        while self.attached:
            if await self.level():
                return
            await pause(self._clock, CAUGHT_UP_POLL)
            await self._pad()

    async def level(self) -> bool:
        """Whether Tile38 follows, and says that it has caught up."""
        try:
            return self.attached and (await self._local.server()).caught_up
        except Tile38Error:
            return False  # "catching up to leader", until it has

    async def _pad(self) -> None:
        if self._virtual.buffered:
            return
        try:
            missing = self._announced - await self._local.log_size()
        except Tile38Error:
            return
        if missing > 0 and self.attached:
            # Much is missing if the log was rewritten meanwhile; so it comes in pieces.
            self._virtual.write(pair(b"padding", b"." * min(missing, MOST_PADDING)))

    async def promote(self) -> int:
        """Have everything applied and follow nobody; returns where the log's new epoch begins.

        That is its end, unless commands stand behind the last known position: then
        they belong to what comes.  Fails with L{AttachError} or C{Tile38Error}.
        """
        self.hold_off()
        if self.attached:
            self._mark_no_more()
            # A marker is found again should this fail in the end; a position that is not sure makes none.
            sure = self.position if self.explained else None
            last = marker(self._member, sure) if sure else pair(b"promotion", self._member.encode())
            if not (await self._virtual.drain(last)).proven:
                raise AttachError("Tile38 has not applied everything that it was sent")
        await self._local.unfollow()
        end = await self._local.log_size()
        recovered, self._recovered, self._matcher = self._recovered, None, None
        return end if recovered is None else recovered.end

    async def detach(self) -> None:
        """Cut the link by ourselves."""
        self._mark_no_more()
        await self._virtual.detach()
