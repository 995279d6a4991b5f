"""Tests of L{tile38cm.logs}."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.logger import FileLogObserver, ILogFilterPredicate, LogEvent, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.unit.flags.test_checks import settings
from tile38cm import logs
from tile38cm.settings import Secret


def event(text: str, namespace: str = "tile38cm.x", level: str = "info", **values: object) -> LogEvent:
    """An event of 2026-01-31, as a L{twisted.logger.Logger} makes it."""
    return {
        "log_format": text,
        "log_namespace": namespace,
        "log_level": LogLevel.levelWithName(level),
        "log_time": 1769860800.1234,
        **values,
    }


class LineTests(SynchronousTestCase):
    """Events as text and as JSON."""

    def test_text(self) -> None:
        """Time in UTC, level, where it comes from, the message."""
        line = logs.text_line(event("leader is {leader}", leader="n1"))
        self.assertEqual(line, "2026-01-31T12:00:00.123Z info tile38cm.x leader is n1\n")

    def test_one_line(self) -> None:
        """What others put into a message cannot end the line, nor steer a terminal."""
        line = logs.text_line(event("{what}", what="a\n2026 fake\r\x1b[31m – ü"))
        self.assertTrue(line.endswith(" a\\n2026 fake\\r\\x1b[31m – ü\n"), line)

    def test_json(self) -> None:
        """One object with the message and what it was made from."""
        line = logs.json_line(event("lag {lag} of {node}\n", lag=3, node=("a", 1)))
        self.assertEqual(line.count("\n"), 1)
        self.assertEqual(
            json.loads(line),
            {
                "time": "2026-01-31T12:00:00.123Z", "level": "info", "namespace": "tile38cm.x",
                "message": "lag 3 of ('a', 1)\n", "lag": 3, "node": "('a', 1)",
            },
        )  # fmt: skip

    def test_secrets(self) -> None:
        """A secret is hidden in both, whether the message shows it or not."""
        for text in ("token", "token {token}", "token {token!r}"):
            for render in (logs.text_line, logs.json_line):
                self.assertNotIn("hush", render(event(text, token=Secret("hush"), all=[Secret("hush")])))

    def test_failures(self) -> None:
        """A failure brings its traceback: indented lines, or a field."""
        failed = event("oh", level="critical", log_failure=Failure(ValueError("wrong")))
        head, *rest = logs.text_line(failed).splitlines()
        self.assertTrue(head.endswith("critical tile38cm.x oh"))
        self.assertTrue(rest and all(line.startswith("    ") for line in rest))
        self.assertIn("ValueError: wrong", json.loads(logs.json_line(failed))["traceback"])

    def test_bare_event(self) -> None:
        """An event with nothing in it is still a line."""
        self.assertEqual(logs.text_line({}), "1970-01-01T00:00:00.000Z info - \n")
        self.assertEqual(json.loads(logs.json_line({}))["message"], "")


class ObserverTests(SynchronousTestCase):
    """Which events are written."""

    def written(self, level: str, *events: LogEvent) -> list[str]:
        out = StringIO()
        observer = logs.observer(out, "text", level)
        for each in events:
            observer(each)
        return [line.split(" ", 3)[3] for line in out.getvalue().splitlines()]

    def test_threshold(self) -> None:
        """Below the level nothing is written."""
        events = [event(level, level=level) for level in ("debug", "info", "warn", "error", "critical")]
        self.assertEqual(self.written("warn", *events), ["warn", "error", "critical"])
        self.assertEqual(len(self.written("debug", *events)), 5)

    def test_others(self) -> None:
        """What Twisted says of each connection is no news; its warnings are."""
        noise = event("noise", namespace="twisted.internet.protocol")
        warning = event("warning", namespace="twisted.web", level="warn")
        self.assertEqual(self.written("info", noise, warning), ["warning"])
        self.assertEqual(self.written("debug", noise, warning), ["noise", "warning"])

    def test_interface(self) -> None:
        """The filter is what Twisted's filtering observer asks for."""
        self.assertTrue(verifyObject(ILogFilterPredicate, logs._Threshold("info")))


class TwistTests(SynchronousTestCase):
    """How the options of twist are changed."""

    def write(self, factory: Any, level: str = "info") -> str:
        out = StringIO()
        factory(out)(event("hello", level=level))
        return out.getvalue()

    def twist(self, **more: object) -> dict[str, Any]:
        return {
            "fileLogObserverFactory": FileLogObserver,
            "logFormat": "json",
            "logLevel": LogLevel.info,
            **more,
        }

    def test_twist_chooses_the_format(self) -> None:
        """With C{auto} twist decides: by its own flag, or by whether it writes to a terminal."""
        for style in ("json", "text"):
            runner = self.twist(logFormat=style)
            logs.adopt_twist(runner, settings(), level_was_given=False)
            self.assertEqual(self.write(runner["fileLogObserverFactory"]).startswith("{"), style == "json")

    def test_format_was_given(self) -> None:
        """Our flag wins over twist's."""
        runner = self.twist()
        logs.adopt_twist(runner, settings(log_format="text"), level_was_given=False)
        self.assertTrue(self.write(runner["fileLogObserverFactory"]).startswith("2026-"))

    def test_level(self) -> None:
        """Our level holds if somebody said it, else twist's."""
        for given, expected in ((True, LogLevel.error), (False, LogLevel.debug)):
            runner = self.twist(logLevel=LogLevel.debug)
            logs.adopt_twist(runner, settings(log_level="error"), level_was_given=given)
            self.assertIs(runner["logLevel"], expected)
            self.assertEqual(self.write(runner["fileLogObserverFactory"]) == "", given)

    def test_others(self) -> None:
        """The options of another command stay as they are."""
        runner: dict[str, Any] = {"logfile": None, "logger": None}
        logs.adopt_twist(runner, settings(), level_was_given=True)
        self.assertEqual(runner, {"logfile": None, "logger": None})


class TwistdTests(SynchronousTestCase):
    """What twistd gets to log with."""

    def setUp(self) -> None:
        self.soon: list[Callable[[], object]] = []
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.getsignal(signal.SIGUSR1))
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def observer(self, **runner: object) -> Any:
        return logs.twistd_observer({"logfile": None, **runner}, settings(), self.soon.append)

    def test_file(self) -> None:
        """A daemon writes to the file that it was told; the signal rotates it, from the reactor's loop."""
        file = Path(self.mktemp())
        observer = self.observer(logfile=str(file))
        observer(event("before"))
        os.kill(os.getpid(), signal.SIGUSR1)
        [rotate] = self.soon
        rotate()
        observer(event("after"))
        self.assertEqual(file.read_text(), "2026-01-31T12:00:00.123Z info tile38cm.x after\n")
        self.assertIn("before", file.with_name(file.name + ".1").read_text())

    def test_foreground(self) -> None:
        """In the foreground without a file it is standard output."""
        out = StringIO()
        self.patch(sys, "stdout", out)
        self.observer(nodaemon=True)(event("hello"))
        self.assertIn("hello", out.getvalue())

    def test_daemon_without_a_terminal(self) -> None:
        """A daemon has no standard output to log to."""
        self.assertRaises(SystemExit, self.observer, logfile="-")

    def test_operators_choice(self) -> None:
        """Where an operator chose an observer or syslog, or another command runs us, it is none of ours."""
        self.assertIsNone(self.observer(logger="some.observer"))
        self.assertIsNone(self.observer(syslog=True))
        self.assertIsNone(logs.twistd_observer({}, settings(), self.soon.append))
