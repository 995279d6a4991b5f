"""L{tile38cm.replication.delivery}: bytes in order, and marks for what has arrived."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import IPullProducer
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.unit.test_sending import Line
from tile38cm.replication.delivery import BATCH, HIGH_WATER, LOW_WATER, Delivery


class DeliveryTests(SynchronousTestCase):
    """In front of a transport that takes a batch whenever it is told to."""

    def setUp(self) -> None:
        self.transport = StringTransport()
        self.marks: list[object] = []
        self.due: list[Callable[[], None]] = []
        self.drained = 0
        self.delivery = Delivery(self.transport, self.marks.append, self.count, self.due.append)

    def count(self) -> None:
        self.drained += 1

    def test_interface(self) -> None:
        """It is a pull producer, and the transport's."""
        verifyObject(IPullProducer, self.delivery)
        self.assertIs(self.transport.producer, self.delivery)
        self.assertFalse(self.transport.streaming)

    def test_mark_only_when_taken(self) -> None:
        """A mark is told when the socket has its bytes, not before."""
        self.delivery.write(b"one", 1)
        self.assertEqual((self.transport.value(), self.marks, self.delivery.buffered), (b"one", [], 3))
        self.delivery.resumeProducing()
        self.assertEqual((self.marks, self.delivery.buffered), ([1], 0))

    def test_last_mark_only(self) -> None:
        """What was queued meanwhile goes as one, and only its last mark is told."""
        self.delivery.write(b"one", 1)
        for mark, payload in ((2, b"two"), (3, b"three"), (None, b"four")):
            self.delivery.write(payload, mark)
        self.assertEqual(self.transport.value(), b"one")
        self.delivery.resumeProducing()
        self.delivery.resumeProducing()
        self.assertEqual((self.transport.value(), self.marks), (b"onetwothreefour", [1, 3]))

    def test_full(self) -> None:
        """Full from the high water mark until the low one, which is told once."""
        piece = b"x" * BATCH
        while not self.delivery.full:
            self.delivery.write(piece)
        self.assertGreaterEqual(self.delivery.buffered, HIGH_WATER)
        while self.delivery.buffered > LOW_WATER:
            self.assertEqual(self.drained, 0)
            self.delivery.resumeProducing()
        self.assertEqual((self.drained, self.delivery.full), (1, False))
        while self.delivery.buffered:
            self.delivery.resumeProducing()
        self.assertEqual(self.drained, 1)

    def test_when_empty(self) -> None:
        """It fires at once if there is nothing, else when the socket has all."""
        self.successResultOf(self.delivery.when_empty())
        self.delivery.write(b"one")
        waiting = self.delivery.when_empty()
        self.assertNoResult(waiting)
        self.delivery.resumeProducing()
        self.successResultOf(waiting)

    def test_lost(self) -> None:
        """A lost link ends the waiting; no mark is told for what was lost."""
        self.delivery.write(b"one", 1)
        waiting = self.delivery.when_empty()
        self.delivery.stopProducing()
        self.successResultOf(waiting)
        self.assertEqual(self.marks, [])

    def test_mark_handler_may_write(self) -> None:
        """Writing from within the report loses and doubles nothing."""
        transport = StringTransport()

        def again(mark: object) -> None:
            if mark == 1:
                delivery.write(b"b")

        delivery = Delivery(transport, again, self.count, self.due.append)
        delivery.write(b"a", 1)
        delivery.resumeProducing()
        delivery.resumeProducing()
        self.assertEqual((transport.value(), delivery.buffered), (b"ab", 0))

    def test_at_once(self) -> None:
        """What the socket takes at once is told at the end of the turn, and what came meanwhile follows."""
        line = Line()
        delivery = Delivery(line, self.marks.append, self.count, self.due.append)
        delivery.write(b"one", 1)
        delivery.write(b"two", 2)
        self.assertEqual((line.pipe.took, self.marks), (b"one", []))
        for told in ([1], [1, 2]):
            self.due.pop()()
            self.assertEqual((line.pipe.took, self.marks), (b"onetwo", told))
        self.assertEqual((self.due, delivery.buffered), ([], 0))

    def test_partly_at_once(self) -> None:
        """What the socket takes in part is told when it has the rest."""
        line = Line()
        line.pipe.room = 2
        delivery = Delivery(line, self.marks.append, self.count, self.due.append)
        delivery.write(b"one", 1)
        self.assertEqual((self.due, line.kept), ([], b"e"))
        delivery.resumeProducing()
        self.assertEqual(self.marks, [1])

    def test_lost_before_it_is_told(self) -> None:
        """A link that is lost in the same turn has confirmed nothing."""
        line = Line()
        delivery = Delivery(line, self.marks.append, self.count, self.due.append)
        delivery.write(b"one", 1)
        delivery.stopProducing()
        self.due.pop()()
        self.assertEqual(self.marks, [])

    @given(st.lists(st.none() | st.tuples(st.integers(0, 3 * BATCH), st.booleans()), max_size=30))
    def test_any_order(self, steps: list[tuple[int, bool] | None]) -> None:
        """Whatever comes when, bytes stay in order and marks never run ahead of them."""
        self.setUp()
        written = 0
        for step in steps:
            if step is None:
                self.delivery.resumeProducing()
            else:
                size, marked = step
                written += size
                self.delivery.write(bytes([len(self.marks) % 256]) * size, written if marked else None)
            self.assertEqual(self.marks, sorted(self.marks, key=int))
            self.assertTrue(all(mark <= len(self.transport.value()) for mark in self.marks))  # type: ignore[operator]
        for _ in range(len(steps) * 4 + 1):
            self.delivery.resumeProducing()
        self.assertEqual((self.delivery.buffered, len(self.transport.value())), (0, written))
