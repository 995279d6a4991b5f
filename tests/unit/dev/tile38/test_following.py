"""One embedded node follows another, in memory."""

from __future__ import annotations

from tests.unit.dev.tile38.bench import NodeCase


class FollowingTests(NodeCase):
    """A leader and a follower."""

    def setUp(self) -> None:
        super().setUp()
        self.follower = self.another(9852, self.reactor)
        self.other = self.follower.session()

    def follow(self) -> None:
        """Have it followed, and all said."""
        self.other("FOLLOW 127.0.0.1 9851")
        self.joined(self.memory, self.follower)
        self.assertEqual(self.other.read(), b"+OK\r\n")

    def test_follows(self) -> None:
        """It has the leader's objects and log, says so, and takes no writes."""
        self.ask("SET k i STRING x")
        self.follow()
        self.assertEqual((self.other("GET k i"), self.other("HEALTHZ")), ("x", "OK"))
        self.ask("SET k j STRING y")
        self.joined(self.memory, self.follower)
        self.assertEqual(self.other("GET k j"), "y")
        self.assertEqual(self.follower.log(), self.memory.log())
        self.assertEqual(self.other("SET k i STRING z"), "-ERR not the leader")
        size = len(self.memory.log())
        self.assertEqual(self.other("ROLE"), ["slave", "127.0.0.1", 9851, "connected", size])
        self.assertIn("port=9852,state=online", self.ask("INFO replication"))
        self.assertEqual(self.other("FOLLOW no one"), "OK")
        self.assertEqual(self.other("SET k i STRING z"), "OK")

    def test_messages(self) -> None:
        """What is published at the leader is heard at the follower, and is in no log."""
        self.follow()
        listener = self.follower.session()
        listener("SUBSCRIBE c")
        self.ask("PUBLISH c hello")
        self.joined(self.memory, self.follower)
        self.assertIn(b"hello", listener.read())
        self.assertEqual(self.follower.log(), b"")

    def test_refused(self) -> None:
        """Neither itself nor a follower is followed."""
        self.follow()
        self.ask("FOLLOW 127.0.0.1 9852")
        clients = self.reactor.tcpClients
        self.assertEqual(len(clients), 1)
        self.joined(self.follower, self.memory)
        self.assertEqual(self.ask.read(), b"-ERR cannot follow a follower\r\n")

    def test_never_caught_up(self) -> None:
        """Started without its leader, it tells nothing of its data."""
        self.ask("SET k i STRING x")
        self.follow()
        again = self.follower.again()
        again.following.change()
        session = again.session()
        self.assertEqual(session("GET k i"), "-ERR catching up to leader")
        self.assertEqual(session("HEALTHZ"), "-ERR catching up to leader")
        self.assertEqual(session("STATS k")[0][3], "1")
        self.follower = again

    def test_other_log(self) -> None:
        """A long log that the leader does not know is emptied; of one that it knows, what is too much."""
        value = "x" * 4000
        for number in range(300):
            self.ask(f"SET k i{number} STRING {value}")
        self.follow()
        self.assertEqual(self.follower.log(), self.memory.log())
        self.other("FOLLOW no one")
        self.other("SET k extra STRING x")
        self.follow()
        self.assertEqual(self.follower.log(), self.memory.log())
        self.assertIsNone(self.other("GET k extra"))
