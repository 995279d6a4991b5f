"""L{tile38cm.replication.messages}: what is published is heard whole, whatever becomes of connections."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.local38 import LocalWay
from tests.unit.replication.minitile38 import command
from tile38cm.replication.messages import Messages
from tile38cm.settings import Secret


class MessagesTests(SynchronousTestCase):
    """A server in memory"""

    def setUp(self) -> None:
        self.way = LocalWay()
        self.heard: list[bytes] = []
        self.messages = Messages(self.way.client, self.way.clock, self.heard.append)
        self.addCleanup(self.messages.stop)

    def start(self) -> None:
        """Begin, and let it settle."""
        self.messages.start()
        self.way.settle()

    def publish(self, text: bytes) -> None:
        """On the server."""
        self.way.server.publish(b"news", text)
        self.way.settle()

    def test_heard(self) -> None:
        """Each message is the C{PUBLISH} that says the same, byte for byte."""
        self.assertFalse(self.messages.subscribed)
        self.start()
        self.assertTrue(self.messages.subscribed)
        self.publish(b"one")
        self.publish(b"\x00\r\n$5")
        self.assertEqual(
            b"".join(self.heard), command("PUBLISH", "news", "one") + command("PUBLISH", "news", "\x00\r\n$5")
        )

    def test_pieces(self) -> None:
        """A message may come in any pieces."""
        self.start()
        said = b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nk\r\n$2\r\nab\r\n"
        (talk,) = self.way.server.talks
        for cut in range(len(said)):
            for piece in filter(None, (said[:cut], said[cut:])):
                talk.say(piece)
                self.way.settle()
        self.assertEqual(b"".join(self.heard), command("PUBLISH", "k", "ab") * len(said))

    def test_password(self) -> None:
        """It logs in first."""
        self.way.server.password = "secret"
        self.way.client.password = Secret("secret")
        self.start()
        self.publish(b"one")
        self.assertEqual(self.way.asked, [b"AUTH", b"PSUBSCRIBE"])
        self.assertEqual(len(self.heard), 1)

    def test_refused(self) -> None:
        """A server that does not let it subscribe is asked again, in peace; that is said once."""
        self.way.server.refuses[b"PSUBSCRIBE"] = "ERR not now"
        self.start()
        self.way.wait(1)
        self.assertLess(len(self.way.asked), 15)
        self.way.server.refuses.clear()
        self.way.wait(1)
        self.publish(b"one")
        self.assertEqual(len(self.heard), 1)

    def test_nobody_there(self) -> None:
        """A server that is away, or goes away, is found when it is there."""
        self.way.refusing = True
        self.start()
        self.way.refusing = False
        self.way.wait(1)
        self.publish(b"one")
        self.way.server.cut()
        self.assertFalse(self.messages.subscribed)
        self.publish(b"lost")
        self.way.wait(1)
        self.publish(b"two")
        self.assertEqual(len(self.heard), 2)

    def test_rubbish(self) -> None:
        """What is no RESP ends the connection, and another one is made."""
        self.start()
        (talk,) = self.way.server.talks
        talk.say(b"HTTP/1.1 500\r\n")
        self.way.wait(1)
        self.assertTrue(talk.aborted)
        self.publish(b"one")
        self.assertEqual(len(self.heard), 1)

    def test_stopped(self) -> None:
        """Nothing is heard any more, and nothing is left; it can be started again."""
        self.start()
        self.messages.stop()
        self.messages.stop()
        self.assertFalse(self.messages.subscribed)
        self.publish(b"one")
        self.assertEqual((self.heard, self.way.clock.getDelayedCalls()), ([], []))
        self.start()
        self.publish(b"two")
        self.assertEqual(len(self.heard), 1)

    def test_stopped_while_it_tries(self) -> None:
        """No try follows."""
        self.way.refusing = True
        self.start()
        self.messages.stop()
        self.assertEqual(self.way.clock.getDelayedCalls(), [])
