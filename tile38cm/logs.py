"""How events become lines: C{2026-01-31T12:00:00.123Z info tile38cm.service the message}, or JSON objects.

Both C{twist} and C{twistd} begin logging themselves, after they have made the
service.  Only the observer that they are going to use is exchanged: for C{twist}
in its options, for C{twistd} (which resolves its options first) as a component
of the application.  So their own C{--log-file}, C{--logfile}, C{--logger} and
C{--syslog} keep their meaning, nothing is printed twice, and whatever was logged
before is printed as well.

Lines of others (Twisted's "Starting factory …" for each connection) are shown
from C{warn} on; with C{--log.level debug} all of them.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import IO, Any, cast

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    LogLevel,
    PredicateResult,
    formatEvent,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from zope.interface import implementer

from tile38cm.settings import LogFormat, Settings

#: Namespaces whose C{info} is worth a line.
_OURS = "tile38cm"


def text_line(event: LogEvent) -> str:
    """One line; the traceback of a failure follows it, indented."""
    head = f"{_time(event)} {_level(event).name} {_namespace(event)} {_escaped(formatEvent(event))}\n"
    return head + "".join(f"    {line}\n" for line in _traceback(event).splitlines())


def json_line(event: LogEvent) -> str:
    """One JSON object: time, level, namespace, message, and what the message was made from.

    Values that JSON has no word for are given as their C{str}, which hides secrets.
    """
    record: dict[str, Any] = {key: _plain(value) for key, value in event.items() if not _is_internal(key)}
    record |= {
        "time": _time(event),
        "level": _level(event).name,
        "namespace": _namespace(event),
        "message": formatEvent(event),
    }
    if traceback := _traceback(event):
        record["traceback"] = traceback
    return json.dumps(record, ensure_ascii=False) + "\n"


def observer(out: IO[Any], style: LogFormat, level: str) -> ILogObserver:
    """Writes lines to C{out}, in the style given (C{auto}: text), from that level on."""
    write = FileLogObserver(out, json_line if style == "json" else text_line)
    return FilteringLogObserver(write, [_Threshold(level)])


def adopt_twist(runner: MutableMapping[str, Any], settings: Settings, level_was_given: bool) -> None:
    """Make C{twist} log our way, by changing its options before it reads them; of others nothing is changed.

    @param runner: The options of the command that runs us.
    @param level_was_given: Else C{twist --log-level} holds.
    """
    if "fileLogObserverFactory" not in runner:
        return
    style = runner.get("logFormat", "text") if settings.log_format == "auto" else settings.log_format
    if level_was_given:
        runner["logLevel"] = LogLevel.levelWithName(settings.log_level)
    level = runner["logLevel"].name
    runner["fileLogObserverFactory"] = lambda out: observer(out, style, level)


def twistd_observer(
    runner: Mapping[str, Any], settings: Settings, soon: Callable[[Callable[[], object]], object]
) -> ILogObserver | None:
    """What C{twistd} shall log with; C{None} under another command, or where the operator has chosen.

    @param soon: Calls from the reactor's own loop what a signal asked for.
    """
    if "logfile" not in runner or runner.get("logger") or runner.get("syslog"):
        return None
    return observer(_twistd_file(runner, soon), settings.log_format, settings.log_level)


def _twistd_file(runner: Mapping[str, Any], soon: Callable[[Callable[[], object]], object]) -> IO[Any]:
    """What C{twistd} would log to: C{--logfile}, else C{twistd.log} or, in the foreground, stdout."""
    name = runner["logfile"]
    foreground = runner.get("nodaemon")
    if name == "-" and not foreground:
        sys.exit("A daemon cannot log to standard output.")
    if foreground and name in (None, "", "-"):
        return sys.stdout
    file: Any = LogFile.fromFullPath(name or "twistd.log")
    # As twistd does it: what rotates logs sends this signal, which would otherwise end the process.
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: soon(file.rotate))
    return cast("IO[Any]", file)


@implementer(ILogFilterPredicate)
class _Threshold:
    """Lets an event pass by its level; C{info} of others passes as C{debug} would."""

    def __init__(self, level: str) -> None:
        self._least = LogLevel.levelWithName(level)

    def __call__(self, event: LogEvent) -> Any:
        level = _level(event)
        if level is LogLevel.info and not _namespace(event).startswith(_OURS):
            level = LogLevel.debug
        return PredicateResult.maybe if level >= self._least else PredicateResult.no


def _level(event: LogEvent) -> Any:
    level = event.get("log_level")
    return level if level is not None else LogLevel.info


def _namespace(event: LogEvent) -> str:
    return str(event.get("log_namespace") or "-")


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escaped(message: str) -> str:
    """One line whatever a peer or a client put into it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if isinstance(failure, Failure) else ""


def _is_internal(key: str) -> bool:
    return key.startswith("log_") or key in ("isError", "failure", "why", "system", "format")


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
