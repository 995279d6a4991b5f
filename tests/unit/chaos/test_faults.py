"""Faults are undone."""

from __future__ import annotations

import asyncio
import random
import resource
import subprocess
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos import faults


class DiskTests(SynchronousTestCase):
    """A disk without room, made by a limit."""

    def test_twice(self) -> None:
        """Two such faults at once leave the limit as it was."""
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        self.addCleanup(child.communicate)
        before = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
        node = SimpleNamespace(id="node1", manager=SimpleNamespace(process=child))
        world: Any = SimpleNamespace(nodes=[node])
        striking = faults.Striking(world, random.Random(1), lambda _: None)
        within: list[tuple[int, int]] = []

        async def strike() -> None:
            both = [asyncio.create_task(faults._disk(striking)) for _ in range(2)]
            await asyncio.sleep(0)
            within.append(resource.prlimit(child.pid, resource.RLIMIT_FSIZE))
            await asyncio.gather(*both)

        with mock.patch.object(faults.Striking, "some_time", side_effect=[0.01, 0.02]):
            asyncio.run(strike())
        self.assertEqual(within, [(0, before[1])])
        self.assertEqual(resource.prlimit(child.pid, resource.RLIMIT_FSIZE), before)
