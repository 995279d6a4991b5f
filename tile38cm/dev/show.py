"""What C{make run} prints: the nodes, what to try, and what changes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import join

from attrs import field, frozen

from tile38cm.dev.client import CA, CERT, KEY


@frozen
class DevNode:
    """One node's name and ports."""

    id: str
    tile38_port: int
    writer_port: int
    reader_port: int


@frozen
class Picture:
    """What the cluster looks like from outside, at one moment."""

    #: Who holds the lock.
    leader: str | None = None
    epoch: int = 0
    sync_set: frozenset[str] = frozenset()
    #: Whose Tile38 follows, and has caught up.
    following: frozenset[str] = frozenset()
    #: By their own word, a few seconds old: how many bytes members are behind.
    lags: Mapping[str, int] = field(factory=dict, eq=False)

    def converged(self, nodes: frozenset[str]) -> bool:
        """Whether one leads, and all others follow and are in the sync set."""
        return self.leader in nodes and self.following == nodes - {self.leader} and self.sync_set == nodes

    def role(self, node: str) -> str:
        """One word for a node."""
        if node == self.leader:
            return "leader"
        return "follower" if node in self.following else "not ready"


def table(
    nodes: Mapping[str, DevNode], picture: Picture, pids: Mapping[str, tuple[int, int]]
) -> Iterator[str]:
    """One line for each node; C{pids} are those of its manager and of its Tile38."""
    row = "  {:6} {:10} {:>6} {:>6} {:>7} {:>12} {:>11} {:>9}"
    yield row.format("node", "role", "W", "R", "Tile38", "manager pid", "Tile38 pid", "lag")
    for node in nodes.values():
        ports = (node.writer_port, node.reader_port, node.tile38_port)
        lag = f"{picture.lags[node.id]:,} B" if node.id in picture.lags else "unknown"
        yield row.format(node.id, picture.role(node.id), *ports, *pids[node.id], lag)


def client(port: int, tls: Path | None) -> str:
    """The start of a command line that talks to a port: with redis-cli where that is installed."""
    if shutil.which("redis-cli") is None:
        way = ["--tls", str(tls)] if tls is not None else []
        return join([sys.executable, "-m", "tile38cm.dev.client", *way, str(port)])
    if tls is None:
        return f"redis-cli -p {port}"
    files = ["--cert", str(tls / CERT), "--key", str(tls / KEY), "--cacert", str(tls / CA)]
    return join(["redis-cli", "--tls", *files, "-p", str(port)])


def to_try(
    nodes: Mapping[str, DevNode], picture: Picture, leader_pid: int, tls: Path | None
) -> Iterator[str]:
    """Commands to copy: a write through a follower, a read through the leader, and a failover."""
    leader = nodes.get(picture.leader or "") or next(iter(nodes.values()))
    other = next((node for node in nodes.values() if node != leader), leader)
    yield f"Write through any node's W, here {other.id}'s; it reaches the leader:"
    yield f"  {client(other.writer_port, tls)} SET fleet truck1 POINT 33.5 -112.2"
    yield f"Read through any node's R, here {leader.id}'s:"
    yield f"  {client(leader.reader_port, tls)} GET fleet truck1"
    yield f"  {client(leader.reader_port, tls)} NEARBY fleet POINT 33.5 -112.2 5000"
    yield "Take the leader's manager away; another node leads soon, and this one is started again:"
    yield f"  kill -9 {leader_pid}"


def changes(before: Picture, now: Picture, nodes: frozenset[str]) -> Iterator[str]:
    """A sentence for each thing that is not as it was."""
    if (now.leader, now.epoch) != (before.leader, before.epoch):
        yield "nobody holds the lead" if now.leader is None else f"{now.leader} leads, epoch {now.epoch}"
    if now.sync_set != before.sync_set:
        yield f"the sync set is {', '.join(sorted(now.sync_set)) or 'empty'}"
    for node in sorted(now.following ^ before.following):
        if node in now.following:
            yield f"{node} follows and has caught up"
        elif node != now.leader:
            yield f"{node} is not ready to be read"
    if now.converged(nodes) and not before.converged(nodes):
        yield "all nodes agree"
