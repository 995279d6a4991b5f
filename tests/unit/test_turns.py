"""A hastened reactor does what Twisted's does, with less around it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import cast

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection, Server
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.turns import COMPANY, LOOK, MOST, SHORT_WAITS, Turns, hasten, later, soon


class Recorder(Protocol):
    """Keeps what it gets, and does what it is told to on that."""

    def __init__(self, on_data: Callable[[bytes], None] = lambda data: None) -> None:
        self.data = b""
        self.lost: type[BaseException] | None = None
        self._on_data = on_data

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._on_data(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.lost = reason.type


def accepted(ours: socket.socket, protocol: Protocol, reactor: EPollReactor) -> Connection:
    """A connection such as a port makes."""
    return Server(ours, protocol, ("127.0.0.1", 1), None, 0, reactor)  # type: ignore[arg-type]  # no port


class ReactorTests(SynchronousTestCase):
    """A hastened reactor, with connections that are read here"""

    @staticmethod
    def kind(ours: socket.socket, protocol: Protocol, reactor: EPollReactor) -> Connection:
        return accepted(ours, protocol, reactor)

    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.addCleanup(self.release)
        hasten(self.reactor)

    def release(self) -> None:
        """The descriptors that the reactor itself has."""
        for descriptor in self.reactor.removeAll():
            descriptor.connectionLost(Failure(ConnectionDone()))
        self.reactor._poller.close()
        self.reactor.waker.connectionLost(Failure(ConnectionDone()))

    def connection(self, protocol: Protocol) -> tuple[Connection, socket.socket]:
        """A connection of the reactor, and its other end."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        return self.connect(protocol, ours), theirs

    def connect(self, protocol: Protocol, ours: socket.socket) -> Connection:
        """Give a protocol its connection."""
        ours.setblocking(False)
        connection = self.kind(ours, protocol, self.reactor)
        protocol.makeConnection(connection)
        connection.startReading()
        return connection

    def tcp_pair(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection that can be reset, and filled; the second waits 5 s at most."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.create_connection(listener.getsockname(), timeout=5)
            self.addCleanup(theirs.close)
            ours, _ = listener.accept()
        return ours, theirs

    def ends(self, protocol: Recorder) -> None:
        """The other end sends its last bytes and closes: first they come, then the loss."""
        _, theirs = self.connection(protocol)
        theirs.sendall(b"last")
        theirs.close()
        self.turn()
        self.turn()
        self.assertEqual((protocol.data, protocol.lost), (b"last", ConnectionDone))

    def turn(self) -> None:
        """One turn that waits for nothing."""
        self.reactor.doIteration(0)


class TurnTests(ReactorTests):
    """L{hasten}"""

    def test_read(self) -> None:
        """Bytes reach their protocol, in one turn for all that have some."""
        first, second = Recorder(), Recorder()
        ends = [self.connection(protocol)[1] for protocol in (first, second)]
        self.turn()
        for end in ends:
            end.sendall(b"hello")
        self.turn()
        self.assertEqual((first.data, second.data), (b"hello", b"hello"))

    def test_write(self) -> None:
        """What was written is sent in the next turn, while bytes come in too."""
        protocol = Recorder()
        connection, theirs = self.connection(protocol)
        theirs.sendall(b"there")
        connection.write(b"here")
        self.turn()
        self.assertEqual((theirs.recv(9), protocol.data), (b"here", b"there"))

    def test_end(self) -> None:
        """The other end closes: its last bytes come first, then the loss."""
        protocol = Recorder()
        self.ends(protocol)
        self.assertEqual(self.reactor.getReaders().count(protocol.transport), 0)

    def test_reset(self) -> None:
        """A connection that is not read any more and ends is lost, too."""
        protocol = Recorder()
        connection, theirs = self.connection(protocol)
        connection.stopReading()
        connection.startWriting()
        theirs.close()
        self.turn()
        self.assertIs(protocol.lost, ConnectionLost)

    def test_broken_protocol(self) -> None:
        """What fails with its bytes loses its connection, with a word in the log; others go on."""

        def fail(data: bytes) -> None:
            raise RuntimeError("a mistake")

        broken, whole = Recorder(fail), Recorder()
        ends = [self.connection(protocol)[1] for protocol in (broken, whole)]
        for end in ends:
            end.sendall(b"x")
        self.turn()
        self.assertEqual((broken.lost, whole.lost, whole.data), (RuntimeError, None, b"x"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_closed_in_the_same_turn(self) -> None:
        """Whoever is closed by what another one got gets nothing any more."""
        pair: list[Recorder] = []

        def close_the_other(data: bytes) -> None:
            for other in pair:
                if not other.data:
                    cast(Connection, other.transport).connectionLost(Failure(ConnectionDone()))

        pair += [Recorder(close_the_other), Recorder(close_the_other)]
        for protocol in pair:
            self.connection(protocol)[1].sendall(b"x")
        self.turn()
        self.assertEqual(sorted(protocol.data for protocol in pair), [b"", b"x"])

    def test_end_of_turn(self) -> None:
        """What is to be done soon is done once, when all events of the turn are dealt with."""
        done: list[str] = []
        at_end = soon(self.reactor)

        def note(data: bytes) -> None:
            done.append("data")
            at_end(lambda: done.append("end"))

        for protocol in (Recorder(note), Recorder(note)):
            self.connection(protocol)[1].sendall(b"x")
        self.turn()
        self.assertEqual(done, ["data", "data", "end", "end"])
        self.turn()
        self.assertEqual(len(done), 4)

    def test_company(self) -> None:
        """What may be done later waits while there is something to read, for so many turns, and no longer."""
        done: list[str] = []
        reads: list[int] = []

        def note(data: bytes) -> None:
            reads.append(len(done))
            theirs.sendall(b"x")

        _, theirs = self.connection(Recorder(note))
        theirs.sendall(b"x")
        later(self.reactor)(lambda: done.append("later"))
        for _ in range(COMPANY + 1):
            self.turn()
        self.assertEqual((reads, done), ([0] * (COMPANY + 1), ["later"]))
        later(self.reactor)(lambda: done.append("again"))
        self.turn()
        self.assertEqual(done, ["later"])

    def test_no_company(self) -> None:
        """The reactor does not sleep on what may be done later, and does it when nothing came."""
        done: list[str] = []
        later(self.reactor)(lambda: done.append("later"))
        self.reactor.doIteration(60)
        self.assertEqual(done, ["later"])

    def test_one_after_the_other(self) -> None:
        """While bytes come, turn follows turn; a call that is due, or one of a thread, ends that."""
        turns: list[int] = []

        def answer(data: bytes) -> None:
            turns.append(len(turns))
            if len(turns) == 3:
                self.reactor.callLater(0, lambda: None)
            if len(turns) == 5:
                self.reactor.callFromThread(lambda: None)
            theirs.sendall(b"x")

        _, theirs = self.connection(Recorder(answer))
        theirs.sendall(b"x")
        self.reactor.doIteration(1)
        self.assertEqual(len(turns), 3)
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(1)
        self.assertEqual(len(turns), 5)
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(1)
        self.assertEqual(len(turns), 5 + MOST)

    def turns_with(self, end: Callable[[], None]) -> int:
        """How many turns there are where each brings bytes and the second ends them."""
        turns: list[int] = []

        def answer(data: bytes) -> None:
            turns.append(1)
            if len(turns) == 2:
                end()
            theirs.sendall(b"x")

        _, theirs = self.connection(Recorder(answer))
        theirs.sendall(b"x")
        self.reactor.doIteration(1)
        return len(turns)

    def test_stopped(self) -> None:
        """A reactor that is stopped gets to know it."""
        self.reactor._stopped = False
        self.assertEqual(self.turns_with(self.reactor.stop), 2)

    def test_crashed(self) -> None:
        """One that is left without a farewell does not wait for anything more."""
        self.reactor._started = True
        self.assertEqual(self.turns_with(self.reactor.crash), 2)

    def test_between_turns(self) -> None:
        """What is asked for between two turns is done before the next one waits."""
        done: list[str] = []
        soon(self.reactor)(lambda: done.append("end"))
        self.turn()
        self.assertEqual(done, ["end"])

    def test_broken_end(self) -> None:
        """What fails at the end of a turn keeps nothing else from being done."""
        done: list[str] = []
        at_end = soon(self.reactor)
        at_end(lambda: done.append(str(1 / 0)))
        at_end(lambda: done.append("end"))
        self.turn()
        self.assertEqual((done, len(self.flushLoggedErrors(ZeroDivisionError))), (["end"], 1))

    def test_clock(self) -> None:
        """With a reactor of another kind it is a delayed call."""
        done: list[str] = []
        clock = Clock()
        soon(clock)(lambda: done.append("end"))
        later(clock)(lambda: done.append("later"))
        self.assertEqual(done, [])
        clock.advance(0)
        self.assertEqual(done, ["end", "later"])

    def test_other_reactors(self) -> None:
        """A reactor of another kind stays as it is."""
        other = object()
        hasten(other)
        self.assertFalse(hasattr(other, "doIteration"))


class Events:
    """Stands for the kernel's queue: each time so many events come so many seconds after the last ones."""

    def __init__(self, *waits: float, together: int = 1) -> None:
        self.now = 0.0
        self.asked: list[float] = []
        self._waits = list(waits)
        self._together = together
        self._due = self._waits.pop(0)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """Takes ten microseconds at least."""
        self.asked.append(timeout)
        self.now += 10e-6
        if timeout:
            self.now = max(self.now, self._due if timeout < 0 else min(self._due, self.now + timeout))
        if self.now < self._due:
            return []
        self._due = self.now + self._waits.pop(0) if self._waits else float("inf")
        return [(-1, 0)] * self._together


class WaitTests(SynchronousTestCase):
    """When a reactor sleeps, and when it looks first."""

    def waits(self, *waits: float, timeout: float | None = 9, together: int = 1) -> list[list[float]]:
        """What the kernel is asked in each turn."""
        events = Events(*waits, together=together)
        reactor = EPollReactor()
        for descriptor in reactor.removeAll():
            descriptor.connectionLost(Failure(ConnectionDone()))
        reactor._poller.close()
        reactor._poller = events
        turns = Turns(reactor, lambda: events.now)
        asked = []
        for _ in waits:
            events.asked = []
            turns._turn(timeout)
            asked.append(events.asked)
        return asked

    def test_now_and_then(self) -> None:
        """Events that are far apart, and the reply to each, are slept for."""
        waits = [1, LOOK / 2] * SHORT_WAITS
        self.assertEqual(self.waits(*waits), [[9]] * len(waits))

    def test_close(self) -> None:
        """After some that followed each other closely the next one is looked for."""
        waits = [LOOK / 2] * SHORT_WAITS + [25e-6, 45e-6]
        asked = self.waits(*waits, timeout=None)
        self.assertEqual(asked, [[-1]] * SHORT_WAITS + [[0] * 3, [0] * 5])

    def test_many(self) -> None:
        """Where several come at once there is enough to do."""
        waits = [LOOK / 2] * 3 * SHORT_WAITS
        self.assertEqual(self.waits(*waits, together=2), [[9]] * len(waits))

    def test_no_more(self) -> None:
        """It does not look for long, nor again before they are close again."""
        *_, looked, after, again = self.waits(*[LOOK / 2] * SHORT_WAITS, 1, LOOK / 2, LOOK / 2)
        self.assertEqual((looked[-1], after, again), (9, [9], [9]))
        self.assertEqual(set(looked[:-1]), {0})
        self.assertLess(len(looked), LOOK / 10e-6 + 5)

    def test_soon_due(self) -> None:
        """A delayed call that is due before that is not kept waiting."""
        waits = [10e-6] * SHORT_WAITS + [1]
        self.assertEqual(self.waits(*waits, timeout=LOOK / 2), [[LOOK / 2]] * len(waits))


class OtherConnectionTests(TurnTests):
    """The same with connections that read by themselves"""

    @staticmethod
    def kind(ours: socket.socket, protocol: Protocol, reactor: EPollReactor) -> Connection:
        connection = Connection(ours, protocol, reactor)
        connection.connected = 1
        return connection
