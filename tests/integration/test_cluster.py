"""Three nodes: how they come, go, fall and return, and that no write is lost by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import Lab, Node, settled_lab
from tests.integration.load import Fences, Load, fill
from tests.real import ReplyError, require, wait_for

#: Points of a node that joins late: enough that it takes some seconds to copy them.
MANY = 200_000
#: Seconds without a write that a planned change of leader may take, on a machine that is busy.
PLANNED_PAUSE = 5.0


def load_through(lab: Lab, key: str, nodes: Sequence[Node]) -> Load:
    """One writing client at each of these nodes."""
    return Load(key, {node.id: (lambda node=node: lab.writer(node)) for node in nodes})  # type: ignore[misc]


class StartTests(SynchronousTestCase):
    """From nothing to a cluster"""

    def test_together(self) -> None:
        """Three empty nodes started at once: one leads, all are in the set; any W writes, any R reads."""
        with Lab() as lab:
            lab.start()
            leader = lab.wait_settled()
            self.assertEqual(lab.status()["epoch"], 1)
            for node in lab.nodes:
                self.assertEqual(lab.write(node, "SET", "fleet", node.id, "POINT", 1, 2), "OK")
            for node in lab.nodes:
                lab.wait_read(node, 3, "SCAN", "fleet", "COUNT")
            self.assertEqual(lab.wait_same("fleet"), {node.id for node in lab.nodes})
            self.check_fences(lab, leader)

    def check_fences(self, lab: Lab, leader: Node) -> None:
        """Only the leader's own Tile38 takes writes from whoever reaches its port."""
        self.assertEqual([node for node in lab.nodes if node.writable()], [leader])
        for node in lab.others(leader):
            with self.assertRaises(ReplyError) as refused:
                node.tile38.command("SET", "fleet", "direct", "POINT", 1, 1)
            self.assertRegex(str(refused.exception), "not the leader|read only")

    def test_one_by_one(self) -> None:
        """One node serves alone; a second joins; a third joins many points while clients go on writing."""
        # The first node has to lead on, also where other tests keep it from the processor for half a second.
        with Lab(lease="1s") as lab:
            first, second, third = lab.nodes
            lab.start(first)
            self.assertIs(lab.wait_settled(first), first)
            self.assertEqual(lab.write(first, "SET", "fleet", "1", "POINT", 1, 2), "OK")
            lab.wait_read(first, 1, "SCAN", "fleet", "COUNT")
            lab.start(second)
            self.assertIs(lab.wait_settled(first, second), first)
            lab.wait_same("fleet", first, second)
            with lab.writer(second) as client:
                fill(client, "many", MANY)
            with load_through(lab, "load", [first, second]) as load:
                lab.start(third)
                self.assertIs(lab.wait_settled(timeout=60), first)
                load.wait_writes(50)
            self.assertEqual(load.errors, [])
            self.assertEqual(lab.wait_same("load", timeout=30) & load.acknowledged, load.acknowledged)
            self.assertEqual(third.tile38.command("SCAN", "many", "COUNT"), MANY)


class FollowerTests(SynchronousTestCase):
    """A follower goes and comes back"""

    def test_leaves(self) -> None:
        """A follower that is stopped leaves the set, and returns with its data; nobody sees an error."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            gone = lab.others(leader)[0]
            stay = [node for node in lab.nodes if node is not gone]
            before = gone.manager.text().count("starts over")
            with load_through(lab, "leaves", stay) as load:
                gone.terminate()
                self.assertTrue(gone.manager.stopped)
                wait_for(lambda: gone.id not in lab.sync_set(), "the set shrinks", 10)
                load.wait_writes(50)
                gone.start()
                lab.wait_settled()
                load.wait_writes(20)
            self.check(lab, load, leader)
            self.assertEqual(gone.manager.text().count("starts over"), before)

    def test_killed(self) -> None:
        """A follower whose machine goes is taken out of the set, and returns; nobody sees an error."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            gone = lab.others(leader)[0]
            stay = [node for node in lab.nodes if node is not gone]
            with load_through(lab, "killed", stay) as load:
                gone.kill()
                wait_for(lambda: gone.id not in lab.sync_set(), "the set shrinks", 10)
                load.wait_writes(50)
                gone.start()
                lab.wait_settled()
                load.wait_writes(20)
            self.check(lab, load, leader)

    def test_subscribers(self) -> None:
        """Subscribers of a follower hear all that is published, in order, while large objects are written."""
        require("tile38")
        # Nobody else is to lead meanwhile, on a busy machine either: messages are in no log.
        with Lab(lease="3s") as lab:
            lab.start()
            leader = lab.wait_settled()
            follower = lab.others(leader)[0]
            with lab.reader(follower) as client, lab.writer(leader) as large, lab.writer(follower) as other:
                client.command("SUBSCRIBE", "news")
                for number in range(120):
                    if number % 3 == 0:
                        for id in range(8):
                            large.send("SET", "large", id, "STRING", "x" * 30_000)
                    # Of those at the leader there is none.
                    self.assertEqual(other.command("PUBLISH", "news", number), 0)
                    if number % 3 == 2:
                        self.assertEqual([large.read() for _ in range(8)], ["OK"] * 8)
                for number in range(120):
                    self.assertEqual(client.read(), ["message", "news", str(number)])

    def check(self, lab: Lab, load: Load, leader: Node) -> None:
        """Nothing was lost, nobody was told of an error, and the leader is the same."""
        self.assertEqual(load.errors, [])
        self.assertIs(lab.wait_settled(), leader)
        self.assertEqual(load.acknowledged - lab.wait_same(load.key), set())


class LeaderTests(SynchronousTestCase):
    """The leader goes and comes back"""

    def test_stops(self) -> None:
        """A leader that is stopped hands over: no error, no write lost, never two Tile38s open for writes."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            stay = lab.others(leader)
            epoch = lab.status()["epoch"]
            fences = Fences({node.id: node.writable for node in lab.nodes})
            with fences, load_through(lab, "stops", stay) as load:
                leader.manager.terminate()
                self.assertTrue(leader.manager.stopped)
                self.assertEqual(leader.server()["read_only"], "true")
                successor = lab.wait_settled(*stay)
                load.wait_writes(50)
                leader.manager.start()
                self.assertIs(lab.wait_settled(), successor)
            self.assertEqual(load.errors, [])
            self.assertEqual(fences.breaches, [])
            self.assertGreater(fences.rounds, 20)
            self.assertEqual(lab.status()["epoch"], epoch + 1)
            self.assertEqual(load.acknowledged - lab.wait_same("stops"), set())
            self.assertLess(max(writer.pause for writer in load.writers.values()), PLANNED_PAUSE)

    def test_killed(self) -> None:
        """A leader whose machine goes is replaced; no acknowledged write is lost; it returns to follow."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            stay = lab.others(leader)
            with load_through(lab, "leader-killed", stay) as load:
                leader.kill()
                successor = lab.wait_settled(*stay)
                load.wait_writes(50)
                leader.start()
                self.assertIs(lab.wait_settled(), successor)
                load.wait_writes(20)
            self.assertEqual(load.acknowledged - lab.wait_same("leader-killed"), set())
            self.assertEqual(load.errors, [])
            if "starts over" in leader.manager.text():
                self.assertTrue(list((leader.manager.directory / "state" / "kept").glob("*.aof")))

    def test_frozen(self) -> None:
        """A leader that is frozen is replaced, and once it thaws it follows, and no write it had is lost."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            stay = lab.others(leader)
            with load_through(lab, "frozen", stay) as load:
                leader.manager.pause()
                wait_for(lambda: lab.status()["leader"] != leader.id, "another leader", 15)
                load.wait_writes(50)
                leader.manager.resume()
                self.assertIsNot(lab.wait_settled(), leader)
            self.assertEqual(load.acknowledged - lab.wait_same("frozen"), set())
            self.assertEqual(load.errors, [])


class AllTests(SynchronousTestCase):
    """The whole cluster goes and comes back"""

    def start_again_after(self, end: Callable[[Node], None]) -> None:
        """Write, end all nodes, start them: what was written is everywhere."""
        with settled_lab() as lab:
            lab.write(lab.wait_settled(), "SET", "again", "1", "POINT", 1, 2)
            for node in lab.nodes:
                end(node)
            lab.start()
            lab.wait_settled()
            self.assertEqual(lab.wait_same("again"), {"1"})

    def test_stopped_and_started(self) -> None:
        """After all were stopped in order and started again: the same data, one leader, no copy."""
        self.start_again_after(Node.terminate)

    def test_killed_and_started(self) -> None:
        """After all were killed at once and started again: the data are there, and one leader."""
        self.start_again_after(Node.kill)
