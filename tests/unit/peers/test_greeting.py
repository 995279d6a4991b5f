"""L{tile38cm.peers.accept} and L{tile38cm.peers.dial}: nodes that meet, strangers that do not get in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from tests.unit.peers.wires import SECRET, End, Way, identity
from tile38cm.coordination.survey import Report
from tile38cm.model import Position
from tile38cm.peers.accept import GREETING_TIMEOUT, Identity, PeerGreeter
from tile38cm.peers.connection import FAREWELL_TIMEOUT, GREETING_BYTES, NotLeader, PeerConnection, PeerError
from tile38cm.peers.dial import DIAL_TIMEOUT, PeerDialer
from tile38cm.peers.messages import (
    COMMAND,
    FORWARD,
    HEARTBEAT,
    HELLO,
    POSITION,
    VERSION,
    BadMessage,
    proof,
    report_words,
)

REPORT = Report("b", Position(3, 9), 3, bound=True, priority=-1)


def words(*given: bytes) -> bytes:
    """A message as it is sent."""
    return b"*%d\r\n" % len(given) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in given)


def parsed(data: bytes) -> list[Any]:
    """All messages in some bytes."""
    reader, found = hiredis.Reader(), []
    reader.feed(data)
    while (message := reader.gets()) is not False:
        found.append(message)
    return found


class GreetingCase(SynchronousTestCase):
    """C{a} calls C{b}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.served: list[tuple[PeerConnection, list[bytes]]] = []
        self.meet(identity("a"), identity("b"))

    def meet(self, caller: Identity, listener: Identity, shown: str | None = None) -> None:
        """Two nodes that are told who they are, and what the caller's certificate says."""
        purposes = {HEARTBEAT: self.serve, POSITION: self.tell, FORWARD: self.forward}
        self.greeter = PeerGreeter(listener, self.clock, purposes)
        self.dialer = PeerDialer(caller, self.clock)
        self.way = Way(self.greeter, shown)

    def serve(self, conn: PeerConnection, rest: Sequence[bytes]) -> None:
        """A purpose that keeps the connection."""
        self.served.append((conn, list(rest)))

    def tell(self, conn: PeerConnection, rest: Sequence[bytes]) -> None:
        """A purpose that answers."""
        conn.send(*report_words(REPORT))

    def forward(self, conn: PeerConnection, rest: Sequence[bytes]) -> None:
        """A purpose that turns into another protocol, an echo."""
        conn.send(b"OK")
        echo = Echo()
        conn.become(echo)
        echo.makeConnection(conn.transport)

    def dial(self, piece: int = 1 << 20, *rest: bytes) -> Deferred[PeerConnection]:
        """One call with all bytes carried."""
        calling = Deferred.fromCoroutine(self.dialer.dial(self.way, HEARTBEAT, *rest))
        self.way.move(piece)
        return calling

    def refused(self) -> str:
        """A call that fails before or with the first answer; why."""
        calling = Deferred.fromCoroutine(self.dialer.position(self.way, 1.0))
        self.way.move()
        failure = self.failureResultOf(calling, PeerError)
        self.assertEqual((self.served, self.way.wires[-1].ended), ([], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return str(failure.value)


class Echo(Protocol):
    """Says again what it hears."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


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


class Stranger:
    """A connection to a greeter, word by word."""

    def __init__(self, greeter: PeerGreeter) -> None:
        self.end = End()
        self.conn: PeerConnection | None = None
        self.nonces = (b"n", b"")
        self._greeter = greeter

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        if self.conn is None:
            self.conn = self._greeter.accept(self.end, None, data)
        else:
            self.conn.dataReceived(data)

    def say(self, *given: bytes) -> None:
        """Send a message."""
        self.raw(words(*given))

    def hello(self, member: bytes = b"a") -> list[bytes]:
        """Begin as a node of the cluster does; the answer."""
        self.say(COMMAND, HELLO, b"%d" % VERSION, b"c", member, self.nonces[0])
        (answer,) = parsed(self.end.taken())
        self.nonces = (self.nonces[0], answer[3])
        return list(answer)

    def denied(self) -> bool:
        """Whether the last answer was a refusal, and the end."""
        last = parsed(self.end.value())[-1]
        return isinstance(last, hiredis.ReplyError) and "DENIED" in str(last) and self.end.disconnecting


class TimeTests(GreetingCase):
    """Whoever is slow, or silent."""

    def test_slow_greeting(self) -> None:
        """A caller that does not say what it wants is cut in time, in either half of the greeting."""
        for begin in (lambda s: s.raw(b"*6\r\n"), lambda s: s.hello()):
            greeting = Stranger(self.greeter)
            begin(greeting)
            self.clock.advance(GREETING_TIMEOUT - 0.1)
            self.assertFalse(greeting.end.aborted)
            self.clock.advance(0.2)
            self.assertTrue(greeting.end.aborted)

    def test_served_is_not_cut(self) -> None:
        """Once served, a connection lives as long as it likes."""
        self.successResultOf(self.dial())
        self.clock.advance(10 * GREETING_TIMEOUT)
        self.assertFalse(self.way.wires[0].listener_end.disconnecting)

    def test_gone(self) -> None:
        """A caller that goes leaves no timer behind."""
        greeting = Stranger(self.greeter)
        greeting.raw(b"*6\r\n")
        assert greeting.conn is not None
        greeting.conn.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_node(self) -> None:
        """A node that stops ends what is being greeted, and no timer stays; what is served is not its."""
        self.successResultOf(self.dial())
        greeting = Stranger(self.greeter)
        greeting.raw(b"*6\r\n")
        self.greeter.close()
        self.assertEqual((greeting.end.aborted, self.way.wires[0].listener_end.aborted), (True, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_frozen_endpoint(self) -> None:
        """A peer that cannot be connected to in time is given up."""
        self.way.frozen = True
        calling = self.dial()
        self.clock.advance(DIAL_TIMEOUT - 0.1)
        self.assertNoResult(calling)
        self.clock.advance(0.2)
        self.failureResultOf(calling, PeerError)
        self.assertEqual(self.way.given_up, 1)

    def test_frozen_peer(self) -> None:
        """A peer that accepts and says nothing is given up, and cut."""
        calling = Deferred.fromCoroutine(self.dialer.dial(self.way, HEARTBEAT))
        self.clock.advance(DIAL_TIMEOUT + 0.1)
        self.failureResultOf(calling, PeerError)
        self.assertTrue(self.way.wires[0].caller_end.aborted)

    def test_no_reply(self) -> None:
        """A purpose that is not answered in time is given up, and cut."""
        conn = self.successResultOf(self.dial())
        asked = Deferred.fromCoroutine(self.dialer.reply(conn, 0.5))
        self.clock.advance(0.6)
        self.failureResultOf(asked, PeerError)
        self.assertTrue(self.way.wires[0].caller_end.aborted)

    def test_refused_endpoint(self) -> None:
        """Whatever an endpoint fails with is told as the peer's absence."""
        self.way.refusing = True
        self.failureResultOf(self.dial(), PeerError)

    def test_lost_while_greeting(self) -> None:
        """A connection that breaks in the middle fails the call at once."""
        calling = Deferred.fromCoroutine(self.dialer.dial(self.way, HEARTBEAT))
        self.way.wires[0].lose()
        self.failureResultOf(calling, PeerError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """A call that is cancelled leaves neither connection nor timer, wherever it was."""
        for frozen in (True, False):
            self.way.frozen = frozen
            calling = Deferred.fromCoroutine(self.dialer.dial(self.way, HEARTBEAT))
            calling.cancel()
            self.failureResultOf(calling, CancelledError)
        self.assertEqual((self.way.given_up, self.way.wires[0].caller_end.aborted), (1, True))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class HostileTests(GreetingCase):
    """Bytes of strangers."""

    def test_too_much(self) -> None:
        """A greeting has a size."""
        greeting = Stranger(self.greeter)
        greeting.raw(b"*6\r\n$100000\r\n")
        for _ in range(GREETING_BYTES // 512):
            greeting.raw(b"x" * 512)
        self.assertTrue(greeting.end.aborted)

    def test_hostile_listener(self) -> None:
        """Nor may the one that is called send without end before it has proven itself."""
        calling = Deferred.fromCoroutine(self.dialer.dial(self.way, HEARTBEAT))
        (wire,) = self.way.wires
        wire.caller.dataReceived(b"*5\r\n$100000\r\n" + b"x" * GREETING_BYTES)
        self.failureResultOf(calling, PeerError)
        self.assertTrue(wire.caller_end.aborted)

    def test_large_announcements(self) -> None:
        """A few bytes that announce gigabytes of words are refused before room is made for them."""
        for head in (b"*4294967295\r\n", b"*200000000\r\n", b"~4000000000\r\n", b"%1\r\n*0\r\n+a\r\n"):
            greeting = Stranger(self.greeter)
            greeting.raw(head)
            self.assertTrue(greeting.end.aborted, head)
            nested = Stranger(self.greeter)
            nested.raw(b"*2\r\n" + head)
            self.assertTrue(nested.end.aborted, head)

    def test_announcements_in_pieces(self) -> None:
        """The same if it comes byte by byte."""
        greeting = Stranger(self.greeter)
        for byte in b"*200000000\r\n":
            greeting.raw(bytes([byte]))
        self.assertTrue(greeting.end.aborted)

    def test_trusted_rubbish(self) -> None:
        """A peer that was greeted and goes mad is cut; nothing is raised to the reactor."""
        for head in (b"%1\r\n*0\r\n+a\r\n", b":5\r\n", b"*0\r\n", b"*1\r\n*1\r\n+a\r\n"):
            conn = PeerConnection(Clock())
            end = End()
            conn.makeConnection(end)
            conn.trusted = True
            reasons: list[str] = []
            conn.lost = reasons.append
            conn.dataReceived(head)
            conn.dataReceived(b"more")
            self.assertEqual((end.aborted, len(reasons)), (True, 1), head)

    @settings(deadline=None)
    @given(
        st.lists(st.binary(max_size=30) | st.sampled_from([b"*2\r\n", b"$1\r\na\r\n", b"$3\r\n", b"-x\r\n"]))
    )
    def test_fuzz(self, pieces: list[bytes]) -> None:
        """Whatever a stranger sends, nothing is raised, nothing is served, and time ends it."""
        self.setUp()
        greeting = Stranger(self.greeter)
        for piece in pieces:
            greeting.raw(piece)
        self.clock.advance(GREETING_TIMEOUT)
        self.assertTrue(greeting.end.disconnecting or not pieces)
        self.assertEqual((self.served, self.clock.getDelayedCalls()), ([], []))

    @settings(deadline=None)
    @given(
        st.lists(
            st.lists(
                st.sampled_from([COMMAND, HELLO, b"1", b"c", b"a", b"", HEARTBEAT, b"\xff"]), max_size=6
            ),
            max_size=4,
        )
    )
    def test_fuzz_words(self, messages: list[list[bytes]]) -> None:
        """The same with the right words in the wrong places, after a right beginning."""
        self.setUp()
        greeting = Stranger(self.greeter)
        greeting.hello()
        for message in messages:
            greeting.raw(
                b"*%d\r\n" % len(message) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in message)
            )
        self.clock.advance(GREETING_TIMEOUT)
        self.assertTrue(greeting.end.disconnecting)
        self.assertEqual(self.served, [])

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_fuzz_dialer(self, data: bytes) -> None:
        """Whatever a listener answers, a call ends, with an error of its own kind."""
        self.setUp()
        calling = Deferred.fromCoroutine(self.dialer.dial(self.way, HEARTBEAT))
        self.way.wires[0].caller.dataReceived(data)
        self.clock.advance(DIAL_TIMEOUT + 0.1)
        self.failureResultOf(calling, PeerError)
        self.assertTrue(self.way.wires[0].caller_end.aborted)


class ConnectionTests(SynchronousTestCase):
    """One conversation as a protocol."""

    def setUp(self) -> None:
        self.conn, self.end = PeerConnection(Clock()), End()
        self.conn.makeConnection(self.end)
        self.conn.trusted = True
        self.reasons: list[str] = []
        self.conn.lost = self.reasons.append

    def test_small_messages_go_at_once(self) -> None:
        """TCP does not keep an acknowledgement back until the one before it was confirmed."""
        end = End()
        told: list[bool] = []
        end.setTcpNoDelay = told.append  # type: ignore[attr-defined]  # what a socket has
        alsoProvides(end, ITCPTransport)
        PeerConnection(Clock()).makeConnection(end)
        self.assertEqual(told, [True])

    def test_lost_once(self) -> None:
        """The end is told once, with the first reason."""
        self.conn.close("first")
        self.conn.close("second")
        self.conn.connectionLost()
        self.assertEqual(self.reasons, ["first"])

    def test_nothing_after_the_end(self) -> None:
        """An ended connection neither says nor hears anything."""
        heard: list[list[bytes]] = []
        self.conn.receive = heard.append
        self.conn.close("enough")
        self.conn.send(b"x")
        self.conn.error("x")
        self.conn.pause(True)
        self.conn.dataReceived(words(b"x"))
        self.assertEqual((self.end.value(), heard, self.end.producerState), (b"", [], "producing"))

    def test_close_within_a_message(self) -> None:
        """Who closes while it hears a message does not hear those that came with it."""
        heard: list[list[bytes]] = []

        def receive(message: list[bytes]) -> None:
            heard.append(message)
            self.conn.close("enough")

        self.conn.receive = receive
        self.conn.dataReceived(words(b"x") + words(b"y"))
        self.assertEqual(heard, [[b"x"]])

    def test_finish(self) -> None:
        """A finished connection sends what it said, and tells nobody that it ended."""
        self.conn.send(b"bye")
        self.conn.finish()
        self.conn.connectionLost()
        self.assertEqual((self.end.value(), self.end.aborted, self.reasons), (words(b"bye"), False, []))
        self.assertTrue(self.end.disconnecting)

    def test_pause(self) -> None:
        """Reading stops and goes on."""
        self.conn.pause(True)
        self.assertEqual(self.end.producerState, "paused")
        self.conn.pause(False)
        self.assertEqual(self.end.producerState, "producing")

    def test_bad_message(self) -> None:
        """What a listener calls bad ends the connection with its reason."""

        def receive(message: list[bytes]) -> None:
            raise BadMessage("not now")

        self.conn.receive = receive
        self.conn.dataReceived(words(b"x"))
        self.assertEqual(self.reasons, ["the peer sent rubbish: not now"])
        self.assertTrue(self.end.aborted)

    def test_error_reply(self) -> None:
        """An error line is a message of one word."""
        heard: list[list[bytes]] = []
        self.conn.receive = heard.append
        self.conn.dataReceived(b"-NOTLEADER no\r\n")
        self.assertEqual(heard, [[b"-NOTLEADER no"]])

    def test_farewell(self) -> None:
        """A peer that never closes its side, as TLS waits for, is cut off in the end."""
        for say_last in (lambda conn: conn.error("WAIT"), lambda conn: conn.finish()):
            clock, end = Clock(), End()
            conn = PeerConnection(clock)
            conn.makeConnection(end)
            say_last(conn)
            clock.advance(FAREWELL_TIMEOUT - 0.1)
            self.assertEqual((end.disconnecting, end.aborted), (True, False))
            clock.advance(0.1)
            self.assertTrue(end.aborted)

    def test_farewell_in_time(self) -> None:
        """Nothing is left of a close that went well."""
        clock = Clock()
        conn = PeerConnection(clock)
        conn.makeConnection(End())
        conn.error("WAIT")
        conn.connectionLost()
        self.assertEqual(clock.getDelayedCalls(), [])
