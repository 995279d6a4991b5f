"""Coroutines that somebody owns: started, logged when they fail, cancelled at the end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure


async def pause(clock: IReactorTime, seconds: float) -> None:
    """Go on after C{seconds}; cancelled with whoever waits."""
    await deferLater(clock, seconds)


T = TypeVar("T")


async def within(
    work: Deferred[T] | Coroutine[Deferred[Any], Any, T], seconds: float, clock: IReactorTime
) -> T:
    """The result of C{work}; fails with C{TimeoutError} after so many seconds.

    An endpoint that is cancelled fails with an error of its own; here that is a
    cancellation, so that nobody takes his own end for a failure and tries again.
    """
    waiting = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    late = False

    def expire() -> None:
        nonlocal late
        late = True
        waiting.cancel()

    timer = clock.callLater(seconds, expire)
    try:
        return await waiting
    except (CancelledError, ConnectingCancelledError):
        if late:
            raise TimeoutError(f"nothing within {seconds:g} s") from None
        raise CancelledError() from None
    finally:
        if timer.active():
            timer.cancel()


async def quietly(ending: Any) -> None:
    """Wait for an end that may be no Deferred, or cancelled."""
    try:
        if isinstance(ending, Deferred):
            await ending
    except CancelledError:
        pass


#: Seconds until what goes on for ever begins anew after a mistake.
BEGIN_ANEW = 0.5


class Tasks:
    """The coroutines of one owner.

    A failure is logged as such (it is a mistake of ours) and ends only its
    own coroutine.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._running: set[Deferred[Any]] = set()
        self._closed = False

    def start(self, work: Coroutine[Deferred[Any], Any, object], name: str) -> Deferred[Any] | None:
        """Run C{work} from this turn on; C{None} when the owner has stopped already."""
        if self._closed:
            work.close()
            return None
        task = Deferred.fromCoroutine(work)
        self._running.add(task)
        _ = task.addBoth(self._ended, task, name)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, object]], clock: IReactorTime, name: str) -> None:
        """Run what goes on for ever; a mistake of ours in it is logged, and it begins anew.

        A node whose election or replication stood still for one exception would be
        worse off than one that goes on after it.
        """
        self.start(self._kept(work, clock, name), name)

    async def _kept(
        self, work: Callable[[], Coroutine[Any, Any, object]], clock: IReactorTime, name: str
    ) -> None:
        while True:
            try:
                await work()
            except CancelledError:
                raise
            except Exception:  # whatever it is: see keep
                self._log.failure("{name} failed, and begins anew", name=name)
            await pause(clock, BEGIN_ANEW)

    def _ended(self, result: object, task: Deferred[Any], name: str) -> None:
        self._running.discard(task)
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._log.failure("{name} failed", result, name=name)

    async def cancel(self) -> None:
        """Cancel all and return when they have ended; nothing starts any more."""
        self._closed = True
        running = list(self._running)
        ended = DeferredList([_end_of(task) for task in running])
        for task in running:
            task.cancel()
        await ended


class Interruptible:
    """One piece of waiting at a time that may turn out to be in vain."""

    def __init__(self) -> None:
        self._task: Deferred[Any] | None = None
        self._interrupted = False

    async def run(self, work: Coroutine[Deferred[Any], Any, T]) -> T | None:
        """The result of C{work}; C{None} if it was interrupted."""
        task = Deferred.fromCoroutine(work)
        self._task, self._interrupted = task, False
        try:
            return await task
        except CancelledError:
            if self._interrupted:
                return None
            raise
        finally:
            self._task = None

    def interrupt(self) -> None:
        """Give up what is waited for, if anything is."""
        if self._task is not None:
            self._interrupted = True
            self._task.cancel()


def _end_of(task: Deferred[Any]) -> Deferred[None]:
    """Fires when C{task} has, without taking part in its chain's result."""
    end: Deferred[None] = Deferred()

    def pass_on(result: object) -> object:
        end.callback(None)
        return result

    _ = task.addBoth(pass_on)
    return end
