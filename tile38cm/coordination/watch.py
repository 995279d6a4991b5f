"""A blocking query repeated for ever, which tells of changes only.

Rules that Consul's indexes ask for: start with 0; a smaller index than
before means that Consul's data went back, so start again with 0; compare the
content, since wake-ups may be spurious.  After an error it also starts with
0: the agent that answers next may be another one, and an index ahead of its
own would block for the whole wait whatever happens.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from tile38cm.coordination.consul_values import ConsulError, Indexed
from tile38cm.tasks import Interruptible

T = TypeVar("T")

#: Seconds that a query may block. Short, as an index from before a loss of Consul's data wakes nothing.
WAIT = 10.0
#: The same for a query that need not block.
SHORT_WAIT = 1.0
#: Seconds between two pokes that are heeded.
POKE_INTERVAL = 1.0
#: Seconds between the beginnings of two queries, however often the content changes.
MIN_INTERVAL = 0.005
#: The same when the agent answers at once again and again although nothing changed.
MAX_IDLE_INTERVAL = 0.1
#: Seconds until the first repetition after an error, and the longest; some jitter comes on top.
FIRST_RETRY = 0.1
MAX_RETRY = 2.0

_NOTHING = object()


def _expect_cancellation(failure: Failure) -> None:
    failure.trap(CancelledError)


class Watch(Service, Generic[T]):
    """Asks for ever, from C{startService} to C{stopService}.

    @param query: asks once, given an index and the seconds to block.
    @param on_change: told the first value and each that differs from the one
        before; what it raises is logged and changes nothing.
    @param name: what is watched, for the log.
    @ivar last_contact: when Consul last answered this query, in seconds of the
        clock; None before the first time.
    """

    _log = Logger()

    def __init__(
        self,
        query: Callable[[int, float], Awaitable[Indexed[T]]],
        on_change: Callable[[T], None],
        clock: IReactorTime,
        *,
        name: str,
        wait: float = WAIT,
    ) -> None:
        self.last_contact: float | None = None
        self._query = query
        self._on_change = on_change
        self._clock = clock
        self._name = name
        self._wait = wait
        self._index = 0
        self._seen: object = _NOTHING
        self._failures = 0
        self._idle_rounds = 0
        self._task: Deferred[None] | None = None
        self._telling = False
        self._waiting = Interruptible()
        self._poked: float | None = None
        self._backoff = backoffPolicy(FIRST_RETRY, MAX_RETRY, 2.0, jitter=lambda: random.uniform(0, 0.05))

    def startService(self) -> None:
        """Begin with the first query, in this turn."""
        super().startService()
        self._index, self._seen, self._failures = 0, _NOTHING, 0
        self._task = Deferred.fromCoroutine(self._run())

    def stopService(self) -> Deferred[None]:
        """Cancel what is under way.

        @return: fires when the watch has ended; C{on_change} is not called any more.
        """
        super().stopService()
        task, self._task = self._task, None
        if task is None:
            return succeed(None)
        ended = task.addErrback(_expect_cancellation)
        # Not from within on_change: the coroutine is running then, and ends by itself.
        if not self._telling:
            ended.cancel()
        return ended

    def poke(self) -> None:
        """Ask anew: somebody knows of a change that Consul has not told us.

        An agent that has just been started, or whose servers have no leader, may keep
        a query for many seconds.  Harmless at any time; more often than every
        L{POKE_INTERVAL} seconds it does nothing.
        """
        now = self._clock.seconds()
        if self._telling or (self._poked is not None and now - self._poked < POKE_INTERVAL):
            return
        self._poked = now
        self._waiting.interrupt()

    async def _run(self) -> None:
        while self.running:
            pause = await self._waiting.run(self._round())
            if pause is None:
                self._index = 0  # poked
            elif self.running and pause > 0:
                await self._waiting.run(self._pause(pause))

    async def _pause(self, seconds: float) -> None:
        await deferLater(self._clock, seconds)

    async def _round(self) -> float:
        """Ask once; seconds to pause before the next time."""
        started = self._clock.seconds()
        try:
            # With index 0 the answer comes at once, or something is wrong.
            answer = await self._query(self._index, self._wait if self._index else SHORT_WAIT)
        except CancelledError:
            raise
        except ConsulError as error:
            return self._failed(f"{error}")
        except Exception as error:
            self._log.failure("watching {name} failed", name=self._name)
            return self._failed(f"{type(error).__name__}")
        self._answered()
        changed = self._take(answer)
        took = self._clock.seconds() - started
        self._idle_rounds = 0 if changed or took > MAX_IDLE_INTERVAL else self._idle_rounds + 1
        interval: float = MIN_INTERVAL * 2.0 ** min(10, max(0, self._idle_rounds - 1))
        return max(0.0, min(MAX_IDLE_INTERVAL, interval) - took)

    def _take(self, answer: Indexed[T]) -> bool:
        """Remember the index, tell of the value if it is new; whether it was."""
        self._index = answer.index if answer.index >= self._index else 0
        if self._seen is not _NOTHING and self._seen == answer.value:
            return False
        self._seen = answer.value
        self._telling = True
        try:
            self._on_change(answer.value)
        except Exception:
            self._log.failure("a change of {name} was not taken", name=self._name)
        finally:
            self._telling = False
        return True

    def _failed(self, reason: str) -> float:
        if self._failures == 0:
            self._log.warn("consul is away for {name}: {reason}", name=self._name, reason=reason)
        self._index = 0
        pause = self._backoff(self._failures)
        self._failures += 1
        return pause

    def _answered(self) -> None:
        self.last_contact = self._clock.seconds()
        if self._failures:
            self._log.info("consul answers again for {name}", name=self._name)
        self._failures = 0
