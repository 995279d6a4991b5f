"""L{tile38cm.peers.accept} and L{tile38cm.peers.dial}: nodes that meet, strangers that do not get in."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from tests.unit.peers.meeting import REPORT, GreetingCase, Stranger, parsed, words
from tests.unit.peers.wires import SECRET, Way, identity
from tile38cm.peers.accept import PeerGreeter
from tile38cm.peers.connection import NotLeader, PeerError
from tile38cm.peers.messages import (
    COMMAND,
    HEARTBEAT,
    HELLO,
    POSITION,
    VERSION,
    proof,
)


class MeetingTests(GreetingCase):
    """Nodes of one cluster."""

    def test_secret(self) -> None:
        """Both know the secret: the purpose is served with its words, each knows the other's name."""
        conn = self.successResultOf(self.dial(1 << 20, b"x", b"y"))
        ((served, rest),) = self.served
        self.assertEqual((rest, served.peer, conn.peer), ([b"x", b"y"], "a", "b"))
        self.assertTrue(served.trusted and conn.trusted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_secret_is_not_said(self) -> None:
        """The secret itself is never sent."""
        said = b""
        _ = Deferred.fromCoroutine(self.dialer.dial(self.way, HEARTBEAT))
        (wire,) = self.way.wires
        for _ in range(3):
            said += wire.caller_end.value() + wire.listener_end.value()
            wire.move()
        self.assertIn(HEARTBEAT, said)
        self.assertNotIn(SECRET.encode(), said)

    def test_certificate(self) -> None:
        """With certificates nobody needs a secret."""
        self.meet(identity("a", service="w", secret=None), identity("b", service="w", secret=None), "w")
        self.successResultOf(self.dial())
        self.assertEqual(len(self.served), 1)

    def test_every_split(self) -> None:
        """Pieces of any size make the same conversation."""
        for piece in range(1, 120):
            self.served.clear()
            self.successResultOf(self.dial(piece, b"x"))
            self.assertEqual([rest for _, rest in self.served], [[b"x"]], piece)

    def test_position(self) -> None:
        """Where a member stands is asked on a connection of its own, which ends."""
        asked = Deferred.fromCoroutine(self.dialer.position(self.way, 1.0))
        self.way.move()
        self.assertEqual(self.successResultOf(asked), REPORT)
        self.assertTrue(self.way.wires[0].caller_end.aborted)

    def test_forward(self) -> None:
        """After the greeting the bytes are those of another protocol, and so is the end."""
        keeper = Keeper()
        asked = Deferred.fromCoroutine(self.dialer.forward(self.way, Factory.forProtocol(lambda: keeper)))
        self.way.move()
        self.assertIs(self.successResultOf(asked), keeper)
        keeper.transport.write(b"any\x00bytes*1\r\n")  # type: ignore[union-attr]  # it is connected
        self.way.move()
        self.assertEqual((keeper.data, keeper.lost), (b"any\x00bytes*1\r\n", 0))
        self.way.wires[0].lose()
        self.assertEqual(keeper.lost, 1)

    def test_forward_not_wanted(self) -> None:
        """Who has gone meanwhile gets no connection, and none stays."""
        factory = Factory()
        factory.buildProtocol = lambda addr: None  # type: ignore[method-assign]  # that is how a factory declines
        asked = Deferred.fromCoroutine(self.dialer.forward(self.way, factory))
        self.way.move()
        self.failureResultOf(asked, PeerError)
        self.assertTrue(self.way.wires[0].caller_end.aborted)

    def test_messages_behind_the_answer(self) -> None:
        """What comes in one piece with the answer is for whoever was given the connection."""
        conn = self.successResultOf(self.dial())
        asked = Deferred.fromCoroutine(self.dialer.reply(conn, 1.0))
        heard: list[list[bytes]] = []
        _ = asked.addCallback(lambda _: setattr(conn, "receive", heard.append))
        conn.dataReceived(words(b"first") + words(b"second", b"x"))
        self.assertEqual(heard, [[b"second", b"x"]])


class Keeper(Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.data, self.lost = b"", 0

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost += 1


class RefusalTests(GreetingCase):
    """Nodes that do not belong together."""

    def test_wrong_secret(self) -> None:
        """Who calls with another secret notices first, since the listener proves itself first."""
        self.meet(identity("a", secret="x"), identity("b"))
        self.assertEqual(self.refused(), "the peer does not know the cluster's secret")

    def test_caller_without_proof(self) -> None:
        """A caller that goes on without the secret is denied, and nothing is served."""
        greeting = Stranger(self.greeter)
        greeting.hello()
        greeting.say(COMMAND, POSITION, proof("x", b"dial", greeting.nonces, b"a"))
        self.assertTrue(greeting.denied())

    def test_own_proof_sent_back(self) -> None:
        """The listener's own proof proves nothing when the caller sends it back."""
        greeting = Stranger(self.greeter)
        theirs = greeting.hello(b"b")
        greeting.say(COMMAND, HEARTBEAT, theirs[4])
        self.assertTrue(greeting.denied())
        self.assertEqual(self.served, [])

    def test_denied_stays_denied(self) -> None:
        """What a caller says after it was denied is not heard any more, right as it may be."""
        greeting = Stranger(self.greeter)
        greeting.hello()
        right = proof(SECRET, b"dial", greeting.nonces, b"a")
        greeting.say(COMMAND, HEARTBEAT, b"wrong")
        greeting.say(COMMAND, HEARTBEAT, right)
        self.assertEqual(self.served, [])
        greeting = Stranger(self.greeter)
        greeting.say(COMMAND, HELLO, b"0", b"c", b"a", b"n")
        greeting.say(COMMAND, HELLO, b"%d" % VERSION, b"c", b"a", b"n")
        self.assertTrue(greeting.denied())
        self.assertEqual(len(parsed(greeting.end.value())), 1)

    def test_secret_not_known_yet(self) -> None:
        """A node that has not learnt the secret lets nobody in, and trusts nobody."""
        self.meet(identity("a"), identity("b", secret=None))
        self.assertIn("does not know the cluster's secret yet", self.refused())
        self.meet(identity("a", secret=None), identity("b"))
        self.assertEqual(self.refused(), "the peer does not know the cluster's secret")

    def test_wrong_certificate(self) -> None:
        """A certificate of another service, or none, is not enough, secret or no secret."""
        for shown in ("other", None):
            self.meet(identity("a", service="w"), identity("b", service="w"), shown)
            self.assertIn("its certificate is not of the service w", self.refused())

    def test_other_cluster(self) -> None:
        """A node of another cluster is told so."""
        self.meet(identity("a", cluster="d"), identity("b"))
        self.assertIn("another cluster", self.refused())

    def test_other_version(self) -> None:
        """A manager that speaks otherwise is told which versions met."""
        greeting = Stranger(self.greeter)
        greeting.say(COMMAND, HELLO, b"99", b"c", b"a", b"n")
        self.assertIn("99", str(parsed(greeting.end.value())[0]))
        self.assertTrue(greeting.denied())

    def test_unknown_purpose(self) -> None:
        """There is nothing but the purposes."""
        calling = Deferred.fromCoroutine(self.dialer.dial(self.way, b"SHUTDOWN"))
        _ = calling.addCallback(lambda conn: Deferred.fromCoroutine(self.dialer.reply(conn, 1.0)))
        self.way.move()
        self.assertIn("there is no", self.failureResultOf(calling, PeerError).getErrorMessage())

    def test_not_the_leader(self) -> None:
        """A refusal by a node that does not lead has its own type."""
        self.greeter = PeerGreeter(
            identity("b"), self.clock, {POSITION: lambda conn, _: conn.error("NOTLEADER not yet")}
        )
        self.way = Way(self.greeter)
        asked = Deferred.fromCoroutine(self.dialer.position(self.way, 1.0))
        self.way.move()
        self.failureResultOf(asked, NotLeader)

    def test_rubbish_for_a_report(self) -> None:
        """An answer that is no report is the peer's error."""
        self.greeter = PeerGreeter(
            identity("b"), self.clock, {POSITION: lambda conn, _: conn.send(POSITION, b"[]")}
        )
        self.way = Way(self.greeter)
        asked = Deferred.fromCoroutine(self.dialer.position(self.way, 1.0))
        self.way.move()
        self.failureResultOf(asked, PeerError)

    def test_more_than_the_purpose(self) -> None:
        """A purpose that listens to nothing ends a connection that says more."""
        greeting = Stranger(self.greeter)
        greeting.hello()
        greeting.say(COMMAND, POSITION, proof(SECRET, b"dial", greeting.nonces, b"a"))
        greeting.say(b"more")
        self.assertTrue(greeting.end.aborted)
