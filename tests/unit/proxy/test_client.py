"""A client's connection: who is let in, who it is, and how it ends."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import OK, Bench, Caller, role
from tile38cm.proxy import listener
from tile38cm.proxy.client import FAREWELL
from tile38cm.proxy.limits import Limits
from tile38cm.proxy.session import Login
from tile38cm.settings import Secret
from tile38cm.wire.resp import encode_request


class EndTests(SynchronousTestCase):
    """How connections end"""

    def setUp(self) -> None:
        self.bench = Bench()
        self.caller = self.bench.caller()

    def test_quit(self) -> None:
        """QUIT is answered behind all earlier replies, then the connection is closed; the rest is ignored."""
        self.caller.send("GET k i", "QUIT", "GET k j")
        self.assertFalse(self.caller.transport.disconnecting)
        self.bench.here.last.reply(b"$-1\r\n" + role(1))
        self.assertEqual(self.caller.got(), b"$-1\r\n+OK\r\n")
        self.assertTrue(self.caller.transport.disconnecting)
        self.assertIsNone(self.caller.transport.producer)

    def test_quit_in_json(self) -> None:
        """In JSON mode Tile38 closes without a word, and so does the proxy."""
        self.caller.send("OUTPUT json", "QUIT")
        self.assertEqual(self.caller.got(), b'$26\r\n{"ok":true,"elapsed":"0s"}\r\n')
        self.assertTrue(self.caller.transport.disconnecting)

    def test_malformed(self) -> None:
        """Bytes that are no request are answered in their turn, then the connection is closed."""
        self.caller.raw(encode_request([b"GET", b"k", b"i"]) + b"*1\r\n:1\r\n")
        self.bench.here.last.reply(b"$-1\r\n" + role(1))
        self.assertEqual(self.caller.got(), b"$-1\r\n-Protocol error: expected '$', got ':'\r\n")
        self.assertTrue(self.caller.transport.disconnecting)

    def test_nameless(self) -> None:
        """An empty name, to which Tile38 answers in HTTP, is an error like others."""
        self.caller.raw(b"*1\r\n$0\r\n\r\n")
        self.assertTrue(self.caller.got().startswith(b"-ERR '' is refused"))
        self.assertFalse(self.caller.transport.disconnecting)


class LoginTests(SynchronousTestCase):
    """AUTH is answered by the proxy"""

    def test_required(self) -> None:
        """Without a login only what Tile38 answers too is answered."""
        bench = Bench(login=Login(Secret("geheim"), required=True))
        caller = bench.caller()
        caller.send("GET k i", "AUTH falsch", "AUTH x geheim", "AUTH geheim", "GET k i")
        bench.here.last.reply(b"$-1\r\n" + role(1))
        self.assertEqual(
            caller.got(),
            b"-ERR authentication required\r\n" + b"-ERR invalid password\r\n" * 2 + OK + b"$-1\r\n",
        )

    def test_not_required(self) -> None:
        """Where certificates tell who clients are AUTH may be right or wrong, and changes nothing."""
        bench = Bench(login=Login(Secret("geheim")))
        caller = bench.caller()
        caller.send("AUTH falsch", "AUTH geheim", "GET k i")
        bench.here.last.reply(b"$-1\r\n" + role(1))
        self.assertEqual(caller.got(), b"-ERR invalid password\r\n" + OK + b"$-1\r\n")

    def test_none_set(self) -> None:
        """Without a password none is right, as with Tile38."""
        caller = Bench().caller()
        caller.send("AUTH x")
        self.assertEqual(caller.got(), b"-ERR invalid password\r\n")


class HelloTests(SynchronousTestCase):
    """HELLO is answered by the proxy"""

    def test_protocols(self) -> None:
        """Protocol 2 gets pairs, 3 a map, others an error."""
        caller = Bench().caller()
        caller.send("HELLO", "HELLO 3 SETNAME x", "HELLO 4", "HELLO 3 WHAT")
        got = caller.got()
        self.assertTrue(got.startswith(b"*14\r\n$6\r\nserver\r\n$6\r\ntile38\r\n"), got)
        self.assertIn(b"%7\r\n$6\r\nserver\r\n", got)
        self.assertTrue(
            got.endswith(b"-NOPROTO unsupported protocol version\r\n-ERR syntax error in HELLO\r\n"), got
        )

    def test_login(self) -> None:
        """The password may come with it, and must where one is required."""
        caller = Bench(login=Login(Secret("geheim"), required=True)).caller()
        for request, start in (
            ("HELLO 3", b"-NOAUTH "),
            ("HELLO 3 AUTH default falsch", b"-WRONGPASS "),
            ("HELLO 3 AUTH anna geheim", b"-WRONGPASS "),
            ("GET k i", b"-ERR authentication required"),
            ("HELLO 3 AUTH default geheim", b"%7\r\n"),
            ("FOLLOW a 1", b"-ERR 'follow' is refused"),
        ):
            caller.send(request)
            self.assertTrue(caller.got().startswith(start), request)

    def test_resp3(self) -> None:
        """Where it is granted it is spoken: its own null, also of several replies together, and pushes."""
        bench = Bench()
        caller = bench.caller()
        caller.send("HELLO 3")
        caller.got()
        caller.send("EVALRO x 0")
        bench.here.last.reply(b"*3\r\n$6\r\n$-1\r\nx\r\n*-1\r\n$-1\r\n" + role(1))
        self.assertEqual(caller.got(), b"*3\r\n$6\r\n$-1\r\nx\r\n_\r\n_\r\n")
        for _ in range(2):
            caller.send("GET k i", "GET k j")
            bench.here.last.reply(b"$-1\r\n$-1\r\n" + role(1))
            self.assertEqual(caller.got(), b"_\r\n_\r\n")
        caller.send("HELLO 2")
        caller.got()
        caller.send("GET k i")
        bench.here.last.reply(b"$-1\r\n" + role(1))
        self.assertEqual(caller.got(), b"$-1\r\n")

    def test_pushes(self) -> None:
        """What a channel tells is a push, the answer to a PING there is none."""
        bench = Bench()
        caller = bench.caller()
        caller.send("HELLO 3", "SUBSCRIBE c")
        caller.got()
        bench.here.last.reply(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
        self.assertEqual(caller.got(), b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
        bench.here.last.reply(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n*2\r\n$4\r\nPONG\r\n$0\r\n\r\n")
        self.assertEqual(
            caller.got(), b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n*2\r\n$4\r\nPONG\r\n$0\r\n\r\n"
        )

    def test_behind_others(self) -> None:
        """The protocol does not change while a reply in the other one is due."""
        bench = Bench()
        caller = bench.caller()
        caller.send("GET k i", "HELLO 3", "HELLO 2")
        bench.here.last.reply(b"$-1\r\n" + role(1))
        got = caller.got()
        self.assertTrue(got.startswith(b"$-1\r\n-ERR HELLO cannot change the protocol"), got)

    def test_name(self) -> None:
        """The client's name may come with it."""
        caller = Bench().caller()
        caller.send("HELLO 2 SETNAME truck")
        caller.got()
        caller.send("CLIENT GETNAME")
        self.assertEqual(caller.got(), b"$5\r\ntruck\r\n")


class BadgeTests(SynchronousTestCase):
    """CLIENT and COMMAND are answered by the proxy"""

    def test_client(self) -> None:
        """Names are kept, numbers differ, information is taken, all clients are listed."""
        bench = Bench()
        first, second = bench.caller(), bench.caller()
        first.send("PING")
        second.send("CLIENT SETNAME truck", "client getname", "CLIENT ID", "CLIENT SETINFO LIB-NAME x")
        self.assertEqual(second.got(), OK + b"$5\r\ntruck\r\n:2\r\n" + OK)
        bench.clock.advance(1)
        bench.clock.advance(5)
        second.send("CLIENT LIST")
        got = second.got()
        self.assertIn(b"\r\nid=1 addr=", got)
        self.assertRegex(got.decode(), r"\nid=2 addr=[^ ]+ name=truck age=6 idle=5\n")
        second.send("OUTPUT json", "CLIENT GETNAME", "CLIENT ID", "CLIENT LIST", "CLIENT SETNAME x")
        got = second.got()
        for words in (b'"name":"truck"', b'"id":2,', b'"list":[{"id":1,', b'{"ok":true,"elapsed":"0s"}'):
            self.assertIn(words, got)

    def test_client_asked_wrongly(self) -> None:
        """Whatever else it is asked the server answers; nobody is killed."""
        bench = Bench()
        caller = bench.caller()
        caller.raw(encode_request([b"CLIENT", b"SETNAME", b"a b"]))
        caller.send("CLIENT", "CLIENT SETINFO LIB-NAME", "CLIENT NO-EVICT on", "CLIENT KILL ID 1")
        self.assertEqual(len(bench.here.last.requests()), 4 + 2)
        caller = bench.caller()
        caller.send("CLIENT KILL ID 1", f"CLIENT SETNAME {'x' * 300}", f"CLIENT SETINFO lib-ver {'x' * 300}")
        self.assertEqual(caller.got().count(b"-ERR "), 3)

    def test_command(self) -> None:
        """The table in Redis' form, whole, counted, or by name; what is refused is not in it."""
        caller = Bench().caller()
        caller.send("COMMAND COUNT")
        count = int(caller.got()[1:])
        caller.send("COMMAND")
        got = caller.got()
        self.assertTrue(
            got.startswith(b"*%d\r\n*6\r\n$3\r\nset\r\n:-1\r\n*1\r\n+write\r\n:1\r\n" % count), got[:60]
        )
        self.assertNotIn(b"follow", got)
        caller.send("COMMAND INFO get follow x", "COMMAND DOCS", "COMMAND LIST")
        got = caller.got()
        self.assertTrue(got.startswith(b"*3\r\n*6\r\n$3\r\nget\r\n"), got)
        self.assertIn(b"$-1\r\n$-1\r\n*0\r\n*%d\r\n" % count, got)


class AdmissionTests(SynchronousTestCase):
    """How many are let in"""

    def test_limit(self) -> None:
        """One client too many is told so and closed; when one leaves there is room again."""
        bench = Bench(limits=Limits(max_clients=1))
        first, second = bench.caller(), bench.caller()
        first.send("PING")
        second.send("PING")
        self.assertEqual(second.got(), b"-ERR max number of clients reached\r\n")
        self.assertTrue(second.transport.disconnecting)
        self.assertEqual(bench.side.counters.clients, 1)
        first.lose()
        third = bench.caller()
        third.send("FOLLOW a 1")
        self.assertTrue(third.got().startswith(b"-ERR 'follow'"))

    def test_other_nodes(self) -> None:
        """Another node gets in when no client does, and is not counted."""
        bench = Bench(limits=Limits(max_clients=1))
        bench.caller().send("PING")
        bench.caller().send("TILE38CM BRIDGE")
        self.assertEqual(len(bench.private.accepted), 1)
        bench.peer().send("PING")
        self.assertEqual(bench.here.last.requests(), [[b"PING"], [b"ROLE"]] * 2)
        self.assertEqual(bench.side.counters.clients, 1)

    def test_silent_connections(self) -> None:
        """Connections that never say who they are have a bound too."""
        bench = Bench(limits=Limits(max_clients=1))
        for _ in range(1 + listener.SPARE):
            bench.caller()
        self.assertIsNone(bench.listener.buildProtocol(None))


class LimitTests(SynchronousTestCase):
    """What a client may cost"""

    def test_idle(self) -> None:
        """Who says nothing for that long is disconnected; not who waits for an answer, or listens."""
        bench = Bench(limits=Limits(idle_timeout=5))
        silent, waiting, listening, busy = (bench.caller() for _ in range(4))
        silent.send("FOLLOW a 1")
        listening.send("SUBSCRIBE c")
        bench.here.last.reply(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
        waiting.send("GET k i")
        for _ in range(7):
            busy.send("FOLLOW a 1")
            bench.clock.advance(1)
        ended = [each.transport.disconnecting for each in (silent, waiting, listening, busy)]
        self.assertEqual(ended, [True, False, False, False])

    def test_never(self) -> None:
        """Without a limit nobody is."""
        bench = Bench()
        caller = bench.caller()
        bench.clock.pump([3600] * 30)
        self.assertFalse(caller.transport.disconnecting)

    def test_farewell(self) -> None:
        """Who does not let its connection be closed is cut off; it keeps its place no longer than that."""
        bench = Bench()
        caller = bench.caller()
        caller.send("QUIT")
        bench.clock.pump([1] * FAREWELL)
        self.assertEqual((caller.transport.disconnecting, caller.transport.aborted), (True, False))
        bench.clock.pump([1] * 2)
        self.assertTrue(caller.transport.aborted)

    def test_all_together(self) -> None:
        """Large requests of all have a bound: who comes too late is told; when others end there is room."""
        bench = Bench(limits=Limits(max_bytes=1_000_000))
        first, second = bench.caller(), bench.caller()
        half = b"*2\r\n$4\r\nECHO\r\n$900000\r\n" + b"x" * 600_000
        first.raw(half)
        second.raw(half)
        self.assertTrue(second.got().startswith(b"-ERR too many large requests"))
        self.assertTrue(second.transport.disconnecting)
        first.lose()
        third = bench.caller()
        third.raw(half)
        self.assertEqual(third.got(), b"")
        third.raw(b"x" * 300_000 + b"\r\n")
        bench.here.last.reply(b"$1\r\nx\r\n" + role(1))
        bench.clock.advance(1)
        self.assertEqual(bench.listener.room.used, 0)


class PrivateTests(SynchronousTestCase):
    """Connections between nodes"""

    def setUp(self) -> None:
        self.bench = Bench()

    def test_given_over(self) -> None:
        """A connection that begins with a private command is given over with all its bytes."""
        caller = self.bench.caller()
        data = encode_request([b"tile38cm", b"BRIDGE"])
        caller.raw(data[:10])
        caller.raw(data[10:] + b"\x00binary")
        self.assertEqual(self.bench.private.accepted, [("somebody", data + b"\x00binary")])
        caller.raw(b"more")
        self.assertEqual(self.bench.private.protocols[0].data, b"more")
        self.assertIsNone(caller.transport.producer)
        caller.lose()
        self.assertTrue(self.bench.private.protocols[0].lost)
        self.assertEqual(caller.got(), b"")

    def test_only_first(self) -> None:
        """Later on, or from another node's client, a private command is refused."""
        caller: Caller
        for caller in (self.bench.caller(), self.bench.peer()):
            caller.send("FOLLOW a 1", "TILE38CM BRIDGE")
            self.assertIn(b"must be the first command", caller.got())
        peer = self.bench.peer()
        peer.send("TILE38CM BRIDGE")
        self.assertIn(b"must be the first command", peer.got())
        self.assertEqual(self.bench.private.accepted, [])

    def test_stop(self) -> None:
        """Stopping cuts every connection, other nodes' as well."""
        callers = [self.bench.caller(), self.bench.peer()]
        self.bench.listener.stop()
        self.assertTrue(all(caller.transport.aborted for caller in callers))
        self.assertEqual((self.bench.gate.callbacks, self.bench.routes.callbacks), ([], []))
