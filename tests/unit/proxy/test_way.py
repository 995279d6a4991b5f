"""Replies that go to a client's descriptor at once: as ordered, and as bounded, as through its transport."""

from __future__ import annotations

import socket
import struct

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.unit.proxy.fakes import OK, Bench, role
from tests.unit.test_turns import ReactorTests
from tile38cm.proxy import client
from tile38cm.proxy.client import Client
from tile38cm.proxy.express import take
from tile38cm.turns import NO_DESCRIPTOR
from tile38cm.wire.resp import encode_request

SMALL = b"$1\r\nx\r\n"
#: Which is nothing large yet.
VALUE = b"$60000\r\n%b\r\n" % (b"x" * 60000)


class WayTests(ReactorTests):
    """A client at the other end of a real connection"""

    def setUp(self) -> None:
        super().setUp()
        self.bench = Bench()
        ours, self.theirs = self.tcp_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        self.descriptor = ours.fileno()
        self.left: list[int] = []
        self.patch(client, "join", lambda clock, protocol, line: self.descriptor)
        self.patch(client, "leave", lambda clock, descriptor: self.left.append(descriptor))
        protocol = self.bench.listener.buildProtocol(None)
        assert isinstance(protocol, Client)
        self.protocol = protocol
        self.connect(protocol, ours)
        self.line = protocol.line
        for _ in range(2):
            # The first request ever is looked at closely.
            self.ask("SET k i POINT 1 2", OK)
        self.assertEqual(self.read(2 * len(OK)), OK * 2)

    def ask(self, text: str, reply: bytes) -> None:
        """One request, answered by the server."""
        take([(self.line, encode_request(text.encode().split()))])
        self.bench.clock.advance(0)
        self.bench.here.last.reply(reply + role(1))

    def read(self, size: int) -> bytes:
        """So many bytes at the client's end, whatever has to be sent for them meanwhile."""
        found = b""
        while len(found) < size:
            self.turn()
            found += self.theirs.recv(size - len(found))
        return found

    def fill(self) -> int:
        """Replies until the client's end takes no more; how many."""
        count = 0
        while self.line.way == self.descriptor:
            self.ask("GET k i", VALUE)
            count += 1
        return count

    def test_as_they_are(self) -> None:
        """As long as the socket takes all at once, the transport has nothing to do with it."""
        self.assertEqual(self.line.way, self.descriptor)
        self.patch(self.protocol, "_write", None)
        self.ask("SET k i POINT 1 2", OK)
        self.assertEqual(self.read(len(OK)), OK)

    def test_full(self) -> None:
        """What the socket did not take stands before all that comes later, and none of it is lost."""
        count = self.fill()
        self.assertEqual(self.line.way, NO_DESCRIPTOR)
        self.ask("GET k i", SMALL)
        expected = VALUE * count + SMALL
        self.assertEqual(self.read(len(expected)), expected)
        # The way is found again with the next reply that is taken at once.
        for _ in range(2):
            self.ask("GET k i", SMALL)
        self.assertEqual((self.line.way, self.read(2 * len(SMALL))), (self.descriptor, SMALL * 2))

    def test_broken(self) -> None:
        """A connection that has been reset under a reply is lost like any other."""
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.theirs.close()
        self.ask("SET k i POINT 1 2", OK)
        self.assertEqual(self.line.way, NO_DESCRIPTOR)
        self.turn()
        self.assertEqual((self.left, self.bench.side.in_flight), ([self.descriptor], 0))

    def test_resp3(self) -> None:
        """Replies that are written anew never go as they are."""
        for version, null in ((3, b"_\r\n"), (2, b"$-1\r\n")):
            take([(self.line, encode_request([b"HELLO", b"%d" % version]))])
            for _ in range(3):
                self.ask("GET k i", b"$-1\r\n")
            self.assertEqual(self.line.way, NO_DESCRIPTOR if version == 3 else self.descriptor)
            found = b""
            while not found.endswith(null * 3):
                self.turn()
                found += self.theirs.recv(4096)

    def test_end(self) -> None:
        """Who is shown out, cut off or lost is sent nothing behind that."""
        for number, end in enumerate((self.protocol.finish, self.protocol.cut)):
            self.protocol._closing = False
            self.protocol._way = self.line.way = self.descriptor
            end()
            self.assertEqual(self.line.way, NO_DESCRIPTOR, number)
        self.protocol._way = self.line.way = self.descriptor
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.line.way, self.left), (NO_DESCRIPTOR, [self.descriptor]))
