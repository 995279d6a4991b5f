"""L{tile38cm.replication.stream}: whole commands out of a spliced stream."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.replication.stream import Chunk, Kind, Spliced, StreamRefused, StreamSplitter
from tile38cm.wire.resp import encode_request

GREETING = b"+OK\r\n"


def pack(*words: bytes) -> bytes:
    """One canonical command."""
    return encode_request(words)


SET = pack(b"SET", b"fleet", b"truck1", b"POINT", b"33.5", b"-112.1")
DEL = pack(b"del", b"fleet", b"truck1")
MESSAGE = pack(b"PUBLISH", b"zone", b'{"detect":"inside"}')

words = st.binary(max_size=30) | st.sampled_from(
    [b"*3", b"x*3\r\n$7", MESSAGE, MESSAGE[:25], b"", b"\r\n*1\r\n"]
)
commands = st.lists(words, min_size=1, max_size=5).map(lambda w: pack(b"SET", *w))
messages = st.tuples(words, words).map(lambda w: pack(b"PUBLISH", *w))
streams = st.lists(commands | messages, max_size=12)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """C{data} cut at those places (taken modulo its length)."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]


def read(parts: list[bytes]) -> tuple[bytes, list[bytes], int]:
    """The log bytes, the messages and the count that a splitter gives for those reads."""
    splitter = StreamSplitter()
    chunks = [chunk for part in parts for chunk in splitter.feed(part)] + splitter.release()
    log = b"".join(chunk.payload for chunk in chunks if chunk.kind is Kind.DATA)
    said = [chunk.payload for chunk in chunks if chunk.kind is Kind.PUBLISH]
    assert sum(chunk.count for chunk in chunks) == len(log)
    return log, said, splitter.good


class WholeStreamTests(SynchronousTestCase):
    """Streams as Tile38 means them."""

    @settings(deadline=None)
    @given(streams, st.lists(st.integers(0, 10_000), max_size=20), st.integers(0, 3))
    def test_any_split_gives_the_same(self, items: list[bytes], cuts: list[int], early: int) -> None:
        """However the bytes are cut, and wherever C{+OK} stands among messages, all arrives in order."""
        head = [item for item in items[:early] if item.startswith(b"*3\r\n$7\r\nPUBLISH\r\n")]
        stream = b"".join(head) + GREETING + b"".join(items)
        log, said, good = read(pieces(stream, cuts))
        is_message = [item.startswith(b"*3\r\n$7\r\nPUBLISH\r\n") for item in items]
        data = [item for item, message in zip(items, is_message, strict=True) if not message]
        talk = head + [item for item, message in zip(items, is_message, strict=True) if message]
        self.assertEqual(log, b"".join(data))
        self.assertEqual(b"".join(said), b"".join(talk))
        self.assertEqual(good, len(log))

    def test_every_single_split(self) -> None:
        """Each single place where a read may end gives the same result."""
        stream = GREETING + SET + MESSAGE + DEL + pack(b"SET", b"k", b"i", b"STRING", b"ends in *3")
        whole = read([stream])
        for cut in range(len(stream)):
            self.assertEqual(read([stream[:cut], stream[cut:]])[0], whole[0], cut)

    def test_neighbours_are_joined(self) -> None:
        """One read gives one chunk for each run of one kind."""
        splitter = StreamSplitter()
        self.assertEqual(
            splitter.feed(GREETING + SET + DEL + MESSAGE + MESSAGE + DEL),
            [Chunk(Kind.DATA, SET + DEL), Chunk(Kind.PUBLISH, MESSAGE * 2), Chunk(Kind.DATA, DEL)],
        )

    def test_message_before_greeting(self) -> None:
        """A message may come before the leader's C{+OK}."""
        splitter = StreamSplitter()
        self.assertEqual(splitter.feed(MESSAGE), [Chunk(Kind.PUBLISH, MESSAGE)])
        self.assertEqual(splitter.feed(GREETING + SET), [Chunk(Kind.DATA, SET)])

    def test_value_with_message_text(self) -> None:
        """A value that holds the text of a message is log like any other."""
        command = pack(b"SET", b"k", b"i", b"STRING", MESSAGE)
        self.assertEqual(StreamSplitter().feed(GREETING + command + SET), [Chunk(Kind.DATA, command + SET)])

    def test_refusal(self) -> None:
        """An error instead of C{+OK} is the leader's refusal, with its words."""
        error = self.assertRaises(StreamRefused, StreamSplitter().feed, b"-ERR pos is too big\r\n")
        self.assertIn("pos is too big", str(error))


class HeldTests(SynchronousTestCase):
    """A command that could be cut waits for the next byte."""

    def setUp(self) -> None:
        self.splitter = StreamSplitter()
        self.splitter.feed(GREETING)
        self.command = pack(b"SET", b"k", b"i", b"STRING", b"1*3")

    def test_held_until_next_command(self) -> None:
        """It is given out when the next byte begins a command."""
        self.assertEqual(self.splitter.feed(self.command), [])
        self.assertTrue(self.splitter.held)
        self.assertEqual(self.splitter.feed(b"*"), [Chunk(Kind.DATA, self.command)])
        self.assertFalse(self.splitter.held)

    def test_held_until_released(self) -> None:
        """It is given out when the caller says that nothing follows."""
        self.splitter.feed(self.command)
        self.assertEqual(self.splitter.good, 0)
        self.assertEqual(self.splitter.release(), [Chunk(Kind.DATA, self.command)])
        self.assertEqual(self.splitter.good, len(self.command))
        self.assertEqual(self.splitter.release(), [])

    def test_mangled_is_never_given_out(self) -> None:
        """When the rest of a message follows, it was cut, and is neither passed nor counted."""
        self.splitter.feed(SET)
        self.splitter.feed(self.command)
        error = self.assertRaises(Spliced, self.splitter.feed, b"$7\r\nPUBLISH\r\n")
        self.assertEqual((error.good, error.chunks), (len(SET), []))

    def test_in_one_read(self) -> None:
        """The same when command and rest come in one read."""
        error = self.assertRaises(Spliced, self.splitter.feed, SET + self.command + b"$7\r\nPUBLISH\r\n")
        self.assertEqual((error.good, error.chunks), (len(SET), [Chunk(Kind.DATA, SET)]))


class SplicedTests(SynchronousTestCase):
    """Streams with a message in the middle of a command."""

    def judge(self, before: bytes, command: bytes, message: bytes, at: int, parts: Any) -> None:
        """What is given out of a spliced stream is a beginning of the true log."""
        true = before + command + DEL
        stream = GREETING + before + command[:at] + message + command[at:] + DEL
        splitter = StreamSplitter()
        log = b""
        try:
            for part in parts(stream):
                log += b"".join(c.payload for c in splitter.feed(part) if c.kind is Kind.DATA)
        except Spliced as error:
            log += b"".join(c.payload for c in error.chunks if c.kind is Kind.DATA)
            self.assertEqual(error.good, len(log))
        else:
            self.fail(f"splice at {at} was not noticed")
        self.assertEqual(log, true[: len(log)])
        self.assertLessEqual(len(log), len(before))

    def test_every_place(self) -> None:
        """A message at each inner place of a command is noticed, in one read or byte by byte."""
        for command in (SET, DEL, pack(b"SET", b"k", b"i", b"STRING", b"\r\n" * 9)):
            for at in range(1, len(command)):
                self.judge(SET, command, MESSAGE, at, lambda stream: [stream])
                self.judge(SET, command, MESSAGE, at, lambda stream: [bytes([byte]) for byte in stream])

    @settings(deadline=None, max_examples=300)
    @given(
        st.lists(st.text("abc0 {}", max_size=40).map(str.encode), min_size=1, max_size=5),
        st.text("abc{}:,0", max_size=30),
        st.integers(1, 10_000),
        st.lists(st.integers(0, 10_000), max_size=8),
    )
    def test_random_splices(self, values: list[bytes], text: str, at: int, cuts: list[int]) -> None:
        """A message spliced anywhere is never passed as log, however the reads fall."""
        command = pack(b"SET", *values)
        message = pack(b"PUBLISH", b"ch", text.encode())
        self.judge(DEL, command, message, 1 + at % (len(command) - 1), lambda stream: pieces(stream, cuts))

    @settings(deadline=None)
    @given(st.binary(max_size=200), st.lists(st.integers(0, 1000), max_size=8))
    def test_rubbish(self, rubbish: bytes, cuts: list[int]) -> None:
        """No bytes at all make it fail otherwise than with its own errors, or give what did not come."""
        splitter = StreamSplitter()
        stream = GREETING + rubbish
        given_out = b""
        try:
            for part in pieces(stream, cuts):
                given_out += b"".join(chunk.payload for chunk in splitter.feed(part))
        except Spliced as error:
            given_out += b"".join(chunk.payload for chunk in error.chunks)
        self.assertTrue(rubbish.startswith(given_out))

    def test_not_canonical(self) -> None:
        """Nested arrays, numbers, missing strings, empty arrays and odd lengths are not a log's."""
        for odd in (
            b"*1\r\n*1\r\n$1\r\na\r\n", b"*1\r\n:1\r\n", b"*1\r\n$-1\r\n", b"*0\r\n", b"*-1\r\n",
            b"#f\r\n", b"*01\r\n$1\r\na\r\n", b"*1\r\n$01\r\na\r\n", b"*1\r\n$1\r\naXY",
            b"+OK\r\n", b"PING\r\n", b"\0\0",
        ):  # fmt: skip
            splitter = StreamSplitter()
            splitter.feed(GREETING + SET)
            error = self.assertRaises(Spliced, splitter.feed, odd)
            self.assertEqual((error.good, error.chunks), (len(SET), []), odd)

    def test_endless_command(self) -> None:
        """A length that no log holds is not waited for."""
        splitter = StreamSplitter(max_command=1000)
        splitter.feed(GREETING + b"*1\r\n$99999999\r\n" + b"x" * 900)
        self.assertRaises(Spliced, splitter.feed, b"x" * 100)
