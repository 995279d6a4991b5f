"""C{WHERE}, C{WHEREIN}, C{MATCH}: which objects a search lets through."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from tile38cm.dev.tile38.calls import Words
from tile38cm.dev.tile38.collection import Thing
from tile38cm.dev.tile38.globs import matches_any
from tile38cm.dev.tile38.text import format_float
from tile38cm.dev.tile38.values import NUMBER, ZERO, Value, value_of

_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


@frozen
class Where:
    """One field between two values, or compared with one."""

    name: str
    low: Value
    high: Value
    low_open: bool = False
    high_open: bool = False
    comparison: str = ""

    def holds(self, thing: Thing) -> bool:
        """Whether the object passes."""
        value = field_of(thing, self.name)
        match self.comparison:
            case "<":
                return value.less(self.high)
            case "<=":
                return not self.high.less(value)
            case ">":
                return self.high.less(value)
            case ">=":
                return not value.less(self.high)
            case "==":
                return value.same(self.high)
            case "!=":
                return not value.same(self.high)
        above = self.low.less(value) if self.low_open else not value.less(self.low)
        below = value.less(self.high) if self.high_open else not self.high.less(value)
        return above and below


@frozen
class WhereIn:
    """One field with one of some values."""

    name: str
    values: tuple[Value, ...]

    def holds(self, thing: Thing) -> bool:
        """Whether the object passes."""
        value = field_of(thing, self.name)
        return any(each.same(value) for each in self.values)


@frozen
class Filter:
    """All that an object has to pass."""

    patterns: tuple[str, ...] = ()
    fields: tuple[Where | WhereIn, ...] = ()

    def passes(self, thing: Thing, by_value: bool = False) -> bool:
        """Whether its id, or its text, and its fields do."""
        name = thing.geo.text if by_value else thing.id
        return matches_any(self.patterns, name) and all(each.holds(thing) for each in self.fields)


def field_of(thing: Thing, name: str) -> Value:
    """A field; C{z} is a point's height, C{properties.x} a member of a Feature."""
    if name == "properties" or name.startswith("properties."):
        found = _property(thing.geo.members, name)
        if found is not None:
            return found
    if name == "z":
        return Value(NUMBER, format_float(thing.geo.z), thing.geo.z)
    return thing.fields.get(name, ZERO)


def _property(members: str, name: str) -> Value | None:
    value: Any = json.loads(members) if members else {}
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return value_of(json.dumps(value, ensure_ascii=False))


def is_expression(words: Words) -> bool:
    """Whether C{WHERE} goes on with an expression, which this node does not know."""
    rest = words.rest
    if len(rest) < 2 or not rest[1]:
        return bool(rest)
    return rest[1][0].isascii() and rest[1][0].isalpha() and rest[1].lower() != "inf"


def read_where(words: Words) -> Where:
    """C{name min max}, or C{name comparison value}."""
    name, low, high = words.any(), words.any().lower(), words.any().lower()
    if low in _COMPARISONS:
        return Where(name, ZERO, value_of(high), comparison=low)
    low_open, high_open = low.startswith("("), high.startswith("(")
    return Where(name, value_of(low[low_open:]), value_of(high[high_open:]), low_open, high_open)


def read_wherein(words: Words) -> WhereIn:
    """C{name count value ...}"""
    name = words.any()
    count = words.whole()
    return WhereIn(name, tuple(value_of(words.any()) for _ in range(min(count, len(words.rest) + 1))))
