"""The command table against a real server: a follower, a leader, and the server's own words."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real import RealTile38, require, wait_for
from tile38cm.wire.commands import TABLE, Class, classify
from tile38cm.wire.replies import not_executed
from tile38cm.wire.resp import encode_request

#: Arguments with which each command is complete, where a name alone is not.
ARGUMENTS = {
    "set": "k i POINT 1 2",
    "fset": "k i f 1",
    "del": "k i",
    "pdel": "k *",
    "drop": "k",
    "expire": "k i 1",
    "persist": "k i",
    "jset": "k i p 1",
    "rename": "k l",
    "renamenx": "k l",
    "sethook": "h http://127.0.0.1/ NEARBY k FENCE POINT 1 2 3",
    "setchan": "h NEARBY k FENCE POINT 1 2 3",
    "delhook": "h",
    "delchan": "h",
    "pdelhook": "*",
    "pdelchan": "*",
    "eval": "return(1) 0",
    "evalro": "return(1) 0",
    "evalna": "return(1) 0",
    "get": "k i",
    "fget": "k i f",
    "jget": "k i",
    "exists": "k i",
    "fexists": "k i f",
    "ttl": "k i",
    "type": "k",
    "bounds": "k",
    "scan": "k",
    "search": "k",
    "nearby": "k POINT 1 2 3",
    "within": "k BOUNDS 1 2 3 4",
    "intersects": "k BOUNDS 1 2 3 4",
    "stats": "k",
    "keys": "*",
    "hooks": "*",
    "chans": "*",
    "test": "POINT 1 1 WITHIN BOUNDS 0 0 2 2",
    "echo": "x",
    "client": "LIST",
    "config": "GET maxmemory",
    "script": "EXISTS x",
    "timeout": "1 GET k i",
    "publish": "c x",
}

#: Not to be tried with a name alone: the proxy's own, those for development, and
#: those that would change or end the server or the connection.
APART = frozenset("tile38cm hello command shutdown massinsert sleep monitor follow slaveof aof quit".split())


def functions(server: RealTile38) -> list[str]:
    """
    Names that may be commands, read out of the running program: its functions C{cmdSET}, C{cmdScriptLoad}.

    Tile38 has no command that lists its commands; Go's programs list their functions.
    """
    assert server.process is not None
    program = Path(f"/proc/{server.process.pid}/exe").read_bytes()
    found = {name.decode() for name in re.findall(rb"\(\*Server\)\.cmd([A-Za-z0-9]+)", program)}
    first_words = {words[0] for name in found if (words := re.findall("[A-Z][a-z]+", name))}
    return sorted({name.lower() for name in found | first_words})


class TableTests(SynchronousTestCase):
    """L{TABLE}"""

    def setUp(self) -> None:
        require("tile38")
        self.leader = RealTile38().start()
        self.addCleanup(self.leader.stop)
        self.follower = RealTile38().start()
        self.addCleanup(self.follower.stop)
        self.leader.command("SET", "k", "i", "STRING", "x")
        self.follower.command("FOLLOW", "127.0.0.1", self.leader.port)
        wait_for(lambda: self.follower.server().get("caught_up") == "true", "the follower to catch up")

    def raw(self, server: RealTile38, name: str) -> bytes:
        """The first reply to a complete command, as its bytes."""
        request = encode_request([name.encode(), *ARGUMENTS.get(name, "").encode().split()])
        with server.connect() as client:
            client._socket.sendall(request)
            return client._socket.recv(65536)

    def named(self, *classes: Class) -> list[str]:
        """The commands of these classes."""
        return [entry.command.name for entry in TABLE.values() if entry.command.class_ in classes]

    def test_writes(self) -> None:
        """A follower refuses each write because it does not lead, so the proxy knows it was not executed."""
        for name in self.named(Class.WRITE):
            reply = self.raw(self.follower, name)
            self.assertEqual(reply, b"-ERR not the leader\r\n", name)
            self.assertTrue(not_executed(reply))

    def test_writing_scripts(self) -> None:
        """A follower refuses the leader's scripts, but EVALNA it runs: only the table keeps that away."""
        for name in ("eval", "evalsha"):
            self.assertIn(b"not the leader", self.raw(self.follower, name), name)
        self.assertEqual(self.raw(self.follower, "evalna"), b":1\r\n")

    def test_reads(self) -> None:
        """A follower takes each command that needs no leader."""
        for name in self.named(Class.READ, Class.STATUS, Class.CONNECTION, Class.ADMINISTRATION):
            self.assertNotIn(b"not the leader", self.raw(self.follower, name), name)

    def test_known(self) -> None:
        """The server knows each command of the table but those of the proxy and those for development."""
        for entry in TABLE.values():
            name = entry.command.name
            if name in APART:
                continue
            self.assertNotIn(b"unknown command", self.raw(self.leader, name), name)

    def test_none_missing(self) -> None:
        """The table has each command that the server has a function for, and takes."""
        known = [
            name for name in functions(self.leader) if b"unknown command" not in self.raw(self.leader, name)
        ]
        self.assertGreater(len(known), 40, known)
        missing = [name for name in known if classify([name.encode()]).class_ is Class.UNKNOWN]
        self.assertEqual(missing, [])

    def test_repeatable(self) -> None:
        """Each write that may be repeated gives the same reply twice."""
        for entry in TABLE.values():
            command = entry.command
            if command.class_ is Class.WRITE and command.repeatable:
                first = self.raw(self.leader, command.name)
                self.assertEqual(self.raw(self.leader, command.name), first, command.name)
                self.assertEqual(first[:1], b"+", command.name)
