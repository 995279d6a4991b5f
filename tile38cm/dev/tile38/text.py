"""Numbers, strings and durations as Tile38 writes and reads them.

Text inside the node is C{str}: UTF-8, with C{surrogateescape} for whatever is not, so that any
bytes go in and come out unchanged, and in the same order.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from decimal import Decimal

_DIGITS, _HEX = "[0-9](?:_?[0-9])*", "[0-9a-f](?:_?[0-9a-f])*"
_NUMBER = re.compile(
    rf"[+-]?(?:(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:e[+-]?{_DIGITS})?|inf(?:inity)?)|nan", re.I
)
_HEX_NUMBER = re.compile(rf"[+-]?0x_?(?:{_HEX}(?:\.(?:{_HEX})?)?|\.{_HEX})p[+-]?{_DIGITS}", re.I)
#: What Go's JSON writer escapes besides what JSON demands; U+2028 and U+2029 as well.
_GO_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_TO_ESCAPE = re.compile("[<>&\u2028\u2029]")
_SURROGATE = re.compile("[\udc80-\udcff]")


def to_text(raw: bytes) -> str:
    """Bytes of a client as text."""
    return raw.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """The bytes that L{to_text} was given."""
    return text.encode("utf-8", "surrogateescape")


def parse_float(text: str) -> float | None:
    """A number as Go reads one, or C{None}; spaces and other digits than ASCII's are no number."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _HEX_NUMBER.fullmatch(text):
        return None
    try:
        return float.fromhex(text.replace("_", ""))
    except OverflowError:
        return None


def parse_whole(text: str, least: int = -(2**63), most: int = 2**63 - 1) -> int | None:
    """A whole number within bounds, or C{None}."""
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", text):
        return None
    number = int(text)
    return number if least <= number <= most else None


def format_float(number: float) -> str:
    """The shortest text that reads back as this number, never with an exponent."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    text = repr(number)
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def json_float(number: float) -> str:
    """A coordinate in GeoJSON; what JSON cannot say is C{null}."""
    return format_float(number) if math.isfinite(number) else "null"


def json_string(text: str) -> str:
    """A JSON string as Go writes it; whatever is no UTF-8 becomes U+FFFD."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    written = json.dumps(_SURROGATE.sub("\ufffd", text), ensure_ascii=False)
    return _TO_ESCAPE.sub(lambda found: _GO_ESCAPES[found[0]], written)


def duration(seconds: float) -> str:
    """As in C{"elapsed":"12.3µs"}."""
    if seconds < 1e-6:
        return f"{seconds * 1e9:.0f}ns"
    if seconds < 1e-3:
        return f"{format_float(round(seconds * 1e6, 3))}µs"
    return f"{format_float(round(seconds * 1e3, 6))}ms" if seconds < 1 else f"{format_float(seconds)}s"


def timestamp(seconds: float) -> str:
    """A moment since 1970 as events have it: ISO 8601 without needless zeros."""
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"
