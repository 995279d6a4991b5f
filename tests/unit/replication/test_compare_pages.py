"""L{tile38cm.replication.compare_pages}: pages that shift lose nothing."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.replication.minitile38 import MiniTile38
from tile38cm.replication.compare_pages import Entry, scan, side_by_side

_IDS = st.integers(0, 60)
#: For each page: ids that come or go before it is made, from the first one on.
_RUNS = st.builds(
    lambda there, start, count: [(there, id) for id in range(start, min(start + count, 61))],
    st.booleans(),
    _IDS,
    st.integers(1, 8),
)
_CHANGES = st.lists(_RUNS, min_size=4, max_size=30)


class ScanTests(SynchronousTestCase):
    """One collection in pages."""

    @settings(deadline=None, max_examples=300)
    @given(st.sets(_IDS, min_size=20), _CHANGES)
    def test_under_writes(self, first: set[int], changes: list[list[tuple[bool, int]]]) -> None:
        """Whatever comes and goes between pages, each id that stays is seen, once, in order."""
        server, coming = MiniTile38(), iter(changes)
        for id in first:
            server.put("k", f"{id:02}")
        stayed = set(first)

        def change(words: list[bytes]) -> None:
            for there, id in next(coming, []):
                if there:
                    server.put("k", f"{id:02}")
                elif f"{id:02}".encode() in server.data.get(b"k", {}):
                    server.take("k", f"{id:02}")
                    stayed.discard(id)

        server.before = change
        seen = [id for id, _ in scan(server.direct(), b"k", first=2, largest=5)]
        self.assertEqual(seen, sorted(set(seen)))
        self.assertEqual({f"{id:02}".encode() for id in stayed} - set(seen), set())

    def test_shift(self) -> None:
        """Nothing is lost when all that was seen so far goes away between two pages."""
        for gone in range(1, 20):
            server = MiniTile38()
            for id in range(40):
                server.put("k", f"{id:02}")
            entries = scan(server.direct(), b"k", first=20, largest=20)
            seen = [next(entries)[0] for _ in range(20)]
            for id in range(gone):
                server.take("k", f"{id:02}")
            seen += [id for id, _ in entries]
            self.assertEqual(seen, [f"{id:02}".encode() for id in range(40)])

    def test_pages_fit(self) -> None:
        """Large objects make small pages, and all objects come."""
        server = MiniTile38()
        for id in range(300):
            server.put("k", f"{id:03}", "x" * 30_000)
        self.assertEqual(len(list(scan(server.direct(), b"k"))), 300)
        limits = [int(words[5]) for words in server.seen]
        self.assertEqual(limits[0], 200)
        self.assertTrue(all(limit < 40 for limit in limits[1:]), limits)

    def test_nothing(self) -> None:
        """A collection that is not there has no objects."""
        self.assertEqual(list(scan(MiniTile38().direct(), b"k")), [])


class SideBySideTests(SynchronousTestCase):
    """Two collections joined."""

    @given(st.dictionaries(_IDS, _IDS), st.dictionaries(_IDS, _IDS))
    def test_join(self, left: dict[int, int], right: dict[int, int]) -> None:
        """Every id of either side comes once, in order, with what each side has."""

        def entries(of: dict[int, int]) -> Iterator[Entry]:
            return ((b"%02d" % id, [of[id]]) for id in sorted(of))

        joined = list(side_by_side(entries(left), entries(right)))
        expected = [
            (b"%02d" % id, [left[id]] if id in left else None, [right[id]] if id in right else None)
            for id in sorted(left.keys() | right.keys())
        ]
        self.assertEqual(joined, expected)
