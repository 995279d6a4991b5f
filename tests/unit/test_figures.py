"""L{tile38cm.figures}: lag in bytes and seconds, changes of leader, and the readings by their names."""

from __future__ import annotations

import json

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import LEASE, Member, status
from tile38cm import __version__
from tile38cm.coordination.cluster import MemberState
from tile38cm.coordination.promises import Heartbeat
from tile38cm.figures import Announcement, Failovers, Figures, Lag
from tile38cm.model import Leadership, Position, Role
from tile38cm.proxy.limits import Counters
from tile38cm.settings import Address, Settings, Tags
from tile38cm.state import Remembered


def beat(offset: int, epoch: int = 1) -> Heartbeat:
    """A leader's heartbeat."""
    return Heartbeat(epoch, "A", 1, LEASE, offset)


class LagTests(SynchronousTestCase):
    """A follower that is behind, or not."""

    def setUp(self) -> None:
        self.lag = Lag()

    def test_unknown(self) -> None:
        """Before a heartbeat, without a position, or in another epoch nothing can be said."""
        self.assertEqual((self.lag.bytes, self.lag.seconds(5)), (None, None))
        for acknowledged in (None, Position(2, 10), Position(0, 0)):
            self.lag.beaten(beat(10), Position(1, 0), 1)
            self.assertIsNotNone(self.lag.bytes)
            self.lag.beaten(beat(10), acknowledged, 2)
            self.assertEqual((self.lag.bytes, self.lag.seconds(5)), (None, None))

    def test_none(self) -> None:
        """Who has everything lags by nothing; more than the leader told of is no negative lag."""
        for offset in (10, 12):
            self.lag.beaten(beat(10), Position(1, offset), 1)
            self.assertEqual((self.lag.bytes, self.lag.seconds(9)), (0, 0.0))

    def test_seconds(self) -> None:
        """Seconds count from when the first byte that is still missing was first missing."""
        self.lag.beaten(beat(10), Position(1, 0), 1)
        self.lag.beaten(beat(20), Position(1, 9), 2)
        self.assertEqual((self.lag.bytes, self.lag.seconds(4)), (11, 3))

    def test_moving(self) -> None:
        """A follower that keeps up under a stream of writes lags by little, though always by some bytes."""
        for now in range(1, 20):
            self.lag.beaten(beat(now * 10), Position(1, now * 10 - 5), now)
        self.assertEqual(self.lag.bytes, 5)
        self.assertLessEqual(self.lag.seconds(19) or 0, 1)

    def test_caught_up(self) -> None:
        """Who has caught up begins anew."""
        self.lag.beaten(beat(10), Position(1, 0), 1)
        self.lag.beaten(beat(10), Position(1, 10), 5)
        self.assertEqual(self.lag.seconds(9), 0)
        self.lag.beaten(beat(11), Position(1, 10), 10)
        self.assertEqual(self.lag.seconds(12), 2)

    def test_unknown_between(self) -> None:
        """Nor does what was missing before a start over count after it."""
        self.lag.beaten(beat(10), Position(1, 0), 1)
        self.lag.beaten(beat(10), None, 2)
        self.lag.beaten(beat(10), Position(1, 5), 7)
        self.assertEqual(self.lag.seconds(8), 1)

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1))
    def test_never_more_than_since_the_last_zero(self, steps: list[tuple[int, int]]) -> None:
        """Whatever comes, seconds are zero exactly without missing bytes, and never more than passed."""
        self.lag = Lag()
        offset = acknowledged = now = since = 0
        for grown, read in steps:
            now += 1
            offset += grown
            acknowledged = min(offset, acknowledged + read)
            self.lag.beaten(beat(offset), Position(1, acknowledged), now)
            if offset == acknowledged:
                since = now
            seconds = self.lag.seconds(now)
            assert seconds is not None
            self.assertTrue(0 <= seconds <= now - since)
            self.assertEqual(self.lag.bytes, offset - acknowledged)


class FailoverTests(SynchronousTestCase):
    """Changes of leader."""

    def test_count(self) -> None:
        """The first leader is no change, nor is one that comes back after nobody, nor a new epoch of it."""
        failovers = Failovers()
        counts = []
        for leader in ("a", "a", None, "a", "b", None, "a", "a"):
            failovers.told(Leadership(Role.FOLLOWER, leader, 1, 0, ""))
            counts.append(failovers.count)
        self.assertEqual(counts, [0, 0, 0, 0, 1, 1, 2, 2])


class SourcesTests(SynchronousTestCase):
    """Readings by name."""

    def setUp(self) -> None:
        self.member = Member()
        self.lag = Lag()
        self.sides = (Counters(proxied=3, held=1), Counters(proxied=4, refused=2))
        self.figures = Figures(
            self.member.election, self.sides, self.lag, Failovers(), self.member.clock.seconds
        )

    def read(self) -> dict[str, object]:
        """All of them."""
        return {name: reading() for name, reading in self.figures.sources().items()}

    def test_follower(self) -> None:
        """A follower tells its lag, and no sync set."""
        self.member.follow(status("A", "B"))
        self.lag.beaten(beat(10), Position(1, 3), self.member.clock.seconds())
        self.member.clock.advance(2)
        found = self.read()
        self.assertEqual((found["role"], found["epoch"], found["insync"]), ("follower", 1, None))
        self.assertEqual((found["lag"], found["lag_seconds"], found["gate"]), (7, 2, 0.0))

    def test_leader(self) -> None:
        """A leader has a gate and a sync set, and no lag, whatever it was before."""
        self.lag.beaten(beat(10), Position(1, 3), 0)
        self.member.lead(status("A", "B", "C"))
        found = self.read()
        self.assertEqual((found["role"], found["epoch"], found["insync"]), ("leader", 2, 2))
        self.assertEqual((found["lag"], found["lag_seconds"], found["gate"]), (None, None, 0.0))
        self.member.wait(LEASE / 8)
        self.member.election.tick()
        self.member.promise_of("C")
        self.assertEqual(self.read()["gate"], 1.0)

    def test_sums(self) -> None:
        """What W and R count is told together."""
        found = self.read()
        self.assertEqual(
            [found[name] for name in ("proxied", "held", "refused", "clients", "uncertain", "failovers")],
            [7, 1, 2, 0, 0, 0],
        )


class AnnouncementTests(SynchronousTestCase):
    """What a node says of itself in Consul."""

    def setUp(self) -> None:
        self.member = Member()
        self.announcement = Announcement(
            Settings(
                "B",
                "10.0.0.2",
                Address("127.0.0.1", 9851),
                Address("", 7001),
                Address("", 7002),
                sentinel=Address("", 26379),
                tags=Tags(zone="here"),
            ),
            self.member.election,
            Lag(),
            lambda: self.member.local,
            lambda: Remembered(cluster="c", seen=3, starts=2, shrunk="s"),
            lambda: True,
            lambda: "following",
        )

    def test_others_understand(self) -> None:
        """Another node reads what was said."""
        self.member.follow(status("A", "B"))
        self.member.local = evolve(self.member.local, position=Position(1, 7))
        document = self.announcement.document()
        self.assertEqual(
            MemberState.decode("B", json.dumps(document).encode()),
            MemberState("B", "follower", True, 1, 7, 3, __version__, "s", zone="here", sentinel=26379),
        )
        self.assertIs(document["proven"], True)

    def test_leader(self) -> None:
        """A leader's R is not offered to other nodes, whatever its Tile38 could answer."""
        self.member.lead(status("A", "B"))
        document = self.announcement.document()
        self.assertEqual((document["role"], document["ready"]), ("leader", False))

    def test_not_proven(self) -> None:
        """Who cannot say where it stands says that, and tells no position."""
        self.member.local = evolve(self.member.local, position=None)
        document = self.announcement.document()
        self.assertEqual((document["proven"], document["epoch"], document["offset"]), (False, 0, 0))
