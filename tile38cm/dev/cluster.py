"""A whole cluster on this machine: one Consul, and a Tile38 and a manager for each node.

L{DevCluster} is for tests, an application's own too; C{make run} shows one.  Everything is a process
of its own on free ports of the loopback address, and lives in one temporary folder::

    async with DevCluster(3) as cluster:
        writer = cluster.leader.writer_port      # any node's will do
        reader = cluster.nodes["n2"].reader_port
        ...
        cluster.children["manager-n1"].signal(signal.SIGKILL)

    with DevCluster(Plan(3, tls="connect")) as cluster:
        cluster.wait_converged()

With pytest: C{pytest_plugins = ["tile38cm.dev.fixtures"]} in C{conftest.py}; tests take C{tile38_cluster}.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any, Literal, Self

from attrs import evolve, frozen

from tile38cm.coordination.status import LEADER_KEY, MEMBERS, STATUS_KEY, Status
from tile38cm.dev.client import CA, CERT, KEY, talk
from tile38cm.dev.processes import (
    CONSUL,
    LOOPBACK,
    ROOT,
    TILE38,
    Child,
    Failed,
    Server,
    free_ports,
    server,
    wait_for,
)
from tile38cm.dev.show import DevNode, Picture
from tile38cm.flags.table import FLAGS

#: Where the managers keep the cluster's keys.
PREFIX = "_locks/tile38/cluster/dev"
#: Seconds for one server to answer after its start, and for all nodes to agree.
START_TIMEOUT, CONVERGE_TIMEOUT = 30.0, 90.0
#: Seconds between SIGTERM and SIGKILL.
MANAGER_GRACE, SERVER_GRACE = 15.0, 5.0
#: Seconds for one question to Consul or Tile38.
ASK_TIMEOUT = 3.0


@frozen
class Plan:
    """What kind of cluster is wanted; C{flags} go to every manager as they are."""

    nodes: int = 3
    tls: Literal["off", "connect"] = "off"
    flags: tuple[str, ...] = ()
    #: Leave the folder with data and logs behind.
    keep: bool = False
    #: Take the embedded servers, be there real ones or not.
    embedded: bool = False


class DevCluster:
    """All processes of one cluster; a context manager that starts and stops them.

    As an asynchronous one it is entered when all nodes agree, and blocks no event loop.

    @ivar servers: Consul and Tile38, real or embedded, once they are started.
    @ivar halt: When set, whatever waits gives up with C{Halted}; for signal handlers.
    @ivar hurry: When set, L{stop} kills instead of waiting.
    """

    def __init__(self, plan: Plan | int | None = None) -> None:
        self.plan = Plan(plan) if isinstance(plan, int) else plan or Plan()
        self.servers: tuple[Server, ...] = ()
        self.halt, self.hurry = Event(), Event()
        self.folder = Path()
        self.children: dict[str, Child] = {}
        count = self.plan.nodes
        ports = free_ports(3 * count + 3)
        self.consul_port, *self._consul_ports = ports[:3]
        self.nodes = {f"n{i + 1}": DevNode(f"n{i + 1}", *ports[3 + 3 * i : 6 + 3 * i]) for i in range(count)}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self._enter)

    def _enter(self) -> Self:
        self.__enter__()
        try:
            self.wait_converged()
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def leader(self) -> DevNode:
        """The node that leads now.

        @raise Failed: None does.
        """
        leader = self.picture().leader
        if leader not in self.nodes:
            raise Failed("no node leads")
        return self.nodes[leader]

    @property
    def tls(self) -> Path | None:
        """The folder with a client's certificates, if clients need one."""
        return self.folder if self.plan.tls == "connect" else None

    def start(self) -> None:
        """Start everything; returns when Consul and every Tile38 answer and the managers run.

        @raise Missing: A program is not there; nothing has been started then.
        @raise Failed: A server did not come up; what was started still runs.
        """
        consul, tile38 = self.servers = tuple(server(each, self.plan.embedded) for each in (CONSUL, TILE38))
        self.folder = Path(tempfile.mkdtemp(prefix="tile38cm-run-"))
        self._start_consul(consul)
        for node in self.nodes.values():
            self._start_tile38(tile38, node)
        for node in self.nodes.values():
            self._wait(lambda port=node.tile38_port: self._ping(port), f"tile38-{node.id}")
        for node in self.nodes.values():
            self._add(f"manager-{node.id}", manager_command(self, node), manager_environment(os.environ))
        if self.plan.tls == "connect":
            self._wait(self._write_certificates, "consul")

    def stop(self) -> None:
        """Stop managers (the leader last), servers, Consul; remove the folder unless it is to be kept."""
        for name in self._stop_order():
            grace = MANAGER_GRACE if name.startswith("manager-") else SERVER_GRACE
            self.children.pop(name).stop(grace, self.hurry)
        if self.folder.name and not self.plan.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _stop_order(self) -> list[str]:
        leader = f"manager-{self.picture().leader}" if self.children else ""
        ranks = {"manager": 0, "tile38": 2, "consul": 3}
        return sorted(self.children, key=lambda name: 1 if name == leader else ranks[name.partition("-")[0]])

    def restart(self, name: str) -> None:
        """Start a child again that has ended; C{name} is a key of C{children}."""
        self.children[name].start()

    def wait_converged(self, timeout: float = CONVERGE_TIMEOUT) -> Picture:
        """Returns once one node leads and all others follow it.

        @raise Failed: Not in time, or a process has ended.
        """
        agreed: Picture = self._wait(self._converged, "a leader that all others follow", timeout)
        return agreed

    def _converged(self) -> Picture | None:
        picture = self.picture()
        return picture if picture.converged(frozenset(self.nodes)) else None

    def picture(self) -> Picture:
        """Look once; what does not answer is missing from the picture."""
        keys = self._keys()
        lock, status = keys.get(LEADER_KEY), keys.get(STATUS_KEY)
        picture = Picture(following=frozenset(self._following()), lags=self._lags(keys))
        if status is not None:
            known = Status.decode(base64.b64decode(status["Value"]))
            picture = evolve(picture, epoch=known.epoch, sync_set=known.sync_set)
        if lock is None or not lock.get("Session"):
            return picture
        return evolve(picture, leader=base64.b64decode(lock["Value"] or "").decode())

    def _lags(self, keys: Mapping[str, dict[str, Any]]) -> dict[str, int]:
        """How many bytes each member says it is behind."""
        found = {}
        for node in self.nodes:
            entry = keys.get(f"{MEMBERS}/{node}")
            try:
                found[node] = int(json.loads(base64.b64decode((entry or {})["Value"])).get("lag") or 0)
            except (KeyError, TypeError, ValueError):
                continue
        return found

    def _keys(self) -> dict[str, dict[str, Any]]:
        """Consul's entries under the prefix, by their names behind it."""
        try:
            found = self.consul(f"/v1/kv/{PREFIX}/?recurse")
        except (OSError, ValueError):
            return {}
        return {entry["Key"].removeprefix(f"{PREFIX}/"): entry for entry in found}

    def _following(self) -> Iterator[str]:
        for node in self.nodes.values():
            try:
                flat = talk(node.tile38_port, "SERVER", timeout=ASK_TIMEOUT)
            except OSError:
                continue
            if isinstance(flat, list):
                said = dict(zip(flat[::2], flat[1::2], strict=True))
                if said.get("following") and said.get("caught_up") == "true":
                    yield node.id

    def consul(self, path: str) -> Any:
        """The JSON at a path of Consul's API.

        @raise OSError, ValueError: No answer, an error, or no JSON.
        """
        url = f"http://{LOOPBACK}:{self.consul_port}{path}"
        with urllib.request.urlopen(url, timeout=ASK_TIMEOUT) as answer:
            return json.loads(answer.read())

    # -- starting -------------------------------------------------------------

    def _add(self, name: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> None:
        child = Child(name, arguments, self.folder, environment)
        self.children[name] = child
        child.start()

    def _start_consul(self, consul: Server) -> None:
        if consul.embedded:
            self._add(
                "consul", [*consul.command, "--port", str(self.consul_port)], manager_environment(os.environ)
            )
        else:
            self._add("consul", [*consul.command, *self._consul_flags()])
        self._wait(lambda: bool(self.consul("/v1/connect/ca/roots")["Roots"]), "consul")

    def _consul_flags(self) -> list[str]:
        serf, server = self._consul_ports
        off = {"https": -1, "grpc": -1, "grpc_tls": -1, "dns": -1, "serf_wan": -1}
        config = {
            "ports": {**off, "http": self.consul_port, "serf_lan": serf, "server": server},
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
        }
        file = self.folder / "consul.json"
        file.write_text(json.dumps(config))
        flags = ["-bind", LOOPBACK, "-client", LOOPBACK, "-node", "dev", "-log-level", "warn"]
        return ["agent", "-dev", *flags, "-config-file", str(file)]

    def _start_tile38(self, tile38: Server, node: DevNode) -> None:
        data = self.folder / f"data-{node.id}"
        place = ["-h", LOOPBACK, "-p", str(node.tile38_port), "-d", str(data)]
        self._add(f"tile38-{node.id}", [*tile38.command, *place], manager_environment(os.environ))

    def _ping(self, port: int) -> bool:
        return bool(talk(port, "PING", timeout=ASK_TIMEOUT) == "PONG")

    def _write_certificates(self) -> bool:
        """A certificate of the mesh for whoever tries the cluster out."""
        leaf = self.consul("/v1/agent/connect/ca/leaf/dev-client")
        roots = self.consul("/v1/agent/connect/ca/roots")["Roots"]
        (self.folder / KEY).touch(mode=0o600)
        (self.folder / KEY).write_text(leaf["PrivateKeyPEM"])
        (self.folder / CERT).write_text(leaf["CertPEM"])
        (self.folder / CA).write_text("\n".join(root["RootCert"] for root in roots))
        return True

    def _wait(self, probe: Any, what: str, timeout: float = START_TIMEOUT) -> Any:
        """As C{wait_for}, but a process that ends meanwhile ends the wait, too."""

        def look() -> Any:
            for child in self.children.values():
                if child.how_it_ended():
                    raise Failed(f"{child.name} {child.how_it_ended()}:\n{child.last_words()}")
            return probe()

        return wait_for(look, what, timeout, self.halt)


def manager_command(cluster: DevCluster, node: DevNode) -> list[str]:
    """The command line of one node's manager."""
    flags = {
        "id": node.id,
        "advertise": LOOPBACK,
        "server.port": node.tile38_port,
        "bind.addr.leader": LOOPBACK,
        "bind.port.leader": node.writer_port,
        "bind.addr.follower": LOOPBACK,
        "bind.port.follower": node.reader_port,
        "consul.addr": f"{LOOPBACK}:{cluster.consul_port}",
        "consul.lock.prefix": PREFIX,
        "tls": cluster.plan.tls,
        "expect": cluster.plan.nodes,
        "state.dir": cluster.folder / f"state-{node.id}",
        "log.format": "text",
    }
    given = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    return [sys.executable, "-m", "twisted", "tile38cm", *given, "--service.manage", *cluster.plan.flags]


def manager_environment(mine: Mapping[str, str]) -> dict[str, str]:
    """The given environment without what would be taken for a flag; the plugin is found from any folder."""
    flags = {flag.env for flag in FLAGS}
    kept = {name: value for name, value in mine.items() if name not in flags}
    path = [str(ROOT), *filter(None, [mine.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(path)}
