"""Tests of L{tile38cm.tap}."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.application import service
from twisted.application.twist._options import TwistOptions
from twisted.logger import ILogObserver
from twisted.python.usage import UsageError
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.flags.test_checks import REQUIRED
from tile38cm import __version__
from tile38cm.flags.table import FLAGS
from tile38cm.service import NodeService
from tile38cm.settings import Address
from tile38cm.tap import Options, makeService, monotonic

REQUIRED_FLAGS = [word for name, text in REQUIRED.items() for word in (f"--{name}", text)]


def _keep_time(test: SynchronousTestCase) -> None:
    """Give the reactor of the tests its own time back in the end."""
    from twisted.internet import reactor

    test.patch(reactor, "seconds", reactor.seconds)


class OptionsTests(SynchronousTestCase):
    """The command line as a whole."""

    def setUp(self) -> None:
        self.printed = ""

    def parse(self, *words: str, **environment: str) -> Options:
        def write(text: str) -> None:
            self.printed += text

        options = Options(environment, write)
        options.parseOptions(words)
        return options

    def exits(self, *words: str) -> str:
        """What is printed before the process would end, well."""
        error = self.assertRaises(SystemExit, self.parse, *words)
        self.assertEqual(error.code, 0)
        return self.printed

    def refused(self, *words: str, **environment: str) -> str:
        return str(self.assertRaises(UsageError, self.parse, *words, **environment))

    def test_command_line(self) -> None:
        """Flags become settings."""
        found = self.parse(*REQUIRED_FLAGS, "--server.addr=10.0.0.9", "--tls", "off").settings
        self.assertEqual((found.server, found.tls.mode, found.id), (Address("10.0.0.9", 9851), "off", "n1"))

    def test_environment_alone(self) -> None:
        """All of it can be said by the environment."""
        environment = {flag.env or "": REQUIRED[flag.name] for flag in FLAGS if flag.name in REQUIRED}
        self.assertEqual(self.parse(**environment).settings, self.parse(*REQUIRED_FLAGS).settings)

    def test_every_flag_is_on_the_command_line(self) -> None:
        """Each row of the table is a flag, and each flag a row."""
        known = {name.rstrip("=") for name in Options({}).longOpt}
        extra = {"config", "check", "help", "version"}
        self.assertEqual(known, {flag.name for flag in FLAGS} | extra)

    def test_switch(self) -> None:
        """A switch takes no value on the command line, and the usual words from the environment."""
        self.assertFalse(self.parse(*REQUIRED_FLAGS).settings.service_manage)
        self.assertTrue(self.parse(*REQUIRED_FLAGS, "--service.manage").settings.service_manage)
        self.assertTrue(self.parse(*REQUIRED_FLAGS, SERVICE_MANAGE="yes").settings.service_manage)
        self.assertFalse(self.parse(*REQUIRED_FLAGS, SERVICE_MANAGE="false").settings.service_manage)
        self.assertIn("--service.manage must not have an argument", self.refused("--service.manage=true"))

    def test_config(self) -> None:
        """A file gives what the command line and the environment don't."""
        file = Path(self.mktemp())
        file.write_text('id = "n9"\n[server]\nport = 1\n[bind]\nport = {leader = 2, follower = 3}\n')
        found = self.parse("--config", str(file), "--advertise", "h", SERVER_PORT="4").settings
        self.assertEqual((found.id, found.server.port, found.writer.port), ("n9", 4, 2))

    def test_junk(self) -> None:
        """Words that are no flags are refused, so that a forgotten dash is seen."""
        self.assertIn("'leader' is not a flag", self.refused(*REQUIRED_FLAGS, "leader"))

    def test_wrong_usage(self) -> None:
        """Whatever is wrong is one sentence."""
        for words in (
            (),
            ("--lease", "x", *REQUIRED_FLAGS),
            ("--nope",),
            ("--id",),
            ("--config", "/nowhere"),
        ):
            self.assertNotIn("\n", self.refused(*words))

    def test_help(self) -> None:
        """C{--help} prints the flags, though nothing that is required was given."""
        self.assertIn("--bind.port.leader PORT", self.exits("--help"))

    def test_version(self) -> None:
        """C{--version} prints ours, not Twisted's."""
        self.assertEqual(self.exits("--version"), f"tile38cm {__version__}\n")

    def test_check(self) -> None:
        """C{--check} prints what would be used and starts nothing; a wrong value is refused all the same."""
        page = self.exits("--check", *REQUIRED_FLAGS, "--server.password", "hush")
        self.assertRegex(page, r"(?m)^id +n1 +--id$")
        self.assertNotIn("hush", page)
        self.assertIn("--expect", self.refused("--check", *REQUIRED_FLAGS, "--expect", "0"))

    def test_logs_are_ours(self) -> None:
        """Run by twist, our lines replace its own."""
        options = Options({})
        options.parent = TwistOptions()
        options.parent.selectDefaultLogObserver()
        before: Callable[..., object] = options.parent["fileLogObserverFactory"]
        options.parseOptions(REQUIRED_FLAGS)
        self.assertIsNot(options.parent["fileLogObserverFactory"], before)

    def test_wrong_usage_in_sight(self) -> None:
        """What twist prints after the sentence tells where the flags are; it stays in sight."""
        twist = TwistOptions()
        self.assertRaises(UsageError, twist.parseOptions, ["tile38cm", "--id", ""])
        self.assertIn("twist tile38cm --help", str(twist))
        self.assertLess(len(str(twist).splitlines()), 8)


class TwistdTests(SynchronousTestCase):
    """Run by twistd."""

    def setUp(self) -> None:
        _keep_time(self)

    def options(self, *words: str) -> ServerOptions:
        options = ServerOptions()
        options.parseOptions([*words, "tile38cm", *REQUIRED_FLAGS])
        return options

    def test_log(self) -> None:
        """The application brings our observer, for twistd's own log file."""
        file = Path(self.mktemp())
        application = service.Application("tile38cm")
        makeService(self.options("--logfile", str(file)).subOptions).setServiceParent(application)
        self.assertTrue(ILogObserver.providedBy(ILogObserver(application)))
        self.assertTrue(file.exists())

    def test_operators_observer(self) -> None:
        """An observer that the operator names stays."""
        application = service.Application("tile38cm")
        options = self.options("--logger", "twisted.logger.textFileLogObserver")
        makeService(options.subOptions).setServiceParent(application)
        self.assertIsNone(ILogObserver(application, None))

    def test_one_service(self) -> None:
        """The node is in it, and not started yet."""
        made = makeService(self.options("-n", "--logfile", self.mktemp()).subOptions)
        [node] = list(service.IServiceCollection(made))
        self.assertIsInstance(node, NodeService)
        self.assertFalse(node.running)


class ClockTests(SynchronousTestCase):
    """What the process measures time by."""

    def test_no_wall_clock(self) -> None:
        """The reactor goes by CLOCK_BOOTTIME once a node is made: a step of the wall clock moves nothing."""
        from twisted.internet import reactor

        _keep_time(self)
        options = Options({}, lambda text: None)
        options.parseOptions(REQUIRED_FLAGS)
        makeService(options)
        self.assertIs(reactor.seconds, monotonic)
