"""W: what becomes of requests when a server or the lead is lost, and what is said about it."""

from __future__ import annotations

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import ASK, DEL, GET, OK, SET, Bench, FakeTarget, role, words
from tile38cm.proxy.sides import SAME_COMPLAINT


class LossTests(SynchronousTestCase):
    """A leader is lost while requests are under way."""

    def setUp(self) -> None:
        self.bench = Bench()
        self.caller = self.bench.caller()
        self.there = FakeTarget(local=False, epoch=2)

    def test_role_change(self) -> None:
        """What is repeatable is sent to the next leader, what is not gets UNCERTAIN, in order."""
        self.caller.send(SET, DEL, GET)
        old = self.bench.here.last
        self.bench.routes.change(leader=self.there)
        self.assertTrue(old.transport.aborted)
        self.assertEqual(self.there.last.requests(), [words(SET), words(GET)])
        self.assertEqual(self.caller.got(), b"")
        self.there.last.reply(OK + b"$-1\r\n")
        first, second, third = self.caller.got().splitlines()
        self.assertEqual((first, third), (b"+OK", b"$-1"))
        self.assertTrue(second.startswith(b"-UNCERTAIN "), second)
        self.assertEqual(self.bench.side.counters.uncertain, 1)

    def test_answered_but_not_released(self) -> None:
        """A reply that was not released before its leader fell is worth nothing."""
        self.bench.gate.offset = 0
        self.caller.send(DEL)
        self.bench.here.last.reply(b":1\r\n" + role(7))
        self.bench.routes.change(leader=self.there)
        self.bench.gate.change(offset=9)
        self.assertTrue(self.caller.got().startswith(b"-UNCERTAIN "))

    def test_refused_by_role(self) -> None:
        """A write that the old leader refused because it is none was not executed, and is sent on."""
        self.bench.gate.offset = 0
        self.caller.send(DEL)
        self.bench.here.last.reply(b"-ERR read only\r\n" + role(7))
        self.bench.routes.change(leader=self.there)
        self.assertEqual(self.there.last.requests(), [words(DEL)])

    def test_nobody_leads(self) -> None:
        """Without a leader requests wait for one, then go in order."""
        self.bench.routes.change(leader=None)
        self.caller.send(SET)
        self.caller.send(DEL, GET)
        self.assertEqual(self.bench.side.counters.held, 3)
        self.bench.routes.change(leader=self.there)
        self.assertEqual(self.there.last.requests(), [words(SET), words(DEL), words(GET)])
        self.assertEqual(self.bench.budget.used, 0)

    def test_connection_breaks(self) -> None:
        """A server whose connection broke is tried again after a pause."""
        self.caller.send(SET)
        self.bench.here.last.lose()
        self.assertEqual(len(self.bench.here.connections), 1)
        self.bench.clock.advance(0.05)
        self.assertEqual(self.bench.here.last.requests(), [words(SET), ASK])
        self.bench.here.last.reply(OK + role(3))
        self.assertEqual(self.caller.got(), OK)

    def test_covered_reply_survives_the_connection(self) -> None:
        """A reply whose offset is known is released when acknowledged, though its connection broke."""
        self.bench.gate.offset = 0
        self.caller.send(DEL)
        self.bench.here.last.reply(b":1\r\n" + role(7))
        self.bench.here.last.lose()
        self.assertEqual(self.caller.got(), b"")
        self.bench.gate.change(offset=7)
        self.assertEqual(self.caller.got(), b":1\r\n")

    def test_deadly_request(self) -> None:
        """A request that is lost with each server it meets is given up."""
        self.caller.send(GET)
        for _ in range(5):
            self.bench.here.last.lose()
            self.bench.clock.advance(0.5)
        self.assertEqual(self.caller.got(), b"-ERR the server was lost each time this command was sent\r\n")

    def test_deadly_write(self) -> None:
        """A write that was lost with each server it met may have been applied by one of them."""
        self.caller.send(SET)
        for _ in range(5):
            self.bench.here.last.lose()
            self.bench.clock.advance(0.5)
        self.assertTrue(self.caller.got().startswith(b"-UNCERTAIN "))

    def test_lost_then_late(self) -> None:
        """A write that was sent once, and then waited in vain for another leader, may have been applied."""
        self.caller.send(SET, GET)
        self.bench.routes.change(leader=None)
        self.bench.clock.pump([0.1] * 101)
        first, second = self.caller.got().splitlines()
        self.assertTrue(first.startswith(b"-UNCERTAIN "), first)
        self.assertTrue(second.startswith(b"-ERR no leader"), second)
        self.assertEqual(self.bench.side.counters.uncertain, 1)

    def test_lost_then_no_room(self) -> None:
        """A write that was sent once, and for which there is no room any more, may have been applied."""
        bench = Bench(hold_bytes=0)
        caller = bench.caller()
        caller.send(SET)
        bench.routes.change(leader=None)
        self.assertTrue(caller.got().startswith(b"-UNCERTAIN "))

    def test_server_is_no_leader(self) -> None:
        """A server whose ROLE is not the leader's has acknowledged nothing."""
        self.caller.send(DEL)
        self.bench.here.last.reply(b":1\r\n*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$9\r\nconnected\r\n:7\r\n")
        self.assertTrue(self.caller.got().startswith(b"-UNCERTAIN "))

    def test_unready_server(self) -> None:
        """A server that is still loading gets no request."""
        self.bench.here.first_role = None
        self.caller.send(SET)
        server = self.bench.here.last
        server.requests()
        server.reply(b"-LOADING Tile38 is loading the dataset in memory\r\n")
        self.assertTrue(server.transport.aborted)
        self.assertEqual(server.requests(), [])

    def test_connecting_takes_too_long(self) -> None:
        """Connecting has a bound."""
        self.bench.here.slow = True
        self.caller.send(SET)
        self.bench.clock.advance(5)
        self.bench.clock.advance(0.05)
        self.assertEqual(self.bench.here.attempts, 2)

    def test_client_leaves(self) -> None:
        """A client that goes takes a connection of its own, its held bytes and its count with it."""
        self.caller.send("SCAN k")
        self.caller.lose()
        self.assertTrue(self.bench.here.last.transport.aborted)
        self.assertEqual(self.bench.side.in_flight, 0)
        self.bench.routes.change(leader=None)
        other = self.bench.caller()
        other.send(SET)
        self.assertGreater(self.bench.budget.used, 0)
        other.lose()
        self.assertEqual((self.bench.budget.used, self.bench.side.waiting), (0, 0))
        self.assertEqual(self.bench.side.counters.clients, 0)


class ComplaintTests(SynchronousTestCase):
    """What is logged while no server can be used."""

    def test_each_reason_once(self) -> None:
        """Two servers that fail by turns make a line each, until one is of use; rubbish makes few."""
        bench = Bench()
        side = bench.side
        with capturedLogs() as events:
            for _ in range(3):
                side.complain("one")
                side.complain("other")
            bench.clock.advance(SAME_COMPLAINT)
            side.complain("one")
            side.content()
            side.complain("one")
            for number in range(1000):
                side.complain(str(number))
        self.assertEqual([event["reason"] for event in events[:3]], ["one", "other", "one"])
        self.assertLess(len(events), 20)

    def test_let_in_and_turned_away(self) -> None:
        """A node that leads no more, and is asked all the time, makes no line each time."""
        bench = Bench()
        with capturedLogs() as events:
            for _ in range(100):
                bench.side.content()
                bench.side.complain("one")
                bench.clock.advance(SAME_COMPLAINT / 50)
        self.assertEqual(len(events), 2)
