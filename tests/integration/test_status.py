"""What a node says of itself on its ports, whoever leads."""

from __future__ import annotations

import urllib.request

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import READER_PORT, WRITER_PORT, settled_lab
from tests.real import Reply


def pairs(flat: Reply) -> dict[str, str]:
    """Names and values that follow each other."""
    assert isinstance(flat, list)
    return dict(zip(flat[::2], flat[1::2], strict=True))


class StatusTests(SynchronousTestCase):
    """SERVER, INFO, ROLE and HEALTHZ on both ports of each node"""

    def test_each_node(self) -> None:
        """Its own Tile38 answers, and its manager says which role that node has, and in which epoch."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            for node in lab.nodes:
                role = "leader" if node is leader else "follower"
                for ask in (lab.write, lab.read):
                    says = pairs(ask(node, "SERVER"))
                    self.assertEqual(says["id"], node.server()["id"])
                    self.assertEqual((says["tile38cm_id"], says["tile38cm_role"]), (node.id, role))
                    self.assertEqual(says["tile38cm_leader"], leader.id)
                    self.assertEqual(says["tile38cm_epoch"], str(lab.status()["epoch"]))
                    self.assertIn(f"\r\n# Tile38cm\r\ntile38cm_id:{node.id}\r\n", str(ask(node, "INFO")))
                    answered = ask(node, "ROLE")
                    assert isinstance(answered, list)
                    self.assertEqual(answered[0], "master" if node is leader else "slave")
                    self.assertEqual(pairs(answered[-1])["tile38cm_role"], role)
                    self.assertEqual(ask(node, "HEALTHZ"), "OK")

    def test_over_http(self) -> None:
        """A probe of a load balancer's, and a point written through a follower's W."""
        with settled_lab() as lab:
            follower = lab.others(lab.wait_settled())[0]
            for port in (WRITER_PORT, READER_PORT):
                url = f"http://{follower.host}:{port}/healthz"
                with urllib.request.urlopen(url, timeout=20) as answered:
                    self.assertIn(b'"tile38cm_role":"follower"', answered.read())
            url = f"http://{follower.host}:{WRITER_PORT}/set+http+1+point+33+-115"
            with urllib.request.urlopen(url, timeout=20) as answered:
                self.assertIn(b'{"ok":true', answered.read())
            for node in lab.nodes:
                lab.wait_read(node, 1, "SCAN", "http", "COUNT")
            lab.write(follower, "DROP", "http")
