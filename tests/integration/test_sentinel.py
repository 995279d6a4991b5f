"""Clients that know Sentinel, redis-py and ioredis, find the leader's W, and find the next one."""

from __future__ import annotations

import contextlib
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError, Sentinel
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import READER_PORT, WRITER_PORT, Lab, Node, settled_lab
from tests.integration.test_node_clients import modules, run
from tests.real import wait_for

PORT = 7004
FLAGS = ("--sentinel.port", str(PORT))


class SentinelTests(SynchronousTestCase):
    """A client that was written for Redis, and is told nothing but where sentinels are"""

    def sentinel(self, lab: Lab, **options: Any) -> Sentinel:
        """It knows all nodes."""
        for node in lab.nodes:
            wait_for(lambda node=node: redis.Redis(node.host, PORT, **options).ping(), "a sentinel", 10)  # type: ignore[misc]
        places = [(node.host, PORT) for node in lab.nodes]
        return Sentinel(
            places, sentinel_kwargs={"socket_timeout": 5, **options}, socket_timeout=20, **options
        )

    def test_discovery(self) -> None:
        """In both versions of the protocol: the leader's W, followers' R, the other sentinels."""
        with settled_lab(flags=FLAGS) as lab:
            leader = lab.wait_settled()
            for protocol in (2, 3):
                self.discover(lab, leader, protocol)

    def discover(self, lab: Lab, leader: Node, protocol: int) -> None:
        """What a client asks, and a write and a read by it."""
        sentinel = self.sentinel(lab, protocol=protocol)
        self.assertEqual(tuple(sentinel.discover_master("tile38")), (leader.host, WRITER_PORT))
        wanted = {(node.host, READER_PORT) for node in lab.others(leader)}
        wait_for(lambda: {tuple(p) for p in sentinel.discover_slaves("tile38")} == wanted, "readers", 10)
        with self.assertRaises(MasterNotFoundError):
            sentinel.discover_master("other")
        asked = redis.Redis(leader.host, PORT, protocol=protocol)
        self.addCleanup(asked.close)
        others: Any = asked.sentinel_sentinels("tile38")
        self.assertEqual({each["ip"] for each in others}, {n.host for n in lab.others(leader)})
        self.assertTrue(sentinel.master_for("tile38").execute_command("SET", "s", "1", "POINT", 1, 2))
        reader = sentinel.slave_for("tile38")
        wait_for(lambda: reader.execute_command("GET", "s", "1"), "the point", 10)

    def test_failover(self) -> None:
        """When the leader's machine goes, the client finds the next one, and subscribers hear of it."""
        with settled_lab(flags=FLAGS) as lab:
            leader = lab.wait_settled()
            stay = lab.others(leader)
            master = self.sentinel(lab).master_for("tile38")
            self.assertTrue(self.write(master, 1))
            news = redis.Redis(stay[0].host, PORT).pubsub()
            self.addCleanup(news.close)
            news.subscribe("+switch-master")
            leader.kill()
            wait_for(lambda: self.write(master, 2), "a write", 30)
            successor = lab.wait_settled(*stay)
            text = f"tile38 {leader.host} {WRITER_PORT} {successor.host} {WRITER_PORT}"
            wait_for(lambda: (news.get_message(timeout=1) or {}).get("data") == text.encode(), "the news", 20)
            self.assertEqual(self.address(master), (successor.host, WRITER_PORT))
            leader.start()
            lab.wait_settled()
            self.assertEqual(lab.wait_same("s"), {"1", "2"})

    def write(self, master: redis.Redis, number: int) -> bool:
        """Write, unless there is nobody at this moment."""
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            return bool(master.execute_command("SET", "s", number, "POINT", 1, 2))
        return False

    def address(self, client: redis.Redis) -> tuple[str, int]:
        """Where it is connected now."""
        pool: Any = client.connection_pool
        host, port = pool.get_master_address()
        return host, port

    def test_ioredis(self) -> None:
        """ioredis is led to the leader's W, and for reads to a follower's R."""
        modules()
        with settled_lab(flags=FLAGS) as lab:
            leader = lab.wait_settled()
            for node in lab.nodes:
                wait_for(lambda node=node: redis.Redis(node.host, PORT).ping(), "a sentinel", 10)  # type: ignore[misc]
            found = run("sentinel.mjs", "tile38", PORT, *(node.host for node in lab.nodes))
            self.assertEqual((found["set"], found["writer"]), ("OK", f"{leader.host}:{WRITER_PORT}"))
            self.assertIn(found["reader"], {f"{node.host}:{READER_PORT}" for node in lab.others(leader)})

    def test_tls(self) -> None:
        """With Connect's certificates a client needs the one that it needs for W."""
        with settled_lab(flags=FLAGS, tls="connect") as lab:
            leader = lab.wait_settled()
            lab.tls()
            roots = lab.consul.request("GET", "/v1/agent/connect/ca/roots")["Roots"]
            (lab.folder / "roots.pem").write_text("\n".join(root["RootCert"] for root in roots))
            mine, roots_file = str(lab.folder / "lab-client.pem"), str(lab.folder / "roots.pem")
            options: dict[str, Any] = {"ssl": True, "ssl_check_hostname": False, "ssl_ca_certs": roots_file}
            options |= {"ssl_certfile": mine, "ssl_keyfile": mine}
            sentinel = self.sentinel(lab, **options)

            def told() -> bool:
                # On a busy machine the lead may have changed meanwhile.
                leads = (lab.wait_settled().host, WRITER_PORT)
                return tuple(sentinel.discover_master("tile38")) == leads

            wait_for(told, "the leader", 30)
            self.assertTrue(self.write(sentinel.master_for("tile38"), 1))
            self.check_refused(leader)

    def check_refused(self, node: Node) -> None:
        """Without TLS nobody is answered."""
        with self.assertRaises(redis.ConnectionError):
            redis.Redis(node.host, PORT, socket_timeout=5).ping()
