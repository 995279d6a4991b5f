"""Searches carried out, and their results written; C{KEYS} and C{STATS} as well."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

from attrs import define, field

from tile38cm.dev.tile38.asked import Search
from tile38cm.dev.tile38.calls import Call, Refusal, bulk
from tile38cm.dev.tile38.collection import Collection, Thing
from tile38cm.dev.tile38.data import Commands, Data
from tile38cm.dev.tile38.filters import WhereIn
from tile38cm.dev.tile38.geometry import Circle, Geo, apart, intersects, within
from tile38cm.dev.tile38.globs import matches, span_of, span_of_all
from tile38cm.dev.tile38.searches import read_search
from tile38cm.dev.tile38.shown import json_fields, json_of, resp_fields, resp_of
from tile38cm.dev.tile38.text import format_float, json_string
from tile38cm.dev.tile38.values import ZERO
from tile38cm.wire.resp import Value

#: How many a search answers that names no limit.
LIMIT = 100
_KINDS = {"objects": "object", "points": "point", "hashes": "hash", "bounds": "bounds"}


class GoesLive(Exception):
    """The search has C{FENCE}."""

    def __init__(self, search: Search) -> None:
        super().__init__(search.command)
        self.search = search


@define
class Result:
    """What a search has found: things with their distances in metres, or without one."""

    things: list[tuple[Thing, float | None]] = field(factory=list)
    count: int = 0
    cursor: int = 0


def search(command: str, data: Data, call: Call) -> bytes:
    """The five searches.

    @raise GoesLive: it is for a live connection.
    """
    asked = read_search(data, command, call.words)
    if asked.fence:
        raise GoesLive(asked)
    collection = data.get(asked.key)
    result = Result() if collection is None else _run(asked, collection)
    return call.reply(lambda: _resp(asked, result), lambda: _json(asked, result))


def _run(asked: Search, collection: Collection) -> Result:
    counting = asked.output == "count"
    if counting and _counts_all(asked):
        return Result(count=max(len(collection) - asked.cursor, 0))
    limit = asked.limit or (None if counting else LIMIT)
    result, step = Result(), asked.cursor
    for thing, distance in islice(_candidates(asked, collection), asked.cursor, None):
        step += 1
        if distance is not None and distance < 0:
            continue
        if not asked.filter.passes(thing, by_value=asked.command == "search"):
            continue
        result.count += 1
        if not counting:
            result.things.append((thing, distance))
        if result.count == limit:
            result.cursor = 0 if counting else step
            break
    return result


def _counts_all(asked: Search) -> bool:
    """Whether the collection's size is the answer; as in Tile38, C{SEARCH} overlooks C{WHEREIN} there."""
    if asked.command not in ("scan", "search") or asked.filter.patterns not in ((), ("*",)):
        return False
    overlooked = WhereIn if asked.command == "search" else ()
    return all(isinstance(each, overlooked) for each in asked.filter.fields)


def _candidates(asked: Search, collection: Collection) -> Iterator[tuple[Thing, float | None]]:
    """All that the cursor counts; a negative distance says that it does not lie in the area."""
    if asked.command == "nearby":
        yield from _near(asked, collection)
    elif asked.command in ("within", "intersects"):
        assert isinstance(asked.area, Geo)
        meets = within if asked.command == "within" else intersects
        for thing in collection.around(asked.area.box):
            yield thing, None if meets(thing.geo, asked.area) else -1.0
    elif asked.command == "search":
        yield from ((thing, None) for thing in _between(asked, collection.by_value(asked.descending)))
    else:
        yield from ((thing, None) for thing in _between(asked, collection.by_id(asked.descending)))


def _near(asked: Search, collection: Collection) -> Iterator[tuple[Thing, float | None]]:
    circle = asked.area
    assert isinstance(circle, Circle)
    for distance, thing in collection.nearest(circle.y, circle.x, circle.meters):
        if 0 < circle.meters < distance:
            return
        yield thing, distance if asked.distance else None


def _between(asked: Search, things: Iterable[Thing]) -> Iterable[Thing]:
    """Those that may fit the patterns; where all begin with plain letters, the cursor counts these only."""
    span = span_of_all(asked.filter.patterns, asked.descending)
    if span is None:
        return things
    first, last = span
    by_value = asked.command == "search"
    if not asked.descending:
        return (thing for thing in things if first <= _name(thing, by_value) < last)
    if by_value:
        return (thing for thing in things if last <= thing.geo.text < first)
    return (thing for thing in things if last < thing.id <= first)


def _name(thing: Thing, by_value: bool) -> str:
    return thing.geo.text if by_value else thing.id


# -- results ----------------------------------------------------------------------


def _resp(asked: Search, result: Result) -> Value:
    if asked.output == "count":
        return result.count
    return [result.cursor, [_resp_row(asked, *found) for found in result.things]]


def _resp_row(asked: Search, thing: Thing, distance: float | None) -> Value:
    far: list[Value] = [] if distance is None else [bulk(format_float(distance))]
    if asked.output == "ids":
        return [bulk(thing.id), *far] if far else bulk(thing.id)
    row: list[Value] = [bulk(thing.id), resp_of(thing.geo, _KINDS[asked.output], asked.letters)]
    if thing.fields and not asked.nofields:
        row.append(resp_fields(thing.fields))
    return row + far


def _json(asked: Search, result: Result) -> str:
    end = f'"count":{result.count},"cursor":{result.cursor}'
    if asked.output == "count":
        return end
    names: list[str] = []
    if asked.output != "ids" and not asked.nofields:
        names = sorted({name for thing, _ in result.things for name in thing.fields})
    head = f'"fields":[{",".join(map(json_string, names))}],' if names else ""
    rows = ",".join(_json_row(asked, names, *found) for found in result.things)
    return f'{head}"{asked.output}":[{rows}],{end}'


def _json_row(asked: Search, names: list[str], thing: Thing, distance: float | None) -> str:
    values = ",".join(thing.fields.get(name, ZERO).json() for name in names)
    return json_row(asked, thing, distance, f',"fields":[{values}]' if names else "")


def json_row(asked: Search, thing: Thing, distance: float | None, fields: str) -> str:
    """One object of a result, with what is given as its fields."""
    far = "" if distance is None else f',"distance":{format_float(distance)}'
    id = json_string(thing.id)
    if asked.output == "ids":
        return f'{{"id":{id}{far}}}' if far else id
    kind = _KINDS.get(asked.output)
    content = "" if kind is None else f',"{kind}":{json_of(thing.geo, kind, asked.letters)}'
    return f'{{"id":{id}{content}{fields}{far}}}'


def event_row(asked: Search, thing: Thing) -> str:
    """One object as an event has it, without its opening brace."""
    assert asked.area is not None
    distance = apart(thing.geo, asked.area) if asked.distance and isinstance(asked.area, Geo) else None
    shown = thing.fields and not asked.nofields and asked.output not in ("ids", "count")
    row = json_row(asked, thing, distance, f',"fields":{json_fields(thing.fields)}' if shown else "")
    return row[1:] if row.startswith("{") else f'"id":{row}}}'


# -- keys -------------------------------------------------------------------------


def keys(data: Data, call: Call) -> bytes:
    """C{KEYS pattern}"""
    (pattern,) = call.exactly(1)
    span = span_of(pattern)
    found = [
        key for key in data.keys() if (span is None or span[0] <= key <= span[1]) and matches(pattern, key)
    ]
    return call.reply([bulk(key) for key in found], lambda: f'"keys":[{",".join(map(json_string, found))}]')


def stats(data: Data, call: Call) -> bytes:
    """C{STATS key [key ...]}"""
    if len(call.args) < 2:
        raise Refusal("invalid number of arguments")
    found = [_figures(data.get(key)) for key in call.args[1:]]

    def told() -> Value:
        rows: list[Value] = []
        for row in found:
            rows.append(None if row is None else [bulk(str(each)) for pair in row.items() for each in pair])
        return rows

    def members() -> str:
        return f'"stats":{json.dumps(found, separators=(",", ":"))}'

    return call.reply(told, members)


def _figures(collection: Collection | None) -> dict[str, int] | None:
    if collection is None:
        return None
    return {
        "in_memory_size": collection.weight,
        "num_objects": len(collection),
        "num_points": collection.points,
        "num_strings": collection.strings,
    }


_SEARCHES = ("scan", "search", "nearby", "within", "intersects")
READS: Commands = {"keys": keys, **{name: partial(search, name) for name in _SEARCHES}}
#: Answered by a follower that has never caught up, too.
ALWAYS: Commands = {"stats": stats}
