"""C{make run} as a newcomer meets it, and the processes it is made of."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread

from twisted.trial.unittest import SynchronousTestCase

from tests.real import ROOT, find, wait_for
from tile38cm.dev.client import listen, talk
from tile38cm.dev.processes import Child, Failed, Halted
from tile38cm.dev.processes import wait_for as dev_wait_for

#: Seconds for one line of the output to come.
PATIENCE = 60.0
#: Seconds from SIGTERM to the end.
STOP = 60.0
#: The line that tells where everything is kept.
FOLDER = r"logs are in (\S+)"


class Run:
    """One C{python -m tile38cm.dev.run} with its output, line by line."""

    def __init__(self, *flags: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tile38cm.dev.run", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=os.environ | environment,
        )
        self.lines: list[str] = []
        self._queue: Queue[str] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))

    def until(self, pattern: str) -> re.Match[str]:
        """The first line from here on in which C{pattern} is found."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                self.lines.append(self._queue.get(timeout=0.2))
            except Empty:
                continue
            if found := re.search(pattern, self.lines[-1]):
                return found
        raise AssertionError(f"no line with {pattern!r} in:\n" + "\n".join(self.lines))

    def introduced(self) -> str:
        """Wait until the cluster has been shown; the folder that it lives in."""
        folder = self.until(FOLDER)[1]
        self.until("What changes from now on")
        return folder

    def end(self) -> int:
        """SIGTERM if it still runs; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(5.0)
            assert self.process.stdout is not None
            self.process.stdout.close()


def processes_of(folder: str) -> list[str]:
    """The command lines on this machine that name C{folder}."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in text:
            found.append(text)
    return found


class RunTests(SynchronousTestCase):
    """A cluster from the first line to the last, with the real servers where they are."""

    embedded = find("consul") is None or find("tile38") is None

    def start(self, *flags: str) -> Run:
        """Start it, and see that it ends."""
        # In front: what follows "--" is the managers'.
        run = Run(*(["--embedded"] if self.embedded else []), *flags)
        self.addCleanup(run.end)
        return run

    def nodes(self, run: Run) -> tuple[str, dict[str, tuple[int, ...]]]:
        """The leader, and each node's W, R, Tile38 and process ids, from the table."""
        rows = [re.match(r"  (n\d) +(leader|follower|not ready) +((?:\d+ +){5})", line) for line in run.lines]
        found = {row[1]: (row[2], tuple(map(int, row[3].split()))) for row in rows if row}
        (leader,) = [name for name, (role, _) in found.items() if role == "leader"]
        return leader, {name: numbers for name, (_, numbers) in found.items()}

    def gone(self, folder: str) -> None:
        """Fail if anything of a cluster is left."""
        self.assertEqual(processes_of(folder), [])
        self.assertFalse(Path(folder).exists())

    def test_failover(self) -> None:
        """Three nodes agree, serve through any W and R, survive their leader, and leave nothing behind."""
        run = self.start("--nodes", "3")
        folder = run.introduced()
        leader, nodes = self.nodes(run)
        other = next(name for name in nodes if name != leader)
        (writer, *_), (_, reader, *_) = nodes[other], nodes[leader]
        self.assertEqual(talk(writer, "SET", "fleet", "truck1", "POINT", "33.5", "-112.2"), "OK")
        self.assertIn("33.5", talk(reader, "GET", "fleet", "truck1"))
        os.kill(nodes[leader][3], signal.SIGKILL)
        run.until(rf"manager-{leader} ended by SIGKILL; it is started again")
        self.assertNotEqual(run.until(r"(n\d) leads, epoch 2")[1], leader)
        self.assertEqual(talk(writer, "SET", "fleet", "truck2", "POINT", "33.5", "-112.2"), "OK")
        run.until("all nodes agree")
        self.assertEqual(run.end(), 0)
        self.gone(folder)

    def test_mutual_tls(self) -> None:
        """With Connect's certificates a client of the mesh is served, and one without TLS is not."""
        run = self.start("--nodes", "1", "--tls", "connect")
        folder = run.introduced()
        _, nodes = self.nodes(run)
        (writer, *_) = nodes["n1"]
        self.assertEqual(talk(writer, "SET", "a", "b", "POINT", "1", "2", tls=Path(folder)), "OK")
        with self.assertRaises(OSError):
            talk(writer, "PING")

    def test_stopped_while_it_starts(self) -> None:
        """A signal before the nodes agree ends everything as well."""
        run = self.start()
        folder = run.until(FOLDER)[1]
        self.assertNotEqual(processes_of(folder), [])
        self.assertEqual(run.end(), 0)
        self.gone(folder)

    def test_wrong_flag(self) -> None:
        """What a manager says of a wrong flag is what one reads, and the exit code tells of it."""
        run = self.start("--nodes", "1", "--", "--lease", "5ms")
        run.until(r"manager-n1 ended with exit code \d+")
        run.until(r"--lease.*5ms")
        self.assertEqual(run.process.wait(STOP), 1)


class EmbeddedRunTests(RunTests):
    """The same with embedded servers."""

    embedded = True

    def test_fleet(self) -> None:
        """Trucks drive, and the program's own client shows them, once and as they move."""
        run = self.start("--nodes", "1", "--fleet", "2")
        run.introduced()
        run.until("2 trucks drive")
        (_, reader, *_) = self.nodes(run)[1]["n1"]
        wait_for(lambda: talk(reader, "GET", "fleet", "truck2") is not None, "a truck")
        self.assertIn("truck1", str(talk(reader, "SCAN", "fleet", "IDS")))
        told = listen(reader, "NEARBY", "fleet", "FENCE", "POINT", "33.45", "-112.07", "100000")
        self.assertEqual(next(told), "OK")
        self.assertIn('"id":"truck', next(told))


class UnreadTests(SynchronousTestCase):
    """The output goes nowhere any more, as with C{make run | head}."""

    def test_stops(self) -> None:
        """All is stopped, and nothing is left behind."""
        run = subprocess.Popen(
            [sys.executable, "-m", "tile38cm.dev.run", "--embedded", "--nodes", "1"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.addCleanup(run.kill)
        assert run.stdout is not None
        with run.stdout:
            found = next(filter(None, (re.search(FOLDER, line) for line in run.stdout)))
        self.assertEqual(run.wait(PATIENCE), 0)
        self.assertEqual(processes_of(found[1]), [])
        self.assertFalse(Path(found[1]).exists())


class MissingTests(SynchronousTestCase):
    """Nothing is started where something is missing."""

    def test_no_server(self) -> None:
        """A server that is not there is named with what to do about it."""
        run = Run(CONSUL_BIN="/no/such/consul")
        self.addCleanup(run.end)
        run.until("CONSUL_BIN is /no/such/consul, which is not a program that can be run.")
        self.assertEqual(run.process.wait(STOP), 1)


class ChildTests(SynchronousTestCase):
    """One program as a child."""

    def child(self, script: str) -> Child:
        """A Python that runs a script; ready when it has written a line."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        child = Child("child", [sys.executable, "-c", script], folder)
        child.start()
        self.addCleanup(child.signal, signal.SIGKILL)
        wait_for(lambda: bool(child.last_words()), "the first line")
        return child

    def timed(self, action: Callable[[], None]) -> float:
        """How many seconds it took."""
        begin = time.monotonic()
        action()
        return time.monotonic() - begin

    def test_stop(self) -> None:
        """It is asked to end, and has ended afterwards."""
        child = self.child("import time; print(1, flush=True); time.sleep(60)")
        child.stop(10.0, Event())
        self.assertEqual(child.how_it_ended(), "ended by SIGTERM")

    def test_deaf(self) -> None:
        """One that does not obey is killed when its time is over, or at once in a hurry."""
        deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
        hurry = Event()
        first, second = self.child(deaf), self.child(deaf)
        self.assertGreaterEqual(self.timed(lambda: first.stop(0.3, hurry)), 0.3)
        hurry.set()
        self.assertLess(self.timed(lambda: second.stop(30.0, hurry)), 10.0)
        self.assertEqual([each.how_it_ended() for each in (first, second)], 2 * ["ended by SIGKILL"])

    def test_paused(self) -> None:
        """One that has been paused is woken, so that it can end in order."""
        child = self.child("import time; print(1, flush=True); time.sleep(60)")
        child.signal(signal.SIGSTOP)
        child.stop(10.0, Event())
        self.assertEqual(child.how_it_ended(), "ended by SIGTERM")

    def test_last_words(self) -> None:
        """Of a long complaint about the command line the sentence that matters is shown."""
        child = self.child("print('Error: --x is wrong\\n\\nUsage: a\\n b'); raise SystemExit(64)")
        wait_for(lambda: bool(child.how_it_ended()), "its end")
        self.assertEqual(
            (child.how_it_ended(), child.last_words()), ("ended with exit code 64", "Error: --x is wrong")
        )

    def test_waiting_ends(self) -> None:
        """A wait gives up when its time is over, saying what was last in the way, or when it is halted."""

        def refuse() -> bool:
            raise OSError("nobody there")

        halt = Event()
        with self.assertRaises(Failed) as caught:
            dev_wait_for(refuse, "consul", 0.1, halt)
        self.assertEqual(str(caught.exception), "consul: not within 0.1 s (last: nobody there)")
        halt.set()
        with self.assertRaises(Halted):
            dev_wait_for(refuse, "consul", 60.0, halt)
