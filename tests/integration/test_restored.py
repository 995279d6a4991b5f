"""Members that come with data of their own: started alone, plain followers, old copies, snapshots."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.integration.lab import TILE38_PORT, Lab, Node
from tests.integration.load import fill
from tests.integration.operating import (
    OperationsCase,
    ctl,
    kept,
    log_path,
    member,
    session_of,
    started_over,
    told_offset,
)
from tests.real import RealTile38, wait_for


class AloneTests(OperationsCase):
    """A follower while nobody leads."""

    def test_started_again(self) -> None:
        """It serves reads of what it had, which its Tile38 by itself would refuse, and follows later."""
        with Lab(nodes=2) as lab:
            leader, other = lab.nodes
            other.manager.flags += ["--tag.nofailover"]
            leader.start()
            lab.wait_settled(leader)
            other.start()
            lab.wait_settled()
            lab.write(leader, "SET", "fleet", "1", "STRING", "here")
            lab.wait_same("fleet")
            leader.kill()
            other.kill()
            other.start()
            self.assertEqual(lab.read(other, "GET", "fleet", "1"), "here")
            leader.start()
            self.assertIs(lab.wait_settled(), leader)
            self.assertEqual(lab.read(other, "GET", "fleet", "1"), "here")


class AdoptionTests(OperationsCase):
    """Servers that ran without us."""

    def test_plain_follow(self) -> None:
        """Equal followers come in as they are; one that is different is kept in a file, and starts over."""
        with Lab(nodes=4, flags=("--expect", "4")) as lab:
            leader, *equal, other = lab.nodes
            for node in lab.nodes:
                node.tile38.start()
            with leader.tile38.connect() as client:
                fill(client, "adopted", 25_000)
            with other.tile38.connect() as client:
                fill(client, "other", 100)
            for node in equal:
                node.tile38.command("FOLLOW", leader.host, TILE38_PORT)
                wait_for(lambda: self.caught_up(node.tile38), "caught up", 20)  # noqa: B023  # called here
            logs = {node.id: log_path(node).read_bytes() for node in lab.nodes}
            self.assertGreater(len(logs[leader.id]), 2**20)
            for node in lab.nodes:
                node.manager.start()
            lab.wait_settled()
            self.assertEqual(started_over(*lab.nodes), [other.id])
            for node in (leader, *equal):
                now = log_path(node).read_bytes()
                self.assertTrue(now.startswith(logs[node.id]))
                self.assertLess(len(now) - len(logs[node.id]), 20_000)
            (copy,) = kept(other)
            self.assertEqual(copy.read_bytes(), logs[other.id])
            self.assertEqual(lab.write(other, "SET", "adopted", "new", "POINT", 1, 2), "OK")
            lab.wait_same("adopted")
            self.check_equal(lab)

    def caught_up(self, server: RealTile38) -> bool:
        """Whether Tile38 says so."""
        return server.server().get("caught_up") == "true"


class RestoredTests(OperationsCase):
    """A disk goes back in time."""

    def test_old_copy(self) -> None:
        """An old copy of the only member of the set does not lead, and says why; later it follows safely."""
        with Lab(nodes=2) as lab:
            lab.start()
            leader = lab.wait_settled()
            other = lab.others(leader)[0]
            lab.write(leader, "SET", "restored", "old", "POINT", 1, 2)
            copies = self.copied(lab, leader)
            leader.start()
            lab.wait_settled()
            self.assertEqual(ctl(lab, "switchover", "--candidate", leader.id).code, 0)
            self.assertIs(lab.wait_settled(), leader)
            other.terminate()
            lab.write(leader, "SET", "restored", "new", "POINT", 1, 2)
            wait_for(lambda: lab.sync_set() == {leader.id}, "alone", 10)
            leader.terminate()
            self.put_back(lab, leader, copies)
            leader.start()
            self.stays_down(lab, leader)
            other.start()
            wait_for(lambda: member(lab, other).get("offset"), "the other is back", 15)
            words = ("failover", "--force", "--candidate", other.id, "--old-leader-is-dead", "--yes")
            told = ctl(lab, *words)
            self.assertIn(f"refused: {leader.id} answers", told.out)
            leader.terminate()
            told = ctl(lab, *words)
            self.assertEqual(told.code, 0, told.out + told.err)
            leader.start()
            self.assertIs(lab.wait_settled(), other)
            self.assertEqual(lab.wait_same("restored"), {"old"})
            self.check_equal(lab)

    def test_snapshot(self) -> None:
        """A copy made while it ran, put back after a crash: what it told since shows that it is old."""
        with Lab(nodes=1) as lab:
            (node,) = lab.nodes
            lab.start()
            lab.wait_settled()
            lab.write(node, "SET", "restored", "old", "POINT", 1, 2)
            wait_for(lambda: told_offset(lab, node) == log_path(node).stat().st_size, "told", 10)
            node.kill()
            node.start()
            lab.wait_settled()  # a crash alone proves nothing against it
            copy = self.copy(lab, node)
            lab.write(node, "SET", "restored", "new", "POINT", 1, 2)
            wait_for(lambda: told_offset(lab, node) == log_path(node).stat().st_size, "told", 10)
            node.kill()
            self.put_back(lab, node, copy)
            node.start()
            self.stays_down(lab, node)
            words = ("failover", "--force", "--candidate", node.id, "--old-leader-is-dead", "--yes")
            self.assertEqual(ctl(lab, *words).code, 0)
            self.assertEqual(set(node.objects("restored")), {"old"})

    def test_snapshot_of_a_follower(self) -> None:
        """A follower that is put back does not lead before it has heard the one that has more."""
        with Lab(nodes=2) as lab:
            lab.start()
            leader = lab.wait_settled()
            (other,) = lab.others(leader)
            lab.write(leader, "SET", "restored", "old", "POINT", 1, 2)
            lab.wait_same("restored")
            copy = self.copy(lab, other)
            lab.write(leader, "SET", "restored", "new", "POINT", 1, 2)
            wait_for(lambda: told_offset(lab, other) >= log_path(leader).stat().st_size, "told", 10)
            leader.kill()
            other.kill()
            self.put_back(lab, other, copy)
            other.start()
            wait_for(lambda: "does not say what it has" in other.manager.text(), "it waits", 20)
            self.assertIn("may have lost", member(lab, other)["against"])
            time.sleep(2.0)
            self.assertEqual(lab.status()["leader"], leader.id)
            leader.start()
            lab.wait_settled()
            self.assertEqual(lab.wait_same("restored"), {"old", "new"})
            self.check_equal(lab)

    def test_twin(self) -> None:
        """A second manager of the same id gives up with one sentence, and the first never notices."""
        with Lab(nodes=2) as lab:
            lab.start()
            leader = lab.wait_settled()
            session = session_of(lab, leader)
            twin = lab.another(9, leader.id)
            twin.start()
            wait_for(lambda: twin.manager.code is not None, "the second has ended", 60)
            self.assertEqual(twin.manager.code, 1)
            said = f"another manager runs as {leader.id}: give each its own --id"
            self.assertEqual(twin.manager.text().count(said), 1)
            self.assertIs(lab.wait_settled(*lab.nodes[:2]), leader)
            self.assertEqual(session_of(lab, leader), session)

    def copied(self, lab: Lab, node: Node) -> Path:
        """Stop a node in order, and copy its data and its state."""
        node.terminate()
        return self.copy(lab, node)

    def copy(self, lab: Lab, node: Node) -> Path:
        """Its data and its state as they are."""
        copy = lab.folder / f"{node.id}-{time.monotonic_ns()}"
        for name in ("data", "state"):
            shutil.copytree(lab.folder / node.id / name, copy / name)
        return copy

    def put_back(self, lab: Lab, node: Node, copy: Path) -> None:
        """Replace a stopped node's disk."""
        for name in ("data", "state"):
            shutil.rmtree(lab.folder / node.id / name)
            shutil.copytree(copy / name, lab.folder / node.id / name)

    def stays_down(self, lab: Lab, node: Node) -> None:
        """Nobody leads for many leases, and the reasons are there to read."""
        wait_for(lambda: member(lab, node).get("here"), "the node is back", 15)
        time.sleep(3.0)
        self.assertEqual(ctl(lab, "status").code, 1)
        self.assertIn("it proves nothing", node.manager.text())
        self.assertIn("its position is not proven", node.manager.text())
        self.assertIn("position is not known", member(lab, node)["against"])
