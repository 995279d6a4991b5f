"""L{tile38cm.replication.replay}: what comes back, and what stays in the file."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.replication.minitile38 import MiniTile38, command
from tile38cm.replication.replay import Reason, Replayed, if_new, replay, shown
from tile38cm.replication.tail import BadTail, Tail

NOW = datetime(2024, 5, 6, tzinfo=UTC)
_KEY, _ID = st.sampled_from(["a", "b"]), st.sampled_from(["1", "2", "3"])
_COMMAND = st.one_of(
    st.tuples(st.just("SET"), _KEY, _ID, st.just("STRING"), st.text("xyz", max_size=3)),
    st.tuples(st.just("SET"), _KEY, _ID, st.just("FIELD"), st.just("f"), st.just("1"), st.just("POINT"), _ID),
    st.tuples(st.just("FSET"), _KEY, _ID, st.just("g"), _ID),
    st.tuples(st.just("EXPIRE"), _KEY, _ID, st.just("500")),
    st.tuples(st.just("PERSIST"), _KEY, _ID),
    st.tuples(st.sampled_from(["DEL", "del"]), _KEY, _ID),
    st.tuples(st.just("DROP"), _KEY),
    st.tuples(st.just("FLUSHDB")),
)


def saved(path: Path, commands: list[tuple[str, ...]]) -> Tail:
    """A tail of these commands, saved at C{NOW}."""
    path.write_bytes(b"".join(command(*words) for words in commands))
    return Tail(path, NOW, path.stat().st_size)


class ReplayTests(SynchronousTestCase):
    """A tail and a W in memory."""

    def setUp(self) -> None:
        self.writer = MiniTile38()
        self.told: list[tuple[str, str]] = []

    def replay(self, *commands: tuple[str, ...], if_absent: bool = True, age: float = 0.0) -> Replayed:
        """Replay these commands, so many seconds after they were saved."""
        tail = saved(Path(self.mktemp()), list(commands))
        return replay(
            tail,
            self.writer.direct,
            if_absent,
            lambda skipped: self.told.append((skipped.command, skipped.reason)),
            NOW + timedelta(seconds=age),
        )

    @settings(deadline=None, max_examples=300)
    @given(st.lists(_COMMAND, max_size=30))
    def test_model(self, commands: list[tuple[str, ...]]) -> None:
        """In an empty cluster C{--if-absent} makes what the tail itself set, as if all was done in order."""
        plain, careful = MiniTile38(), MiniTile38()
        with tempfile.NamedTemporaryFile() as file:
            tail = saved(Path(file.name), commands)
            # Some fail, since they change what is not there.
            list(plain.direct().ask_each([word.encode() for word in words] for words in commands))
            replay(tail, careful.direct, True, now=NOW)
        self.assertEqual(
            {key: things for key, things in careful.data.items() if things},
            {key: things for key, things in plain.data.items() if things},
        )

    @settings(deadline=None)
    @given(st.lists(_COMMAND, max_size=30), st.lists(st.tuples(_KEY, _ID), max_size=4))
    def test_nothing_is_touched(self, commands: list[tuple[str, ...]], there: list[tuple[str, str]]) -> None:
        """Whatever the tail holds, what the cluster has stays as it is; twice is the same as once."""
        writer = MiniTile38()
        for key, id in there:
            writer.put(key, id, "newer", g="0")
        with tempfile.NamedTemporaryFile() as file:
            tail = saved(Path(file.name), commands)
            replay(tail, writer.direct, True, now=NOW)
            once = repr(writer.data)
            replay(tail, writer.direct, True, now=NOW)
        self.assertEqual(repr(writer.data), once)
        for key, id in there:
            thing = writer.data[key.encode()][id.encode()]
            self.assertEqual((thing.shape, thing.fields), (b"newer", {b"g": b"0"}))

    def test_reasons(self) -> None:
        """What does not come back is told with its reason."""
        self.writer.put("k", "there")
        done = self.replay(
            ("SET", "k", "there", "STRING", "old"),
            ("FSET", "k", "there", "f", "1"),
            ("SET", "k", "gone", "STRING", "x"),
            ("DEL", "k", "gone"),
            ("SET", "k", "car:1", "STRING", "x"),
            ("PDEL", "k", "car:*"),
            ("SET", "old", "1", "STRING", "x"),
            ("RENAME", "old", "new"),
            ("FSET", "k", "never", "f", "1"),
            ("SETHOOK", "h", "http://x", "NEARBY", "k", "FENCE", "POINT", "1", "2", "3"),
            ("SET", "k", "good", "STRING", "x"),
            ("del", "k", "other"),
        )
        self.assertEqual(done.written, 1)
        self.assertEqual(
            sorted(self.told),
            sorted(
                [
                    ("SET k there NX STRING old", Reason.THERE.value),
                    ("FSET k there f 1", Reason.NOT_BACK.value),
                    ("SET k gone STRING x", Reason.REMOVED.value),
                    ("DEL k gone", Reason.REMOVAL.value),
                    ("SET k car:1 STRING x", Reason.PERHAPS_REMOVED.value),
                    ("PDEL k car:*", Reason.REMOVAL.value),
                    ("SET old 1 STRING x", Reason.RENAMED.value),
                    ("RENAME old new", Reason.REMOVAL.value),
                    ("FSET k never f 1", Reason.NO_OBJECT.value),
                    ("SETHOOK h http://x NEARBY k FENCE", Reason.OTHER.value),
                ]
            ),
        )
        self.assertEqual(sum(done.skipped.values()), len(self.told))
        self.assertEqual(set(self.writer.data[b"k"]), {b"there", b"good"})

    def test_lifetimes(self) -> None:
        """Lifetimes have gone on meanwhile; what is over does not come back, unless it was prolonged."""
        done = self.replay(
            ("SET", "k", "over", "EX", "50", "STRING", "x"),
            ("SET", "k", "left", "EX", "150", "STRING", "x"),
            ("SET", "k", "kept", "EX", "50", "STRING", "x"),
            ("PERSIST", "k", "kept"),
            ("SET", "k", "longer", "EX", "50", "STRING", "x"),
            ("EXPIRE", "k", "longer", "400"),
            ("SET", "k", "again", "STRING", "x"),
            ("PERSIST", "k", "again"),
            ("SET", "k", "again", "EX", "50", "STRING", "x"),
            ("SET", "k", "short", "STRING", "x"),
            ("EXPIRE", "k", "short", "20"),
            age=100.0,
        )
        self.assertEqual(done.skipped, {Reason.ENDED.value: 2})
        ends = {id: thing.ttl for id, thing in self.writer.data[b"k"].items()}
        self.assertEqual(ends, {b"left": 50, b"kept": -1, b"longer": 300, b"short": 1})

    def test_overwrite(self) -> None:
        """Without C{--if-absent} all is done again in order, except what had expired by itself."""
        self.writer.put("k", "there")
        self.writer.put("k", "expired")
        done = self.replay(
            ("SET", "k", "there", "STRING", "old"),
            ("del", "k", "expired"),
            ("SET", "k", "x", "STRING", "1"),
            ("DEL", "k", "x"),
            if_absent=False,
        )
        self.assertEqual((done.written, self.told), (3, []))
        self.assertEqual(
            {id: thing.shape for id, thing in self.writer.data[b"k"].items()},
            {b"there": b"STRING old", b"expired": b"{}"},
        )

    def test_refused(self) -> None:
        """What W refuses is told in its words, and does not end the work."""
        self.writer.refuses[b"FSET"] = "ERR read only"
        done = self.replay(
            ("SET", "k", "1", "STRING", "x"), ("FSET", "k", "1", "f", "1"), ("PERSIST", "k", "1")
        )
        self.assertEqual((done.written, done.refused), (2, {"read only": 1}))
        self.assertEqual(self.told, [("FSET k 1 f 1", "read only")])

    def test_cut_short(self) -> None:
        """A command without its words is an error before anything is sent."""
        self.assertRaises(BadTail, self.replay, ("SET", "k", "1", "STRING", "x"), ("DEL", "k"))
        self.assertEqual(self.writer.seen, [])

    def test_words(self) -> None:
        """C{NX} and the lifetime are put where values of fields cannot be mistaken for options."""
        words = ["set", "k", "i", "FIELD", "nx", "point", "EX", "9", "XX", "FIELD", "ex", "7", "string", "EX"]
        self.assertEqual(
            if_new([word.encode() for word in words], 2.0, False),
            [
                *(b"SET", b"k", b"i", b"NX", b"FIELD", b"nx", b"point", b"EX", b"7.000"),
                *(b"FIELD", b"ex", b"7", b"string", b"EX"),
            ],
        )

    def test_shown(self) -> None:
        """A command on a terminal is one short line of printable characters."""
        self.assertEqual(shown([b"SET", b"k\x1b[2J", b"\xff", b"y" * 100]), f"SET k?[2J ? {'y' * 60}...")
