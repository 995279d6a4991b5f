"""Patterns of C{MATCH}, C{KEYS}, C{PDEL} and channels: shell patterns without folders."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(1024)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """C{None} for a pattern that is not well-formed: it matches nothing."""
    parts, at = [], 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "[":
            written, at = _class(pattern, at + 1)
            if written is None:
                return None
            parts.append(written)
            continue
        if letter == "\\":
            at += 1
            if at == len(pattern):
                return None
            parts.append(re.escape(pattern[at]))
        else:
            parts.append({"*": ".*", "?": "."}.get(letter) or re.escape(letter))
        at += 1
    return re.compile("".join(parts), re.S)


def _class(pattern: str, at: int) -> tuple[str | None, int]:
    """The regular expression of C{[...]} from behind its bracket, and where the pattern goes on."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while at < len(pattern):
        if pattern[at] == "]" and ranges:
            return _written("".join(ranges), negated), at + 1
        low, at = _letter(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _letter(pattern, at + 1)
        if low is None or high is None or at >= len(pattern):
            return None, at
        # A range the wrong way round holds nothing.
        ranges.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
    return None, at


def _written(ranges: str, negated: bool) -> str:
    if not ranges:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{ranges}]"


def _letter(pattern: str, at: int) -> tuple[str | None, int]:
    if pattern[at : at + 1] in ("", "-", "]"):
        return None, at
    if pattern[at] == "\\":
        at += 1
    return (pattern[at] if at < len(pattern) else None), at + 1


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text fits the pattern."""
    if pattern == "*":
        return True
    compiled = _compiled(pattern)
    return compiled is not None and compiled.fullmatch(text) is not None


def matches_any(patterns: tuple[str, ...], text: str) -> bool:
    """Whether it fits one of them; no patterns let everything pass."""
    return not patterns or any(matches(pattern, text) for pattern in patterns)


def is_pattern(text: str) -> bool:
    """Whether it is more than a plain name."""
    return any(letter in text for letter in "[*?") and _compiled(text) is not None


#: Where a range of names begins and ends.
Span = tuple[str, str]


def span_of(pattern: str, descending: bool = False) -> Span | None:
    """Where Tile38 looks for names that fit: C{None} is everywhere.

    A pattern that begins with C{?} or C{[} finds nothing but its own name, since Tile38 looks no further.
    """
    if pattern == "" or pattern[0] == "*":
        return None
    plain = min((at for at in map(pattern.find, "[*?") if at >= 0), default=len(pattern))
    if plain == 0:
        return pattern, pattern
    first = pattern[:plain]
    behind = first[:-1] + chr(ord(first[-1]) + 1)
    return (behind, first[:-1] + chr(max(ord(first[-1]) - 1, 0))) if descending else (first, behind)


def span_of_all(patterns: tuple[str, ...], descending: bool = False) -> Span | None:
    """The range that holds those of all patterns."""
    spans = [span_of(pattern, descending) for pattern in patterns]
    known = [span for span in spans if span is not None]
    if not known or len(known) < len(spans):
        return None
    firsts, lasts = [span[0] for span in known], [span[1] for span in known]
    return (max(firsts), min(lasts)) if descending else (min(firsts), max(lasts))
