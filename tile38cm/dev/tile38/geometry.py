"""What an object can be: a text, a point, a rectangle, a circle, or any other GeoJSON.

Places are planar C{(x, y)} pairs, longitude first.  C{figure} is the shape for what has no simple
case; a circle's is a polygon of L{STEPS} sides.
"""

from __future__ import annotations

from functools import cached_property
from math import cos, pi, sin
from typing import Any

import shapely
from attrs import frozen

from tile38cm.dev.tile38.sphere import Box, around, destination, distance, haversine, within_reach
from tile38cm.dev.tile38.text import json_float

#: Sides of a circle's polygon.
STEPS = 64

#: A shapely geometry; the package has no types.
Figure = Any


@frozen(slots=False)
class Geo:
    """One object's content."""

    @property
    def spatial(self) -> bool:
        """Whether it lies somewhere."""
        return True

    @property
    def text(self) -> str:
        """What a RESP client gets: GeoJSON, or the text itself."""
        raise NotImplementedError

    @property
    def box(self) -> Box:
        """West, south, east, north."""
        raise NotImplementedError

    @property
    def center(self) -> tuple[float, float]:
        """The middle of L{box}."""
        west, south, east, north = self.box
        return (west + east) / 2, (south + north) / 2

    @property
    def count(self) -> int:
        """How many points Tile38 counts in it."""
        return 1

    @property
    def z(self) -> float:
        """A point's third coordinate."""
        return 0.0

    @property
    def members(self) -> str:
        """Its further members as a JSON object, or nothing."""
        return ""

    @property
    def figure(self) -> Figure:
        """The planar shape."""
        raise NotImplementedError

    @property
    def parts(self) -> list[Figure]:
        """The figure, or those that it consists of."""
        return [self.figure]


@frozen(slots=False)
class Text(Geo):
    """C{STRING}: lies nowhere."""

    value: str

    @property
    def spatial(self) -> bool:
        return False

    @property
    def text(self) -> str:
        return self.value

    @property
    def box(self) -> Box:
        return 0.0, 0.0, 0.0, 0.0

    @property
    def count(self) -> int:
        return 0

    @property
    def parts(self) -> list[Figure]:
        return []


@frozen(slots=False)
class Point(Geo):
    """A place; C{more} is the third coordinate, and the fourth."""

    x: float
    y: float
    more: tuple[float, ...] = ()
    _members: str = ""

    @property
    def members(self) -> str:
        return self._members

    @property
    def text(self) -> str:
        numbers = ",".join(map(json_float, (self.x, self.y, *self.more)))
        return f'{{"type":"Point","coordinates":[{numbers}]{inner(self._members)}}}'

    @property
    def box(self) -> Box:
        return self.x, self.y, self.x, self.y

    @property
    def center(self) -> tuple[float, float]:
        return self.x, self.y

    @property
    def z(self) -> float:
        return self.more[0] if self.more else 0.0

    @cached_property
    def figure(self) -> Figure:
        return shapely.Point(self.x, self.y)


@frozen(slots=False)
class Rect(Geo):
    """C{BOUNDS}."""

    sides: Box

    @property
    def text(self) -> str:
        west, south, east, north = map(json_float, self.sides)
        ring = ((west, south), (east, south), (east, north), (west, north), (west, south))
        return f'{{"type":"Polygon","coordinates":[[{",".join(f"[{x},{y}]" for x, y in ring)}]]}}'

    @property
    def box(self) -> Box:
        return self.sides

    @property
    def count(self) -> int:
        return 2

    @cached_property
    def figure(self) -> Figure:
        west, south, east, north = self.sides
        if west == east and south == north:
            return shapely.Point(west, south)
        if west == east or south == north:
            return shapely.LineString([(west, south), (east, north)])
        return shapely.box(west, south, east, north)


@frozen(slots=False)
class Circle(Geo):
    """All places within some metres; a negative radius is for C{NEARBY} without one."""

    x: float
    y: float
    meters: float

    @property
    def text(self) -> str:
        place = f'{{"type":"Point","coordinates":[{json_float(self.x)},{json_float(self.y)}]}}'
        told = f'{{"type":"Circle","radius":{json_float(self.meters)},"radius_units":"m"}}'
        return f'{{"type":"Feature","geometry":{place},"properties":{told}}}'

    @cached_property
    def box(self) -> Box:
        found: Box = self.figure.bounds
        return found

    @property
    def center(self) -> tuple[float, float]:
        return self.x, self.y

    @cached_property
    def reach(self) -> float:
        """The haversine of the radius."""
        return within_reach(self.meters)

    def holds(self, point: Point) -> bool:
        """Whether a place is near enough, on the sphere."""
        return haversine(point.y, point.x, self.y, self.x) <= self.reach

    @cached_property
    def figure(self) -> Figure:
        if self.meters <= 0:
            return shapely.Point(self.x, self.y)
        meters = around(self.meters)
        north, south = (destination(self.y, self.x, meters, bearing)[0] for bearing in (0, 180))
        east, west = (destination(self.y, self.x, meters, bearing)[1] for bearing in (90, 270))
        width, height = (east - west) / 2, (north - south) / 2
        turns = [2 * pi * step / STEPS for step in range(STEPS)]
        return shapely.Polygon([(self.x + width * cos(t), self.y + height * sin(t)) for t in turns])


@frozen(slots=False)
class Shape(Geo):
    """Any other GeoJSON; C{base} is the geometry of a Feature."""

    kind: str
    _text: str
    _figures: tuple[Figure, ...]
    _count: int
    _members: str = ""
    base: Geo | None = None

    @property
    def members(self) -> str:
        return self._members

    @property
    def text(self) -> str:
        return self._text

    @cached_property
    def box(self) -> Box:
        if self.base is not None:
            return self.base.box
        if not self._figures:
            return 0.0, 0.0, 0.0, 0.0
        boxes = [figure.bounds for figure in self._figures]
        west, south = min(box[0] for box in boxes), min(box[1] for box in boxes)
        return west, south, max(box[2] for box in boxes), max(box[3] for box in boxes)

    @property
    def count(self) -> int:
        return self._count

    @property
    def z(self) -> float:
        return 0.0 if self.base is None else self.base.z

    @property
    def figure(self) -> Figure:
        return shapely.GeometryCollection(self._figures)

    @property
    def parts(self) -> list[Figure]:
        return list(self._figures)


def inner(members: str) -> str:
    """A JSON object's members as more of another's."""
    return f",{members[1:-1]}" if members else ""


def within(one: Geo, other: Geo) -> bool:
    """Whether C{one} lies in C{other} wholly; edges belong to a shape."""
    if isinstance(one, Point):
        if isinstance(other, Circle):
            return other.holds(one)
        if isinstance(other, Rect):
            west, south, east, north = other.sides
            return west <= one.x <= east and south <= one.y <= north
    if isinstance(one, Circle) and isinstance(other, Circle):
        return apart(one, other) < one.meters + other.meters
    mine, theirs = one.parts, other.parts
    return bool(mine) and all(any(_covers(outer, part) for outer in theirs) for part in mine)


def intersects(one: Geo, other: Geo) -> bool:
    """Whether they have a place in common."""
    if isinstance(one, Shape) and isinstance(one.base, Point):
        one = one.base
    if isinstance(one, Point) and isinstance(other, Circle | Rect):
        return within(one, other)
    if isinstance(one, Circle) and isinstance(other, Point):
        return one.holds(other)
    if isinstance(one, Circle) and isinstance(other, Circle):
        return apart(one, other) <= one.meters + other.meters
    return any(_meet(part, other_part) for part in one.parts for other_part in other.parts)


def apart(one: Geo, other: Geo) -> float:
    """Metres between the middles of two."""
    (x, y), (other_x, other_y) = one.center, other.center
    return distance(y, x, other_y, other_x)


def _covers(outer: Figure, part: Figure) -> bool:
    try:
        return bool(shapely.covers(outer, part))  # no figure, as NaN makes none: no
    except shapely.GEOSException:  # a shape that crosses itself
        return False


def _meet(one: Figure, other: Figure) -> bool:
    try:
        return bool(shapely.intersects(one, other))
    except shapely.GEOSException:
        return False
