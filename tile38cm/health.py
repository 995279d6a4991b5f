"""The local Tile38, looked at often: does it answer, and how long is its log?"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.tasks import Tasks, pause
from tile38cm.tile38 import Refused, Tile38, Tile38Error

#: Seconds between looks.
EVERY = 0.1
#: Seconds without an answer after which Tile38 is taken for dead or hanging.
GRACE = 0.5


class LocalHealth:
    """Asks the local Tile38 for its role and offset, for ever.

    @ivar alive: whether it answered lately.
    @ivar log_size: as it said last; grows only, as long as it is the same log.
    """

    _log = Logger()

    def __init__(self, local: Tile38, clock: IReactorTime) -> None:
        self._local = local
        self._clock = clock
        self._tasks = Tasks()
        self._answered = 0.0
        self.alive = False
        self.log_size = 0
        #: Told when it stopped answering (with the reason), or answers again (with nothing).
        self.on_change: Callable[[str], None] = lambda _: None
        #: Told when the log became shorter: it is another log now.
        self.on_shorter: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to look."""
        self._answered = self._clock.seconds()
        self._tasks.keep(self._run, self._clock, "watching the local Tile38")

    async def stop(self) -> None:
        """Look no more."""
        await self._tasks.cancel()

    async def _run(self) -> None:
        while True:
            try:
                self._good(await self._local.role_offset())
            except Refused:
                self._good(None)  # never synced: it answers, but tells nothing of itself
            except Tile38Error as e:
                self._bad(str(e))
            await pause(self._clock, EVERY)

    def _good(self, offset: int | None) -> None:
        self._answered = self._clock.seconds()
        if offset is not None:
            shorter, self.log_size = offset < self.log_size, offset
            if shorter:
                self.on_shorter()
        if not self.alive:
            self.alive = True
            self._log.info("the local Tile38 answers")
            self.on_change("")

    def _bad(self, why: str) -> None:
        if self.alive and self._clock.seconds() - self._answered > GRACE:
            self.alive = False
            self._log.warn("the local Tile38 does not answer: {why}", why=why)
            self.on_change(why)
