"""Where a search looks: C{POINT}, C{CIRCLE}, C{BOUNDS}, C{OBJECT}, C{GET} and their like."""

from __future__ import annotations

from collections.abc import Callable

from tile38cm.dev.tile38 import geohashes, geojson
from tile38cm.dev.tile38.asked import Roam
from tile38cm.dev.tile38.calls import Refusal, Words, invalid, wrong_arity
from tile38cm.dev.tile38.data import Data
from tile38cm.dev.tile38.geometry import Circle, Geo, Point, Rect
from tile38cm.dev.tile38.text import parse_float


def read_area(data: Data, command: str, words: Words, fence: bool) -> Geo | Roam:
    """The area that the next words name.

    @param command: C{nearby} knows only points, and roaming; the other two all else.
    """
    word = words.word()
    kind = word.lower()
    if command == "nearby":
        if kind == "point":
            return _near(words)
        return _roam(words) if fence and kind == "roam" else invalid(word)
    reader = AREAS.get(kind)
    return invalid(word) if reader is None else reader(data, words)


def _place(words: Words) -> tuple[float, float]:
    """Longitude and latitude; both have to be there before one is judged."""
    given = words.word(), words.word()
    lat, lon = map(parse_float, given)
    if lat is None:
        invalid(given[0])
    return invalid(given[1]) if lon is None else (lon, lat)


def _near(words: Words) -> Geo:
    x, y = _place(words)
    return Circle(x, y, words.number(least=0) if words and words.rest[0] else -1)


def _roam(words: Words) -> Roam:
    key, id, meters = words.word(), words.word(), words.number()
    if not words:
        return Roam(key, id, meters)
    word = words.any()
    return Roam(key, id, meters, words.word()) if word.lower() == "scan" else invalid(word)


def _circle(data: Data, words: Words) -> Geo:
    x, y = _place(words)
    return Circle(x, y, words.number(least=0))


def _bounds(data: Data, words: Words) -> Geo:
    given = [words.word() for _ in range(4)]
    sides = [parse_float(word) for word in given]
    for word, side in zip(given, sides, strict=True):
        if side is None:
            invalid(word)
    south, west, north, east = (side or 0.0 for side in sides)
    return Rect((west, south, east, north))


def _object(data: Data, words: Words) -> Geo:
    try:
        return geojson.parse(words.word())
    except geojson.Unreadable as error:
        raise Refusal(str(error)) from None


def _get(data: Data, words: Words) -> Geo:
    key, id = words.word(), words.word()
    thing = data.find(key, id)
    return data.lack(key)() if thing is None else thing.geo


def _tile(data: Data, words: Words) -> Geo:
    x, y, zoom = (words.word() for _ in range(3))
    numbers = [invalid(word) if not word.isdigit() else int(word) for word in (x, y, zoom)]
    if numbers[2] > 23:
        invalid(zoom)
    return Rect(geohashes.tile_box(*numbers))


def _named(box: Callable[[str], tuple[float, float, float, float]]) -> Callable[[Data, Words], Geo]:
    def read(data: Data, words: Words) -> Geo:
        word = words.word()
        try:
            return Rect(box(word))
        except ValueError:
            invalid(word)

    return read


AREAS: dict[str, Callable[[Data, Words], Geo]] = {
    "point": lambda data, words: Point(*_place(words)),
    "circle": _circle,
    "bounds": _bounds,
    "object": _object,
    "get": _get,
    "tile": _tile,
    "hash": _named(geohashes.box_of),
    "quadkey": _named(geohashes.quadkey_box),
}


def read_all(data: Data, command: str, words: Words, fence: bool) -> Geo | Roam:
    """The area, with nothing behind it."""
    area = read_area(data, command, words, fence)
    if words:
        wrong_arity()
    return area
