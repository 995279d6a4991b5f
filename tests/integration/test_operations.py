"""What operators do to a cluster, by C{tile38ctl} and by the keys behind it, on real servers."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import PREFIX, TILE38_PORT, WRITER_PORT, Lab, Node, settled_lab
from tests.integration.load import Load, fill
from tests.real import RealTile38, require, wait_for
from tile38cm.operate.ctl.commands import run

#: Seconds between two writes of a client, to spare the machine.
PACE = 0.005


def load_through(lab: Lab, key: str, nodes: Sequence[Node]) -> Load:
    """One writing client at each of these nodes, at ease."""
    return Load(key, {node.id: (lambda node=node: lab.writer(node)) for node in nodes}, PACE)  # type: ignore[misc]


@frozen
class Told:
    """What a command has said."""

    code: int
    out: str
    err: str


def ctl(lab: Lab, *words: str) -> Told:
    """C{tile38ctl} with this cluster's Consul."""
    out, err = StringIO(), StringIO()
    code = run([*words, "--consul.addr", lab.consul.address], out, err)
    return Told(code, out.getvalue(), err.getvalue())


def shown(lab: Lab) -> dict[str, Any]:
    """C{tile38ctl status}, as programs get it."""
    return dict(json.loads(ctl(lab, "status", "--json").out))


def member(lab: Lab, node: Node) -> dict[str, Any]:
    """What C{tile38ctl status} shows of a node; empty if nothing."""
    return dict(shown(lab)["members"].get(node.id, {}))


def told_offset(lab: Lab, node: Node) -> int:
    """How long its log is by its own key."""
    return int(json.loads(lab.consul.kv(f"{PREFIX}/members/{node.id}") or "{}")["offset"])


def ask(lab: Lab, name: str, request: object) -> dict[str, Any]:
    """Write a request by hand, and wait for what is written back."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    lab.consul.request("PUT", f"/v1/kv/{PREFIX}/{name}", body)

    def answered() -> dict[str, Any]:
        found = json.loads(lab.consul.kv(f"{PREFIX}/{name}") or "{}")
        return dict(found) if "state" in found else {}

    return wait_for(answered, f"an answer to {request!r}", 15.0)


def started_over(*nodes: Node) -> list[str]:
    """Who has started over, as often as it has."""
    return [node.id for node in nodes for _ in range(node.manager.text().count("this node starts over"))]


def session_of(lab: Lab, node: Node) -> object:
    """What holds a node's key in Consul."""
    return lab.consul.request("GET", f"/v1/kv/{PREFIX}/members/{node.id}")[0]["Session"]


def log_path(node: Node) -> Path:
    """The log of its Tile38."""
    return Path(node.tile38.directory) / "appendonly.aof"


def kept(node: Node) -> list[Path]:
    """The files that it has kept."""
    return sorted((node.manager.directory / "state" / "kept").glob("*.aof"))


class OperationsCase(SynchronousTestCase):
    """Checks that many operations share."""

    def check_equal(self, lab: Lab, *nodes: Node) -> None:
        """By C{tile38ctl compare}: all followers hold what the leader holds."""
        leader = lab.wait_settled(*nodes)
        for node in nodes or lab.nodes:
            if node is leader:
                continue
            out = StringIO()
            servers = ("--leader", f"{leader.host}:{TILE38_PORT}", "--follower", f"{node.host}:{TILE38_PORT}")
            self.assertEqual(run(["compare", *servers], out, StringIO()), 0, out.getvalue())

    def check_load(self, lab: Lab, load: Load) -> None:
        """Nobody was told of an error, nothing is lost."""
        self.assertEqual(load.errors, [])
        self.assertEqual(load.acknowledged - lab.wait_same(load.key), set())


class SwitchoverTests(OperationsCase):
    """Another node leads, because an operator wants it."""

    def test_under_load(self) -> None:
        """To a candidate, while clients write: no error, nothing lost, and the answer is written back."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            candidate, before = lab.others(leader)[1], started_over(*lab.nodes)
            with load_through(lab, "switched", lab.nodes) as load:
                told = ctl(lab, "switchover", "--candidate", candidate.id)
                self.assertEqual((told.code, told.out), (0, f"done: {candidate.id} leads\n"), told.err)
                self.assertIs(lab.wait_settled(), candidate)
                load.wait_writes(20)
            self.check_load(lab, load)
            answer = json.loads(lab.consul.kv(f"{PREFIX}/switchover") or "{}")
            self.assertEqual((answer["candidate"], answer["state"]), (candidate.id, "done"))
            self.assertIn(f"switchover: done {answer['answered']}", ctl(lab, "status").out)
            seen = shown(lab)
            self.assertEqual((seen["leader"], seen["lock"]), (candidate.id, candidate.id))
            self.assertEqual(seen["epochs"][-1]["reason"], f"{leader.id} handed over")
            self.assertEqual(started_over(*lab.nodes), before)

    def test_refused(self) -> None:
        """Nobody as candidate, the leader itself, a time that is none, and rubbish: each has a reason."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            told = ctl(lab, "switchover", "--candidate", "nobody")
            self.assertEqual((told.code, told.out), (1, "refused: nobody is not in the sync set\n"))
            self.assertEqual(ctl(lab, "switchover", "--candidate", leader.id).code, 1)
            for request, said in (
                ({"candidate": 7}, "the candidate is not a name"),
                ({"at": "tomorrow"}, "'tomorrow' is not a time such as 2031-05-01T03:00:00Z"),
                (b"rubbish", "the request is not a JSON object"),
            ):
                answer = ask(lab, "switchover", request)
                self.assertEqual((answer["state"], answer["said"]), ("refused", said))
            self.assertIs(lab.wait_settled(), leader)

    def test_scheduled(self) -> None:
        """It is done at its time and not before; one that was cancelled is not done."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
            self.assertEqual(ctl(lab, "switchover", "--at", at).code, 0)
            self.assertIn(f"switchover at {at}: waits", ctl(lab, "status").out)
            self.assertEqual(ctl(lab, "switchover").code, 1)  # one is waiting
            self.assertEqual(ctl(lab, "switchover", "--cancel").out, "withdrawn\n")
            due = int(time.time()) + 3
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(due))
            self.assertEqual(ctl(lab, "switchover", "--at", at).code, 0)
            while lab.status()["leader"] == leader.id:
                self.assertLess(time.time(), due + 10)
                time.sleep(0.05)
            self.assertGreaterEqual(time.time(), due)
            self.assertIsNot(lab.wait_settled(), leader)


class ShrinkTests(OperationsCase):
    """Logs are rewritten."""

    def sizes(self, lab: Lab) -> dict[str, int]:
        """How long the logs are."""
        return {node.id: log_path(node).stat().st_size for node in lab.nodes}

    def overwrite(self, lab: Lab, times: int) -> None:
        """Make logs that can be shrunk."""
        with lab.writer(lab.wait_settled()) as client:
            for _ in range(times):
                fill(client, "overwritten", 2000)

    def test_cluster(self) -> None:
        """All logs, one after the other, while clients write: smaller, equal, and nobody starts over."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            self.overwrite(lab, 10)
            lab.wait_same("overwritten")
            before, over = self.sizes(lab), started_over(*lab.nodes)
            with load_through(lab, "shrunk", lab.nodes) as load:
                told = ctl(lab, "shrink", "--wait", "60s")
                self.assertEqual((told.code, told.out), (0, "done: all logs are shrunk\n"), told.err)
                load.wait_writes(20)
                self.assertIsNot(lab.wait_settled(), leader)
            after = self.sizes(lab)
            for name in before:
                self.assertLess(after[name], before[name] // 2, f"{before} {after}")
            self.check_load(lab, load)
            self.check_equal(lab)
            self.assertEqual(started_over(*lab.nodes), over)

    def test_behind_our_back(self) -> None:
        """C{AOFSHRINK} on a follower's own port, then on the leader's: noticed, and all is equal after it."""
        with settled_lab() as lab:
            self.overwrite(lab, 3)
            leader = lab.wait_settled()
            follower = lab.others(leader)[0]
            epoch = lab.status()["epoch"]
            stay = [node for node in lab.nodes if node is not follower]
            with load_through(lab, "behind", stay) as load:
                follower.tile38.command("AOFSHRINK")
                load.wait_writes(50)
                follower.kill()
                follower.start()
                self.assertIs(lab.wait_settled(), leader)
                load.wait_writes(20)
                before = log_path(leader).stat().st_size
                leader.tile38.command("AOFSHRINK")
                wait_for(lambda: log_path(leader).stat().st_size < before, "shrunk", 10)
                wait_for(lambda: lab.status()["epoch"] > epoch, "another term", 20)
                lab.wait_settled()
                load.wait_writes(20)
            self.check_load(lab, load)
            self.check_equal(lab)


class ForcedTests(OperationsCase):
    """Nobody of the sync set comes back."""

    def test_only_member_lost(self) -> None:
        """Refused without the flag, and while the leader answers; done; what was lost is brought back."""
        with Lab(nodes=2) as lab:
            lab.start()
            old = lab.wait_settled()
            new = lab.others(old)[0]
            lab.write(old, "SET", "forced", "both", "POINT", 1, 2)
            asked = {"candidate": new.id, "old_leader_is_dead": True}
            self.assertIn("ask for a switchover", ask(lab, "failover", asked)["said"])
            self.assertIn(f"{old.id} leads", ctl(lab, *self.words(new), "--old-leader-is-dead").out)
            new.kill()
            with lab.writer(old) as client:
                for number in range(25):
                    client.command("SET", "forced", f"lost-{number}", "POINT", 1, 2)
                client.command("FSET", "forced", "lost-3", "speed", 7)
            wait_for(lambda: lab.sync_set() == {old.id}, "alone", 10)
            self.assertGreater(lab.status()["offset"], 0)
            wait_for(lambda: told_offset(lab, old) == log_path(old).stat().st_size, "told", 10)
            old.kill()
            new.start()
            self.refused(lab, old, new)
            self.forced(lab, new)
            old.start()
            self.assertIs(lab.wait_settled(), new)
            self.check_equal(lab)
            self.replayed(lab, old, new)

    def words(self, candidate: Node) -> tuple[str, ...]:
        return ("failover", "--force", "--candidate", candidate.id, "--yes")

    def refused(self, lab: Lab, old: Node, new: Node) -> None:
        """It does not lead by itself, nor without the words that are asked for; the loss is foretold."""
        wait_for(lambda: self.away(lab, old) and member(lab, new).get("offset"), "noticed", 30)
        self.assertEqual(
            member(lab, new)["against"], "it is not in the sync set, so it may lack acknowledged writes"
        )
        self.assertEqual(ctl(lab, "status").code, 1)
        told = ctl(lab, *self.words(new))
        self.assertEqual(told.code, 1)
        self.assertIn("--old-leader-is-dead", told.out)
        size = log_path(old).stat().st_size
        self.assertRegex(told.out, rf"LOST: [\d,]+ bytes of epoch 1, from [\d,]+ to {size:,}, at least")
        self.assertIn(f"{old.id}: further than {new.id}", told.out)
        answer = ask(lab, "failover", {"candidate": new.id})
        self.assertEqual(answer["state"], "refused")
        self.assertIn("old_leader_is_dead", answer["said"])
        self.assertEqual(lab.status()["leader"], old.id)

    def away(self, lab: Lab, node: Node) -> bool:
        """Whether its session has ended; it is ended here, since that would take long."""
        found = lab.consul.request("GET", f"/v1/kv/{PREFIX}/members/{node.id}")[0]
        if found.get("Session"):
            lab.consul.request("PUT", f"/v1/session/destroy/{found['Session']}")
        return not found.get("Session")

    def forced(self, lab: Lab, new: Node) -> None:
        """It leads alone with what it had."""
        told = ctl(lab, *self.words(new), "--old-leader-is-dead")
        self.assertEqual(told.code, 0, told.out + told.err)
        self.assertIn(f"done: {new.id} leads with what it had", told.out)
        self.assertIs(lab.wait_settled(new), new)
        self.assertEqual(set(new.objects("forced")), {"both"})
        self.assertEqual(lab.write(new, "SET", "forced", "lost-0", "STRING", "newer"), "OK")

    def replayed(self, lab: Lab, old: Node, new: Node) -> None:
        """What the old leader had to undo is listed, and what is absent comes back."""
        state = str(old.manager.directory / "state")
        out = StringIO()
        run(["tail", "list", "--state.dir", state, "--json"], out, StringIO())
        (tail,) = json.loads(out.getvalue())
        self.assertEqual((tail["commands"], tail["keys"]), (26, {"forced": 26}))
        out = StringIO()
        writer = ("--writer", f"{new.host}:{WRITER_PORT}")
        self.assertEqual(run(["tail", "replay", tail["path"], "--if-absent", *writer], out, StringIO()), 0)
        lab.wait_same("forced")
        self.assertEqual(set(new.objects("forced")), {"both", *(f"lost-{n}" for n in range(25))})
        self.assertEqual(new.tile38.command("GET", "forced", "lost-0"), "newer")
        self.assertEqual(new.tile38.command("FGET", "forced", "lost-3", "speed"), "7")


class TagTests(OperationsCase):
    """What a node is not to be used for, or rather than others."""

    def test_tags(self) -> None:
        """nosync, noread, zone, priority and nofailover, each as it is meant."""
        require("tile38")  # scripts, which the embedded one lacks, tell who answered
        with Lab(nodes=4) as lab:
            first, plain, aside, near = lab.nodes
            for node, flags in (
                (first, ("--tag.zone", "a")),
                (plain, ("--tag.zone", "b")),
                (aside, ("--tag.nosync", "--tag.noread")),
                (near, ("--tag.zone", "a", "--tag.priority", "5")),
            ):
                node.manager.flags += flags
            lab.start(first)
            lab.wait_settled(first)
            lab.start(plain, aside, near)
            lab.wait_settled(first, plain, near)
            self.not_in_the_set(lab, first, aside)
            self.read_elsewhere(lab, first, aside, near)
            self.takes_over(lab, first, plain, near)
            self.never_leads(lab, plain, near)

    def not_in_the_set(self, lab: Lab, first: Node, aside: Node) -> None:
        """nosync: it holds everything, and is in no set; it can be given the lead by nobody."""
        self.assertEqual(lab.write(aside, "SET", "tags", "1", "POINT", 1, 2), "OK")
        lab.wait_same("tags")
        seen = member(lab, aside)
        self.assertEqual((seen["in_sync_set"], seen["reads"]), (False, False))
        self.assertIn("nosync", seen["against"])
        self.assertEqual(ctl(lab, "switchover", "--candidate", aside.id).code, 1)
        self.assertEqual(lab.status()["leader"], first.id)

    def read_elsewhere(self, lab: Lab, first: Node, aside: Node, near: Node) -> None:
        """noread: its R asks another node. zone: the leader's R asks the follower of its own zone."""
        self.assertEqual(aside.server()["num_objects"], "1")
        self.assertNotEqual(self.answering(lab, aside), aside.server()["id"])
        self.assertEqual({self.answering(lab, first) for _ in range(8)}, {near.server()["id"]})

    def answering(self, lab: Lab, node: Node) -> str:
        """The id of the server that answers reads at a node's R: a script goes where they go."""
        flat = lab.read(node, "EVALRO", "return tile38.call('server')", 0)
        assert isinstance(flat, list)
        return str(dict(zip(flat[::2], flat[1::2], strict=True))["id"])

    def takes_over(self, lab: Lab, first: Node, plain: Node, near: Node) -> None:
        """priority: of equals the one with the highest leads, though its id comes later."""
        first.kill()
        self.assertIs(lab.wait_settled(plain, near), near)

    def never_leads(self, lab: Lab, plain: Node, near: Node) -> None:
        """nofailover: it stays in the set, and does not lead though it is the last one; it says so."""
        plain.manager.terminate()
        plain.manager.flags += ["--tag.nofailover"]
        plain.manager.start()
        tagged = "it is tagged nofailover"
        wait_for(lambda: member(lab, plain).get("against") == tagged, "tagged", 15)
        lab.wait_settled(plain, near)
        told = ctl(lab, "switchover", "--candidate", plain.id)
        self.assertEqual(told.out, f"refused: {plain.id} is tagged nofailover\n")
        told = ctl(lab, "shrink", "--wait", "40s")
        self.assertEqual(told.code, 1, told)
        self.assertIn("all logs but the leader's are shrunk: no other member", told.out)
        near.kill()
        time.sleep(4.0)  # many leases
        self.assertEqual(lab.status()["leader"], near.id)
        self.assertEqual(member(lab, plain)["against"], tagged)
        self.assertIn("does not stand for election: it is tagged nofailover", plain.manager.text())
        near.start()
        self.assertIs(lab.wait_settled(plain, near), near)


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
