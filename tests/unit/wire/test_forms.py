"""What the protocols beside RESP are made of, in bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.wire.forms import NATIVE, RESP, HttpForm, WebSocketForm
from tile38cm.wire.live import Talk
from tile38cm.wire.requests import RequestParser
from tile38cm.wire.resp import bulk
from tile38cm.wire.resp3 import Nulls
from tile38cm.wire.websocket import MAX_FRAME, BadFrame, Frame, FrameParser, Opcode, frame

JSON = bulk(b'{"ok":true}')
FIRST = bulk(b'{"ok":true,"live":true}')
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def masked(payload: bytes, opcode: int = Opcode.TEXT) -> bytes:
    """A client's frame."""
    mask = b"\x01\x02\x03\x04"
    whole = frame(payload, Opcode(opcode))
    head = whole[: len(whole) - len(payload)]
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return head[:1] + bytes((head[1] | 0x80,)) + head[2:] + mask + body


class FormTests(SynchronousTestCase):
    """One reply in each protocol"""

    def test_resp(self) -> None:
        """As it stands."""
        self.assertEqual(RESP.encode(JSON, "json"), JSON)
        self.assertEqual(RESP.encode_live(JSON), JSON)

    def test_native(self) -> None:
        """The JSON alone, or in the other output the whole reply."""
        self.assertEqual(NATIVE.encode(JSON, "json"), b'$11 {"ok":true}\r\n')
        self.assertEqual(NATIVE.encode(b"+PONG\r\n", "resp"), b"$7 +PONG\r\n\r\n")
        self.assertEqual(NATIVE.encode(b"", "json"), b"")

    def test_http(self) -> None:
        """A head that counts the line end behind the body."""
        self.assertEqual(
            HttpForm().encode(JSON, "json"),
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n"
            b'Content-Length: 13\r\nAccess-Control-Allow-Origin: *\r\n\r\n{"ok":true}\r\n',
        )
        self.assertEqual(HttpForm().encode(b"", "json"), b"")

    def test_health(self) -> None:
        """Only HEALTHZ makes its failure one of HTTP."""
        failed = bulk(b'{"ok":false,"err":"not caught up"}')
        self.assertTrue(HttpForm().encode(failed, "json").startswith(b"HTTP/1.1 200"))
        self.assertTrue(HttpForm(health=True).encode(failed, "json").startswith(b"HTTP/1.1 500"))
        self.assertTrue(HttpForm(health=True).encode(JSON, "json").startswith(b"HTTP/1.1 200"))

    def test_tile(self) -> None:
        """A vector tile comes as its bytes."""
        got = HttpForm(tile=True).encode(bulk(b'{"ok":true,"mvt":"Z2Vv/w"}'), "json")
        self.assertIn(b"Content-Type: application/vnd.mapbox-vector-tile\r\nContent-Length: 6\r\n", got)
        self.assertTrue(got.endswith(b"\r\n\r\ngeo\xff\r\n"))
        for other in (JSON, bulk(b'{"mvt":5}'), bulk(b"[]"), bulk(b'{"mvt":"?"}')):
            self.assertTrue(HttpForm(tile=True).encode(other, "json").startswith(b"HTTP/1.1 500"))

    def test_websocket(self) -> None:
        """The handshake of RFC 6455's example, and a frame of text."""
        got = WebSocketForm(key=KEY).encode(JSON, "json")
        self.assertIn(b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", got)
        self.assertTrue(got.endswith(b'\r\n\r\n\x81\x0b{"ok":true}'))

    def test_first_of_a_fence(self) -> None:
        """Tile38 lets the framing of RESP show there, and nowhere else."""
        self.assertEqual(NATIVE.encode_live(FIRST, True), b'$30 $23\r\n{"ok":true,"live":true}\r\n\r\n')
        self.assertEqual(
            WebSocketForm().encode_live(FIRST, True), b'\x81\x1e$23\r\n{"ok":true,"live":true}\r\n'
        )
        self.assertEqual(NATIVE.encode_live(JSON), b'$11 {"ok":true}\r\n')


class NullTests(SynchronousTestCase):
    """RESP3's null"""

    def test_any_pieces(self) -> None:
        """It takes the place of the others, but not inside of a bulk, wherever a piece ends."""
        data = b"$-1\r\n*3\r\n$5\r\n$-1\r\n\r\n*-1\r\n:-1\r\n-ERR $-1\r\n$0\r\n\r\n$-1\r\n"
        expected = b"_\r\n*3\r\n$5\r\n$-1\r\n\r\n_\r\n:-1\r\n-ERR $-1\r\n$0\r\n\r\n_\r\n"
        for first in range(len(data) + 1):
            for second in range(first, len(data) + 1):
                nulls = Nulls()
                pieces = (data[:first], data[first:second], data[second:])
                self.assertEqual(b"".join(map(nulls.replaced, pieces)), expected)


class FrameTests(SynchronousTestCase):
    """Frames of WebSocket"""

    def test_lengths(self) -> None:
        """Each of the three forms of a length is written and read, in any pieces."""
        for size in (0, 125, 126, MAX_FRAME):
            data = masked(b"x" * size)
            for cut in (0, 1, 2, 3, 5, len(data) // 2, len(data)):
                parser = FrameParser()
                parser.feed(data[:cut])
                early = parser.next()
                parser.feed(data[cut:] + b"\x89")
                self.assertEqual(early or parser.next(), Frame(Opcode.TEXT, b"x" * size))
                self.assertIsNone(parser.next())

    def test_refused(self) -> None:
        """A frame without a mask, or with a great length, is none."""
        for data in (b"\x81\x05hello", b"\x81\xff" + b"\x7f" * 8):
            parser = FrameParser()
            parser.feed(data)
            self.assertRaises(BadFrame, parser.next)

    @given(st.binary(max_size=60), st.integers(0, 60))
    def test_any_bytes(self, data: bytes, cut: int) -> None:
        """Any bytes in any pieces give the same frames or the same refusal."""

        def found(*pieces: bytes) -> list[Frame | str]:
            parser, frames = FrameParser(), list[Frame | str]()
            try:
                for piece in pieces:
                    parser.feed(piece)
                    while (came := parser.next()) is not None:
                        frames.append(came)
            except BadFrame as bad:
                frames.append(str(bad))
            return frames

        self.assertEqual(found(data[:cut], data[cut:]), found(data))


class TalkTests(SynchronousTestCase):
    """Both directions of a live connection"""

    def test_events(self) -> None:
        """Whatever pieces they come in, each becomes one message."""
        data = FIRST + bulk(b"{1}") + bulk(b"{22}")
        for cut in range(len(data)):
            talk = Talk(NATIVE, RequestParser(1000), fence=True)
            got = talk.told(data[:cut]) + talk.told(data[cut:])
            self.assertEqual(got, b'$30 $23\r\n{"ok":true,"live":true}\r\n\r\n$3 {1}\r\n$4 {22}\r\n')

    def test_native_client(self) -> None:
        """Its commands become arrays."""
        talk = Talk(NATIVE, RequestParser(1000), fence=False)
        self.assertEqual(talk.said(b"$13 UNSUBSC").server, b"")
        self.assertEqual(talk.said(b"RIBE c\r\n").server, b"*2\r\n$11\r\nUNSUBSCRIBE\r\n$1\r\nc\r\n")
        self.assertTrue(talk.said(b"$x").over)

    def test_websocket_client(self) -> None:
        """Pings are answered, words mean nothing, a farewell is returned."""
        requests = RequestParser(1000)
        requests.feed(
            b"GET /x HTTP/1.1\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n\r\n"
        )
        requests.next()
        requests.feed(masked(b"early", Opcode.PING))
        talk = Talk(WebSocketForm(), requests, fence=True)
        self.assertEqual(talk.said(b""), (b"", b"\x8a\x05early", False))
        self.assertEqual(talk.said(masked(b"QUIT\n")), (b"", b"", False))
        self.assertEqual(talk.said(masked(b"\x03\xe8bye", Opcode.CLOSE)), (b"", b"\x88\x02\x03\xe8", True))
        self.assertTrue(talk.said(b"\x81\x01x").over)
