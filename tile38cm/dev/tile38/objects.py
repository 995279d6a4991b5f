"""The commands about one object, and those about a whole key."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from attrs import evolve, frozen

from tile38cm.dev.tile38 import geohashes, geojson
from tile38cm.dev.tile38.calls import (
    OK,
    Call,
    Change,
    NotThere,
    Refusal,
    Words,
    bulk,
    invalid,
    no_id,
    no_key,
    wrong_arity,
)
from tile38cm.dev.tile38.collection import Thing
from tile38cm.dev.tile38.data import Commands, Data
from tile38cm.dev.tile38.geometry import Geo, Point, Rect, Text
from tile38cm.dev.tile38.globs import matches, span_of
from tile38cm.dev.tile38.shown import View, json_thing, numbers, read_view, resp_thing
from tile38cm.dev.tile38.text import parse_float
from tile38cm.dev.tile38.values import ZERO, Value, value_of, with_field

_RESERVED = ("z", "lat", "lon")


@frozen
class _Set:
    """What a C{SET} asks for."""

    geo: Geo
    fields: list[tuple[str, Value]]
    seconds: float | None
    condition: str


def set_object(data: Data, call: Call) -> bytes:
    """C{SET key id [FIELD name value ...] [EX seconds] [NX|XX] ...}"""
    _room(data)
    words = call.words
    key, id = words.any(), words.any()
    asked = _read_set(words)
    old = data.find(key, id)
    if asked.condition == "nx" and old is not None:
        return call.missing(None, _exists)
    if asked.condition == "xx" and old is None:
        return call.missing(None, no_id)
    fields = old.fields if old is not None else {}
    for name, value in asked.fields:
        fields = with_field(fields, name, value)
    expires = None if asked.seconds is None else data.now() + asked.seconds
    thing = Thing(id, asked.geo, fields, expires)
    data.put(key, thing)
    call.changes.append(Change("set", key, thing, old, data.now()))
    return call.done()


def _room(data: Data) -> None:
    if data.full:
        raise Refusal("OOM command not allowed when used memory > 'maxmemory'")


def _exists() -> NoReturn:
    raise Refusal("id already exists")


def _read_set(words: Words) -> _Set:
    geo: Geo | None = None
    fields: list[tuple[str, Value]] = []
    seconds, condition = None, ""
    while words:
        word = words.any()
        match word.lower():
            case "field":
                fields.append(_field(words.any(), words))
            case "ex":
                seconds = _number(words)
            case "nx" | "xx" as given:
                if condition not in ("", given):
                    invalid(word)
                condition = given
            case kind if kind in _KINDS:
                geo = _KINDS[kind](words)
            case _:
                invalid(word)
    return _Set(geo or wrong_arity(), fields, seconds, condition)


def _field(name: str, words: Words) -> tuple[str, Value]:
    text = words.any()
    if name in _RESERVED:
        invalid(name)
    return name.strip(), value_of(text)


def _number(words: Words) -> float:
    word = words.any()
    number = parse_float(word)
    return invalid(word) if number is None else number


def _point(words: Words) -> Geo:
    lat, lon = words.any(), words.any()
    z = parse_float(words.rest[0]) if words else None
    if z is not None:
        words.any()
    y, x = parse_float(lat), parse_float(lon)
    if y is None:
        invalid(lat)
    return invalid(lon) if x is None else Point(x, y, () if z is None else (z,))


def _bounds(words: Words) -> Geo:
    if len(words.rest) < 4:
        wrong_arity()
    south, west, north, east = (_number(words) for _ in range(4))
    return Rect((west, south, east, north))


def _hash(words: Words) -> Geo:
    word = words.any()
    try:
        return Point(*geohashes.place_of(word))
    except ValueError:
        invalid(word)


def _object(words: Words) -> Geo:
    try:
        return geojson.parse(words.any())
    except geojson.Unreadable as error:
        raise Refusal(str(error)) from None


_KINDS: dict[str, Callable[[Words], Geo]] = {
    "string": lambda words: Text(words.any()),
    "point": _point,
    "bounds": _bounds,
    "hash": _hash,
    "object": _object,
}


def _show(call: Call, thing: Thing, view: View) -> bytes:
    return call.reply(lambda: resp_thing(thing, view), lambda: json_thing(thing, view))


def get_object(data: Data, call: Call) -> bytes:
    """C{GET key id [WITHFIELDS] [OBJECT|POINT|BOUNDS|HASH n]}"""
    words, view = call.words, View()
    key, id = words.any(), words.any()
    while words:
        view = read_view(words, view) or wrong_arity()
    thing = data.find(key, id)
    if thing is None:
        return call.missing(None, data.lack(key))
    return _show(call, thing, view)


def delete(data: Data, call: Call) -> bytes:
    """C{DEL key id [ERRON404]}"""
    words = call.words
    key, id = words.any(), words.any()
    for word in words.rest:
        if word.lower() != "erron404":
            invalid(word)
    known, old = data.get(key) is not None, data.remove(key, id)
    if old is None and words:
        (no_id if known else no_key)()
    if old is not None:
        call.changes.append(Change("del", key, old, time=data.now()))
    return call.counted(int(old is not None))


def delete_pattern(data: Data, call: Call) -> bytes:
    """C{PDEL key pattern}"""
    key, pattern = call.exactly(2)
    collection, span, parts = data.get(key), span_of(pattern), []
    for thing in list(collection.by_id()) if collection is not None else ():
        if (span is None or span[0] <= thing.id < span[1]) and matches(pattern, thing.id):
            data.remove(key, thing.id)
            parts.append(Change("del", key, thing, time=data.now()))
    if parts:
        call.changes.append(Change("pdel", key, time=data.now(), parts=tuple(parts)))
    return call.counted(len(parts))


def drop(data: Data, call: Call) -> bytes:
    """C{DROP key}"""
    (key,) = call.exactly(1)
    gone = data.drop(key) is not None
    if gone:
        call.changes.append(Change("drop", key, time=data.now()))
    return call.counted(int(gone))


def rename(data: Data, call: Call) -> bytes:
    """C{RENAME key newkey}, C{RENAMENX key newkey}"""
    key, new = call.exactly(2)
    only_if_free = call.name == "renamenx"
    if data.get(key) is None:
        raise NotThere("key not found")
    if any(hook.key in (key, new) for hook in data.hooks.values()):
        raise Refusal("key has hooks set")
    free = data.get(new) is None
    if free or not only_if_free:
        _move(data, key, new)
        call.changes.append(Change("rename", key, time=data.now()))
    return call.reply(int(free) if only_if_free else OK)


def _move(data: Data, key: str, new: str) -> None:
    collection = data.drop(key)
    assert collection is not None
    data.drop(new)
    data.place(new, collection)


def flush(data: Data, call: Call) -> bytes:
    """C{FLUSHDB}"""
    call.exactly(0)
    data.clear()
    call.changes.append(Change("flushdb", "", time=data.now()))
    return call.done()


def set_fields(data: Data, call: Call) -> bytes:
    """C{FSET key id [XX] field value [field value ...]}"""
    _room(data)
    words = call.words
    if len(words.rest) < 4:
        wrong_arity()
    key, id = words.any(), words.any()
    news, lenient = [], False
    while words:
        word = words.any()
        if word.lower() == "xx":
            lenient = True
        else:
            news.append(_field(word, words))
    thing = data.find(key, id)
    if data.get(key) is None:
        no_key()
    if thing is None:
        return call.counted(0) if lenient else no_id()
    fields, count = thing.fields, 0
    for name, value in news:
        if not fields.get(name, ZERO).same(value):
            fields = with_field(fields, name, value)
            count += 1
    thing = evolve(thing, fields=fields)
    data.put(key, thing)
    if count:
        call.changes.append(Change("fset", key, thing, time=data.now()))
    return call.counted(count)


def _found(data: Data, key: str, id: str) -> Thing:
    return data.find(key, id) or data.lack(key)()


def get_field(data: Data, call: Call) -> bytes:
    """C{FGET key id field}"""
    if len(call.args) < 4:
        wrong_arity()
    value = _found(data, call.args[1], call.args[2]).field(call.args[3])
    return call.reply(bulk(value.data), f'"value":{value.json()}')


def exists(data: Data, call: Call) -> bytes:
    """C{EXISTS key id}"""
    key, id = call.exactly(2)
    if data.get(key) is None:
        no_key()
    return _truth(call, data.find(key, id) is not None)


def field_exists(data: Data, call: Call) -> bytes:
    """C{FEXISTS key id field}"""
    key, id, name = call.exactly(3)
    return _truth(call, _found(data, key, id).field(name) is not ZERO)


def _truth(call: Call, yes: bool) -> bytes:
    return call.reply(int(yes), f'"exists":{"true" if yes else "false"}')


def expire(data: Data, call: Call) -> bytes:
    """C{EXPIRE key id seconds}"""
    key, id, word = call.exactly(3)
    seconds = parse_float(word)
    if seconds is None:
        invalid(word)
    thing = data.find(key, id)
    if thing is None:
        return call.missing(0, data.lack(key))
    return _lasting(data, call, key, evolve(thing, expires=data.now() + seconds))


def persist(data: Data, call: Call) -> bytes:
    """C{PERSIST key id}"""
    key, id = call.exactly(2)
    thing = data.find(key, id)
    if thing is None:
        return call.missing(0, data.lack(key))
    if thing.expires is None:
        return call.counted(0)
    return _lasting(data, call, key, evolve(thing, expires=None))


def _lasting(data: Data, call: Call, key: str, thing: Thing) -> bytes:
    """It has another lifetime now."""
    data.put(key, thing)
    call.changes.append(Change("persist" if thing.expires is None else "expire", key, thing, time=data.now()))
    return call.counted(1)


def ttl(data: Data, call: Call) -> bytes:
    """C{TTL key id}: whole seconds, -1 without an end."""
    key, id = call.exactly(2)
    thing = data.find(key, id)
    if thing is None:
        return call.missing(-2, data.lack(key))
    left = -1 if thing.expires is None else int(max(thing.expires - data.now(), 0))
    return call.reply(left, f'"ttl":{left}')


def bounds(data: Data, call: Call) -> bytes:
    """C{BOUNDS key}"""
    (key,) = call.exactly(1)
    collection = data.get(key)
    if collection is None:
        return call.missing(None, no_key)
    west, south, east, north = box = collection.box()
    return call.reply(
        lambda: [numbers(west, south), numbers(east, north)], lambda: f'"bounds":{Rect(box).text}'
    )


def kind(data: Data, call: Call) -> bytes:
    """C{TYPE key}"""
    (key,) = call.exactly(1)
    if data.get(key) is None:
        return call.missing("none", no_key)
    return call.reply("hash", '"type":"hash"')


WRITES: Commands = {
    "set": set_object,
    "fset": set_fields,
    "del": delete,
    "pdel": delete_pattern,
    "drop": drop,
    "rename": rename,
    "renamenx": rename,
    "flushdb": flush,
    "expire": expire,
    "persist": persist,
}
READS: Commands = {
    "get": get_object,
    "fget": get_field,
    "exists": exists,
    "fexists": field_exists,
    "ttl": ttl,
    "bounds": bounds,
    "type": kind,
}
