"""A watch in faked time, over a query whose answers the test gives."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.coordination.consul_values import Indexed, Unclear
from tile38cm.coordination.watch import (
    FIRST_RETRY,
    MAX_IDLE_INTERVAL,
    MAX_RETRY,
    MIN_INTERVAL,
    POKE_INTERVAL,
    Watch,
)


class Asked:
    """Queries as they were asked; the newest is answered."""

    def __init__(self) -> None:
        self.indexes: list[int] = []
        self.pending: Deferred[Indexed[str]] | None = None
        self.cancelled = 0

    def query(self, index: int, wait: float) -> Deferred[Indexed[str]]:
        """What the watch calls."""
        assert self.pending is None, "two queries at a time"
        self.indexes.append(index)
        self.pending = Deferred(self.cancel)
        return self.pending

    def cancel(self, _: object) -> None:
        """The watch is not interested any more."""
        self.cancelled += 1
        self.pending = None

    def answer(self, value: str, index: int) -> None:
        """Answer the query under way."""
        pending, self.pending = self.pending, None
        assert pending is not None
        pending.callback(Indexed(value, index))

    def fail(self, error: Exception) -> None:
        """Let the query under way fail."""
        pending, self.pending = self.pending, None
        assert pending is not None
        pending.errback(error)


class WatchTests(SynchronousTestCase):
    """L{Watch}"""

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked = Asked()
        self.seen: list[str] = []
        self.watch: Watch[str] = Watch(self.asked.query, self.take, self.clock, name="it")

    def take(self, value: str) -> None:
        """What the watch tells; some words make trouble."""
        self.seen.append(value)
        if value == "bomb":
            raise ZeroDivisionError
        if value == "stop":
            self.stopped = self.watch.stopService()

    def start(self) -> None:
        """Run it until after the test."""
        self.watch.startService()
        self.addCleanup(self.watch.stopService)

    def answer(self, value: str, index: int) -> None:
        """Answer, and let the shortest pause pass."""
        self.asked.answer(value, index)
        self.clock.advance(MIN_INTERVAL)

    def test_tells_changes_only(self) -> None:
        """The first value is told and each other one, not the same again."""
        self.start()
        for value, index in (("a", 5), ("a", 6), ("b", 7), ("b", 7), ("a", 9)):
            self.answer(value, index)
        self.assertEqual(["a", "b", "a"], self.seen)

    def test_asks_with_the_last_index(self) -> None:
        """The first query asks at once, the next ones for what comes after the last answer."""
        self.start()
        self.answer("a", 5)
        self.answer("b", 8)
        self.assertEqual([0, 5, 8], self.asked.indexes)

    def test_index_that_goes_down(self) -> None:
        """When the index falls Consul's data went back, so the next query does not block."""
        self.start()
        self.answer("a", 50)
        self.answer("b", 3)
        self.answer("b", 3)
        self.assertEqual([0, 50, 0, 3], self.asked.indexes)

    def test_error(self) -> None:
        """An error is followed by another try soon, without an index; the same value is not told again."""
        self.start()
        self.answer("a", 5)
        self.asked.fail(Unclear("away"))
        self.clock.advance(FIRST_RETRY * 2)
        self.answer("a", 5)
        self.assertEqual([0, 5, 0, 5], self.asked.indexes)
        self.assertEqual(["a"], self.seen)

    def test_backoff(self) -> None:
        """Pauses after errors grow to a ceiling, and begin small again after an answer."""
        self.start()
        pauses = [self.pause_after_error() for _ in range(10)]
        self.assertLess(pauses[0], 2 * FIRST_RETRY)
        self.assertGreater(pauses[4], pauses[0])
        self.assertTrue(all(MAX_RETRY <= pause < MAX_RETRY * 1.1 for pause in pauses[6:]), pauses)
        self.answer("a", 5)
        self.assertLess(self.pause_after_error(), 2 * FIRST_RETRY)

    def pause_after_error(self) -> float:
        """Seconds from a failed query to the next one."""
        self.asked.fail(Unclear("away"))
        (timer,) = self.clock.getDelayedCalls()
        pause = timer.getTime() - self.clock.seconds()
        self.clock.advance(pause)
        return pause

    def test_errors_are_logged_on_change(self) -> None:
        """The log says once that Consul is away and once that it is back."""
        events = self.log()
        self.start()
        for _ in range(3):
            self.pause_after_error()
        self.answer("a", 5)
        self.answer("a", 6)
        said = [str(event["log_format"]) for event in events if event.get("name") == "it"]
        self.assertEqual(2, len(said), said)
        self.assertIn("away", said[0])
        self.assertIn("again", said[1])

    def log(self) -> list[dict[str, object]]:
        """Events of this watch from now on."""
        events: list[dict[str, object]] = []

        class Kept:
            """A logger's observer."""

            def __call__(self, event: dict[str, object]) -> None:
                events.append(event)

        self.watch._log = type(self.watch._log)(namespace="test", observer=Kept())  # type: ignore[arg-type]
        return events

    def test_error_of_ours(self) -> None:
        """A query that fails by a mistake of the program is logged, and asked again."""
        self.start()
        self.asked.fail(KeyError("oops"))
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.clock.advance(FIRST_RETRY * 2)
        self.answer("a", 5)
        self.assertEqual(["a"], self.seen)

    def test_error_of_the_listener(self) -> None:
        """What C{on_change} raises is logged, and the watch goes on."""
        self.start()
        self.answer("bomb", 5)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.answer("a", 6)
        self.assertEqual(["bomb", "a"], self.seen)

    def test_busy_key(self) -> None:
        """Queries do not follow one another more quickly than the shortest interval."""
        self.start()
        for number in range(100):
            self.asked.answer(str(number), number + 10)
            self.assertIsNone(self.asked.pending)
            self.clock.advance(MIN_INTERVAL)
        self.assertEqual(101, len(self.asked.indexes))

    def test_agent_that_does_not_block(self) -> None:
        """Answers at once without news slow the queries down; a change makes them quick again."""
        self.start()
        self.answer("a", 5)
        for _ in range(8):
            self.asked.answer("a", 5)
            self.clock.advance(MAX_IDLE_INTERVAL)
        self.asked.answer("a", 5)
        self.clock.advance(MAX_IDLE_INTERVAL * 0.9)
        self.assertIsNone(self.asked.pending)
        self.clock.advance(MAX_IDLE_INTERVAL * 0.2)
        self.answer("b", 6)
        self.assertIsNotNone(self.asked.pending)

    def test_slow_answer(self) -> None:
        """After a query that blocked for long the next one begins at once."""
        self.start()
        self.clock.advance(8.0)
        self.asked.answer("a", 5)
        self.assertEqual([0, 5], self.asked.indexes)

    def test_poked(self) -> None:
        """A query that hangs is given up and asked anew from the beginning; the answer is news, or none."""
        self.start()
        self.answer("a", 5)
        self.watch.poke()
        self.assertEqual((self.asked.cancelled, self.asked.indexes), (1, [0, 5, 0]))
        self.answer("a", 6)
        self.assertEqual((self.seen, self.asked.indexes[3:]), (["a"], [6]))

    def test_poked_often(self) -> None:
        """An agent that is slow is not asked so often that it never answers."""
        self.start()
        for _ in range(10):
            self.watch.poke()
            self.clock.advance(POKE_INTERVAL / 5)
        self.assertEqual(self.asked.cancelled, 2)

    def test_poked_in_a_pause(self) -> None:
        """A pause after an error ends at once."""
        self.start()
        self.asked.fail(Unclear("away"))
        self.assertEqual(self.asked.indexes, [0])
        self.watch.poke()
        self.assertEqual(self.asked.indexes, [0, 0])

    def test_poked_at_other_times(self) -> None:
        """Before the start, after the end, and by whoever is just told, it does nothing."""
        self.watch.poke()
        self.watch = Watch(self.asked.query, lambda _: self.watch.poke(), self.clock, name="it")
        self.watch.startService()
        self.answer("a", 5)
        self.assertEqual((self.asked.cancelled, self.asked.indexes), (0, [0, 5]))
        self.successResultOf(self.watch.stopService())
        self.clock.advance(POKE_INTERVAL)
        self.watch.poke()
        self.assertEqual(self.asked.indexes, [0, 5])

    def test_last_contact(self) -> None:
        """The moment of the last answer is known, whether it told something new or not."""
        self.start()
        self.assertIsNone(self.watch.last_contact)
        self.clock.advance(3.0)
        self.answer("a", 5)
        self.assertEqual(3.0, self.watch.last_contact)
        self.clock.advance(4.0)
        contact = self.clock.seconds()
        self.asked.answer("a", 5)
        self.assertEqual(contact, self.watch.last_contact)
        self.clock.advance(1.0)
        self.asked.fail(Unclear("away"))
        self.assertEqual(contact, self.watch.last_contact)

    def test_stop(self) -> None:
        """A stop cancels the query under way and leaves nothing behind."""
        self.watch.startService()
        self.successResultOf(self.watch.stopService())
        self.assertEqual(1, self.asked.cancelled)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop_in_pause(self) -> None:
        """A stop between two queries ends the pause."""
        self.watch.startService()
        self.asked.fail(Unclear("away"))
        self.successResultOf(self.watch.stopService())
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual([0], self.asked.indexes)

    def test_stop_from_the_listener(self) -> None:
        """C{on_change} may stop the watch."""
        self.watch.startService()
        self.asked.answer("stop", 5)
        self.successResultOf(self.stopped)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertIsNone(self.asked.pending)

    def test_stop_waits_for_the_query(self) -> None:
        """A stop is over when the query has ended, not before."""

        async def slow(index: int, wait: float) -> Indexed[str]:
            try:
                return await Deferred[Indexed[str]]()
            except CancelledError:
                await gate
                raise

        gate: Deferred[None] = Deferred()
        watch: Watch[str] = Watch(slow, self.take, self.clock, name="it")
        watch.startService()
        stopped = watch.stopService()
        self.assertNoResult(stopped)
        gate.callback(None)
        self.successResultOf(stopped)

    def test_start_again(self) -> None:
        """A watch that is started again tells what it finds, known or not."""
        for _ in range(2):
            self.watch.startService()
            self.answer("a", 5)
            self.successResultOf(self.watch.stopService())
        self.assertEqual(["a", "a"], self.seen)
        self.successResultOf(self.watch.stopService())
