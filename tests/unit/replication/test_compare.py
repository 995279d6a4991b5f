"""L{tile38cm.replication.compare}: what differs is found, what only lags is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.replication.minitile38 import MiniTile38
from tile38cm.model import Position
from tile38cm.replication.compare import Asked, Comparison, Verdict, compare
from tile38cm.replication.held import Kind
from tile38cm.replication.markers import marker
from tile38cm.tile38 import CatchingUp

_HOOK: list[Any] = [b"fleet", [b"http://127.0.0.1/"], [b"NEARBY", b"fleet", b"FENCE"], []]


class CompareTests(SynchronousTestCase):
    """Two servers in memory, at first the same."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.leader, self.follower = MiniTile38(), MiniTile38()
        for server in (self.leader, self.follower):
            for id in range(500):
                server.put("fleet", f"{id}", "{}", speed=f"{id}")
            server.put("zones", "park", "polygon", ttl=100)
            server.hooks[b"HOOKS"][b"warn"] = _HOOK
            server.hooks[b"CHANS"][b"feed"] = _HOOK

    def compare(self, **asked: Any) -> Comparison:
        """Compare, in time that passes only while it waits."""
        told = Asked(now=self.clock.seconds, sleep=self.clock.advance, **asked)
        return compare(self.leader.direct(), self.follower.direct(), told)

    def found(self, **asked: Any) -> list[tuple[str, str, str]]:
        """Verdict, kind and name of each difference."""
        compared = self.compare(**asked)
        self.assertEqual(compared.differing + compared.unsettled, len(compared.differences))
        return [(d.verdict.value, d.subject.kind.value, d.subject.id.decode()) for d in compared.differences]

    def later(self, seconds: float, server: MiniTile38, change: Callable[[], object]) -> None:
        """Do something when so much time has passed, before the server answers."""
        done: list[object] = []

        def due(words: list[bytes]) -> None:
            if not done and self.clock.seconds() >= seconds:
                done.append(change())

        server.before = due

    def test_equal(self) -> None:
        """Equal servers are equal, at once, and the counts are told."""
        compared = self.compare()
        self.assertTrue(compared.equal)
        self.assertEqual(
            (compared.collections, compared.objects, compared.hooks, compared.channels), (2, 501, 1, 1)
        )
        self.assertEqual(self.clock.seconds(), 0)

    def test_differences(self) -> None:
        """Each kind of difference is found and named; what is ours is not looked at."""
        self.leader.put("fleet", "new")
        self.leader.put("fleet", "250", "{}", speed="251")
        self.follower.put("zones", "park", "moved", ttl=100)
        self.follower.put("old", "one")
        self.follower.put("tile38cm", "p", "marker")
        self.follower.hooks[b"HOOKS"][b"second"] = _HOOK
        self.follower.hooks[b"CHANS"][b"feed"] = [*_HOOK[:3], [b"meta", b"1"]]
        del self.follower.hooks[b"HOOKS"][b"warn"]
        self.assertEqual(
            sorted(self.found()),
            [
                ("different", "channel", "feed"),
                ("different", "object", "250"),
                ("different", "object", "park"),
                ("extra", "hook", "second"),
                ("extra", "object", "one"),
                ("missing", "hook", "warn"),
                ("missing", "object", "new"),
            ],
        )

    def test_late(self) -> None:
        """What the follower gets within the patience is no difference; what comes later is."""
        for delay, expected in ((1.5, []), (2.5, [("missing", "object", "late")])):
            self.leader.put("fleet", "late")
            self.later(
                self.clock.seconds() + delay, self.follower, lambda: self.follower.put("fleet", "late")
            )
            self.assertEqual(self.found(patience=2.0), expected)
            self.leader.take("fleet", "late")
            self.follower.data[b"fleet"].pop(b"late", None)

    def test_moving(self) -> None:
        """The patience begins anew when the leader's own value moves."""
        self.leader.put("fleet", "x", "1")

        def move() -> None:
            self.leader.put("fleet", "x", "2")
            self.leader.log += b"SET"

        self.later(1.0, self.leader, move)
        self.later(2.5, self.follower, lambda: self.follower.put("fleet", "x", "2"))
        self.assertEqual(self.found(patience=2.0), [])

    def test_restless(self) -> None:
        """What the leader changes all the time is neither equal nor different."""
        count = iter(range(10**6))

        def write(words: list[bytes]) -> None:
            self.leader.put("fleet", "hot", f"{next(count)}")

        self.leader.before = write
        self.follower.put("fleet", "hot", "none")
        self.assertEqual(self.found(), [("unsettled", "object", "hot")])
        self.assertLess(self.clock.seconds(), 30)

    def test_restless_and_right(self) -> None:
        """A follower that shows what the leader shows next is right, though the leader never rests."""
        shown = iter(range(10**6))

        def write(words: list[bytes]) -> None:
            if words[0] == b"GET":
                number = next(shown)
                self.leader.put("fleet", "hot", f"{number}")
                self.follower.put("fleet", "hot", f"{number + 1}")

        self.leader.before = write
        self.follower.put("fleet", "hot", "none")
        self.assertEqual(self.found(), [])

    def test_quiet(self) -> None:
        """Where no log grows all differences together cost the patience once."""
        for id in range(300):
            self.follower.take("fleet", f"{id}")
        compared = self.compare(patience=2.0, describe=20)
        self.assertEqual((compared.counts[Verdict.MISSING], len(compared.differences)), (300, 20))
        self.assertLess(self.clock.seconds(), 2.6)

    def test_marker(self) -> None:
        """A follower whose log says that it has passed the leader's position needs no long patience."""
        self.leader.log = b"x" * 100
        self.leader.put("fleet", "lost")
        self.follower.log = b"*1\r\n$4\r\nPING\r\n" + marker("b", Position(3, 100))
        self.assertEqual(self.found(patience=8.0), [("missing", "object", "lost")])
        self.assertLess(self.clock.seconds(), 1)

    def test_marker_behind(self) -> None:
        """A follower that is behind by its own word is waited for, and not for ever."""
        self.leader.log = b"x" * 100
        self.leader.put("fleet", "lost")
        self.follower.log = b"*1\r\n$4\r\nPING\r\n" + marker("b", Position(3, 99))
        self.assertEqual(self.found(patience=3.0), [("missing", "object", "lost")])
        self.assertGreaterEqual(self.clock.seconds(), 3)
        self.assertLess(self.clock.seconds(), 10)

    def test_lifetimes(self) -> None:
        """Lifetimes count only where asked, and only beyond the tolerance."""
        for server, ttl in ((self.leader, 50), (self.follower, 70)):
            server.put("zones", "a", ttl=ttl)
            server.put("zones", "b", ttl=ttl // 10)
            server.hook_ttl = {b"warn": ttl, b"feed": ttl // 10}
        self.leader.put("zones", "c", ttl=5)
        self.follower.put("zones", "c")
        self.assertEqual(self.found(), [])
        self.assertEqual(
            sorted(self.found(lifetimes=True, tolerance=10.0)),
            [
                ("different", "lifetime of hook", "warn"),
                ("different", "lifetime of object", "a"),
                ("different", "lifetime of object", "c"),
            ],
        )
        compared = self.compare(lifetimes=True, tolerance=10.0)
        self.assertEqual(compared.expiring, 4)
        ends = {
            d.subject.id: (d.leader_lifetime, d.follower_lifetime)
            for d in compared.differences
            if d.subject.kind is Kind.OBJECT_LIFETIME
        }
        self.assertEqual(ends, {b"a": (50, 70), b"c": (5, -1)})

    def test_never_caught_up(self) -> None:
        """A follower that tells nothing yet cannot be compared."""
        self.follower.refuses[b"SERVER"] = "ERR catching up to leader"
        self.assertRaises(CatchingUp, self.compare)

    def test_reads_only(self) -> None:
        """Neither server is ever given anything but questions."""
        self.leader.put("fleet", "new")
        self.compare(lifetimes=True)
        asked = {words[0] for server in (self.leader, self.follower) for words in server.seen}
        self.assertEqual(
            asked,
            {
                *(b"SERVER", b"ROLE", b"PING", b"AOF", b"KEYS", b"SCAN", b"GET", b"TTL"),
                *(b"HOOKS", b"CHANS", b"OUTPUT"),
            },
        )
