"""C{make run}: a cluster on this machine, shown to a person until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence

from tile38cm.dev.cluster import DevCluster, Plan
from tile38cm.dev.fleet import KEY, Fleet
from tile38cm.dev.processes import LOOPBACK, Failed, Halted, Missing
from tile38cm.dev.show import Picture, changes, table, to_try

#: Seconds between two looks at the running cluster, and from the end of a process to its restart.
LOOK_EVERY, RESTART_AFTER = 0.25, 3.0
#: What may be typed while it runs.
KEYS = "Type 'kill' for the leader's manager, 'kill n2' for a node's, 'show' for the table; Ctrl-C stops all."


def _say(text: str = "") -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Nobody reads any more: stop in order, as if asked to, and be quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.raise_signal(signal.SIGTERM)


def _event(text: str) -> None:
    _say(f"{time.strftime('%H:%M:%S')}  {text}")


class Restarts:
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


def _pids(cluster: DevCluster) -> dict[str, tuple[int, int]]:
    children = cluster.children
    return {name: (children[f"manager-{name}"].pid, children[f"tile38-{name}"].pid) for name in cluster.nodes}


def _show(cluster: DevCluster, picture: Picture) -> None:
    _say()
    for line in table(cluster.nodes, picture, _pids(cluster)):
        _say(line)
    _say()


def introduce(cluster: DevCluster, picture: Picture) -> None:
    """Say what there is, and what to try."""
    _show(cluster, picture)
    if cluster.tls is None:
        _say("W and R speak no TLS here (--tls off), so that any client will do; a node's default is mTLS.")
    leader_pid = _pids(cluster)[picture.leader][0] if picture.leader is not None else 0
    for line in to_try(cluster.nodes, picture, leader_pid, cluster.tls):
        _say(line)
    if not cluster.servers[0].embedded:
        _say(f"Consul shows itself at http://{LOOPBACK}:{cluster.consul_port}/ui")
    _say(KEYS if sys.stdin.isatty() else "Ctrl-C stops all.")
    _say("What changes from now on:")


def typed() -> str:
    """A line that somebody has typed, or nothing; looks at a terminal only."""
    if not sys.stdin.isatty() or not select.select([sys.stdin], [], [], 0)[0]:
        return ""
    return sys.stdin.readline().strip()


def obey(cluster: DevCluster, picture: Picture, line: str) -> None:
    """Do what was typed."""
    verb, _, name = line.partition(" ")
    victim = cluster.children.get(f"manager-{name or picture.leader}")
    if verb == "kill" and victim is not None:
        victim.signal(signal.SIGKILL)
    elif verb == "show":
        _show(cluster, picture)
    elif line:
        _say(KEYS)


def follow(cluster: DevCluster, picture: Picture) -> None:
    """Print what changes until somebody asks to stop."""
    restarts, nodes = Restarts(cluster), frozenset(cluster.nodes)
    while not cluster.halt.wait(LOOK_EVERY):
        before, picture = picture, cluster.picture()
        for sentence in (*restarts.look(), *changes(before, picture, nodes)):
            _event(sentence)
        obey(cluster, picture, typed())


def _obey_signals(cluster: DevCluster) -> None:
    """The first signal stops everything in order, a second one at once."""

    def asked(*_: object) -> None:
        (cluster.hurry if cluster.halt.is_set() else cluster.halt).set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, asked)


def parse(arguments: Sequence[str] | None) -> tuple[Plan, int]:
    """The command line as a plan, and how many trucks drive; ends the process on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tile38cm.dev.run",
        description="Run a Tile38 cluster on this machine until Ctrl-C: with the real servers where they are "
        "installed, else with embedded ones, which are for trying out.",
        epilog="What follows -- goes to every manager, for example: -- --lease 300ms",
    )
    parser.add_argument(
        "--nodes", type=int, default=3, choices=range(1, 10), metavar="N", help="1 to 9; default 3"
    )
    parser.add_argument("--tls", choices=("off", "connect"), default="off", help="for W, R and between nodes")
    parser.add_argument("--embedded", action="store_true", help="take the embedded Consul and Tile38")
    parser.add_argument("--fleet", type=int, default=0, metavar="N", help="let so many trucks drive about")
    parser.add_argument("--keep", action="store_true", help="leave the folder with data and logs behind")
    parser.add_argument("flags", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    plan = Plan(given.nodes, given.tls, tuple(given.flags), given.keep, given.embedded)
    return plan, given.fleet


def _run(cluster: DevCluster, trucks: int) -> None:
    """From the start to the signal."""
    _say("Starting Consul, and for each node a Tile38 and a manager ...")
    cluster.start()
    for server in cluster.servers:
        _say(f"  {server}")
    _say(f"Waiting until one node leads and all others follow; logs are in {cluster.folder} ...")
    picture = cluster.wait_converged()
    introduce(cluster, picture)
    fleet = Fleet(trucks, [node.writer_port for node in cluster.nodes.values()], _event, cluster.tls)
    if trucks:
        fleet.start()
        _event(f"{trucks} trucks drive, under the key {KEY!r}")
    try:
        follow(cluster, picture)
    finally:
        if trucks:
            fleet.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cluster until a signal; 0 after that, 1 if it could not be brought up."""
    plan, trucks = parse(arguments)
    cluster = DevCluster(plan)
    _obey_signals(cluster)
    try:
        _run(cluster, trucks)
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
