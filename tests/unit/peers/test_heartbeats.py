"""L{tile38cm.peers.heartbeats}: promises between two elections, over a wire in memory."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import LEASE, Member, status
from tests.unit.peers.wires import Way, Wire, identity
from tile38cm.coordination.promises import Heartbeat
from tile38cm.model import Role
from tile38cm.peers.accept import PeerGreeter
from tile38cm.peers.dial import PeerDialer
from tile38cm.peers.heartbeats import Members, Promising
from tile38cm.peers.messages import HEARTBEAT

STEP = LEASE / 16


class HeartbeatCase(SynchronousTestCase):
    """C{B} leads epoch 2 and C{C} follows; bytes move, and time passes, only on demand."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.leader = Member("B", clock=self.clock)
        self.members = Members(self.leader.election)
        self.way = self.way_to(self.members)
        self.follower = Member("C", clock=self.clock)
        self.line: tuple[str, int, IStreamClientEndpoint] | None = None
        dialer = PeerDialer(identity("C"), self.clock)
        self.promising = Promising(self.follower.election, dialer, lambda: self.line, self.clock, LEASE)
        self.beats: list[Heartbeat] = []
        self.promising.on_beat = self.beats.append

    def way_to(self, members: Members) -> Way:
        """The way to a node that accepts heartbeat connections."""
        return Way(PeerGreeter(identity("B"), self.clock, {HEARTBEAT: members.accept}))

    def lead(self) -> None:
        """C{B} wins epoch 2, which C{C} sees."""
        won = self.leader.lead(status("A", "B", "C"))
        self.follower.follow(won, 20)
        self.line = ("B", won.epoch, self.way)
        self.leader.effects.done.clear()

    def begin(self) -> None:
        """C{C} is connected."""
        self.lead()
        self.promising.start()
        self.way.move()
        self.send()

    def send(self) -> None:
        """The leader's heartbeats go out as the node sends them, and all bytes move."""
        for beat in [args[0] for args in self.leader.asked("beat")]:
            self.members.beat(beat)
        self.leader.effects.done.clear()
        self.way.move()

    def live(self, seconds: float) -> None:
        """Both live on, for so long."""
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            self.leader.election.tick()
            self.send()

    def wire(self) -> Wire:
        """The newest connection."""
        return self.way.wires[-1]


class PromiseTests(HeartbeatCase):
    """The leader gets promises as long as the connection lives."""

    def test_first_heartbeat(self) -> None:
        """A member that connects does not wait for the next round, and its promise counts."""
        self.begin()
        self.assertEqual(self.members.names, {"C"})
        self.assertEqual([beat.epoch for beat in self.beats], [2])
        ledger_until = self.leader.election.gate_until()
        self.assertGreater(ledger_until, self.clock.seconds())

    def test_goes_on(self) -> None:
        """One connection serves for all heartbeats, and the gate stays open."""
        self.begin()
        self.live(5 * LEASE)
        self.assertEqual(len(self.way.wires), 1)
        self.assertTrue(self.leader.election.gate_open())
        self.assertGreater(len(self.beats), 30)

    def test_offset(self) -> None:
        """A heartbeat tells the leader's log size."""
        self.begin()
        self.assertEqual(self.beats[-1].offset, 100)

    def test_not_leading(self) -> None:
        """A node that does not lead sends callers away, who come again."""
        self.line = ("B", 2, self.way)
        turned_away: list[bool] = []
        self.promising.on_turned_away = lambda: turned_away.append(True)
        self.promising.start()
        self.way.move()
        self.assertEqual((self.members.names, self.beats, turned_away), (frozenset(), [], [True]))
        self.lead()
        self.clock.advance(LEASE / 8)
        self.way.move()
        self.send()
        self.assertEqual(self.members.names, {"C"})

    def test_newer_connection(self) -> None:
        """A member has one connection: a newer one ends the older, whose end changes nothing."""
        self.begin()
        old = self.wire()
        other = Promising(
            self.follower.election,
            PeerDialer(identity("C"), self.clock),
            lambda: self.line,
            self.clock,
            LEASE,
        )
        other.start()
        self.way.move()
        self.assertEqual((old.listener_end.aborted, len(self.way.wires)), (True, 2))
        self.assertTrue(old.ended)
        self.assertEqual(self.members.names, {"C"})

    def test_release(self) -> None:
        """The leader gives the promise back: the member stands as soon as Consul answers."""
        self.begin()
        self.live(2 * LEASE)
        self.follower.effects.done.clear()
        self.members.release("C", 2)
        self.way.move()
        self.follower.election.consul_answered()
        self.assertEqual(len(self.follower.asked("claim")), 1)

    def test_release_of_nobody(self) -> None:
        """Who is not connected cannot be released, and nobody else is."""
        self.begin()
        self.live(2 * LEASE)
        self.members.release("D", 2)
        self.way.move()
        self.assertEqual(self.follower.asked("claim"), [])

    def test_drop_all(self) -> None:
        """A leader that is none any more ends all connections."""
        self.begin()
        self.members.drop_all()
        self.assertTrue(self.wire().listener_end.aborted)
        self.assertEqual(self.members.names, frozenset())

    def test_rubbish_from_member(self) -> None:
        """A member that says anything else is cut off, and counted no more."""
        self.begin()
        self.wire().listener.dataReceived(b"*1\r\n$4\r\nBEAT\r\n")
        self.assertTrue(self.wire().listener_end.aborted)
        self.assertEqual(self.members.names, frozenset())

    def test_rubbish_from_leader(self) -> None:
        """So is a leader, and the member calls again."""
        for said in (
            b"*2\r\n$7\r\nRELEASE\r\n$1\r\nx\r\n",
            b"*1\r\n$7\r\nRELEASE\r\n",
            b"*1\r\n$4\r\nBEAT\r\n",
            b"*1\r\n$1\r\nx\r\n",
            b"-NOTLEADER any more\r\n",
        ):
            self.setUp()
            self.begin()
            self.wire().caller.dataReceived(said)
            self.assertTrue(self.wire().caller_end.aborted, said)
            self.clock.advance(LEASE / 8)
            self.assertEqual(len(self.way.wires), 2, said)


class LeavingTests(HeartbeatCase):
    """The end of either side."""

    def test_leave(self) -> None:
        """A member that stops says so, and the leader need not wait for it."""
        self.begin()
        self.live(LEASE)
        self.leader.election.wanted(0)
        self.successResultOf(self.promising_stop())
        self.way.move()
        (settlement,) = self.leader.asked("change")[-1]
        self.assertEqual(settlement.wanted.sync_set, {"B"})
        self.assertEqual(self.members.names, frozenset())

    def promising_stop(self) -> Deferred[None]:
        """Stop the member's side."""
        return Deferred.fromCoroutine(self.promising.stop())

    def test_stop_leaves_nothing(self) -> None:
        """After a stop nothing is tried again, wherever it was."""
        for frozen in (False, True):
            self.setUp()
            self.lead()
            self.way.frozen = frozen
            self.promising.start()
            self.successResultOf(self.promising_stop())
            self.assertEqual((self.clock.getDelayedCalls(), self.way.given_up), ([], int(frozen)))

    def test_silence(self) -> None:
        """A connection on which no heartbeat comes for a lease is dead, and called anew."""
        self.begin()
        for _ in range(18):
            self.clock.advance(STEP)
        self.assertTrue(self.way.wires[0].caller_end.aborted)
        self.clock.advance(LEASE / 8)
        self.assertEqual(len(self.way.wires), 2)

    def test_own_standstill(self) -> None:
        """A node that did not run for a while does not take that for its leader's silence."""
        self.begin()
        self.clock.advance(3 * LEASE)
        self.assertFalse(self.way.wires[0].caller_end.aborted)
        self.live(2 * LEASE)
        self.assertEqual(len(self.way.wires), 1)
        for _ in range(18):
            self.clock.advance(STEP)
        self.assertTrue(self.way.wires[0].caller_end.aborted)

    def test_lost(self) -> None:
        """A connection that broke is made again."""
        self.begin()
        self.wire().lose()
        self.assertEqual(self.members.names, frozenset())
        self.clock.advance(LEASE / 8)
        self.way.move()
        self.assertEqual(self.members.names, {"C"})


class ChangeTests(HeartbeatCase):
    """Another one leads."""

    def test_frozen_leader(self) -> None:
        """A call to a frozen leader does not keep the next one waiting."""
        self.lead()
        self.way.frozen = True
        self.promising.start()
        other = self.way_to(self.members)
        self.line = ("D", 3, other)
        self.promising.leader_changed()
        self.assertEqual(self.way.given_up, 1)
        self.clock.advance(LEASE / 8)
        other.move()
        self.assertEqual(len(other.wires), 1)
        self.assertEqual(self.members.names, {"C"})

    def test_connected_to_the_former(self) -> None:
        """The connection to a former leader is cut in the same turn."""
        self.begin()
        self.line = None
        self.promising.leader_changed()
        self.assertTrue(self.wire().caller_end.aborted)

    def test_same_leader(self) -> None:
        """The same leader in the same epoch is no change; in a new epoch it is."""
        self.begin()
        self.line = ("B", 2, self.way_to(self.members))
        self.promising.leader_changed()
        self.assertFalse(self.wire().caller_end.aborted)
        self.line = ("B", 3, self.way)
        self.promising.leader_changed()
        self.assertTrue(self.wire().caller_end.aborted)

    def test_deposed_by_a_heartbeat(self) -> None:
        """A member's answer names the epoch of its leader, so that the former one learns nothing from it."""
        self.begin()
        self.follower.election.heartbeat(Heartbeat(9, "D", 1, LEASE, 0))
        before = len(self.beats)
        self.live(LEASE / 4)
        self.assertEqual(len(self.beats), before)
        self.assertIs(self.leader.election.leadership.role, Role.LEADER)
