"""What a node says of its gate."""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import LEASE, Member, status
from tile38cm.gatelog import GateLog


class GateLogTests(SynchronousTestCase):
    """A leader whose gate depends on the promise of one follower, C{C}."""

    def setUp(self) -> None:
        self.member = Member()
        self.log = GateLog(self.member.election, self.member.clock.seconds)
        self.epoch = self.member.lead(status("A", "B", "C")).epoch

    def looked(self) -> list[tuple[Any, ...]]:
        """What one more look says."""
        with capturedLogs() as events:
            self.log.look()
        return [(event["gate"], event["epoch"], event["at"]) for event in events]

    def open(self) -> float:
        """Let the gate open; returns when the promise was asked for, as the leader counts it."""
        self.member.wait(LEASE / 8)
        asked = self.member.clock.seconds()
        self.member.election.tick()
        self.member.clock.advance(0.01)
        self.member.promise_of("C")
        return asked

    def test_opens_and_stays(self) -> None:
        """The opening is said once, with the clock's time."""
        self.assertEqual(self.looked(), [])
        self.open()
        now = self.member.clock.seconds()
        self.assertEqual(self.looked(), [("open", self.epoch, now)])
        self.member.clock.advance(LEASE / 8)
        self.assertEqual(self.looked(), [])

    def test_frozen(self) -> None:
        """After a freeze the gate is said to have shut when the promise ended, not when that was noticed."""
        self.open()
        self.looked()
        until = self.member.election.gate_until()
        self.member.clock.advance(100)
        self.assertEqual(self.looked(), [("shut", self.epoch, until)])

    def test_frozen_and_deposed(self) -> None:
        """The same if the first thing after a freeze is that another one leads."""
        self.open()
        self.looked()
        until = self.member.election.gate_until()
        self.member.clock.advance(100)
        self.member.election.resign("another one leads")
        self.assertEqual(self.looked(), [("shut", self.epoch, until)])

    def test_resigned(self) -> None:
        """A gate that shuts before the promise ends shut at that moment."""
        self.open()
        self.looked()
        self.member.election.resign("its log has ended")
        self.assertEqual(self.looked(), [("shut", self.epoch, self.member.clock.seconds())])
