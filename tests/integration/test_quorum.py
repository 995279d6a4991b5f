"""Three Consul servers: one of them, their leader, or most of them go, and no node notices."""

from __future__ import annotations

import time
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.consuls import ConsulServer, QuorumLab
from tests.integration.lab import Node
from tests.integration.load import Load
from tests.integration.long import by_length
from tests.real import wait_for

#: Seconds without a quorum.
OUTAGE = by_length(30.0, 60.0)
#: Seconds between two writes of a client that goes on for a long time.
PACE = 0.01


def load_through(lab: QuorumLab, key: str, nodes: Sequence[Node]) -> Load:
    """One writing client at each of these nodes, at ease."""
    return Load(key, {node.id: (lambda node=node: lab.writer(node)) for node in nodes}, PACE)  # type: ignore[misc]


class QuorumTests(SynchronousTestCase):
    """Servers go and come back while clients write"""

    def test_servers_go(self) -> None:
        """Their leader is killed, then the leading node's own, then most of them: nobody fails over."""
        with QuorumLab(lease="1s") as lab:
            lab.start()
            leader = lab.wait_settled()
            epoch = lab.status()["epoch"]
            with load_through(lab, "quorum", lab.nodes) as load:
                first = lab.consul.leader()
                assert first is not None
                self.lose(lab, load, first)
                self.assertIs(lab.wait_settled(), leader)
                self.lose(lab, load, lab.consul.servers[lab.nodes.index(leader)])
                self.assertIs(lab.wait_settled(), leader)
                self.lose_quorum(lab, load)
                self.assertIs(lab.wait_settled(), leader)
            self.assertEqual(load.errors, [])
            self.assertEqual(lab.status()["epoch"], epoch)
            self.assertEqual(load.acknowledged - lab.wait_same("quorum"), set())

    def lose(self, lab: QuorumLab, load: Load, server: ConsulServer) -> None:
        """One server is killed; the others go on; it comes back."""
        server.kill()
        wait_for(lambda: lab.consul.leader() not in (None, server), "another leader of Consul", 60)
        load.wait_writes(50)
        server.start()
        wait_for(lambda: bool(server.leader()), "it knows the leader", 60)
        load.wait_writes(50)

    def lose_quorum(self, lab: QuorumLab, load: Load) -> None:
        """All but one are gone for long."""
        gone = lab.consul.servers[:2]
        for server in gone:
            server.kill()
        end = time.monotonic() + OUTAGE
        while time.monotonic() < end:
            load.wait_writes(50)
            time.sleep(0.5)
        self.assertIsNone(lab.consul.leader())
        for server in gone:
            server.start()
        wait_for(lambda: lab.consul.leader(), "a leader of Consul", 60)
        load.wait_writes(50)
