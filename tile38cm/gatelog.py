"""Says in the log when the gate was open, so that logs of all nodes together prove that one was at a time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from tile38cm.coordination.election import Election


class GateLog:
    """One line for each change, with the moment on the clock that the gate itself is judged by.

    A node that was frozen notices late that its gate is shut: what is logged is the end
    of the promises, not the moment of the notice.
    """

    _log = Logger()

    def __init__(self, election: Election, now: Callable[[], float]) -> None:
        self._election = election
        self._now = now
        self._epoch = 0
        self._seen_open = self._until = float("-inf")

    def look(self) -> None:
        """Call it in the turn of every change."""
        epoch = self._election.epoch() if self._election.gate_open() else 0
        now = self._now()
        if self._epoch and epoch != self._epoch:
            # The end of a term that goes on is known to the election; of one that is over, it was seen.
            until = self._election.gate_until() if self._election.epoch() == self._epoch else self._until
            self._say("shut", self._epoch, max(self._seen_open, min(now, until)))
        if epoch and epoch != self._epoch:
            self._say("open", epoch, now)
        self._epoch = epoch
        if epoch:
            self._seen_open, self._until = now, self._election.gate_until()

    def _say(self, gate: str, epoch: int, at: float) -> None:
        self._log.info("the gate of epoch {epoch} is {gate}", gate=gate, epoch=epoch, at=at)
