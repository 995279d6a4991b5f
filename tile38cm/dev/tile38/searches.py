"""The words of C{SCAN}, C{SEARCH}, C{NEARBY}, C{WITHIN} and C{INTERSECTS}, as a value."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import Logger

from tile38cm.dev.tile38.areas import read_all
from tile38cm.dev.tile38.asked import Roam, Search
from tile38cm.dev.tile38.calls import Refusal, Words, invalid, wrong_arity
from tile38cm.dev.tile38.data import Data
from tile38cm.dev.tile38.filters import Filter, Where, WhereIn, is_expression, read_where, read_wherein
from tile38cm.dev.tile38.geometry import Geo
from tile38cm.dev.tile38.shown import LETTERS_MAX
from tile38cm.dev.tile38.text import parse_float, parse_whole

DETECTS = ("inside", "outside", "enter", "exit", "cross")
_OUTPUTS = ("count", "objects", "points", "hashes", "bounds", "ids")
#: What Tile38 knows and this node does not.
UNKNOWN = ("whereeval", "whereevalsha", "buffer", "clip", "sparse")


@define
class _Options:
    """The words before the output, as they come."""

    patterns: list[str] = field(factory=list)
    fields: list[Where | WhereIn] = field(factory=list)
    given: dict[str, str] = field(factory=dict)
    flags: set[str] = field(factory=set)
    detect: frozenset[str] | None = None
    accept: frozenset[str] | None = None


def read_search(data: Data, command: str, words: Words, fenced: bool = False) -> Search:
    """The search that these words describe.

    @param fenced: C{FENCE} is meant, be it said or not.
    """
    key = words.word()
    options = _Options()
    while words.lower in _READERS or words.lower in UNKNOWN:
        word = words.any()
        if word.lower() in UNKNOWN:
            _log.warn("{word} is not known to this node", word=word.upper())
            invalid(word)
        _READERS[word.lower()](word.upper(), options, words)
    fence = fenced or "FENCE" in options.flags
    _check(command, options, fence)
    output, word = _output(command, words)
    cursor = _whole(options.given.get("CURSOR"), 0, 0)
    assert cursor is not None
    letters = _whole(word, 0, 1, LETTERS_MAX) or 0
    limit = _whole(options.given.get("LIMIT"), None, 1)
    if output == "bounds" and command in ("within", "intersects") and _numeric(words):
        # The word was the area's, not the output's.
        output = "objects"
        words.rest.insert(0, "BOUNDS")
    area = _area(data, command, words, fence)
    return Search(
        command, key, Filter(tuple(options.patterns), tuple(options.fields)), output, letters,
        cursor, limit, "NOFIELDS" in options.flags, "DISTANCE" in options.flags, "DESC" in options.flags,
        fence, "NODWELL" in options.flags, options.detect, options.accept, area,
    )  # fmt: skip


_log = Logger()


def _whole(word: str | None, default: int | None, least: int, most: int = 2**64 - 1) -> int | None:
    if word is None or word == "":
        return default
    number = parse_whole(word, least, most)
    return invalid(word) if number is None or word[0] in "+-" else number


def _numeric(words: Words) -> bool:
    return bool(words) and parse_float(words.rest[0]) is not None


def _area(data: Data, command: str, words: Words, fence: bool) -> Geo | Roam | None:
    if command in ("scan", "search"):
        words.end()
        return None
    if not words or not words.rest[0]:
        wrong_arity()
    return read_all(data, command, words, fence)


def _output(command: str, words: Words) -> tuple[str, str]:
    """What is to be shown, and the word that says how long geohashes are to be."""
    word = words.lower
    if word in _OUTPUTS:
        words.any()
        return word, words.word() if word == "hashes" else ""
    if word and command == "scan":
        invalid(words.any())
    return "objects", ""


def _check(command: str, options: _Options, fence: bool) -> None:
    """Words that do not go together."""
    if command in ("scan", "search"):
        if fence:
            raise Refusal(f"FENCE is not allowed for {command.upper()}")
    else:
        for word in ("DESC", "ASC"):
            if word in options.flags:
                raise Refusal(f"{word} is not allowed for {command.upper()}")
    if "CURSOR" in options.given and fence:
        raise Refusal("CURSOR is not allowed when FENCE is specified")
    if options.detect is not None and not fence:
        raise Refusal("DETECT is not allowed when FENCE is not specified")


def _duplicate(word: str) -> None:
    raise Refusal(f"duplicate argument '{word}'")


def _flag(word: str, options: _Options, words: Words) -> None:
    if word in options.flags and word != "NODWELL":
        _duplicate(word)
    if word in ("ASC", "DESC", "NODWELL") and options.flags & {"ASC", "DESC"}:
        _duplicate(word)
    options.flags.add(word)


def _given(word: str, options: _Options, words: Words) -> None:
    if word in options.given:
        _duplicate(word)
    options.given[word] = words.word()


def _match(word: str, options: _Options, words: Words) -> None:
    options.patterns.append(words.word())


def _where(word: str, options: _Options, words: Words) -> None:
    if is_expression(words):
        _log.warn("WHERE with an expression is not known to this node")
        invalid(words.any())
    options.fields.append(read_where(words))


def _wherein(word: str, options: _Options, words: Words) -> None:
    options.fields.append(read_wherein(words))


def _parts(words: Words, allowed: tuple[str, ...] = ()) -> frozenset[str]:
    given = words.word()
    found: set[str] = set()
    for each in given.split(","):
        part = each.lower().strip()
        if allowed and part not in allowed:
            invalid(given)
        if part in found:
            _duplicate(each)
        found.add(part)
    return frozenset(found)


def _detect(word: str, options: _Options, words: Words) -> None:
    if options.detect is not None:
        _duplicate(word)
    options.detect = _parts(words, DETECTS)


def _commands(word: str, options: _Options, words: Words) -> None:
    if options.accept is not None:
        _duplicate(word)
    options.accept = _parts(words)


_READERS: dict[str, Callable[[str, _Options, Words], None]] = {
    **dict.fromkeys(("nofields", "fence", "distance", "nodwell", "asc", "desc"), _flag),
    **dict.fromkeys(("cursor", "limit"), _given),
    "match": _match,
    "where": _where,
    "wherein": _wherein,
    "detect": _detect,
    "commands": _commands,
}
