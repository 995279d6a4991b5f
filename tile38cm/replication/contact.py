"""Since when this node has not heard all that its leader did.

As long as that is shorter than the slack of lifetimes, nothing has expired here that
the leader may have kept alive.  It must be known across restarts, so it is kept in a
file; unsynced, since what a power failure takes makes the silence only longer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger

from tile38cm.footing import boot_id

#: Seconds between writes of the file.
WRITE_EVERY = 1.0


class Contact:
    """When this node was last level with its leader.

    @param now: CLOCK_BOOTTIME, which means something until the machine is started again.
    @param limit: seconds; a longer silence ends only by L{renew}.
    """

    _log = Logger()

    def __init__(self, path: Path, now: Callable[[], float], limit: float) -> None:
        self._path = path
        self._now = now
        self.limit = limit
        self._written = float("-inf")
        self._at = float("-inf")

    def load(self) -> None:
        """Take over what an earlier run has noted since the machine was started."""
        try:
            boot, _, at = self._path.read_text().partition(" ")
            if boot == boot_id() and float(at) <= self._now():
                self._at = float(at)
        except (OSError, ValueError):
            pass  # nothing is known: the silence is endless

    @property
    def broken(self) -> bool:
        """Whether the silence was longer than lifetimes may differ."""
        return self._now() - self._at > self.limit

    def heard(self) -> None:
        """Level with the leader, or nearly; does not end a silence that was too long."""
        if not self.broken:
            self.renew()

    def renew(self) -> None:
        """What has expired here meanwhile is known: begin anew."""
        self._at = self._now()
        if self._at - self._written >= WRITE_EVERY:
            self._written = self._at
            try:
                self._path.write_text(f"{boot_id()} {self._at}")
            except OSError as e:
                self._log.debug("cannot write {path}: {e}", path=str(self._path), e=str(e))
