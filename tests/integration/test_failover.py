"""The local Tile38 dies, hangs or is busy: who leads then, and what clients notice of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import Lab, Node, settled_lab
from tests.integration.load import Load
from tests.real import RealTile38, ReplyError, require, wait_for

#: Seconds between two writes of a client, to spare the machine.
PACE = 0.002
#: Seconds that a search keeps all others waiting: far more than the grace.
SEARCH = 4.0
#: What is done to a Tile38.
Act = Callable[[RealTile38], object]


def load_through(lab: Lab, key: str, nodes: Sequence[Node]) -> Load:
    """One writing client at each of these nodes."""
    return Load(key, {node.id: (lambda node=node: lab.writer(node)) for node in nodes}, PACE)  # type: ignore[misc]


class LeadersTile38Tests(SynchronousTestCase):
    """The leader's manager lives, its Tile38 does not"""

    def check(self, lab: Lab, load: Load) -> None:
        """Nobody heard of an error, not even at the node itself, and nothing is lost."""
        self.assertEqual(load.errors, [])
        self.assertEqual(load.acknowledged - lab.wait_same(load.key), set())

    def lose(self, lab: Lab, key: str, end: Act, mend: Act) -> Node:
        """End the leader's Tile38 under load, and mend it when another one leads; returns who led."""
        leader = lab.wait_settled()
        with load_through(lab, key, lab.nodes) as load:
            end(leader.tile38)
            wait_for(lambda: lab.status()["leader"] != leader.id, "another leader", 15)
            load.wait_writes(50)
            mend(leader.tile38)
            self.assertIn(lab.wait_settled(), lab.others(leader))
        self.check(lab, load)
        return leader

    def test_killed(self) -> None:
        """A Tile38 that dies is not waited for longer than its grace: its node hands the lead over."""
        with settled_lab() as lab:
            self.lose(lab, "tile38-killed", RealTile38.kill, RealTile38.start)
            self.assertIn("handed over", self.reason(lab))

    def reason(self, lab: Lab) -> str:
        """Why the present leader leads."""
        return lab.consul.kv(f"_locks/tile38/cluster/manager/epochs/{lab.status()['epoch']}") or ""

    def test_hangs(self) -> None:
        """So with one that is frozen; what clients had sent to it is not lost, whenever it goes on."""
        with settled_lab() as lab:
            leader = self.lose(lab, "tile38-hangs", RealTile38.pause, RealTile38.resume)
            self.assertIn("it hangs", leader.manager.text())

    def test_back_in_time(self) -> None:
        """One that comes back at once is waited for: the same node goes on leading."""
        with settled_lab(flags=("--server.grace", "20s")) as lab:
            leader = lab.wait_settled()
            epoch = lab.status()["epoch"]
            with load_through(lab, "back", lab.nodes) as load:
                leader.tile38.kill()
                leader.tile38.start()
                load.wait_writes(50)
            self.assertIs(lab.wait_settled(), leader)
            self.assertEqual(lab.status()["epoch"], epoch)
            self.check(lab, load)

    def test_busy(self) -> None:
        """A search that keeps all other commands waiting for seconds deposes nobody."""
        require("tile38")
        with settled_lab() as lab:
            leader = lab.wait_settled()
            epoch = lab.status()["epoch"]
            with load_through(lab, "busy", lab.nodes) as load:
                for _ in range(2):
                    self.search(leader)
                load.wait_writes(50)
                slowest = max(writer.pause for writer in load.writers.values())
            self.assertGreater(slowest, SEARCH * 0.8)
            self.assertEqual(lab.status()["epoch"], epoch)
            self.check(lab, load)

    def search(self, node: Node) -> None:
        """Keep a Tile38 busy."""
        with self.assertRaises(ReplyError):
            node.tile38.command("TIMEOUT", SEARCH, "EVALRO", "while true do end", 0, timeout=60)


class FollowersTile38Tests(SynchronousTestCase):
    """A follower's Tile38 hangs"""

    def test_reads(self) -> None:
        """Whoever reads at that node is answered by another one; nobody else leads."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            follower = lab.others(leader)[0]
            epoch = lab.status()["epoch"]
            lab.write(leader, "SET", "hang-read", "1", "POINT", 1, 2)
            lab.wait_same("hang-read")
            answers, errors, stop = [0], [], threading.Event()

            def read() -> None:
                with lab.reader(follower, timeout=30) as client:
                    while not stop.is_set():
                        try:
                            self.assertEqual(client.command("SCAN", "hang-read", "COUNT"), 1)
                        except Exception as e:  # whatever a client hears is a finding
                            errors.append(repr(e))
                            return
                        answers[0] += 1
                        stop.wait(PACE)

            reading = threading.Thread(target=read, daemon=True)
            reading.start()
            wait_for(lambda: answers[0] > 10, "reads", 10)
            follower.tile38.pause()
            before = answers[0]
            wait_for(lambda: answers[0] > before + 50, "reads go on", 10)
            follower.tile38.resume()
            stop.set()
            reading.join(30)
            self.assertEqual(errors, [])
            self.assertIs(lab.wait_settled(), leader)
            self.assertEqual(lab.status()["epoch"], epoch)
