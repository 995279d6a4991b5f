"""The one index of the Consul-compatible agent, and those who block on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

#: Where the index begins, so that it is never 0 or 1, which mean "do not block".
FIRST_INDEX = 10


@frozen
class Reading:
    """What a query found; C{touched} is the index of the last change to just this."""

    value: Any
    touched: int


class Changes:
    """A number that grows with each write, and the queries that wait for one."""

    def __init__(self, clock: IReactorTime) -> None:
        self.index = FIRST_INDEX
        self._clock = clock
        self._waiting: list[Deferred[None]] = []

    @contextmanager
    def write(self) -> Iterator[int]:
        """Within it state may change, under the index that it gives; who waits looks again afterwards."""
        self.index += 1
        try:
            yield self.index
        finally:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)

    async def blocking(self, read: Callable[[], Reading], index: int, wait: float) -> Reading:
        """What C{read} gives once it was touched after C{index}, or after C{wait} seconds whatever it is."""
        end = self._clock.seconds() + wait
        reading = read()
        while index > 0 and reading.touched <= index and self._clock.seconds() < end:
            await self._next_write(end - self._clock.seconds())
            reading = read()
        return reading

    async def _next_write(self, timeout: float) -> None:
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        timer = self._clock.callLater(timeout, self._wake, waiter)
        try:
            await waiter
        finally:
            if timer.active():
                timer.cancel()

    def _forget(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def _wake(self, waiter: Deferred[None]) -> None:
        self._forget(waiter)
        waiter.callback(None)
