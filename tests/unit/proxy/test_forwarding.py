"""W between nodes: what a follower's sends to the leader's."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import ASK, DEL, GET, OK, SET, Bench, FakeTarget, role, words


class PeerTests(SynchronousTestCase):
    """Requests between nodes: from a follower's W to the leader's."""

    def setUp(self) -> None:
        self.bench = Bench()
        self.there = FakeTarget(local=False, epoch=2)

    def test_follower_sends_on(self) -> None:
        """A follower's W sends to the leader's, and releases what that answers."""
        self.bench.routes.leader = self.there
        self.bench.gate.opened = False
        caller = self.bench.caller()
        caller.send(SET)
        self.assertEqual(self.there.last.requests(), [words(SET)])
        self.there.last.reply(OK)
        self.assertEqual(caller.got(), OK)

    def test_not_the_leader_any_more(self) -> None:
        """What the peer did not execute is sent again, in order, after a pause or to the next leader."""
        self.bench.routes.leader = self.there
        caller = self.bench.caller()
        caller.send(DEL, SET)
        caller.send(GET)
        self.there.last.reply(b":1\r\n-NOTLEADER tile38cm: not executed\r\n")
        self.assertEqual(caller.got(), b":1\r\n")
        self.there.last.reply(b"-NOTLEADER tile38cm: not executed\r\n")
        self.assertTrue(self.there.last.transport.aborted)
        self.assertEqual(len(self.there.connections), 1)
        self.bench.clock.advance(0.05)
        self.assertEqual(self.there.last.requests(), [words(SET), words(GET)])
        self.there.last.reply(b"-NOTLEADER tile38cm: not executed\r\n" * 2)
        self.bench.routes.change(leader=self.bench.here)
        self.assertEqual(self.bench.here.last.requests(), [words(SET), words(GET), ASK])

    def test_peer_lost(self) -> None:
        """When the connection to a peer breaks, answered replies stay and the rest is judged."""
        self.bench.routes.leader = self.there
        caller = self.bench.caller()
        caller.send(SET, DEL, GET)
        self.there.last.reply(OK)
        self.there.last.lose()
        got = caller.got()
        self.assertTrue(got.startswith(OK + b"-UNCERTAIN "), got)
        self.bench.clock.advance(0.05)
        self.assertEqual(self.there.last.requests(), [words(GET)])

    def test_serving_a_peer(self) -> None:
        """The leader serves another node's requests as its own clients', without asking for a login."""
        peer = self.bench.peer()
        peer.send(SET)
        self.bench.here.last.reply(OK + role(1))
        self.assertEqual(peer.got(), OK)

    def test_never_sent_on(self) -> None:
        """A node that does not lead turns other nodes' requests away, for good on that connection."""
        self.bench.routes.leader = self.there
        peer = self.bench.peer()
        peer.send(SET)
        self.assertEqual(peer.got(), b"-NOTLEADER tile38cm: not executed\r\n")
        self.bench.routes.change(leader=self.bench.here)
        peer.send(GET)
        self.assertEqual(peer.got(), b"-NOTLEADER tile38cm: not executed\r\n")
        self.assertEqual((self.there.connections, self.bench.here.connections), ([], []))

    def test_step_down(self) -> None:
        """At a step-down another node hears which requests it may send again and which are uncertain."""
        peer = self.bench.peer()
        peer.send(SET, DEL)
        self.bench.gate.opened = False
        peer.send(DEL)
        self.bench.routes.change(leader=self.there)
        first, second, third = peer.got().splitlines()
        self.assertEqual(first, b"-NOTLEADER tile38cm: perhaps executed")
        self.assertTrue(second.startswith(b"-UNCERTAIN "))
        self.assertEqual(third, b"-NOTLEADER tile38cm: not executed")

    def test_turned_away_in_doubt(self) -> None:
        """A write that the old leader may have applied is uncertain when no other leader comes in time."""
        self.bench.routes.leader = self.there
        caller = self.bench.caller()
        caller.send(SET, SET)
        self.there.last.reply(
            b"-NOTLEADER tile38cm: perhaps executed\r\n-NOTLEADER tile38cm: not executed\r\n"
        )
        self.bench.routes.change(leader=None)
        self.bench.clock.pump([0.1] * 101)
        first, second = caller.got().splitlines()
        self.assertTrue(first.startswith(b"-UNCERTAIN "), first)
        self.assertTrue(second.startswith(b"-ERR no leader"), second)

    def test_not_in_json(self) -> None:
        """The word between nodes is the same whatever OUTPUT the client chose."""
        peer = self.bench.peer()
        peer.send("OUTPUT json")
        peer.got()
        self.bench.routes.change(leader=None)
        peer.send(SET)
        self.assertTrue(peer.got().startswith(b"-NOTLEADER "))
