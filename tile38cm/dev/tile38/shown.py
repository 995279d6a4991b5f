"""An object as replies show it: whole, as a point, as bounds, as a geohash; and its fields."""

from __future__ import annotations

from attrs import frozen

from tile38cm.dev.tile38 import geohashes
from tile38cm.dev.tile38.calls import Words, bulk, invalid
from tile38cm.dev.tile38.collection import Thing
from tile38cm.dev.tile38.geometry import Geo
from tile38cm.dev.tile38.text import format_float, json_string, parse_whole
from tile38cm.dev.tile38.values import Fields
from tile38cm.wire.resp import Value

#: The longest geohash.
LETTERS_MAX = 12


@frozen
class View:
    """What is to be shown of an object.  C{letters} is for geohashes."""

    kind: str = "object"
    letters: int = 0
    fields: bool = False


def read_view(words: Words, view: View) -> View | None:
    """The view with the next word taken, or C{None} if that word says nothing of a view."""
    word = words.lower
    if word == "withfields":
        words.any()
        return View(view.kind, view.letters, True)
    if word not in ("object", "point", "bounds", "hash"):
        return None
    words.any()
    return View(word, letters(words) if word == "hash" else 0, view.fields)


def letters(words: Words) -> int:
    """The next word as the length of a geohash."""
    word = words.any()
    number = parse_whole(word, 1, LETTERS_MAX)
    return invalid(word) if number is None else number


def numbers(*given: float) -> list[Value]:
    """Numbers in RESP, which has none with fractions."""
    return [bulk(format_float(each)) for each in given]


def resp_of(geo: Geo, kind: str, letters: int = 0) -> Value:
    """An object's content for RESP."""
    if kind == "object":
        return bulk(geo.text)
    x, y = geo.center
    if kind == "hash":
        return bulk(geohashes.encode(x, y, letters))
    if kind == "point":
        return numbers(y, x, geo.z) if geo.z else numbers(y, x)
    west, south, east, north = geo.box
    return [numbers(south, west), numbers(north, east)]


def json_of(geo: Geo, kind: str, letters: int = 0) -> str:
    """An object's content for JSON."""
    if kind == "object":
        return geo.text if geo.spatial else json_string(geo.text)
    x, y = geo.center
    if kind == "hash":
        return f'"{geohashes.encode(x, y, letters)}"'
    if kind == "point":
        return _place(x, y, geo.z)
    west, south, east, north = geo.box
    return f'{{"sw":{_place(west, south)},"ne":{_place(east, north)}}}'


def _place(x: float, y: float, z: float = 0.0) -> str:
    height = f',"z":{format_float(z)}' if z else ""
    return f'{{"lat":{format_float(y)},"lon":{format_float(x)}{height}}}'


def resp_fields(fields: Fields) -> list[Value]:
    """Names and values in turn."""
    return [bulk(text) for name, value in fields.items() for text in (name, value.data)]


def json_fields(fields: Fields) -> str:
    """A JSON object of them."""
    told = (f"{json_string(name)}:{value.json()}" for name, value in fields.items())
    return f"{{{','.join(told)}}}"


def resp_thing(thing: Thing, view: View) -> Value:
    """An object as C{GET} answers it."""
    content = resp_of(thing.geo, view.kind, view.letters)
    if not view.fields:
        return content
    return [content, resp_fields(thing.fields)] if thing.fields else [content]


def json_thing(thing: Thing, view: View) -> str:
    """Its members as C{GET} answers them."""
    content = f'"{view.kind}":{json_of(thing.geo, view.kind, view.letters)}'
    return f'{content},"fields":{json_fields(thing.fields)}' if view.fields and thing.fields else content
