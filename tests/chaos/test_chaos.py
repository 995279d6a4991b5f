"""A short run with real servers; C{TILE38CM_CHAOS_MINUTES} and C{TILE38CM_CHAOS_SEED} change it."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import TestCase

from tests.real import ROOT, require

MINUTES = float(os.environ.get("TILE38CM_CHAOS_MINUTES", "1.5"))
SEED = int(os.environ.get("TILE38CM_CHAOS_SEED", "20"))
#: Seconds for the start, for the cluster to settle in the end, and for the checks.
BESIDES = 300
#: So many lines at the end tell what a run without findings was.
SUMMARY = 6


class ChaosTests(TestCase):
    """Three nodes, clients, faults."""

    timeout = MINUTES * 60 + BESIDES + 30

    def test_nothing_is_lost(self) -> None:
        """After faults of all kinds what clients were told is true, and all nodes hold the same."""
        for program in ("consul", "tile38"):
            require(program)
        command = [sys.executable, "-m", "tests.chaos", "--minutes", str(MINUTES), "--seed", str(SEED)]
        ended = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MINUTES * 60 + BESIDES,
        )
        lines = ended.stdout.splitlines()
        print("\n".join(lines if ended.returncode else lines[:1] + lines[-SUMMARY:]))
        if ended.returncode:
            told = [line for line in lines if "  FOUND " in line or "  LAST " in line]
            self.fail("\n".join([*lines[:1], *told] if told else lines[-20:]))
