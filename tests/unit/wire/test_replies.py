"""Replies are found whole and unchanged, in whatever pieces they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.wire.replies import BadReply, ReplyParser, is_failure, leader_offset, not_executed
from tile38cm.wire.resp import Value, encode_reply, error

line = st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=20)
values = st.recursive(
    st.none() | st.integers() | line | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def replies(*pieces: bytes) -> list[bytes]:
    """All replies of these pieces, fed one after the other."""
    parser = ReplyParser()
    found = []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next()) is not None:
            found.append(reply)
    return found


class ReplyParserTests(SynchronousTestCase):
    """L{ReplyParser}"""

    @given(st.lists(values, max_size=5), st.lists(st.integers(0, 5000), max_size=8))
    def test_any_pieces(self, asked: list[Value], cuts: list[int]) -> None:
        """Nested replies are found whole, byte for byte, wherever packets end."""
        raws = [encode_reply(value) for value in asked]
        data = b"".join(raws)
        at = sorted({cut % (len(data) + 1) for cut in cuts})
        pieces = [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]
        self.assertEqual(replies(*pieces), raws)

    @given(st.lists(values, min_size=1, max_size=4), st.integers(1, 30))
    def test_parts(self, asked: list[Value], size: int) -> None:
        """Replies that are passed on before they are whole lose nothing, and end where they end."""
        raws = [encode_reply(value) for value in asked]
        data, parser = b"".join(raws), ReplyParser()
        longest = max(len(line) for line in data.split(b"\r\n"))
        found, begun = [], b""
        for at in range(0, len(data), size):
            parser.feed(data[at : at + size])
            while (rest := parser.next()) is not None:
                found.append(begun + rest)
                begun = b""
            begun += parser.part()
            # A line of which the end has not come.
            self.assertLessEqual(parser.kept, longest + 2)
        self.assertEqual((found, begun), (raws, b""))

    def test_every_split(self) -> None:
        """Nil bulks, nil arrays and empty ones are whole replies."""
        data = b"$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n-ERR x\r\n*2\r\n*1\r\n:1\r\n$2\r\n\r\n\r\n"
        whole = [b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"$0\r\n\r\n", b"-ERR x\r\n", data[-20:]]
        for cut in range(len(data) + 1):
            self.assertEqual(replies(data[:cut], data[cut:]), whole)

    def test_rubbish(self) -> None:
        """What no reply begins with, and lengths that are none, end the connection."""
        for data in (b"HTTP/1.1 500\r\n", b"$x\r\n", b"*\r\n", b"\r\n"):
            self.assertRaises(BadReply, replies, data)

    def test_rest(self) -> None:
        """What lies behind the last reply is there for whoever takes the connection over."""
        parser = ReplyParser()
        parser.feed(b"+OK\r\n$5\r\nab")
        self.assertEqual(parser.next(), b"+OK\r\n")
        self.assertEqual(parser.rest(), b"$5\r\nab")


class MeaningTests(SynchronousTestCase):
    """The few replies that a proxy must understand"""

    def test_leader_offset(self) -> None:
        """A leader's offset is read from either output; a follower, an error and others have none."""
        self.assertEqual(leader_offset(encode_reply([b"master", 52, []])), 52)
        text = b'{"ok":true,"role":{"role":"master","offset":52,"slaves":[]},"elapsed":"7us"}'
        self.assertEqual(leader_offset(encode_reply(text)), 52)
        for reply in (
            encode_reply([b"slave", b"localhost", 22010, b"connected", 208]),
            encode_reply(
                b'{"ok":true,"role":{"role":"slave","host":"x","port":1,"state":"connected","offset":5}}'
            ),
            error("ERR catching up to leader"),
        ):
            self.assertIsNone(leader_offset(reply))

    def test_failure(self) -> None:
        """Errors are known in either output."""
        for output in ("resp", "json"):
            self.assertTrue(is_failure(error("ERR no", output)))
        self.assertFalse(is_failure(b"+OK\r\n"))
        self.assertFalse(is_failure(encode_reply(b'{"ok":true}')))

    def test_not_executed(self) -> None:
        """What a server says when its role forbade the command is known in either output."""
        for text in (
            "ERR not the leader",
            "ERR read only",
            "ERR catching up to leader",
            "LOADING Tile38 is loading the dataset in memory",
        ):
            self.assertTrue(not_executed(error(text)), text)
            self.assertTrue(not_executed(error(text, "json")), text)
        for reply in (b"+OK\r\n", b"", error("ERR id not found"), encode_reply(b"ERR read only")):
            self.assertFalse(not_executed(reply))
