"""L{tile38cm.replication.tail}: files of commands, listed and read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.replication.minitile38 import command
from tile38cm.model import Position
from tile38cm.replication.local_log import LogError
from tile38cm.replication.markers import marker
from tile38cm.replication.tail import (
    BadTail,
    Content,
    TailSpan,
    _Commands,
    count_tail,
    list_tails,
    open_tail,
    read_tail,
)

_WORDS = st.lists(st.lists(st.binary(max_size=8), min_size=1, max_size=4), max_size=8)
SUMMARY = {
    "member": "a",
    "epoch": 3,
    "start": 10,
    "end": 90,
    "reason": "it was away",
    "commands": 2,
    "keys": {"fleet": 2},
    "names": {"SET": 2},
    "expiries": 0,
    "torn": 0,
    "time": "2024-05-06T07:08:09Z",
}


class CommandsTests(SynchronousTestCase):
    """Commands out of pieces."""

    @settings(deadline=None)
    @given(_WORDS, st.lists(st.integers(0, 200)), st.integers(0, 10))
    def test_any_split(self, log: list[list[bytes]], cuts: list[int], lost: int) -> None:
        """However a log is cut in pieces, its whole commands come, and the rest is counted."""
        raw = b"".join(command(*words) for words in log)
        raw = raw[: len(raw) - min(lost, len(raw))]
        whole: list[list[bytes]] = []
        for words in log:
            if len(b"".join(command(*each) for each in [*whole, words])) <= len(raw):
                whole.append(words)
        commands, read, at = _Commands(), [], 0
        for cut in [*sorted(cuts), len(raw)]:
            read += list(commands.feed(raw[at:cut]))
            at = max(at, cut)
        self.assertEqual(read, whole)
        self.assertEqual(commands.torn, len(raw) - len(b"".join(command(*words) for words in whole)))

    @settings(deadline=None)
    @given(st.binary(max_size=60))
    def test_rubbish(self, raw: bytes) -> None:
        """Bytes of any kind are commands or an error."""
        try:
            for words in _Commands().feed(raw):
                self.assertTrue(words and all(isinstance(word, bytes) for word in words))
        except LogError:
            pass


class FileTests(SynchronousTestCase):
    """A directory with tails."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def write(self, name: str, *commands: bytes) -> Path:
        """A file of commands."""
        path = self.directory / f"{name}.aof"
        path.write_bytes(b"".join(commands))
        return path

    def test_read(self) -> None:
        """Commands come in order, without markers and without a torn last one."""
        path = self.write(
            "t",
            command("SET", "fleet", "1", "POINT", "1", "2"),
            marker("a", Position(1, 5)),
            command("DEL", "fleet", "1"),
            command("SET", "fleet", "2", "POINT", "1", "2")[:-3],
        )
        self.assertEqual(
            list(read_tail(path)),
            [[b"SET", b"fleet", b"1", b"POINT", b"1", b"2"], [b"DEL", b"fleet", b"1"]],
        )

    def test_count(self) -> None:
        """Commands are counted by name and by collection; own expiries by themselves."""
        path = self.write(
            "t",
            command("SET", "fleet", "1", "POINT", "1", "2"),
            command("set", "zones", "1", "POINT", "1", "2"),
            command("del", "fleet", "1"),
            command("DEL", "fleet", "2"),
            command("delhook", "warn"),
            command("SETCHAN", "feed", "NEARBY", "fleet", "FENCE", "POINT", "1", "2", "3"),
            command("RENAME", "a", b"b\xff"),
        )
        self.assertEqual(
            count_tail(path),
            Content(
                commands=5,
                keys={"fleet": 3, "zones": 1, "a": 1, "b\udcff": 1},
                names={"SET": 2, "DEL": 1, "SETCHAN": 1, "RENAME": 1},
                expiries=2,
                torn=0,
            ),
        )

    def test_list(self) -> None:
        """Tails come with their summaries, oldest first; a file without a summary is a copy of a log."""
        self.assertEqual(list_tails(self.directory / "none"), [])
        copy = self.write("20250101-000000", command("PING"))
        path = self.write("20240506-070809-epoch3-10-90", command("PING"))
        path.with_suffix(".json").write_text(json.dumps(SUMMARY))
        self.write("broken").with_suffix(".json").write_text("{}")
        Path(self.directory, "unfinished.aof.part").write_bytes(b"")
        first, *others = list_tails(self.directory)
        self.assertEqual(first.path, path)
        self.assertEqual(first.time, datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))
        self.assertEqual(first.span, TailSpan("a", 3, 10, 90, "it was away"))
        self.assertEqual(first.content, Content(2, {"fleet": 2}, {"SET": 2}, 0, 0))
        self.assertEqual({tail.path.stem for tail in others}, {copy.stem, "broken"})
        self.assertEqual([tail.span for tail in others], [None, None])

    def test_no_tail(self) -> None:
        """What is not there, or is no log, is an error that names the file."""
        self.assertRaises(BadTail, open_tail, self.directory / "none.aof")
        for rubbish in (b"hello\r\n", b"+OK\r\n", b"*1\r\n:1\r\n", b"*0\r\n", b"\xff\xff\xff"):
            path = self.write("rubbish", rubbish)
            error = self.assertRaises(BadTail, list, read_tail(path))
            self.assertIn("rubbish.aof", str(error))
