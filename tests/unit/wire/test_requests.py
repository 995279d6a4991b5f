"""Requests are found as Tile38 finds them, in whatever pieces they come, and within limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.wire.forms import NATIVE, RESP, HttpForm, WebSocketForm
from tile38cm.wire.requests import (
    MAX_INLINE,
    Answered,
    Event,
    Malformed,
    Request,
    RequestParser,
    split_line,
)
from tile38cm.wire.resp import encode_request


def events(*pieces: bytes, max_request: int = 1 << 20, max_args: int = 1000) -> list[Event]:
    """All events of these pieces, fed one after the other."""
    parser = RequestParser(max_request, max_args)
    found = []
    for piece in pieces:
        parser.feed(piece)
        while (event := parser.next()) is not None:
            found.append(event)
    return found


def commands(*pieces: bytes) -> list[list[bytes]]:
    """The arguments of all requests in these pieces, of which nothing is malformed."""
    found = events(*pieces)
    assert all(isinstance(event, Request) for event in found), found
    return [event.args for event in found if isinstance(event, Request)]


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes cut at these places."""
    at = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


requests = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=6), max_size=5)

MIXED = (
    b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n"
    b"*0\r\n\r\n\n"
    b"ping\n"
    b"SET k 'a b' string \"x\\ny\"\r\n"
    b"*1\r\n$0\r\n\r\n"
    b"GET k i\n"
    b"*1\r\n$4\r\nquit\r\n"
)
MIXED_ARGS = [
    [b"GET", b"a\r\nb"],
    [b"ping"],
    [b"SET", b"k", b"a b", b"string", b"x\ny"],
    [b""],
    [b"GET", b"k", b"i"],
    [b"quit"],
]


class RequestParserTests(SynchronousTestCase):
    """L{RequestParser}"""

    def test_every_split(self) -> None:
        """Arrays, lines, blank lines and empty arrays give the same requests wherever a packet ends."""
        for cut in range(len(MIXED) + 1):
            self.assertEqual(commands(MIXED[:cut], MIXED[cut:]), MIXED_ARGS)

    def test_byte_by_byte(self) -> None:
        """A client that sends single bytes is understood."""
        self.assertEqual(commands(*(MIXED[at : at + 1] for at in range(len(MIXED)))), MIXED_ARGS)

    @given(requests, st.lists(st.integers(0, 4000), max_size=8))
    def test_round_trip(self, asked: list[list[bytes]], cuts: list[int]) -> None:
        """What was encoded is found again, with its own bytes, in any pieces."""
        raws = [encode_request(args) for args in asked]
        found = events(*pieces_of(b"".join(raws), cuts))
        self.assertEqual(found, [Request(args, raw) for args, raw in zip(asked, raws, strict=True)])

    @given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
    def test_rubbish(self, data: bytes, cuts: list[int]) -> None:
        """Any bytes at all give the same events in any pieces, and never an exception."""
        self.assertEqual(events(*pieces_of(data, cuts)), events(data))

    @given(st.text("*$0123456789\r\nPGab \"'\\{/", max_size=60), st.lists(st.integers(0, 60), max_size=5))
    def test_near_rubbish(self, text: str, cuts: list[int]) -> None:
        """So do bytes that look much like requests."""
        data = text.encode()
        self.assertEqual(events(*pieces_of(data, cuts)), events(data))

    def test_inline_becomes_an_array(self) -> None:
        """An inline command is sent on as an array, which needs no quotes."""
        self.assertEqual(
            events(b"set k 'a b'\n"),
            [Request([b"set", b"k", b"a b"], encode_request([b"set", b"k", b"a b"]))],
        )

    def test_announced_too_large(self) -> None:
        """A bulk that is announced beyond the limit is an error before any of it came."""
        (event,) = events(b"*2\r\n$3\r\nSET\r\n$1000000000000\r\n")
        self.assertIsInstance(event, Malformed)
        self.assertIn("larger than the 1048576 bytes", event[0])

    def test_sum_too_large(self) -> None:
        """Many small arguments count together."""
        (event,) = events(b"*3\r\n" + b"$40\r\n%b\r\n" % (b"x" * 40) * 3, max_request=100)
        self.assertIsInstance(event, Malformed)

    def test_largest(self) -> None:
        """A request of exactly the limit is taken, one byte more is not."""
        raw = encode_request([b"x" * 50])
        self.assertIsInstance(events(raw, max_request=len(raw))[0], Request)
        self.assertIsInstance(events(raw, max_request=len(raw) - 1)[0], Malformed)

    def test_too_many_arguments(self) -> None:
        """An array that is announced with too many elements is an error at once."""
        (event,) = events(b"*1000000000000\r\n")
        self.assertIsInstance(event, Malformed)
        self.assertIn("too many arguments", event[0])

    def test_endless_lines(self) -> None:
        """Neither a line nor a length may go on for ever."""
        self.assertIsInstance(events(b"x" * (MAX_INLINE + 1))[0], Malformed)
        self.assertIsInstance(events(b"*" + b"1" * 40)[0], Malformed)
        self.assertIsInstance(events(b"*1\r\n$" + b"1" * 40)[0], Malformed)

    def test_malformed(self) -> None:
        """Each broken form ends the events with one error."""
        for data in (
            b"*-1\r\n",
            b"*a\r\n",
            b"*\r\n",
            b"*1\n$4\nping\n" + b" " * 40,
            b"*1\r\n:1\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$4\r\npingXX",
            b'set "a\n',
        ):
            found = events(b"ping\n" + data + b"ping\n")
            self.assertEqual(len(found), 2, data)
            self.assertIsInstance(found[1], Malformed, data)

    def test_native(self) -> None:
        """A native command is sent on as an array; JSON at its end, and maybe a string, is one argument."""
        for line, args in (
            (b"PING", [b"PING"]),
            (b" get  k i ", [b"get", b"k", b"i"]),
            (b'SET k i OBJECT {"a": 1} x', [b"SET", b"k", b"i", b"OBJECT", b'{"a": 1} x']),
            (b'SET k i STRING "a b"', [b"SET", b"k", b"i", b"STRING", b"a b"]),
            (b'GET k "a b"', [b"GET", b"k", b'"a', b'b"']),
        ):
            data = b"$%d %b\r\n" % (len(line), line)
            for cut in range(len(data) + 1):
                found = events(b"*1\r\n$4\r\nping\r\n" + data[:cut], data[cut:] + b"ping\n")
                self.assertEqual(found[1], Request(args, encode_request(args), NATIVE))
                self.assertEqual(found[2], Request([b"ping"], encode_request([b"ping"]), RESP))
        self.assertEqual(commands(b"$0 \r\n$2   \r\nping\n"), [[b"ping"]])

    def test_native_malformed(self) -> None:
        """A length that is none, or does not lead to the end of the line, ends the events."""
        for data in (b"$x PING\r\n", b"$ PING\r\n", b"$4\r\nPING\r\n", b"$3 PING\r\n", b"$" + b"1" * 40):
            found = events(data)
            self.assertIsInstance(found[0], Malformed, data)
        (event,) = events(b"$1000000000000 ")
        self.assertIn("larger than", event[0])
        (event,) = events(b"$7 a b c d\r\n", max_args=3)
        self.assertIn("too many arguments", event[0])

    def test_http(self) -> None:
        """The path is the command, and the body of a POST its end, wherever a packet ends."""
        for data, args, form in (
            (b"GET /server HTTP/1.1\r\nHost: x\r\n\r\n", [b"server"], HttpForm()),
            (
                b"GET /get+k%20i HTTP/1.0\r\nauthorization:  pw \r\n\r\n",
                [b"get", b"k", b"i"],
                HttpForm(password=b"pw"),
            ),
            (b"POST /GET HTTP/1.1\r\nContent-Length: 4\r\n\r\n k i", [b"GET", b"k", b"i"], HttpForm()),
            (b"GET /healthz?x=1 HTTP/1.1\n\n", [b"healthz"], HttpForm(health=True)),
            (
                b"GET /fleet/1/2/3.mvt?limit=5 HTTP/1.1\r\n\r\n",
                [b"INTERSECTS", b"fleet", b"LIMIT", b"5", b"MVT", b"2", b"3", b"1"],
                HttpForm(tile=True),
            ),
            (
                b"GET /ping HTTP/1.1\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: abc\r\n\r\n",
                [b"ping"],
                WebSocketForm(key=b"abc"),
            ),
        ):
            for cut in range(len(data) + 1):
                found = events(b"ping\n" + data[:cut], data[cut:] + b"ping\n")
                self.assertEqual(found[1:], [Request(args, encode_request(args), form)])

    def test_http_refused(self) -> None:
        """What cannot be taken is told in HTTP, and nothing behind it is read."""
        for data, status in (
            (b"GET / HTTP/1.1\r\n\r\n", b"400"),
            (b"GET ping HTTP/1.1\r\n\r\n", b"400"),
            (b"GET /%zz HTTP/1.1\r\n\r\n", b"400"),
            (b"GET  /ping HTTP/1.1\r\n\r\n", b"400"),
            (b"PUT /ping HTTP/1.1\r\n\r\n", b"405"),
            (b"OPTIONS /ping HTTP/1.1\r\n\r\n", b"204"),
            (b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
            (b"POST /ping HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
            (b"POST /ping HTTP/1.1\r\nContent-Length: 1000000000000\r\n\r\n", b"413"),
            (b"POST /a HTTP/1.1\r\nContent-Length: 2000\r\n\r\n" + b" x" * 1000, b"400"),
            (b"GET /ping HTTP/1.1\r\n" + b"x: y\r\n" * 20_000, b"431"),
        ):
            (event,) = events(data + b"ping\n")
            assert isinstance(event, Answered), data
            self.assertTrue(event.reply.startswith(b"HTTP/1.1 " + status), event)

    def test_http_switched_off(self) -> None:
        """Without HTTP a request in it gets an answer in it."""
        parser = RequestParser(1000, http=False)
        parser.feed(b"GET /ping HTTP/1.1\r\n")
        event = parser.next()
        assert isinstance(event, Answered)
        self.assertTrue(event.reply.startswith(b"HTTP/1.1 403"))

    def test_rest(self) -> None:
        """What lies behind the last event is there for whoever takes the connection over."""
        parser = RequestParser(1000)
        parser.feed(b"*1\r\n$4\r\nping\r\n\x00\x01")
        parser.next()
        self.assertEqual(parser.rest(), b"\x00\x01")


class SplitLineTests(SynchronousTestCase):
    """L{split_line}"""

    def test_as_the_server(self) -> None:
        """Quotes and escapes mean what they mean to Tile38."""
        self.assertEqual(split_line(rb'a  "b c" \x'), [b"a", b"b c", rb"\x"])
        self.assertEqual(split_line(rb'"a\n\r\t\x41\"" ' + b"'it'"), [b'a\n\r\tx41"', b"it"])
        self.assertEqual(split_line(b'"" x'), [b"", b"x"])

    def test_unbalanced(self) -> None:
        """A quote inside a word, text behind a quote, and an open quote are errors."""
        for line in (b'a"b"', b"'a'b", b'"a', b'"a\\', b'"a\\"'):
            self.assertRaises(ValueError, split_line, line)
