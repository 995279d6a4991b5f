"""
A turn of the reactor with less around each read.

Twisted runs every event in a logging context of its own, and looks twice at
its descriptor: with one small packet per event that costs more than what is
done with the packet, and where a single client waits for each reply it is
half of what he waits for.  Here the one event that matters, bytes to read
and nothing else, goes straight to the descriptor; all others take Twisted's
way.  This is the one place that knows how its epoll reactor keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger

_log = Logger("tile38cm")


def hasten(reactor: object) -> None:
    """
    Have a reactor's turns done like this from the next one on; one of another kind stays as it is.

    What a descriptor logs by C{twisted.python.log} has no prefix of its own any more; we
    log by C{twisted.logger}, which does not know them.
    """
    if type(reactor) is EPollReactor:
        reactor.doIteration = _turn_of(reactor)  # type: ignore[method-assign]  # the loop asks for it anew


def _turn_of(reactor: Any) -> Callable[[float | None], None]:
    poll, selectables, at_length = reactor._poller.poll, reactor._selectables, reactor._doReadOrWrite

    def turn(timeout: float | None) -> None:
        try:
            events = poll(-1 if timeout is None else timeout, len(selectables))
        except InterruptedError:
            return
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:
                # What came before in this turn has closed it.
                continue
            if event != EPOLLIN:
                at_length(selectable, fd, event)
                continue
            try:
                why = selectable.doRead()
            except BaseException as error:
                _log.failure("what a connection brought could not be dealt with")
                why = error
            if why:
                reactor._disconnectSelectable(selectable, why, True)

    return turn
