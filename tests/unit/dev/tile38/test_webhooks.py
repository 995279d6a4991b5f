"""Hooks and their events."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred, fail, succeed

from tests.unit.dev.tile38.bench import NodeCase
from tile38cm.dev.tile38.webhooks import KEEP, Webhooks

HOOK = "NEARBY fleet FENCE DETECT enter,exit POINT 33.5 -112.2 5000"


class WebhookTests(NodeCase):
    """What is brought where, and how often."""

    def setUp(self) -> None:
        super().setUp()
        self.sent: list[tuple[str, str]] = []
        self.fails = False
        self.webhooks = Webhooks(self.memory.node, self.post)
        self.addCleanup(self.webhooks.stop)

    def post(self, endpoint: str, body: bytes) -> Deferred[bool]:
        """Somebody who takes it, or does not."""
        if self.fails or "away" in endpoint:
            return fail(ConnectionRefusedError())
        self.sent.append((endpoint, json.loads(body)["detect"]))
        return succeed(True)

    def drive(self) -> None:
        """In and out."""
        for place in ("33.5 -112.2", "40 -100"):
            self.ask(f"SET fleet truck1 POINT {place}")
        self.reactor.advance(0)

    def test_order(self) -> None:
        """Each event is brought to the first endpoint that takes it."""
        self.ask(f"SETHOOK h http://away/,http://here/ {HOOK}")
        self.drive()
        self.assertEqual(self.sent, [("http://here/", "enter"), ("http://here/", "exit")])

    def test_again(self) -> None:
        """Nobody there: it is kept and tried again, in order; and forgotten at last."""
        self.ask(f"SETHOOK h http://here/ {HOOK}")
        self.fails = True
        self.drive()
        self.assertEqual(self.webhooks.pending(), 2)
        self.fails = False
        self.reactor.advance(1)
        self.assertEqual([detect for _, detect in self.sent], ["enter", "exit"])
        self.fails = True
        self.drive()
        self.reactor.pump([1.0] * int(KEEP + 2))
        self.assertEqual((self.webhooks.pending(), len(self.sent)), (0, 2))

    def test_follower(self) -> None:
        """Who follows sends nothing."""
        self.ask(f"SETHOOK h http://here/ {HOOK}")
        self.memory.node.config.follow_host = "127.0.0.1"
        replayed = self.memory.node.replay(["SET", "fleet", "truck1", "POINT", "33.5", "-112.2"])
        self.memory.node.record(replayed)
        self.reactor.advance(0)
        self.assertEqual(self.sent, [])
