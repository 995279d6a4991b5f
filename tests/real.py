"""Servers for tests: found, started on free loopback ports, stopped by process id.

Tile38 is here, Consul in L{tests.real_consul}.  All of it blocks, with bounds:
C{start} returns when the server answers, and a trial test may call it in
C{setUp}.  Where the real server is nowhere to be found the embedded one is
started, and a test that is about the real one is skipped; with
C{TILE38CM_REQUIRE_REAL=1} both fail, so that a build never passes because
nothing was tested.  C{TILE38CM_EMBEDDED=1} overlooks real servers::

    def setUp(self) -> None:
        self.tile38 = RealTile38().start()
        self.addCleanup(self.tile38.stop)
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar
from unittest import SkipTest

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
#: Seconds for one start; a loaded machine needs some of them.
START_TIMEOUT = 30.0
#: Seconds between SIGTERM and SIGKILL.
STOP_TIMEOUT = 15.0
#: A port that the kernel gave may be taken again before the server binds it.
START_ATTEMPTS = 3

_CACHE = Path.home() / ".cache" / "tile38cm"
_CANDIDATES: dict[str, tuple[str | Path, ...]] = {
    "consul": ("consul", _CACHE / "consul"),
    "tile38": ("tile38-server", ROOT.parent / "shared" / "bin" / "tile38-server"),
}
_VARIABLES = {"consul": ("CONSUL_BIN", "CONSUL"), "tile38": ("TILE38_SERVER", "TILE38_BIN")}

#: What is run where there is no real server.
_EMBEDDED = {"consul": "tile38cm.dev.agent", "tile38": "tile38cm.dev.tile38"}

T = TypeVar("T")
#: What a RESP reply becomes: text, integer, list, or nothing.
Reply = str | int | list[Any] | None


class ReplyError(Exception):
    """The server answered C{-…}."""


class StartError(Exception):
    """The server ended, or did not answer in time; the text has the end of its log."""


def find(name: str) -> str | None:
    """The program of C{"consul"} or C{"tile38"}, or C{None}."""
    if os.environ.get("TILE38CM_EMBEDDED", "") not in ("", "0"):
        return None
    for variable in _VARIABLES[name]:
        if os.environ.get(variable):
            return shutil.which(os.environ[variable])
    for candidate in _CANDIDATES[name]:
        found = shutil.which(str(candidate))
        if found:
            return found
    return None


def required() -> bool:
    """Whether a missing server is a failure here."""
    return os.environ.get("TILE38CM_REQUIRE_REAL", "") not in ("", "0")


def require(name: str) -> str:
    """The program of C{name}; without it the test that asks is skipped, or fails where it is required."""
    found = find(name)
    if found is not None:
        return found
    sentence = f"no {name}: set {' or '.join(_VARIABLES[name])}, or put {_CANDIDATES[name][0]} on PATH"
    if required():
        raise AssertionError(f"{sentence} (TILE38CM_REQUIRE_REAL is set)")
    raise SkipTest(sentence)


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """So many different ports that are free at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def free_port(host: str = LOOPBACK) -> int:
    """A port that is free at this moment."""
    return free_ports(1, host)[0]


def wait_for(probe: Callable[[], T], what: str, timeout: float = START_TIMEOUT, every: float = 0.02) -> T:
    """The first true value of C{probe}, whose errors of the network count as "not yet".

    Blocks the thread: never for something that this reactor has to do.

    @raise TimeoutError: naming C{what} and the last error.
    """
    end = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < end:
        try:
            value = probe()
            if value:
                return value
            last = value
        except (OSError, ValueError, ReplyError) as error:
            last = error
        time.sleep(every)
    raise TimeoutError(f"{what}: not within {timeout:g} s (last: {last!r})")


def command(name: str) -> list[str]:
    """How a server's command line begins: the real one's, or where there is none the embedded one's."""
    if find(name) is not None or required():
        return [require(name)]
    return [sys.executable, "-m", _EMBEDDED[name]]


class Program:
    """One child process with a log file and a folder; subclasses say how it starts and when it is ready."""

    name = "program"

    def __init__(self, directory: Path | None = None) -> None:
        self._own_directory = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix=f"tile38cm-{self.name}-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.directory / f"{self.name}.log"

    @property
    def running(self) -> bool:
        """Whether the process is there, be it answering or not."""
        return self.process is not None and self.process.poll() is None

    def resident(self) -> int:
        """KiB of memory that the process has."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def arguments(self) -> list[str]:
        """The command line, for the ports chosen last."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it does what tests need; may raise the network's errors."""
        raise NotImplementedError

    def other_ports(self) -> bool:
        """Choose others, as somebody else may have taken ours meanwhile; C{False}: these were asked for."""
        return False

    def start(self) -> Self:
        """Start it, on the same ports and data as before if it ran already, and return when it is ready."""
        first = not self.log.exists()
        for _ in range(START_ATTEMPTS - 1):
            try:
                return self._start()
            except StartError:
                if not first or not self.other_ports():
                    raise
        return self._start()

    def _start(self) -> Self:
        assert not self.running, f"{self.name} runs already"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.arguments(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
            )
        atexit.register(self.stop)
        try:
            wait_for(self._ready_or_ended, f"{self.name} ready")
        except (TimeoutError, StartError) as error:
            self.signal(signal.SIGKILL)
            raise StartError(f"{error}\n{self.log_end()}") from None
        return self

    def _ready_or_ended(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise StartError(f"{self.name} ended with {self.process.returncode}")
        return self.ready()

    def log_end(self, size: int = 1500) -> str:
        """The last characters of its log."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, and wait for the end if it is one that ends a process."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(number)
        if number not in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
            return
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> None:
        """SIGTERM; data and ports stay for another C{start}."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; data and ports stay for another C{start}."""
        self.signal(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it keeps its sockets and does nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, even if paused, and remove its folder if it was made here.  May be called again."""
        atexit.unregister(self.stop)
        self.resume()
        self.terminate()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class RealTile38(Program):
    """A Tile38 server, on a free port if none is given; C{flags} are its own, as C{["-vv"]}.

    It is the embedded one where there is no other: see L{command}.
    """

    name = "tile38"

    def __init__(
        self,
        port: int | None = None,
        directory: Path | None = None,
        flags: Sequence[str] = (),
        host: str = LOOPBACK,
        password: str | None = None,
    ) -> None:
        self._program = self.program()
        super().__init__(directory)
        self.host, self.flags, self.password = host, tuple(flags), password
        self._chosen = port is not None
        self.port = port if port is not None else free_port(host)
        if password is not None:
            (self.directory / "config").write_text(json.dumps({"requirepass": password}))

    def program(self) -> list[str]:
        """How its command line begins."""
        return command("tile38")

    def arguments(self) -> list[str]:
        place = ["-h", self.host, "-p", str(self.port), "-d", str(self.directory)]
        return [*self._program, *place, *self.flags]

    def other_ports(self) -> bool:
        if not self._chosen:
            self.port = free_port(self.host)
        return not self._chosen

    def ready(self) -> bool:
        return self.command("PING") == "PONG"

    def connect(self, timeout: float = 5.0) -> RespClient:
        """A new connection, logged in if the server asks for a password."""
        client = RespClient(self.host, self.port, timeout)
        if self.password is not None:
            client.command("AUTH", self.password)
        return client

    def command(self, *words: str | bytes | int | float, timeout: float = 5.0) -> Reply:
        """One command on a connection of its own."""
        with self.connect(timeout) as client:
            return client.command(*words)

    def server(self) -> dict[str, str]:
        """C{SERVER} as a mapping of text."""
        flat = self.command("SERVER")
        assert isinstance(flat, list)
        return dict(zip(flat[::2], flat[1::2], strict=True))


class EmbeddedTile38(RealTile38):
    """The node of L{tile38cm.dev.tile38}, be there a real server or not."""

    def program(self) -> list[str]:
        return [sys.executable, "-m", _EMBEDDED["tile38"]]


class RespClient:
    """A tiny blocking RESP client that shares no code with what is tested."""

    def __init__(self, host: str, port: int, timeout: float = 5.0) -> None:
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; may be called again."""
        self._file.close()
        self._socket.close()

    def send(self, *words: str | bytes | int | float) -> None:
        """Write one command without reading its reply."""
        raw = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(r), r) for r in raw))

    def raw(self, data: bytes) -> None:
        """Write bytes that may be no command."""
        self._socket.sendall(data)

    def piece(self, most: int) -> int:
        """Take some bytes of what comes, at most so many; how many there were, 0 at the end."""
        return len(self._file.read1(most))

    def command(self, *words: str | bytes | int | float) -> Reply:
        """Write one command and read its reply.

        @raise ReplyError: the server answered with an error.
        """
        self.send(*words)
        return self.read()

    def read(self) -> Reply:
        """Read one reply; C{ConnectionError} at the end of the stream."""
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2].decode(errors="surrogateescape")
        if kind == b"+":
            return rest
        if kind == b"-":
            raise ReplyError(rest)
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"*":
            return [self.read() for _ in range(size)]
        data = self._file.read(size + 2)
        if len(data) < size + 2:
            raise ConnectionError("closed")
        return data[:-2].decode(errors="surrogateescape")
