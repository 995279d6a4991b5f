"""L{tile38cm.replication.conversation}: what a Tile38 is told that wants to follow."""

from __future__ import annotations

import hiredis
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.replication.conversation import (
    BLOCK,
    MARGIN,
    NOT_YET,
    OK,
    RETRY,
    SAFE_SIZE,
    Answer,
    Offer,
    OwnLog,
    answer,
    in_trap,
)

LARGE = OwnLog(3 * BLOCK + 17, "f" * 32, "e" * 32)


def offer(log: OwnLog = LARGE, to_come: int = 0) -> Offer:
    """What one may be told."""
    return Offer("leader", log, to_come)


class AnswerTests(SynchronousTestCase):
    """One command at a time."""

    def test_whole_conversation(self) -> None:
        """A long log: everything that Tile38 asks, in its order and its own spelling."""
        last = LARGE.size - BLOCK
        for words, reply in (
            ([b"aofmd5", b"0", b"%d" % BLOCK], b"+" + b"f" * 32 + b"\r\n"),
            ([b"aofmd5", b"%d" % last, b"%d" % BLOCK], b"+" + b"e" * 32 + b"\r\n"),
            ([b"quit"], OK),
            ([b"replconf", b"listening-port", b"9851"], OK),
            ([b"replconf", b"ip-address", b"10.0.0.1"], OK),
        ):
            self.assertEqual(answer(words, offer()), Answer(reply))
        self.assertEqual(answer([b"aof", b"%d" % LARGE.size], offer()), Answer(OK, stream_from=LARGE.size))

    def test_server(self) -> None:
        """A flat list with an id, a size, and nobody followed."""
        reader = hiredis.Reader(encoding="ascii")
        reader.feed(answer([b"server"], offer(to_come=5)).reply)
        flat = reader.gets()
        facts = dict(zip(flat[::2], flat[1::2], strict=True))
        self.assertEqual((facts["id"], facts["aof_size"]), ("leader", str(LARGE.size + 5)))
        self.assertNotIn("following", facts)

    def test_not_wanted(self) -> None:
        """Without an offer nobody gets anything that could begin a comparison or a stream."""
        for words in (
            [b"server"],
            [b"aofmd5", b"0", b"%d" % BLOCK],
            [b"aof", b"0"],
            [b"replconf", b"a", b"b"],
        ):
            self.assertEqual(answer(words, None), Answer(NOT_YET, turned_away=True))

    def test_login(self) -> None:
        """Whatever password comes is taken: a refusal would crash the follower."""
        for words in ([b"AUTH", b"x"], [b"auth", b"x", b"y"]):
            for terms in (None, offer()):
                self.assertEqual(answer(words, terms), Answer(OK))

    @given(st.integers(0, 4 * BLOCK), st.integers(0, 4 * BLOCK))
    def test_other_ranges(self, pos: int, size: int) -> None:
        """Any other range is answered by an error that is not C{EOF}, and the attempt ends."""
        if size == BLOCK and pos in (0, LARGE.size - BLOCK):
            return
        told = answer([b"aofmd5", b"%d" % pos, b"%d" % size], offer())
        self.assertEqual(told, Answer(RETRY, turned_away=True))
        self.assertNotIn(b"EOF", told.reply)

    def test_sums_not_known(self) -> None:
        """A short log has no sums: a question for them is turned away."""
        for pos in (0, 100):
            told = answer([b"aofmd5", b"%d" % pos, b"%d" % BLOCK], offer(OwnLog(BLOCK + 100)))
            self.assertTrue(told.turned_away)

    @given(st.lists(st.binary(max_size=12), min_size=1, max_size=4))
    def test_anything(self, words: list[bytes]) -> None:
        """Whatever is said, one line or list is the answer, never C{EOF}."""
        for terms in (None, offer()):
            reply = answer(words, terms).reply
            self.assertTrue(reply.endswith(b"\r\n"))
            self.assertNotIn(b"EOF", reply)


class AnnouncedTests(SynchronousTestCase):
    """When Tile38 will call itself caught up."""

    def test_short_and_nothing_to_come(self) -> None:
        """It asks for 0 and compares with what was announced: so 0 is."""
        self.assertEqual(offer(OwnLog(1000)).announced, 0)
        self.assertEqual(offer(OwnLog(0)).announced, 0)

    def test_otherwise(self) -> None:
        """Its own size and what is to come."""
        self.assertEqual(offer(OwnLog(1000), 5).announced, 1005)
        self.assertEqual(offer().announced, LARGE.size)
        self.assertEqual(offer(to_come=5).announced, LARGE.size + 5)


class TrapTests(SynchronousTestCase):
    """The sizes at which Tile38 always cuts."""

    def test_bounds(self) -> None:
        """From the first block to the second, and a little before, since logs grow meanwhile."""
        for size, caught in (
            (0, False), (BLOCK - MARGIN - 1, False), (BLOCK - 1, True), (BLOCK, True),
            (SAFE_SIZE - 1, True), (SAFE_SIZE, False),
        ):  # fmt: skip
            self.assertEqual(in_trap(size), caught, size)
