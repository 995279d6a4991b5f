"""Openings of gates out of logs."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.gates import Opening, by_node, openings, overlaps


def line(gate: str, epoch: int, at: float) -> str:
    """One line of a manager's log."""
    return json.dumps({"message": "…", "gate": gate, "epoch": epoch, "at": at})


class GatesTests(SynchronousTestCase):
    """From lines to pairs that must not be."""

    def test_openings(self) -> None:
        """Each opening lasts until it was shut; the last one is open still."""
        found = openings("a", [line("open", 1, 1), "noise", line("shut", 1, 3), line("open", 2, 5)], ())
        self.assertEqual(list(found), [Opening("a", 1, 1, 3), Opening("a", 2, 5, float("inf"))])

    def test_killed(self) -> None:
        """The gate of a process that was killed ended with it, whatever its next run says."""
        lines = [line("open", 1, 1), '{"gate": "sh', line("open", 2, 9), line("shut", 2, 10)]
        found = openings("a", lines, [0.5, 4])
        self.assertEqual(list(found), [Opening("a", 1, 1, 4), Opening("a", 2, 9, 10)])

    def test_one_at_a_time(self) -> None:
        """Gates one after another are as they should be, also those of one node."""
        logs = {
            "a": [line("open", 1, 1), line("shut", 1, 3), line("open", 1, 4), line("shut", 1, 5)],
            "b": [line("open", 2, 5)],
        }
        self.assertEqual(list(overlaps(by_node(logs, {}))), [])

    def test_two_at_a_time(self) -> None:
        """Gates of two nodes at one time are found, be others between or not."""
        logs = {
            "a": [line("open", 1, 1), line("shut", 1, 9)],
            "b": [line("open", 2, 2), line("shut", 2, 3)],
            "c": [line("open", 3, 8)],
        }
        pairs = [(one.node, other.node) for one, other in overlaps(by_node(logs, {"c": [8.5]}))]
        self.assertEqual(pairs, [("a", "b"), ("a", "c")])
