"""Checks of the Consul-compatible agent, in faked time."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.dev.consul_changes import Changes
from tile38cm.dev.consul_json import check_json
from tile38cm.dev.consul_services import Rejected, Services, parse_seconds, parse_service

DEFINITION = {
    "ID": "w-1",
    "Name": "w",
    "Checks": [
        {
            "CheckID": "tcp",
            "TCP": "[::1]:9000",
            "Interval": "15s",
            "Timeout": "3s",
            "FailuresBeforeCritical": 3,
        }
    ],
}


class TcpCheckTests(SynchronousTestCase):
    """TCP checks with a port that the test opens and closes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.open = True
        self.probed: list[tuple[str, int, float]] = []
        self.services = Services(Changes(self.clock), self.clock, self.probe)
        self.addCleanup(self.services.close)

    async def probe(self, host: str, port: int, timeout: float) -> bool:
        """Whether the port is open now."""
        self.probed.append((host, port, timeout))
        return self.open

    def status(self) -> str:
        """How the check stands."""
        return self.services.checks["w-1"]["tcp"].status

    def rounds(self, number: int) -> None:
        """Let so many intervals pass."""
        for _ in range(number):
            self.clock.advance(15.0)

    def test_first_probe(self) -> None:
        """A check is critical until its first probe, which comes within one interval."""
        self.services.register(*parse_service(DEFINITION), True)
        self.assertEqual(("critical", []), (self.status(), self.probed))
        self.rounds(1)
        self.assertEqual(("passing", [("::1", 9000, 3.0)]), (self.status(), self.probed))

    def test_failures_before_critical(self) -> None:
        """Only the third failure in a row is critical; one success is passing."""
        self.services.register(*parse_service(DEFINITION), True)
        self.rounds(1)
        self.open = False
        self.rounds(2)
        self.assertEqual("passing", self.status())
        self.rounds(1)
        self.assertEqual("critical", self.status())
        self.open = True
        self.rounds(1)
        self.assertEqual("passing", self.status())

    def test_slow_probe(self) -> None:
        """The next probe waits for the one under way, and deregistration ends it."""
        ended: list[bool] = []

        async def slow(host: str, port: int, timeout: float) -> bool:
            self.probed.append((host, port, timeout))
            return await Deferred(lambda _: ended.append(True))

        services = Services(Changes(self.clock), self.clock, slow)
        services.register(*parse_service(DEFINITION), True)
        self.rounds(5)
        self.assertEqual(1, len(self.probed))
        self.assertTrue(services.deregister("w-1"))
        self.assertEqual([True], ended)

    def test_close(self) -> None:
        """A closed agent has no timer left."""
        self.services.register(*parse_service(DEFINITION), True)
        self.services.close()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_without_probe(self) -> None:
        """Without a probe a TCP check keeps the status that it was given."""
        services = Services(Changes(self.clock), self.clock)
        check = {"CheckID": "tcp", "TCP": "h:1", "Interval": "1s", "Status": "passing"}
        services.register(*parse_service(DEFINITION | {"Checks": [check]}), True)
        self.rounds(10)
        self.assertEqual("passing", services.checks["w-1"]["tcp"].status)


class ShownTests(SynchronousTestCase):
    """Checks as Consul's JSON shows them."""

    def test_kinds(self) -> None:
        """What kind a check is, and how often it is done, in Go's durations."""
        tcp = {"TCP": "h:1", "Interval": "90s", "Timeout": "300ms"}
        _, checks = parse_service({"Name": "w", "Checks": [tcp, {"TTL": "2h"}, tcp | {"Interval": "61m"}]})
        shown = [check_json(check, None) for check in checks]
        self.assertEqual(
            [(each["Type"], each["Interval"], each["Timeout"]) for each in shown],
            [("tcp", "1m30s", "300ms"), ("ttl", "", ""), ("tcp", "1h1m0s", "300ms")],
        )
        self.assertEqual(shown[0]["Name"], "Service 'w' check")


class ParseTests(SynchronousTestCase):
    """Definitions that Consul refuses."""

    def test_rejected(self) -> None:
        """Definitions with something missing, unknown or contradictory are rejected."""
        rejected: tuple[object, ...] = (
            [],
            {},
            {"Name": ""},
            {"Name": "w", "Bogus": 1},
            {"Name": "w", "Checks": [{"TCP": "h:1"}]},
            {"Name": "w", "Checks": [{"TCP": "h:1", "Interval": "1s", "TTL": "1s"}]},
            {"Name": "w", "Checks": [{"TTL": "1"}]},
        )
        for bad in rejected:
            with self.assertRaises(Rejected):
                parse_service(bad)

    def test_seconds(self) -> None:
        """Durations need a unit."""
        self.assertEqual([0.2, 15.0, 300.0, 3600.0], [parse_seconds(t) for t in ("200ms", "15s", "5m", "1h")])
        for bad in ("", "5", "s", "xs", None):
            with self.assertRaises(Rejected):
                parse_seconds(bad)
