"""What came in a turn for many connections is taken together, and nobody pays for another one's end."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import cast

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from tests.unit.test_turns import ReactorTests, Recorder
from tile38cm import turns
from tile38cm.turns import NO_DESCRIPTOR, gather, join, leave


class Gathered(Recorder):
    """One of those whose bytes are taken together."""

    def __init__(self, reactor: EPollReactor, on_data: Callable[[bytes], None] = lambda data: None) -> None:
        super().__init__(on_data)
        self.reactor = reactor
        self.descriptor = NO_DESCRIPTOR

    def connectionMade(self) -> None:
        self.descriptor = join(self.reactor, self, self)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        leave(self.reactor, self.descriptor)
        super().connectionLost(reason)


def at_length(arrivals: Iterator[tuple[Recorder, bytes]]) -> None:
    """Give each what is its."""
    for protocol, data in arrivals:
        protocol.dataReceived(data)


def fail(*ignored: object) -> None:
    """A mistake in what is tested with it."""
    raise RuntimeError("a mistake")


class GatherTests(ReactorTests):
    """L{gather}"""

    def gathered(self, on_data: Callable[[bytes], None] = lambda data: None) -> Gathered:
        """Who joins, once it is connected."""
        return Gathered(self.reactor, on_data)

    def test_gathered(self) -> None:
        """What came for those who joined is taken at once, when all else of the turn is dealt with."""
        taken: list[list[tuple[Recorder, bytes]]] = []
        gather(self.reactor, lambda arrivals: taken.append(list(arrivals)))
        protocols = [self.gathered(), Recorder(lambda data: self.assertEqual(taken, [])), self.gathered()]
        ends = [self.connection(protocol)[1] for protocol in protocols]
        for end in ends:
            end.sendall(b"x")
        self.turn()
        self.assertEqual([set(pairs) for pairs in taken], [{(protocols[0], b"x"), (protocols[2], b"x")}])
        self.assertEqual([protocol.data for protocol in protocols], [b"", b"x", b""])
        self.turn()
        self.assertEqual(len(taken), 1)

    def test_not_all_at_once(self) -> None:
        """However many send in one turn, only so much of it is here at a time; nobody is left out."""
        self.patch(turns, "AT_ONCE", 2)
        taken: list[list[tuple[Recorder, bytes]]] = []
        gather(self.reactor, lambda arrivals: taken.append(list(arrivals)))
        protocols = [self.gathered() for _ in range(5)]
        for protocol in protocols:
            self.connection(protocol)[1].sendall(b"x")
        for _ in protocols:
            self.turn()
        self.assertEqual([len(pairs) for pairs in taken], [2, 2, 1])
        self.assertEqual({protocol for pairs in taken for protocol, _ in pairs}, set(protocols))

    def test_much(self) -> None:
        """Of what one sends, too, only so much is here at a time, and all of it comes."""
        self.patch(turns, "AT_MOST", 10)
        gather(self.reactor, at_length)
        protocol = self.gathered()
        self.connection(protocol)[1].sendall(b"x" * 25)
        for expected in (10, 20, 25, 25):
            self.turn()
            self.assertEqual(len(protocol.data), expected)

    def test_gathered_and_broken(self) -> None:
        """Who fails at what came for it loses its connection; those in front of it and behind it do not."""
        gather(self.reactor, at_length)
        protocols = [self.gathered(), self.gathered(fail), self.gathered(), self.gathered(fail)]
        for protocol in protocols:
            self.connection(protocol)[1].sendall(b"x")
        self.turn()
        self.assertEqual([protocol.data for protocol in protocols], [b"x"] * 4)
        self.assertEqual([protocol.lost for protocol in protocols], [None, RuntimeError] * 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_broken_ends(self) -> None:
        """Nor does anybody lose what came for it because the end of another connection fails."""
        gather(self.reactor, at_length)
        other, broken = Recorder(), self.gathered(fail)
        protocols = [self.gathered(), broken, self.gathered()]
        other.connectionLost = broken.connectionLost = fail  # type: ignore[method-assign,assignment]
        ends = [self.connection(protocol)[1] for protocol in (*protocols, other)]
        for end in ends[:-1]:
            end.sendall(b"x")
        ends[-1].close()
        self.turn()
        leave(self.reactor, broken.descriptor)
        self.assertEqual([protocol.data for protocol in protocols], [b"x"] * 3)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)

    def test_end(self) -> None:
        """The other end closes: its last bytes come first, then the loss."""
        gather(self.reactor, at_length)
        self.ends(self.gathered())

    def test_reset(self) -> None:
        """The other end is gone without a farewell."""
        gather(self.reactor, at_length)
        ours, theirs = self.tcp_pair()
        protocol = self.gathered()
        self.connect(protocol, ours)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        self.turn()
        self.assertEqual(protocol.lost, ConnectionLost)

    def test_closed_in_the_same_turn(self) -> None:
        """What came for one that was closed earlier in the turn is not for who has its descriptor now."""
        gather(self.reactor, at_length)
        victim, successor = self.gathered(), self.gathered()

        def replace(data: bytes) -> None:
            transport = cast(Connection, victim.transport)
            transport.stopReading()
            transport.connectionLost(Failure(ConnectionDone()))
            self.connection(successor)

        ends = [self.connection(protocol)[1] for protocol in (Recorder(replace), victim)]
        for end in ends:
            end.sendall(b"x")
        self.turn()
        self.assertEqual(successor.descriptor, victim.descriptor)
        self.assertEqual((victim.data, successor.data, successor.lost), (b"", b"", None))

    def test_no_memory(self) -> None:
        """One whose bytes find no room is lost; what came for the others of the same turn is not."""
        gather(self.reactor, at_length)
        protocols = [self.gathered() for _ in range(3)]
        for protocol in protocols:
            self.connection(protocol)[1].sendall(b"x")

        def read(descriptor: int, most: int) -> bytes:
            if descriptor == protocols[1].descriptor:
                raise MemoryError
            return os.read(descriptor, most)

        self.patch(turns, "read", read)
        self.turn()
        self.assertEqual([protocol.data for protocol in protocols], [b"x", b"", b"x"])
        self.assertEqual([protocol.lost for protocol in protocols], [None, ConnectionLost, None])

    def test_somebody_between(self) -> None:
        """One whose bytes come by way of another protocol does not join."""
        gather(self.reactor, at_length)
        outer = Recorder()
        connection, theirs = self.connection(outer)
        inner = self.gathered()
        inner.makeConnection(connection)
        self.assertEqual(inner.descriptor, NO_DESCRIPTOR)
        theirs.sendall(b"x")
        self.turn()
        self.assertEqual((outer.data, inner.data), (b"x", b""))

    def test_nobody_to_take(self) -> None:
        """As long as nobody has said what takes the bytes, they come as ever."""
        protocol = self.gathered()
        self.connection(protocol)[1].sendall(b"x")
        self.turn()
        self.assertEqual((protocol.descriptor, protocol.data), (NO_DESCRIPTOR, b"x"))
