"""Clients that do not speak RESP: the same rules, another writing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import Bench, Caller, FakeTarget
from tile38cm.proxy.session import Login
from tile38cm.settings import Secret
from tile38cm.wire.resp import bulk

JSON = bulk(b'{"ok":true}')
ROLE = bulk(b'{"ok":true,"role":{"role":"master","offset":5,"slaves":[]},"elapsed":"1s"}')
UPGRADE = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n"
FENCE = b"/nearby+k+fence+point+1+2+3"


def native(line: str) -> bytes:
    """A command in the native protocol."""
    return b"$%d %b\r\n" % (len(line), line.encode())


def http(path: bytes, *lines: bytes) -> bytes:
    """A request in HTTP."""
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (path, b"".join(lines))


class WriterTests(SynchronousTestCase):
    """On a leader's W"""

    def setUp(self) -> None:
        self.bench = Bench()
        self.caller = self.bench.caller()

    def test_native(self) -> None:
        """The first command makes the connection JSON's, whatever follows; the reply waits as others do."""
        self.bench.gate.offset = 4
        self.caller.raw(native("SET k i POINT 1 2") + b"*1\r\n$4\r\nping\r\n")
        server = self.bench.here.last
        self.assertEqual(server.requests(), [b"SET k i POINT 1 2".split(), [b"ping"], [b"ROLE"]])
        server.reply(JSON * 2 + ROLE)
        self.assertEqual(self.caller.got(), b"")
        self.bench.gate.change(offset=5)
        self.assertEqual(self.caller.got(), b'$11 {"ok":true}\r\n' + JSON)

    def test_native_in_resp(self) -> None:
        """Where RESP came first the native protocol carries RESP."""
        self.caller.raw(b"*1\r\n$4\r\nping\r\n" + native("GET k i"))
        self.bench.here.last.reply(b"+PONG\r\n$-1\r\n*3\r\n$6\r\nmaster\r\n:5\r\n*0\r\n")
        self.assertEqual(self.caller.got(), b"+PONG\r\n$5 $-1\r\n\r\n")

    def test_http(self) -> None:
        """A write waits for its acknowledgement, then the connection is closed; no second one is read."""
        self.bench.gate.offset = 4
        self.caller.raw(http(b"/set+k+i+point+1+2") * 2)
        server = self.bench.here.last
        self.assertEqual(server.requests(), [b"set k i point 1 2".split(), [b"ROLE"]])
        server.reply(JSON + ROLE)
        self.assertEqual(self.caller.got(), b"")
        self.bench.gate.change(offset=5)
        self.assertTrue(
            self.caller.got().endswith(
                b'Content-Length: 13\r\nAccess-Control-Allow-Origin: *\r\n\r\n{"ok":true}\r\n'
            )
        )
        self.assertTrue(self.caller.transport.disconnecting)
        self.assertEqual(server.requests(), [])

    def test_http_held(self) -> None:
        """Without a leader it waits, and says so at last."""
        self.bench.routes.leader = None
        self.caller.raw(http(b"/get+k+i"))
        self.bench.clock.pump([0.1] * 101)
        got = self.caller.got()
        self.assertTrue(got.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b'"err":"no leader: the command waited 10 s for one"', got)
        self.assertTrue(self.caller.transport.disconnecting)

    def test_http_to_the_leader(self) -> None:
        """Another node's W is asked in RESP."""
        there = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(leader=there)
        self.caller.raw(http(b"/get+k+i"))
        there.last.reply(JSON)
        self.assertEqual(there.last.requests(), [[b"OUTPUT", b"json"], b"get k i".split()])
        there.last.reply(JSON)
        self.assertIn(b"200 OK", self.caller.got())

    def test_refused(self) -> None:
        """What is refused is refused in any protocol."""
        for data, words in (
            (native("FOLLOW a 1"), b"$"),
            (http(b"/follow+a+1"), b"HTTP/1.1 200 OK\r\n"),
            (http(b"/follow+a+1", UPGRADE), b"HTTP/1.1 101 "),
            (native("TILE38CM BRIDGE"), b"$"),
        ):
            caller = self.bench.caller()
            caller.raw(data)
            got = caller.got()
            self.assertTrue(got.startswith(words), got)
            self.assertIn(b'"ok":false', got)
        self.assertEqual(self.bench.private.accepted, [])

    def test_unreadable(self) -> None:
        """What cannot be read at all is answered in its turn."""
        self.caller.raw(native("GET k i") + http(b"/"))
        self.bench.here.last.reply(JSON + ROLE)
        got = self.caller.got()
        self.assertTrue(got.startswith(b'$11 {"ok":true}\r\nHTTP/1.1 400 Bad Request\r\n'), got)
        self.assertTrue(self.caller.transport.disconnecting)

    def test_quit(self) -> None:
        """Nobody answers QUIT in JSON."""
        for data in (native("QUIT"), http(b"/quit")):
            caller = self.bench.caller()
            caller.raw(data)
            self.assertEqual(caller.got(), b"")
            self.assertTrue(caller.transport.disconnecting)


class LoginTests(SynchronousTestCase):
    """The password comes with the request"""

    def setUp(self) -> None:
        self.bench = Bench(login=Login(Secret("geheim"), required=True))

    def asked(self, *lines: bytes, path: bytes = b"/get+k+i") -> Caller:
        """A client that asks in HTTP."""
        caller = self.bench.caller()
        caller.raw(http(path, *lines))
        return caller

    def test_password(self) -> None:
        """Nothing is done without it, or with another."""
        self.assertIn(b"authentication required", self.asked().got())
        self.assertIn(b"invalid password", self.asked(b"Authorization: falsch\r\n").got())
        self.assertEqual(self.bench.here.connections, [])
        caller = self.asked(b"Authorization: geheim\r\n")
        self.bench.here.last.reply(JSON + ROLE)
        self.assertIn(b'\r\n\r\n{"ok":true}\r\n', caller.got())

    def test_websocket(self) -> None:
        """So it does with a handshake, and then the command is run."""
        caller = self.asked(b"Authorization: geheim\r\n", UPGRADE)
        self.assertIn(b"get k i".split(), self.bench.here.last.requests())
        self.assertIn(b"authentication required", self.asked(UPGRADE).got())
        self.assertFalse(caller.transport.disconnecting)

    def test_auth(self) -> None:
        """AUTH as a command is answered."""
        self.assertIn(b'{"ok":true', self.asked(path=b"/auth+geheim").got())


class LiveTests(SynchronousTestCase):
    """Fences"""

    def setUp(self) -> None:
        self.bench = Bench()
        self.caller = self.bench.caller()

    def test_websocket(self) -> None:
        """The handshake comes with the first reply, events as frames; a ping has its answer."""
        self.caller.raw(http(FENCE, UPGRADE))
        server = self.bench.here.last
        self.assertEqual(self.caller.got(), b"")
        server.requests()
        server.reply(bulk(b'{"ok":true,"live":true}') + bulk(b"{}")[:3])
        got = self.caller.got()
        self.assertTrue(got.startswith(b"HTTP/1.1 101 "))
        self.assertTrue(got.endswith(b'\r\n\r\n\x81\x1e$23\r\n{"ok":true,"live":true}\r\n'), got)
        server.reply(bulk(b"{}")[3:])
        self.assertEqual(self.caller.got(), b"\x81\x02{}")
        self.caller.raw(b"\x89\x80\x01\x02\x03\x04")
        self.assertEqual(self.caller.got(), b"\x8a\x00")
        self.assertEqual(server.requests(), [])
        self.caller.raw(b"\x88\x80\x01\x02\x03\x04")
        self.assertEqual(self.caller.got(), b"\x88\x00")
        self.assertTrue(self.caller.transport.disconnecting)
        self.assertTrue(server.transport.aborted)

    def test_native(self) -> None:
        """Events with their length, and any further command for the server."""
        self.caller.raw(native("NEARBY k FENCE POINT 1 2 3") + native("QUIT"))
        server = self.bench.here.last
        server.requests()
        server.reply(bulk(b'{"ok":true,"live":true}') + bulk(b"{}"))
        self.assertEqual(self.caller.got(), b'$30 $23\r\n{"ok":true,"live":true}\r\n\r\n$2 {}\r\n')
        self.assertEqual(server.requests(), [[b"QUIT"]])

    def test_rubbish(self) -> None:
        """A server that answers rubbish ends the stream."""
        self.caller.raw(native("NEARBY k FENCE POINT 1 2 3"))
        self.bench.here.last.reply(bulk(b'{"ok":true,"live":true}'))
        self.bench.here.last.reply(b"rubbish\r\n")
        self.assertTrue(self.caller.transport.disconnecting)

    def test_http(self) -> None:
        """Plain HTTP cannot go on, so the client is told; Tile38 would leave it waiting."""
        self.caller.raw(http(FENCE))
        server = self.bench.here.last
        server.reply(bulk(b'{"ok":true,"live":true}'))
        self.assertIn(b'"err":"a live command needs a connection that lasts', self.caller.got())
        self.assertTrue(self.caller.transport.disconnecting)
        self.assertTrue(server.transport.aborted)
