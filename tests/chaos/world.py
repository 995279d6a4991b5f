"""The nodes and Consul as processes, behind relays.

Node C{i} lives on C{127.a.109.i}; node C{j} reaches it at C{127.a.10j.i}.
Clients are not behind relays: they are on every node's own machine.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

from attrs import define, field

from tests.chaos.links import Relay, Wire
from tests.chaos.options import NODES, Options
from tests.cluster import PREFIX, READER_PORT, TILE38_PORT, WRITER_PORT, flags_of, leaf_context
from tests.real import ROOT, RealTile38, Reply, free_ports
from tests.real_consul import RealConsul

CONSUL_PORT = 8500
#: Seconds until what an ended manager printed has been copied.
COPY_TIMEOUT = 10.0
#: Larger than any log of a run.
ALL = 100_000_000


def now() -> float:
    """The managers' own clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Manager:
    """One manager; what it prints goes through a pipe, so that limits on files spare its log."""

    def __init__(self, folder: Path, flags: list[str]) -> None:
        self.log = folder / "manager.log"
        self._flags, self._folder = flags, folder
        self.process: subprocess.Popen[bytes] | None = None
        #: When it was killed, each time.
        self.deaths: list[float] = []
        #: Where in the log what this process says begins.
        self._since = 0
        self._copying: threading.Thread | None = None
        self._frozen_since: float | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there, be it frozen or not."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; does not wait for anything."""
        assert not self.running
        if self._copying is not None:
            self._copying.join(COPY_TIMEOUT)  # what the last process said is not this one's
        self._since = len(self.text())
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "twisted", "tile38cm", *self._flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env=environment,
        )
        assert self.process.stdout is not None
        self._copying = threading.Thread(target=_copy, args=(self.process.stdout, self.log), daemon=True)
        self._copying.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, if it is there; remembers what that means for its gate."""
        if self.process is None or self.process.poll() is not None:
            return
        if number is signal.SIGSTOP:
            self._frozen_since = now()
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.deaths.append(now() if self._frozen_since is None else self._frozen_since)
        if number is signal.SIGCONT:
            self._frozen_since = None

    def ended(self, timeout: float) -> bool:
        """Wait for its end."""
        if self.process is None:
            return True
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        if self._copying is not None:
            self._copying.join(timeout)
        if self.process.returncode not in (0, -signal.SIGTERM):
            self.deaths.append(now())
        return True

    def state(self) -> str:
        """What the kernel calls it: R, S, T (frozen) and so on."""
        if self.process is None or self.process.poll() is not None:
            return "ended"
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def abort(self) -> None:
        """End it; its log says then where each thread was."""
        self.signal(signal.SIGABRT)
        self.signal(signal.SIGCONT)
        self.ended(COPY_TIMEOUT)

    def text(self) -> str:
        """All that it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def said(self) -> str:
        """What it has logged since it was last started; a busy machine starts one in ten seconds."""
        return self.text()[self._since :]


def _copy(source: IO[bytes], log: Path) -> None:
    with source, open(log, "ab", buffering=0) as target:
        while data := source.read1(65536):  # type: ignore[attr-defined]  # Popen's pipes are buffered readers
            target.write(data)


@define(eq=False)
class Node:
    """One Tile38 and its manager."""

    number: int
    host: str
    folder: Path
    tile38: RealTile38
    manager: Manager

    @property
    def id(self) -> str:
        """Its name in the cluster."""
        return f"node{self.number}"

    def watched(self) -> bool:
        """Whether its manager runs, has found its place since it was started, and has its Tile38."""
        log = self.manager.said()
        lost, there = log.rfind("the local Tile38 does not answer"), log.rfind("the local Tile38 answers")
        return self.manager.running and ': started"' in log and lost < there

    def direct(self, *words: str | int) -> Reply:
        """One command to its own Tile38."""
        return self.tile38.command(*words, timeout=60)


@define
class World:
    """Everything that runs."""

    options: Options
    folder: Path = field(factory=lambda: Path(tempfile.mkdtemp(prefix="tile38cm-chaos-")))
    network: str = field(factory=lambda: f"127.{16 + os.getpid() % 200}")
    consul: RealConsul = field(init=False)
    nodes: list[Node] = field(init=False)
    #: From node to node, both as numbers; 0 is Consul.
    wires: dict[tuple[int, int], Wire] = field(factory=dict)
    relays: dict[tuple[int, int, int], Relay] = field(factory=dict)
    tls: ssl.SSLContext | None = None

    def __attrs_post_init__(self) -> None:
        self.consul = RealConsul(port=free_ports(1)[0], directory=self.folder / "consul", persistent=True)
        self.nodes = [self._node(number) for number in range(1, NODES + 1)]
        places = range(NODES + 1)
        self.wires = {pair: Wire(f"{pair[0]}->{pair[1]}") for pair in itertools.permutations(places, 2)}
        for i in range(1, NODES + 1):
            self._relay(
                i, 0, self._seen(i, 254), CONSUL_PORT, ("127.0.0.1", self.consul.port), self._names(i)
            )
            for j in range(1, NODES + 1):
                for port in (WRITER_PORT, READER_PORT):
                    if i != j:
                        self._relay(i, j, self._seen(i, j), port, (self._host(j), port), {})

    def _relay(
        self, i: int, j: int, host: str, port: int, there: tuple[str, int], names: dict[bytes, bytes]
    ) -> None:
        wires = self.wires[i, j], self.wires[j, i]
        self.relays[i, j, port] = Relay((host, port), there, *wires, names)

    def _host(self, number: int) -> str:
        return f"{self.network}.109.{number}"

    def _seen(self, by: int, number: int) -> str:
        return f"{self.network}.{100 + by}.{number}"

    def _names(self, i: int) -> dict[bytes, bytes]:
        others = [j for j in range(1, NODES + 1) if j != i]
        return {self._host(j).encode(): self._seen(i, j).encode() for j in others}

    def _node(self, number: int) -> Node:
        folder, host = self.folder / f"node{number}", self._host(number)
        tile38 = RealTile38(TILE38_PORT, folder / "data", host=host)
        flags = flags_of(
            number,
            host,
            folder,
            consul_addr=f"{self._seen(number, 254)}:{CONSUL_PORT}",
            tls=self.options.tls,
            lease=self.options.lease,
            log_format="json",
        )
        return Node(number, host, folder, tile38, Manager(folder, flags))

    # -- start and end ----------------------------------------------------------

    async def start(self) -> None:
        """Start everything; returns when the cluster is of one mind."""
        await asyncio.to_thread(self.consul.start)
        for relay in self.relays.values():
            await relay.start()
        for node in self.nodes:
            await asyncio.to_thread(node.tile38.start)
            node.manager.start()
        await self.settled(60.0)
        if self.options.tls == "connect":
            self.tls = await asyncio.to_thread(leaf_context, self.consul, "chaos-client", self.folder)

    async def stop(self) -> None:
        """Kill everything."""
        for node in self.nodes:
            node.manager.signal(signal.SIGCONT)
            node.manager.signal(signal.SIGKILL)
            node.tile38.resume()
            node.tile38.kill()
        self.consul.resume()
        self.consul.kill()
        for relay in self.relays.values():
            await relay.stop()

    def forget(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- states -------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The status document; empty while there is none."""
        found = self.consul.kv(f"{PREFIX}/status")
        return {} if found is None else dict(json.loads(found))

    def why_unsettled(self) -> str:
        """What is missing until the cluster is of one mind and everybody has everything; empty: nothing."""
        try:
            status = self.status()
            if set(status.get("sync_set", ())) != {node.id for node in self.nodes}:
                return f"the sync set is {sorted(status.get('sync_set', ()))}"
            for node in self.nodes:
                says = node.tile38.server()
                leads = node.id == status["leader"]
                if leads and (says["read_only"] == "true" or says.get("following")):
                    return f"{node.id} leads but is not writable"
                if not leads and says["read_only"] == "false":
                    return f"{node.id} does not lead but is writable"
                if not leads and not (says.get("following") and says.get("caught_up") == "true"):
                    return f"{node.id} has not caught up"
                member = json.loads(self.consul.kv(f"{PREFIX}/members/{node.id}") or "{}")
                if not leads and member.get("ready") is not True:
                    return f"{node.id} is not ready: {member.get('stage')}"
        except Exception as e:  # whatever does not answer is not settled
            return f"{type(e).__name__}: {e}"
        return ""

    async def settled(self, timeout: float) -> float:
        """Wait until nothing is missing; returns how long that took. Fails with C{TimeoutError}."""
        began = now()
        while why := await asyncio.to_thread(self.why_unsettled):
            if now() - began > timeout:
                raise TimeoutError(f"not settled within {timeout:g} s: {why}")
            await asyncio.sleep(0.1)
        return now() - began
