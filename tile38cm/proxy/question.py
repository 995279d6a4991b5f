"""One request that this node itself asks a side, and its reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tile38cm.proxy.exchange import Exchange
from tile38cm.proxy.port import Within


class Asked(Protocol):
    """A conversation, as far as a question has one."""

    def ask(self, exchange: Exchange) -> None:
        """A request."""

    def proceed(self) -> None:
        """It was the last for now."""

    def end(self) -> None:
        """Nobody waits any more."""


class Question(Within):
    """
    Ask once; it ends by itself.

    @param timeout: seconds.
    @param told: told the reply, or C{None} if there is none in time.
    """

    def __init__(self, clock: IReactorTime, timeout: float, told: Callable[[bytes | None], None]) -> None:
        self._told = told
        self._conversation: Asked | None = None
        self._bound: IDelayedCall = clock.callLater(timeout, self._end, None)

    def ask(self, conversation: Asked, exchange: Exchange) -> None:
        """Ask in a conversation whose port this is; the reply comes later, or at once."""
        self._conversation = conversation
        conversation.ask(exchange)
        conversation.proceed()

    def drop(self) -> None:
        """Nothing is to be told; harmless when repeated."""
        if self._bound.active():
            self._bound.cancel()
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.end()

    def _end(self, reply: bytes | None) -> None:
        if self._conversation is not None:
            self.drop()
            self._told(reply)

    # -- Port

    def deliver(self, data: bytes) -> None:
        """The answer."""
        self._end(data)

    def cut(self) -> None:
        """Half an answer is none."""
        self._end(None)
