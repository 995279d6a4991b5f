"""W and R stay in the catalog, against our own Consul agent in memory."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from tests.unit.dev.consul_bench import START, InMemory
from tile38cm.coordination.consul import Unclear
from tile38cm.dev.consul import DevConsul
from tile38cm.operate.registration import EVERY, STOP_TIMEOUT, Registration, definitions
from tile38cm.settings import Address, Settings, TlsSettings

SETTINGS = Settings(
    id="n1",
    advertise="10.0.0.1",
    server=Address("127.0.0.1", 9851),
    writer=Address("0.0.0.0", 0),
    reader=Address("0.0.0.0", 0),
)
W, R = "tile38-writer-n1", "tile38-reader-n1"


class Agent(Resource):
    """Our Consul agent, which may be in trouble: answer 500 to everything, or never."""

    isLeaf = True  # noqa: N815 - twisted.web's name

    def __init__(self, inner: IResource) -> None:
        super().__init__()
        self.inner = inner
        self.state = "well"

    def render(self, request: IRequest) -> int | bytes:
        if self.state == "silent":
            return NOT_DONE_YET
        if self.state == "broken":
            request.setResponseCode(500)
            return b"No cluster leader"
        rendered: int | bytes = self.inner.render(request)
        return rendered


class DefinitionTests(SynchronousTestCase):
    """What is asked of Consul."""

    def test_writer(self) -> None:
        """W is registered as the Go cluster manager does it: name, id in the meta data, and its check."""
        writer, _ = definitions(SETTINGS, 7001, 7002)
        self.assertEqual(
            writer,
            {
                "ID": W,
                "Name": "tile38-writer",
                "Address": "10.0.0.1",
                "Port": 7001,
                "Meta": {"id": "n1"},
                "Connect": {"Native": True},
                "Check": {
                    "CheckID": f"service:{W}",
                    "Name": "W of n1 takes connections",
                    "TCP": "10.0.0.1:7001",
                    "Interval": "15s",
                    "Timeout": "3s",
                    "FailuresBeforeCritical": 3,
                    "DeregisterCriticalServiceAfter": "5m",
                },
            },
        )

    def test_reader(self) -> None:
        """R has its own service, port and check."""
        _, reader = definitions(SETTINGS, 7001, 7002)
        self.assertEqual((reader["ID"], reader["Name"], reader["Port"]), (R, "tile38-reader", 7002))
        self.assertEqual(
            (reader["Check"]["CheckID"], reader["Check"]["TCP"]), (f"service:{R}", "10.0.0.1:7002")
        )

    def test_only_connect_is_native(self) -> None:
        """Without Connect's certificates a service does not say that it speaks Connect."""
        for mode in ("files", "off"):
            for each in definitions(evolve(SETTINGS, tls=TlsSettings(mode)), 1, 2):
                self.assertNotIn("Connect", each)

    def test_ipv6(self) -> None:
        """The check of an IPv6 address has brackets, the service's address has none."""
        writer, _ = definitions(evolve(SETTINGS, advertise="fd00::1"), 7001, 7002)
        self.assertEqual((writer["Address"], writer["Check"]["TCP"]), ("fd00::1", "[fd00::1]:7001"))


class RegistrationTests(SynchronousTestCase):
    """The life of a registration."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.dev = DevConsul(self.clock)
        self.addCleanup(self.dev.close)
        self.agent = Agent(self.dev.resource())
        self.bench = InMemory(self.agent, self.clock)
        self.registration = Registration(self.bench.consul, SETTINGS, self.clock, 7001, 7002)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with as many exchanges as are wanted."""
        self.bench.advance(seconds)
        for _ in range(5):
            self.bench.advance(0)

    def known(self) -> set[str]:
        """The ids of the agent's services."""
        return set(self.dev.services.services)

    def stop(self) -> Deferred[None]:
        """Begin to stop, and let bytes arrive."""
        stopped = Deferred.fromCoroutine(self.registration.stop())
        self.pass_time(0)
        return stopped

    def test_start(self) -> None:
        """Both services are there at once."""
        self.registration.start()
        self.pass_time(0)
        self.assertEqual(self.known(), {W, R})
        self.assertEqual(self.dev.services.services[R].meta, {"id": "n1"})
        self.assertTrue(self.dev.services.services[W].native)

    def test_register_fails(self) -> None:
        """Registering once, by hand, tells of its failure."""
        self.agent.state = "broken"
        done = Deferred.fromCoroutine(self.registration.register())
        self.pass_time(0)
        self.failureResultOf(done, Unclear)

    def test_forgotten(self) -> None:
        """A service that the agent has forgotten comes back within one interval, and the log says so."""
        self.registration.start()
        self.pass_time(0)
        self.dev.services.deregister(W)
        with capturedLogs() as logs:
            self.pass_time(EVERY)
        self.assertEqual(self.known(), {W, R})
        self.assertEqual([log.get("service") for log in logs], [W, W])

    def test_changed(self) -> None:
        """A service that somebody has registered with another port is put right."""
        self.registration.start()
        self.pass_time(0)
        changed = evolve(self.dev.services.services[W], port=1)
        self.dev.services.register(changed, [], False)
        self.pass_time(EVERY)
        self.assertEqual(self.dev.services.services[W].port, 7001)

    def test_left_by_an_earlier_run(self) -> None:
        """What an earlier process left is registered anew even if it looks the same: its check may differ."""
        self.registration.start()
        self.pass_time(0)
        service = self.dev.services.services[W]
        self.dev.services.register(service, [], True)
        again = Registration(self.bench.consul, SETTINGS, self.clock, 7001, 7002)
        again.start()
        self.pass_time(0)
        self.assertEqual(set(self.dev.services.checks[W]), {f"service:{W}"})

    def test_calm(self) -> None:
        """As long as nothing changes nothing is written to Consul or to the log."""
        self.registration.start()
        self.pass_time(0)
        before = self.dev.services.services[W].modify_index
        with capturedLogs() as logs:
            for _ in range(5):
                self.pass_time(EVERY)
        self.assertEqual(self.dev.services.services[W].modify_index, before)
        self.assertEqual(logs, [])

    def test_agent_away(self) -> None:
        """An agent in trouble is waited out: one line when it begins, one when it ends."""
        self.agent.state = "broken"
        with capturedLogs() as logs:
            self.registration.start()
            for _ in range(3):
                self.pass_time(EVERY)
            self.agent.state = "well"
            self.pass_time(EVERY)
        self.assertEqual(self.known(), {W, R})
        levels = [log["log_level"] for log in logs]
        self.assertEqual(levels, [LogLevel.warn, LogLevel.info, LogLevel.info, LogLevel.info])

    def test_stop(self) -> None:
        """Both services go, and nothing is left to be done."""
        self.registration.start()
        self.pass_time(0)
        self.successResultOf(self.stop())
        self.assertEqual(self.known(), set())
        self.pass_time(10 * EVERY)
        self.assertEqual(self.known(), set())

    def test_stop_of_what_is_gone(self) -> None:
        """Services that the agent has forgotten are no trouble at the end."""
        with capturedLogs() as logs:
            self.successResultOf(self.stop())
        self.assertNotIn(LogLevel.warn, [log["log_level"] for log in logs])

    def test_stop_without_an_answer(self) -> None:
        """An agent that does not answer delays the stop by a bounded time, and the log says what stays."""
        self.registration.start()
        self.pass_time(0)
        self.agent.state = "silent"
        with capturedLogs() as logs:
            stopped = self.stop()
            self.assertNoResult(stopped)
            self.pass_time(STOP_TIMEOUT)
            self.successResultOf(stopped)
        self.assertEqual([log["service"] for log in logs], [W, R])
        self.assertEqual(self.clock.getDelayedCalls(), [])
