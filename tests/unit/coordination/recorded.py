"""One member with a clock of its own, whose effects are written down instead of done."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.task import Clock

from tile38cm.coordination.election import Election
from tile38cm.coordination.member import Core
from tile38cm.coordination.promises import SAFETY, Answer, Heartbeat
from tile38cm.coordination.status import EpochRecord, Settlement, Status
from tile38cm.coordination.term import LocalState
from tile38cm.model import Leadership, Position

LEASE = 1.0
#: Enough for every promise that was given before.
GRACE = LEASE * SAFETY


def status(leader: str = "A", *others: str, epoch: int = 1, version: int = 1) -> Status:
    """A status document with C{leader} and C{others} in the set."""
    return Status("cluster", version, epoch, leader, frozenset({leader, *others}), LEASE, f"n{version}")


def beat(epoch: int = 1, leader: str = "A", seq: int = 1) -> Heartbeat:
    """A heartbeat of the leader."""
    return Heartbeat(epoch, leader, seq, LEASE, 100)


@define
class Effects:
    """All that the election asked for, in order: the method's name and its arguments."""

    done: list[tuple[Any, ...]] = field(factory=list)

    def publish(self, leadership: Leadership) -> None:
        self.done.append(("publish", leadership.role, leadership.leader, leadership.epoch))

    def ask_consul(self) -> None:
        self.done.append(("ask_consul",))

    def survey(self, ticket: int, members: frozenset[str] | None) -> None:
        self.done.append(("survey", ticket, members))

    def claim(self, ticket: int, settlement: Settlement, record: EpochRecord) -> None:
        self.done.append(("claim", ticket, settlement, record))

    def change(self, settlement: Settlement) -> None:
        self.done.append(("change", settlement))

    def take_bytes(self, allowed: bool) -> None:
        self.done.append(("take_bytes", allowed))

    def prepare(self, record: EpochRecord) -> None:
        self.done.append(("prepare", record))

    def open(self, epoch: int) -> None:
        self.done.append(("open", epoch))

    def beat(self, heartbeat: Heartbeat) -> None:
        self.done.append(("beat", heartbeat))

    def release(self, member: str, epoch: int) -> None:
        self.done.append(("release", member, epoch))

    def gate_changed(self) -> None:
        self.done.append(("gate_changed",))

    def seen(self, epoch: int, cluster: str) -> None:
        self.done.append(("seen", epoch, cluster))


@define
class Member:
    """C{B}, unless told otherwise, at 100 bytes of epoch 1."""

    name: str = "B"
    #: The highest epoch on disk.
    seen: int = 1
    clock: Clock = field(factory=Clock)
    effects: Effects = field(factory=Effects)
    local: LocalState = LocalState(True, Position(1, 100), Position(1, 100), 100)
    #: Whether Consul answers at once.
    consul: bool = True
    core: Core = field(init=False)
    election: Election = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.core = Core(
            self.name,
            LEASE,
            self.clock.seconds,
            self.effects,
            lambda: self.local,
            lambda: "cluster",
            self.clock.seconds(),
            insync_timeout=2.0,
            hold_timeout=10.0,
            seen=self.seen,
        )
        self.election = Election(self.core)

    def asked(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of one effect."""
        return [call[1:] for call in self.effects.done if call[0] == name]

    def last(self, name: str) -> tuple[Any, ...]:
        """The arguments of the last call of one effect."""
        return self.asked(name)[-1]

    def wait(self, seconds: float) -> None:
        """Let time pass, with ticks as often as the service gives them."""
        for _ in range(max(1, round(seconds / (LEASE / 16)))):
            self.clock.advance(LEASE / 16)
            asked = len(self.asked("ask_consul"))
            self.election.tick()
            if self.consul and len(self.asked("ask_consul")) > asked:
                self.election.consul_answered()

    # -- the way to the lead --------------------------------------------------

    def follow(self, document: Status, index: int = 10) -> None:
        """See C{document} in Consul."""
        self.election.observed(document, index)

    def stand(self) -> int:
        """Be free of promises and stand; the ticket of the questions."""
        self.wait(GRACE + LEASE / 8)
        ticket: int = self.last("survey")[0]
        return ticket

    def claim(self) -> Settlement:
        """Stand, hear nobody, claim."""
        self.election.surveyed(self.stand(), ())
        settlement: Settlement = self.last("claim")[1]
        return settlement

    def win(self) -> Status:
        """Claim with success."""
        wanted = self.claim().attempt(lambda: "won")
        self.election.claim_settled(self.core.tickets, True, wanted, 20)
        return wanted

    def lead(self, document: Status) -> Status:
        """All the way to an opened term, with the lock; the status that was won."""
        self.follow(document)
        won = self.win()
        self.election.lock(True)
        self.election.prepared(won.epoch)
        self.election.opened(won.epoch)
        return won

    def settle_change(self) -> Status:
        """Consul takes the last change of the set; the status by then."""
        (settlement,) = self.last("change")
        wanted: Status = settlement.attempt(lambda: "changed")
        self.election.change_settled(settlement, True, wanted, settlement.index + 1)
        return wanted

    def promise_of(self, member: str, offset: int | None = None) -> None:
        """C{member} answers the last heartbeat at once, having C{offset}."""
        (beat,) = self.last("beat")
        position = None if offset is None else Position(beat.epoch, offset)
        self.election.answered(Answer(member, beat.epoch, beat.seq, position))
