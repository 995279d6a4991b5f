"""L{tile38cm.vitals}: who wants a processor, by what the kernel shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real import wait_for
from tile38cm import vitals as module
from tile38cm.vitals import Vitals


class VitalsTests(SynchronousTestCase):
    """A directory that looks like the kernel's."""

    def setUp(self) -> None:
        self.proc = Path(self.mktemp())
        self.vitals = Vitals(self.proc)
        self.vitals.watch(7)

    def thread(self, number: int, stat: bytes) -> None:
        """A thread of the process."""
        path = self.proc / "7" / "task" / str(number) / "stat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stat)

    def test_states(self) -> None:
        """One runnable thread is enough; sleeping, stopped and disk-bound ones are none."""
        for state, wants in (("S", False), ("D", False), ("T", False), ("Z", False), ("R", True)):
            self.thread(7, b"7 (tile38-server-1) S 1 7 7 0 -1 64 0")
            self.thread(8, f"8 (tile38-server-1) {state} 1 7 7 0 -1 64 0".encode())
            self.assertIs(self.vitals.wants_processor(), wants, state)

    def test_nobody(self) -> None:
        """Without a number, a process, or a thread that can be read there is nothing to tell."""
        self.assertFalse(self.vitals.wants_processor())
        (self.proc / "7" / "task" / "7").mkdir(parents=True)
        self.assertFalse(self.vitals.wants_processor())
        for cut in (b"", b"7", b"7 (tile38-server", b"7 (tile38-server) R 1 7 7"):
            self.thread(7, cut)
            self.assertFalse(self.vitals.wants_processor(), cut)
        self.thread(7, b"7 (tile38-server) R 1 7 7 0 -1 64 0")
        self.assertTrue(self.vitals.known and self.vitals.wants_processor())
        self.vitals.forget()
        self.assertFalse(self.vitals.known or self.vitals.wants_processor())

    def test_killed(self) -> None:
        """Its memory is freed before its sockets close, which takes a processor, too."""
        self.thread(7, b"7 (tile38-server) R 1 7 7 0 -1 4194372 0")
        self.assertFalse(self.vitals.wants_processor())

    def test_unreadable(self) -> None:
        """What cannot be read tells nothing, and raises nothing."""
        (self.proc / "7" / "task" / "7" / "stat").mkdir(parents=True)
        self.assertFalse(self.vitals.wants_processor())
        (self.proc / "8").mkdir()
        (self.proc / "8" / "task").write_bytes(b"")
        self.vitals.watch(8)
        self.assertFalse(self.vitals.wants_processor())

    def test_another_process(self) -> None:
        """The server may count in a container of its own; whoever has its number here is not asked."""
        for name in ("twist", "tile38cm", ") R tile38-server", "a (tile38-server) R"):
            self.thread(7, f"7 ({name}) R 1 7 7 0 -1 64 0".encode())
            self.assertFalse(self.vitals.wants_processor(), name)
        self.thread(7, b"7 (tile38-server) R) S 1 7 7 0 -1 64 0")
        self.assertFalse(self.vitals.wants_processor())

    def test_real(self) -> None:
        """A process that works, is stopped, and is gone."""
        if not Path("/proc/self/task").exists():
            self.skipTest("this system has no /proc")
        self.patch(module, "NAME", os.path.basename(os.path.realpath(sys.executable)).encode()[:6])
        worker = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            vitals = Vitals()
            vitals.watch(worker.pid)
            wait_for(vitals.wants_processor, "work", 30)
            worker.send_signal(signal.SIGSTOP)
            wait_for(lambda: not vitals.wants_processor(), "the stop", 30)
        finally:
            worker.kill()
            worker.wait()
        self.assertFalse(vitals.wants_processor())
