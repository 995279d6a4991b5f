"""Clients, some of which write all the time and remember what they were told."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from attrs import define, field

from tests.real import ReplyError, RespClient

#: Seconds between tries to connect again.
RECONNECT = 0.05
#: Seconds for the last replies once it should end.
END_TIMEOUT = 30.0


class Client(RespClient):
    """A connection to W or R, over TLS if a context is given."""

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, timeout: float = 15.0
    ) -> None:
        super().__init__(host, port, timeout)
        if tls is not None:
            self._file.close()
            self._socket = tls.wrap_socket(self._socket)
            self._file = self._socket.makefile("rb")


@define
class Writer:
    """One client: writes a new id each time, one after the other."""

    name: str
    key: str
    connect: Callable[[], RespClient]
    #: Seconds between a reply and the next write.
    pace: float = 0.0
    #: Ids whose C{OK} has come.
    acknowledged: list[str] = field(factory=list)
    #: What went wrong, in words.
    errors: list[str] = field(factory=list)
    #: The longest time that a write took, in seconds.
    pause: float = 0.0
    connections: int = 0
    _next: int = 0

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop; an error is remembered, and the connection made anew."""
        while not stop.is_set():
            try:
                with self.connect() as client:
                    self.connections += 1
                    self._write(client, stop)
            except (OSError, ReplyError) as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                stop.wait(RECONNECT)

    def _write(self, client: RespClient, stop: threading.Event) -> None:
        while not stop.is_set():
            self._next += 1
            name, sent = f"{self.name}-{self._next}", time.monotonic()
            client.command("SET", self.key, name, "FIELD", "n", self._next, "POINT", self._next % 80, 1)
            self.pause = max(self.pause, time.monotonic() - sent)
            self.acknowledged.append(name)
            if self.pace:
                stop.wait(self.pace)


class Load:
    """Some writers in threads, for as long as the block runs::

        with Load("load", {"node1": lambda: lab.writer(node1)}) as load:
            ...
        load.writers["node1"].errors

    @param pace: each client waits so long (seconds) between two writes, to spare the machine.
    """

    def __init__(self, key: str, connects: dict[str, Callable[[], RespClient]], pace: float = 0.0) -> None:
        self.key = key
        self.writers = {name: Writer(name, key, connect, pace) for name, connect in connects.items()}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=w.run, args=(self._stop,), daemon=True) for w in self.writers.values()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_writes(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(END_TIMEOUT)

    @property
    def acknowledged(self) -> set[str]:
        """Every id that some client was told is written."""
        return {name for writer in self.writers.values() for name in writer.acknowledged}

    @property
    def errors(self) -> list[str]:
        """All errors of all clients."""
        return [f"{w.name}: {error}" for w in self.writers.values() for error in w.errors]

    def wait_writes(self, more: int, timeout: float = 20.0) -> None:
        """Wait until every client has written so many more."""
        goals = {name: len(w.acknowledged) + more for name, w in self.writers.items()}
        end = time.monotonic() + timeout
        while any(len(self.writers[name].acknowledged) < goal for name, goal in goals.items()):
            if time.monotonic() > end:
                raise TimeoutError(f"clients wrote no more within {timeout:g} s; errors: {self.errors[-5:]}")
            time.sleep(0.02)


class Fences:
    """Looks all the time for two servers that take writes at once.

    Two passes over all servers: those that were writable in both were so in the moment between them.
    """

    def __init__(self, writable: Mapping[str, Callable[[], bool]]) -> None:
        self._writable = writable
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rounds = 0
        #: Each set of several servers that were found writable together.
        self.breaches: list[set[str]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(END_TIMEOUT)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            together = self._open() & self._open()
            self.rounds += 1
            if len(together) > 1:
                self.breaches.append(together)

    def _open(self) -> set[str]:
        found = set()
        for name, writable in self._writable.items():
            with suppress(OSError, ReplyError):
                if writable():
                    found.add(name)
        return found


def fill(client: RespClient, key: str, count: int, batch: int = 1000) -> None:
    """Write many points through one connection, in pipelines."""
    for first in range(0, count, batch):
        last = min(first + batch, count)
        for number in range(first, last):
            client.send("SET", key, number, "POINT", number % 80, number % 170)
        for _ in range(first, last):
            client.read()
