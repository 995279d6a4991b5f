"""Heartbeats and promises on a connection of their own, so that bulk data never delays them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from tile38cm.coordination.election import Election
from tile38cm.coordination.promises import BEATS_PER_LEASE, Heartbeat
from tile38cm.peers.connection import NotLeader, PeerConnection, PeerError
from tile38cm.peers.dial import PeerDialer
from tile38cm.peers.messages import (
    BEAT,
    HEARTBEAT,
    LEAVE,
    RELEASE,
    BadMessage,
    answer_words,
    beat_words,
    number,
    read_answer,
    read_beat,
)
from tile38cm.tasks import Interruptible, Tasks, pause


class Members:
    """The leader's side: the members that are connected for heartbeats."""

    def __init__(self, election: Election) -> None:
        self._election = election
        self._connected: dict[str, PeerConnection] = {}

    def accept(self, conn: PeerConnection, words: Sequence[bytes]) -> None:
        """A member wants heartbeats. A newer connection of it replaces an older one."""
        if self._election.epoch() == 0:
            conn.error("NOTLEADER this node does not lead")
            return
        member = conn.peer
        old = self._connected.pop(member, None)
        if old is not None:
            old.close("the member has connected again")
        self._connected[member] = conn
        conn.receive = lambda message: self._receive(member, message)
        conn.lost = lambda _: self._gone(member, conn)
        self._election.beat_now()

    def _receive(self, member: str, message: list[bytes]) -> None:
        if message == [LEAVE]:
            self._election.departed(member)
        else:
            self._election.answered(read_answer(member, message))

    def _gone(self, member: str, conn: PeerConnection) -> None:
        if self._connected.get(member) is conn:
            del self._connected[member]

    def beat(self, beat: Heartbeat) -> None:
        """Send to all."""
        words = beat_words(beat)
        for conn in list(self._connected.values()):
            conn.send(*words)

    def release(self, member: str, epoch: int) -> None:
        """Give a member's promise back."""
        conn = self._connected.get(member)
        if conn is not None:
            conn.send(RELEASE, b"%d" % epoch)

    def drop_all(self) -> None:
        """This node leads no more."""
        for conn in list(self._connected.values()):
            conn.close("this node leads no more")

    @property
    def names(self) -> frozenset[str]:
        """Who is connected."""
        return frozenset(self._connected)


class LeaderLine(Protocol):
    """Where the leader's W is, if one is known: its id, its epoch, and how to get there."""

    def __call__(self) -> tuple[str, int, IStreamClientEndpoint] | None: ...


class Promising:
    """The follower's side: stays connected to whoever leads, and answers.

    @param silence: seconds without a heartbeat after which the connection is taken for dead.
    """

    _log = Logger()

    def __init__(
        self, election: Election, dialer: PeerDialer, leader: LeaderLine, clock: IReactorTime, lease: float
    ) -> None:
        self._election = election
        self._dialer = dialer
        self._leader = leader
        self._clock = clock
        self._lease = lease
        self._tasks = Tasks()
        self._conn: PeerConnection | None = None
        self._heard = 0.0
        self._dialing = Interruptible()
        self._target: tuple[str, int] | None = None
        #: Told the leader's log size with each heartbeat.
        self.on_beat: Callable[[Heartbeat], None] = lambda _: None
        #: Told when whom we hold for the leader says that it is not.
        self.on_turned_away: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin; runs until L{stop}."""
        self._tasks.keep(self._run, self._clock, "the heartbeat connection")

    async def stop(self) -> None:
        """Close the connection and end."""
        await self._tasks.cancel()
        if self._conn is not None:
            self._conn.send(LEAVE)
            self._conn.finish()
        self._conn = None

    def leader_changed(self) -> None:
        """Look again at once, not at the next round."""
        line = self._leader()
        target = None if line is None else line[:2]
        if target != self._target:
            # A dial to a frozen leader would keep the next one waiting.
            self._dialing.interrupt()
            if self._conn is not None:
                self._close("the leader has changed")

    async def _run(self) -> None:
        step = self._lease / BEATS_PER_LEASE
        while True:
            line = self._leader()
            if line is not None and self._conn is None:
                self._target = line[:2]
                await self._dialing.run(self._connect(*line))
            began = self._clock.seconds()
            await pause(self._clock, step / 2)
            # While this process did not run nothing could be heard; what came may still wait to be read.
            self._heard += max(0.0, self._clock.seconds() - began - step)
            if self._conn is not None and self._clock.seconds() - self._heard > self._lease:
                self._close("no heartbeat came")

    async def _connect(self, leader: str, epoch: int, endpoint: IStreamClientEndpoint) -> None:
        try:
            conn = await self._dialer.dial(endpoint, HEARTBEAT)
        except NotLeader:
            return
        except PeerError as e:
            self._log.debug("no heartbeats from {leader}: {e}", leader=leader, e=str(e))
            return
        self._conn, self._heard = conn, self._clock.seconds()
        conn.receive = lambda message: self._receive(conn, message)
        conn.lost = lambda why: self._lost(conn, why)

    def _receive(self, conn: PeerConnection, message: list[bytes]) -> None:
        self._heard = self._clock.seconds()
        if message[0] == BEAT:
            beat = read_beat(message)
            answer = self._election.heartbeat(beat)
            if answer is not None:
                conn.send(*answer_words(answer))
                self.on_beat(beat)
        elif message[0] == RELEASE and len(message) == 2:
            self._election.released(number(message[1]))
        elif message[0].startswith(b"-NOTLEADER"):
            conn.close("the peer does not lead")
            self.on_turned_away()
        else:
            raise BadMessage("neither heartbeat nor release")

    def _lost(self, conn: PeerConnection, why: str) -> None:
        if self._conn is conn:
            self._conn = None

    def _close(self, why: str) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close(why)
