"""L{tile38cm.peers.connection}: one conversation as a protocol."""

from __future__ import annotations

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from tests.unit.peers.meeting import words
from tests.unit.peers.wires import End
from tile38cm.peers.connection import FAREWELL_TIMEOUT, PeerConnection
from tile38cm.peers.messages import (
    BadMessage,
)


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
