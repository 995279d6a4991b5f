"""L{tile38cm.sentinel.listener}: connections, subscriptions, and news of another leader."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.sentinel.scenes import Asking, scene
from tile38cm.sentinel.listener import MAX_CHANNELS, MAX_REQUEST, SentinelListener


class ListenerTests(SynchronousTestCase):
    """A sentinel and its clients."""

    def setUp(self) -> None:
        self.leader: str | None = "a"
        self.listener = SentinelListener(lambda: scene(self.leader), lambda args: args[1:] == [b"sesame"], 3)
        self.listener.look()

    def client(self) -> Asking:
        """A new one."""
        return Asking(self.listener)

    def lead(self, leader: str | None) -> None:
        """Another node leads."""
        self.leader = leader
        self.listener.look()

    # -- news

    def test_news(self) -> None:
        """Subscribers hear of another leader once, with both addresses; nobody else does."""
        hears, deaf = self.client(), self.client()
        self.assertEqual(hears.ask("SUBSCRIBE", "+switch-master"), [b"subscribe", b"+switch-master", 1])
        self.assertEqual(deaf.ask("SUBSCRIBE", "other"), [b"subscribe", b"other", 1])
        for _ in range(2):
            self.lead("c")
        text = b"tile38 10.0.0.1 7001 10.0.0.3 7001"
        self.assertEqual(hears.said(), [[b"message", b"+switch-master", text]])
        self.assertEqual(deaf.said(), [])

    def test_while_nobody_leads(self) -> None:
        """That is no news; nor is it that the same node leads again."""
        client = self.client()
        client.ask("SUBSCRIBE", "+switch-master")
        for leader in (None, "a", None):
            self.lead(leader)
        self.assertEqual(client.said(), [])
        self.lead("b")
        self.assertEqual(len(client.said()), 1)

    def test_patterns(self) -> None:
        """The same by a pattern."""
        client = self.client()
        self.assertEqual(
            client.tell("PSUBSCRIBE", "+switch*", "-*"),
            [[b"psubscribe", b"+switch*", 1], [b"psubscribe", b"-*", 2]],
        )
        self.lead("c")
        self.assertEqual(
            [words[:3] for words in client.said()], [[b"pmessage", b"+switch*", b"+switch-master"]]
        )

    def test_unsubscribe(self) -> None:
        """Each is confirmed; without a name all are left, and none is confirmed as none."""
        client = self.client()
        client.tell("SUBSCRIBE", "+switch-master", "x")
        self.assertEqual(client.ask("UNSUBSCRIBE", "x"), [b"unsubscribe", b"x", 1])
        self.assertEqual(client.ask("UNSUBSCRIBE"), [b"unsubscribe", b"+switch-master", 0])
        self.assertEqual(client.ask("UNSUBSCRIBE"), [b"unsubscribe", None, 0])
        self.assertEqual(client.ask("PUNSUBSCRIBE", "y"), [b"punsubscribe", b"y", 0])
        self.lead("c")
        self.assertEqual(client.said(), [])
        self.assertEqual(client.ask("PING"), b"PONG")

    def test_subscribed(self) -> None:
        """A subscriber may say what subscribers may, as RESP2 has it."""
        client = self.client()
        client.ask("SUBSCRIBE", "+switch-master")
        self.assertEqual(client.ask("PING"), [b"pong", b""])
        self.assertEqual(client.ask("PING", "x"), [b"pong", b"x"])
        self.assertIn("Can't execute", client.ask("SENTINEL", "masters"))
        self.assertEqual(client.ask("QUIT"), b"OK")
        self.lead("c")
        self.assertEqual(client.said(), [])

    def test_too_many_subscriptions(self) -> None:
        """They are bounded."""
        client = self.client()
        said = client.tell("SUBSCRIBE", *map(str, range(MAX_CHANNELS + 1)))
        self.assertEqual(len(said), MAX_CHANNELS + 1)
        self.assertIn("more than", said[-1])
        self.assertTrue(client.transport.disconnecting)
        self.assertIn("wrong number", self.client().ask("SUBSCRIBE"))

    # -- RESP3

    def test_resp3(self) -> None:
        """Whoever asks for it gets maps for records, and pushes."""
        client = self.client()
        greeting = client.ask("HELLO", "3", "SETNAME", "me")
        self.assertEqual((greeting[b"role"], greeting[b"mode"]), (b"sentinel", b"sentinel"))
        (master,) = client.ask("SENTINEL", "masters")
        self.assertEqual((master[b"name"], master[b"port"]), (b"tile38", b"7001"))
        self.assertIsNone(client.ask("SENTINEL", "get-master-addr-by-name", "other"))
        client.connection.dataReceived(b"SUBSCRIBE +switch-master\r\n")
        self.assertTrue(client.transport.value().startswith(b">3\r\n"))
        client.transport.clear()
        self.assertEqual(client.ask("PING"), b"PONG")
        self.lead("c")
        self.assertTrue(client.transport.value().startswith(b">3\r\n$7\r\nmessage"))

    def test_hello(self) -> None:
        """Without a version the one in use is told; others are refused."""
        client = self.client()
        self.assertEqual(client.ask("HELLO")[5], 2)
        self.assertTrue(client.ask("HELLO", "4").startswith("-NOPROTO"))
        self.assertTrue(client.ask("HELLO", "3", "AUTH", "default", "wrong").startswith("-WRONGPASS"))
        self.assertEqual(client.ask("HELLO", "3", "AUTH", "default", "sesame")[b"proto"], 3)

    # -- connections

    def test_auth(self) -> None:
        """Nobody has to log in; who tries hears whether it is right."""
        client = self.client()
        self.assertEqual(client.ask("AUTH", "sesame"), b"OK")
        self.assertTrue(client.ask("AUTH", "wrong").startswith("-WRONGPASS"))

    def test_pipelines_and_lines(self) -> None:
        """Requests may come together, in pieces, and as lines."""
        client = self.client()
        for byte in b"ping\r\n*1\r\n$4\r\nPING\r\nSENTINEL get-master-addr-by-name tile38\n":
            client.connection.dataReceived(bytes([byte]))
        self.assertEqual(client.said(), [b"PONG", b"PONG", [b"10.0.0.1", b"7001"]])

    def test_no_requests(self) -> None:
        """What is none is answered once, and the connection is closed."""
        for rubbish in (
            b"*x\r\n",
            b"$4 PING\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"*1\r\n$%d\r\n" % (MAX_REQUEST * 2),
        ):
            client = self.client()
            client.connection.dataReceived(rubbish + b"PING\r\n")
            (said,) = client.said()
            self.assertTrue(said.startswith("-"), rubbish)
            self.assertTrue(client.transport.disconnecting)
            client.connection.connectionLost()

    def test_too_many(self) -> None:
        """Connections are bounded; a place that is left is free again."""
        clients = [self.client() for _ in range(3)]
        self.assertIsNone(self.listener.buildProtocol(None))
        clients[0].connection.connectionLost()
        self.client()

    def test_slow_client(self) -> None:
        """Who does not take replies is not read from, and goes on where it was."""
        client = self.client()
        client.connection.pauseProducing()
        self.assertEqual((client.tell("PING"), client.transport.producerState), ([], "paused"))
        client.connection.resumeProducing()
        self.assertEqual((client.said(), client.transport.producerState), ([b"PONG"], "producing"))

    def test_stop(self) -> None:
        """All connections end with the listener."""
        client = self.client()
        self.listener.stop()
        self.assertTrue(client.transport.aborted)
