"""L{tile38cm.coordination.cluster}: one view of the catalog and of the members' own words."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.weather import Station
from tile38cm.coordination.cluster import ClusterView, Discovery, MemberState
from tile38cm.model import Peer
from tile38cm.settings import Address

WORDS: dict[str, Any] = {
    "role": "follower",
    "ready": True,
    "epoch": 3,
    "offset": 9,
    "seen": 3,
    "version": "1",
    "shrunk": "s",
    "nosync": True,
    "nofailover": False,
    "zone": "z",
    "sentinel": 7004,
}
#: A few letters are enough, and the table of all of Unicode takes seconds to build.
_TEXT = 'aé"\\€'
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(_TEXT, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(_TEXT, max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


class MemberStateTests(SynchronousTestCase):
    """What a member says of itself."""

    def test_all(self) -> None:
        """Every word is taken."""
        self.assertEqual(
            MemberState.decode("a", json.dumps(WORDS).encode()),
            MemberState("a", "follower", True, 3, 9, 3, "1", "s", True, False, "z", 7004),
        )

    def test_fewer(self) -> None:
        """A member of an earlier version says less; what is true is only what is said to be true."""
        few = {name: WORDS[name] for name in ("role", "epoch", "offset", "seen")}
        state = MemberState.decode("a", json.dumps({**few, "ready": 1, "nosync": "yes"}).encode())
        self.assertEqual(state, MemberState("a", "follower", False, 3, 9, 3))

    @settings(deadline=None)
    @given(st.dictionaries(st.sampled_from(sorted(WORDS)), _JSON, max_size=3) | _JSON)
    def test_rubbish(self, wrong: Any) -> None:
        """Anything else is taken or not, but never raised."""
        doc = {**WORDS, **wrong} if isinstance(wrong, dict) else wrong
        state = MemberState.decode("a", json.dumps(doc).encode())
        self.assertTrue(state is None or isinstance(state.offset, int))

    def test_infinite(self) -> None:
        """Numbers without end are no positions."""
        for name in ("epoch", "offset", "seen"):
            raw = json.dumps({**WORDS, name: float("inf")}).encode()
            self.assertIsNone(MemberState.decode("a", raw))

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_bytes(self, raw: bytes) -> None:
        """Bytes of any kind too."""
        self.assertIsNone(MemberState.decode("a", raw))
        self.assertIsNone(MemberState.decode("a", b"[" * 100_000))


class DiscoveryTests(SynchronousTestCase):
    """A catalog and members that change."""

    def setUp(self) -> None:
        self.station = Station()
        self.views: list[ClusterView] = []
        self.discovery = Discovery(self.station.consul, ("w", "r"), "p", self.station.clock)
        self.discovery.listen(self.views.append)
        self.discovery.start()
        self.wait()

    def tearDown(self) -> None:
        stopping = Deferred.fromCoroutine(self.discovery.stop())
        self.wait()
        self.successResultOf(stopping)

    def wait(self) -> None:
        """Until the watches have seen everything."""
        self.station.wait(0.5)

    def register(self, service: str, port: int, member: str | None, id: str = "") -> None:
        """Add an instance to the catalog."""
        meta = {} if member is None else {"id": member}
        definition = {
            "ID": id or f"{service}-{member}",
            "Name": service,
            "Address": "h",
            "Port": port,
            "Meta": meta,
        }
        self.successResultOf(self.station.run(self.station.consul.register(definition)))
        self.wait()

    def test_peers(self) -> None:
        """A node is known by its services' C{meta.id}; who has none is no node."""
        self.register("w", 1, "a")
        self.register("r", 2, "a")
        self.register("r", 3, "b")
        self.register("w", 4, None)
        view = self.discovery.view
        self.assertEqual(
            dict(view.peers),
            {"a": Peer("a", Address("h", 1), Address("h", 2)), "b": Peer("b", None, Address("h", 3))},
        )
        self.assertEqual((view.writer("a"), view.reader("a")), (Address("h", 1), Address("h", 2)))
        self.assertEqual((view.writer("b"), view.writer("x"), view.reader("x")), (None, None, None))

    def test_gone(self) -> None:
        """A node that was deregistered is known no more."""
        self.register("w", 1, "a")
        self.successResultOf(self.station.run(self.station.consul.deregister("w-a")))
        self.wait()
        self.assertEqual(dict(self.discovery.view.peers), {})

    def test_members(self) -> None:
        """A member counts while its session lives; a key left behind does not."""
        store = self.station.store("a")
        self.successResultOf(self.station.run(store.announce(WORDS)))
        self.station.put("members/old", json.dumps(WORDS).encode())
        self.wait()
        self.assertEqual(list(self.discovery.view.members), ["a"])
        self.successResultOf(self.station.run(store.leave()))
        self.wait()
        self.assertEqual(dict(self.discovery.view.members), {})

    def test_one_is_mad(self) -> None:
        """A member that writes rubbish hides nobody else."""
        mad = json.dumps({**WORDS, "epoch": float("inf")}).encode()
        self.station.put("members/mad", mad, "lock", self.station.session())
        self.successResultOf(self.station.run(self.station.store("a").announce(WORDS)))
        self.wait()
        self.assertEqual(list(self.discovery.view.members), ["a"])

    def test_told_on_change_only(self) -> None:
        """Whoever listens is told each new view, and nothing when nothing changed."""
        self.register("w", 1, "a")
        told = len(self.views)
        self.assertEqual(self.views[-1], self.discovery.view)
        self.register("other", 1, "a")
        self.station.wait(15)
        self.assertEqual(len(self.views), told)
