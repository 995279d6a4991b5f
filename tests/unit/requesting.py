"""A member whose requests come from a Consul in memory, and what it needs to carry them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import LEASE, Member, status
from tests.unit.coordination.weather import Station
from tests.unit.local38 import LocalWay
from tests.unit.peers.wires import End, Way, identity
from tests.unit.proxy.fakes import FakeGate, FakeRoutes
from tile38cm.coordination.cluster import ClusterView
from tile38cm.coordination.status import take_over
from tile38cm.coordination.survey import Report
from tile38cm.handover import HandOver
from tile38cm.model import Position
from tile38cm.peers.accept import PeerGreeter
from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.dial import PeerDialer
from tile38cm.peers.heartbeats import Members
from tile38cm.peers.messages import POSITION, report_words
from tile38cm.proxy.limits import HoldBudget, Limits
from tile38cm.proxy.sides import Writer
from tile38cm.replication.intake import Intake
from tile38cm.requests import Means, Requests
from tile38cm.state import StateDirectory


class Link:
    """What a request sees of the intake."""

    def __init__(self) -> None:
        self.caught_up = True
        self.position = Position(1, 100)
        self.marks = 0
        self.rewriting = False

    def mark(self) -> None:
        self.marks += 1

    async def level(self) -> bool:
        return self.caught_up


class RequestsCase(SynchronousTestCase):
    """C{B}, which leads or follows; requests are put into a Consul in memory."""

    def setUp(self) -> None:
        self.station = Station()
        self.clock = self.station.clock
        self.way = LocalWay(clock=self.clock)
        self.way.server.log = b"x" * 100
        self.way.client.start()
        self.member = Member("B", clock=self.clock)
        election = self.member.election
        self.members = Members(election)
        self.writer = Writer(FakeRoutes(), self.clock, Limits(), HoldBudget(1), gate=FakeGate())
        hand_over = HandOver(
            self.clock,
            self.way.client,
            election,
            self.members,
            self.writer,
            lambda: frozenset(),
            self.consul_answers,
        )
        self.link = Link()
        self.state = StateDirectory(Path(self.mktemp()))
        self.state.open()
        self.view = ClusterView()
        self.store = self.station.store("B")
        self.announced = 0
        self.leader_way = Way(PeerGreeter(identity("A"), self.clock, {POSITION: self.tell}))
        means = Means(
            self.clock,
            self.station.consul,
            PeerDialer(identity("B"), self.clock),
            lambda members: {"A": self.leader_way},
            self.store,
            election,
            hand_over,
            self.way.client,
            cast(Intake, self.link),
            self.state,
            lambda: self.view,
            "B",
        )
        self.requests = Requests(means, self.announce)
        self.watches = self.requests.watches()
        for watch in self.watches:
            watch.startService()
        self.requests.start()

    async def consul_answers(self) -> bool:
        """As it does here."""
        return True

    def tearDown(self) -> None:
        stopping = Deferred.fromCoroutine(self.stop())
        self.wait(0.2)
        self.successResultOf(stopping)

    async def stop(self) -> None:
        """Nothing is looked at any more."""
        await self.requests.stop()
        await self.stop_watches()

    async def stop_watches(self) -> None:
        """Consul's changes are seen no more."""
        for watch in self.watches:
            await watch.stopService()

    def announce(self) -> None:
        """This member's key is to be written."""
        self.announced += 1

    def tell(self, conn: PeerConnection, _: object) -> None:
        """C{A} says where it stands."""
        conn.send(*report_words(Report("A", Position(1, 1), 1)))

    def wait(self, seconds: float) -> None:
        """Time passes everywhere."""
        for _ in range(round(seconds / 0.05)):
            self.station.bench.advance(0.05)
            self.way.settle(self.station.bench.traversal.flush, self.leader_way.move)
            self.member.election.tick()

    def ask(self, name: str, asked: Any, seconds: float = 1.5) -> None:
        """An operator asks."""
        self.station.put(name, asked if isinstance(asked, bytes) else json.dumps(asked).encode())
        self.wait(seconds)

    def found(self, name: str) -> dict[str, Any]:
        """The request as it is now."""
        entry = self.station.entry(name)
        assert entry is not None
        found: dict[str, Any] = json.loads(entry.value)
        return found

    def answer(self, name: str) -> tuple[Any, Any]:
        """What was answered."""
        found = self.found(name)
        return found.get("state"), found.get("said")

    def lead(self, *connected: str) -> None:
        """C{B} leads C{C}."""
        self.won = self.member.lead(status("A", "B", "C"))
        for name in connected:
            conn = PeerConnection(Clock())
            conn.makeConnection(End())
            conn.peer = name
            self.members.accept(conn, [])
        self.member.wait(LEASE / 8)
        self.member.promise_of("C", 100)

    def take(self) -> None:
        """C{C} wins the next term."""
        self.member.election.observed(take_over(self.won, "C", self.won.epoch, True), 30)
        self.wait(1)
