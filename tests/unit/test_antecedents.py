"""L{tile38cm.antecedents}: other managers of the same id, and disks that are older than they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.unit.coordination.weather import Station
from tests.unit.peers.wires import End
from tile38cm.antecedents import LOOK_EVERY, TWIN_TIMEOUT, Antecedents
from tile38cm.coordination.store import Twin
from tile38cm.footing import Footing
from tile38cm.model import Position
from tile38cm.settings import Address
from tile38cm.state import StateDirectory


@implementer(IStreamClientEndpoint)
class Door:
    """Where another manager may be: accepts, or fails with C{why}; C{None}: says nothing."""

    def __init__(self) -> None:
        self.why: Exception | None = ConnectionRefusedError()
        self.silent = False

    def connect(self, protocolFactory: Any) -> Deferred[Any]:  # noqa: N803  # zope's name
        if self.silent:
            return Deferred()
        if self.why is not None:
            return fail(self.why)
        protocol = protocolFactory.buildProtocol(None)
        protocol.makeConnection(End())
        return succeed(protocol)


class AntecedentsTests(SynchronousTestCase):
    """C{B}, about to start."""

    def setUp(self) -> None:
        self.station = Station()
        self.path = Path(self.mktemp())
        self.here: Position | None = Position(1, 100)
        self.door = Door()
        self.reached: list[Address] = []
        self.voided: list[str] = []
        self.before = self.start()

    def start(self) -> Antecedents:
        """A start of the process."""
        state = StateDirectory(self.path)
        first = state.open().starts == 0
        footing = Footing(self.path / "footing", lambda: self.here)
        footing.load(first)
        return Antecedents(
            self.station.clock,
            self.station.store("B"),
            state,
            footing,
            "B",
            self.reach,
            self.voided.append,
        )

    def reach(self, address: Address) -> Door:
        self.reached.append(address)
        return self.door

    def told(self, session: str = "", **words: Any) -> None:
        """The key that an earlier run, or another manager, has left."""
        value = json.dumps(words).encode()
        self.station.put("members/B", value, "lock" if session else "set", session)

    def judge(self) -> bool:
        """Whether the disk was found to be older than what Consul knows."""
        self.successResultOf(self.station.run(self.before.judge(self.here)))
        return bool(self.voided)

    # -- alone

    def test_alone(self) -> None:
        """Nobody holds the key."""
        self.successResultOf(self.station.run(self.before.alone()))
        self.told(role="follower")
        self.successResultOf(self.station.run(self.before.alone()))
        self.assertEqual(self.reached, [])

    def test_crashed(self) -> None:
        """Where nobody listens any more the session is what a crash has left, and is ended."""
        session = self.station.session()
        self.told(session, address="[::1]:7001")
        self.successResultOf(self.station.run(self.before.alone()))
        self.assertEqual(self.reached, [Address("::1", 7001)])
        self.assertNotIn(session, self.station.agent.keys.sessions)

    def test_twin(self) -> None:
        """One that runs keeps its session, whatever is known of its address; this one gives up in the end."""
        for address, why in (
            ("10.0.0.1:7001", None),
            ("b:1", DNSLookupError()),
            ("10.0.0.1:x", None),
            (5, None),
        ):
            first = self.station.store("B")
            self.successResultOf(self.station.run(first.announce({"address": address})))
            keeping = self.station.run(first.keep_session())
            self.door.why = why
            task = self.station.run(self.before.alone(), TWIN_TIMEOUT - 1)
            self.assertNoResult(task)
            self.station.wait(1 + LOOK_EVERY)
            self.failureResultOf(task, Twin)
            self.assertTrue(self.successResultOf(self.station.run(first.announce({}))))
            keeping.cancel()
            self.failureResultOf(keeping, CancelledError)
            self.successResultOf(self.station.run(first.leave()))

    def test_frozen(self) -> None:
        """One that says nothing is waited for until its session ends."""
        self.told(self.station.session(), address="10.0.0.1:7001")
        self.door.silent = True
        self.successResultOf(self.station.run(self.before.alone(), TWIN_TIMEOUT - 1))

    def test_gone_meanwhile(self) -> None:
        """One that stops makes room."""
        session = self.station.session()
        self.told(session, address="10.0.0.1:7001")
        self.door.why = None
        task = self.station.run(self.before.alone(), 3)
        self.assertNoResult(task)
        self.station.agent.keys.destroy_session(session)
        self.station.wait(1)
        self.successResultOf(task)

    # -- the disk

    def test_newest(self) -> None:
        """A disk that has seen every start, and all that was told, is believed."""
        self.told(role="follower", epoch=1, offset=100)
        self.assertFalse(self.judge() or self.before.footing.shaken)
        self.successResultOf(self.station.run(self.before.count()))
        self.before = self.start()
        self.assertFalse(self.judge() or self.before.footing.shaken)

    def test_older_than_a_start(self) -> None:
        """A start of which the disk knows nothing voids it; the next one is believed again."""
        self.station.put("starts/B", b"5")
        self.assertTrue(self.judge())
        self.voided.clear()
        self.before = self.start()
        self.assertFalse(self.judge())

    def test_older_than_an_orderly_stop(self) -> None:
        """A copy of a running node's disk is older than its stop in good order."""
        self.successResultOf(self.station.run(self.before.count()))
        copy = (self.path / "state.json").read_bytes()
        self.successResultOf(self.station.run(self.before.note_the_end()))
        self.before = self.start()
        self.assertFalse(self.judge())
        (self.path / "state.json").write_bytes(copy)
        self.before = self.start()
        self.assertTrue(self.judge())

    def test_stop_without_consul(self) -> None:
        """It ends all the same."""
        self.station.weather.away = True
        self.successResultOf(self.station.run(self.before.note_the_end(), 2))

    def test_follower_that_had_more(self) -> None:
        """What a follower has is true, but may be less than it acknowledged."""
        self.told(role="follower", epoch=1, offset=101)
        self.assertFalse(self.judge())
        self.assertTrue(self.before.footing.shaken)

    def test_leader_that_had_more(self) -> None:
        """A leader's log that ends too early is another log."""
        self.before.state.change(led=1)
        self.told(role="leader", epoch=1, offset=101)
        self.assertTrue(self.judge())
        self.assertFalse(self.before.footing.shaken)
