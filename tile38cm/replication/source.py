"""The leader's side of replication: each follower gets the log from where it stands.

A follower asks for C{BRIDGE}; the answer is I{continue} or I{start over}.
Then come pieces of whole commands, each with its epoch and end offset; the
follower acknowledges offsets on the same connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import define, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.coordination.election import Election
from tile38cm.coordination.status import EpochRecord
from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.messages import ACK, OVER, Attach, BadMessage, Resume, number
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.history import EMPTY, Continue, PresentLog, StartOver, copy_from, plan
from tile38cm.replication.local_log import log_digest
from tile38cm.replication.log_feed import LogFeed
from tile38cm.replication.messages import Messages
from tile38cm.replication.outflow import Labels, Outflow, earlier
from tile38cm.replication.stream import Chunk, Kind
from tile38cm.tasks import Tasks
from tile38cm.tile38 import Tile38, Tile38Error


@frozen
class Reign:
    """What a leader needs to know of history to serve its followers."""

    epoch: int
    start: int
    records: Mapping[int, EpochRecord]
    same_log: frozenset[int] = frozenset()


@define(eq=False)
class _Follower:
    """One attached follower."""

    member: str
    conn: PeerConnection
    epoch: int
    #: The log's end when it was attached: beyond that it has caught up.
    target: int
    acked: int = -1
    out: Outflow | None = None


class Source:
    """Feeds all followers of this node while it leads.

    @param on_log_lost: told when the local log ends, so that the term must end too, and
        whether Tile38 has another log now.
    """

    _log = Logger()

    def __init__(
        self,
        local: Tile38,
        clock: IReactorTime,
        election: Election,
        backlog: Backlog,
        on_log_lost: Callable[[str, bool], None],
    ) -> None:
        self._local = local
        self._clock = clock
        self._election = election
        self._backlog = backlog
        self._on_log_lost = on_log_lost
        self._reign: Reign | None = None
        #: Whether the local log is still the one that this node leads with; may fail with C{Tile38Error}.
        self.log_unchanged: Callable[[], Awaitable[bool]] = _unchanged
        #: Whether a member may be let into the sync set at all.
        self.may_join: Callable[[str], bool] = lambda _: True
        self._followers: dict[str, _Follower] = {}
        #: Who has called while this node was taking over: they save a round by not calling again.
        self._early: dict[str, tuple[PeerConnection, Attach]] = {}
        self._tasks = Tasks()
        self._messages = Messages(local, clock, self._heard)

    def lead(self, reign: Reign) -> None:
        """Begin to serve; only once the epoch's start is written for all to see."""
        self._reign = reign
        self._messages.start()
        early, self._early = self._early, {}
        for conn, attach in early.values():
            self._tasks.start(self._attach(conn, attach, reign), "attaching a follower")

    def retire(self) -> None:
        """Serve no more: this node's term has ended."""
        self._reign = None
        self._messages.stop()
        early, self._early = self._early, {}
        for conn, _ in early.values():
            conn.error("NOTLEADER this node leads no more")
        for follower in list(self._followers.values()):
            follower.conn.close("this node leads no more")

    async def stop(self) -> None:
        """End for good."""
        self.retire()
        await self._tasks.cancel()

    def lag(self) -> Mapping[str, int]:
        """The last acknowledged offset of each follower."""
        return {f.member: f.acked for f in self._followers.values()}

    def listening(self) -> bool:
        """Whether this node is a subscriber of its own Tile38; see L{Messages}."""
        return self._messages.subscribed

    def accept(self, conn: PeerConnection, words: Sequence[bytes]) -> None:
        """A follower wants the log."""
        attach = Attach.read(words)
        if self._reign is None:
            self._accept_early(conn, attach)
            return
        self._drop(conn.peer)
        self._tasks.start(self._attach(conn, attach, self._reign), "attaching a follower")

    def _accept_early(self, conn: PeerConnection, attach: Attach) -> None:
        """Keep a call until this node leads, or the caller gives up, which it does in bounded time."""
        if self._election.epoch() == 0:
            conn.error("NOTLEADER this node does not lead")
            return
        before = self._early.pop(conn.peer, None)
        if before is not None:
            before[0].close("the follower has connected again")
        self._early[conn.peer] = (conn, attach)
        conn.lost = lambda _: self._gone_early(conn)

    def _gone_early(self, conn: PeerConnection) -> None:
        if self._early.get(conn.peer, (None,))[0] is conn:
            del self._early[conn.peer]

    def _drop(self, member: str) -> None:
        """What an older connection of a follower has acknowledged counts no more."""
        old = self._followers.get(member)
        if old is not None:
            old.conn.close("the follower has connected again")

    async def _attach(self, conn: PeerConnection, attach: Attach, reign: Reign) -> None:
        try:
            end = await self._local.log_size()
            unchanged = await self.log_unchanged()
            adopted = await self._equal(attach.prefix, end)
        except Tile38Error as e:
            conn.error(f"NOTLEADER {e}")
            return
        if self._reign is not reign or not unchanged:
            conn.error("NOTLEADER this node leads no more")
            if not unchanged:
                self._on_log_lost("the local log was rewritten", True)
            return
        if conn.ended:
            return  # it may have called again, and be attached by now
        log = PresentLog(reign.epoch, end, reign.same_log)
        decision = plan(attach.position, reign.records, log, self._backlog)
        if adopted is not None:
            self._log.info("{member} has the first {n} bytes of this log", member=conn.peer, n=adopted)
            decision = copy_from(adopted, log)
        if isinstance(decision, StartOver):
            self._start_over(conn, decision)
        elif attach.position == EMPTY and not self._election.expel(conn.peer):
            # It was a member and has lost its data: it vouches for nothing any more.
            conn.error("WAIT it is being taken out of the sync set")
        else:
            self._continue(conn, decision, reign, end)

    async def _equal(self, prefix: tuple[int, str] | None, end: int) -> int | None:
        """How much of our log a follower's whole log is, if it is that; fails with C{Tile38Error}."""
        if prefix is None or not 0 < prefix[0] <= end:
            return None
        return prefix[0] if await log_digest(self._local, prefix[0]) == prefix[1] else None

    def _start_over(self, conn: PeerConnection, decision: StartOver) -> None:
        """It erases its data, so it must be out of the sync set for certain."""
        if not self._election.expel(conn.peer):
            conn.error("WAIT it is being taken out of the sync set")
            return
        self._log.warn("{member} has to start over: {reason}", member=conn.peer, reason=decision.reason)
        conn.send(OVER, decision.reason.encode())
        conn.finish()

    def _continue(self, conn: PeerConnection, decision: Continue, reign: Reign, end: int) -> None:
        self._drop(conn.peer)
        follower = _Follower(conn.peer, conn, reign.epoch, end)
        self._followers[conn.peer] = follower
        conn.receive = lambda message: self._receive(follower, message)
        conn.lost = lambda why: self._lost(follower, why)
        self._log.info("{member} continues at {begin}", member=conn.peer, begin=str(decision.begin))
        conn.send(*Resume(decision.begin, decision.length(end)).words())
        labels = Labels(decision)
        feed = LogFeed(self._local, self._clock, decision.log_from, _Sink(self, follower, labels))
        follower.out = Outflow(conn, earlier(decision, self._backlog, labels), feed, self._clock)
        follower.out.start()

    def _receive(self, follower: _Follower, message: list[bytes]) -> None:
        if message[0] != ACK or len(message) != 3:
            raise BadMessage("expected an acknowledgement")
        epoch, offset = number(message[1]), number(message[2])
        if epoch != follower.epoch:
            return  # still on the bytes of an earlier epoch
        follower.acked = offset
        self._election.acknowledged(follower.member, epoch, offset)
        self._offer(follower)

    def offer(self) -> None:
        """Offer all followers that have caught up to the sync set; call it often.

        One change of the set is settled at a time, so a follower may have to wait for
        another one's, and an idle cluster gives it no acknowledgement to come back with.
        """
        for follower in list(self._followers.values()):
            self._offer(follower)

    def _offer(self, follower: _Follower) -> None:
        if follower.acked >= follower.target and self.may_join(follower.member):
            self._election.admit(follower.member)

    def _heard(self, messages: bytes) -> None:
        """Pass on what was published."""
        for follower in list(self._followers.values()):
            if follower.out is not None:
                follower.out.tell(messages)

    def _lost(self, follower: _Follower, why: str) -> None:
        if follower.out is not None:
            follower.out.stopProducing()
        if self._followers.get(follower.member) is follower:
            del self._followers[follower.member]
            self._election.disconnected(follower.member)
            self._log.info("{member} has left the replication: {why}", member=follower.member, why=why)


@frozen
class _Sink:
    """Where a follower's feed delivers."""

    source: Source
    follower: _Follower
    labels: Labels

    def deliver(self, chunk: Chunk, end: int) -> None:
        """A piece of the log that ends at C{end}; messages among it are L{Messages}'."""
        if chunk.kind is Kind.DATA:
            for words in self.labels.named(chunk.payload, end):
                self.follower.conn.send(*words)

    def ended(self, why: str, replaced: bool) -> None:
        """The local log gives nothing more."""
        self.follower.conn.close(why)
        self.source._on_log_lost(why, replaced)


async def _unchanged() -> bool:
    """Nobody can tell."""
    return True
