"""How events become lines: C{2026-01-31T12:00:00.123Z info tile38cm.service the message}, or JSON objects.

Both C{twist} and C{twistd} begin logging themselves after the command line was
parsed.  L{adopt} only exchanges the observer that they are going to use, so
their own C{--log-file}, C{--logfile} and C{--logger} keep their meaning, nothing
is printed twice, and whatever was logged before is printed as well.

Lines of others (Twisted's "Starting factory …" for each connection) are shown
from C{warn} on; with C{--log.level debug} all of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import IO, Any

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


def adopt(runner: MutableMapping[str, Any], settings: Settings, level_was_given: bool) -> None:
    """Make C{twist} or C{twistd} log our way, by changing its options before it reads them.

    @param runner: The options of the command that runs us.
    @param level_was_given: Else C{twist --log-level} holds.
    """
    if "fileLogObserverFactory" in runner:
        _adopt_twist(runner, settings, level_was_given)
    elif "logfile" in runner and not runner.get("logger") and not runner.get("syslog"):
        runner["logger"] = lambda: observer(_twistd_file(runner), settings.log_format, settings.log_level)


def _adopt_twist(runner: MutableMapping[str, Any], settings: Settings, level_was_given: bool) -> None:
    style = runner.get("logFormat", "text") if settings.log_format == "auto" else settings.log_format
    if level_was_given:
        runner["logLevel"] = LogLevel.levelWithName(settings.log_level)
    level = runner["logLevel"].name
    runner["fileLogObserverFactory"] = lambda out: observer(out, style, level)


def _twistd_file(runner: MutableMapping[str, Any]) -> IO[Any]:
    """What C{twistd} would log to: C{--logfile}, else C{twistd.log} or, in the foreground, stdout."""
    name = runner.get("logfile")
    foreground = runner.get("nodaemon")
    if name == "-" and not foreground:
        sys.exit("A daemon cannot log to standard output.")
    if foreground and name in (None, "", "-"):
        return sys.stdout
    file: IO[Any] = LogFile.fromFullPath(name or "twistd.log")
    return file


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
