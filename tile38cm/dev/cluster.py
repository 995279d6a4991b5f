"""A whole cluster on this machine: one Consul, and a Tile38 and a manager for each node.

C{make run} is L{main}; tests use L{DevCluster}.  Everything is a process of its
own on free ports of the loopback address, and lives in one temporary folder.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, Literal, Self

from attrs import frozen

from tile38cm.coordination.status import LEADER_KEY, STATUS_KEY, Status
from tile38cm.dev.processes import (
    CONSUL,
    LOOPBACK,
    ROOT,
    TILE38,
    Child,
    Failed,
    Halted,
    Missing,
    free_ports,
    wait_for,
)
from tile38cm.dev.show import DevNode, Picture, changes, table, to_try
from tile38cm.dev.talk import CA, CERT, KEY, talk
from tile38cm.flags.table import FLAGS

#: Where the managers keep the cluster's keys.
PREFIX = "_locks/tile38/cluster/dev"
#: Seconds for one server to answer after its start, and for all nodes to agree.
START_TIMEOUT, CONVERGE_TIMEOUT = 30.0, 90.0
#: Seconds between SIGTERM and SIGKILL.
MANAGER_GRACE, SERVER_GRACE = 15.0, 5.0
#: Seconds for one question to Consul or Tile38.
ASK_TIMEOUT = 3.0
#: Seconds between two looks at the running cluster, and from the end of a process to its restart.
LOOK_EVERY, RESTART_AFTER = 0.25, 3.0


@frozen
class Plan:
    """What kind of cluster is wanted; C{flags} go to every manager as they are."""

    nodes: int = 3
    tls: Literal["off", "connect"] = "off"
    flags: tuple[str, ...] = ()
    #: Leave the folder with data and logs behind.
    keep: bool = False


class DevCluster:
    """All processes of one cluster; a context manager that starts and stops them.

    @ivar halt: When set, whatever waits gives up with C{Halted}; for signal handlers.
    @ivar hurry: When set, L{stop} kills instead of waiting.
    """

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan or Plan()
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

    @property
    def tls(self) -> Path | None:
        """The folder with a client's certificates, if clients need one."""
        return self.folder if self.plan.tls == "connect" else None

    def start(self) -> None:
        """Start everything; returns when Consul and every Tile38 answer and the managers run.

        @raise Missing: A program is not there; nothing has been started then.
        @raise Failed: A server did not come up; what was started still runs.
        """
        consul, tile38 = CONSUL.find(), TILE38.find()
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
        picture = Picture(following=frozenset(self._following()))
        if status is not None:
            known = Status.decode(base64.b64decode(status["Value"]))
            picture = Picture(None, known.epoch, known.sync_set, picture.following)
        if lock is None or not lock.get("Session"):
            return picture
        leader = base64.b64decode(lock["Value"] or "").decode()
        return Picture(leader, picture.epoch, picture.sync_set, picture.following)

    def _keys(self) -> dict[str, dict[str, Any]]:
        """Consul's entries directly under the prefix, by their last names."""
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

    def _start_consul(self, program: str) -> None:
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
        self._add("consul", [program, "agent", "-dev", *flags, "-config-file", str(file)])
        self._wait(lambda: bool(self.consul("/v1/connect/ca/roots")["Roots"]), "consul")

    def _start_tile38(self, program: str, node: DevNode) -> None:
        data = self.folder / f"data-{node.id}"
        self._add(
            f"tile38-{node.id}", [program, "-h", LOOPBACK, "-p", str(node.tile38_port), "-d", str(data)]
        )

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


class _Restarts:
    """Starts again what has ended, some seconds later, and says so."""

    def __init__(self, cluster: DevCluster) -> None:
        self._cluster = cluster
        self._due: dict[str, float] = {}

    def look(self) -> Iterator[str]:
        """A sentence for each process that has ended or is started again."""
        now = time.monotonic()
        for name, child in self._cluster.children.items():
            if child.running:
                continue
            if name not in self._due:
                self._due[name] = now + RESTART_AFTER
                yield f"{name} {child.how_it_ended()}; it is started again in {RESTART_AFTER:g} s"
            elif now >= self._due[name]:
                del self._due[name]
                self._cluster.restart(name)
                yield f"{name} is started again as process {child.pid}"


def _say(text: str = "") -> None:
    print(text, flush=True)


def _introduce(cluster: DevCluster, picture: Picture) -> None:
    children, nodes = cluster.children, cluster.nodes
    pids = {name: (children[f"manager-{name}"].pid, children[f"tile38-{name}"].pid) for name in nodes}
    _say()
    for line in table(nodes, picture, pids):
        _say(line)
    _say()
    if cluster.tls is None:
        _say("W and R speak no TLS here (--tls off), so that any client will do; a node's default is mTLS.")
    leader_pid = pids[picture.leader][0] if picture.leader is not None else 0
    for line in to_try(nodes, picture, leader_pid, cluster.tls):
        _say(line)
    _say(f"Consul shows itself at http://{LOOPBACK}:{cluster.consul_port}/ui")
    _say("Ctrl-C stops all.  What changes from now on:")


def _follow(cluster: DevCluster, picture: Picture) -> None:
    """Print what changes until somebody asks to stop."""
    restarts, nodes = _Restarts(cluster), frozenset(cluster.nodes)
    while not cluster.halt.wait(LOOK_EVERY):
        before, picture = picture, cluster.picture()
        for line in (*restarts.look(), *changes(before, picture, nodes)):
            _say(f"{time.strftime('%H:%M:%S')}  {line}")


def _obey_signals(cluster: DevCluster) -> None:
    """The first signal stops everything in order, a second one at once."""

    def asked(*_: object) -> None:
        (cluster.hurry if cluster.halt.is_set() else cluster.halt).set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, asked)


def parse(arguments: Sequence[str] | None) -> Plan:
    """The command line as a plan; ends the process on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tile38cm.dev.cluster",
        description="Run a Tile38 cluster on this machine, with real servers, until Ctrl-C.",
        epilog="What follows -- goes to every manager, for example: -- --lease 300ms",
    )
    parser.add_argument(
        "--nodes", type=int, default=3, choices=range(1, 10), metavar="N", help="1 to 9; default 3"
    )
    parser.add_argument("--tls", choices=("off", "connect"), default="off", help="for W, R and between nodes")
    parser.add_argument("--keep", action="store_true", help="leave the folder with data and logs behind")
    parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    return Plan(given.nodes, given.tls, tuple(given.flags), given.keep)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cluster until a signal; 0 after that, 1 if it could not be brought up."""
    cluster = DevCluster(parse(arguments))
    _obey_signals(cluster)
    try:
        _say("Starting Consul, and for each node a Tile38 and a manager ...")
        cluster.start()
        _say(f"Waiting until one node leads and all others follow; logs are in {cluster.folder} ...")
        picture = cluster.wait_converged()
        _introduce(cluster, picture)
        _follow(cluster, picture)
    except Halted:
        pass
    except (Missing, Failed) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if cluster.children:
            _say("Stopping ...")
        cluster.stop()
        if cluster.plan.keep and cluster.folder.name:
            _say(f"Data and logs are in {cluster.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
