"""Who is let in, what is never said, and what strangers can do: nothing."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import socket
from pathlib import Path

import redis
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import PREFIX, READER_PORT, WRITER_PORT, Lab, Node, settled_lab
from tests.integration.load import Client
from tests.real import ReplyError, RespClient, wait_for

PASSWORD = "correct-horse-battery-staple"
#: What a TLS alert begins with; a server that is spoken to in the clear may answer with one.
ALERT = b"\x15\x03"


def answer(node: Node, port: int, data: bytes) -> bytes:
    """All that comes back for some bytes in the clear, until the other side closes or is silent."""
    came = b""
    with socket.create_connection((node.host, port), 5.0) as plain:
        plain.settimeout(1.0)
        with contextlib.suppress(OSError):
            plain.sendall(data)
            while piece := plain.recv(65536):
                came += piece
    return came


class PasswordTests(SynchronousTestCase):
    """Tile38 asks for a password"""

    def test_password(self) -> None:
        """A password from the environment or a file serves all, and no log or command line shows it."""
        with Lab(password=PASSWORD) as lab:
            file = Path(lab.folder) / "password"
            file.write_text(PASSWORD + "\n")
            first, second, third = lab.nodes
            for node in (first, second):
                node.manager.environment["SERVER_PASSWORD"] = PASSWORD
            third.manager.flags += ["--server.password.file", str(file)]
            lab.start()
            leader = lab.wait_settled()
            for node in lab.nodes:
                self.assertEqual(lab.write(node, "SET", "fleet", node.id, "POINT", 1, 2), "OK")
                lab.wait_read(node, "OK", "AUTH", PASSWORD)
                self.check_refused(node)
                self.check_hidden(node)
            leader.manager.terminate()
            lab.write(lab.others(leader)[0], "SET", "fleet", "4", "POINT", 1, 2)
            lab.wait_settled(*lab.others(leader))
            self.check_hidden(leader)

    def check_refused(self, node: Node) -> None:
        """Without TLS the password is what clients prove themselves by."""
        with RespClient(node.host, WRITER_PORT) as client:
            with self.assertRaises(ReplyError):
                client.command("SET", "fleet", "x", "POINT", 1, 2)
            with self.assertRaises(ReplyError):
                client.command("AUTH", "wrong")

    def check_hidden(self, node: Node) -> None:
        """Neither the log nor the list of processes has it."""
        self.assertNotIn(PASSWORD, node.manager.text())
        if node.manager.running:
            assert node.manager.process is not None
            self.assertNotIn(PASSWORD, Path(f"/proc/{node.manager.process.pid}/cmdline").read_text())


class ClearTextTests(SynchronousTestCase):
    """W and R with certificates from Connect"""

    def test_no_plain_byte(self) -> None:
        """Whoever speaks in the clear gets a TLS alert at most."""
        with settled_lab(tls="connect") as lab:
            for node in lab.nodes:
                for port in (WRITER_PORT, READER_PORT):
                    for said in (
                        b"PING\r\n",
                        b"*1\r\n$4\r\nPING\r\n",
                        b"GET / HTTP/1.0\r\n\r\n",
                        os.urandom(100),
                    ):
                        came = answer(node, port, said)
                        self.assertTrue(came == b"" or (came.startswith(ALERT) and len(came) < 20), came)
            lab.wait_settled()

    def test_private_commands(self) -> None:
        """What managers say to each other is refused to any other service, whatever certificate it has."""
        with settled_lab(tls="connect") as lab:
            leader = lab.wait_settled()
            for service in ("lab-client", "tile38-reader"):
                with Client(leader.host, WRITER_PORT, lab.leaf(service)) as client:
                    with self.assertRaises(ReplyError) as refused:
                        client.command("TILE38CM", "HELLO", 1, PREFIX, "node9", "nonce")
                    self.assertIn("DENIED", str(refused.exception))
            with lab.writer(leader) as client:
                client.command("PING")
                with self.assertRaises(ReplyError):
                    client.command("TILE38CM", "HELLO", 1, PREFIX, "node9", "nonce")
            self.assertIs(lab.wait_settled(), leader)

    def test_standard_client(self) -> None:
        """redis-py speaks to W and R over TLS with a leaf of Connect."""
        with settled_lab(tls="connect") as lab:
            leader = lab.wait_settled()
            lab.tls()
            pair, roots = lab.folder / "lab-client.pem", lab.folder / "roots.pem"
            found = lab.consul.request("GET", "/v1/agent/connect/ca/roots")["Roots"]
            roots.write_text("\n".join(root["RootCert"] for root in found))
            client = redis.Redis(
                lab.others(leader)[0].host,
                WRITER_PORT,
                ssl=True,
                ssl_certfile=str(pair),
                ssl_keyfile=str(pair),
                ssl_ca_certs=str(roots),
                ssl_check_hostname=False,
            )
            self.addCleanup(client.close)
            self.assertTrue(client.execute_command("SET", "redis-py", "1", "POINT", 1, 2))
            lab.wait_read(leader, 1, "SCAN", "redis-py", "COUNT")


class SecretTests(SynchronousTestCase):
    """Nodes without certificates prove that they know the cluster's secret"""

    def hello(self, client: RespClient, secret: str) -> object:
        """Greet as a node does, with a proof by C{secret}, and ask for the leader's position."""
        greeting = client.command("TILE38CM", "HELLO", 1, PREFIX, "node9", "nonce")
        assert isinstance(greeting, list)
        text = b"\0".join([b"dial", b"nonce", str(greeting[3]).encode(), b"node9"])
        proof = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
        return client.command("TILE38CM", "POSITION", proof)

    def test_proof(self) -> None:
        """Who knows the secret is answered, who does not is refused, and it is said to nobody."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            secret = lab.consul.kv(f"{PREFIX}/secret")
            assert secret is not None
            with lab.writer(leader) as client:
                self.assertIsInstance(self.hello(client, secret), list)
            for wrong in ("", secret[:-1], "0" * 64):
                with lab.writer(leader) as client, self.assertRaises(ReplyError) as refused:
                    self.hello(client, wrong)
                self.assertIn("DENIED", str(refused.exception))
            for node in lab.nodes:
                self.assertNotIn(secret, node.manager.text())
            self.assertIs(lab.wait_settled(), leader)

    def test_garbage(self) -> None:
        """Rubbish, a huge greeting, and a greeting for another cluster end that connection and no other."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            epoch = lab.status()["epoch"]
            hello = b"*6\r\n$8\r\nTILE38CM\r\n$5\r\nHELLO\r\n$1\r\n1\r\n"
            said = [
                hello + b"$99999999\r\n" + b"x" * 1_000_000,
                hello + b"$-7\r\n",
                hello + b"*1\r\n" * 5000,
                b"*2\r\n$8\r\nTILE38CM\r\n$6\r\nBRIDGE\r\n",
                b"*99999999\r\n$8\r\nTILE38CM\r\n",
                hello + b"$5\r\nother\r\n$5\r\nnode2\r\n$1\r\nn\r\n",
                b"\0" * 10_000,
            ]
            with lab.writer(leader) as bystander:
                for node in lab.nodes:
                    for data in said:
                        came = answer(node, WRITER_PORT, data)
                        self.assertFalse(came.startswith((b"*", b"$", b"+")), came[:100])
                self.assertEqual(bystander.command("SET", "garbage", "1", "POINT", 1, 2), "OK")
            self.assertIs(lab.wait_settled(), leader)
            self.assertEqual(lab.status()["epoch"], epoch)

    def test_impostor(self) -> None:
        """A connection that says it is a member but cannot prove it does not take that member's place."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            victim = lab.others(leader)[0]
            for _ in range(5):
                with lab.writer(leader) as client, self.assertRaises(ReplyError):
                    client.command("TILE38CM", "HELLO", 1, PREFIX, victim.id, "nonce")
                    client.command("TILE38CM", "HEARTBEAT", "0" * 64)
            wait_for(lambda: victim.id in lab.sync_set(), "still in the set", 1)
            self.assertEqual(lab.write(victim, "SET", "impostor", "1", "POINT", 1, 2), "OK")
            self.assertIs(lab.wait_settled(), leader)
