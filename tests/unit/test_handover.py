"""L{tile38cm.handover}: who may take over, and what becomes of the lead when nobody does."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import LEASE, Member, status
from tests.unit.local38 import LocalWay
from tests.unit.peers.wires import End
from tests.unit.proxy.fakes import FakeGate, FakeRoutes
from tile38cm.coordination.status import take_over
from tile38cm.handover import (
    ASK_AGAIN,
    DRAIN_TIMEOUT,
    JOIN_TIMEOUT,
    PATIENCE,
    TAKE_OVER_TIMEOUT,
    HandOver,
    NotHandedOver,
)
from tile38cm.model import Role
from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.heartbeats import Members
from tile38cm.proxy.limits import HoldBudget, Limits
from tile38cm.proxy.sides import Writer
from tile38cm.tile38 import ANSWER_TIMEOUT


class Lead:
    """C{B} leads C{C} and C{D}, which are connected and have promised."""

    def __init__(self, *connected: str) -> None:
        self.way = LocalWay()
        self.clock = self.way.clock
        self.way.server.log = b"x" * 100
        self.way.client.start()
        self.member = Member("B", clock=self.clock)
        self.members = Members(self.member.election)
        self.unwilling: frozenset[str] = frozenset()
        self.consul, self.hangs = True, False
        self.writer = Writer(FakeRoutes(), self.clock, Limits(), HoldBudget(1), gate=FakeGate())
        self.hand_over = HandOver(
            self.clock,
            self.way.client,
            self.member.election,
            self.members,
            self.writer,
            lambda: self.unwilling,
            self.consul_answers,
        )
        self.won = self.member.lead(status("A", "B", "C", "D"))
        for name in connected or ("C", "D"):
            conn = PeerConnection(Clock())
            conn.makeConnection(End())
            conn.peer = name
            self.members.accept(conn, [])
        self.promise("C", "D")

    async def consul_answers(self) -> bool:
        """Whether Consul is there."""
        if self.hangs:
            await Deferred()
        return self.consul

    def promise(self, *members: str, offset: int | None = 100) -> None:
        """A heartbeat is sent, and answered."""
        self.member.wait(LEASE / 8)
        self.member.election.tick()
        for name in members:
            self.member.promise_of(name, offset)

    def begin(self, candidate: str | None = None) -> Deferred[str]:
        """Hand over."""
        return self.way.run(self.hand_over(candidate))

    def started(self) -> None:
        """Hand over, whatever becomes of it."""
        self.outcome = self.begin().addErrback(lambda _: None)

    def take(self, name: str) -> None:
        """A member wins the next term, which this node sees."""
        self.member.election.observed(take_over(self.won, name, self.won.epoch, True), 30)
        self.way.wait(0.05)

    def wait(self, seconds: float) -> None:
        """Time passes for the election too."""
        for _ in range(round(seconds / 0.05)):
            self.way.wait(0.05)
            self.member.election.tick()
        self.way.settle()


class HandOverTests(SynchronousTestCase):
    """From a leader to a member."""

    def refused(self, lead: Lead, candidate: str | None = None) -> str:
        """It is refused before anything was changed; why."""
        lead.way.asked.clear()
        why = str(self.failureResultOf(lead.begin(candidate), NotHandedOver).value)
        self.assertEqual((lead.way.asked, lead.writer.draining), ([], False))
        return why

    def released(self, lead: Lead) -> list[Any]:
        """Who was given its promise back."""
        return [args[0] for args in lead.member.asked("release")]

    def test_to_anybody(self) -> None:
        """Writes stop, Tile38 is fenced, one member that has everything is released; its name is returned."""
        lead = Lead()
        task = lead.begin()
        self.assertTrue(lead.writer.draining and lead.way.server.readonly)
        self.assertFalse(lead.member.election.gate_open())
        self.assertEqual(self.released(lead), ["C"])
        self.assertNoResult(task)
        lead.take("C")
        self.assertEqual(self.successResultOf(task), "C")
        self.assertTrue(lead.writer.draining)

    def test_to_one(self) -> None:
        """A candidate that is named is the one, even if another one stands first."""
        lead = Lead()
        task = lead.begin("D")
        self.assertEqual(self.released(lead), ["D"])
        lead.take("D")
        self.assertEqual(self.successResultOf(task), "D")

    def test_without_tile38(self) -> None:
        """A leader whose Tile38 is gone releases whoever is connected and willing; Tile38 is not asked."""
        for unwilling, heirs in (("", ["C"]), ("C", ["D"]), ("CD", [])):
            lead = Lead()
            lead.unwilling = frozenset(unwilling)
            lead.way.asked.clear()
            lead.hand_over.abandon("it is gone", lambda: True)
            self.assertEqual((self.released(lead), lead.way.asked), (heirs, []))

    def test_without_tile38_and_consul(self) -> None:
        """Nobody could take over: the leader stays until Consul answers; if Tile38 is back, for good."""
        for back in (False, True):
            lead, gone = Lead(), [True]
            lead.consul = False
            lead.hand_over.abandon("it is gone", lambda gone=gone: gone[0])  # type: ignore[misc]  # bound now
            for _ in range(20):
                lead.wait(0.05)
                lead.promise("C", "D")
            self.assertEqual(self.released(lead), [])
            self.assertTrue(lead.member.election.gate_open())
            gone[0] = not back
            lead.consul = True
            lead.wait(0.2)
            self.assertEqual(self.released(lead), [] if back else ["C"])
            self.successResultOf(Deferred.fromCoroutine(lead.hand_over.stop()))

    def test_without_tile38_and_an_agent_of_its_own(self) -> None:
        """Others may reach Consul, so it does not stay for ever; a question that hangs does not keep it."""
        for hangs in (False, True):
            lead = Lead()
            lead.consul, lead.hangs = False, hangs
            lead.hand_over.abandon("it is gone", lambda: True)
            for _ in range(round(PATIENCE / 0.15)):
                lead.promise("C", "D")
                lead.wait(0.05)
            self.assertEqual(self.released(lead), ["C"])

    def test_without_tile38_twice(self) -> None:
        """A Tile38 that comes back and is gone again is waited for anew."""
        lead = Lead()
        lead.consul = False
        for _ in range(2):
            lead.hand_over.abandon("it is gone", lambda: True)
            for _ in range(round(PATIENCE / 0.2)):
                lead.promise("C", "D")
                lead.wait(0.05)
        self.assertEqual(self.released(lead), [])
        self.assertTrue(lead.member.election.gate_open())

    def test_waits_for_everything(self) -> None:
        """A member that lacks bytes is released when it has them, not before."""
        lead = Lead()
        lead.way.server.log += b"y"
        lead.started()
        self.assertEqual(self.released(lead), [])
        lead.member.election.acknowledged("D", lead.won.epoch, 101)
        self.assertEqual(self.released(lead), ["D"])

    def test_not_leading(self) -> None:
        """Who does not lead has nothing to hand over."""
        lead = Lead()
        lead.member.election.resign("test")
        self.assertEqual(self.refused(lead), "this node does not lead")

    def test_not_in_the_set(self) -> None:
        """A candidate outside of the sync set might lack writes."""
        self.assertEqual(self.refused(Lead("C", "D", "E"), "E"), "E is not in the sync set")
        self.assertEqual(self.refused(Lead(), "B"), "B is not in the sync set")

    def test_not_connected(self) -> None:
        """A candidate that is not connected could not be told."""
        self.assertEqual(self.refused(Lead("C"), "D"), "D is not connected")

    def test_unwilling(self) -> None:
        """A member tagged so is neither chosen nor taken on demand."""
        lead = Lead()
        lead.unwilling = frozenset({"C"})
        self.assertEqual(self.refused(lead, "C"), "C is tagged nofailover")
        lead.started()
        self.assertEqual(self.released(lead), ["D"])

    def test_nobody(self) -> None:
        """Without a member that is connected and willing there is no handing over."""
        self.assertIn("is connected", self.refused(Lead("E")))
        lead = Lead("C")
        lead.unwilling = frozenset({"C"})
        self.assertIn("nofailover", self.refused(lead))

    def test_slow_requests(self) -> None:
        """Requests under way are waited for, but not for ever."""
        lead = Lead()
        lead.writer.sent(1)
        lead.started()
        lead.promise("C", "D")
        self.assertFalse(lead.way.server.readonly)
        lead.writer.landed(1)
        lead.way.settle()
        self.assertTrue(lead.way.server.readonly)
        lead = Lead()
        lead.writer.sent(1)
        lead.started()
        lead.wait(DRAIN_TIMEOUT + 0.1)
        self.assertTrue(lead.way.server.readonly)

    def test_all_stood_still(self) -> None:
        """Members that left the set just before the end come back to it, and one of them takes over."""
        lead = Lead()
        lead.writer.sent(1)
        task = lead.begin()
        lead.member.election.wanted(100)
        lead.member.wait(1.5 * LEASE)  # nobody answers a heartbeat
        dropped = lead.member.settle_change()
        self.assertEqual(dropped.sync_set, {"B"})
        lead.writer.landed(1)
        lead.way.settle()
        self.assertTrue(lead.way.server.readonly)
        self.assertEqual(self.released(lead), [])
        lead.promise("D")
        lead.member.election.admit("D")
        self.assertEqual(self.released(lead), [])
        lead.won = lead.member.settle_change()
        self.assertEqual(self.released(lead), ["D"])
        lead.take("D")
        self.assertEqual(self.successResultOf(task), "D")

    def test_expected(self) -> None:
        """Before a stop a member that is connected is given time to come into the set."""
        lead = Lead("E")
        task = lead.way.run(lead.hand_over.expect_successors())
        lead.wait(JOIN_TIMEOUT / 2)
        self.assertNoResult(task)
        lead.promise("C", "D", "E")
        lead.member.election.admit("E")
        lead.wait(ASK_AGAIN)
        self.successResultOf(task)
        self.assertFalse(lead.writer.draining)

    def test_expected_in_vain(self) -> None:
        """Not for ever, and not at all if nobody is willing, or somebody could take over already."""
        lead = Lead("E")
        task = lead.way.run(lead.hand_over.expect_successors())
        lead.wait(JOIN_TIMEOUT + 2 * ASK_AGAIN)
        self.successResultOf(task)
        lead.unwilling = frozenset({"E"})
        self.successResultOf(lead.way.run(lead.hand_over.expect_successors()))
        ready = Lead("C")
        self.successResultOf(ready.way.run(ready.hand_over.expect_successors()))
        lead.unwilling = frozenset()
        lead.member.election.resign("test")
        self.successResultOf(lead.way.run(lead.hand_over.expect_successors()))

    def test_tile38_away(self) -> None:
        """Without the last offset nobody can be chosen. Tile38 may be fenced by then, so the term ends."""
        for frozen in (True, False):
            lead = Lead()
            lead.way.frozen = frozen
            lead.way.server.refuses[b"ROLE"] = "LOADING"
            task = lead.begin()
            lead.wait(ANSWER_TIMEOUT + 1)
            self.assertIn("cannot be asked", str(self.failureResultOf(task, NotHandedOver).value))
            self.assertEqual(self.released(lead), [])
            self.assertIs(lead.member.election.leadership.role, Role.FOLLOWER)

    def test_lost_meanwhile(self) -> None:
        """A term that ended while requests were waited for cannot be handed over."""
        lead = Lead()
        lead.writer.sent(1)
        task = lead.begin()
        lead.member.election.resign("test")
        lead.writer.landed(1)
        lead.way.settle()
        self.assertEqual(str(self.failureResultOf(task, NotHandedOver).value), "the lead was lost meanwhile")

    def test_nobody_takes_over(self) -> None:
        """If nobody does in time the term is given up, and that is said."""
        lead = Lead()
        task = lead.begin()
        lead.wait(TAKE_OVER_TIMEOUT + 0.2)
        self.assertIn("nobody took over", str(self.failureResultOf(task, NotHandedOver).value))
        self.assertIs(lead.member.election.leadership.role, Role.FOLLOWER)
