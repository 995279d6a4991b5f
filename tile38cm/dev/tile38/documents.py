"""C{JSET}, C{JGET}, C{JDEL}: an object's text as a JSON document, and places inside it.

A path has names with dots between them; a number is a place in a list, and C{-1} behind its end.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tile38cm.dev.tile38 import geojson
from tile38cm.dev.tile38.calls import ARITY, Call, Change, Refusal, bulk, invalid
from tile38cm.dev.tile38.collection import Thing
from tile38cm.dev.tile38.data import Commands, Data
from tile38cm.dev.tile38.geometry import Geo, Text
from tile38cm.dev.tile38.text import json_string

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class _Nothing:
    """What is at a path that leads nowhere."""


def _steps(path: str) -> list[str]:
    return [step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", path)]


def _at(document: Any, path: str) -> Any:
    for step in _steps(path):
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        elif isinstance(document, list) and step == "#":
            document = len(document)
        else:
            return _Nothing
    return document


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _Nothing


def _dump(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _put(document: Any, steps: list[str], value: Any) -> Any:
    step, rest = steps[0], steps[1:]
    if isinstance(document, list):
        if not step.isdigit() and step != "-1":
            raise Refusal(f"cannot set array element for non-numeric key '{step}'")
        at = len(document) if step == "-1" else int(step)
        document = document + [None] * (at + 1 - len(document))
        document[at] = _put(document[at], rest, value) if rest else value
        return document
    if not isinstance(document, dict):
        document = [] if step.isdigit() or step == "-1" else {}
        return _put(document, steps, value)
    inner = document.get(step)
    return document | {step: _put(inner, rest, value) if rest else value}


def json_set(data: Data, call: Call) -> bytes:
    """C{JSET key id path value [RAW|STR]}"""
    if len(call.args) not in (5, 6):
        raise Refusal(ARITY)
    key, id, path, text, *how = call.args[1:]
    if how and how[0].lower() not in ("raw", "str"):
        invalid(how[0])
    raw = how[0].lower() == "raw" if how else text in ("true", "false", "null") or _NUMBER.fullmatch(text)
    if not path:
        raise Refusal("path cannot be empty")
    old = data.find(key, id)
    document = _load(old.geo.text) if old is not None else _Nothing
    value = _load(text) if raw else text
    written = _dump(_put(document, _steps(path), None if value is _Nothing else value))
    _write(data, call, Thing(id, _as(old, written), {} if old is None else old.fields), key)
    return call.done()


def _as(old: Thing | None, written: str) -> Geo:
    if old is None or not old.geo.spatial:
        return Text(written)
    try:
        return geojson.parse(written)
    except geojson.Unreadable as error:
        raise Refusal(str(error)) from None


def _write(data: Data, call: Call, thing: Thing, key: str) -> None:
    old = data.put(key, thing)
    # Fences see an object that lies somewhere as one that was set.
    call.changes.append(Change("set" if thing.geo.spatial else "", key, thing, old, data.now()))


def json_get(data: Data, call: Call) -> bytes:
    """C{JGET key id [path [RAW]]}"""
    if not 3 <= len(call.args) <= 5:
        raise Refusal(ARITY)
    key, id, *more = call.args[1:]
    if len(more) > 1 and more[1].lower() != "raw":
        invalid(more[1])
    thing = data.find(key, id)
    if thing is None:
        return call.missing(None, data.lack(key))
    document = _load(thing.geo.text)
    found = _at(document, more[0]) if more else document
    if found is _Nothing:
        return call.reply(None)
    text = _dump(found) if len(more) > 1 or not isinstance(found, str) else found
    return call.reply(bulk("" if text == "null" and len(more) < 2 else text), f'"value":{json_string(text)}')


def json_delete(data: Data, call: Call) -> bytes:
    """C{JDEL key id path}: as in Tile38, no log has it."""
    key, id, path = call.exactly(3)
    thing = data.find(key, id)
    if thing is None:
        return call.missing(0, data.lack(key))
    document, (*before, last) = _load(thing.geo.text), _steps(path)
    parent = _at(document, ".".join(before)) if before else document
    if isinstance(parent, dict) and last in parent:
        del parent[last]
    elif isinstance(parent, list) and last.isdigit() and int(last) < len(parent):
        del parent[int(last)]
    else:
        return call.missing(0, _no_path)
    data.put(key, Thing(id, _as(thing, _dump(document)), thing.fields))
    return call.done() if thing.geo.spatial else call.counted(1)


def _no_path() -> Any:
    raise Refusal("path not found")


WRITES: Commands = {"jset": json_set}
READS: Commands = {"jget": json_get}
#: Taken by any node, and unlogged.
UNLOGGED: Commands = {"jdel": json_delete}
