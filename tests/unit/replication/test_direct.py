"""L{tile38cm.replication.direct}: the blocking connection of tools."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.replication.minitile38 import MiniChannel, MiniTile38
from tile38cm.replication.direct import Direct
from tile38cm.tile38 import CatchingUp, Refused, Unreachable


class DirectTests(SynchronousTestCase):
    """One connection to a server in memory."""

    def setUp(self) -> None:
        self.server = MiniTile38()
        self.server.put("fleet", "truck", "{}", speed="90")

    def test_any_split(self) -> None:
        """A reply is the same however its bytes come."""
        for piece in range(1, 40):
            channel = MiniChannel(self.server, piece)
            with Direct(lambda channel=channel: channel, "mini") as direct:  # type: ignore[misc]
                self.assertEqual(
                    direct.ask("GET", "fleet", "truck", "WITHFIELDS"), [b"{}", [b"speed", b"90"]]
                )
            self.assertTrue(channel.closed)

    def test_many(self) -> None:
        """Replies to many commands come in their order, errors among them as values."""
        self.server.refuses[b"FSET"] = "ERR not the leader"
        commands = [[b"GET", b"fleet", b"%d" % n] for n in range(1500)]
        commands[700] = [b"FSET", b"fleet", b"truck", b"a", b"1"]
        commands[1400] = [b"GET", b"fleet", b"truck"]
        with self.server.direct() as direct:
            replies = list(direct.ask_each(commands))
        self.assertEqual(len(replies), 1500)
        self.assertIsInstance(replies[700], Refused)
        self.assertEqual(replies[1400], [b"{}", [b"speed", b"90"]])
        self.assertEqual([reply for n, reply in enumerate(replies) if n not in (700, 1400)], [None] * 1498)

    def test_password(self) -> None:
        """Each connection logs in before anything else is asked; a wrong password is an error."""
        self.server.password = "sesame"
        with self.server.direct() as direct, direct.again() as other:
            self.assertEqual([direct.ask("KEYS", "*"), other.ask("KEYS", "*")], [[b"fleet"], [b"fleet"]])
        direct = self.server.direct()
        self.server.password = "other"
        self.assertRaises(Refused, direct.ask, "KEYS", "*")

    def test_errors(self) -> None:
        """What a server says and what it does not say are told apart, and name the server."""
        self.server.refuses[b"KEYS"] = "ERR catching up to leader"
        self.assertRaises(CatchingUp, self.server.direct().ask, "KEYS", "*")

        def refuse() -> MiniChannel:
            raise ConnectionRefusedError("no")

        failure = self.assertRaises(Unreachable, Direct(refuse, "10.0.0.1:1").ask, "PING")
        self.assertIn("10.0.0.1:1", str(failure))

    def test_closed_under_way(self) -> None:
        """A connection that ends within a reply is an error, and the next question a new connection."""
        direct = self.server.direct()
        direct.ask("PING")
        self.assertRaises(Unreachable, direct._reply)
        self.assertEqual(direct.ask("PING"), b"PONG")

    def test_log_tail(self) -> None:
        """The last bytes of the log, all of it if it is shorter, none if the server refuses."""
        self.server.log = b"0123456789"
        with self.server.direct() as direct:
            self.assertEqual(direct.log_tail(4), b"6789")
            self.assertEqual(direct.log_tail(40), b"0123456789")
            self.server.offset = 14
            self.assertEqual(direct.log_tail(6), b"89")
            self.server.refuses[b"AOF"] = "ERR pos is too big, must be less that the aof_size of leader"
            self.assertEqual(direct.log_tail(6), b"")
