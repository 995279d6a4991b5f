"""Through W and R a real Tile38 answers as it does directly."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyle38
import redis
from redis._parsers.resp3 import _RESP3Parser
from twisted.internet.defer import Deferred

from tests.integration.proxybench import ProxyTestCase
from tests.real import wait_for
from tile38cm.wire.replies import ReplyParser
from tile38cm.wire.resp import encode_request

#: What differs between two runs of the same command.
_VARYING = re.compile(rb'\$\d+\r\n(?=\{)|"elapsed":"?[^",}]*"?')

WRITES = [
    "SET fleet a FIELD speed 5 POINT 33 -115",
    'SET fleet b EX 1000 OBJECT {"type":"Point","coordinates":[-115,33]}',
    "SET fleet c NX STRING x",
    "SET fleet c NX STRING x",
    "FSET fleet a speed 7",
    "JSET user 1 name.first Anna",
    "EXPIRE fleet a 100",
    "PERSIST fleet a",
    "RENAME user people",
    "SETCHAN chan NEARBY fleet FENCE POINT 33 -115 1000",
    "EVAL return{1,ARGV[1]} 0 x",
    "DELCHAN chan",
    "SET k",
    "TIMEOUT 1 SET k i STRING x",
    "PUBLISH c x",
]
READS = [
    "GET fleet a WITHFIELDS",
    "GET fleet nobody",
    "JGET people 1 name.first",
    "SCAN fleet LIMIT 10",
    "SCAN fleet FENCE",
    "NEARBY fleet LIMIT 2 POINT 33 -115",
    "WITHIN fleet COUNT BOUNDS 30 -120 40 -110",
    "INTERSECTS fleet MATCH fence BOUNDS 1 2 3 4",
    "TIMEOUT 1 GET fleet c",
    "KEYS *",
    "STATS fleet nothing",
    "TTL fleet c",
    "TYPE fleet",
    "BOUNDS fleet",
    "TEST POINT 1 1 WITHIN BOUNDS 0 0 2 2",
    "PING",
    "ECHO x",
    "OUTPUT",
    "AUTH x",
    "EVALRO return{1,ARGV[1]} 0 x",
    "SUBSCRIBE",
    "NONSENSE a b",
]


@contextmanager
def connection(port: int) -> Iterator[socket.socket]:
    """A plain socket with a bound on each read."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as opened:
        yield opened


def ask(opened: socket.socket, data: bytes, count: int) -> list[bytes]:
    """Send bytes, and wait for so many replies."""
    opened.sendall(data)
    parser, replies = ReplyParser(), list[bytes]()
    while len(replies) < count:
        came = opened.recv(1 << 20)
        if not came:
            raise AssertionError(f"closed after {replies!r}")
        parser.feed(came)
        while (reply := parser.next()) is not None:
            replies.append(reply)
    return replies


def commands(lines: list[str]) -> bytes:
    """Requests, pipelined."""
    return b"".join(encode_request(line.encode().split(b" ")) for line in lines)


def comparable(replies: list[bytes]) -> list[bytes]:
    """Replies without what differs from run to run."""
    return [_VARYING.sub(b"", reply) for reply in replies]


class EqualityTests(ProxyTestCase):
    """Byte for byte as without a proxy"""

    def compare(self, port: int, lines: list[str]) -> None:
        """The same pipeline, directly and through a port."""
        with connection(self.tile38.port) as direct, connection(port) as through:
            ask(direct, commands(["FLUSHDB"]), 1)
            expected = ask(direct, commands(lines), len(lines))
            ask(direct, commands(["FLUSHDB"]), 1)
            got = ask(through, commands(lines), len(lines))
        for line, one, other in zip(lines, comparable(expected), comparable(got), strict=True):
            self.assertEqual(other, one, line)

    def test_writer(self) -> Deferred[None]:
        """Writes and reads through W, in one pipeline."""
        return self.threaded(lambda: self.compare(self.writer_port, WRITES + READS))

    def test_writer_in_json(self) -> Deferred[None]:
        """The same in JSON mode, and back."""
        lines = ["OUTPUT json", *WRITES, *READS, "OUTPUT resp", "PING"]
        return self.threaded(lambda: self.compare(self.writer_port, lines))

    def test_reader(self) -> Deferred[None]:
        """Reads through R."""

        def run() -> None:
            with connection(self.tile38.port) as direct, connection(self.reader_port) as through:
                ask(direct, commands(WRITES), len(WRITES))
                for mode in ("resp", "json"):
                    lines = [f"OUTPUT {mode}", *READS]
                    expected = ask(direct, commands(lines), len(lines))
                    got = ask(through, commands(lines), len(lines))
                    for line, one, other in zip(lines, comparable(expected), comparable(got), strict=True):
                        self.assertEqual(other, one, line)

        return self.threaded(run)

    def test_inline(self) -> Deferred[None]:
        """Lines with quotes are understood as the server understands them."""
        data = b'SET k "a b" string \'x\\ny\'\r\n\r\nGET k "a b"\r\n'

        def run() -> None:
            with connection(self.tile38.port) as direct, connection(self.writer_port) as through:
                self.assertEqual(ask(through, data, 2), ask(direct, data, 2))

        return self.threaded(run)

    def test_large(self) -> Deferred[None]:
        """A value of eight megabytes goes in and comes out unchanged."""
        value = bytes(range(256)) * (8 * 4096)

        def run() -> None:
            with connection(self.writer_port) as opened:
                put = encode_request([b"SET", b"k", b"i", b"STRING", value])
                self.assertEqual(ask(opened, put, 1), [b"+OK\r\n"])
                (got,) = ask(opened, commands(["GET k i"]), 1)
                self.assertEqual(got, b"$%d\r\n%b\r\n" % (len(value), value))
            with connection(self.reader_port) as opened:
                self.assertEqual(ask(opened, commands(["GET k i"]), 1), [got])

        return self.threaded(run)

    def test_long_pipeline(self) -> Deferred[None]:
        """Twenty thousand pipelined requests are answered in order, though the proxy stops to read."""
        count = 20_000

        def run() -> None:
            with connection(self.writer_port) as opened:
                data = commands([f"ECHO {number}" for number in range(count)])
                got = ask(opened, data, count)
            self.assertEqual(got, [b"$%d\r\n%d\r\n" % (len(str(n)), n) for n in range(count)])

        return self.threaded(run)


class LiveTests(ProxyTestCase):
    """Streams"""

    def test_fence(self) -> Deferred[None]:
        """A fence on either port sees writes through W, behind whatever was asked before it."""

        def run() -> None:
            fence = "NEARBY fleet FENCE POINT 33 -115 1000"
            for port in (self.writer_port, self.reader_port):
                with connection(port) as opened, connection(self.writer_port) as other:
                    self.assertEqual(ask(opened, commands(["PING", fence]), 2), [b"+PONG\r\n", b"+OK\r\n"])
                    ask(other, commands([f"SET fleet truck{port} POINT 33 -115"]), 1)
                    self.assertIn(b'"command":"set"', ask(opened, b"", 1)[0])

        return self.threaded(run)

    def test_subscribe(self) -> Deferred[None]:
        """A subscriber on R hears what was published through W, and may unsubscribe."""

        def run() -> None:
            with connection(self.reader_port) as opened, connection(self.writer_port) as other:
                ask(opened, commands(["SUBSCRIBE c"]), 1)
                self.assertEqual(ask(other, commands(["PUBLISH c hello"]), 1), [b":1\r\n"])
                self.assertEqual(ask(opened, b"", 1), [b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"])
                (gone,) = ask(opened, commands(["UNSUBSCRIBE c"]), 1)
                self.assertIn(b"unsubscribe", gone)

        return self.threaded(run)

    def test_server_dies(self) -> Deferred[None]:
        """When the server dies its streams end."""

        def run() -> None:
            with connection(self.reader_port) as opened:
                ask(opened, commands(["SUBSCRIBE c"]), 1)
                self.tile38.kill()
                self.assertEqual(opened.recv(1), b"")

        return self.threaded(run)


class LossTests(ProxyTestCase):
    """The server goes away and comes back"""

    def test_restart(self) -> Deferred[None]:
        """Requests wait for a server that restarts, and none is answered with LOADING."""

        def run() -> None:
            with connection(self.writer_port) as opened:
                self.assertEqual(ask(opened, commands(["SET k i STRING x"]), 1), [b"+OK\r\n"])
                self.tile38.kill()
                opened.sendall(commands(["SET k j STRING y", "GET k i"]))
                self.tile38.start()
                self.assertEqual(ask(opened, b"", 2), [b"+OK\r\n", b"$1\r\nx\r\n"])

        return self.threaded(run)


class PressureTests(ProxyTestCase):
    """A client that does not read"""

    def test_bounded(self) -> Deferred[None]:
        """Two hundred megabytes of replies that nobody reads stay in the server, and all come in the end."""
        value, count = b"x" * 1_000_000, 200

        def run() -> None:
            with connection(self.writer_port) as opened:
                ask(opened, encode_request([b"SET", b"k", b"i", b"STRING", value]), 1)
                before = _resident()
                opened.sendall(commands(["GET k i"] * count))
                time.sleep(4)
                grown = _resident() - before
                self.assertEqual(len(ask(opened, b"", count)), count)
            self.assertLess(grown, 90_000_000)

        return self.threaded(run)

    def test_never_whole(self) -> Deferred[None]:
        """Of a reply of forty megabytes little is here at any time, also where it must be covered first."""
        value, count = b"x" * 1_000_000, 40

        def run() -> None:
            with connection(self.tile38.port) as opened:
                for number in range(count):
                    ask(opened, encode_request([b"SET", b"k", b"%d" % number, b"STRING", value]), 1)
            for port in (self.reader_port, self.writer_port):
                with connection(port) as opened:
                    tracemalloc.start()
                    self.addCleanup(tracemalloc.stop)
                    opened.sendall(commands(["SCAN k", "PING"]))
                    came, end = 0, b""
                    while not end.endswith(b"+PONG\r\n"):
                        piece = opened.recv(1 << 16)
                        came, end = came + len(piece), end[-8:] + piece
                    most = tracemalloc.get_traced_memory()[1]
                    tracemalloc.stop()
                self.assertGreater(came, len(value) * count)
                self.assertLess(most, 10_000_000)

        return self.threaded(run)


def _resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class ClientLibraryTests(ProxyTestCase):
    """An ordinary client library"""

    def test_pyle38(self) -> Deferred[None]:
        """pyle38, which works in JSON, writes through W and reads through R."""

        async def use() -> None:
            client = pyle38.Tile38(
                url=f"redis://127.0.0.1:{self.writer_port}",
                follower_url=f"redis://127.0.0.1:{self.reader_port}",
            )
            try:
                self.assertTrue((await client.set("fleet", "a").point(33, -115).exec()).ok)
                found = await client.follower().nearby("fleet").point(33, -115, 10).asIds()
                self.assertEqual(found.ids, ["a"])
            finally:
                await client.quit()

        return self.threaded(lambda: asyncio.run(use()))

    def test_redis(self) -> Deferred[None]:
        """redis-py writes through W and reads through R, pipelines included."""

        def run() -> None:
            with closing(redis.Redis(port=self.writer_port)) as writer:
                self.assertEqual(writer.execute_command("SET", "fleet", "a", "POINT", 33, -115), True)
                pipe = writer.pipeline(transaction=False)
                for number in range(100):
                    pipe.execute_command("SET", "fleet", f"t{number}", "POINT", 33, -115)
                self.assertEqual(pipe.execute(), [True] * 100)
            with closing(redis.Redis(port=self.reader_port, protocol=2)) as reader:
                self.assertEqual(
                    reader.execute_command("WITHIN", "fleet", "COUNT", "BOUNDS", 0, -180, 90, 0), 101
                )
                with self.assertRaisesRegex(redis.ResponseError, "writer port"):
                    reader.execute_command("SET", "fleet", "a", "POINT", 33, -115)

        return self.threaded(run)

    def test_redis_in_resp3(self) -> Deferred[None]:
        """redis-py's own parser of RESP3: a missing value, and a channel."""

        def run() -> None:
            options: Any = {"protocol": 3, "parser_class": _RESP3Parser, "socket_timeout": 20}
            ports = (self.writer_port, self.reader_port)
            pools = [redis.ConnectionPool(port=port, **options) for port in ports]
            writer, reader = (redis.Redis(connection_pool=pool) for pool in pools)
            with closing(writer), closing(reader), closing(reader.pubsub()) as heard:
                self.assertIsNone(writer.execute_command("GET", "fleet", "nobody"))
                pipe = writer.pipeline(transaction=False)
                for number in range(100):
                    pipe.execute_command("GET", "fleet", f"t{number}")
                self.assertEqual(pipe.execute(), [None] * 100)
                heard.subscribe("news")
                self.assertEqual(_next(heard)["type"], "subscribe")
                writer.publish("news", "hello")
                self.assertEqual(_next(heard)["data"], b"hello")

        return self.threaded(run)


def _next(heard: Any) -> Any:
    """The next message of a subscription."""
    return wait_for(lambda: heard.get_message(timeout=1.0), "a message", 20)
