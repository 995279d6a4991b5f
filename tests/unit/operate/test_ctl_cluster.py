"""L{tile38cm.operate.ctl}: the commands that speak with Consul."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.operate.keyed import KeyedConsul
from tests.unit.operate.test_ctl import Terminal
from tile38cm.operate.ctl import consul_http, requests
from tile38cm.operate.ctl.cluster import look
from tile38cm.operate.ctl.commands import run
from tile38cm.operate.ctl.consul_http import Keys
from tile38cm.operate.ctl.loss import Lost, forecast
from tile38cm.operate.ctl.options import Exit
from tile38cm.settings import Address, ConsulSettings

DONE = {"state": "done", "said": "n2 leads"}


def status(leader: str, *others: str, epoch: int = 3, offset: int = 0) -> dict[str, Any]:
    """A status document."""
    return {
        "cluster": "c1",
        "version": 9,
        "epoch": epoch,
        "leader": leader,
        "sync_set": [leader, *others],
        "lease": 1.0,
        "nonce": "x",
        "offset": offset,
    }


def member(role: str, epoch: int, offset: int, **more: Any) -> dict[str, Any]:
    """What a member says of itself."""
    return {
        "role": role,
        "epoch": epoch,
        "offset": offset,
        "seen": epoch,
        "proven": epoch > 0,
        "lag": 0,
        **more,
    }


def record(epoch: int, leader: str, parent_offset: int, start: int | None) -> dict[str, Any]:
    """One term behind the one before."""
    return {
        "epoch": epoch,
        "leader": leader,
        "parent": epoch - 1,
        "parent_offset": parent_offset,
        "start": start,
        "reason": "it fell away",
        "time": "2031-05-01T03:00:00Z",
    }


class ClusterCase(SynchronousTestCase):
    """Three nodes: n1 leads epoch 3, n2 is in the set, n3 is away and was behind."""

    def setUp(self) -> None:
        self.patch(os, "environ", {})
        self.patch(requests, "LOOK", 0.01)
        self.patch(consul_http, "BETWEEN", 0.01)
        self.consul = KeyedConsul()
        self.addCleanup(self.consul.stop)
        self.consul.put("status", status("n1", "n2"))
        self.consul.put("leader", b"n1", session="s1")
        for each in (record(1, "n1", 0, 0), record(2, "n3", 500, 480), record(3, "n1", 900, 950)):
            self.consul.put(f"epochs/{each['epoch']}", each)
        self.consul.put("members/n1", member("leader", 3, 2000), session="s1")
        self.consul.put("members/n2", member("follower", 3, 1990, lag=10, ready=True), session="s2")
        self.consul.put("members/n3", member("follower", 2, 700))

    def ctl(self, *words: str) -> tuple[int, str, str]:
        """Exit code, output, remarks."""
        out, err = StringIO(), StringIO()
        code = run([*words, "--consul.addr", self.consul.address], out, err)
        return code, out.getvalue(), err.getvalue()

    def leader_dies(self) -> None:
        """Nobody of the set is left; n3 has come back."""
        self.consul.put("members/n1", member("leader", 3, 2000))
        self.consul.put("members/n2", member("follower", 3, 1990))
        self.consul.put("members/n3", member("follower", 2, 700), session="s3")
        self.consul.put("leader", b"n1")


class HttpTests(ClusterCase):
    """How Consul is reached."""

    def test_token(self) -> None:
        """The token is that of the environment, or of a file, which wins."""
        os.environ["CONSUL_HTTP_TOKEN"] = "first"
        self.assertEqual(self.ctl("status")[0], 0)
        file = Path(self.mktemp())
        file.write_text("second\n")
        os.environ["CONSUL_HTTP_TOKEN_FILE"] = str(file)
        self.ctl("status")
        tokens = [headers.get("X-Consul-Token") for headers in self.consul.headers]
        self.assertEqual((tokens[0], tokens[-1]), ("first", "second"))

    def test_tried_again(self) -> None:
        """A read that Consul could not serve is tried again; what it says in the end is told."""
        self.consul.failures = [(500, "No cluster leader")] * 2
        self.assertEqual(self.ctl("status")[0], 0)
        self.consul.failures = [(403, "Permission denied")] * 3
        code, out, err = self.ctl("status")
        self.assertEqual((code, out), (Exit.FAILED, ""))
        self.assertIn("says 403: Permission denied", err)

    def test_not_found(self) -> None:
        """Something else than Consul behind the address is not taken for a Consul without keys."""
        self.consul.failures = [(404, "<html>")] * 3
        self.assertIn("says 404", self.ctl("status")[2])

    def test_away(self) -> None:
        """Nobody there: exit 3 and where."""
        self.consul.stop()
        code, _, err = self.ctl("status")
        self.assertEqual(code, Exit.FAILED)
        self.assertIn(self.consul.address, err)

    def test_wrong(self) -> None:
        """Wrong values, on the command line and in the environment, are named."""
        code, _, err = self.ctl("status", "--consul.lock.prefix", "a b")
        self.assertEqual(code, Exit.WRONG_USAGE)
        self.assertIn("--consul.lock.prefix", err)
        os.environ["CONSUL_HTTP_SSL"] = "perhaps"
        self.assertIn("CONSUL_HTTP_SSL", self.ctl("status")[2])


class StatusTests(ClusterCase):
    """What is shown."""

    def test_people(self) -> None:
        """Who leads and why, a line for each node, and what keeps it from leading."""
        code, out, _ = self.ctl("status")
        self.assertEqual(code, 0)
        self.assertIn("n1 leads, epoch 3, since 2031-05-01T03:00:00Z (it fell away)\n", out)
        rows = {line.split()[0]: " ".join(line.split()) for line in out.splitlines() if line}
        self.assertEqual(rows["n1"], "n1 leader 3:2000 no yes it leads")
        self.assertEqual(rows["n2"], "n2 follower 3:1990 10 B yes yes it may lead")
        self.assertEqual(rows["n3"], "n3 away 2:700 no no it is away")

    def test_nobody_leads(self) -> None:
        """Without a leader that lives: exit 1."""
        self.leader_dies()
        code, out, _ = self.ctl("status")
        self.assertEqual((code, out.startswith("NO LEADER; the last was n1")), (Exit.NO, True))
        self.assertIn("the lock is held by nobody", out)
        self.assertIn("it is not in the sync set, so it may lack", out)

    def test_against(self) -> None:
        """Each thing that keeps a member from leading is told to programs."""
        for more, expected in (
            ({"nofailover": True}, "it is tagged nofailover"),
            ({"seen": 4}, "it has seen epoch 4, but Consul's status is older"),
            ({"proven": False}, "its position is not known, or its log is empty"),
            (
                {"shaken": True},
                "it may have lost acknowledged writes, and waits for all others of the sync set",
            ),
            ({"epoch": 0}, "its position is not known, or its log is empty"),
            ({}, ""),
        ):
            self.consul.put("members/n2", member("follower", 3, 10) | more, session="s2")
            found = json.loads(self.ctl("status", "--json")[1])
            self.assertEqual(found["members"]["n2"]["against"], expected)
        self.consul.put("members/n4", member("follower", 3, 10, nosync=True), session="s4")
        found = json.loads(self.ctl("status", "--json")[1])
        self.assertEqual(
            found["members"]["n4"]["against"], "it is not in the sync set, for it is tagged nosync"
        )
        self.assertEqual((found["leader"], found["epochs"][-1]["epoch"]), ("n1", 3))

    def test_requests(self) -> None:
        """What was asked is shown with its answer."""
        self.consul.put("switchover", {"candidate": "n2", "at": "2031-05-01T03:00:00Z"})
        self.consul.put("shrink", {"id": "x", "state": "done", "said": "all logs are shrunk"})
        self.consul.put("failover", b"rubbish")
        out = self.ctl("status")[1]
        self.assertIn("switchover to n2 at 2031-05-01T03:00:00Z: waits to be carried out", out)
        self.assertIn("shrink: done : all logs are shrunk", out)
        self.assertIn("failover: the request is no JSON object", out)

    def test_no_cluster(self) -> None:
        """No status, or rubbish there: exit 3."""
        self.consul.put("status", b"{}")
        self.assertIn("is rubbish", self.ctl("status")[2])
        del self.consul.keys["status"]
        code, _, err = self.ctl("status")
        self.assertEqual(code, Exit.FAILED)
        self.assertIn("there is no cluster below _locks/tile38/cluster/manager", err)


class LossTests(ClusterCase):
    """What a forced failover would lose."""

    def lost(self, epoch: int, offset: int, **more: Any) -> tuple[Lost, ...] | None:
        """By the forecast for a member at that position."""
        self.consul.put("members/n3", member("follower", epoch, offset) | more, session="s3")
        host, _, port = self.consul.address.partition(":")
        where = Keys(ConsulSettings(Address(host, int(port))), "_locks/tile38/cluster/manager")
        seen = look(where)
        return forecast(seen, seen.members["n3"]).lost

    def test_lost(self) -> None:
        """Along the history, up to all that anybody has told of the present epoch."""
        for position, expected in (
            ((3, 1500), (Lost(3, 1500, 2000),)),
            ((3, 2000), ()),
            ((2, 700), (Lost(2, 700, 900), Lost(3, 950, 2000))),
            ((2, 900), (Lost(3, 950, 2000),)),
            ((1, 500), (Lost(2, 480, 900), Lost(3, 950, 2000))),
        ):
            self.assertEqual(self.lost(*position), expected)

    def test_unknown(self) -> None:
        """Without a position, or beside the history, nothing can be said."""
        self.assertIsNone(self.lost(0, 0))
        self.assertIsNone(self.lost(2, 700, proven=False))
        self.assertIsNone(self.lost(2, 901))
        self.assertIsNone(self.lost(4, 10))
        del self.consul.keys["epochs/2"]
        self.assertIsNone(self.lost(1, 500))

    def test_status_tells(self) -> None:
        """Where no member's key is left the status says how long the leader's log was at least."""
        for name in ("n1", "n2"):
            del self.consul.keys[f"members/{name}"]
        self.assertEqual(self.lost(3, 900), (Lost(3, 900, 950),))
        self.consul.put("status", status("n1", "n2", offset=1700))
        self.assertEqual(self.lost(3, 1500), (Lost(3, 1500, 1700),))


class RequestTests(ClusterCase):
    """Switchover and shrink: asked, answered, withdrawn."""

    def answer(self, answer: Mapping[str, Any]) -> None:
        """Whatever is asked from now on is answered so."""
        self.consul.on_put = lambda name, doc: {**doc, **answer}

    def test_switchover(self) -> None:
        """The answer is told; done is exit 0, else 1; the request has what was said and no more."""
        self.answer(DONE)
        self.assertEqual(self.ctl("switchover", "--candidate", "n2"), (0, "done: n2 leads\n", ""))
        self.assertEqual(self.consul.document("switchover"), {"candidate": "n2", **DONE})
        self.answer({"state": "refused", "said": "nobody"})
        self.assertEqual(self.ctl("switchover"), (1, "refused: nobody\n", ""))
        self.assertEqual(set(self.consul.document("switchover")), {"state", "said"})

    def test_not_in_time(self) -> None:
        """Without an answer the request is withdrawn, so that it does not come true some day."""
        code, out, _ = self.ctl("switchover", "--wait", "50ms")
        self.assertEqual((code, out), (3, "not answered within 0.05 s, and withdrawn: tile38ctl status\n"))
        self.assertNotIn("switchover", self.consul.keys)

    def test_replaced(self) -> None:
        """Another request over ours is not taken for ours."""
        self.consul.on_put = lambda name, doc: {"candidate": "n3", **DONE}
        code, out, _ = self.ctl("switchover", "--candidate", "n2")
        self.assertEqual((code, out), (3, "the switchover was withdrawn, or replaced by another one\n"))

    def test_one_at_a_time(self) -> None:
        """What waits is not overwritten, but may be cancelled, once."""
        self.consul.put("switchover", {"candidate": "n3"})
        code, out, _ = self.ctl("switchover", "--candidate", "n2")
        self.assertEqual(code, 1)
        self.assertIn("another switchover is waiting", out)
        self.assertEqual(self.ctl("switchover", "--cancel"), (0, "withdrawn\n", ""))
        self.assertEqual(self.ctl("switchover", "--cancel")[0], 1)
        self.assertEqual(self.ctl("switchover", "--wait", "10ms")[0], 3)

    def test_at(self) -> None:
        """A time is told in UTC, and is not waited for; what is no time is wrong usage."""
        told = self.ctl("switchover", "--at", "2131-05-01T05:00:00+02:00")
        self.assertEqual(
            told[:2], (0, "scheduled for 2131-05-01T03:00:00Z; whoever leads then carries it out\n")
        )
        self.assertEqual(self.consul.document("switchover"), {"at": "2131-05-01T03:00:00Z"})
        code, _, err = self.ctl("switchover", "--at", "tomorrow")
        self.assertEqual(code, Exit.WRONG_USAGE)
        self.assertIn("'tomorrow'", err)

    def test_shrink(self) -> None:
        """Each shrink has an id of its own; how many are done is shown to whoever looks."""
        names = []

        def answered(name: str, doc: dict[str, Any]) -> Mapping[str, Any] | None:
            names.append(doc["id"])
            self.consul.put("members/n2", member("follower", 3, 10, shrunk=doc["id"]), session="s2")
            return None

        self.consul.on_put = answered
        err = Terminal()
        words = ["shrink", "--wait", "50ms", "--consul.addr", self.consul.address]
        self.assertEqual(run(words, StringIO(), err), 3)
        self.assertIn("1 of 2 logs shrunk", err.getvalue())
        self.answer({"state": "done", "said": "all logs are shrunk"})
        self.assertEqual(self.ctl("shrink"), (0, "done: all logs are shrunk\n", ""))
        self.assertNotIn(self.consul.document("shrink")["id"], names)


class FailoverTests(ClusterCase):
    """Force."""

    WORDS = ("failover", "--force", "--candidate", "n3")

    def setUp(self) -> None:
        super().setUp()
        self.patch(sys, "stdin", StringIO())
        self.consul.on_put = lambda name, doc: {**doc, **DONE}

    def refused(self, *words: str) -> str:
        """Exit 1, nothing was asked of the cluster; what was said."""
        code, out, _ = self.ctl(*self.WORDS, *words)
        self.assertEqual(code, Exit.NO)
        self.assertNotIn("failover", self.consul.keys)
        return out

    def test_not_needed(self) -> None:
        """While somebody leads, and for a candidate that is away, it is refused at once."""
        self.assertIn("refused: n3 is not here", self.refused("--old-leader-is-dead", "--yes"))
        self.consul.put("members/n3", member("follower", 2, 700), session="s3")
        self.assertIn(
            "refused: n1 leads: ask for a switchover", self.refused("--old-leader-is-dead", "--yes")
        )

    def test_foretold(self) -> None:
        """What is lost is said exactly, with what nobody can know, before anything is done."""
        self.leader_dies()
        out = self.refused("--yes")
        for part in (
            "n3 is at 2:700; it is here",
            "n1, n2: further than n3",
            "LOST: 200 bytes of epoch 2, from 700 to 900, at least.",
            "LOST: 1,050 bytes of epoch 3, from 950 to 2,000, at least.",
            "UNKNOWN: ",
            "refused: make sure that the old leader is dead, and say so with --old-leader-is-dead",
        ):
            self.assertIn(part, out)

    def test_living(self) -> None:
        """A member of the set that could lead by itself is pointed to."""
        self.leader_dies()
        self.consul.put("members/n2", member("follower", 3, 1990), session="s2")
        self.assertIn("n2: here, in the sync set and fit", self.refused())

    def test_asked(self) -> None:
        """It asks on a terminal, and takes nothing but yes; elsewhere it wants --yes."""
        self.leader_dies()
        self.assertIn("nobody can be asked here: say --yes", self.refused("--old-leader-is-dead"))
        for typed in ("", "\n", "n\n", "yeah\n"):
            self.patch(sys, "stdin", Terminal(typed))
            self.assertIn("nothing was done", self.refused("--old-leader-is-dead"))
        self.patch(sys, "stdin", Terminal("y\n"))
        code, out, _ = self.ctl(*self.WORDS, "--old-leader-is-dead")
        self.assertEqual(code, 0)
        self.assertIn("Make n3 lead with what it has? [y/N] done: n2 leads", out)
        self.assertEqual(
            self.consul.document("failover"), {"candidate": "n3", "old_leader_is_dead": True, **DONE}
        )

    def test_yes(self) -> None:
        """With --yes nobody is asked."""
        self.leader_dies()
        self.assertEqual(self.ctl(*self.WORDS, "--old-leader-is-dead", "--yes")[0], 0)

    def test_usage(self) -> None:
        """--force and a candidate are needed."""
        for words in (("failover", "--candidate", "n3"), ("failover", "--force")):
            self.assertEqual(self.ctl(*words)[0], Exit.WRONG_USAGE)
