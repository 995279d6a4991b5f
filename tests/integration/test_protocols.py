"""Streams and large values over the protocols beside RESP, as directly and through W and R."""

from __future__ import annotations

import base64
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

from twisted.internet.defer import Deferred

from tests.integration.proxybench import ProxyTestCase
from tests.integration.sequences import End, difference
from tests.real import RealTile38, require
from tile38cm.wire.resp import encode_request

UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n"
    % base64.b64encode(b"0123456789abcdef")
)
FENCE = "NEARBY fleet FENCE POINT 33 -115 1000"


@contextmanager
def connection(port: int) -> Iterator[socket.socket]:
    """A plain socket with a bound on each read."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as opened:
        yield opened


def until(opened: socket.socket, word: bytes) -> bytes:
    """All that comes up to the first piece that has a word in it."""
    data = b""
    while word not in data:
        came = opened.recv(1 << 16)
        if not came:
            raise AssertionError(f"closed after {data!r}")
        data += came
    return data


def native(line: str) -> bytes:
    """A command in the native protocol."""
    return b"$%d %b\r\n" % (len(line), line.encode())


def websocket(line: str) -> bytes:
    """A command in a handshake."""
    return b"GET /%b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (line.replace(" ", "+").encode(), UPGRADE)


class StreamTests(ProxyTestCase):
    """Live commands"""

    def streams(self, port: int, server: RealTile38) -> list[bytes]:
        """What a fence, and what a subscription tell, natively and over WebSocket."""
        told = []
        for form in (native, websocket):
            with connection(port) as fence, connection(port) as channel:
                fence.sendall(form(FENCE))
                told.append(until(fence, b'"live":true}\r\n'))
                channel.sendall(form("SUBSCRIBE news"))
                told.append(until(channel, b"}"))
                server.command("SET", "fleet", "truck", "POINT", 33, -115)
                event = until(fence, b"truck")
                self.assertIn(b'"command":"set"', event)
                told.append(event[: event.index(b'"command"')])
                server.command("PUBLISH", "news", '{"a":1}')
                told.append(until(channel, b"}"))
                server.command("DROP", "fleet")
        return told

    def test_as_directly(self) -> Deferred[None]:
        """Word for word, but for the time of each event and its length."""

        def run() -> None:
            direct = self.streams(self.tile38.port, self.tile38)
            for port in (self.writer_port, self.reader_port):
                for one, other in zip(direct, self.streams(port, self.tile38), strict=True):
                    self.assertIsNone(difference(one, other, End.OPEN))

        return self.threaded(run)

    def test_native_subscriber(self) -> Deferred[None]:
        """One that unsubscribes natively is heard."""

        def run() -> None:
            with connection(self.reader_port) as opened:
                opened.sendall(native("SUBSCRIBE news") + native("UNSUBSCRIBE news") + native("PING"))
                self.assertIn(b'"command":"unsubscribe"', until(opened, b"pong"))

        return self.threaded(run)


class HttpTests(ProxyTestCase):
    """An ordinary client of HTTP"""

    def test_large(self) -> Deferred[None]:
        """A body of four megabytes goes in, and comes out."""
        value = "x" * (4 << 20)

        def run() -> None:
            url = f"http://127.0.0.1:{self.writer_port}/SET+k+i"
            with urllib.request.urlopen(url, b" STRING " + value.encode(), timeout=20) as answered:
                self.assertIn(b'"ok":true', answered.read())
            url = f"http://127.0.0.1:{self.reader_port}/GET+k+i"
            with urllib.request.urlopen(url, timeout=20) as answered:
                self.assertIn(f'"object":"{value}"'.encode(), answered.read())

        return self.threaded(run)

    def test_tile(self) -> Deferred[None]:
        """A vector tile is the same as directly."""
        require("tile38")  # the embedded one makes none

        def run() -> None:
            self.tile38.command("SET", "fleet", "truck", "POINT", 33, -115)
            got = []
            for port in (self.tile38.port, self.writer_port, self.reader_port):
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/fleet/1/0/0.mvt", timeout=20
                ) as answered:
                    got.append((answered.headers["Content-Type"], answered.read()))
            self.assertIn(b"truck", got[0][1])
            self.assertEqual(got[1:], got[:1] * 2)

        return self.threaded(run)

    def test_viewer(self) -> Deferred[None]:
        """Tile38's page for people is no command, and not served."""

        def run() -> None:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.writer_port}/viewer", timeout=20
            ) as answered:
                self.assertIn(b"unknown command 'viewer'", answered.read())

        return self.threaded(run)


class ForwardTests(ProxyTestCase):
    """An R that sends writes on to the leader"""

    def test_each_form(self) -> Deferred[None]:
        """A write is done, whatever it came in."""

        def run() -> None:
            with connection(self.forwarding_port) as opened:
                opened.sendall(encode_request(b"SET k a STRING x".split()))
                self.assertEqual(opened.recv(1000), b"+OK\r\n")
                opened.sendall(native("SET k c STRING z") + native("SCAN k COUNT"))
                self.assertIn(b"+OK", until(opened, b":"))
            url = f"http://127.0.0.1:{self.forwarding_port}/set+k+d+string+v"
            with urllib.request.urlopen(url, timeout=20) as answered:
                self.assertIn(b'{"ok":true', answered.read())
            self.assertEqual(self.tile38.command("SCAN", "k", "COUNT"), 3)

        return self.threaded(run)

    def test_script(self) -> Deferred[None]:
        """A script writes as well."""
        require("tile38")  # the embedded one has no scripts

        def run() -> None:
            with connection(self.forwarding_port) as opened:
                opened.sendall(
                    encode_request([b"EVAL", b"return tile38.call('set','k','b','string','y')", b"0"])
                )
                self.assertEqual(opened.recv(1000), b"+OK\r\n")
            self.assertEqual(self.tile38.command("GET", "k", "b"), "y")

        return self.threaded(run)


class RefusalTests(ProxyTestCase):
    """No way round a refusal"""

    def test_one_word(self) -> Deferred[None]:
        """A name and its first argument as one word, which Tile38 would take."""

        def run() -> None:
            with connection(self.writer_port) as opened:
                opened.sendall(encode_request([b"CONFIG SET", b"maxmemory", b"1gb"]))
                self.assertIn(b"is refused by tile38cm", opened.recv(1000))
            self.assertEqual(self.tile38.command("CONFIG GET", "maxmemory"), ["maxmemory", ""])

        return self.threaded(run)


class HazardTests(ProxyTestCase):
    """What would end the server does not reach it"""

    def test_alive(self) -> Deferred[None]:
        """Each is refused on either port, and the server answers still."""

        def run() -> None:
            for line in (
                "SCAN|k|WHERE|f||1",
                "SCAN|k|WHEREIN|f|99999999999999|1",
                "SETCHAN|c|NEARBY|k|WHERE|f||1|FENCE|POINT|1|2|3",
                "EVAL|return 1|99999999999999",
            ):
                for port in (self.writer_port, self.reader_port):
                    with connection(port) as opened:
                        opened.sendall(encode_request(line.encode().split(b"|")))
                        self.assertTrue(opened.recv(1000).startswith(b"-ERR "), line)
            self.assertEqual(self.tile38.command("PING"), "PONG")

        return self.threaded(run)
