"""L{tile38cm.sentinel.answers} and L{tile38cm.sentinel.scene}: what is said of a cluster."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.sentinel.scenes import Asking, scene, view
from tile38cm.coordination.cluster import ClusterView
from tile38cm.sentinel.answers import switch
from tile38cm.sentinel.listener import SentinelListener
from tile38cm.sentinel.scene import Scene
from tile38cm.settings import Address


def pairs(flat: list[bytes]) -> dict[str, str]:
    """A record of RESP2."""
    return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}


class AnswerTests(SynchronousTestCase):
    """Node b is asked; a leads."""

    def setUp(self) -> None:
        self.scene: Scene = scene()
        self.listener = SentinelListener(lambda: self.scene, lambda args: False, 10)
        self.client = Asking(self.listener)

    def sentinel(self, *words: str) -> Any:
        """The reply to C{SENTINEL ...}."""
        return self.client.ask("SENTINEL", *words)

    def test_master_address(self) -> None:
        """The leader's W, whoever leads; nothing under another name."""
        for leader, host in (("a", b"10.0.0.1"), ("b", b"10.0.0.2"), ("c", b"10.0.0.3")):
            self.scene = scene(leader)
            self.assertEqual(self.sentinel("get-master-addr-by-name", "tile38"), [host, b"7001"])
        self.assertIsNone(self.sentinel("GET-MASTER-ADDR-BY-NAME", "other"))

    def test_nobody_leads(self) -> None:
        """This node's own W, where requests wait; so also where the leader's is not known yet."""
        for self.scene in (scene(None), scene("a", ClusterView())):
            self.assertEqual(self.sentinel("get-master-addr-by-name", "tile38"), [b"10.0.0.2", b"7001"])
            self.assertIn("o_down", pairs(self.sentinel("master", "tile38"))["flags"])
            self.assertTrue(self.sentinel("ckquorum", "tile38").startswith("-NOQUORUM"))
            self.assertIn(b"status=odown", self.client.ask("INFO"))

    def test_masters(self) -> None:
        """One, with all that clients look at."""
        (flat,) = self.sentinel("masters")
        found = pairs(flat)
        self.assertEqual(flat, self.sentinel("master", "tile38"))
        for name, value in {
            "name": "tile38", "ip": "10.0.0.1", "port": "7001", "flags": "master", "config-epoch": "5",
            "num-slaves": "2", "num-other-sentinels": "2", "quorum": "2", "down-after-milliseconds": "1000",
        }.items():  # fmt: skip
            self.assertEqual(found[name], value, name)
        self.assertRegex(found["runid"], "^[0-9a-f]{40}$")

    def test_replicas(self) -> None:
        """The R of every node that does not lead, under both names; who is not ready is marked so."""
        self.scene = scene("a", view("c"))
        found = [pairs(flat) for flat in self.sentinel("replicas", "tile38")]
        self.assertEqual(
            [(each["name"], each["ip"], each["port"], each["flags"]) for each in found],
            [
                ("10.0.0.2:7002", "10.0.0.2", "7002", "slave,s_down"),
                ("10.0.0.3:7002", "10.0.0.3", "7002", "slave"),
            ],
        )
        self.assertEqual(found[0]["master-host"], "10.0.0.1")
        self.assertEqual(self.sentinel("slaves", "tile38"), self.sentinel("replicas", "tile38"))

    def test_sentinels(self) -> None:
        """Those of the other nodes that have one."""
        found = [pairs(flat) for flat in self.sentinel("sentinels", "tile38")]
        self.assertEqual([(e["ip"], e["port"]) for e in found], [("10.0.0.1", "7004"), ("10.0.0.3", "7004")])
        self.assertEqual({e["flags"] for e in found}, {"sentinel"})

    def test_quorum(self) -> None:
        """Fine while somebody leads."""
        self.assertTrue(self.sentinel("ckquorum", "tile38").startswith(b"OK 3 usable"))

    def test_other_names(self) -> None:
        """There is no other master."""
        for name in ("master", "replicas", "slaves", "sentinels", "ckquorum"):
            self.assertEqual(self.sentinel(name, "other"), "-ERR No such master with that name")
            self.assertIn("wrong number", self.sentinel(name))
            self.assertIn("wrong number", self.sentinel(name, "tile38", "more"))

    def test_small_talk(self) -> None:
        """What clients ask besides."""
        self.assertEqual(self.client.ask("ping"), b"PONG")
        self.assertEqual(self.client.ask("PING", "x"), b"x")
        self.assertEqual(self.client.ask("ROLE"), [b"sentinel", [b"tile38"]])
        self.assertEqual(self.client.ask("CLIENT", "SETNAME", "me"), b"OK")
        self.assertEqual(self.client.ask("COMMAND", "DOCS"), [])
        self.assertIn(
            b"name=tile38,status=ok,address=10.0.0.1:7001,slaves=2,sentinels=3", self.client.ask("INFO")
        )
        self.assertRegex(self.sentinel("myid").decode(), "^[0-9a-f]{40}$")
        self.assertEqual(self.sentinel("is-master-down-by-addr", "10.0.0.1", "7001", "0", "*"), [0, b"*", 0])
        self.assertEqual(self.sentinel("pending-scripts"), [])
        self.assertIn(b"SENTINEL MASTERS", self.sentinel("help"))

    def test_refused(self) -> None:
        """What would change something, and what nobody knows."""
        for name in ("failover", "monitor", "remove", "SET", "reset", "flushconfig", "config"):
            self.assertIn("tile38ctl", self.sentinel(name, "tile38"))
        self.assertIn("unknown subcommand", self.sentinel("rubbish"))
        self.assertIn("unknown subcommand", self.client.ask("SENTINEL"))
        self.assertIn("unknown command", self.client.ask("SET", "fleet", "1", "POINT", "1", "2"))
        self.assertIn("unknown", self.client.ask("CLIENT", "KILL"))
        self.assertIn("unknown", self.client.ask("CLIENT"))

    def test_rubbish(self) -> None:
        """Whatever the words are made of, there is one reply of one line, or a record."""
        for words in (
            (b"\xff\r\n",),
            (b"SENTINEL", b"\xff\r\nOK"),
            (b"SENTINEL", b"master", b"\xff"),
            (b"",),
        ):
            self.assertTrue(self.client.ask(*words).startswith("-ERR"), words)

    def test_switch(self) -> None:
        """The message that every client takes apart at its spaces."""
        message = switch("tile38", Address("10.0.0.1", 7001), Address("10.0.0.3", 7001))
        self.assertEqual(message, "tile38 10.0.0.1 7001 10.0.0.3 7001")
