"""The small client, as far as no server is needed for it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tile38cm.dev.client import is_live


class LiveTests(SynchronousTestCase):
    """Which commands go on telling."""

    def test_live(self) -> None:
        """Subscriptions, and searches with a fence."""
        for told in (
            "SUBSCRIBE a",
            "psubscribe a*",
            "NEARBY fleet FENCE POINT 1 2 3",
            "within k fence GET a b",
        ):
            self.assertTrue(is_live(told.split()), told)

    def test_not_live(self) -> None:
        """All others, whatever their words are."""
        for told in ("GET fence fence", "NEARBY fleet POINT 1 2 3", "SETCHAN c NEARBY k FENCE POINT 1 2 3"):
            self.assertFalse(is_live(told.split()), told)
