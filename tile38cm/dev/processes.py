"""Programs as children of this process: found, started in a group of their own, stopped by their id.

All of it blocks, with bounds, and shares no code with the managers that it starts.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TypeVar

from attrs import define, field, frozen

LOOPBACK = "127.0.0.1"
#: The project's folder, or where the package is installed.
ROOT = Path(__file__).resolve().parents[2]
#: Below the ports that Linux gives to outgoing connections: one of those may not take a server's
#: port away while it is restarted.
PORTS = range(20_000, 32_000)
#: Seconds between two looks.
EVERY = 0.05

T = TypeVar("T")


class Missing(Exception):
    """A program is not there; the text says where it was looked for and what to do."""


class Nowhere(Missing):
    """It is nowhere, and nobody said that it is somewhere."""


class Failed(Exception):
    """Something did not come up; the text has what is known."""


class Halted(Exception):
    """Somebody asked to stop while something was waited for."""


@frozen
class Program:
    """Where to look for one server: the environment, C{PATH}, then known files."""

    title: str
    variables: tuple[str, ...]
    command: str
    files: tuple[Path, ...]
    advice: str

    def find(self, environment: Mapping[str, str] = os.environ) -> str:
        """The path of the program.

        @raise Missing: if there is none, or the environment names none.
        """
        for variable in self.variables:
            if environment.get(variable):
                return self._named(variable, environment[variable])
        for candidate in (self.command, *map(str, self.files)):
            found = shutil.which(candidate, path=environment.get("PATH", os.defpath))
            if found:
                return found
        places = ", ".join([f"{self.command} on PATH", *map(str, self.files)])
        raise Nowhere(f"{self.title} was not found (looked for: {places}). {self.advice}")

    def _named(self, variable: str, value: str) -> str:
        found = shutil.which(value)
        if found is None:
            raise Missing(f"{variable} is {value}, which is not a program that can be run.")
        return found


_CACHE = Path.home() / ".cache" / "tile38cm"

CONSUL = Program(
    "Consul",
    ("CONSUL_BIN", "CONSUL"),
    "consul",
    (_CACHE / "consul",),
    "Install it, name it by CONSUL_BIN, or build it once with: make consul",
)
TILE38 = Program(
    "Tile38",
    ("TILE38_SERVER", "TILE38_BIN"),
    "tile38-server",
    (ROOT.parent / "shared" / "bin" / "tile38-server",),
    "Install it (https://tile38.com), or name it by TILE38_SERVER.",
)


@frozen
class Server:
    """How the command line of one server begins; C{embedded} is this project's own, for development."""

    title: str
    command: tuple[str, ...]
    embedded: bool = False

    def __str__(self) -> str:
        return f"{self.title}: {'embedded, for development only' if self.embedded else self.command[0]}"


#: What there is where a server is not, with the packages that it needs.
EMBEDDED = {
    "Consul": ("tile38cm.dev.agent", ()),
    "Tile38": ("tile38cm.dev.tile38", ("rtree", "shapely", "pygeohash")),
}


def server(program: Program, embedded: bool) -> Server:
    """The real server where there is one, else the embedded one; that one also if told so.

    @raise Missing: The environment names what is not there, or the embedded one lacks a package.
    """
    try:
        if not embedded:
            return Server(program.title, (program.find(),))
    except Nowhere as error:
        why = f"{error} "
    else:
        why = ""
    module, packages = EMBEDDED[program.title]
    lacking = [package for package in packages if find_spec(package) is None]
    if lacking:
        raise Missing(f"{why}The embedded one needs more packages: pip install 'tile38cm[embedded]'")
    return Server(program.title, (sys.executable, "-m", module), embedded=True)


def free_ports(count: int) -> list[int]:
    """So many different ports of the loopback address that are free at this moment."""
    found: dict[int, None] = {}
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        with socket.socket() as each:
            try:
                each.bind((LOOPBACK, port))
            except OSError:
                continue
        found[port] = None
    return list(found)


@define
class Child:
    """One program, to be started any number of times with the same command line."""

    name: str
    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str] | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The id of the process that was started last; 0 before that."""
        return self.process.pid if self.process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process is there, doing anything or not."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it in a group of its own, so that a terminal's Ctrl-C does not reach it."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                list(self.arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
            )

    def how_it_ended(self) -> str:
        """In words; empty while it runs or if it was never started."""
        code = self.process.poll() if self.process is not None else None
        if code is None:
            return ""
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def last_words(self, count: int = 12) -> str:
        """From its log: what it says is wrong with its command line, else the last lines."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        wrong = [line for line in lines if line.startswith("Error: ")]
        return "\n".join(wrong[-1:] or lines[-count:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its group, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def stop(self, grace: float, hurry: Event) -> None:
        """SIGTERM, and SIGKILL after C{grace} seconds or once C{hurry} is set; returns when it has ended."""
        if self.process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        end = time.monotonic() + grace
        while self.running and time.monotonic() < end and not hurry.is_set():
            hurry.wait(EVERY)
        self.signal(signal.SIGKILL)
        self.process.wait()


def wait_for(probe: Callable[[], T | None], what: str, timeout: float, halt: Event) -> T:
    """The first value of C{probe} that is true; errors of the network and of parsing mean "not yet".

    @raise Failed: after C{timeout} seconds, with the last error.
    @raise Halted: when C{halt} is set.
    """
    end = time.monotonic() + timeout
    last = ""
    while time.monotonic() < end:
        try:
            value = probe()
            if value:
                return value
            last = ""
        except (OSError, ValueError, LookupError) as error:
            last = f" (last: {error})"
        if halt.wait(EVERY):
            raise Halted
    raise Failed(f"{what}: not within {timeout:g} s{last}")
