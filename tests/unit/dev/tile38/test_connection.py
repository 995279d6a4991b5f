"""Protocols on the one port, and the order of replies."""

from __future__ import annotations

from tests.unit.dev.tile38.bench import NodeCase
from tile38cm.dev.tile38.node import SLICE
from tile38cm.wire.resp import encode_request

MIXED = (
    encode_request([b"PING"])
    + b"set k i string 'a b'\r\n"
    + b"$7 GET k i\r\n"
    + encode_request([b"GET", b"k", b"i"])
)


class ProtocolTests(NodeCase):
    """RESP, lines and native, on one connection."""

    def test_mixed(self) -> None:
        """Each request is answered in its own protocol, wherever the packets are split."""
        for at in range(len(MIXED)):
            client = self.memory.session()
            reply = client.raw(MIXED[:at]) + client.raw(MIXED[at:])
            self.assertEqual(reply, b"+PONG\r\n+OK\r\n$9 $3\r\na b\r\n\r\n$3\r\na b\r\n")

    def test_native_first(self) -> None:
        """A connection that begins in the native protocol is told JSON in all, until it chooses otherwise."""
        self.assertIn(b' {"ok":true,"ping":"pong","elapsed":', self.ask.raw(b"$4 PING\r\n"))
        self.assertIn('{"ok":true,"ping":"pong","elapsed":', self.ask("PING"))
        self.assertEqual(self.ask("OUTPUT resp"), "OK")
        self.assertEqual(self.ask.raw(b"$4 PING\r\n"), b"$7 +PONG\r\n\r\n")

    def test_native_words(self) -> None:
        """A native line's JSON goes to its end."""
        line = b'SET k i OBJECT {"type": "Point", "coordinates": [1, 2]}'
        self.ask.raw(b"$%d %b\r\n" % (len(line), line))
        self.assertEqual(self.memory.session()("GET k i POINT"), ["2", "1"])

    def test_output(self) -> None:
        """JSON once it is chosen, errors as well."""
        self.assertIn('{"ok":true,"elapsed":', self.ask("OUTPUT json"))
        self.assertIn('{"ok":true,"ping":"pong","elapsed":', self.ask("PING"))
        self.assertIn('{"ok":false,"err":"key not found","elapsed":', self.ask("GET k i"))
        self.assertIn('"err":"invalid number of arguments"', self.ask("GET k"))
        self.assertEqual(self.ask("OUTPUT resp"), "OK")

    def test_broken(self) -> None:
        """What is no request is said, and ends the connection."""
        self.assertIn(b"-Protocol error", self.ask.raw(encode_request([b"PING"]) + b"*1\r\n:5\r\n"))
        self.assertTrue(self.ask.transport.disconnecting)
        told = self.memory.session().raw(b"$4 PING\r\n*1\r\n:5\r\n")
        self.assertIn(b'\r\n{"ok":false,"err":"Protocol error: expected \'$\', got \':\'","elapsed":', told)

    def test_http(self) -> None:
        """A command in a path, and the end of the connection."""
        reply = self.ask.raw(b"GET /SET+k+i+POINT+1+2 HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(reply.startswith(b"HTTP/1.1 200 OK\r\nConnection: close\r\n"), reply)
        self.assertIn(b'\r\n\r\n{"ok":true,"elapsed":"', reply)
        self.assertTrue(self.ask.transport.disconnecting)
        self.assertEqual(self.memory.session()("GET k i POINT"), ["1", "2"])

    def test_quit(self) -> None:
        """C{QUIT} ends it."""
        self.assertEqual(self.ask("QUIT"), "OK")
        self.assertTrue(self.ask.transport.disconnecting)

    def test_clients(self) -> None:
        """Who is there, by name, and who is sent away."""
        other = self.memory.session()
        other("CLIENT SETNAME somebody")
        self.assertEqual(other("CLIENT GETNAME"), "somebody")
        self.assertIn("id=2 addr=127.0.0.1:4711 name=somebody age=0 idle=0\n", self.ask("CLIENT LIST"))
        self.assertEqual(self.ask("CLIENT KILL ID 2"), "OK")
        self.reactor.advance(0)
        self.assertTrue(other.transport.disconnected)

    def test_others_have_their_turn(self) -> None:
        """A long pipeline is done in slices, in order; who asks meanwhile is answered."""
        count = 2 * SLICE + 1
        got = self.ask.raw(b"".join(encode_request([b"ECHO", b"%d" % number]) for number in range(count)))
        self.assertEqual((got.count(b"$"), self.ask.transport.producerState), (SLICE, "paused"))
        self.assertEqual(self.memory.session()("PING"), "PONG")
        for _ in range(3):
            self.reactor.advance(0)
        got += self.ask.read()
        expected = b"".join(b"$%d\r\n%d\r\n" % (len(str(number)), number) for number in range(count))
        self.assertEqual((got, self.ask.transport.producerState), (expected, "producing"))
