"""C{twist tile38cm} and C{twistd tile38cm}: the command line, and the service that it makes.

Only this module, C{dev.cluster} and C{operate.ctl} may import the reactor.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

from twisted.application.service import IService, MultiService
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import ILogObserver
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from tile38cm import __version__, logs
from tile38cm.flags import pages
from tile38cm.flags.checks import settings_from
from tile38cm.flags.sources import Value, gather
from tile38cm.flags.table import FLAGS
from tile38cm.flags.values import WrongValue
from tile38cm.settings import Settings
from tile38cm.turns import hasten

#: Behind, or before, the sentence that says what is wrong.
HINT = """\
"twist tile38cm --help" explains every flag; with --check behind the others it prints what
would be used, and where each value comes from.
"""


class Options(UsageOptions):
    """The command line; after C{parseOptions} C{settings} is what everything else is made from.

    @param environment: Instead of the process's own.
    @param write: Where C{--help}, C{--version} and C{--check} print.
    """

    optFlags = [[flag.name, None, flag.help] for flag in FLAGS if flag.switch] + [["check", None, ""]]
    optParameters = [[flag.name, None, None, flag.help] for flag in FLAGS if not flag.switch] + [
        ["config", None, None, ""]
    ]

    settings: Settings
    gathered: dict[str, Value]

    def __init__(
        self, environment: Mapping[str, str] | None = None, write: Callable[[str], object] = sys.stdout.write
    ) -> None:
        super().__init__()
        self._environment = os.environ if environment is None else environment
        self._write = write

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        self._write(f"tile38cm {__version__}\n")
        sys.exit(0)

    def opt_help(self) -> NoReturn:
        """Print the flags and exit."""
        self._write(pages.help_page())
        sys.exit(0)

    def getUsage(self, width: int | None = None) -> str:
        """What twist and twistd print on wrong usage: few lines, so that the error stays in sight."""
        return HINT

    def parseArgs(self, *junk: str) -> None:
        if junk:
            raise UsageError(f"{junk[0]!r} is not a flag, and tile38cm takes nothing but flags.")

    def postOptions(self) -> None:
        file = Path(self["config"]) if self["config"] is not None else None
        try:
            self.gathered = gather(self._command_line(), self._environment, file)
            self.settings = settings_from(self.gathered)
        except WrongValue as wrong:
            raise UsageError(str(wrong)) from None
        if self["check"]:
            self._write(pages.check_page(self.gathered, self.settings))
            sys.exit(0)
        if self.parent is not None:
            logs.adopt_twist(self.parent, self.settings, level_was_given=self._was_given("log.level"))

    def _command_line(self) -> dict[str, str]:
        """The texts of the flags that were there; a switch that was there is true."""
        given = {}
        for flag in FLAGS:
            value = self[flag.name]
            if flag.switch and value:
                given[flag.name] = "true"
            elif not flag.switch and value is not None:
                given[flag.name] = value
        return given

    def _was_given(self, name: str) -> bool:
        given = self.gathered[name].given
        return given is not None and given.origin != "default"


#: Seconds since boot, suspended time included; asked several times for each request, so no Python is in it.
monotonic = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


class NodeWithLog(MultiService):
    """The node, and the observer that C{twistd} shall log with."""

    def __init__(self, node: IService, observer: ILogObserver | None) -> None:
        super().__init__()
        node.setServiceParent(self)
        self._observer = observer

    def stopService(self) -> Any:
        """Stop in order; a second signal ends the process at once, with exit code 1."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(1))
        return super().stopService()

    def setServiceParent(self, parent: Any) -> None:
        """C{twistd} takes its observer from the application, if that has one."""
        super().setServiceParent(parent)
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)


def makeService(options: Options) -> IService:
    """The node as one service; nothing is opened or started before it starts, but the log."""
    from twisted.internet import reactor

    from tile38cm.service import NodeService

    hasten(reactor)
    # All that was imported stays for good: a collection that looks through it again stops
    # everything for some 40 ms, and finds nothing.
    gc.collect()
    gc.freeze()
    # All delays of this process go by a clock that neither steps nor stands still in suspend:
    # Twisted's own is the wall clock, and a step of that would stop the heartbeats.
    reactor.seconds = monotonic  # type: ignore[method-assign]  # meant to be replaced, says ReactorBase
    runner = options.parent if options.parent is not None else {}
    # mypy takes the reactor for a module.
    from_signal = cast(IReactorFromThreads, reactor).callFromThread
    observer = logs.twistd_observer(runner, options.settings, from_signal)
    return NodeWithLog(NodeService(reactor, options.settings), observer)
