"""L{tile38cm.routing}: who is written to and read from, by role and by what is known of the others."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.unit.coordination.recorded import LEASE, Member, status
from tests.unit.peers.wires import Way, identity
from tests.unit.proxy.fakes import Keeper
from tile38cm.coordination.cluster import ClusterView, MemberState
from tile38cm.model import Leadership, Peer, Role
from tile38cm.peers.accept import PeerGreeter
from tile38cm.peers.connection import PeerConnection, PeerError
from tile38cm.peers.dial import PeerDialer
from tile38cm.peers.messages import FORWARD
from tile38cm.proxy.partners import Target
from tile38cm.routing import LocalTarget, NodeGate, NodeRoutes, PeerTarget, Surroundings
from tile38cm.settings import Address

#: W of node C{n} has port 100 + n, its R 200 + n.
NODES = "abcde"


@implementer(IStreamClientEndpoint)
class To:
    """A way that is only looked at."""

    def __init__(self, address: Address | None, service: str) -> None:
        self.address, self.service = address, service

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:  # noqa: N803  # zope's name
        raise AssertionError("nobody connects here")


class RoutesCase(SynchronousTestCase):
    """The routes of C{a}."""

    def setUp(self) -> None:
        self.local = To(None, "local")
        self.dialer = PeerDialer(identity("a"), Clock())
        self.ready = True
        self.view = ClusterView(
            {n: Peer(n, Address("h", 100 + i), Address("h", 200 + i)) for i, n in enumerate(NODES)}
        )
        self.routes = NodeRoutes(
            Surroundings(
                "a", "w", "r", self.local, self.dialer, To, lambda: self.view, lambda: self.ready, zone="z1"
            )
        )

    def members(self, *ready: str, not_ready: str = "", **zones: str) -> None:
        """Who says what of itself."""
        found = {n: MemberState(n, "follower", True, zone=zones.get(n, "")) for n in ready}
        found |= {n: MemberState(n, "follower", False) for n in not_ready}
        self.view = ClusterView(self.view.peers, found)

    def lead(self, role: Role, leader: str | None, epoch: int = 3) -> None:
        """Who leads."""
        self.routes.lead_by(Leadership(role, leader, epoch, 0, "test"))

    def readers(self) -> list[str]:
        """Where reads may go, by name; C{a} itself is C{local}."""
        return [name(target) for target in self.routes.readers()]


def name(target: Target) -> str:
    """Who a target is."""
    if isinstance(target, LocalTarget):
        return "local"
    assert isinstance(target, PeerTarget) and isinstance(target.endpoint, To)
    place = target.endpoint
    assert place.address is not None
    base = {"w": 100, "r": 200}[place.service]
    assert (NODES[place.address.port - base], place.service) == (target.member, target.service)
    return target.member


class WriterTests(RoutesCase):
    """One leader, or nobody."""

    def test_by_role(self) -> None:
        """Only a leader writes here, only a follower elsewhere."""
        self.assertIsNone(self.routes.writer())
        for role, leader, expected in (
            (Role.LEADER, "a", "local"),
            (Role.FOLLOWER, "b", "b"),
            (Role.FOLLOWER, None, None),
            (Role.FOLLOWER, "unheard-of", None),
            (Role.TAKING_OVER, "a", None),
            (Role.UNKNOWN, "b", None),
            (Role.STOPPED, "b", None),
        ):
            self.lead(role, leader)
            target = self.routes.writer()
            self.assertEqual(None if target is None else name(target), expected, (role, leader))

    def test_line(self) -> None:
        """A follower's line to its leader names it, its epoch and its W."""
        self.lead(Role.FOLLOWER, "b", 7)
        line = self.routes.leader_line()
        assert line is not None and isinstance(line[2], To)
        self.assertEqual((line[0], line[1], line[2].address), ("b", 7, Address("h", 101)))
        self.lead(Role.LEADER, "a")
        self.assertIsNone(self.routes.leader_line())

    def test_lost_by_the_catalog(self) -> None:
        """A leader that the catalog has lost is where it was; one that was never there is nowhere."""
        self.lead(Role.FOLLOWER, "b", 7)
        before = self.routes.writer()
        whole, self.view = self.view, ClusterView()
        self.assertEqual(self.routes.writer(), before)
        self.lead(Role.FOLLOWER, "c", 8)
        self.assertIsNone(self.routes.writer())
        self.view = whole
        assert (found := self.routes.writer()) is not None
        self.assertEqual(name(found), "c")

    def test_equality(self) -> None:
        """A target is the same while it is the same node in the same epoch."""
        self.lead(Role.FOLLOWER, "b", 7)
        first = self.routes.writer()
        self.assertEqual(self.routes.writer(), first)
        self.lead(Role.FOLLOWER, "b", 8)
        self.assertNotEqual(self.routes.writer(), first)
        self.lead(Role.LEADER, "a", 9)
        own = self.routes.writer()
        self.assertNotEqual(own, first)
        self.lead(Role.LEADER, "a", 10)
        self.assertNotEqual(self.routes.writer(), own)

    def test_told(self) -> None:
        """Whoever subscribed is told of each change, until it does so no more."""
        told: list[int] = []
        callback = lambda: told.append(1)  # noqa: E731  # the very same object twice
        self.routes.subscribe(callback)
        self.routes.subscribe(callback)
        self.lead(Role.FOLLOWER, "b")
        self.assertEqual(len(told), 1)
        self.routes.unsubscribe(callback)
        self.routes.unsubscribe(callback)
        self.lead(Role.FOLLOWER, "c")
        self.assertEqual(len(told), 1)

    def test_gone_while_told(self) -> None:
        """Who leaves while all are told does not disturb the others."""
        told: list[str] = []

        def leave() -> None:
            self.routes.unsubscribe(leave)
            told.append("leave")

        self.routes.subscribe(leave)
        self.routes.subscribe(lambda: told.append("stay"))
        self.lead(Role.FOLLOWER, "b")
        self.assertEqual(told, ["leave", "stay"])


class ReaderTests(RoutesCase):
    """All that may be read."""

    def test_leader(self) -> None:
        """A leader sends reads to followers that are ready, itself last."""
        self.members("a", "b", "c", not_ready="d")
        self.lead(Role.LEADER, "a")
        readers = self.readers()
        self.assertEqual((sorted(readers[:2]), readers[2:]), (["b", "c"], ["local"]))

    def test_ready_follower(self) -> None:
        """A follower that is ready reads here first, and never from the leader."""
        self.members("a", "b", "c", "d")
        self.lead(Role.FOLLOWER, "b")
        readers = self.readers()
        self.assertEqual((readers[0], sorted(readers[1:])), ("local", ["c", "d"]))

    def test_follower_that_is_not_ready(self) -> None:
        """One that is not ready, or is not to be read, sends elsewhere; to the leader at last."""
        self.ready = False
        self.members("a", "c", "d", not_ready="b")
        self.lead(Role.FOLLOWER, "b")
        readers = self.readers()
        self.assertEqual((sorted(readers[:2]), readers[2:]), (["c", "d"], ["b"]))
        self.members()
        self.assertEqual(self.readers(), ["b"])

    def test_nobody(self) -> None:
        """Where nobody is known there is nothing to read from."""
        self.assertEqual(self.readers(), [])
        self.ready = False
        self.lead(Role.FOLLOWER, None)
        self.assertEqual(self.readers(), [])

    def test_taking_over(self) -> None:
        """While it takes over, a node that is not ready does not call itself."""
        self.ready = False
        self.members("a", "b")
        self.lead(Role.TAKING_OVER, "a")
        self.assertEqual(self.readers(), ["b"])

    def test_no_address(self) -> None:
        """Who is ready but not in the catalog cannot be reached."""
        self.members("b", "x")
        self.lead(Role.LEADER, "a")
        self.assertEqual(self.readers(), ["b", "local"])

    def test_zone(self) -> None:
        """Nodes of the own zone come first, whatever their order."""
        self.members("b", "c", "d", "e", b="z2", c="z1", d="", e="z1")
        self.lead(Role.LEADER, "a")
        for _ in range(20):
            self.assertEqual(sorted(self.readers()[:2]), ["c", "e"])

    def test_spread(self) -> None:
        """Among equals each comes first now and then."""
        self.members("b", "c", "d")
        self.lead(Role.LEADER, "a")
        self.assertEqual({self.readers()[0] for _ in range(200)}, {"b", "c", "d"})

    def test_equality(self) -> None:
        """A reader stays the same through a change of epoch, so that its clients stay."""
        self.members("c")
        self.lead(Role.FOLLOWER, "b", 1)
        first = self.routes.readers()
        self.lead(Role.FOLLOWER, "b", 2)
        self.assertEqual(self.routes.readers(), first)

    @settings(deadline=None)
    @given(
        st.sampled_from(list(Role)),
        st.sampled_from([None, *NODES]),
        st.sets(st.sampled_from(NODES)),
        st.booleans(),
    )
    def test_never_twice_never_self(
        self, role: Role, leader: str | None, ready: set[str], here: bool
    ) -> None:
        """Whatever is known, nobody is listed twice, this node never as a peer, nobody who is not ready."""
        self.setUp()
        self.ready = here
        self.members(*ready)
        self.lead(role, leader)
        readers = self.readers()
        self.assertEqual(len(set(readers)), len(readers))
        self.assertNotIn("a", readers)
        self.assertLessEqual(set(readers), ready | {"local", leader})


class TargetTests(SynchronousTestCase):
    """Connecting to a target."""

    def test_peer(self) -> None:
        """A peer is connected when it has been greeted; one that refuses fails."""
        clock = Clock()

        def forward(conn: PeerConnection, _: object) -> None:
            conn.send(b"OK")
            conn.become(Keeper())

        way = Way(PeerGreeter(identity("b"), clock, {FORWARD: forward}))
        keeper = Keeper()
        factory = Factory.forProtocol(lambda: keeper)
        connecting = PeerTarget("b", "w", 1, way, PeerDialer(identity("a"), clock)).connect(factory)
        self.assertNoResult(connecting)
        way.move()
        self.assertIs(self.successResultOf(connecting), keeper)
        way.refusing = True
        connecting = PeerTarget("b", "w", 1, way, PeerDialer(identity("a"), clock)).connect(factory)
        self.failureResultOf(connecting, PeerError)


class GateTests(SynchronousTestCase):
    """The election's gate, as the proxies see it."""

    def setUp(self) -> None:
        self.member = Member()
        self.gate = NodeGate(self.member.election, "insync", 2)

    def promise(self, offset: int | None) -> None:
        """C{C} promises, having that much."""
        self.member.wait(LEASE / 8)
        self.member.election.tick()
        self.member.promise_of("C", offset)

    def test_closed(self) -> None:
        """Who does not lead has no gate, no epoch, and no acknowledgement."""
        self.assertEqual((self.gate.is_open(), self.gate.word().epoch), (False, 0))
        self.assertEqual(self.gate.word(), (False, 0, -1, False, 0))

    def test_follower_counts(self) -> None:
        """A leader's gate opens with the promise, and replies wait for what the member has."""
        won = self.member.lead(status("A", "B", "C"))
        self.promise(None)
        self.assertEqual((self.gate.is_open(), self.gate.word().epoch), (True, won.epoch))
        self.assertEqual(self.gate.word(), (True, won.epoch, -1, True, 0))
        self.promise(70)
        self.assertEqual(self.gate.word(), (True, won.epoch, 70, True, 70))

    def test_alone(self) -> None:
        """A leader alone waits for nobody; but two are wanted, and it says that they are not there."""
        self.member.lead(status("A", "B"))
        word = self.gate.word()
        self.assertEqual((word.acknowledged, word.enough), (NodeGate.EVERYTHING, False))

    def test_not_asked_for(self) -> None:
        """Where only the leader's own log is asked for, a member that has nothing still holds all up."""
        self.gate = NodeGate(self.member.election, "leader", 1)
        self.member.lead(status("A", "B", "C"))
        self.promise(None)
        self.assertEqual(self.gate.word().acknowledged, -1)
        self.promise(0)
        self.assertEqual(self.gate.word().acknowledged, NodeGate.EVERYTHING)
