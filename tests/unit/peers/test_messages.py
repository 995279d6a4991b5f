"""L{tile38cm.peers.messages}: what is written can be read, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.coordination.promises import Answer, Heartbeat
from tile38cm.coordination.survey import Report
from tile38cm.model import Position
from tile38cm.peers.messages import (
    POSITION,
    Attach,
    BadMessage,
    Data,
    Resume,
    answer_words,
    beat_words,
    number,
    proof,
    read_answer,
    read_beat,
    read_position,
    read_report,
    report_words,
)

_COUNTS = st.integers(0, 10**18 - 1)
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_POSITIONS = st.builds(Position, _COUNTS, _COUNTS)
_LEASES = st.floats(0.001, 3599)
_READERS: tuple[Callable[[list[bytes]], object], ...] = (
    read_beat,
    lambda words: read_answer("m", words),
    read_report,
    Attach.read,
    Resume.read,
    Data.read,
)
#: What a hostile or broken peer may put where a JSON document is expected.
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
_REPORT = {
    "member": "m",
    "position": {"epoch": 1, "offset": 2},
    "seen_epoch": 1,
    "bound": False,
    "eligible": True,
    "priority": 0,
    "log_size": 2,
}


class RoundTripTests(SynchronousTestCase):
    """What one node writes another one reads."""

    @given(_COUNTS, _NAMES, _COUNTS, _LEASES, _COUNTS)
    def test_heartbeat(self, epoch: int, leader: str, seq: int, lease: float, offset: int) -> None:
        """A heartbeat keeps every number, the lease to the last bit."""
        beat = Heartbeat(epoch, leader, seq, lease, offset)
        self.assertEqual(read_beat(beat_words(beat)), beat)

    @given(_COUNTS, _COUNTS, st.none() | _POSITIONS)
    def test_answer(self, epoch: int, seq: int, position: Position | None) -> None:
        """An answer too, and that its position is not known."""
        answer = Answer("m", epoch, seq, position)
        self.assertEqual(read_answer("m", answer_words(answer)), answer)

    @given(_NAMES, st.none() | _POSITIONS, _COUNTS, st.booleans(), st.booleans(), st.integers())
    def test_report(
        self, member: str, position: Position | None, seen: int, bound: bool, eligible: bool, priority: int
    ) -> None:
        """Where a member stands; priorities may be negative."""
        report = Report(member, position, seen, bound, eligible, priority, 7)
        self.assertEqual(read_report(report_words(report)), report)

    @given(st.none() | _POSITIONS, st.none() | st.tuples(_COUNTS, st.sampled_from(["", "0123abcd"])))
    def test_attach(self, position: Position | None, prefix: tuple[int, str] | None) -> None:
        """A request for the log, with the sum over the log or without."""
        attach = Attach(position, prefix)
        self.assertEqual(Attach.read(attach.words()), attach)

    @given(_POSITIONS, _COUNTS)
    def test_resume(self, position: Position, to_come: int) -> None:
        """The answer to it."""
        resume = Resume(position, to_come)
        self.assertEqual(Resume.read(resume.words()), resume)

    @given(_COUNTS, st.binary(max_size=40), st.integers(0, 10**17))
    def test_data(self, epoch: int, payload: bytes, start: int) -> None:
        """Bytes of a log, which know where they begin."""
        data = Data.read(Data(epoch, start + len(payload), payload).words())
        self.assertEqual((data.start, data.payload, data.epoch), (start, payload, epoch))


class RubbishTests(SynchronousTestCase):
    """What is no message is a L{BadMessage}, and never anything else."""

    @given(st.sampled_from(_READERS), st.lists(st.binary(max_size=6), max_size=7))
    def test_any_words(self, read: Callable[[list[bytes]], object], words: list[bytes]) -> None:
        """Words that mean nothing."""
        try:
            read(words)
        except BadMessage:
            pass

    @given(
        st.sampled_from(_READERS[:2] + _READERS[4:]), st.lists(st.binary(max_size=6), max_size=5), st.data()
    )
    def test_known_kind(self, read: Any, words: list[bytes], data: st.DataObject) -> None:
        """The right first word before words that mean nothing."""
        kind = data.draw(st.sampled_from([b"BEAT", b"PROMISE", b"CONTINUE", b"D"]))
        try:
            read([kind, *words])
        except BadMessage:
            pass

    @given(st.dictionaries(st.sampled_from(sorted(_REPORT)), _JSON, max_size=3))
    def test_reports(self, wrong: dict[str, Any]) -> None:
        """A report with values of any kind in any place, infinite ones too."""
        try:
            read_report([POSITION, json.dumps({**_REPORT, **wrong}).encode()])
        except BadMessage:
            pass

    def test_infinite_number(self) -> None:
        """JSON of Python knows infinity, which is no whole number."""
        for name in ("seen_epoch", "priority", "log_size"):
            raw = json.dumps({**_REPORT, name: float("inf")}).encode()
            self.assertRaises(BadMessage, read_report, [POSITION, raw])

    def test_deep_report(self) -> None:
        """Nesting without end is no report."""
        self.assertRaises(BadMessage, read_report, [POSITION, b"[" * 100_000])

    def test_numbers(self) -> None:
        """Numbers are plain digits, and not too many."""
        self.assertEqual(number(b"012"), 12)
        for word in (b"", b"-1", b"+1", b"1.0", b" 1", b"1_0", b"x", b"1" * 19, "٣".encode()):
            self.assertRaises(BadMessage, number, word)

    def test_leases(self) -> None:
        """A lease is a positive number of seconds, less than an hour."""
        words = list(beat_words(Heartbeat(1, "a", 1, 1.0, 1)))
        for lease in (b"0", b"-1", b"nan", b"inf", b"3600", b"", b"1s"):
            self.assertRaises(BadMessage, read_beat, [*words[:4], lease, words[5]])

    def test_more_than_the_log(self) -> None:
        """Bytes cannot begin before the log does."""
        self.assertRaises(BadMessage, Data.read, [b"D", b"1", b"2", b"abc"])

    def test_position(self) -> None:
        """Only an unknown epoch makes a position unknown, whatever its offset."""
        self.assertIsNone(read_position(b"?", b"x"))
        self.assertRaises(BadMessage, read_position, b"1", b"?")


class ProofTests(SynchronousTestCase):
    """The proof of the secret."""

    @given(*[st.sampled_from([b"a", b"b"])] * 4, st.sampled_from(["s", "t"]))
    def test_depends_on_all(self, side: bytes, mine: bytes, theirs: bytes, who: bytes, secret: str) -> None:
        """Another side, nonce, member or secret gives another proof."""
        same = (side, mine, theirs, who, secret) == (b"a", b"a", b"a", b"a", "s")
        equal = proof(secret, side, (mine, theirs), who) == proof("s", b"a", (b"a", b"a"), b"a")
        self.assertEqual(equal, same)
