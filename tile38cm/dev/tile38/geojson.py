"""GeoJSON in: what C{OBJECT} takes, and what it says of what it does not take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import shapely

from tile38cm.dev.tile38.geometry import Circle, Figure, Geo, Point, Shape, inner
from tile38cm.dev.tile38.text import json_float
from tile38cm.dev.tile38.values import ugly

#: Members that a type has by itself; all others are kept as they came.
_OWN = ("type", "coordinates", "geometries", "geometry", "features")
_SPACE = " \t\r\n"
_UNITS = {"": 1.0, "m": 1.0, "km": 1000.0}
_decode = json.JSONDecoder(parse_constant=lambda word: _wrong(word))


class Unreadable(ValueError):
    """It is no GeoJSON; the text is Tile38's."""


def _wrong(word: str) -> Any:
    raise ValueError(word)


def parse(text: str) -> Geo:
    """The object of a GeoJSON text.

    @raise Unreadable: with the reason that Tile38 gives.
    """
    text = text.lstrip(_SPACE)
    if not text.startswith("{"):
        raise Unreadable("invalid data")
    try:
        _decode.decode(text.rstrip(_SPACE))
        members = list(_members(text))
    except (ValueError, RecursionError):
        raise Unreadable("invalid data") from None
    own = {name: raw for name, _, raw in members if name in _OWN}
    foreign = ",".join(f"{ugly(key)}:{ugly(raw)}" for name, key, raw in members if name not in _OWN)
    return _read(own, f"{{{foreign}}}" if foreign else "")


def _members(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, and name and value as they were written, of each member of a valid object."""
    at = _skip(text, 1)
    while text[at] != "}":
        name, end = _decode.raw_decode(text, at)
        key, at = text[at:end], _skip(text, _skip(text, end) + 1)
        _, end = _decode.raw_decode(text, at)
        yield name, key, text[at:end]
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in _SPACE and at < len(text):
        at += 1
    return at


def _read(own: dict[str, str], members: str) -> Geo:
    if "type" not in own:
        raise Unreadable("missing type")
    kind = json.loads(own["type"])
    if not isinstance(kind, str):
        raise Unreadable("invalid type")
    if kind == "Feature":
        return _feature(own, members)
    if kind in ("GeometryCollection", "FeatureCollection"):
        return _collection(kind, own, members)
    if kind not in _DEPTHS:
        raise Unreadable(f"type '{kind}' is unknown")
    if "coordinates" not in own:
        raise Unreadable("missing coordinates")
    coordinates = json.loads(own["coordinates"])
    if kind == "Point":
        x, y, *more = _place(coordinates)
        return Point(x, y, tuple(more), members)
    return _shape(kind, _nested(coordinates, _DEPTHS[kind]), members)


#: How deep the lists of coordinates are.
_DEPTHS = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}


def _place(given: Any) -> tuple[float, ...]:
    if not isinstance(given, list) or len(given) < 2:
        raise Unreadable("invalid coordinates")
    numbers = [float("nan") if each is None else each for each in given[:4]]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers):
        raise Unreadable("invalid coordinates")
    return tuple(map(float, numbers))


def _nested(given: Any, depth: int) -> Any:
    if depth == 0:
        return _place(given)
    if not isinstance(given, list):
        raise Unreadable("invalid coordinates")
    return [_nested(each, depth - 1) for each in given]


def _written(nested: Any) -> str:
    if isinstance(nested, tuple):
        return f"[{','.join(map(json_float, nested))}]"
    return f"[{','.join(map(_written, nested))}]"


def _shape(kind: str, nested: Any, members: str) -> Shape:
    figures = list(_figures(kind, nested))
    text = f'{{"type":"{kind}","coordinates":{_written(nested)}{inner(members)}}}'
    return Shape(kind, text, tuple(figures), _places(nested), members)


def _places(nested: Any) -> int:
    return 1 if isinstance(nested, tuple) else sum(map(_places, nested))


def _figures(kind: str, nested: Any) -> Iterator[Figure]:
    if kind.startswith("Multi"):
        for each in nested:
            yield from _figures(kind.removeprefix("Multi"), each)
    elif kind == "Point":
        yield shapely.Point(nested[:2])
    elif kind == "LineString":
        if len(nested) < 2:
            raise Unreadable("invalid coordinates")
        yield shapely.LineString([place[:2] for place in nested])
    else:
        rings = [[place[:2] for place in ring] for ring in nested]
        if not rings or any(len(ring) < 4 or ring[0] != ring[-1] for ring in rings):
            raise Unreadable("invalid coordinates")
        yield shapely.Polygon(rings[0], rings[1:])


def _feature(own: dict[str, str], members: str) -> Geo:
    if "geometry" not in own:
        raise Unreadable("missing geometry")
    base = parse(own["geometry"])
    properties = json.loads(members).get("properties") if members else None
    if isinstance(base, Point) and isinstance(properties, dict) and properties.get("type") == "Circle":
        unit, radius = properties.get("radius_units") or "", properties.get("radius") or 0
        if unit not in _UNITS:
            raise Unreadable("invalid circle radius units")
        return Circle(base.x, base.y, float(radius) * _UNITS[unit])
    required = (
        inner(members) if properties is not None or _has(members) else f'{inner(members)},"properties":{{}}'
    )
    text = f'{{"type":"Feature","geometry":{base.text}{required}}}'
    return Shape("Feature", text, tuple(base.parts), base.count, members, base)


def _has(members: str) -> bool:
    return bool(members) and "properties" in json.loads(members)


def _collection(kind: str, own: dict[str, str], members: str) -> Geo:
    name = "geometries" if kind == "GeometryCollection" else "features"
    if name not in own:
        raise Unreadable(f"missing {name}")
    if not own[name].startswith("["):
        raise Unreadable(f"invalid {name}")
    children = [parse(raw) for raw in _elements(own[name])]
    text = ",".join(child.text for child in children)
    figures = tuple(part for child in children for part in child.parts)
    count = sum(child.count for child in children)
    return Shape(kind, f'{{"type":"{kind}","{name}":[{text}]{inner(members)}}}', figures, count, members)


def _elements(text: str) -> Iterator[str]:
    """Each element of a valid array, as it was written."""
    at = _skip(text, 1)
    while text[at] != "]":
        _, end = _decode.raw_decode(text, at)
        yield text[at:end]
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
