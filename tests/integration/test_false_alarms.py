"""A machine under load from all sides deposes nobody: on demand only, C{TILE38CM_LONG=1}, for ten minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.lab import Lab, Node
from tests.integration.load import Load, fill
from tests.integration.long import LONG
from tests.real import ReplyError, RespClient, require, wait_for

#: Seconds under load.
DURATION = float(os.environ.get("TILE38CM_LOAD_SECONDS", "600"))
#: Objects in the collection that large searches return whole.
MANY = 100_000
#: Seconds that a search holds up all others.
SEARCH = 3.0
#: Seconds between restarts of Consul.
CONSUL_EVERY = 60.0

_BURN = "while True: sum(range(10000))"
_WRITE = """
import os, sys
block = os.urandom(1 << 20)
while True:
    with open(sys.argv[1], 'wb') as file:
        for _ in range(64):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
"""


class FalseAlarmTests(SynchronousTestCase):
    """Three nodes with the lease that operators have"""

    timeout = DURATION + 600

    def test_load(self) -> None:
        """Processors, disk and network busy, long searches, Consul restarted: the same node leads on."""
        if not LONG:
            raise SkipTest("ten minutes: TILE38CM_LONG=1 asks for them")
        require("tile38")
        with Lab(lease="1s", persistent=True) as lab:
            lab.start()
            leader = lab.wait_settled()
            epoch = lab.status()["epoch"]
            with lab.writer(leader) as client:
                fill(client, "large", MANY)
            connects: dict[str, Callable[[], RespClient]] = {
                node.id: (lambda node=node: lab.writer(node, timeout=60))  # type: ignore[misc]
                for node in lab.nodes
            }
            with burning(lab.folder), Load("alarm", connects, 0.005) as load, self.traffic(lab, leader):
                self.restart_consul(lab)
            lead = "".join(f"\n--- {node.id}\n{told(node)}" for node in lab.nodes)
            self.assertIs(lab.wait_settled(timeout=60), leader, lead)
            self.assertEqual(lab.status()["epoch"], epoch)
            self.assertEqual(load.errors, [])
            self.assertEqual(load.acknowledged - lab.wait_same("alarm", timeout=60), set())
            print({name: round(writer.pause, 2) for name, writer in load.writers.items()})

    @contextmanager
    def traffic(self, lab: Lab, leader: Node) -> Iterator[None]:
        """Large replies from every node, and searches that hold up all others on the leader's."""
        stop = threading.Event()
        works: list[Callable[[], object]] = [lambda: search(leader)]
        works += [lambda node=node: lab.read(node, "SCAN", "large", "LIMIT", MANY) for node in lab.nodes]  # type: ignore[misc]
        threads = [threading.Thread(target=repeat, args=(work, stop), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)

    def restart_consul(self, lab: Lab) -> None:
        """For as long as all this lasts."""
        end = time.monotonic() + DURATION
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(CONSUL_EVERY, left))
            lab.consul.kill()
            lab.consul.start()
            wait_for(lambda: lab.status(), "Consul's status", 30)


def told(node: Node) -> str:
    """What its manager has logged from the start; that Consul was away is known."""
    return "\n".join(line for line in node.manager.text().splitlines() if "onsul" not in line)


def search(node: Node) -> None:
    """Keep a Tile38 from doing anything else, now and then."""
    try:
        node.tile38.command("TIMEOUT", SEARCH, "EVALRO", "while true do end", 0, timeout=60)
    except ReplyError:
        time.sleep(3 * SEARCH)


def repeat(work: Callable[[], object], stop: threading.Event) -> None:
    """Again and again; what a busy machine does not manage is tried again."""
    while not stop.is_set():
        try:
            work()
        except (OSError, ReplyError, TimeoutError):
            stop.wait(0.5)


@contextmanager
def burning(folder: Path) -> Iterator[None]:
    """Two processes for each processor, and two that write and sync."""
    programs = [[sys.executable, "-c", _BURN]] * (2 * (os.cpu_count() or 1))
    programs += [[sys.executable, "-c", _WRITE, str(folder / f"disk{i}")] for i in range(2)]
    running = [subprocess.Popen(program) for program in programs]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
