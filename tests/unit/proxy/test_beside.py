"""Questions about the node: asked of its own Tile38, answered with what the manager knows besides."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import Bench, FakeTarget, role
from tile38cm.proxy.beside import ANSWER_TIMEOUT
from tile38cm.wire.resp import bulk, encode_reply
from tile38cm.wire.status import amended

FACTS: dict[str, str | int] = {"role": "leader", "epoch": 7}
OWN = b"$13\r\ntile38cm_role\r\n$6\r\nleader\r\n$14\r\ntile38cm_epoch\r\n$1\r\n7\r\n"
IN_JSON = b'"tile38cm_role":"leader","tile38cm_epoch":7'


class AmendedTests(SynchronousTestCase):
    """L{amended}"""

    def test_server(self) -> None:
        """Further pairs, or members of the object."""
        self.assertEqual(
            amended([b"SERVER"], encode_reply([b"id", b"x"]), "resp", FACTS),
            b"*6\r\n$2\r\nid\r\n$1\r\nx\r\n" + OWN,
        )
        self.assertEqual(
            amended([b"server"], bulk(b'{"ok":true,"stats":{"id":"x"},"elapsed":"1s"}'), "json", FACTS),
            bulk(b'{"ok":true,"stats":{' + IN_JSON + b',"id":"x"},"elapsed":"1s"}'),
        )

    def test_role(self) -> None:
        """One element more, so that the others keep their places."""
        self.assertEqual(
            amended([b"ROLE"], b"*3\r\n$6\r\nmaster\r\n:5\r\n*0\r\n", "resp", FACTS),
            b"*4\r\n$6\r\nmaster\r\n:5\r\n*0\r\n*4\r\n" + OWN,
        )
        got = amended([b"ROLE"], bulk(b'{"ok":true,"role":{"role":"master"},"elapsed":"1s"}'), "json", FACTS)
        self.assertIn(b'"role":{' + IN_JSON + b',"role":"master"}', got)

    def test_info(self) -> None:
        """A section, where it was asked for."""
        section = b"# Tile38cm\r\ntile38cm_role:leader\r\ntile38cm_epoch:7\r\n"
        for args in ([b"INFO"], [b"INFO", b"all"], [b"TIMEOUT", b"1", b"info", b"Default", b"x"]):
            got = amended(args, bulk(b"# CPU\r\na:1\r\n"), "resp", FACTS)
            self.assertEqual(got, bulk(b"# CPU\r\na:1\r\n\r\n" + section))
        self.assertEqual(amended([b"INFO", b"tile38cm"], bulk(b""), "resp", FACTS), bulk(section))
        self.assertEqual(amended([b"INFO", b"cpu"], bulk(b"x"), "resp", FACTS), bulk(b"x"))
        got = amended([b"INFO", b"tile38cm"], bulk(b'{"ok":true,"info":{},"elapsed":"1s"}'), "json", FACTS)
        self.assertIn(b'"info":{' + IN_JSON + b"}", got)

    def test_health(self) -> None:
        """Nothing but OK where only that is expected."""
        self.assertEqual(amended([b"HEALTHZ"], b"+OK\r\n", "resp", FACTS), b"+OK\r\n")
        got = amended([b"HEALTHZ"], bulk(b'{"ok":true,"elapsed":"1s"}'), "json", FACTS)
        self.assertEqual(got, bulk(b'{"ok":true,' + IN_JSON + b',"elapsed":"1s"}'))

    def test_errors(self) -> None:
        """They stay what they are."""
        for name in (b"SERVER", b"ROLE", b"INFO", b"HEALTHZ"):
            self.assertEqual(amended([name], b"-ERR x\r\n", "resp", FACTS), b"-ERR x\r\n")
            failed = bulk(b'{"ok":false,"err":"x","elapsed":"1s"}')
            self.assertEqual(amended([name], failed, "json", FACTS), failed)


class HereTests(SynchronousTestCase):
    """On W of a follower"""

    def setUp(self) -> None:
        self.bench = Bench()
        self.leader = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(leader=self.leader)
        self.caller = self.bench.caller()

    def test_asked_here(self) -> None:
        """It is this node that answers, in its turn among what the leader answers."""
        self.caller.send("GET k i", "ROLE", "GET k j")
        self.bench.beside.last.reply(b"*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$1\r\ny\r\n:9\r\n")
        self.assertEqual(self.caller.got(), b"")
        self.leader.last.reply(b"$-1\r\n" * 2)
        got = self.caller.got()
        self.assertTrue(got.startswith(b"$-1\r\n*6\r\n$5\r\nslave\r\n"), got)
        self.assertTrue(
            got.endswith(
                b"$13\r\ntile38cm_role\r\n$8\r\nfollower\r\n$14\r\ntile38cm_epoch\r\n$1\r\n7\r\n$-1\r\n"
            )
        )

    def test_in_json_over_http(self) -> None:
        """In any form."""
        self.caller.raw(b"GET /healthz HTTP/1.1\r\n\r\n")
        self.bench.beside.last.reply(bulk(b'{"ok":true,"elapsed":"1s"}'))
        got = self.caller.got()
        self.assertTrue(got.startswith(b"HTTP/1.1 200"), got)
        self.assertIn(b'{"ok":true,"tile38cm_role":"follower"', got)
        self.assertTrue(self.caller.transport.disconnecting)

    def test_trouble(self) -> None:
        """What the manager knows against the node makes it unhealthy."""
        self.bench.own.why = "not caught up: copying"
        self.caller.send("HEALTHZ")
        self.bench.beside.last.reply(b"+OK\r\n")
        self.assertEqual(self.caller.got(), b"-ERR not caught up: copying\r\n")

    def test_silence(self) -> None:
        """A Tile38 that does not answer, or is not there, is told in bounded time, and only once."""
        self.caller.send("HEALTHZ")
        asked = self.bench.beside.last
        self.bench.clock.advance(ANSWER_TIMEOUT)
        self.assertEqual(self.caller.got(), b"-ERR this node's Tile38 does not answer\r\n")
        asked.reply(b"+OK\r\n")
        self.assertEqual(self.caller.got(), b"")
        asked.lose()
        self.bench.beside.refusing = True
        self.caller.send("SERVER", "GET k i")
        self.bench.clock.pump([0.1] * 120)
        self.assertTrue(self.caller.got().startswith(b"-ERR "))

    def test_client_gone(self) -> None:
        """An answer for a client that has gone is of no use, and no trouble."""
        self.caller.send("SERVER")
        self.caller.lose()
        self.bench.beside.last.reply(b"*0\r\n")
        self.assertEqual(self.caller.got(), b"")

    def test_leader_lost(self) -> None:
        """A change of leader leaves it alone."""
        self.caller.send("GET k i", "ROLE")
        self.bench.routes.change(leader=self.bench.here)
        self.bench.beside.last.reply(b"-ERR x\r\n")
        self.bench.here.last.reply(b"$-1\r\n" + role(1))
        self.assertEqual(self.caller.got(), b"$-1\r\n-ERR x\r\n")

    def test_other_nodes(self) -> None:
        """Another node gets what Tile38 says."""
        self.bench.routes.change(leader=self.bench.here)
        peer = self.bench.peer()
        peer.send("ROLE")
        self.bench.here.last.reply(role(5) * 2)
        self.assertEqual(peer.got(), role(5))
