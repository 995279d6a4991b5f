"""The program as an operator starts and stops it, and what it says when it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import TILE38_PORT, WRITER_PORT, Lab, Manager, Node, closed
from tests.real import wait_for

#: Seconds for the process to find out that it cannot start.
END_TIMEOUT = 20.0


def alive(pid: int) -> bool:
    """Whether a process is there; one that has ended and is not reaped is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class DaemonTests(SynchronousTestCase):
    """C{twistd} in the background"""

    def test_daemon(self) -> None:
        """It goes to the background, leads, and on SIGTERM leaves neither process, port nor pid file."""
        with Lab(nodes=1) as lab:
            (node,) = lab.nodes
            node.tile38.start()
            pid_file, log = lab.folder / "daemon.pid", lab.folder / "daemon.log"
            own = ["--pidfile", str(pid_file), "--logfile", str(log)]
            code = "from twisted.scripts.twistd import run; run()"
            program = [sys.executable, "-c", code, *own, "tile38cm", *node.manager.flags]
            self.assertEqual(subprocess.run(program, cwd=lab.folder, timeout=30).returncode, 0)
            wait_for(pid_file.exists, "a pid file", 10)
            pid = int(pid_file.read_text())
            self.addCleanup(lambda: os.kill(pid, signal.SIGKILL) if alive(pid) else None)
            self.assertIs(lab.wait_settled(), node)
            self.assertEqual(lab.write(node, "SET", "fleet", "1", "POINT", 1, 2), "OK")
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not alive(pid), "the end", 15)
            self.assertFalse(pid_file.exists())
            self.assertTrue(closed(node.host, WRITER_PORT))
            self.assertIn("stopped", log.read_text())
            self.assertIsNone(lab.lock_holder())


class RefusalTests(SynchronousTestCase):
    """What no waiting can mend"""

    def ended(self, manager: Manager, expected: int) -> str:
        """Start it, and wait until it ends with this code; what it said."""
        manager.start()
        wait_for(lambda: manager.code is not None, "the end", END_TIMEOUT)
        self.assertEqual(manager.code, expected, manager.text())
        return manager.text()

    def sentences(self, text: str) -> list[str]:
        """The lines that say what is wrong."""
        return [line for line in text.splitlines() if " critical " in line]

    def test_port_in_use(self) -> None:
        """A taken port ends the process with code 1 and one sentence that names it; Tile38 stays fenced."""
        with Lab(nodes=1) as lab, socket.socket() as squatter:
            (node,) = lab.nodes
            squatter.bind((node.host, WRITER_PORT))
            squatter.listen()
            node.tile38.start()
            (sentence,) = self.sentences(self.ended(node.manager, 1))
            self.assertIn(f"{node.host}:{WRITER_PORT}", sentence)
            self.assertIn("--bind.port", sentence)
            self.assertNotIn("Traceback", node.manager.text())
            self.assertFalse(node.writable())

    def test_second_manager(self) -> None:
        """A second manager beside one Tile38 ends with a sentence that names the first; clients write on."""
        with Lab(nodes=2) as lab:
            first, second = lab.nodes
            first.start()
            lab.wait_settled(first)
            flags = second.manager.flags
            flags[flags.index("--server.addr") + 1] = first.host
            (sentence,) = self.sentences(self.ended(second.manager, 1))
            assert first.manager.process is not None
            self.assertIn(f"process {first.manager.process.pid} manages Tile38 at {first.host}:", sentence)
            self.assertIn("--server.addr", sentence)
            self.assertNotIn("Traceback", second.manager.text())
            self.assertEqual(lab.write(first, "SET", "fleet", "1", "POINT", 1, 2), "OK")
            first.manager.kill()
            first.manager.start()
            lab.wait_settled(first)

    def test_state_directory(self) -> None:
        """A state directory that cannot be used ends the process in the same way."""
        with Lab(nodes=1) as lab:
            (node,) = lab.nodes
            (node.manager.directory / "state").write_text("a file, no directory")
            (sentence,) = self.sentences(self.ended(node.manager, 1))
            self.assertIn("--state.dir", sentence)
            self.assertNotIn("Traceback", node.manager.text())

    def test_wrong_flag(self) -> None:
        """A wrong value is refused as C{twist} refuses wrong usage, in a sentence with flag and value."""
        with Lab(nodes=1) as lab:
            (node,) = lab.nodes
            node.manager.flags += ["--lease", "soon"]
            said = self.ended(node.manager, 64)
            self.assertIn("lease", said)
            self.assertIn("soon", said)
            self.assertNotIn("Traceback", said)


class WaitingTests(SynchronousTestCase):
    """What is not there yet"""

    def test_late_neighbours(self) -> None:
        """Without Tile38, then without Consul, it waits, says so once each, and starts once they come."""
        with Lab(nodes=1) as lab:
            (node,) = lab.nodes
            lab.consul.terminate()
            node.manager.start()
            self.said(node, "waiting for the local Tile38")
            node.tile38.start()
            self.said(node, "waiting for Consul")
            self.assertTrue(closed(node.host, WRITER_PORT))
            lab.consul.start()
            self.assertIs(lab.wait_settled(), node)
            for what in ("the local Tile38", "Consul"):
                self.assertEqual(node.manager.text().count(f"waiting for {what}"), 1)
            self.assertIn(f"{node.host}:{TILE38_PORT}", node.manager.text())

    def said(self, node: Node, text: str) -> None:
        """Wait for a line of its log."""
        wait_for(lambda: text in node.manager.text(), repr(text), 10)
