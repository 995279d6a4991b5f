"""L{tile38cm.replication.caller}: a connection that never ends so that a log is wiped."""

from __future__ import annotations

import socket
import struct

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tile38cm.replication.caller import LIFE, MAX_QUESTIONS, Caller, Callers
from tile38cm.wire.resp import encode_request

RESET, NO_RESET = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)


class Handle:
    """Takes socket options."""

    def __init__(self) -> None:
        self.options: dict[int, int | bytes] = {}

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        assert level == socket.SOL_SOCKET
        self.options[option] = value


class Transport(StringTransportWithDisconnection):
    """With the parts of a TCP transport that matter here."""

    def __init__(self) -> None:
        super().__init__()
        self.handle = Handle()
        self.aborted = self.half_closed = self.closed = False

    def getHandle(self) -> Handle:
        return self.handle

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def loseConnection(self) -> None:
        self.closed = not self.aborted
        super().loseConnection()

    def loseWriteConnection(self) -> None:
        self.half_closed = True


class Leader:
    """Writes down what it is told; answers when it is told to."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.questions: list[list[bytes]] = []
        self.ends: list[str] = []
        self.wait: Deferred[None] | None = None

    def came(self, caller: Caller) -> None:
        self.callers.append(caller)

    async def asked(self, caller: Caller, words: list[bytes]) -> None:
        self.questions.append(words)
        if self.wait is not None:
            await self.wait
        caller.answer(b"+%d\r\n" % len(self.questions))

    def gone(self, caller: Caller, reason: str) -> None:
        self.ends.append(reason)


class CallerTests(SynchronousTestCase):
    """One connection."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.leader = Leader()
        self.caller = Callers(self.clock, self.leader).buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.transport = Transport()
        self.transport.protocol = self.caller
        self.caller.makeConnection(self.transport)

    def test_interface(self) -> None:
        """It hears of each half by itself."""
        verifyObject(IHalfCloseableProtocol, self.caller)

    def test_protected_from_the_start(self) -> None:
        """From the accept on the kernel would reset it."""
        self.assertEqual(self.transport.handle.options[socket.SO_LINGER], RESET)

    def test_in_order(self) -> None:
        """A second question waits until the first is answered."""
        self.leader.wait = Deferred()
        self.caller.dataReceived(encode_request([b"server"]) + encode_request([b"quit"])[:5])
        self.caller.dataReceived(encode_request([b"quit"])[5:])
        self.assertEqual(self.leader.questions, [[b"server"]])
        wait, self.leader.wait = self.leader.wait, None
        wait.callback(None)
        self.assertEqual(self.leader.questions, [[b"server"], [b"quit"]])
        self.assertEqual(self.transport.value(), b"+1\r\n+2\r\n")

    def test_reset_only(self) -> None:
        """Rubbish, floods, idleness and the other's close all end in a reset, never a clean close."""
        for end in (
            lambda: self.caller.dataReceived(b"PING\r\n"),
            lambda: self.caller.dataReceived(b"*1\r\n:1\r\n"),
            lambda: self.caller.dataReceived(b"*0\r\n"),
            lambda: self.caller.dataReceived(b"*1\r\n$9999999\r\n" + b"x" * MAX_QUESTIONS),
            lambda: self.clock.advance(LIFE),
            lambda: self.caller.readConnectionLost(),
            lambda: self.caller.abort("enough"),
        ):
            self.setUp()
            end()
            self.assertTrue(self.transport.aborted)
            self.assertFalse(self.transport.closed)
            self.assertEqual(len(self.leader.ends), 1)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answer_after_the_end(self) -> None:
        """An answer that comes too late goes nowhere."""
        self.leader.wait = Deferred()
        self.caller.dataReceived(encode_request([b"server"]))
        self.caller.abort("enough")
        self.leader.wait.callback(None)
        self.assertEqual(self.transport.value(), b"")

    def test_stream(self) -> None:
        """As the stream it lives on, is no longer reset by the kernel, and takes no questions."""
        self.caller.begin_stream(b"+OK\r\n")
        self.assertEqual(self.transport.handle.options[socket.SO_LINGER], NO_RESET)
        self.clock.advance(LIFE * 10)
        self.assertFalse(self.transport.aborted)
        self.caller.end_stream()
        self.assertTrue(self.transport.half_closed)
        self.caller.dataReceived(b"x")
        self.assertTrue(self.transport.aborted)

    def test_failing_answer(self) -> None:
        """An error of ours is logged, and ends the connection by a reset."""
        self.leader.wait = Deferred()
        self.caller.dataReceived(encode_request([b"server"]))
        self.leader.wait.errback(ZeroDivisionError())
        self.assertTrue(self.transport.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
