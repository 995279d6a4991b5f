"""Live commands go alone, and if the server takes them the connection becomes a pipe."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import OK, Bench, FakeTarget, role, words
from tile38cm.wire.resp import encode_request

FENCE = "NEARBY k FENCE POINT 1 2 3"
EVENT = b"$2\r\n{}\r\n"


class LiveTests(SynchronousTestCase):
    """A live command on W of a leader"""

    def setUp(self) -> None:
        self.bench = Bench()
        self.caller = self.bench.caller()

    def live(self) -> None:
        """Make the connection live."""
        self.caller.send(FENCE)
        self.bench.here.last.requests()
        self.bench.here.last.reply(OK)
        self.caller.got()

    def test_alone(self) -> None:
        """It is sent when all earlier replies are released, and nothing goes with it or behind it."""
        self.caller.send("SET k i POINT 1 2", FENCE, "PING")
        server = self.bench.here.last
        self.assertEqual(server.requests(), [words("SET k i POINT 1 2"), [b"ROLE"]])
        server.reply(OK)
        self.assertEqual(server.requests(), [])
        server.reply(role(1))
        self.assertEqual(server.requests(), [words(FENCE)])
        self.assertEqual(self.caller.transport.producerState, "paused")

    def test_pipe(self) -> None:
        """Then events come as the server sends them, and the client's requests go to the server."""
        self.caller.raw(encode_request(words(FENCE)) + b"later\n")
        server = self.bench.here.last
        server.requests()
        server.reply(OK + EVENT + b"$2")
        self.assertEqual(self.caller.got(), OK + EVENT + b"$2")
        self.assertEqual(server.requests(), [[b"later"]])
        server.reply(b"\r\n")
        self.caller.raw(b"more")
        self.assertEqual((self.caller.got(), server.requests()), (b"\r\n", []))
        self.caller.raw(b" words\n")
        self.assertEqual(server.requests(), [words("more words")])
        self.assertEqual(self.bench.side.in_flight, 0)

    def test_refused_by_the_server(self) -> None:
        """A command that the server does not take leaves an ordinary connection, and later requests go on."""
        self.caller.send("SUBSCRIBE", "GET k i")
        server = self.bench.here.last
        server.requests()
        server.reply(b"-ERR wrong number of arguments for 'subscribe' command\r\n")
        self.assertEqual(self.caller.got(), b"-ERR wrong number of arguments for 'subscribe' command\r\n")
        self.assertEqual(self.bench.here.last.requests(), [words("GET k i"), [b"ROLE"]])
        self.assertEqual(self.caller.transport.producerState, "producing")

    def test_not_live_after_all(self) -> None:
        """FENCE as a pattern or a name makes no stream; the server's reply tells."""
        self.caller.send("INTERSECTS k MATCH fence BOUNDS 1 2 3 4")
        self.bench.here.last.reply(b"*2\r\n:0\r\n*0\r\n")
        self.assertEqual(self.caller.got(), b"*2\r\n:0\r\n*0\r\n")
        self.caller.send("GET k i")
        self.assertIn(words("GET k i"), self.bench.here.last.requests())

    def test_json(self) -> None:
        """In JSON mode the server says live in JSON."""
        self.caller.send(FENCE)
        self.bench.here.last.reply(b'$23\r\n{"ok":true,"live":true}\r\n' + EVENT)
        self.assertTrue(self.caller.got().endswith(EVENT))

    def test_rubbish(self) -> None:
        """A client that sends no requests, or one without end, is cut off."""
        for data in (b"*1\r\n:1\r\n", b"*1\r\n$1000000000000\r\n", b"GET /quit HTTP/1.1\r\n\r\n"):
            bench = Bench()
            caller = bench.caller()
            caller.send("SUBSCRIBE c")
            bench.here.last.reply(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
            caller.raw(data)
            self.assertTrue(caller.transport.disconnecting, data)
            self.assertTrue(bench.here.last.transport.aborted)

    def test_back_pressure(self) -> None:
        """Each transport holds the other one back."""
        self.live()
        server = self.bench.here.last
        self.assertIs(self.caller.transport.producer, server.transport)
        self.assertIs(server.transport.producer, self.caller.transport)

    def test_server_ends(self) -> None:
        """When the server closes so does the client's connection, over TLS too: no producer is left."""
        self.live()
        self.bench.here.last.lose()
        self.assertTrue(self.caller.transport.disconnecting)
        self.assertIsNone(self.caller.transport.producer)

    def test_client_ends(self) -> None:
        """When the client goes so does the server's connection."""
        self.live()
        self.caller.lose()
        self.assertTrue(self.bench.here.last.transport.aborted)
        self.assertEqual(self.bench.side.counters.clients, 0)

    def test_role_change(self) -> None:
        """A leader's stream ends with its term."""
        self.live()
        self.bench.routes.change(leader=FakeTarget(local=False))
        self.assertTrue(self.caller.transport.disconnecting)

    def test_lost_before_its_reply(self) -> None:
        """A live command whose server went before it answered is sent to the next one."""
        self.caller.send(FENCE)
        there = FakeTarget(local=False)
        self.bench.routes.change(leader=there)
        self.assertEqual(there.last.requests(), [words(FENCE)])
        there.last.reply(OK)
        self.assertEqual(self.caller.got(), OK)

    def test_waited_too_long(self) -> None:
        """A live command that found no leader is answered, and the connection goes on."""
        self.bench.routes.leader = None
        self.caller.send(FENCE, "PING")
        self.bench.clock.pump([0.1] * 101)
        self.assertEqual(self.caller.got(), b"-ERR no leader: the command waited 10 s for one\r\n")
        self.bench.routes.change(leader=self.bench.here)
        self.assertIn(words("PING"), self.bench.here.last.requests())


class LiveReaderTests(SynchronousTestCase):
    """A live command on R"""

    def test_outlives_a_change(self) -> None:
        """A follower's stream goes on when it is promoted; it ends when the node loses its data."""
        bench = Bench(reader=True)
        caller = bench.caller()
        caller.send("SUBSCRIBE c")
        bench.here.last.reply(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
        bench.routes.change(ready=[FakeTarget(local=False)], leader=bench.here)
        self.assertFalse(caller.transport.disconnecting)
        bench.side.close_live()
        self.assertTrue(caller.transport.disconnecting)

    def test_of_another_node(self) -> None:
        """A stream from another node's server is not touched when this node's loses its data."""
        bench = Bench(reader=True)
        there = FakeTarget(local=False)
        bench.routes.change(ready=[there], leader=bench.here)
        caller = bench.caller()
        caller.send("SUBSCRIBE c")
        there.last.reply(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
        bench.side.close_live()
        self.assertFalse(caller.transport.disconnecting)
