"""L{tile38cm.tasks}: coroutines with an owner."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.tasks import Interruptible, Tasks, pause, within


class TasksCase(SynchronousTestCase):
    """Notes what happens."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.notes: list[str] = []
        self.tasks = Tasks()

    async def work(self, name: str = "a", seconds: float = 1.0) -> str:
        """Wait, and note how it ended."""
        try:
            await pause(self.clock, seconds)
        except CancelledError:
            self.notes.append(f"{name} cancelled")
            raise
        self.notes.append(f"{name} done")
        return name


class TasksTests(TasksCase):
    """Many at a time."""

    def test_runs_at_once(self) -> None:
        """Work begins in the turn in which it is started, and one does not wait for another."""
        self.tasks.start(self.work("a", 2), "a")
        self.tasks.start(self.work("b", 1), "b")
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.notes, ["b done", "a done"])

    def test_failure(self) -> None:
        """A failure is logged with the name of the work, and ends nothing else."""

        async def broken() -> None:
            raise ValueError("oops")

        self.tasks.start(self.work(), "a")
        self.tasks.start(broken(), "breaking")
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertEqual(str(failure.value), "oops")
        self.clock.advance(1)
        self.assertEqual(self.notes, ["a done"])
        self.successResultOf(Deferred.fromCoroutine(self.tasks.cancel()))

    def test_cancel(self) -> None:
        """All is cancelled, quietly, and no timer stays."""
        self.tasks.start(self.work("a"), "a")
        self.tasks.start(self.work("b"), "b")
        self.successResultOf(Deferred.fromCoroutine(self.tasks.cancel()))
        self.assertEqual(
            (sorted(self.notes), self.clock.getDelayedCalls()), (["a cancelled", "b cancelled"], [])
        )

    def test_waits_for_the_end(self) -> None:
        """The cancellation is over when the work has tidied up, however long that takes."""

        async def tidy() -> None:
            try:
                await pause(self.clock, 1)
            finally:
                await pause(self.clock, 5)
                self.notes.append("tidy")

        self.tasks.start(tidy(), "tidying")
        cancelling = Deferred.fromCoroutine(self.tasks.cancel())
        self.assertNoResult(cancelling)
        self.clock.advance(5)
        self.successResultOf(cancelling)
        self.assertEqual(self.notes, ["tidy"])

    def test_failure_while_cancelled(self) -> None:
        """Work that fails when it is cancelled is logged, and the cancellation is over all the same."""

        async def stubborn() -> None:
            try:
                await pause(self.clock, 1)
            except CancelledError:
                raise ValueError("no") from None

        self.tasks.start(stubborn(), "stubborn")
        self.successResultOf(Deferred.fromCoroutine(self.tasks.cancel()))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_after_the_end(self) -> None:
        """Nothing starts any more, not even its first step; nothing is left to wait for."""
        self.successResultOf(Deferred.fromCoroutine(self.tasks.cancel()))

        async def never() -> None:
            self.notes.append("started")

        self.assertIsNone(self.tasks.start(never(), "never"))
        self.assertEqual(self.notes, [])

    def test_told_of_the_end(self) -> None:
        """Who starts something may wait for its end."""
        task = self.tasks.start(self.work(), "a")
        assert task is not None
        self.assertNoResult(task)
        self.clock.advance(1)
        self.successResultOf(task)


class InterruptibleTests(TasksCase):
    """One at a time, which may turn out to be in vain."""

    def setUp(self) -> None:
        super().setUp()
        self.waiting = Interruptible()

    def run_it(self, work: Any = None) -> Deferred[Any]:
        """Begin."""
        return Deferred.fromCoroutine(self.waiting.run(work or self.work()))

    def test_result(self) -> None:
        """Undisturbed, the work's result."""
        task = self.run_it()
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(task), "a")

    def test_interrupted(self) -> None:
        """Interrupted, nothing; and the work has ended."""
        task = self.run_it()
        self.waiting.interrupt()
        self.assertIsNone(self.successResultOf(task))
        self.assertEqual((self.notes, self.clock.getDelayedCalls()), (["a cancelled"], []))

    def test_cancelled(self) -> None:
        """Whoever waits may be cancelled, which is something else."""
        task = self.run_it()
        task.cancel()
        self.failureResultOf(task, CancelledError)
        self.assertEqual(self.notes, ["a cancelled"])

    def test_failure(self) -> None:
        """Failures are passed on."""

        async def broken() -> None:
            raise ValueError("oops")

        self.failureResultOf(self.run_it(broken()), ValueError)

    def test_nothing_to_interrupt(self) -> None:
        """An interruption before or after the work does not touch the next one."""
        self.waiting.interrupt()
        task = self.run_it()
        self.assertNoResult(task)
        self.clock.advance(1)
        self.successResultOf(task)
        self.waiting.interrupt()
        task = self.run_it()
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(task), "a")

    def test_again(self) -> None:
        """After an interruption the next work is a new one."""
        task = self.run_it()
        self.waiting.interrupt()
        self.successResultOf(task)
        task = self.run_it()
        task.cancel()
        self.failureResultOf(task, CancelledError)


class WithinTests(TasksCase):
    """Waiting that ends."""

    def waiting(self, error: Exception | None = None) -> tuple[Deferred[Any], Deferred[Any]]:
        """What is waited for, which fails with C{error} when it is cancelled; and the waiting."""
        inner: Deferred[Any] = Deferred(None if error is None else lambda d: d.errback(error))
        return inner, Deferred.fromCoroutine(within(inner, 2.0, self.clock))

    def test_result(self) -> None:
        """The result comes through, and no timer is left."""
        inner, waiting = self.waiting()
        inner.callback(3)
        self.assertEqual(self.successResultOf(waiting), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_late(self) -> None:
        """After the time it is a time-out, also with an endpoint's own word for being cancelled."""
        for error in (None, ConnectingCancelledError(None)):
            _, waiting = self.waiting(error)
            self.clock.advance(2)
            self.failureResultOf(waiting, TimeoutError)

    def test_cancelled(self) -> None:
        """Who is cancelled ends as cancelled, and does not take it for a failure to connect."""
        for error in (None, ConnectingCancelledError(None)):
            _, waiting = self.waiting(error)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
