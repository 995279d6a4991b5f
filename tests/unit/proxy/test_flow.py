"""Large replies, which go through in pieces."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import Bench, Connected, FakeTarget, role
from tile38cm.proxy.limits import Limits


class LargeReplyTests(SynchronousTestCase):
    """Replies of megabytes through R"""

    def setUp(self) -> None:
        self.bench = Bench(reader=True)
        self.caller = self.bench.caller()
        self.caller.send("SCAN k", "PING")
        self.server = self.bench.here.last
        self.large = b"*2\r\n:0\r\n$200000\r\n" + b"x" * 200_000 + b"\r\n"

    def test_in_pieces(self) -> None:
        """What has come of it is with the client, before it is whole; what follows comes behind it."""
        self.server.reply(self.large[:100_000])
        self.assertEqual(self.caller.got(), self.large[:100_000])
        self.server.reply(self.large[100_000:150_000])
        self.assertEqual(self.caller.got(), self.large[100_000:150_000])
        self.server.reply(self.large[150_000:] + b"+PONG\r\n")
        self.assertEqual(self.caller.got(), self.large[150_000:] + b"+PONG\r\n")

    def test_small_ones_are_whole(self) -> None:
        """A reply that is not large yet may still be sent by another server."""
        self.server.reply(self.large[:1000])
        self.assertEqual(self.caller.got(), b"")
        self.server.lose()
        self.bench.clock.advance(1)
        self.bench.here.last.reply(b"*0\r\n+PONG\r\n")
        self.assertEqual(self.caller.got(), b"*0\r\n+PONG\r\n")

    def test_broken(self) -> None:
        """A server that is lost in the middle takes its client with it: no reply can follow half a one."""
        self.server.reply(self.large[:100_000])
        self.server.lose()
        self.assertTrue(self.caller.transport.aborted)
        self.assertEqual(self.bench.here.last, self.server)

    def test_pace(self) -> None:
        """A client that does not read stops its server."""
        self.server.reply(self.large[:100_000])
        self.caller.protocol.pauseProducing()
        self.assertEqual(self.server.transport.producerState, "paused")
        self.caller.protocol.resumeProducing()
        self.assertEqual(self.server.transport.producerState, "producing")


class CoveredTests(SynchronousTestCase):
    """Replies of megabytes out of a leader's own Tile38"""

    def setUp(self) -> None:
        self.bench = Bench(limits=Limits(hold_timeout=5.0))
        self.caller = self.bench.caller()
        self.caller.send("SCAN k", "GET k i")
        self.server = self.bench.here.last
        self.server.requests()
        self.large = b"*2\r\n:0\r\n$200000\r\n" + b"x" * 200_000 + b"\r\n"

    def asked(self) -> Connected:
        """Where it is asked what covers the reply, which waits."""
        self.server.reply(self.large[:100_000])
        lane = self.bench.here.last
        self.assertNotEqual(lane, self.server)
        self.assertEqual(lane.requests(), [[b"PING"], [b"ROLE"]])
        self.assertEqual((self.caller.got(), self.server.transport.producerState), (b"", "paused"))
        return lane

    def test_in_pieces(self) -> None:
        """It goes on its way as soon as all that it can show is covered, and the rest as it comes."""
        self.asked().reply(b"+PONG\r\n" + role(5))
        self.assertEqual((self.caller.got(), self.bench.gate.told_released), (self.large[:100_000], [5]))
        self.assertEqual(self.server.transport.producerState, "producing")
        self.server.reply(self.large[100_000:150_000])
        self.assertEqual(self.caller.got(), self.large[100_000:150_000])
        self.server.reply(self.large[150_000:] + b"$1\r\nx\r\n" + role(7))
        self.assertEqual(self.caller.got(), self.large[150_000:] + b"$1\r\nx\r\n")
        self.assertEqual(self.bench.side.in_flight, 0)

    def test_waits_for_acknowledgement(self) -> None:
        """Nothing that could still vanish is shown."""
        self.bench.gate.offset = 4
        self.asked().reply(b"+PONG\r\n" + role(5))
        self.bench.clock.advance(1)
        self.assertEqual(self.caller.got(), b"")
        self.bench.gate.change(offset=5)
        self.assertEqual(self.caller.got(), self.large[:100_000])

    def test_given_up(self) -> None:
        """It waits as long as others do; what comes of it then is for nobody."""
        self.bench.gate.offset = 4
        self.asked().reply(b"+PONG\r\n" + role(5))
        for _ in range(60):
            self.bench.clock.advance(0.1)
        self.assertEqual(self.caller.got().count(b"-ERR no leader"), 2)
        self.assertEqual(self.server.transport.producerState, "producing")
        self.server.reply(self.large[100_000:] + b"$1\r\nx\r\n" + role(5))
        self.bench.gate.change(offset=5)
        self.caller.send("PING")
        self.assertEqual((self.caller.got(), self.bench.side.in_flight), (b"", 1))

    def test_gate_shuts_behind_it(self) -> None:
        """What a client has the beginning of is not taken back, however long the rest takes."""
        self.asked().reply(b"+PONG\r\n" + role(5))
        self.bench.gate.change(opened=False)
        for _ in range(60):
            self.bench.clock.advance(0.1)
        self.server.reply(self.large[100_000:])
        self.assertTrue(self.caller.got().startswith(self.large))

    def test_lost_before(self) -> None:
        """It is asked again elsewhere as if nothing had come."""
        lane = self.asked()
        there = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(leader=there)
        lane.reply(b"+PONG\r\n" + role(5))
        there.last.reply(b"*0\r\n$-1\r\n")
        self.assertEqual(self.caller.got(), b"*0\r\n$-1\r\n")

    def test_client_gone(self) -> None:
        """Nobody waits for the answer."""
        lane = self.asked()
        self.caller.lose()
        lane.reply(b"+PONG\r\n" + role(5))
        self.assertEqual((self.bench.side.in_flight, self.bench.side.waiting), (0, 0))

    def test_client_gone_behind_a_shut_gate(self) -> None:
        """Nothing of it stays."""
        self.asked()
        self.bench.gate.change(opened=False)
        self.caller.lose()
        self.assertEqual((self.bench.side.in_flight, self.bench.side.waiting), (0, 0))

    def test_drain_before(self) -> None:
        """In a drain nothing more is sent, so what covers the reply comes behind it, as with small ones."""
        drained = Deferred.fromCoroutine(self.bench.writer.drain(3.0))
        self.server.reply(self.large[:100_000])
        self.assertEqual(self.server.transport.producerState, "producing")
        self.server.reply(self.large[100_000:] + b"$1\r\nx\r\n" + role(5))
        self.assertEqual(self.caller.got(), self.large + b"$1\r\nx\r\n")
        self.assertTrue(self.successResultOf(drained))

    def test_switchover_in_the_middle(self) -> None:
        """Who reads slowly delays no switchover, has the reply whole, and asks the next thing elsewhere."""
        caller = self.bench.caller()
        caller.send("SCAN k")
        server = self.bench.here.last
        server.reply(self.large[:100_000])
        self.bench.here.last.reply(b"+PONG\r\n" + role(5))
        self.caller.lose()
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.bench.writer.drain(3.0))))
        there = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(leader=there)
        self.bench.writer.resume()
        caller.send("GET k i")
        self.assertEqual((caller.transport.aborted, there.connections), (False, []))
        server.reply(self.large[100_000:] + role(5))
        self.assertEqual(caller.got(), self.large)
        there.last.reply(b"$1\r\nx\r\n")
        self.assertEqual(caller.got(), b"$1\r\nx\r\n")
        self.assertEqual(self.bench.side.in_flight, 0)

    def test_drain_in_the_middle(self) -> None:
        """What was asked behind it and only reads is asked elsewhere: nobody waits for the client's pace."""
        self.asked().reply(b"+PONG\r\n" + role(5))
        self.caller.got()
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.bench.writer.drain(3.0))))
        there = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(leader=there)
        self.bench.writer.resume()
        self.server.reply(self.large[100_000:] + b"$3\r\nold\r\n" + role(5))
        self.assertEqual(self.caller.got(), self.large[100_000:])
        there.last.reply(b"$3\r\nnew\r\n")
        self.assertEqual((self.caller.got(), self.bench.side.in_flight), (b"$3\r\nnew\r\n", 0))

    def test_long_drain(self) -> None:
        """What waited behind it for the client's pace waits for a leader from then on only."""
        self.asked().reply(b"+PONG\r\n" + role(5))
        self.caller.got()
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.bench.writer.drain(3.0))))
        self.bench.routes.change(leader=None)
        self.bench.writer.resume()
        self.bench.clock.pump([0.5] * 20)
        self.server.reply(self.large[100_000:] + b"$3\r\nold\r\n" + role(5))
        self.bench.clock.pump([0.5] * 2)
        self.assertEqual(self.caller.got(), self.large[100_000:])
        there = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(leader=there)
        there.last.reply(b"$3\r\nnew\r\n")
        self.assertEqual(self.caller.got(), b"$3\r\nnew\r\n")

    def test_drain_given_up(self) -> None:
        """The leader stays: what was taken back is asked there once more, and answered once."""
        self.asked().reply(b"+PONG\r\n" + role(5))
        self.caller.got()
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.bench.writer.drain(3.0))))
        self.bench.writer.resume()
        self.server.reply(self.large[100_000:] + b"$1\r\nx\r\n" + role(5))
        self.server.reply(b"$1\r\nx\r\n" + role(5))
        self.assertEqual(self.caller.got(), self.large[100_000:] + b"$1\r\nx\r\n")
        self.assertEqual(self.bench.side.in_flight, 0)

    def test_drain_with_a_write_behind(self) -> None:
        """A write that was sent has to be waited for."""
        caller = self.bench.caller()
        caller.send("SCAN k", "SET k i STRING x")
        server = self.bench.here.last
        server.reply(self.large[:100_000])
        self.bench.here.last.reply(b"+PONG\r\n" + role(5))
        self.caller.lose()
        drained = Deferred.fromCoroutine(self.bench.writer.drain(3.0))
        self.assertNoResult(drained)
        server.reply(self.large[100_000:] + b"+OK\r\n" + role(5))
        self.assertTrue(self.successResultOf(drained))
        self.assertEqual(caller.got(), self.large + b"+OK\r\n")

    def test_may_write(self) -> None:
        """What may have changed something is released when its own offset is covered."""
        bench = Bench()
        caller = bench.caller()
        caller.send("EVAL x 0")
        server = bench.here.last
        server.reply(self.large[:100_000])
        self.assertEqual((bench.here.last, caller.got()), (server, b""))
        server.reply(self.large[100_000:] + role(1))
        self.assertEqual(caller.got(), self.large)
