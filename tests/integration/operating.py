"""A cluster on real servers, and what its operators look at and ask for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import PREFIX, TILE38_PORT, Lab, Node
from tests.integration.load import Load
from tests.real import wait_for
from tile38cm.operate.ctl.commands import run

#: Seconds between two writes of a client, to spare the machine.
PACE = 0.005


def load_through(lab: Lab, key: str, nodes: Sequence[Node]) -> Load:
    """One writing client at each of these nodes, at ease."""
    return Load(key, {node.id: (lambda node=node: lab.writer(node)) for node in nodes}, PACE)  # type: ignore[misc]


@frozen
class Told:
    """What a command has said."""

    code: int
    out: str
    err: str


def ctl(lab: Lab, *words: str) -> Told:
    """C{tile38ctl} with this cluster's Consul."""
    out, err = StringIO(), StringIO()
    code = run([*words, "--consul.addr", lab.consul.address], out, err)
    return Told(code, out.getvalue(), err.getvalue())


def shown(lab: Lab) -> dict[str, Any]:
    """C{tile38ctl status}, as programs get it."""
    return dict(json.loads(ctl(lab, "status", "--json").out))


def member(lab: Lab, node: Node) -> dict[str, Any]:
    """What C{tile38ctl status} shows of a node; empty if nothing."""
    return dict(shown(lab)["members"].get(node.id, {}))


def told_offset(lab: Lab, node: Node) -> int:
    """How long its log is by its own key."""
    return int(json.loads(lab.consul.kv(f"{PREFIX}/members/{node.id}") or "{}")["offset"])


def ask(lab: Lab, name: str, request: object) -> dict[str, Any]:
    """Write a request by hand, and wait for what is written back."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    lab.consul.request("PUT", f"/v1/kv/{PREFIX}/{name}", body)

    def answered() -> dict[str, Any]:
        found = json.loads(lab.consul.kv(f"{PREFIX}/{name}") or "{}")
        return dict(found) if "state" in found else {}

    return wait_for(answered, f"an answer to {request!r}", 15.0)


def started_over(*nodes: Node) -> list[str]:
    """Who has started over, as often as it has."""
    return [node.id for node in nodes for _ in range(node.manager.text().count("this node starts over"))]


def session_of(lab: Lab, node: Node) -> object:
    """What holds a node's key in Consul."""
    return lab.consul.request("GET", f"/v1/kv/{PREFIX}/members/{node.id}")[0]["Session"]


def log_path(node: Node) -> Path:
    """The log of its Tile38."""
    return Path(node.tile38.directory) / "appendonly.aof"


def kept(node: Node) -> list[Path]:
    """The files that it has kept."""
    return sorted((node.manager.directory / "state" / "kept").glob("*.aof"))


class OperationsCase(SynchronousTestCase):
    """Checks that many operations share."""

    def check_equal(self, lab: Lab, *nodes: Node) -> None:
        """By C{tile38ctl compare}: all followers hold what the leader holds."""
        leader = lab.wait_settled(*nodes)
        for node in nodes or lab.nodes:
            if node is leader:
                continue
            out = StringIO()
            servers = ("--leader", f"{leader.host}:{TILE38_PORT}", "--follower", f"{node.host}:{TILE38_PORT}")
            self.assertEqual(run(["compare", *servers], out, StringIO()), 0, out.getvalue())

    def check_load(self, lab: Lab, load: Load) -> None:
        """Nobody was told of an error, nothing is lost."""
        self.assertEqual(load.errors, [])
        self.assertEqual(load.acknowledged - lab.wait_same(load.key), set())
