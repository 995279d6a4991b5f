"""L{tile38cm.state}: what is remembered is there again, and rubbish is said to be that."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.model import Position
from tile38cm.state import LATER, Remembered, StateDirectory, StateError

FULL = Remembered("c", 7, 3, "s1", 6, (120, "abc"), (Position(6, 100), 120), 4, True, "s", (5.0,))
T = TypeVar("T")
#: What every version has written.
REQUIRED = ("cluster", "seen", "starts", "shrunk", "led", "fingerprint", "clean")
#: A few letters are enough, and the table of all of Unicode takes seconds to build.
_TEXT = 'aé"\\€'
_COUNTS = st.integers(0, 2**63)
_STATES = st.builds(
    Remembered,
    cluster=st.text(_TEXT, max_size=5),
    seen=_COUNTS,
    starts=_COUNTS,
    shrunk=st.text(_TEXT, max_size=5),
    led=_COUNTS,
    fingerprint=st.tuples(_COUNTS, st.text(_TEXT, max_size=5)),
    clean=st.none() | st.tuples(st.builds(Position, _COUNTS, _COUNTS), _COUNTS),
    rewritten=_COUNTS,
    whole=st.booleans(),
    session=st.text(_TEXT, max_size=5),
    slacks=st.lists(st.floats(0, 1e6), max_size=2).map(tuple),
)


class Threads:
    """Functions that are to run in threads, until it is time."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def __call__(self, function: Callable[[], T]) -> Deferred[T]:
        done: Deferred[T] = Deferred()

        def run() -> None:
            try:
                done.callback(function())
            except OSError:
                done.errback()

        self._waiting.append(run)
        return done

    def run(self) -> None:
        """All of them, in order."""
        waiting, self._waiting = self._waiting, []
        for run in waiting:
            run()


class StateTests(SynchronousTestCase):
    """One node's directory."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def opened(self) -> StateDirectory:
        """As after a start of the process."""
        directory = StateDirectory(self.path)
        directory.open()
        return directory

    def file(self) -> Path:
        """Where it is."""
        return self.path / "state.json"

    def refuse(self, name: str) -> None:
        """Let a full disk fail a call of C{os}."""

        def fail(*args: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, name, fail)

    def test_first_start(self) -> None:
        """Without a file nothing is remembered, and this start counts."""
        directory = StateDirectory(self.path / "deep" / "er")
        self.assertEqual(directory.open(), Remembered())
        self.assertEqual(directory.now, Remembered(starts=1))

    def test_next_start(self) -> None:
        """All is there again; the next start counts, and the orderly stop is used up by it."""
        self.opened().keep(FULL)
        directory = StateDirectory(self.path)
        self.assertEqual(directory.open(), FULL)
        self.assertEqual((directory.now.starts, directory.now.clean, directory.now.seen), (4, None, 7))
        self.assertIsNone(StateDirectory(self.path).open().clean)

    @settings(deadline=None, max_examples=30)
    @given(_STATES)
    def test_round_trip(self, state: Remembered) -> None:
        """Whatever is kept is read again."""
        self.path.mkdir(exist_ok=True)
        StateDirectory(self.path).keep(state)
        self.assertEqual(StateDirectory(self.path).open(), state)

    def test_change(self) -> None:
        """A change keeps the rest, and is on disk when the call returns."""
        directory = self.opened()
        directory.keep(FULL)
        directory.change(seen=8, fingerprint=(130, "def"))
        self.assertEqual(json.loads(self.file().read_text())["fingerprint"], [130, "def"])
        again = StateDirectory(self.path).open()
        self.assertEqual((again.seen, again.fingerprint, again.led), (8, (130, "def"), 6))

    def test_no_change(self) -> None:
        """What is so already is not written again."""
        directory = self.opened()
        written = self.file().stat().st_ino
        directory.change(seen=0, led=0)
        self.assertEqual(self.file().stat().st_ino, written)
        directory.change(seen=1)
        self.assertNotEqual(self.file().stat().st_ino, written)

    def test_full_disk(self) -> None:
        """A change that a full disk refuses holds in memory, is said once, and spoils nothing."""
        directory = self.opened()
        directory.change(seen=7)
        self.refuse("fsync")
        with capturedLogs() as events:
            directory.change(seen=9, led=9)
            directory.change()
        self.assertEqual((directory.now.seen, directory.now.led), (9, 9))
        self.assertEqual([event["e"] for event in events], ["[Errno 28] No space left on device"])
        self.assertEqual(json.loads(self.file().read_text())["seen"], 7)

    def test_room_again(self) -> None:
        """When there is room again, the next call writes what was not taken, changes or none."""
        directory = self.opened()
        (self.path / "state.new").mkdir()
        directory.change(seen=9)
        self.assertEqual(json.loads(self.file().read_text())["seen"], 0)
        (self.path / "state.new").rmdir()
        directory.change()
        self.assertEqual(json.loads(self.file().read_text())["seen"], 9)

    def test_a_slow_disk_holds_nobody_up(self) -> None:
        """What is written apart is known at once, and undoes nothing that was written meanwhile."""
        directory, threads = self.opened(), Threads()
        changing = Deferred.fromCoroutine(directory.change_apart(threads, fingerprint=(5, "a")))
        self.assertNoResult(changing)
        self.assertEqual(directory.now.fingerprint, (5, "a"))
        self.assertEqual(json.loads(self.file().read_text())["fingerprint"], [0, ""])
        directory.change(seen=9)
        threads.run()
        self.successResultOf(changing)
        again = StateDirectory(self.path).open()
        self.assertEqual((again.fingerprint, again.seen), ((5, "a"), 9))

    def test_full_disk_apart(self) -> None:
        """It is said, and tried again with the next call, as with any other change."""
        directory, threads = self.opened(), Threads()
        (self.path / "state.new").mkdir()
        changing = Deferred.fromCoroutine(directory.change_apart(threads, fingerprint=(5, "a")))
        with capturedLogs() as events:
            threads.run()
        self.successResultOf(changing)
        self.assertEqual(len(events), 1)
        (self.path / "state.new").rmdir()
        directory.change()
        self.assertEqual(json.loads(self.file().read_text())["fingerprint"], [5, "a"])

    def test_changed_while_it_was_written(self) -> None:
        """What the thread did not see is still owed to the disk."""
        directory, threads = self.opened(), Threads()
        first = Deferred.fromCoroutine(directory.change_apart(threads, fingerprint=(5, "a")))
        second = Deferred.fromCoroutine(directory.change_apart(threads, fingerprint=(6, "b")))
        (self.path / "state.new").mkdir()
        threads.run()
        (self.path / "state.new").rmdir()
        directory.change()
        self.assertEqual(json.loads(self.file().read_text())["fingerprint"], [6, "b"])
        for changing in (first, second):
            self.successResultOf(changing)

    def test_full_disk_at_start(self) -> None:
        """A start that cannot be counted does not go on."""
        self.opened()
        self.refuse("fsync")
        self.assertIn("--state.dir", self.fails())

    def fails(self) -> str:
        """What a start says that cannot use the directory."""
        try:
            StateDirectory(self.path).open()
        except StateError as e:
            self.assertIn(str(self.path), str(e))
            return str(e)
        self.fail("it was opened")

    def test_one_at_a_time(self) -> None:
        """Another process is told so, and changes nothing; the directory is free when its user has ended."""
        if child := os.fork():
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        else:
            self.opened()
            os._exit(0)
        directory = self.opened()
        if child := os.fork():
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 3)
        else:
            os._exit(3 if "another manager uses it" in self.fails() else 0)
        self.assertEqual(directory.now.starts, StateDirectory(self.path).open().starts)

    def test_interrupted_write(self) -> None:
        """A half written new file is as if it had never been begun."""
        self.opened().change(seen=7)
        (self.path / "state.new").write_text('{"cluster": "c", "se')
        self.assertEqual(StateDirectory(self.path).open().seen, 7)

    def test_torn(self) -> None:
        """A file cut anywhere is refused with a sentence, and not replaced."""
        self.opened().keep(FULL)
        whole = self.file().read_text()
        for end in range(len(whole)):
            self.file().write_text(whole[:end])
            self.assertIn("cannot be used", self.fails())
            self.assertEqual(self.file().read_text(), whole[:end])

    def test_rubbish(self) -> None:
        """So is everything else that is no state."""
        self.opened().keep(FULL)
        doc = json.loads(self.file().read_text())
        for wrong in (
            b"\xff\xfe",
            b"[]",
            b"null",
            b"[" * 100_000,
            *(json.dumps({**doc, **part}).encode() for part in WRONG),
            *(json.dumps({k: v for k, v in doc.items() if k != name}).encode() for name in REQUIRED),
        ):
            self.file().write_bytes(wrong)
            self.assertIn("cannot be used", self.fails())

    def test_earlier_version(self) -> None:
        """A file from before a field was known is read, and the field is as at a first start."""
        self.opened().keep(FULL)
        doc = json.loads(self.file().read_text())
        self.file().write_text(json.dumps({name: doc[name] for name in REQUIRED}))
        nothing = Remembered()
        later = {name: getattr(nothing, name) for name in LATER}
        self.assertEqual(StateDirectory(self.path).open(), evolve(FULL, **later))

    def test_not_a_directory(self) -> None:
        """A file in the directory's place is said to be unusable."""
        self.path.write_text("")
        self.assertIn("cannot be used", self.fails())


WRONG: tuple[dict[str, Any], ...] = (
    {"seen": "x"},
    {"seen": None},
    {"seen": float("inf")},
    {"starts": float("nan")},
    {"led": [1]},
    {"fingerprint": []},
    {"fingerprint": [1]},
    {"fingerprint": 5},
    {"fingerprint": [float("inf"), ""]},
    {"clean": [1]},
    {"clean": [1, 2]},
    {"clean": ["x", 2, 3]},
    {"clean": 7},
    {"clean": {}},
)
