"""Consul goes away, forgets, or takes the lock: the leader goes on leading."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import key_pem, new_key
from tests.integration.lab import PREFIX, WRITER_PORT, Lab, Node, closed, settled_lab
from tests.integration.load import Client, Load
from tests.real import ROOT, wait_for

POLICY = Path(ROOT) / "deploy" / "consul-policy.hcl"
#: Seconds without Consul: longer than its sessions live, which is ten seconds, so that they are lost.
OUTAGE = 15.0
#: Long, since nobody else must lead meanwhile: a busy machine lets a process wait for half a second.
LEASE = "1s"
#: Seconds that a leader stands still: longer than a promise lasts.
STALL = 3.0
#: Seconds between two writes of a client that goes on for a long time.
PACE = 0.01


def load_through(lab: Lab, key: str, nodes: Sequence[Node]) -> Load:
    """One writing client at each of these nodes, at ease."""
    return Load(key, {node.id: (lambda node=node: lab.writer(node)) for node in nodes}, PACE)  # type: ignore[misc]


class AgentTests(SynchronousTestCase):
    """The agent goes away"""

    def test_away(self) -> None:
        """With Consul away for longer than sessions live, writes go on; when it is back nothing jumps."""
        with Lab(persistent=True, lease=LEASE) as lab:
            lab.start()
            leader = lab.wait_settled()
            before = lab.status()
            with load_through(lab, "away", lab.nodes) as load:
                lab.consul.terminate()
                time.sleep(OUTAGE)
                load.wait_writes(20)
                lab.consul.start()
                load.wait_writes(20)
                self.assertIs(lab.wait_settled(), leader)
            self.check(lab, load)
            self.assertEqual(lab.status()["epoch"], before["epoch"])
            self.assertLess(max(writer.pause for writer in load.writers.values()), 2.0)

    def test_a_leader_that_stalls_meanwhile(self) -> None:
        """The agent accepts and is silent, and the leader does not run for longer than promises last.

        Nobody can win a term, so the old leader gets its promises back.
        """
        with settled_lab(tls="connect", lease=LEASE) as lab:
            leader = lab.wait_settled()
            before = lab.status()
            with load_through(lab, "stall", lab.others(leader)) as load:
                load.wait_writes(20)
                lab.consul.pause()
                for _ in range(2):
                    leader.manager.pause()
                    time.sleep(STALL)
                    leader.manager.resume()
                    load.wait_writes(20)
                lab.consul.resume()
                load.wait_writes(20)
                self.assertIs(lab.wait_settled(), leader)
            self.check(lab, load)
            self.assertEqual(lab.status()["epoch"], before["epoch"])
            self.assertLess(max(writer.pause for writer in load.writers.values()), STALL + 2.0)
            self.assertIn("this process did not run for", leader.manager.text())

    def test_a_tile38_that_hangs_meanwhile(self) -> None:
        """Nobody could take over: a leader whose Tile38 is silent stays, and goes on when that is back."""
        with settled_lab(tls="connect", lease=LEASE) as lab:
            leader = lab.wait_settled()
            before = lab.status()
            with load_through(lab, "hang", lab.nodes) as load:
                load.wait_writes(20)
                lab.consul.pause()
                leader.tile38.pause()
                time.sleep(STALL / 2)
                leader.tile38.resume()
                load.wait_writes(20)
                leader.tile38.kill()
                time.sleep(STALL / 2)
                leader.tile38.start()
                load.wait_writes(20)
                lab.consul.resume()
                load.wait_writes(20)
                self.assertIs(lab.wait_settled(), leader)
            self.check(lab, load)
            self.assertEqual(lab.status()["epoch"], before["epoch"])

    def check(self, lab: Lab, load: Load) -> None:
        """Nobody saw an error, and all writes are everywhere."""
        self.assertEqual(load.errors, [])
        self.assertEqual(load.acknowledged - lab.wait_same(load.key), set())

    def test_forgets(self) -> None:
        """A Consul that comes back empty is told again who leads, and a node that comes back then joins."""
        with settled_lab(lease=LEASE) as lab:
            leader = lab.wait_settled()
            before = lab.status()
            with load_through(lab, "forgets", [leader]) as load:
                lab.consul.kill()
                lab.consul.start()
                self.assertIs(lab.wait_settled(), leader)
                after = lab.status()
                self.assertEqual((after["cluster"], after["epoch"]), (before["cluster"], before["epoch"]))
                self.assertGreater(after["version"], before["version"])
                follower = lab.others(leader)[0]
                follower.manager.terminate()
                follower.manager.start()
                wait_for(lambda: not closed(follower.host, WRITER_PORT), "W listens", 20)
                self.assertIs(lab.wait_settled(), leader)
            self.check(lab, load)


class LockTests(SynchronousTestCase):
    """Somebody takes the lock away"""

    def test_taken(self) -> None:
        """A session destroyed, a key deleted: the leader takes the lock again, in the same epoch."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            epoch = lab.status()["epoch"]
            with load_through(lab, "taken", lab.nodes) as load:
                lock = lab.consul.request("GET", f"/v1/kv/{PREFIX}/leader")[0]
                lab.consul.request("PUT", f"/v1/session/destroy/{lock['Session']}")
                wait_for(lambda: lab.lock_holder() == leader.id, "the lock taken again", 10)
                lab.consul.request("DELETE", f"/v1/kv/{PREFIX}/leader")
                wait_for(lambda: lab.lock_holder() == leader.id, "the lock taken again", 10)
                load.wait_writes(20)
            self.assertEqual(load.errors, [])
            self.assertIs(lab.wait_settled(), leader)
            self.assertEqual(lab.status()["epoch"], epoch)


class ConnectTests(SynchronousTestCase):
    """Connect's certificates and intentions, and the ACLs"""

    def test_rotation(self) -> None:
        """While the root of the CA changes no connection breaks; then old and new certificates both serve."""
        with settled_lab(tls="connect") as lab:
            leader = lab.wait_settled()
            old = lab.tls()
            with load_through(lab, "rotation", lab.nodes) as load:
                rotation = {
                    "Provider": "consul",
                    "Config": {"PrivateKey": key_pem(new_key()), "RootCert": ""},
                }
                lab.consul.request("PUT", "/v1/connect/ca/configuration", rotation)
                time.sleep(2.0)
                new = lab.leaf("lab-new")
                for node in lab.nodes:
                    for context in (old, new):
                        with Client(node.host, WRITER_PORT, context) as client:
                            self.assertEqual(client.command("SET", "rotation", "new", "POINT", 1, 2), "OK")
                load.wait_writes(20)
            self.assertEqual(load.errors, [])
            self.assertEqual({writer.connections for writer in load.writers.values()}, {1})
            self.assertIs(lab.wait_settled(), leader)

    def test_intention(self) -> None:
        """A service that an intention denies is cut off; the managers go on; once allowed it is served."""
        with settled_lab(tls="connect") as lab:
            leader = lab.wait_settled()
            banned = lab.leaf("banned")
            path = "/v1/connect/intentions/exact?source=banned&destination=tile38-writer"
            lab.consul.request("PUT", path, {"SourceType": "consul", "Action": "deny"})
            with self.assertRaises(OSError), Client(leader.host, WRITER_PORT, banned) as client:
                client.command("PING")
            for node in lab.nodes:
                self.assertEqual(lab.write(node, "SET", "intention", node.id, "POINT", 1, 2), "OK")
            self.assertIs(lab.wait_settled(), leader)
            lab.consul.request("DELETE", path)

            def served() -> bool:
                with Client(leader.host, WRITER_PORT, banned) as client:
                    return client.command("PING") == "PONG"

            wait_for(served, "allowed again", 10)

    def test_default_deny(self) -> None:
        """Where ACLs deny by default, a token with the shipped policy is all that managers need."""
        management, token = str(uuid4()), str(uuid4())
        tokens = {"initial_management": management, "agent": management}
        acl = {"acl": {"enabled": True, "default_policy": "deny", "tokens": tokens}}
        with Lab(
            tls="connect", consul=acl, consul_token=management, environment={"CONSUL_HTTP_TOKEN": token}
        ) as lab:
            lab.consul.request("PUT", "/v1/acl/policy", {"Name": "tile38cm", "Rules": POLICY.read_text()})
            lab.consul.request(
                "PUT", "/v1/acl/token", {"SecretID": token, "Policies": [{"Name": "tile38cm"}]}
            )
            for service in ("tile38-writer", "tile38-reader"):
                for source in ("lab-client", "tile38-writer", "tile38-reader"):
                    path = f"/v1/connect/intentions/exact?source={source}&destination={service}"
                    lab.consul.request("PUT", path, {"SourceType": "consul", "Action": "allow"})
            lab.start()
            leader = lab.wait_settled()
            for node in lab.nodes:
                self.assertEqual(lab.write(node, "SET", "acl", node.id, "POINT", 1, 2), "OK")
            leader.manager.terminate()
            self.assertTrue(leader.manager.stopped)
            lab.write(lab.others(leader)[0], "SET", "acl", "4", "POINT", 1, 2)
            self.assertIsNot(lab.wait_settled(*lab.others(leader)), leader)
            for node in lab.nodes:
                self.assertNotIn(token, node.manager.text())
