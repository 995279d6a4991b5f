"""The cluster as a library for applications' own tests, with embedded servers."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real import ROOT, wait_for
from tile38cm.dev.client import talk
from tile38cm.dev.cluster import DevCluster, Plan

CONFTEST = 'pytest_plugins = ["tile38cm.dev.fixtures"]\n'
TEST = """
from tile38cm.dev.client import talk

def test_writes(tile38_cluster):
    assert talk(tile38_cluster.leader.writer_port, "SET", "fleet", "truck1", "POINT", "33", "-112") == "OK"

def test_same_cluster(tile38_cluster):
    assert talk(tile38_cluster.leader.reader_port, "GET", "fleet", "truck1", "POINT") == ["33", "-112"]
"""


class LibraryTests(SynchronousTestCase):
    """L{DevCluster} in somebody's tests."""

    def test_asynchronous(self) -> None:
        """Entered, all nodes agree; a leader may be killed, and writes go on; left, nothing is there."""

        async def use() -> Path:
            async with DevCluster(Plan(3, embedded=True)) as cluster:
                leader = cluster.leader
                other = next(node for node in cluster.nodes.values() if node != leader)
                self.assertEqual(talk(other.writer_port, "SET", "k", "i", "STRING", "x"), "OK")
                cluster.children[f"manager-{leader.id}"].signal(signal.SIGKILL)
                self.assertEqual(talk(other.writer_port, "SET", "k", "j", "STRING", "y"), "OK")
                wait_for(lambda: cluster.picture().leader not in (None, leader.id), "another leader")
                return cluster.folder

        self.assertFalse(asyncio.run(use()).exists())

    def test_pytest(self) -> None:
        """The fixture gives all tests of a session one cluster."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_application.py").write_text(TEST)
        program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
        ended = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, timeout=300)
        self.assertIn("2 passed", ended.stdout, ended.stdout + ended.stderr)
