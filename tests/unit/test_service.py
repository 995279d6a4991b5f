"""L{tile38cm.service}: how a node begins, waits, and ends, before it has anybody to talk to."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.service import STARTUP_RETRY, NodeService
from tile38cm.settings import Address, ConsulSettings, Settings, TlsSettings


class ServiceTests(SynchronousTestCase):
    """A node on a reactor in memory: nothing answers."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.path = Path(self.mktemp())
        self.service = NodeService(
            self.reactor,
            Settings(
                "a",
                "127.0.0.1",
                server=Address("127.0.0.1", 9851),
                writer=Address("127.0.0.1", 1),
                reader=Address("127.0.0.1", 2),
                consul=ConsulSettings(Address("127.0.0.1", 8500)),
                tls=TlsSettings("off"),
                state_dir=self.path,
            ),
        )

    def test_waits_for_tile38(self) -> None:
        """Before Tile38 is fenced nothing is listened on or asked; what is waited for is said once."""
        with capturedLogs() as events:
            self.service.startService()
            for _ in range(100):
                self.reactor.advance(STARTUP_RETRY)
        waiting = [event for event in events if event.get("what")]
        self.assertEqual([event["what"] for event in waiting], ["the local Tile38"])
        self.assertEqual({port for _, port, *_ in self.reactor.tcpClients}, {9851})
        self.assertEqual(self.reactor.tcpServers, [])
        self.stop()

    def stop(self) -> None:
        """Stop, with as much time as it needs."""
        stopping = self.service.stopService()
        self.reactor.pump([0.5] * 40)
        self.successResultOf(stopping)

    def test_stop_at_once(self) -> None:
        """A node that is stopped while it waits ends, says so, and leaves no timer of its own."""
        self.service.startService()
        with capturedLogs() as events:
            self.stop()
        said = [event["log_format"] for event in events if event["log_level"] >= LogLevel.info]
        self.assertEqual([text for text in said if text in ("stopping", "stopped")], ["stopping", "stopped"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_unusable_state(self) -> None:
        """A state directory that cannot be used ends the process at once, with a sentence that names it."""
        self.path.mkdir()
        (self.path / "state.json").write_text("rubbish")
        with capturedLogs() as events:
            self.service.startService()
        (event,) = [event for event in events if event["log_level"] is LogLevel.critical]
        self.assertIn(str(self.path), event["why"])
        ((end, args, _),) = self.reactor.triggers["after"]["shutdown"]
        self.assertEqual((end, args), (os._exit, (1,)))
        self.assertEqual(self.reactor.tcpClients, [])
        self.assertEqual((self.path / "state.json").read_text(), "rubbish")
