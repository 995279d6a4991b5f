"""W: what is released when, and what is held."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import ASK, DEL, GET, OK, SET, Bench, FakeTarget, role, words
from tile38cm.proxy.limits import Limits
from tile38cm.proxy.preparation import ROLE
from tile38cm.settings import Secret
from tile38cm.wire.resp import encode_request


class ReleaseTests(SynchronousTestCase):
    """When this node leads, replies pass the gate and wait for acknowledgements."""

    def setUp(self) -> None:
        self.bench = Bench()
        self.caller = self.bench.caller()

    def test_batch(self) -> None:
        """What came in one packet goes out in one piece, with one question for the offset behind it."""
        self.caller.send(SET, GET)
        sent = self.bench.here.last.transport.value()
        self.assertEqual(sent, encode_request(words(SET)) + encode_request(words(GET)) + ROLE)

    def test_reply_waits_for_the_offset(self) -> None:
        """No reply leaves before the offset that covers it is known."""
        self.caller.send(SET, GET)
        self.bench.here.last.reply(OK + b"$1\r\nx\r\n")
        self.assertEqual(self.caller.got(), b"")
        self.bench.here.last.reply(role(7))
        self.assertEqual(self.caller.got(), OK + b"$1\r\nx\r\n")

    def test_reply_waits_for_acknowledgement(self) -> None:
        """A reply leaves when every member has acknowledged its offset, and the leader hears of the wait."""
        self.bench.gate.offset = 6
        self.caller.send(SET)
        self.bench.here.last.reply(OK + role(7))
        self.assertEqual((self.caller.got(), self.bench.gate.told_waiting), (b"", 1))
        self.bench.gate.change(offset=7)
        self.assertEqual((self.caller.got(), self.bench.side.waiting), (OK, 0))

    def test_read_waits_for_what_it_saw(self) -> None:
        """A read's reply waits too: it may show a write that could still vanish."""
        self.bench.gate.offset = 6
        self.caller.send(GET)
        self.bench.here.last.reply(b"$-1\r\n" + role(7))
        self.assertEqual(self.caller.got(), b"")

    def test_gate_shut_before_release(self) -> None:
        """A reply that comes while the gate is shut is kept until it opens in the same epoch."""
        self.caller.send(SET)
        self.bench.gate.change(opened=False)
        self.bench.here.last.reply(OK + role(7))
        self.assertEqual(self.caller.got(), b"")
        self.bench.gate.change(opened=True)
        self.assertEqual(self.caller.got(), OK)

    def test_gate_is_asked_not_remembered(self) -> None:
        """A gate that shut without telling anybody lets nothing out and nothing in."""
        self.caller.send(SET)
        self.bench.gate.opened = False
        self.bench.here.last.reply(OK + role(7))
        self.caller.send(DEL)
        self.assertEqual(self.caller.got(), b"")
        self.assertEqual(self.bench.here.last.requests(), [words(SET), ASK])

    def test_rewritten_log(self) -> None:
        """An offset below what followers had when a write was sent is one of another log."""
        self.bench.gate.least = 8
        self.bench.gate.offset = 8
        self.caller.send(SET)
        self.bench.here.last.reply(OK + role(7))
        self.assertEqual(self.caller.got(), b"")
        self.bench.routes.change(leader=FakeTarget(epoch=2))
        self.bench.gate.change(epoch=2, least=0)
        self.bench.routes.leader.last.reply(OK + role(7))  # type: ignore[union-attr]  # just set
        self.assertEqual(self.caller.got(), OK)

    def test_shut_gate_holds(self) -> None:
        """Nothing is sent to the local server while the gate is shut."""
        self.bench.gate.opened = False
        self.caller.send(SET)
        self.assertEqual(self.bench.here.last.requests(), [])
        self.bench.gate.change(opened=True)
        self.assertEqual(self.bench.here.last.requests(), [words(SET), ASK])

    def test_gate_of_another_epoch(self) -> None:
        """An open gate of another term than the connection's is a shut one."""
        self.bench.gate.epoch = 2
        self.caller.send(SET)
        self.assertEqual(self.bench.here.last.requests(), [])

    def test_not_enough_members(self) -> None:
        """With too few members writes wait and reads do not."""
        self.bench.gate.members = False
        self.caller.send(GET, SET, GET)
        self.assertEqual(self.bench.here.last.requests(), [words(GET), ASK])
        self.bench.gate.change(members=True)
        self.assertEqual(self.bench.here.last.requests(), [words(SET), words(GET), ASK])

    def test_order_with_own_answers(self) -> None:
        """An answer of the proxy's own keeps its place between the server's."""
        self.caller.send(SET, "FOLLOW a 1", GET)
        self.bench.here.last.reply(OK + b"$1\r\nx\r\n" + role(7))
        got = self.caller.got()
        self.assertTrue(got.startswith(OK + b"-ERR 'follow' is refused by tile38cm: "), got)
        self.assertTrue(got.endswith(b"\r\n$1\r\nx\r\n"), got)
        self.assertEqual(self.bench.side.counters.refused, 1)

    def test_json(self) -> None:
        """A client in JSON mode gets the proxy's errors in JSON, and a new connection its mode."""
        self.caller.send("OUTPUT json", SET)
        self.bench.here.last.reply(
            b'$11\r\n{"ok":true}\r\n'
            + b'$60\r\n{"ok":true,"role":{"role":"master","offset":52,"slaves":[]}}\r\n'
        )
        self.caller.got()
        self.caller.send("AOFSHRINK")
        self.assertIn(b'{"ok":false,"err":"\'aofshrink\' is refused', self.caller.got())
        other = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(leader=other)
        self.caller.send(GET)
        self.assertEqual(other.last.requests(), [words("OUTPUT json")])
        other.last.reply(b'$11\r\n{"ok":true}\r\n')
        self.assertEqual(other.last.requests(), [words(GET)])


class HoldTests(SynchronousTestCase):
    """Waiting has bounds in time and memory."""

    def test_timeout(self) -> None:
        """A held request is answered with one clear error ten seconds after it came."""
        bench = Bench()
        bench.routes.leader = None
        caller = bench.caller()
        caller.send(SET)
        bench.clock.pump([0.5] * 10)
        caller.send(GET)
        bench.clock.pump([0.1] * 51)
        self.assertEqual(caller.got(), b"-ERR no leader: the command waited 10 s for one\r\n")
        bench.clock.pump([0.1] * 50)
        self.assertEqual(caller.got(), b"-ERR no leader: the command waited 10 s for one\r\n")

    def test_unacknowledged_write(self) -> None:
        """A write whose acknowledgement does not come in time is uncertain; a read is only late."""
        bench = Bench()
        bench.gate.offset = 0
        caller = bench.caller()
        caller.send(SET, GET)
        bench.here.last.reply(OK + b"$-1\r\n" + role(7))
        bench.clock.pump([0.1] * 101)
        first, second = caller.got().splitlines()
        self.assertTrue(first.startswith(b"-UNCERTAIN "), first)
        self.assertTrue(second.startswith(b"-ERR no leader"), second)
        self.assertEqual(bench.side.in_flight, 0)

    def test_slow_server_is_no_missing_leader(self) -> None:
        """A command that takes its time is waited for."""
        bench = Bench()
        caller = bench.caller()
        caller.send(SET)
        bench.clock.pump([1.0] * 60)
        self.assertEqual(caller.got(), b"")

    def test_memory(self) -> None:
        """What does not fit the node's memory for held requests is refused, and order is kept."""
        bench = Bench(hold_bytes=2 * len(encode_request(words(SET))))
        bench.routes.leader = None
        caller = bench.caller()
        caller.send(SET, SET, SET)
        self.assertEqual(caller.got(), b"")
        bench.routes.change(leader=bench.here)
        bench.here.last.reply(OK + OK + role(1))
        self.assertTrue(caller.got().startswith(OK + OK + b"-ERR too many requests are waiting"))

    def test_own_share(self) -> None:
        """A client that keeps sending is not read any more, until its requests went."""
        bench = Bench(limits=Limits(max_kept=200))
        bench.routes.leader = None
        caller = bench.caller()
        caller.send(*[SET] * 10)
        self.assertEqual(caller.transport.producerState, "paused")
        bench.routes.change(leader=bench.here)
        bench.here.last.reply(OK * 10 + role(1))
        self.assertEqual(caller.transport.producerState, "producing")


class FlowTests(SynchronousTestCase):
    """Neither side can make the other's bytes pile up."""

    def setUp(self) -> None:
        self.bench = Bench(limits=Limits(max_pipeline=8, max_heavy=2))
        self.caller = self.bench.caller()

    def test_pipeline(self) -> None:
        """A client with many unanswered requests is not read."""
        self.caller.send(*[SET] * 9)
        self.assertEqual(self.caller.transport.producerState, "paused")
        self.bench.here.last.reply(OK * 9 + role(1))
        self.assertEqual(self.caller.transport.producerState, "producing")

    def test_heavy(self) -> None:
        """Few of one client's searches are at work at once."""
        self.caller.send("SCAN a", "SCAN b", "SCAN c", SET)
        server = self.bench.here.last
        self.assertEqual(server.requests(), [words("SCAN a"), words("SCAN b"), ASK])
        server.reply(b"*0\r\n*0\r\n" + role(1))
        self.assertEqual(server.requests(), [words("SCAN c"), words(SET), ASK])

    def test_client_does_not_read(self) -> None:
        """While a client takes no replies nothing is sent for it, and what it has alone is not read."""
        scan = "SCAN k"
        self.caller.send(scan)
        server = self.bench.here.last
        server.requests()
        self.caller.protocol.pauseProducing()
        self.assertEqual(server.transport.producerState, "paused")
        self.assertEqual(self.caller.transport.producerState, "paused")
        self.caller.send(scan)
        self.assertEqual(server.requests(), [])
        self.caller.protocol.resumeProducing()
        self.bench.clock.advance(0)
        self.assertEqual(server.transport.producerState, "producing")
        self.assertEqual(server.requests(), [words(scan), ASK])

    def test_server_does_not_read(self) -> None:
        """While a server does not take requests its client is not read."""
        self.caller.send(GET)
        self.bench.here.last.protocol.pauseProducing()  # type: ignore[attr-defined]
        self.caller.send(GET)
        self.assertEqual(self.caller.transport.producerState, "paused")
        self.bench.here.last.protocol.resumeProducing()  # type: ignore[attr-defined]
        self.bench.clock.advance(0)
        self.assertEqual(self.caller.transport.producerState, "producing")
        self.assertEqual(self.bench.here.last.requests(), [words(GET), ASK, words(GET), ASK])


class DrainTests(SynchronousTestCase):
    """Before it steps down a leader lets what was sent come to its end."""

    def setUp(self) -> None:
        self.bench = Bench()
        self.caller = self.bench.caller()

    def drain(self) -> Deferred[bool]:
        """Begin to drain, for five seconds at most."""
        return Deferred.fromCoroutine(self.bench.writer.drain(5))

    def test_nothing_under_way(self) -> None:
        """With nothing under way it is over at once."""
        self.assertTrue(self.successResultOf(self.drain()))

    def test_waits(self) -> None:
        """It is over when the last reply is released; later requests are held, other nodes' turned away."""
        self.caller.send(SET)
        draining = self.drain()
        self.caller.send(GET)
        peer = self.bench.peer()
        peer.send(GET)
        self.assertTrue(peer.got().startswith(b"-NOTLEADER "))
        server = self.bench.here.last
        server.reply(OK)
        self.assertNoResult(draining)
        server.reply(role(1))
        self.assertTrue(self.successResultOf(draining))
        self.assertEqual(self.caller.got(), OK)
        self.assertEqual(server.requests(), [words(SET), ASK])
        self.bench.writer.resume()
        self.bench.clock.advance(0)
        self.assertEqual(self.bench.here.last.requests(), [words(GET), ASK])

    def test_too_long(self) -> None:
        """It waits no longer than told, and says so."""
        self.caller.send(SET)
        draining = self.drain()
        self.bench.clock.advance(5)
        self.assertFalse(self.successResultOf(draining))


class LocalLoginTests(SynchronousTestCase):
    """The proxy logs in to its server itself."""

    def test_password(self) -> None:
        """A local server's connection begins with the password, a peer's does not."""
        bench = Bench(password=Secret("geheim"))
        bench.here.first_role = None
        bench.caller().send(SET)
        server = bench.here.last
        self.assertEqual(server.requests(), [words("AUTH geheim"), ASK])
        server.reply(OK + role(0))
        self.assertEqual(server.requests(), [words(SET), ASK])
        there = FakeTarget(local=False)
        bench.routes.change(leader=there)
        self.assertEqual(there.last.requests(), [words(SET)])
