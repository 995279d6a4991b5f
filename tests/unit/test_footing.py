"""L{tile38cm.footing}: whether something that was acknowledged may be missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tile38cm import footing as module
from tile38cm.footing import Footing, boot_id
from tile38cm.model import Position


class FootingTests(SynchronousTestCase):
    """One node, started again and again."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.here: Position | None = Position(2, 100)
        self.boot("1")

    def boot(self, name: str) -> None:
        """The machine is started again."""
        self.patch(module, "boot_id", lambda: name)

    def start(self, first: bool = False) -> Footing:
        """The process is."""
        footing = Footing(self.path, lambda: self.here)
        footing.load(first)
        return footing

    def test_first(self) -> None:
        """A new node has acknowledged nothing."""
        self.assertFalse(self.start(True).shaken)

    def test_end_of_the_process(self) -> None:
        """Nothing is lost by that, however often."""
        self.start(True)
        for _ in range(3):
            self.assertFalse(self.start().shaken)

    def test_end_of_the_machine(self) -> None:
        """What was not synced may be gone, until the node has caught up; a restart does not mend it."""
        self.start(True)
        self.boot("2")
        for _ in range(2):
            self.assertTrue(self.start().shaken)
        footing = self.start()
        footing.caught_up()
        self.assertFalse(footing.shaken)
        self.assertFalse(self.start().shaken)

    def test_what_vouches_is_removed_for_good(self) -> None:
        """The word of an orderly stop does not come back when the machine ends behind the next start."""
        self.start(True).stopped()
        synced = set()
        self.patch(os, "fsync", lambda file: synced.add(os.fstat(file).st_ino))
        for name in ("", "2"):
            self.boot(name)
            synced.clear()
            self.start()
            self.assertIn(self.path.parent.stat().st_ino, synced)

    def test_orderly_stop(self) -> None:
        """It is good for one start, of any machine; a shaken node's is good for nothing."""
        self.start(True).stopped()
        self.boot("2")
        self.assertFalse(self.start().shaken)
        self.boot("3")
        footing = self.start()
        footing.stopped()
        self.assertTrue(footing.shaken)
        self.assertTrue(self.start().shaken)

    def test_refused_backlog(self) -> None:
        """While the backlog is in memory only, the end of the process is as bad as the machine's."""
        footing = self.start(True)
        footing.kept(False)
        self.assertFalse(footing.shaken)
        footing.caught_up()
        self.assertTrue(self.start().shaken)
        footing.kept(True)
        self.assertFalse(self.start().shaken)
        footing.kept(False)
        footing.stopped()
        self.assertFalse(self.start().shaken)

    def test_full_disk(self) -> None:
        """What cannot be written is not vouched for."""

        def fail(*args: Any) -> None:
            raise OSError("full")

        self.start(True)
        with self.subTest("at a stop"):
            self.patch(os, "fsync", fail)
            self.start().stopped()
            self.path.unlink(missing_ok=True)
        self.assertTrue(self.start().shaken)

    def test_older_disk(self) -> None:
        """A disk with less than the node has told is as good as the position that it comes to."""
        footing = self.start(True)
        footing.had(Position(2, 101))
        self.assertTrue(footing.shaken)
        self.here = None
        self.assertTrue(footing.shaken)
        footing.moved()
        self.assertTrue(footing.shaken)
        self.here = Position(1, 500)
        footing.moved()
        self.assertTrue(footing.shaken)
        self.assertTrue(self.start().shaken)
        self.here = Position(3, 1)
        footing.moved()
        self.assertFalse(footing.shaken)
        self.assertFalse(self.start().shaken)

    def test_older_disk_that_caught_up(self) -> None:
        """A leader's word ends it as well."""
        footing = self.start(True)
        footing.had(Position(9, 9))
        footing.caught_up()
        self.assertFalse(footing.shaken or self.start().shaken)

    def test_nothing_was_lost(self) -> None:
        """What is here is not missing."""
        footing = self.start(True)
        footing.had(Position(2, 100))
        self.assertFalse(footing.shaken or self.start().shaken)

    def test_no_boot_id(self) -> None:
        """Where starts of the machine cannot be told apart nothing is taken for granted."""
        self.boot("")
        self.start(True)
        self.assertTrue(self.start().shaken)


class BootTests(SynchronousTestCase):
    """The kernel's own word."""

    def test_word(self) -> None:
        """It is what the kernel says now, without the end of the line."""
        path = Path(self.mktemp())
        self.patch(module, "_BOOT", path)
        for name in ("one", "two"):
            path.write_text(f"{name}\n")
            self.assertEqual(boot_id(), name)

    def test_none(self) -> None:
        """Elsewhere there is none."""
        self.patch(module, "_BOOT", Path("/nowhere/at/all"))
        self.assertEqual(boot_id(), "")
