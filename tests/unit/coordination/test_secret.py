"""L{tile38cm.coordination.secret}: one secret for all, whatever Consul forgets."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.weather import Station
from tile38cm.coordination.secret import RETRY, SharedSecret
from tile38cm.dev.consul_keys import Operation


class SecretTests(SynchronousTestCase):
    """A node that has learnt the secret and watches it."""

    def setUp(self) -> None:
        self.station = Station()
        self.leads = False
        self.secret = SharedSecret(
            self.station.consul, self.station.store("B"), self.station.clock, lambda: self.leads
        )
        self.successResultOf(self.station.run(self.secret.learn()))
        self.first = self.secret.value
        self.secret.start()
        self.station.wait(0.1)

    def tearDown(self) -> None:
        stopping = Deferred.fromCoroutine(self.secret.stop())
        self.station.wait(0.1)
        self.successResultOf(stopping)

    def forget(self) -> None:
        """Consul loses the key."""
        self.station.agent.keys.attempt(Operation("delete", "p/secret"))

    def stored(self) -> str | None:
        """What is in Consul."""
        entry = self.station.entry("secret")
        return None if entry is None else entry.value.decode()

    def test_learnt(self) -> None:
        """What is known is what is stored, and nothing is written again."""
        self.assertEqual((self.first, self.stored()), (self.secret.value, self.first))
        self.station.weather.changes = 0
        self.station.wait(5)
        self.assertEqual(self.station.weather.changes, 0)

    def test_forgotten(self) -> None:
        """A Consul that has forgotten it is told again, by any node."""
        self.forget()
        self.station.wait(1)
        self.assertEqual(self.stored(), self.first)

    def test_forgotten_while_away(self) -> None:
        """It is tried until it works."""
        self.station.weather.faults = ["before", "Permission denied"]
        self.forget()
        self.station.wait(0.5)
        self.assertIsNone(self.stored())
        self.station.wait(3 * RETRY)
        self.assertEqual(self.stored(), self.first)

    def test_another_one(self) -> None:
        """Who does not lead takes over what another one has written."""
        self.station.put("secret", b"theirs")
        self.station.wait(1)
        self.assertEqual((self.secret.value, self.stored()), ("theirs", "theirs"))

    def test_leader_is_right(self) -> None:
        """What the leader knows is the truth."""
        self.leads = True
        self.station.put("secret", b"theirs")
        self.station.wait(1)
        self.assertEqual((self.secret.value, self.stored()), (self.first, self.first))

    def test_faster(self) -> None:
        """Who finds none gives way to whoever writes first, and does not say otherwise."""

        def before() -> None:
            if self.stored() is None:
                self.station.put("secret", b"theirs")

        self.station.weather.before = before
        with capturedLogs() as events:
            self.forget()
            self.station.wait(2)
        self.assertEqual((self.secret.value, self.stored()), ("theirs", "theirs"))
        self.assertEqual([e for e in events if "written again" in e["log_format"]], [])
