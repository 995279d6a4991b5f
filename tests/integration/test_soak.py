"""Clients of all kinds: no error, and memory that does not grow; C{TILE38CM_LONG=1}: for ten minutes."""

from __future__ import annotations

import os
import statistics
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import Lab
from tests.integration.long import by_length
from tests.integration.mixed import KINDS, Mixed
from tests.real import require

#: Seconds under load; what is short shows no leak, but that all kinds are answered.
DURATION = float(os.environ.get("TILE38CM_SOAK_SECONDS", by_length(20, 600)))
#: Looks at the memory in that time.
LOOKS = 60
#: How much more the last quarter may need than the second one, as a part of it, and in KiB besides.
GROWTH, SLACK = 0.05, 2048


class SoakTests(SynchronousTestCase):
    """Three nodes with a small backlog, so that it is full soon"""

    timeout = DURATION + 200

    def test_mixed(self) -> None:
        """All answers are right, and each manager keeps its size."""
        require("tile38")
        with Lab(tls="connect", lease="1s", flags=("--replication.backlog", "4MiB")) as lab:
            lab.start()
            leader = lab.wait_settled()
            mixed = Mixed(lab)
            mixed.prepare(leader)
            sizes: dict[str, list[int]] = {node.id: [] for node in lab.nodes}
            with mixed.running():
                for _ in range(LOOKS):
                    time.sleep(DURATION / LOOKS)
                    for node in lab.nodes:
                        sizes[node.id].append(node.manager.resident())
            self.assertEqual(mixed.errors, [], "\n".join(mixed.errors))
            self.assertEqual(set(mixed.done), {kind.__name__ for kind in KINDS})
            self.assertGreater(len(lab.wait_same("soak")), 100)
            quarter = LOOKS // 4
            for name, found in sizes.items():
                early = statistics.median(found[quarter : 2 * quarter])
                late = statistics.median(found[-quarter:])
                print(f"{name}: {early:.0f} KiB, then {late:.0f} KiB; {dict(mixed.done)}")
                if DURATION >= 600:
                    self.assertLess(late, early * (1 + GROWTH) + SLACK, found)
