"""Tests of L{tests.run}: what it counts, and when it fails."""

from __future__ import annotations

from io import StringIO
from unittest import TestSuite

from twisted.trial import unittest
from twisted.trial.reporter import Reporter

from tests.run import closing_line, exit_code, failed, usually


class Examples(unittest.SynchronousTestCase):
    """Not run by itself: its methods are no tests by name."""

    def good(self) -> None:
        """Succeeds."""

    def bad(self) -> None:
        """Fails."""
        self.fail("on purpose")

    def broken(self) -> None:
        """Raises."""
        raise RuntimeError("on purpose")

    def left_out(self) -> None:
        """Skips."""
        raise unittest.SkipTest("on purpose")


class ClosingLineTests(unittest.SynchronousTestCase):
    """The last line and the exit code."""

    def outcome(self, *names: str) -> tuple[str, int]:
        result = Reporter(StringIO())
        TestSuite(Examples(name) for name in names).run(result)
        return closing_line(result), exit_code(result)

    def test_all_well(self) -> None:
        """What passed is counted, and skips are only mentioned if there were some."""
        self.assertEqual(self.outcome("good", "good"), ("2 passed, 0 failed", 0))
        self.assertEqual(self.outcome("good", "left_out"), ("1 passed, 0 failed, 1 skipped", 0))

    def test_failures(self) -> None:
        """Failures and errors are failures."""
        self.assertEqual(self.outcome("good", "bad", "broken"), ("1 passed, 2 failed", 1))

    def test_names(self) -> None:
        """Each test that failed is named once."""
        result = Reporter(StringIO())
        TestSuite(Examples(name) for name in ("broken", "good", "bad", "bad")).run(result)
        name = f"{__name__}.Examples"
        self.assertEqual(failed(result), [f"{name}.bad", f"{name}.broken"])

    def test_nothing_ran(self) -> None:
        """A run in which nothing was tested fails."""
        self.assertEqual(self.outcome(), ("0 passed, 0 failed", 1))
        self.assertEqual(self.outcome("left_out"), ("0 passed, 0 failed, 1 skipped", 1))


class UsuallyTests(unittest.SynchronousTestCase):
    """What is run where nothing is named."""

    def test_chaos_is_asked_for(self) -> None:
        """It takes minutes, and runs where they are given."""
        self.assertEqual(usually({}), ("unit", "integration"))
        self.assertEqual(usually({"TILE38CM_CHAOS_MINUTES": "10"}), ("unit", "integration", "chaos"))
