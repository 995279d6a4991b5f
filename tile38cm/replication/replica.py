"""The follower's side: keeps the local Tile38 fed from whoever leads.

One local link outlives many leaders: Tile38 follows the virtual leader of its
own node, and only what arrives behind that changes.  What arrives goes through
the L{Intake<tile38cm.replication.intake>}, which knows this node's position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
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
from tile38cm.replication.contact import Contact
from tile38cm.replication.intake import Intake
from tile38cm.replication.local_log import LogError
from tile38cm.replication.matching import NoMatch
from tile38cm.replication.session import Owner, Session, Stage
from tile38cm.replication.virtual_leader import AttachError
from tile38cm.tasks import Interruptible, Tasks, pause, within
from tile38cm.tile38 import Tile38Error

LeaderLine = Callable[[], "tuple[str, int, IStreamClientEndpoint] | None"]

#: Seconds between tries to reach the leader; short, since promotions take milliseconds.
RETRY = 0.05
#: Seconds without a leader after which a node serves reads again that was started meanwhile.
ALONE = 2.0


class Replica:
    """Follows the leader, whoever that is, until told to stop."""

    _log = Logger()

    def __init__(
        self,
        intake: Intake,
        dialer: PeerDialer,
        backlog: Backlog,
        clock: IReactorTime,
        contact: Contact,
    ) -> None:
        self._intake = intake
        self.contact = contact
        self._dialer = dialer
        self._backlog = backlog
        self._clock = clock
        self._leader: LeaderLine = lambda: None
        self._tasks = Tasks()
        self._session: Session | None = None
        self._allowed = True
        self._dialing = Interruptible()
        self._asking: tuple[str, int] | None = None
        self._said = ""
        self._alone_since: float | None = None
        self.owner = Owner()
        self.stage = Stage.IDLE
        self.ready = False
        intake.on_delivered = self._delivered
        intake.on_lost = self._local_lost
        intake.on_room = self._room
        intake.silent = lambda: contact.broken or self._late()

    # -- from outside ---------------------------------------------------------

    @property
    def position(self) -> Position | None:
        """How far bytes have been taken over; C{None}: not known."""
        return self._intake.position

    @property
    def acknowledged(self) -> Position | None:
        """How far they were handed on to Tile38."""
        return self._intake.acknowledged

    def start(self, leader: LeaderLine) -> None:
        """Follow whoever C{leader} names, from now on."""
        self._leader = leader
        self._tasks.keep(self._run, self._clock, "following the leader")

    async def stop(self) -> Position | None:
        """Follow no more; as L{Intake.stop}."""
        self._cut("this node stops")
        await self._tasks.cancel()
        return await self._intake.stop()

    def take_bytes(self, allowed: bool) -> None:
        """Forbidden while this node stands for election: its position must not move."""
        self._allowed = allowed
        if not allowed:
            self._cut("this node stands for election")
            self._intake.hold_off()

    def leader_changed(self) -> None:
        """Look at once whether the connection is still to whoever leads."""
        line = self._leader()
        session = self._session
        if line is None or line[:2] != self._asking:
            # A call to a frozen leader would keep the next one waiting.
            self._dialing.interrupt()
        if session is not None and (line is None or line[:2] != (session.leader, session.epoch)):
            self._cut("the leader has changed")

    def know(self, position: Position | None) -> None:
        """What is proven of the position by other means than the local link."""
        self._intake.know(position)
        self.owner.on_change()

    async def promote(self) -> int:
        """As L{Intake.promote}; nobody is followed any more."""
        self._cut("this node leads")
        start = await self._intake.promote()
        self._set_ready(False)
        self._stage(Stage.IDLE)
        return start

    # -- following ------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                if self._allowed and self._session is None:
                    await self._round()
            except NotLeader:
                pass
            except PeerError as e:
                # How a node that is gone refuses differs from call to call.
                self._say(f"replication has to wait: {e}", kind="the leader does not answer")
            except (BadMessage, AttachError, LogError, OSError, Tile38Error) as e:
                self._say(f"replication has to wait: {e}")
            except NoMatch as e:
                self._mismatch(e)
            await pause(self._clock, RETRY)

    async def _round(self) -> None:
        """Find out where this node stands, and follow whoever leads."""
        if self.owner.own_log() and self.position is None:
            return  # it led until just now, and is being measured
        before = self.position
        await self._intake.look()
        if self._allowed:
            await self._intake.refeed()
        if self.position != before:
            self.owner.on_change()
        if self._allowed:
            await self._serve_alone()
        line = self._leader()
        if line is not None and self._allowed:
            if self.contact.broken:
                await self._intake.doubt()
                self.contact.renew()
            await self._follow(*line, self.position)

    async def _serve_alone(self) -> None:
        """Serve reads as a follower does that has lost its leader: a Tile38 that was started again does not.

        Fails as L{Intake.attach}.
        """
        now = self._clock.seconds()
        if self._alone_since is None:
            self._alone_since = now
        if self.ready or now - self._alone_since < ALONE or self.owner.own_log() or not self.owner.whole():
            return
        if self._intake.explained:
            if not self._intake.attached:
                await self._intake.attach(0)
                self._intake.mark()
            try:
                await within(self._intake.caught_up(), ALONE, self._clock)
            except TimeoutError:
                self._alone_since = self._clock.seconds()  # a leader may have come meanwhile
            else:
                self._set_ready(self._intake.attached)

    async def _follow(
        self, leader: str, epoch: int, endpoint: IStreamClientEndpoint, position: Position | None
    ) -> None:
        """Begin one connection to a leader."""
        prefix = await self._intake.prefix() if position is None else None
        self._asking = (leader, epoch)
        answer = await self._dialing.run(self._ask(endpoint, Attach(position, prefix)))
        if answer is None:
            return
        conn, message = answer
        if message[0] == OVER:
            conn.close("starting over")
            await self._start_over(message[1].decode("utf-8", "replace") if len(message) > 1 else "")
            return
        if message[0] != CONTINUE:
            conn.close("no answer to BRIDGE")
            raise PeerError("the leader's answer was not understood")
        resume = Resume.read(message)
        session = Session(conn, leader, epoch, resume.position, resume.to_come, None)
        self._session, self._alone_since = session, None
        conn.receive = lambda words: self._receive(session, words)
        conn.lost = lambda why: self._lost(session, why)
        if position is None and self.position is None:
            self._intake.know(resume.position)  # our log is the beginning of the leader's
        elif not self._allowed or self.position != position:
            self._cut("the position has moved meanwhile")
            return
        self._say(f"following {leader} in epoch {epoch} from {resume.position}", good=True)
        self._intake.begin()
        if self._intake.matching:
            self._stage(Stage.MATCHING)
            self._give_up_unless_more_comes(session)
        else:
            await self._attach(session)

    async def _ask(
        self, endpoint: IStreamClientEndpoint, attach: Attach
    ) -> tuple[PeerConnection, list[bytes]]:
        """Call a leader, and hear what it says to our position."""
        conn = await self._dialer.dial(endpoint, BRIDGE, *attach.words())
        return conn, await self._dialer.reply(conn, DIAL_TIMEOUT * 2)

    async def _attach(self, session: Session, held: Sequence[list[bytes]] = ()) -> None:
        """From here on what comes goes to Tile38, C{held} first."""
        session.waiting = list(held)
        self._intake.turn(session.at)
        if not self._intake.attached:
            session.conn.pause(True)
            self._stage(Stage.COPYING)
            self.owner.before_attach()
            try:
                await self._intake.attach(session.remaining)
                if self.contact.broken:
                    await self._intake.doubt()  # before a marker hides what has expired
            except (AttachError, LogError, Tile38Error) as e:
                self._cut("the local Tile38 does not follow")
                self._say(f"replication has to wait: {e}")
                return
            self.contact.renew()
            self._intake.mark()
            session.conn.pause(False)
        waiting, session.waiting = session.waiting or [], None
        try:
            for words in waiting:
                self._receive(session, words)
        except BadMessage as e:
            session.conn.close(f"the leader sent rubbish: {e}")
        if self._session is session:
            self._stage(Stage.FOLLOWING)

    def _receive(self, session: Session, words: list[bytes]) -> None:
        if session is not self._session:
            return
        if session.waiting is not None:
            session.waiting.append(words)
        elif words[0] == DATA:
            try:
                self._take(session, Data.read(words))
            except NoMatch as e:
                self._mismatch(e)
        elif words[0] == PUBLISH and len(words) == 2:
            self._intake.publish(words[1])
        elif words[0] == EPOCH and len(words) == 3:
            session.at = Position(number(words[1]), number(words[2]))
            if not self._intake.matching:
                self._intake.turn(session.at)
        else:
            raise BadMessage(f"the leader said {words[0][:20]!r}")
        if self._intake.full:
            session.conn.pause(True)

    def _take(self, session: Session, data: Data) -> None:
        if session.at != Position(data.epoch, data.start):
            raise BadMessage(f"bytes for {data.epoch}:{data.start} came, {session.at} was next")
        if self.contact.broken and not self._intake.matching:
            self._cut("it lagged for longer than lifetimes may differ")
            return
        if not self._late():
            self.contact.heard()
        session.at = Position(data.epoch, data.end)
        session.remaining -= len(data.payload)
        if self._intake.matching:
            self._match(session, data)
            return
        self._intake.take(data)

    def _late(self) -> bool:
        """Whether what comes is so old that objects may have expired here which the leader kept alive.

        What is copied first is older still, but comes faster than it was written.
        """
        session = self._session
        return session is not None and session.remaining <= 0 and not self.owner.level()

    def _match(self, session: Session, data: Data) -> None:
        """The log may hold this already; once it is known from where it does not, Tile38 is attached."""
        rest = self._intake.skip(data)
        if self._intake.matching:
            self._give_up_unless_more_comes(session)
            return
        if rest is not None:
            session.at = Position(data.epoch, data.start + len(data.payload) - len(rest.payload))
            session.remaining += len(rest.payload)
        held = [] if rest is None else [list(rest.words())]
        self._tasks.start(self._attach(session, held), "attaching Tile38")

    def _give_up_unless_more_comes(self, session: Session) -> None:
        if session.remaining <= 0:
            raise NoMatch("the log holds more than the leader ever sent")

    def _mismatch(self, found: NoMatch) -> None:
        self._cut("the log does not match")
        self._intake.give_up(str(found))

    def _room(self) -> None:
        if self._session is not None and self._session.waiting is None:
            self._session.conn.pause(False)

    def _delivered(self, position: Position) -> None:
        """Tile38's socket has taken everything up to here: that is our acknowledgement."""
        session = self._session
        if session is None:
            return
        session.conn.send(ACK, b"%d" % position.epoch, b"%d" % position.offset)
        if not session.asked and session.remaining <= 0 and session.waiting is None:
            session.asked = True
            self._tasks.start(self._await_caught_up(session), "waiting until Tile38 has caught up")

    async def _await_caught_up(self, session: Session) -> None:
        """Delivered is not applied: Tile38 itself says when it has all of it."""
        await self._intake.caught_up()
        if self._session is session and self._intake.attached:
            self.owner.on_caught_up()
            self._set_ready(True)

    def _lost(self, session: Session, why: str) -> None:
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
        self._log.warn("the local Tile38 has left its bridge: {why}", why=why)
        self._cut("the local Tile38 has left the bridge")
        self._set_ready(False)
        self.owner.on_change()

    async def _start_over(self, reason: str) -> None:
        self._log.warn("this node starts over: {reason}", reason=reason)
        self._stage(Stage.STARTING_OVER)
        self._set_ready(False)
        before, stands = self.position, None
        self.know(None)
        self._backlog.clear()
        await self._intake.detach()
        try:
            stands = await self.owner.erase(reason)
        finally:
            if stands is None and self.owner.own_log():
                stands = before  # it is as it was, and markers in it would not tell
            self.know(stands)

    # -- saying ---------------------------------------------------------------

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._log.info("reads are served here" if ready else "reads are served elsewhere")
            self.owner.on_change()

    def _stage(self, stage: Stage) -> None:
        if stage is not self.stage:
            self.stage = stage
            self.owner.on_change()

    def _say(self, text: str, good: bool = False, kind: str = "") -> None:
        if (kind or text) != self._said:
            self._said = kind or text
            (self._log.info if good else self._log.warn)("{text}", text=text)
