"""A whole cluster for tests: real Consul, real Tile38, one process for each manager.

Everything blocks, with bounds, like L{tests.real} from which it is made::

    with Lab() as lab:
        leader = lab.wait_settled()
        lab.writer(leader).command("SET", "fleet", "1", "POINT", 1, 2)

When the block ends by an exception, the ends of all logs are printed.  Each
node has a loopback address of its own, so ports are the same everywhere and
nobody's outgoing connection can take them away while a node is down.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

from attrs import define, field, frozen

from tests import cluster
from tests.integration.load import Client
from tests.real import ROOT, Program, RealTile38, Reply, wait_for
from tests.real_consul import RealConsul
from tile38cm.dev.processes import free_ports

T = TypeVar("T")

PREFIX = cluster.PREFIX
TILE38_PORT, WRITER_PORT, READER_PORT = cluster.TILE38_PORT, cluster.WRITER_PORT, cluster.READER_PORT
#: Short, so that tests are fast; nothing here measures it.
LEASE = "300ms"
#: Seconds for a cluster to be of one mind after anything that was done to it.
SETTLE_TIMEOUT = 30.0
#: How much of each log is printed after a failure.
LOG_END = 6000
#: So many lines of each manager's log stand in an error.
LAST_LINES = 8

_networks = itertools.count(1)


class Unsettled(ValueError):
    """The cluster is not yet as it should be; L{wait_for} goes on waiting."""


class Manager(Program):
    """C{twist tile38cm} in a process of its own; C{start} does not wait for it."""

    name = "manager"

    def __init__(self, directory: Path, flags: Sequence[str], environment: Mapping[str, str]) -> None:
        super().__init__(directory)
        self.flags, self.environment = list(flags), dict(environment)

    def arguments(self) -> list[str]:
        told = [f"{name}={value}" for name, value in self.environment.items()]
        return ["/usr/bin/env", *told, sys.executable, "-m", "twisted", "tile38cm", *self.flags]

    def ready(self) -> bool:
        return True

    @property
    def code(self) -> int | None:
        """How it ended; C{None} while it runs."""
        return self.process.poll() if self.process else None

    @property
    def stopped(self) -> bool:
        """Whether SIGTERM ended it in good order; twist ends itself by the signal that stopped it."""
        return self.code in (0, -signal.SIGTERM) and self.text().rstrip().endswith("NodeService stopped")

    def text(self) -> str:
        """All that it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@define(eq=False)
class Node:
    """One Tile38 and its manager."""

    id: str
    host: str
    tile38: RealTile38
    manager: Manager

    def start(self) -> None:
        """Start both; Tile38 answers when this returns."""
        self.tile38.start()
        self.manager.start()

    def terminate(self) -> None:
        """Stop both as an operator does: the manager first."""
        self.manager.terminate()
        self.tile38.terminate()

    def kill(self) -> None:
        """SIGKILL both at once, as when the machine goes."""
        for program in (self.manager, self.tile38):
            if program.process is not None and program.running:
                program.process.send_signal(signal.SIGKILL)
        self.manager.kill()
        self.tile38.kill()

    def server(self) -> dict[str, str]:
        """What its Tile38 says of itself, asked directly."""
        return self.tile38.server()

    def objects(self, key: str) -> dict[str, str]:
        """A collection in its own Tile38: each id with all that is known of it."""
        found = self.tile38.command("SCAN", key, "LIMIT", 10_000_000, timeout=30)
        assert isinstance(found, list)
        return {item[0]: str(item[1:]) for item in found[1]}

    def writable(self) -> bool:
        """Whether its Tile38 takes writes from whoever reaches its port."""
        says = self.server()
        return says["read_only"] == "false" and not says.get("following")


@frozen
class Plan:
    """What kind of cluster."""

    nodes: int = 3
    tls: str = "off"
    lease: str = LEASE
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)
    #: Tile38's C{requirepass}.
    password: str | None = None
    consul: Mapping[str, Any] = field(factory=dict)
    consul_token: str | None = None
    #: Consul keeps its data when it is stopped.
    persistent: bool = False


class Lab:
    """One Consul and some nodes, none of which is started but Consul."""

    def __init__(self, plan: Plan | None = None, **changes: Any) -> None:
        self.plan = plan or Plan(**changes)
        self.folder = Path(tempfile.mkdtemp(prefix="tile38cm-lab-"))
        self.network = f"127.{16 + os.getpid() % 200}.{next(_networks) % 250}"
        self.consul = self._consul()
        self.nodes = [self._node(i) for i in range(1, self.plan.nodes + 1)]
        self._tls: ssl.SSLContext | None = None
        self._making_tls = Lock()

    def _consul(self) -> RealConsul:
        return RealConsul(
            port=free_ports(1)[0],
            directory=self.folder / "consul",
            config=dict(self.plan.consul),
            token=self.plan.consul_token,
            persistent=self.plan.persistent,
        )

    def _consul_address(self, number: int) -> str:
        """The agent of a node."""
        return self.consul.address

    def _node(self, number: int) -> Node:
        folder, host = self.folder / f"node{number}", f"{self.network}.{number}"
        password = self.plan.password
        tile38 = RealTile38(TILE38_PORT, folder / "data", host=host, password=password)
        return Node(
            f"node{number}", host, tile38, Manager(folder, self._flags(number, host), self._environment())
        )

    def another(self, number: int, name: str) -> Node:
        """One more node, that has some name; not started."""
        node = self._node(number)
        node.manager.flags[node.manager.flags.index("--id") + 1] = name
        self.nodes.append(node)
        return node

    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT), **self.plan.environment}

    def _flags(self, number: int, host: str) -> list[str]:
        flags = cluster.flags_of(
            number,
            host,
            self.folder / f"node{number}",
            consul_addr=self._consul_address(number),
            tls=self.plan.tls,
            lease=self.plan.lease,
            log_format="text",
        )
        return [*flags, *self.plan.flags]

    # -- processes ------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.consul.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.show()
        self.close()

    def start(self, *nodes: Node) -> None:
        """Start these nodes, or all."""
        for node in nodes or self.nodes:
            node.start()

    def close(self) -> None:
        """Kill everything and remove the folder."""
        for node in self.nodes:
            node.manager.kill()
            node.manager.stop()
            node.tile38.kill()
            node.tile38.stop()
        self.consul.kill()
        self.consul.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def show(self) -> None:
        """Print the ends of the managers' logs, and of those of Tile38s that have ended."""
        for node in self.nodes:
            print(f"--- {node.id}\n{node.manager.log_end(LOG_END)}", file=sys.stderr)
            if not node.tile38.running:
                print(f"--- Tile38 of {node.id}\n{node.tile38.log_end(LOG_END)}", file=sys.stderr)

    # -- what Consul says -----------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The status document; empty while there is none."""
        found = self.consul.kv(f"{PREFIX}/status")
        return {} if found is None else dict(json.loads(found))

    def sync_set(self) -> set[str]:
        """Who holds every acknowledged write."""
        return set(self.status().get("sync_set", ()))

    def node(self, name: str | None) -> Node | None:
        """A node by its id."""
        return next((node for node in self.nodes if node.id == name), None)

    def lock_holder(self) -> str | None:
        """The text of the lock key, if a session holds it."""
        found = self.consul.request("GET", f"/v1/kv/{PREFIX}/leader?recurse")
        held = [each for each in found if each["Key"].endswith("/leader") and each.get("Session")]
        return self.consul.kv(f"{PREFIX}/leader") if held else None

    # -- states ---------------------------------------------------------------

    def settled(self, nodes: Sequence[Node]) -> Node:
        """The leader, if these nodes, and only they, are the sync set, and all followers have caught up.

        @raise Unsettled: saying what is missing.
        """
        status = self.status()
        leader = self.node(status.get("leader"))
        if leader is None or leader not in nodes or set(status["sync_set"]) != {node.id for node in nodes}:
            raise Unsettled(f"the status is {status}")
        if self.lock_holder() != leader.id:
            raise Unsettled(f"the lock is held by {self.lock_holder()}, not by {leader.id}")
        if not leader.writable():
            raise Unsettled(f"{leader.id} leads, but {leader.server()}")
        for node in nodes:
            if node is not leader:
                self._check_follows(node)
        return leader

    def _check_follows(self, node: Node) -> None:
        says = node.server()
        if not says.get("following") or says.get("caught_up") != "true" or says["read_only"] != "true":
            raise Unsettled(f"{node.id} says {says}")
        announced = self.consul.kv(f"{PREFIX}/members/{node.id}")
        if announced is None or json.loads(announced)["ready"] is not True:
            raise Unsettled(f"{node.id} announces {announced}")

    def wait_settled(self, *nodes: Node, timeout: float = SETTLE_TIMEOUT) -> Node:
        """L{settled}, as soon as it is true; of all nodes if none is given.  An error has their logs."""
        wanted = nodes or tuple(self.nodes)
        what = f"{[node.id for node in wanted]} settled"
        try:
            return wait_for(lambda: self.settled(wanted), what, timeout, every=0.05)
        except TimeoutError as e:
            ends = {node.id: node.manager.text().splitlines()[-LAST_LINES:] for node in wanted}
            said = (f"{node}: {line}" for node, lines in ends.items() for line in lines)
            raise TimeoutError("\n".join([str(e), *said])) from None

    def wait_same(self, key: str, *nodes: Node, timeout: float = 15.0) -> set[str]:
        """Wait until a collection is the same on these nodes, or all; returns its ids."""
        wanted = nodes or tuple(self.nodes)

        def same() -> bool:
            first, *rest = [node.objects(key) for node in wanted]
            for node, other in zip(wanted[1:], rest, strict=True):
                if other != first:
                    unlike = sorted({str(each) for each in first.items() ^ other.items()})
                    raise Unsettled(
                        f"{len(first)} on {wanted[0].id}, {len(other)} on {node.id}: {unlike[:9]}"
                    )
            return True

        wait_for(same, f"the same {key!r} on {[n.id for n in wanted]}", timeout, every=0.1)
        return set(wanted[0].objects(key))

    def others(self, node: Node) -> list[Node]:
        """All nodes but one."""
        return [each for each in self.nodes if each is not node]

    # -- clients --------------------------------------------------------------

    def tls(self) -> ssl.SSLContext | None:
        """A client's TLS with a leaf of its own from Connect; C{None} without TLS."""
        if self.plan.tls != "connect":
            return None
        # Clients are threads, and the leaf goes through a file.
        with self._making_tls:
            if self._tls is None:
                self._tls = self.leaf("lab-client")
            return self._tls

    def leaf(self, service: str) -> ssl.SSLContext:
        """The context of a service of the mesh, with the roots as they are now."""
        return cluster.leaf_context(self.consul, service, self.folder)

    def writer(self, node: Node, timeout: float = 15.0) -> Client:
        """A new connection to a node's W."""
        return self._client(node, WRITER_PORT, timeout)

    def reader(self, node: Node, timeout: float = 15.0) -> Client:
        """A new connection to a node's R."""
        return self._client(node, READER_PORT, timeout)

    def _client(self, node: Node, port: int, timeout: float) -> Client:
        client = Client(node.host, port, self.tls(), timeout)
        if self.plan.password is not None and self.plan.tls == "off":
            client.command("AUTH", self.plan.password)
        return client

    def write(self, node: Node, *words: str | int | float) -> Reply:
        """One command through a node's W, waiting for that node to listen."""
        return self._ask(lambda: self.writer(node), words)

    def read(self, node: Node, *words: str | int | float) -> Reply:
        """One command through a node's R, waiting for that node to listen."""
        return self._ask(lambda: self.reader(node), words)

    def _ask(self, connect: Callable[[], Client], words: Sequence[str | int | float]) -> Reply:
        client = wait_for(connect, "a listener", 15.0)
        with client:
            return client.command(*words)

    def wait_read(self, node: Node, expected: Reply, *words: str | int | float) -> None:
        """Wait until a node's R answers so: a follower may be some milliseconds behind."""
        wait_for(lambda: self.read(node, *words) == expected, f"{expected!r} by {words} from {node.id}", 10.0)


#: The cluster that tests share now; at most one, since each keeps the machine busy.
_kept: list[Lab] = []


@contextmanager
def settled_lab(**changes: Any) -> Iterator[Lab]:
    """A running, settled cluster that several tests use one after another; a failing one spoils it."""
    plan = Plan(**changes)
    if _kept and _kept[0].plan != plan:
        _kept.pop().close()
    if not _kept:
        _kept.append(Lab(plan))
        atexit.register(_kept[0].close)
        _kept[0].__enter__().start()
    lab = _kept[0]
    try:
        lab.wait_settled()
        yield lab
    except BaseException:
        lab.show()
        lab.close()
        _kept.clear()
        raise


def closed(host: str, port: int) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection((host, port), 1.0).close()
    except OSError:
        return True
    return False
