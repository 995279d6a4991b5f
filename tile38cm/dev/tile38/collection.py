"""The objects under one key: by id, by value, by place, by the end of their time."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from attrs import frozen
from rtree.index import Index

from tile38cm.dev.tile38.geometry import Geo
from tile38cm.dev.tile38.sphere import Box, box_around, to_box
from tile38cm.dev.tile38.values import ZERO, Fields, Value

#: Degrees by which a box is made larger, so that no rounding leaves anything out.
MARGIN = 1e-6


@frozen
class Thing:
    """One object; C{expires} is a moment in the clock's seconds."""

    id: str
    geo: Geo
    fields: Fields
    expires: float | None = None

    def field(self, name: str) -> Value:
        """A field's value; one that is not there is zero."""
        return self.fields.get(name, ZERO)

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        fields = sum(len(name) + 8 + len(value.data) for name, value in self.fields.items())
        return len(self.id) + fields + (self.geo.count * 16 if self.geo.spatial else len(self.geo.text))


class Collection:
    """All objects under one key.  The place index is brought up to date when it is asked."""

    def __init__(self) -> None:
        self._things: dict[str, Thing] = {}
        self._ids: list[str] = []
        self._values: list[Thing] | None = None
        self._places = _Places()
        self.points = self.strings = self.weight = 0

    def __len__(self) -> int:
        return len(self._things)

    def get(self, id: str) -> Thing | None:
        """The object of this id."""
        return self._things.get(id)

    def put(self, thing: Thing) -> Thing | None:
        """Add or replace; returns what was there before."""
        old = self._things.get(thing.id)
        if old is None:
            insort(self._ids, thing.id)
        else:
            self._count(old, -1)
        self._things[thing.id] = thing
        self._count(thing, 1)
        self._places.touch(thing.id)
        return old

    def remove(self, id: str) -> Thing | None:
        """Take one away; returns it."""
        old = self._things.pop(id, None)
        if old is not None:
            del self._ids[bisect_left(self._ids, id)]
            self._count(old, -1)
            self._places.touch(id)
        return old

    def _count(self, thing: Thing, sign: int) -> None:
        self.points += sign * thing.geo.count
        self.weight += sign * thing.weight
        if not thing.geo.spatial:
            self.strings += sign
            self._values = None

    def by_id(self, descending: bool = False) -> Iterator[Thing]:
        """All, in the order of their ids."""
        ids = list(reversed(self._ids)) if descending else list(self._ids)
        return (self._things[id] for id in ids if id in self._things)

    def by_value(self, descending: bool = False) -> list[Thing]:
        """The texts, in their order."""
        if self._values is None:
            texts = (thing for thing in self._things.values() if not thing.geo.spatial)
            self._values = sorted(texts, key=lambda thing: (thing.geo.text, thing.id))
        return self._values[::-1] if descending else self._values

    def box(self) -> Box:
        """What all that lie somewhere lie in; all zero without any."""
        boxes = [thing.geo.box for thing in self._things.values() if thing.geo.parts]
        if not boxes:
            return 0.0, 0.0, 0.0, 0.0
        west, south = min(box[0] for box in boxes), min(box[1] for box in boxes)
        return west, south, max(box[2] for box in boxes), max(box[3] for box in boxes)

    def around(self, box: Box) -> Iterable[Thing]:
        """Those whose boxes touch this one, in the order of their ids."""
        return [self._things[id] for id in sorted(self._places.touching(box, self._things))]

    def nearest(self, lat: float, lon: float, meters: float) -> list[tuple[float, Thing]]:
        """Those that lie somewhere, with their distances in metres, the nearest first.

        @param meters: those farther away may be left out; 0 or less is no limit.
        """
        placed: Iterable[Thing] = (thing for thing in self._things.values() if thing.geo.parts)
        if meters > 0:
            west, south, east, north = box_around(lat, lon, meters)
            placed = self.around((west - MARGIN, south - MARGIN, east + MARGIN, north + MARGIN))
        found = [(to_box(lat, lon, thing.geo.box), thing) for thing in placed]
        return sorted(found, key=lambda each: (each[0], each[1].id))


def _sound(box: Box) -> bool:
    """NaN, or sides the wrong way round, can be in no tree, nor be looked for there."""
    return box[0] <= box[2] and box[1] <= box[3]


class _Places:
    """An R-tree of boxes that lags behind until it is asked: what moves often is put in once."""

    def __init__(self) -> None:
        self._tree: Index | None = None
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._boxes: dict[str, Box] = {}
        self._touched: dict[str, None] = {}
        self._last = 0

    def touch(self, id: str) -> None:
        self._touched[id] = None

    def touching(self, box: Box, things: dict[str, Thing]) -> list[str]:
        if self._tree is None:
            self._tree = Index()
        for id in self._touched:
            self._refresh(self._tree, id, things.get(id))
        self._touched.clear()
        if not _sound(box):
            return []
        return [self._ids[number] for number in self._tree.intersection(box)]

    def _refresh(self, tree: Index, id: str, thing: Thing | None) -> None:
        old = self._boxes.pop(id, None)
        if old is not None:
            number = self._numbers.pop(id)
            tree.delete(number, old)
            del self._ids[number]
        if thing is None or not thing.geo.parts:
            return
        box = thing.geo.box
        if not _sound(box):
            return
        self._last += 1
        tree.insert(self._last, box)
        self._boxes[id], self._numbers[id], self._ids[self._last] = box, self._last, id
