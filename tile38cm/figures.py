"""What a node knows of itself, as figures for metrics and for Consul."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define

from tile38cm import __version__
from tile38cm.coordination.election import Election
from tile38cm.coordination.promises import Heartbeat
from tile38cm.coordination.term import LocalState
from tile38cm.model import Leadership, Position, Role
from tile38cm.proxy.limits import Counters
from tile38cm.settings import Settings
from tile38cm.state import Remembered

Reading = float | str | None


@define
class Lag:
    """How far a follower is behind, judged at each heartbeat.

    C{bytes} is what Tile38 lacks of the leader's log; C{None} when that cannot
    be said.  C{since} is when it first lacked what it still lacks.
    """

    bytes: int | None = None
    _missing: int | None = None
    _since: float = 0.0

    def beaten(self, beat: Heartbeat, acknowledged: Position | None, now: float) -> None:
        """The leader's log had C{beat.offset} bytes; this node has handed on C{acknowledged}."""
        if acknowledged is None or acknowledged.epoch != beat.epoch:
            self.bytes = self._missing = None
            return
        self.bytes = max(0, beat.offset - acknowledged.offset)
        if self._missing is not None and acknowledged.offset >= self._missing:
            self._missing = None
        if self.bytes and self._missing is None:
            self._missing, self._since = beat.offset, now

    def seconds(self, now: float) -> float | None:
        """For how long bytes have been missing; C{None} when that cannot be said."""
        if self.bytes is None:
            return None
        return 0.0 if self._missing is None else now - self._since


class Failovers:
    """Counts the changes of leader that this node has seen."""

    def __init__(self) -> None:
        self.count = 0
        self._leader: str | None = None

    def told(self, leadership: Leadership) -> None:
        """Who leads now."""
        if leadership.leader is not None:
            self.count += self._leader is not None and self._leader != leadership.leader
            self._leader = leadership.leader


@define(eq=False)
class Figures:
    """Where the figures come from."""

    election: Election
    sides: tuple[Counters, ...]
    lag: Lag
    failovers: Failovers
    now: Callable[[], float]

    def sources(self) -> Mapping[str, Callable[[], Reading]]:
        """Readings by the names of the metrics' table."""
        election = self.election
        return {
            "role": lambda: election.leadership.role.value,
            "epoch": lambda: election.leadership.epoch,
            "insync": lambda: election.insync() or None,
            "gate": lambda: float(election.gate_open()),
            "lag": lambda: None if election.epoch() else self.lag.bytes,
            "lag_seconds": lambda: None if election.epoch() else self.lag.seconds(self.now()),
            "failovers": lambda: self.failovers.count,
            **{name: self._sum(name) for name in ("clients", "proxied", "held", "refused", "uncertain")},
        }

    def _sum(self, name: str) -> Callable[[], Reading]:
        return lambda: sum(getattr(counters, name) for counters in self.sides)


@define(eq=False)
class Own:
    """
    What the proxies tell of the node when they are asked for it.

    @param behind: what a follower is busy with while it cannot be read; C{None}: it can.
    """

    id: str
    election: Election
    lag: Lag
    behind: Callable[[], str | None]

    def facts(self) -> dict[str, str | int]:
        """By name; what is not known is not there."""
        leadership = self.election.leadership
        facts: dict[str, str | int | None] = {
            "id": self.id,
            "role": leadership.role.value,
            "epoch": leadership.epoch,
            "leader": leadership.leader,
            "lag": 0 if leadership.leading else self.lag.bytes,
            "gate": "open" if self.election.gate_open() else "shut",
        }
        return {name: value for name, value in facts.items() if value is not None}

    def trouble(self) -> str | None:
        """Why a leader cannot serve writes, or a follower reads; C{None}: it can."""
        if self.election.leadership.leading:
            return None if self.election.gate_open() else "not ready: this leader's gate is shut"
        behind = self.behind()
        return None if behind is None else f"not caught up: {behind}"


@define(eq=False)
class Announcement:
    """
    What a node says of itself in Consul: for other nodes, for people, and for its own next start.

    @param local: what the election may know of this node.
    @param state: what is remembered across restarts.
    @param readable: whether this node's R may be asked.
    @param stage: what a follower is busy with.
    """

    settings: Settings
    election: Election
    lag: Lag
    local: Callable[[], LocalState]
    state: Callable[[], Remembered]
    readable: Callable[[], bool]
    stage: Callable[[], str]
    #: Where others reach this node's W, once it listens.
    address: str = ""

    def document(self) -> dict[str, Any]:
        """By name, as L{tile38cm.coordination.cluster.MemberState} and the next start read it."""
        local, state, tags = self.local(), self.state(), self.settings.tags
        role, position = self.election.leadership.role, local.position or Position(0, 0)
        sentinel = self.settings.sentinel
        return {
            "role": role.value,
            "address": self.address,
            "ready": self.readable() and role is not Role.LEADER,
            "shrunk": state.shrunk,
            "nofailover": tags.nofailover,
            "nosync": tags.nosync,
            "zone": tags.zone,
            "sentinel": 0 if sentinel is None else sentinel.port,
            "epoch": position.epoch,
            "offset": position.offset,
            "lag": self.lag.bytes,
            "proven": local.position is not None,
            "shaken": local.shaken,
            "seen": state.seen,
            "starts": state.starts,
            "cluster": state.cluster,
            "stage": self.stage(),
            "version": __version__,
        }
