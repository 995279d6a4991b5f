"""The document that says who leads: its form, its successors, and unclear answers."""

from __future__ import annotations

import itertools
import json
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.coordination.status import EpochRecord, Rubbish, Settlement, Status, found, resize, take_over

counts = st.integers(min_value=0, max_value=2**63)
names = st.frozensets(st.text(), min_size=1, max_size=4)
leases = st.floats(min_value=0.001, max_value=3599)
statuses = st.builds(Status, st.text(), counts, counts, st.text(), names, leases, st.text(), counts)
records = st.builds(
    EpochRecord, counts, st.text(), counts, counts, st.none() | counts, reason=st.text(), time=st.text()
)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)

STATUS = Status("cluster", 4, 2, "A", frozenset({"A", "B", "C"}), 1.0, "old")


class DocumentTests(SynchronousTestCase):
    """What is written can be read, and nothing else can."""

    @given(statuses)
    def test_status_round_trip(self, status: Status) -> None:
        """A status is read as it was written."""
        self.assertEqual(Status.decode(status.encode()), status)

    @given(records)
    def test_record_round_trip(self, record: EpochRecord) -> None:
        """So is the record of an epoch."""
        self.assertEqual(EpochRecord.decode(record.encode()), record)

    @given(st.binary() | anything.map(lambda doc: json.dumps(doc).encode()))
    def test_rubbish_is_refused(self, raw: bytes) -> None:
        """Whatever bytes are there, reading them ends in a document or in C{Rubbish}."""
        for kind in (Status, EpochRecord):
            try:
                kind.decode(raw)
            except Rubbish:
                pass

    @given(st.sampled_from(sorted(json.loads(STATUS.encode()))), anything)
    def test_one_wrong_field(self, field: str, value: Any) -> None:
        """A field of a wrong kind makes the whole document rubbish, never a wrong status."""
        doc = json.loads(STATUS.encode())
        doc[field] = value
        try:
            status = Status.decode(json.dumps(doc).encode())
        except Rubbish:
            return
        self.assertIsInstance(value, list if field == "sync_set" else (str, int, float))
        self.assertGreater(status.lease, 0)
        self.assertTrue(all(isinstance(name, str) for name in status.sync_set))

    def test_every_field_is_needed(self) -> None:
        """A document that lacks a field is rubbish."""
        for kind, raw in ((Status, STATUS.encode()), (EpochRecord, EpochRecord(1, "A", 0, 0).encode())):
            for name in json.loads(raw):
                doc = json.loads(raw)
                del doc[name]
                if (kind, name) == (EpochRecord, "start"):
                    continue  # not yet known: as good as null
                self.assertRaises(Rubbish, kind.decode, json.dumps(doc).encode())

    def test_not_a_count(self) -> None:
        """Truth values, fractions and negative numbers are no counts."""
        for value in (True, 1.5, -1, "1", None):
            doc = json.loads(STATUS.encode()) | {"epoch": value}
            self.assertRaises(Rubbish, Status.decode, json.dumps(doc).encode())

    def test_too_deep(self) -> None:
        """A document that exhausts the parser is rubbish too."""
        self.assertRaises(Rubbish, Status.decode, b"[" * 100_000)


class SuccessorTests(SynchronousTestCase):
    """The few documents that may follow a document."""

    def test_founding(self) -> None:
        """The first epoch has its founder as the whole set."""
        status = found("cluster", "A", 1.0)
        self.assertEqual((status.epoch, status.version, status.sync_set), (1, 1, {"A"}))

    def test_takeover_leaves_the_old_leader_out(self) -> None:
        """Its log may go on where nobody sees it."""
        taken = take_over(STATUS, "B", 2)
        self.assertEqual((taken.leader, taken.epoch, taken.version), ("B", 3, 5))
        self.assertEqual(taken.sync_set, {"B", "C"})

    def test_takeover_of_oneself_keeps_the_set(self) -> None:
        """A leader that was started again still has all that its followers have."""
        self.assertEqual(take_over(STATUS, "A", 2).sync_set, STATUS.sync_set)

    def test_takeover_above_what_was_seen(self) -> None:
        """A candidate that knows of a later epoch than Consul goes beyond that."""
        self.assertEqual(take_over(STATUS, "B", 9).epoch, 10)

    def test_resize_keeps_the_leader(self) -> None:
        """Whoever is dropped, the leader stays in its own set."""
        small = resize(STATUS, drop=frozenset({"A", "B", "C"}))
        self.assertEqual((small.sync_set, small.version, small.epoch), ({"A"}, 5, 2))

    def test_resize_adds(self) -> None:
        """Others join those that are there."""
        self.assertEqual(resize(STATUS, add=frozenset({"D"})).sync_set, {"A", "B", "C", "D"})

    @given(statuses, st.text(), counts)
    def test_every_successor_is_later(self, status: Status, candidate: str, seen: int) -> None:
        """The version grows with each change, the epoch with each takeover, and the leader is in its set."""
        taken = take_over(status, candidate, seen)
        self.assertGreater(taken.epoch, max(status.epoch, seen))
        for successor in (taken, resize(status, add=frozenset({candidate}))):
            self.assertEqual(successor.version, status.version + 1)
        self.assertIn(candidate, taken.sync_set)


class SettlementTests(SynchronousTestCase):
    """What became of a write whose answer was lost."""

    def setUp(self) -> None:
        self.settlement = Settlement(evolve(STATUS, version=5), 40)
        numbers = itertools.count()
        self.attempt = lambda: self.settlement.attempt(lambda: f"nonce {next(numbers)}")

    def test_every_attempt_is_different(self) -> None:
        """Consul does not move the index of a key that is written with an equal value."""
        self.assertNotEqual(self.attempt().encode(), self.attempt().encode())

    def test_an_unchanged_index_proves_nothing(self) -> None:
        """The request may still be on its way: write again."""
        self.attempt()
        self.assertIsNone(self.settlement.outcome(STATUS, 40))

    def test_any_attempt_may_have_won(self) -> None:
        """The first request may be the one that was applied, long after it was given up."""
        first = self.attempt()
        self.attempt()
        self.assertIs(self.settlement.outcome(first, 41), True)

    def test_another_write_won(self) -> None:
        """Ours can never be applied any more, since the index has moved."""
        self.attempt()
        self.assertIs(self.settlement.outcome(evolve(STATUS, nonce="another"), 41), False)

    def test_the_document_is_gone(self) -> None:
        """A deleted key is another's doing."""
        self.attempt()
        self.assertIs(self.settlement.outcome(None, 0), False)

    def test_creating(self) -> None:
        """At index 0 a key that is still missing proves nothing either."""
        settlement = Settlement(found("cluster", "A", 1.0), 0)
        settlement.attempt(lambda: "mine")
        self.assertIsNone(settlement.outcome(None, 0))
