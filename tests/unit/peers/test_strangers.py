"""L{tile38cm.peers.accept} and L{tile38cm.peers.dial}: who is slow, silent or hostile."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tests.unit.peers.meeting import GreetingCase, Stranger
from tests.unit.peers.wires import End
from tile38cm.peers.accept import GREETING_TIMEOUT
from tile38cm.peers.connection import GREETING_BYTES, PeerConnection, PeerError
from tile38cm.peers.dial import DIAL_TIMEOUT
from tile38cm.peers.messages import (
    COMMAND,
    HEARTBEAT,
    HELLO,
)


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
