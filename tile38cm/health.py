"""The local Tile38, looked at all the time: is it there, and how long is its log?

Three things look alike from outside, and mean different things.  A server that
is I{gone} refuses or resets connections: it has the grace to come back.  One
that I{hangs} (frozen, swapped out, its machine's disk stuck) answers nobody, and
is as good as gone.  One that is I{busy} (a long search, and a write behind it that
keeps all others waiting) answers no command either, at times not even C{PING} (4 of
25 under load), for replies wait for the same lock; but it still accepts connections
and closes them when asked to.  So L{Tile38.knock} tells busy from hanging.  Where all
processors of the machine are taken not even that may be done within the grace; then
the kernel tells a server that I{starves} from one that hangs (L{Vitals}).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.tasks import Tasks, pause
from tile38cm.tile38 import Refused, Tile38, Tile38Error
from tile38cm.vitals import Vitals

#: Seconds between questions for the log's size.
EVERY = 0.1
#: Seconds between looks at the clock.
STEP = 0.05
#: A look that comes later than this (seconds) was late by our own fault: no more is counted as silence.
LONGEST_STEP = 2 * STEP
#: Seconds without an answer after which Tile38 is knocked at.
SUSPECT = 0.1
#: Seconds of silence for which one that wants a processor is believed to starve; clients wait for longer.
STARVE_LIMIT = 5.0
#: Seconds for which a busy server may keep everybody waiting; then it is of no use, alive or not.
BUSY_LIMIT = 30.0


class LocalHealth:
    """Asks the local Tile38 for its role and offset, for ever.

    @param grace: seconds of silence after which it is taken for dead.
    @param vitals: what the kernel says of its process.
    @ivar alive: whether it is there.
    @ivar log_size: as it said last; grows only, as long as it is the same log.
    """

    _log = Logger()

    def __init__(self, local: Tile38, clock: IReactorTime, grace: float, vitals: Vitals) -> None:
        self._local = local
        self._vitals = vitals
        self._clock = clock
        self._grace = grace
        self._tasks = Tasks()
        #: Seconds without a sign of life, as far as we were awake to see one.
        self._silent = 0.0
        #: The same, without having been forgiven for starving.
        self._unheard = 0.0
        self._looked = 0.0
        #: When the question was asked that is open now.
        self._asked: float | None = None
        #: What is answered to it is older than what is known.
        self._outdated = False
        self._knocking = self._identifying = False
        #: Why the last question failed; empty: it did not.
        self._trouble = ""
        self.alive = False
        self.log_size = 0
        #: Told when it is taken for dead (with the reason), or answers again (with nothing).
        self.on_change: Callable[[str], None] = lambda _: None
        #: Told when the log became shorter: it is another log now.
        self.on_shorter: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to look."""
        self._looked = self._clock.seconds()
        self._tasks.keep(self._ask, self._clock, "watching the local Tile38")
        self._tasks.keep(self._judge, self._clock, "judging the local Tile38")

    async def stop(self) -> None:
        """Look no more."""
        await self._tasks.cancel()

    def measured(self, size: int) -> None:
        """The log has just been found to be so long; a question that was asked before tells nothing newer."""
        self.log_size = size
        self._outdated = True

    # -- asking ---------------------------------------------------------------

    async def _ask(self) -> None:
        while True:
            self._asked, self._outdated = self._clock.seconds(), False
            try:
                offset = await self._local.watched_offset(BUSY_LIMIT)
                self._good(None if self._outdated else offset)
            except Refused:
                self._good(None)  # never synced: it answers, but tells nothing of itself
            except Tile38Error as e:
                self._trouble = str(e)
                self._vitals.forget()
            finally:
                self._asked = None
            await pause(self._clock, EVERY)

    def _good(self, offset: int | None) -> None:
        self._trouble = ""
        self._heard()
        if offset is not None:
            shorter, self.log_size = offset < self.log_size, offset
            if shorter:
                self.on_shorter()
        if not self.alive:
            self.alive = True
            self._log.info("the local Tile38 answers")
            self.on_change("")
        if not self._vitals.known and not self._identifying:
            self._identifying = True
            self._tasks.start(self._identify(), "asking the local Tile38 for its process")

    async def _identify(self) -> None:
        try:
            server = await self._local.server()
        except Tile38Error as e:
            self._log.debug("the local Tile38 does not tell its process: {e}", e=str(e))
        else:
            if not self._trouble:
                self._vitals.watch(server.pid)
        finally:
            self._identifying = False

    # -- judging --------------------------------------------------------------

    async def _judge(self) -> None:
        while True:
            await pause(self._clock, STEP)
            now = self._clock.seconds()
            step = min(now - self._looked, LONGEST_STEP)
            self._silent, self._unheard, self._looked = self._silent + step, self._unheard + step, now
            if self._suspect(now) and not self._knocking:
                self._knocking = True
                self._tasks.start(self._knock(), "knocking at the local Tile38")
            if self._starves():
                self._silent = 0.0
            if self.alive and self._silent > self._grace:
                self._gone(self._trouble or f"it hangs: nothing was heard for {self._silent:.2g} s")

    def _suspect(self, now: float) -> bool:
        """Whether it keeps us waiting, without having said that it is gone or loads its log."""
        return not self._trouble and self._asked is not None and now - self._asked > SUSPECT

    def _starves(self) -> bool:
        """Whether it is silent for want of a processor, as far as one can tell."""
        quiet = self._silent > SUSPECT and self._unheard < STARVE_LIMIT and not self._trouble
        return quiet and self._vitals.wants_processor()

    def _heard(self) -> None:
        """It has given a sign of life."""
        self._silent = self._unheard = 0.0

    async def _knock(self) -> None:
        try:
            await self._local.knock(BUSY_LIMIT)
        except Tile38Error as e:
            self._log.debug("the local Tile38 does not open: {e}", e=str(e))
        else:
            if not self._trouble:
                self._heard()
        finally:
            self._knocking = False

    def _gone(self, why: str) -> None:
        self.alive = False
        self._log.warn("the local Tile38 does not answer: {why}", why=why)
        self.on_change(why)
