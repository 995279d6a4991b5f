"""A field's value: a number, a text, or JSON; their order; and what C{WHERE} compares."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from tile38cm.dev.tile38.text import json_string, parse_float

#: In the order in which Tile38 sorts values of different kinds.
NULL, FALSE, NUMBER, STRING, TRUE, JSON = range(6)

_CONSTANTS = {"null": NULL, "false": FALSE, "true": TRUE}
_WORDS = {
    **dict.fromkeys(("inf", "+inf", "infinity", "+infinity"), ("+Inf", math.inf)),
    **dict.fromkeys(("-inf", "-infinity"), ("-Inf", -math.inf)),
    "nan": ("NaN", math.nan),
}


@frozen
class Value:
    """One value; C{data} is how it is written, C{number} only of a number."""

    kind: int
    data: str
    number: float = 0.0

    @property
    def zero(self) -> bool:
        """Whether it is as good as no value: such a field is not kept."""
        return self.kind == NUMBER and self.data == "0"

    def less(self, other: Value) -> bool:
        """Whether it sorts before another; letters without regard to case."""
        if self.kind != other.kind:
            return self.kind < other.kind
        if self.kind == NUMBER:
            return self.number < other.number
        if self.kind == STRING:
            return _folded(self.data) < _folded(other.data)
        return self.data < other.data

    def same(self, other: Value) -> bool:
        """Whether neither sorts before the other."""
        return not self.less(other) and not other.less(self)

    def json(self) -> str:
        """As JSON."""
        if self.kind == STRING or self.data in ("NaN", "+Inf", "-Inf"):
            return json_string(self.data)
        return self.data


ZERO = Value(NUMBER, "0")
#: A thing's fields by name; a value of zero is never among them.
Fields = Mapping[str, Value]


def _folded(text: str) -> str:
    """ASCII letters in lower case, all else as it is."""
    return text.lower() if text.isascii() else "".join(c.lower() if c.isascii() else c for c in text)


def value_of(text: str) -> Value:
    """What Tile38 takes a text for: a number if JSON would take it for one, a constant, JSON, or a text."""
    text = text.strip(" \t\n\v\f\r\x85\xa0")
    number = parse_float(text)
    if number is not None:
        if not math.isfinite(number):
            return _word(text) or Value(STRING, text)
        return Value(NUMBER, text, number) if is_json(text) else Value(STRING, text)
    if text in _CONSTANTS:
        return Value(_CONSTANTS[text], text)
    if text[:1] in ("{", "[", '"') and is_json(text):
        if text[0] != '"':
            return Value(JSON, ugly(text))
        text = json.loads(text)
    return _word(text) or Value(STRING, text)


def _word(text: str) -> Value | None:
    found = _WORDS.get(text.lower())
    return None if found is None else Value(NUMBER, *found)


def _refuse(word: str) -> Any:
    raise ValueError(word)


def is_json(text: str) -> bool:
    """Whether it is JSON; Python alone would take C{NaN}, too."""
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


_PARTS = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


def ugly(text: str) -> str:
    """Valid JSON without the white space between its parts, every number and text as it was written."""
    return _PARTS.sub(lambda found: found[1] or "", text)


def with_field(fields: Fields, name: str, value: Value) -> Fields:
    """The fields with this one set; a value of zero takes it away, one that sorts alike changes nothing."""
    old = fields.get(name)
    if value.zero:
        return fields if old is None else {each: kept for each, kept in fields.items() if each != name}
    if old is not None and old.same(value):
        return fields
    return dict(sorted({**fields, name: value}.items()))
