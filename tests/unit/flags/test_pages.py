"""Tests of L{tile38cm.flags.pages} and of the table itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.flags.test_checks import REQUIRED
from tile38cm.flags.checks import settings_from
from tile38cm.flags.pages import WIDTH, check_page, help_page, rst_page
from tile38cm.flags.sources import gather
from tile38cm.flags.table import BY_NAME, FLAGS, GROUPS


class TableTests(SynchronousTestCase):
    """The table is whole."""

    def test_names_are_unique(self) -> None:
        """No two flags share a name or a variable."""
        for each in ([flag.name for flag in FLAGS], [flag.env for flag in FLAGS]):
            self.assertEqual([name for name, times in Counter(each).items() if times > 1], [])

    def test_groups(self) -> None:
        """Each flag belongs to a group that is printed, and no group is empty."""
        self.assertEqual({flag.group for flag in FLAGS}, set(GROUPS))

    def test_names_of_the_ancestor(self) -> None:
        """Deployments of the Go cluster manager keep their flags and variables."""
        for name, env, default in (
            ("id", "SERVICE_ID", None),
            ("advertise", "ADVERTISE", None),
            ("server.addr", "SERVER_ADDR", "127.0.0.1"),
            ("server.port", "SERVER_PORT", None),
            ("bind.addr.leader", "BIND_ADDR_LEADER", "0.0.0.0"),
            ("bind.port.leader", "BIND_PORT_LEADER", None),
            ("bind.addr.follower", "BIND_ADDR_FOLLOWER", "0.0.0.0"),
            ("bind.port.follower", "BIND_PORT_FOLLOWER", None),
            ("consul.addr", "CONSUL_HTTP_ADDR", "127.0.0.1:8500"),
            ("consul.lock.prefix", "CONSUL_LOCK_PREFIX", "_locks/tile38/cluster/manager"),
            ("dogstatsd.addr", "DD_AGENT_HOST", "127.0.0.1"),
            ("dogstatsd.port", "DD_AGENT_PORT", "8126"),
            ("service.manage", "SERVICE_MANAGE", "false"),
            ("service.name.leader", "SERVICE_NAME_LEADER", "tile38-writer"),
            ("service.name.follower", "SERVICE_NAME_FOLLOWER", "tile38-reader"),
            ("bridge.addr", "REPL_BRIDGE_IP", "127.0.0.1"),
            ("bridge.port", "REPL_BRIDGE_PORT", "0"),
        ):
            self.assertEqual((BY_NAME[name].env, BY_NAME[name].default), (env, default), name)


class HelpTests(SynchronousTestCase):
    """What C{--help} prints."""

    def test_everything_is_there(self) -> None:
        """Each flag with its variable and its default, each group once, no line too wide for a terminal."""
        page = help_page()
        for flag in FLAGS:
            self.assertIn(f"  --{flag.name}", page)
            self.assertIn(f"{flag.env}", page)
        for group in GROUPS:
            self.assertEqual(page.count(f"\n{group}:\n"), 1)
        self.assertIn("--lease DURATION  [TILE38CM_LEASE; default 1s]", page)
        self.assertIn("--id ID  [SERVICE_ID; required]", page)
        self.assertIn("--service.manage  [", page)
        self.assertLessEqual(max(map(len, page.splitlines())), WIDTH)


class CheckTests(SynchronousTestCase):
    """What C{--check} prints."""

    def test_page(self) -> None:
        """Each value with its source, secrets hidden, the folder that would be used worked out."""
        values = gather(REQUIRED, {"SERVER_PASSWORD": "hush", "ADVERTISE": "x"}, None)
        lines = {
            line.split()[0]: line.split()[1:]
            for line in check_page(values, settings_from(values)).splitlines()
        }
        self.assertEqual(list(lines), [flag.name for flag in FLAGS])
        self.assertEqual(lines["id"], ["n1", "--id"])
        self.assertEqual(lines["advertise"], ["10.0.0.1", "--advertise"])
        self.assertEqual(lines["server.password"], ["(hidden)", "SERVER_PASSWORD"])
        self.assertEqual(lines["consul.token"], ["(none)", "default"])
        self.assertEqual(lines["state.dir"], [str(Path.cwd() / "tile38cm-state" / "n1"), "default"])


class DocumentationTests(SynchronousTestCase):
    """The page for the documentation."""

    def test_rows(self) -> None:
        """A row of four cells for each flag."""
        lines = list(rst_page())
        rows = [index for index, line in enumerate(lines) if line.startswith("   * - ``--")]
        self.assertEqual(len(rows), len(FLAGS))
        for index in rows:
            self.assertTrue(all(line.startswith("     -") for line in lines[index + 1 : index + 4]))
        self.assertIn("   * - ``--lease DURATION``", lines)
