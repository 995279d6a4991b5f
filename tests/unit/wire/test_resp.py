"""RESP and the server's JSON answers are encoded as the server does it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tile38cm.wire.resp import encode_reply, encode_request, error, okay


class RespTests(SynchronousTestCase):
    """The encoders"""

    def test_request(self) -> None:
        """A request is an array of bulks."""
        self.assertEqual(encode_request([b"GET", b""]), b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n")

    def test_reply(self) -> None:
        """Each kind of value has its form."""
        self.assertEqual(
            encode_reply(["OK", 1, None, b"x", []]), b"*5\r\n+OK\r\n:1\r\n$-1\r\n$1\r\nx\r\n*0\r\n"
        )

    def test_error_stays_one_line(self) -> None:
        """Nothing in an error's text can begin another reply."""
        self.assertEqual(error("ERR a\r\n+OK"), b"-ERR a  +OK\r\n")

    def test_error_in_json(self) -> None:
        """JSON leaves ERR out and keeps other codes, as Tile38 does."""
        self.assertEqual(error("ERR no", "json"), b'$38\r\n{"ok":false,"err":"no","elapsed":"0s"}\r\n')
        self.assertIn(b'"UNCERTAIN x"', error("UNCERTAIN x", "json"))

    def test_okay(self) -> None:
        """Done, in either output."""
        self.assertEqual(okay(), b"+OK\r\n")
        self.assertEqual(okay("json"), b'$26\r\n{"ok":true,"elapsed":"0s"}\r\n')
