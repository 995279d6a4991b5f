"""L{tile38cm.requests}: what operators ask for in Consul, who carries it out, and what is answered."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import LEASE, Member, status
from tests.unit.coordination.weather import Station
from tests.unit.local38 import LocalWay
from tests.unit.peers.wires import End, Way, identity
from tests.unit.proxy.fakes import FakeGate, FakeRoutes
from tile38cm.coordination.cluster import ClusterView, MemberState
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
from tile38cm.requests import FORCE_TIMEOUT, SHRINK_TIMEOUT, Means, Requests, _due
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


class SwitchoverTests(RequestsCase):
    """The lead goes elsewhere on demand."""

    def test_done(self) -> None:
        """It is carried out, answered with who leads, and the asker's words stay."""
        self.lead("C")
        self.ask("switchover", {"candidate": "C", "note": "mine"}, 0.5)
        self.assertTrue(self.writer.draining)
        self.take()
        self.assertEqual(self.answer("switchover"), ("done", "C leads"))
        self.assertEqual(self.found("switchover")["note"], "mine")
        self.assertFalse(self.writer.draining)
        self.assertTrue(self.member.core.may_lead)

    def test_under_way(self) -> None:
        """Who carries it out says so first."""
        self.lead("C")
        self.ask("switchover", {"candidate": "C"}, 0.5)
        self.assertEqual(self.found("switchover"), {"candidate": "C", "by": "B"})

    def test_the_next_leader(self) -> None:
        """Who leads by a request that is not answered yet answers it, and keeps the lead."""
        self.lead("C")
        for candidate, state in ((None, "done"), ("B", "done"), ("D", "failed")):
            self.ask("switchover", {"candidate": candidate, "by": "A"})
            self.assertEqual(self.answer("switchover"), (state, "B leads"))
        self.assertFalse(self.writer.draining)

    def test_claim_lost(self) -> None:
        """A claim of which nothing was heard is ours all the same."""
        self.lead("C")
        self.station.weather.faults = ["lost"]
        self.ask("switchover", {"candidate": "C"}, 2.5)
        self.assertTrue(self.writer.draining)
        self.take()
        self.assertEqual(self.answer("switchover"), ("done", "C leads"))

    def test_refused(self) -> None:
        """What cannot be is refused with the reason, and the node goes on as it was."""
        self.lead()
        for asked, said in (
            ({"candidate": "C"}, "C is not connected"),
            ({"candidate": "X"}, "X is not in the sync set"),
            ({"candidate": 5}, "the candidate is not a name"),
            ({"candidate": ["C"]}, "the candidate is not a name"),
            ({}, "no other member of the sync set is connected"),
            ({"at": "soon"}, "'soon' is not a time such as 2031-05-01T03:00:00Z"),
            ({"at": {}}, "{} is not a time such as 2031-05-01T03:00:00Z"),
            (b"[]", "the request is not a JSON object"),
            (b"\xff{", "the request is not a JSON object"),
            (b"[" * 50_000, "the request is not a JSON object"),
        ):
            self.ask("switchover", asked)
            self.assertEqual(self.answer("switchover"), ("refused", said))
        self.assertFalse(self.writer.draining or self.way.server.readonly)
        self.assertTrue(self.member.core.may_lead)

    def test_followers_are_silent(self) -> None:
        """Only the leader answers."""
        self.member.follow(status("A", "B"))
        for asked in ({"candidate": "C"}, b"rubbish", {"at": "soon"}):
            self.ask("switchover", asked)
            self.assertNotIn(b"state", getattr(self.station.entry("switchover"), "value", b""))

    def test_later(self) -> None:
        """A time to come is waited for; one that is past is now."""
        self.lead()
        self.ask("switchover", {"at": "2999-01-01T00:00:00Z"}, 3)
        self.assertEqual(self.answer("switchover"), (None, None))
        self.ask("switchover", {"at": "2001-01-01T00:00:00Z"})
        self.assertEqual(self.answer("switchover")[0], "refused")

    def test_answered_already(self) -> None:
        """An answered request is done with."""
        self.lead("C")
        self.ask("switchover", {"state": "done"}, 2)
        self.assertFalse(self.writer.draining)

    def test_empty(self) -> None:
        """A key without a value asks for nothing."""
        self.lead()
        self.ask("switchover", b"", 2)
        self.assertEqual(getattr(self.station.entry("switchover"), "value", None), b"")

    def test_answered_once(self) -> None:
        """A view of Consul that is late does not have a request answered again and again."""
        self.lead()
        self.successResultOf(self.station.run(self.stop_watches()))
        self.requests._seen("switchover", None)
        self.station.put("switchover", b"{}")
        found = self.successResultOf(
            self.station.run(self.station.consul.get(self.store.key("switchover")))
        ).value
        self.requests._seen("switchover", found)
        self.station.weather.changes = 0
        self.wait(3)
        self.assertEqual((self.answer("switchover")[0], self.station.weather.changes), ("refused", 1))

    def test_consul_away(self) -> None:
        """An answer that Consul does not take is given again; what was asked for is not done again."""
        self.lead("C")
        self.ask("switchover", {"candidate": "C"}, 0.5)
        self.station.weather.faults = ["Permission denied"] * 2
        self.take()
        self.assertEqual(self.answer("switchover"), (None, None))
        self.wait(3)
        self.assertEqual(self.answer("switchover"), ("done", "C leads"))
        self.assertEqual(self.way.asked.count(b"READONLY"), 1)

    def test_changed_meanwhile(self) -> None:
        """An answer never overwrites a newer request."""
        self.lead("C")
        self.ask("switchover", {"candidate": "C"}, 0.5)
        self.station.put("switchover", b'{"at": "2999-01-01T00:00:00Z"}')
        self.take()
        self.assertEqual(self.answer("switchover"), (None, None))


class ForceTests(RequestsCase):
    """A failover that an operator answers for."""

    def setUp(self) -> None:
        super().setUp()
        self.member.follow(status("A", "C"))

    def force(self, seconds: float = 1.0, **more: Any) -> None:
        """Ask."""
        self.ask("failover", {"candidate": "B", "old_leader_is_dead": True} | more, seconds)

    def test_done(self) -> None:
        """The candidate leads alone with what it has, and says what that is."""
        self.leader_way.refusing = True
        self.force()
        (_, settlement, record) = self.member.last("claim")
        self.assertEqual(settlement.wanted.sync_set, {"B"})
        self.assertEqual(self.answer("failover"), (None, None))
        won = settlement.attempt(lambda: "won")
        self.member.election.claim_settled(self.member.core.tickets, True, won, 20)
        self.member.election.prepared(won.epoch)
        self.wait(2)
        self.member.election.opened(won.epoch)
        self.wait(1)
        self.assertEqual(self.answer("failover"), ("done", "B leads with what it had: 1:100"))

    def test_not_sure(self) -> None:
        """Who does not say that the leader is dead is told to be sure of it."""
        for word in (None, False, "true", 1):
            self.force(old_leader_is_dead=word)
            state, said = self.answer("failover")
            self.assertEqual((state, "old_leader_is_dead" in said), ("refused", True))
        self.assertEqual(self.member.asked("claim"), [])

    def test_leader_lives(self) -> None:
        """A leader that answers is no dead one."""
        self.force()
        self.assertEqual(self.answer("failover"), ("refused", "A answers: ask for a switchover"))

    def test_leader_talks_nonsense(self) -> None:
        """One that answers rubbish ends no more than the call."""
        self.leader_way = Way(
            PeerGreeter(identity("A"), self.clock, {POSITION: lambda conn, _: conn.send(POSITION, NONSENSE)})
        )
        self.force()
        self.assertEqual(len(self.member.asked("claim")), 1)

    def test_not_meant(self) -> None:
        """Only the candidate acts."""
        self.force(candidate="C")
        self.assertEqual((self.answer("failover"), self.member.asked("claim")), ((None, None), []))

    def test_cannot(self) -> None:
        """A candidate whose Tile38 is away cannot lead."""
        self.leader_way.refusing = True
        self.member.local = type(self.member.local)(False, None, None, 0)
        self.force()
        self.assertEqual(self.answer("failover")[0], "refused")

    def test_in_vain(self) -> None:
        """A claim that leads to nothing is said to have failed, and not made again."""
        self.leader_way.refusing = True
        self.force(FORCE_TIMEOUT + 2)
        self.assertEqual(self.answer("failover")[0], "failed")
        self.wait(2)
        self.assertEqual(len(self.member.asked("claim")), 1)


#: A report with an infinite number.
NONSENSE = (
    b'{"member": "A", "position": null, "seen_epoch": Infinity, "bound": false,'
    b' "eligible": true, "priority": 0, "log_size": 0}'
)


class ShrinkTests(RequestsCase):
    """All logs are rewritten, the leader's last."""

    def setUp(self) -> None:
        super().setUp()
        self.way.server.rewritten = b"x" * 10

    def shrunk(self, **members: str) -> None:
        """What others say they have done last."""
        self.view = ClusterView(
            {}, {m: MemberState(m, "follower", True, shrunk=s) for m, s in members.items()}
        )

    def follow(self) -> None:
        """A leader is there for as long as it takes."""
        self.member.core.nofailover = True
        self.member.follow(status("A", "B"))

    def shrinks(self) -> int:
        """How often the log was rewritten here."""
        return self.way.asked.count(b"AOFSHRINK")

    def test_follower(self) -> None:
        """A follower rewrites its log once, marks its position in the new one, and announces it."""
        self.member.follow(status("A", "B"))
        self.ask("shrink", {"id": "s1"}, 3)
        self.assertEqual((self.shrinks(), self.link.marks, self.announced), (1, 1, 1))
        self.assertEqual((self.state.now.shrunk, self.way.server.log), ("s1", b"x" * 10))
        self.assertEqual(self.answer("shrink"), (None, None))
        turn = self.station.entry("shrinking")
        assert turn is not None
        self.assertIsNone(turn.session)

    def test_one_at_a_time(self) -> None:
        """While another node has the turn nothing is rewritten."""
        self.follow()
        other = self.station.store("C")
        self.successResultOf(self.station.run(other.take("shrinking")))
        self.ask("shrink", {"id": "s1"}, 3)
        self.assertEqual(self.shrinks(), 0)
        self.successResultOf(self.station.run(other.give_back("shrinking")))
        self.wait(2)
        self.assertEqual(self.shrinks(), 1)

    def test_not_caught_up(self) -> None:
        """A follower that has not caught up waits until it has."""
        self.member.follow(status("A", "B"))
        self.link.caught_up = False
        self.ask("shrink", {"id": "s1"}, 2)
        self.assertEqual(self.shrinks(), 0)

    def test_stands(self) -> None:
        """A log that may be the leader's in a moment is not rewritten."""
        self.member.follow(status("A", "B"))
        self.member.stand()
        self.ask("shrink", {"id": "s1"}, 2)
        self.assertEqual((self.shrinks(), self.link.rewriting), (0, False))

    def test_never_ends(self) -> None:
        """A rewrite that does not end is given up, the turn with it, and tried again."""
        self.way.server.rewritten = None
        self.follow()
        self.ask("shrink", {"id": "s1"}, 1)
        self.assertEqual((self.state.now.shrunk, self.link.rewriting), ("", True))
        self.clock.advance(SHRINK_TIMEOUT)
        self.wait(0.3)
        self.assertFalse(self.link.rewriting)
        turn = self.station.entry("shrinking")
        assert turn is not None
        self.assertIsNone(turn.session)
        self.way.server.rewritten = b""
        self.way.server.rewrite()
        self.wait(4)
        self.assertEqual(self.state.now.shrunk, "s1")

    def test_leader_is_last(self) -> None:
        """A leader waits for all others, then hands over; it is not answered before it has followed."""
        self.lead("C")
        self.shrunk(C="", D="s1")
        self.ask("shrink", {"id": "s1"}, 2)
        self.assertFalse(self.writer.draining)
        self.shrunk(C="s1", D="s1")
        self.wait(0.5)
        self.assertTrue(self.writer.draining)
        self.assertEqual((self.shrinks(), self.answer("shrink")), (0, (None, None)))
        self.take()
        self.assertEqual(self.shrinks(), 1)

    def test_done(self) -> None:
        """The leader that has been shrunk itself says that all are."""
        self.lead("C")
        self.state.change(shrunk="s1")
        self.shrunk(C="s1")
        self.ask("shrink", {"id": "s1"})
        self.assertEqual(self.answer("shrink"), ("done", "all logs are shrunk"))

    def test_alone(self) -> None:
        """A leader alone rewrites its own log, there is nobody to hand over to."""
        self.lead()
        self.ask("shrink", {"id": "s1"}, 3)
        self.assertEqual((self.shrinks(), self.answer("shrink")[0]), (1, "done"))

    def test_no_id(self) -> None:
        """A request without an id could not be told from the last one."""
        self.lead()
        for asked in ({}, {"id": ""}, {"id": 5}):
            self.ask("shrink", asked)
            self.assertEqual(self.answer("shrink"), ("refused", "it has no id"))


class DueTests(SynchronousTestCase):
    """When a request is to be carried out."""

    def test_zones(self) -> None:
        """Times may name their zone; without one they are UTC."""
        seconds = datetime(2031, 5, 1, 3, tzinfo=UTC).timestamp()
        for text in (
            "2031-05-01T03:00:00Z",
            "2031-05-01T03:00:00",
            "2031-05-01T05:00:00+02:00",
            "2031-05-01 03:00",
        ):
            self.assertEqual(_due(text), seconds, text)
        self.assertEqual(_due(None), 0.0)

    @settings(deadline=None)
    @given(
        st.text("0123456789-:TZ+. x")
        | st.integers()
        | st.floats()
        | st.lists(st.text("2Z-"))
        | st.booleans()
        | st.datetimes().map(str)
    )
    def test_anything(self, at: object) -> None:
        """Whatever is given is a time or none."""
        found = _due(at)
        self.assertTrue(found is None or isinstance(found, float))
