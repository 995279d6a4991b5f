"""The cluster on this machine, as far as no process is needed for it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from contextlib import redirect_stderr
from io import StringIO
from itertools import islice, pairwise
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tile38cm.dev import processes, show
from tile38cm.dev.cluster import DevCluster, Plan, manager_command, manager_environment
from tile38cm.dev.fleet import steps
from tile38cm.dev.processes import LOOPBACK, ROOT, Missing, Program, Server, free_ports, server
from tile38cm.dev.run import parse
from tile38cm.dev.show import DevNode, Picture, changes, table, to_try
from tile38cm.settings import Address
from tile38cm.tap import Options

NODES = {name: DevNode(name, 9851 + i, 7001 + i, 8001 + i) for i, name in enumerate(("n1", "n2", "n3"))}
ALL = frozenset(NODES)
AGREED = Picture("n1", 1, ALL, frozenset({"n2", "n3"}))


class ProgramTests(SynchronousTestCase):
    """Where servers are looked for."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.cached = self.program("cached")
        self.wanted = Program(
            "Consul", ("CONSUL_BIN", "CONSUL"), "consul-x", (self.cached,), "Run make consul."
        )

    def program(self, name: str) -> Path:
        """A file that can be run."""
        path = self.folder / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def test_environment_first(self) -> None:
        """What the environment names is taken, also where another one is on PATH."""
        self.program("consul-x")
        named = str(self.program("named"))
        environment = {"PATH": str(self.folder), "CONSUL": named}
        self.assertEqual(self.wanted.find(environment), named)

    def test_path_before_files(self) -> None:
        """PATH comes before the files that are known."""
        on_path = str(self.program("consul-x"))
        self.assertEqual(self.wanted.find({"PATH": str(self.folder)}), on_path)

    def test_known_file(self) -> None:
        """Without either the known file is taken."""
        self.assertEqual(self.wanted.find({"PATH": ""}), str(self.cached))

    def test_missing(self) -> None:
        """Without any, one sentence says where it was looked for and another what to do."""
        self.cached.unlink()
        with self.assertRaises(Missing) as caught:
            self.wanted.find({"PATH": ""})
        expected = f"Consul was not found (looked for: consul-x on PATH, {self.cached}). Run make consul."
        self.assertEqual(str(caught.exception), expected)

    def test_wrongly_named(self) -> None:
        """A wrong name in the environment is an error, and no reason to take another program."""
        with self.assertRaises(Missing) as caught:
            self.wanted.find({"CONSUL_BIN": "/no/such", "PATH": str(self.folder)})
        self.assertEqual(
            str(caught.exception), "CONSUL_BIN is /no/such, which is not a program that can be run."
        )


class ServerTests(SynchronousTestCase):
    """Which servers are taken."""

    def setUp(self) -> None:
        self.real = Program("Consul", ("CONSUL_BIN",), sys.executable, (), "")
        self.nowhere = Program("Consul", ("CONSUL_BIN",), "consul-nowhere", (), "")
        self.embedded = Server("Consul", (sys.executable, "-m", "tile38cm.dev.agent"), True)

    def test_real_first(self) -> None:
        """The real one, wherever it is; unless the embedded one is asked for."""
        self.assertEqual(server(self.real, False), Server("Consul", (sys.executable,)))
        self.assertEqual(server(self.real, True), self.embedded)

    def test_none(self) -> None:
        """Where there is none, the embedded one."""
        self.assertEqual(server(self.nowhere, False), self.embedded)
        self.assertEqual(str(self.embedded), "Consul: embedded, for development only")


class FleetTests(SynchronousTestCase):
    """Sample data."""

    def test_steps(self) -> None:
        """Every truck moves with every step, a little, and stays around."""
        rows = [[float(words[-2]) for words in step] for step in islice(steps(5), 2000)]
        for before, after in pairwise(rows):
            self.assertTrue(all(0 <= abs(a - b) < 0.003 for a, b in zip(before, after, strict=True)))
        self.assertTrue(all(33 < lat < 34 for row in rows for lat in row))


class PortTests(SynchronousTestCase):
    """Ports for servers that must be able to restart."""

    def test_free(self) -> None:
        """All are different, and none is in use."""
        ports = free_ports(20)
        self.assertEqual(len(set(ports)), 20)
        for port in ports:
            with socket.socket() as each:
                each.bind((LOOPBACK, port))

    def test_taken(self) -> None:
        """A port that somebody has bound is not given out."""
        with socket.socket() as taken:
            taken.bind((LOOPBACK, free_ports(1)[0]))
            self.patch(processes, "PORTS", range(taken.getsockname()[1], taken.getsockname()[1] + 1))
            self.assertEqual(free_ports(1), [])


class CommandTests(SynchronousTestCase):
    """What managers are started with."""

    def test_command(self) -> None:
        """A manager takes its command line, and understands by it what the cluster means."""
        cluster = DevCluster(Plan(2, "connect", ("--lease", "300ms")))
        node = cluster.nodes["n2"]
        command = manager_command(cluster, node)
        self.assertEqual(command[1:4], ["-m", "twisted", "tile38cm"])
        options = Options({})
        options.parseOptions(command[4:])
        settings = options.settings
        self.assertEqual((settings.id, settings.tls.mode, settings.lease), ("n2", "connect", 0.3))
        self.assertEqual(settings.consul.address, Address(LOOPBACK, cluster.consul_port))
        ports = (settings.server.port, settings.writer.port, settings.reader.port)
        self.assertEqual(ports, (node.tile38_port, node.writer_port, node.reader_port))
        self.assertEqual((settings.expect, settings.service_manage), (2, True))

    def test_ports_differ(self) -> None:
        """No two listeners of a cluster share a port."""
        cluster = DevCluster(Plan(3))
        ports = [cluster.consul_port]
        for node in cluster.nodes.values():
            ports += [node.tile38_port, node.writer_port, node.reader_port]
        self.assertEqual(len(set(ports)), 10)

    def test_environment(self) -> None:
        """Flags in the developer's environment do not leak into the managers; all else stays."""
        mine = {"HOME": "/h", "SERVICE_ID": "x", "CONSUL_HTTP_TOKEN": "t", "PYTHONPATH": "/mine"}
        expected = {"HOME": "/h", "PYTHONPATH": f"{ROOT}{os.pathsep}/mine"}
        self.assertEqual(manager_environment(mine), expected)

    def test_parse(self) -> None:
        """The command line becomes a plan; what follows -- is for the managers."""
        self.assertEqual(parse([]), (Plan(), 0))
        plan = parse(["--nodes", "5", "--tls", "connect", "--keep", "--", "--lease", "2s"])
        self.assertEqual(plan, (Plan(5, "connect", ("--lease", "2s"), True), 0))
        self.assertEqual(parse(["--embedded", "--fleet", "20"]), (Plan(embedded=True), 20))

    def test_wrong_usage(self) -> None:
        """A number of nodes that makes no sense ends the process as wrong usage does."""
        for wrong in ("0", "10", "x"):
            with redirect_stderr(StringIO()), self.assertRaises(SystemExit) as caught:
                parse(["--nodes", wrong])
            self.assertEqual(caught.exception.code, 2)


class PictureTests(SynchronousTestCase):
    """When nodes agree."""

    def test_converged(self) -> None:
        """One leads, all others follow, and the sync set has all of them."""
        self.assertTrue(AGREED.converged(ALL))
        for wrong in (
            Picture(None, 1, ALL, frozenset({"n2", "n3"})),
            Picture("n9", 1, ALL, ALL),
            Picture("n1", 1, ALL, frozenset({"n2"})),
            Picture("n1", 1, ALL, ALL),
            Picture("n1", 1, frozenset({"n1", "n2"}), frozenset({"n2", "n3"})),
        ):
            self.assertFalse(wrong.converged(ALL), wrong)

    def test_one_node(self) -> None:
        """A single node agrees with itself once it leads."""
        self.assertTrue(Picture("n1", 1, frozenset({"n1"}), frozenset()).converged(frozenset({"n1"})))

    def test_changes(self) -> None:
        """Each change is one sentence, and nothing is said where nothing changed."""
        alone = Picture("n2", 2, frozenset({"n2", "n3"}), frozenset({"n3"}))
        self.assertEqual(list(changes(AGREED, AGREED, ALL)), [])
        self.assertEqual(list(changes(AGREED, alone, ALL)), ["n2 leads, epoch 2", "the sync set is n2, n3"])
        back = Picture("n2", 2, ALL, frozenset({"n1", "n3"}))
        sentences = ["the sync set is n1, n2, n3", "n1 follows and has caught up", "all nodes agree"]
        self.assertEqual(list(changes(alone, back, ALL)), sentences)

    def test_losses(self) -> None:
        """The loss of the leader and of a follower is said, too."""
        nobody = Picture(None, 1, frozenset(), frozenset({"n2"}))
        sentences = ["nobody holds the lead", "the sync set is empty", "n3 is not ready to be read"]
        self.assertEqual(list(changes(AGREED, nobody, ALL)), sentences)


class ShowTests(SynchronousTestCase):
    """What a newcomer reads."""

    def installed(self, redis_cli: bool) -> None:
        """Whether redis-cli is there."""
        self.patch(shutil, "which", lambda name: "/usr/bin/redis-cli" if redis_cli else None)

    def test_table(self) -> None:
        """A line for each node with role, ports and process ids, under a line of titles of the same width."""
        pids = {"n1": (11, 12), "n2": (21, 22), "n3": (31, 32)}
        picture = Picture("n1", 1, ALL, frozenset({"n2"}), {"n1": 0, "n2": 1234})
        lines = list(table(NODES, picture, pids))
        self.assertEqual(len({len(each) for each in lines}), 1)
        self.assertEqual(lines[1].split(), ["n1", "leader", "7001", "8001", "9851", "11", "12", "0", "B"])
        self.assertIn("follower", lines[2])
        self.assertIn(" 1,234 B", lines[2])
        self.assertIn("not ready", lines[3])

    def test_redis_cli(self) -> None:
        """With redis-cli: a write through a follower's W, a read through the leader's R, and a kill."""
        self.installed(True)
        commands = [line.strip() for line in to_try(NODES, AGREED, 11, None) if line.startswith("  ")]
        self.assertEqual(commands[0], "redis-cli -p 7002 SET fleet truck1 POINT 33.5 -112.2")
        self.assertEqual(commands[1], "redis-cli -p 8001 GET fleet truck1")
        self.assertEqual(commands[-1], "kill -9 11")

    def test_tls(self) -> None:
        """With TLS the commands name the files of a certificate."""
        self.installed(True)
        command = show.client(7001, Path("/run/x"))
        expected = (
            "redis-cli --tls --cert /run/x/client.pem --key /run/x/client.key --cacert /run/x/ca.pem -p 7001"
        )
        self.assertEqual(command, expected)

    def test_without_redis_cli(self) -> None:
        """Without redis-cli this project's own client is named, with certificates where they are needed."""
        self.installed(False)
        self.assertTrue(show.client(7001, None).endswith(" -m tile38cm.dev.client 7001"))
        command = show.client(7001, Path("/run/x"))
        self.assertTrue(command.endswith(" -m tile38cm.dev.client --tls /run/x 7001"))
