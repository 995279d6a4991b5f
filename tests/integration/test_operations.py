"""What operators do to a cluster, by C{tile38ctl} and by the keys behind it, on real servers."""

from __future__ import annotations

import json
import time
from io import StringIO

from tests.integration.lab import PREFIX, WRITER_PORT, Lab, Node, settled_lab
from tests.integration.load import fill
from tests.integration.operating import (
    OperationsCase,
    ask,
    ctl,
    load_through,
    log_path,
    member,
    shown,
    started_over,
    told_offset,
)
from tests.real import require, wait_for
from tile38cm.operate.ctl.commands import run


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
