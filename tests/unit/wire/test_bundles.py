"""Bundles are exactly what the strict parser finds, whatever the bytes are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.wire.bundles import BundleScanner
from tile38cm.wire.commands import Class, classify
from tile38cm.wire.requests import Request, RequestParser
from tile38cm.wire.resp import encode_request
from tile38cm.wire.weights import APART, LARGE, LIGHT, SEARCH, VALUE, weight_of

NAMES = b"SET get Del NEARBY OUTPUT QUIT AUTH FENCE TILE38CM PING JSET".split()
WORDS = [*b"k LIMIT 10 1000 fence WHERE tile38cm json *9999".split(), b"", b"\r\n", b"a\x00b"]
ARGUMENTS = st.lists(st.sampled_from(WORDS) | st.binary(max_size=40), max_size=6)
REQUESTS = st.lists(
    st.tuples(st.sampled_from(NAMES), ARGUMENTS).map(lambda parts: encode_request([parts[0], *parts[1]])),
    max_size=8,
)
#: Lines that begin something, whole or not, in RESP2 and RESP3.
LINES = b"*1 *2 $3 $1 $-1 :5 %1 #f ~1 -ERR +OK PING *0 *-1 *1000000000 |1 >1 SET GET k".split()
PIECES = st.sampled_from([line + b"\r\n" for line in LINES] + [b"XX", b"SET", b"\r\n"])


def strictly(data: bytes) -> list[Request]:
    """What the strict parser finds."""
    parser = RequestParser(1 << 20)
    parser.feed(data)
    found = []
    while isinstance(event := parser.next(), Request):
        found.append(event)
    return found


class BundleTests(SynchronousTestCase):
    """What may be sent on unread"""

    def setUp(self) -> None:
        self.scanner = BundleScanner()

    def check(self, data: bytes) -> None:
        """A bundle holds the first requests of the strict parser, byte for byte, and none that needs care."""
        bundle = self.scanner.scan(data)
        if bundle is None:
            return
        found = strictly(data)[: bundle.requests]
        commands = [classify(request.args) for request in found]
        weights = [
            weight_of(c, request.args, len(request.raw)) for c, request in zip(commands, found, strict=True)
        ]
        self.assertEqual(len(found), bundle.requests)
        self.assertEqual(b"".join(request.raw for request in found), bundle.raw)
        self.assertTrue(data.startswith(bundle.raw))
        self.assertEqual(max(weights), bundle.weight)
        self.assertLess(bundle.weight, APART)
        self.assertEqual(sum(command.heavy for command in commands), bundle.heavy)
        self.assertEqual(any(command.leader for command in commands), bundle.leader)
        for command in commands:
            self.assertIsNone(command.refusal)
            self.assertNotIn(command.name, ("output", "auth", "hello", "quit"))
            self.assertIn(
                command.class_, (Class.WRITE, Class.READ, Class.CONNECTION, Class.STATUS, Class.MESSAGE)
            )

    @given(REQUESTS, st.integers(0, 20))
    def test_requests(self, requests: list[bytes], missing: int) -> None:
        """Any requests, the last of which may be cut."""
        data = b"".join(requests)
        self.check(data[: max(0, len(data) - missing)])

    @given(st.lists(PIECES | st.binary(max_size=8), max_size=14))
    def test_rubbish(self, pieces: list[bytes]) -> None:
        """Any bytes, most of them nearly requests."""
        self.check(b"".join(pieces))

    def test_pipeline(self) -> None:
        """A pipeline of plain commands is one bundle; what stands behind it is left out."""
        plain = b"".join(encode_request(text.split()) for text in (b"SET k i POINT 1 2", b"get k i"))
        for rest in (b"", b"*1\r\n$4\r\nQU", encode_request([b"QUIT"])):
            bundle = self.scanner.scan(plain + rest)
            self.assertEqual(bundle, (plain, 2, True, 1, VALUE))

    def test_single(self) -> None:
        """One short request is a bundle, whatever its words are, unless it is none for company."""
        for text, leader, weight in (
            ("SET k i POINT 1 2", True, LIGHT),
            ("SET k tile38cm2 POINT 1 2", True, LIGHT),
            ("get k i", False, VALUE),
            ("NEARBY k LIMIT 10 POINT 1 2", False, SEARCH),
        ):
            data = encode_request(text.encode().split())
            self.assertEqual(self.scanner.scan(data), (data, 1, leader, int(weight > LIGHT), weight), text)
        for text in ("SET tile38cm i POINT 1 2", "NEARBY k POINT 1 2", "KEYS *"):
            self.assertIsNone(self.scanner.scan(encode_request(text.encode().split())), text)

    def test_wrong_end(self) -> None:
        """A bulk that does not end as it must would have the server close a connection that others share."""
        self.assertIsNone(self.scanner.scan(b"*2\r\n$3\r\nGET\r\n$1\r\nkXX"))

    def test_announcement(self) -> None:
        """An array that announces thousands of elements is not looked at."""
        self.assertIsNone(self.scanner.scan(b"*4000000000\r\n$3\r\nSET\r\n"))


class WeightTests(SynchronousTestCase):
    """Who may travel with whom"""

    def test_weights(self) -> None:
        """Searches of few objects travel with each other, all that may be large or slow does so alone."""
        for text, weight in (
            ("SET k i POINT 1 2", LIGHT),
            ("timeout 1 del k i", LIGHT),
            ("GET k i", VALUE),
            ("NEARBY k LIMIT 10 POINT 1 2", SEARCH),
            ("timeout 1 scan k limit 100", SEARCH),
            ("NEARBY k POINT 1 2", APART),
            ("NEARBY k LIMIT 101 POINT 1 2", APART),
            ("NEARBY k LIMIT", APART),
            ("NEARBY k LIMIT " + "9" * 9999, APART),
            ("NEARBY k LIMIT POINT 1 2", APART),
            ("NEARBY k LIMIT 10 WHERE speed 1 2 POINT 1 2", APART),
            ("NEARBY k LIMIT 10 FENCE POINT 1 2 3", APART),
            ("SUBSCRIBE c", APART),
            ("EVAL x 0", APART),
            ("CLIENT GETNAME", APART),
            ("KEYS *", APART),
            ("NONSENSE", APART),
        ):
            args = text.encode().split()
            self.assertEqual(weight_of(classify(args), args, 50), weight, text)

    def test_large(self) -> None:
        """A large request is no company for others."""
        args = [b"SET", b"k", b"i", b"STRING", b"x"]
        self.assertEqual(weight_of(classify(args), args, LARGE + 1), APART)
        self.assertIsNone(BundleScanner().scan(encode_request([*args[:4], b"x" * LARGE])))
