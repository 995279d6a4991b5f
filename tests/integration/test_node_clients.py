"""ioredis and npm's C{tile38} through W and R, live fences included.

Both are installed once into the user's cache; where Node or npm's registry is
missing these tests say so and are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.lab import READER_PORT, WRITER_PORT, settled_lab

SCRIPTS = Path(__file__).parent / "node"
#: What is installed; another version is another folder.
PACKAGES = ("ioredis@6.0.0", "tile38@0.9.4")
CACHE = Path.home() / ".cache" / "tile38cm" / "-".join(("node", *PACKAGES)).replace("@", "-")
INSTALL_TIMEOUT, RUN_TIMEOUT = 120, 60


def modules() -> Path:
    """The folder that the packages are in, installed if they are not.

    @raise SkipTest: they cannot be had.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise SkipTest("no Node (node and npm on PATH)")
    if not CACHE.exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=CACHE.parent))
        try:
            _install(folder)
            folder.rename(CACHE)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return CACHE


def _install(folder: Path) -> None:
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_TIMEOUT)
    except (subprocess.SubprocessError, OSError) as failed:
        raise SkipTest(f"npm could not install {PACKAGES}: {failed}") from failed


def run(script: str, *arguments: object) -> Any:
    """What a script prints, in a folder where it finds the packages."""
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(modules() / "node_modules", Path(folder) / "node_modules")
        shutil.copy(SCRIPTS / script, folder)
        command = ["node", script, *map(str, arguments)]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=RUN_TIMEOUT)
    if ended.returncode:
        raise AssertionError(f"{script}: {ended.stderr[-2000:]}")
    return json.loads(ended.stdout)


class NodeClientTests(SynchronousTestCase):
    """Written through a follower's W, read through the leader's R"""

    def test_ioredis(self) -> None:
        """Commands, a pipeline, a missing value, a refusal and a channel, in RESP2 and RESP3."""
        modules()
        with settled_lab() as lab:
            leader = lab.wait_settled()
            found = run("ioredis.mjs", lab.others(leader)[0].host, WRITER_PORT, leader.host, READER_PORT)
        for protocol in ("RESP2", "RESP3"):
            got = found[protocol]
            self.assertIn("writer port", got.pop("refused"))
            self.assertEqual(
                got,
                {
                    "set": "OK",
                    "pipeline": 100,
                    "missing": None,
                    "name": "truck",
                    "nearby": 3,
                    "heard": ["news", "hello"],
                },
            )

    def test_tile38(self) -> None:
        """Objects, a search, and a fence on each port."""
        modules()
        with settled_lab() as lab:
            leader = lab.wait_settled()
            found = run("tile38.mjs", lab.others(leader)[0].host, WRITER_PORT, leader.host, READER_PORT)
        self.assertEqual(
            found,
            {
                "set": True,
                "get": {"type": "Point", "coordinates": [-115, 33]},
                "nearby": ["truck1"],
                "fence of w": [None, "truck2", "enter"],
                "fence of r": [None, "truck2", "enter"],
            },
        )
