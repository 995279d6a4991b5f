"""The clients that people use write through a follower's W and read through the leader's R."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pyle38
import redis
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.lab import READER_PORT, WRITER_PORT, Node, settled_lab
from tests.real import wait_for


class ClientTests(SynchronousTestCase):
    """One test for each client"""

    def test_redis_py(self) -> None:
        """redis-py, with a pipeline too."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            writer = redis.Redis(lab.others(leader)[0].host, WRITER_PORT)
            reader = redis.Redis(leader.host, READER_PORT)
            self.addCleanup(writer.close)
            self.addCleanup(reader.close)
            self.assertTrue(writer.execute_command("SET", "py", "1", "POINT", 33, -115))
            with writer.pipeline(transaction=False) as pipeline:
                for number in range(2, 101):
                    pipeline.execute_command("SET", "py", number, "POINT", 33, -115)
                self.assertEqual(len(pipeline.execute()), 99)
            wait_for(
                lambda: reader.execute_command("WITHIN", "py", "COUNT", "BOUNDS", -90, -180, 90, 180) == 100,
                "100 points",
                10,
            )
            self.assertIn(b"115", reader.execute_command("GET", "py", "1"))
            with self.assertRaises(redis.ResponseError):
                reader.execute_command("SET", "py", "1", "POINT", 33, -115)

    def test_pyle38(self) -> None:
        """pyle38, which asks for JSON, with the leader and follower that it is told."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            asyncio.run(asyncio.wait_for(self.use_pyle38(lab.others(leader)[0], leader), 30))

    async def use_pyle38(self, writer: Node, reader: Node) -> None:
        """Write, read, search."""
        client = pyle38.Tile38(
            url=f"redis://{writer.host}:{WRITER_PORT}", follower_url=f"redis://{reader.host}:{READER_PORT}"
        )
        try:
            await client.set("pyle38", "truck").fields({"speed": 5}).point(52.25, 13.37).exec()
            answer = await client.get("pyle38", "truck").asObject()
            self.assertEqual(answer.object["coordinates"], [13.37, 52.25])
            for _ in range(100):
                found = await client.follower().within("pyle38").circle(52.25, 13.37, 1000).asIds()
                if found.ids:
                    break
                await asyncio.sleep(0.05)
            self.assertEqual(found.ids, ["truck"])
        finally:
            await client.quit()

    def test_redis_cli(self) -> None:
        """redis-cli, as shipped in redis-tools."""
        program = shutil.which("redis-cli")
        if program is None:
            raise SkipTest("no redis-cli on PATH (Debian: redis-tools)")
        with settled_lab() as lab:
            leader = lab.wait_settled()

            def ask(node: Node, port: int, *words: str) -> str:
                command = [program, "-h", node.host, "-p", str(port), *words]
                return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()

            follower = lab.others(leader)[0]
            self.assertEqual(ask(follower, WRITER_PORT, "SET", "cli", "1", "POINT", "33", "-115"), "OK")
            wait_for(lambda: "33" in ask(leader, READER_PORT, "GET", "cli", "1"), "the point", 10)
