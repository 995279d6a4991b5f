"""The reply to C{PUBLISH} does not count this node itself, which hears everything for its followers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import Bench, Caller, FakeTarget, role
from tile38cm.proxy.sides import Writer

PUBLISH = "PUBLISH news text"


class PublishTests(SynchronousTestCase):
    """W of a leader that is a subscriber of its own Tile38, and where it is not"""

    def setUp(self) -> None:
        self.bench = Bench()
        assert isinstance(self.bench.side, Writer)
        self.listening = True
        self.bench.side.listening = lambda: self.listening
        self.caller = self.bench.caller()

    def got(self, caller: Caller, reply: bytes) -> bytes:
        """What a client is told when Tile38 answers so."""
        caller.send(PUBLISH)
        self.bench.here.last.reply(reply + role(1))
        return caller.got()

    def test_counted(self) -> None:
        """One less, and never less than none; an error stays as it is."""
        for said, told in ((b":1\r\n", b":0\r\n"), (b":10\r\n", b":9\r\n"), (b":0\r\n", b":0\r\n")):
            self.assertEqual(self.got(self.caller, said), told)
        self.assertEqual(self.got(self.caller, b"-ERR what\r\n"), b"-ERR what\r\n")

    def test_json(self) -> None:
        """The same in JSON, whose length may change."""
        self.caller.send("OUTPUT json")
        self.caller.got()
        said = b'{"ok":true,"published":10,"elapsed":"1\xc2\xb5s"}'
        told = said.replace(b"10", b"9")
        reply = b"$%d\r\n%b\r\n" % (len(said), said)
        self.assertEqual(self.got(self.caller, reply), b"$%d\r\n%b\r\n" % (len(told), told))

    def test_not_listening(self) -> None:
        """While it is no subscriber the reply is Tile38's."""
        self.listening = False
        self.assertEqual(self.got(self.caller, b":1\r\n"), b":1\r\n")

    def test_pipeline(self) -> None:
        """In the middle of others only the right reply changes."""
        self.caller.send("EXISTS k i", PUBLISH, "EXISTS k i")
        names = [words[0] for words in self.bench.here.last.requests()]
        self.bench.here.last.reply(b"".join(role(1) if name == b"ROLE" else b":1\r\n" for name in names))
        self.assertEqual(self.caller.got(), b":1\r\n:0\r\n:1\r\n")

    def test_another_node(self) -> None:
        """For another node's client it is done here; the other one leaves the reply alone."""
        self.assertEqual(self.got(self.bench.peer(), b":2\r\n"), b":1\r\n")
        there = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(leader=there)
        self.caller.send(PUBLISH)
        there.last.reply(b":1\r\n")
        self.assertEqual(self.caller.got(), b":1\r\n")
