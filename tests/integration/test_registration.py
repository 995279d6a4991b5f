"""Registration at a real Consul."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.real_consul import RealConsul
from tests.unit.operate.test_registration import SETTINGS, R, W
from tile38cm.coordination.consul import consul_client
from tile38cm.operate import registration
from tile38cm.operate.registration import Registration
from tile38cm.settings import Address, ConsulSettings


class RegistrationTests(TestCase):
    """Consul takes what we say, and forgets when it is told to."""

    timeout = 60

    def setUp(self) -> None:
        self.patch(registration, "EVERY", 0.1)
        self.real = RealConsul(config={"session_ttl_min": "200ms"}).start()
        self.addCleanup(self.real.stop)
        settings = ConsulSettings(Address(self.real.host, self.real.port))
        self.consul = consul_client(reactor, settings)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.consul.close()))
        mine = evolve(SETTINGS, advertise="127.0.0.1")
        self.registration = Registration(self.consul, mine, reactor, 7001, 7002)

    def services(self) -> dict[str, Any]:
        """What the agent has registered."""
        return dict(self.real.request("GET", "/v1/agent/services"))

    async def until(self, ids: set[str]) -> None:
        """Return when just these are registered; the test's own time limit ends it otherwise."""
        while set(self.services()) != ids:
            await deferLater(reactor, 0.05)

    async def test_life(self) -> None:
        """Registered, registered again when taken away, and gone after the stop."""
        self.registration.start()
        await self.until({W, R})
        self.real.request("PUT", f"/v1/agent/service/deregister/{W}")
        await self.until({W, R})
        await self.registration.stop()
        self.assertEqual(self.services(), {})

    async def test_definition(self) -> None:
        """Consul shows the service as Connect-native, with meta.id, and its check critical at first."""
        await self.registration.register()
        (found,) = self.real.request("GET", "/v1/health/connect/tile38-writer")
        service = found["Service"]
        self.assertEqual(
            (service["Address"], service["Port"], service["Meta"]), ("127.0.0.1", 7001, {"id": "n1"})
        )
        (check,) = [each for each in found["Checks"] if each["ServiceID"] == W]
        self.assertEqual(
            (check["CheckID"], check["Status"], check["Type"]), (f"service:{W}", "critical", "tcp")
        )
        shown = self.real.request("GET", "/v1/agent/checks")[f"service:{W}"]
        self.assertEqual((shown["Interval"], shown["Timeout"]), ("15s", "3s"))

    async def test_agent_restarts(self) -> None:
        """A Consul that comes back with nothing gets both services again."""
        self.registration.start()
        await self.until({W, R})
        self.real.terminate()
        self.real.start()
        await self.until({W, R})
        await self.registration.stop()
