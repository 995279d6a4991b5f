"""One command on its way: its words, how its reply is to look, and what may go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn

from attrs import define, field, frozen

from tile38cm.dev.tile38.collection import Thing
from tile38cm.dev.tile38.text import duration, json_string, parse_float, parse_whole, to_bytes
from tile38cm.wire.resp import Value, encode_reply

#: What a wrong number of words is called; RESP clients are told otherwise.
ARITY = "invalid number of arguments"
OK = "OK"


class Refusal(Exception):
    """The command is answered with this error."""


class NotThere(Refusal):
    """A key or an id is not there: no reason to stop reading a log."""


def wrong_arity() -> NoReturn:
    """Too few words, or too many."""
    raise Refusal(ARITY)


def invalid(word: str) -> NoReturn:
    """This word cannot stand there."""
    raise Refusal(f"invalid argument '{word}'")


def no_key() -> NoReturn:
    raise NotThere("key not found")


def no_id() -> NoReturn:
    raise NotThere("id not found")


@define
class Words:
    """A command's words, taken one after the other."""

    rest: list[str]

    def __bool__(self) -> bool:
        return bool(self.rest)

    @property
    def lower(self) -> str:
        """The next word in lower case, without taking it; nothing at the end."""
        return self.rest[0].lower() if self.rest else ""

    def any(self) -> str:
        """The next word, be it empty."""
        if not self.rest:
            wrong_arity()
        return self.rest.pop(0)

    def word(self) -> str:
        """The next word, which may not be empty."""
        return self.any() or wrong_arity()

    def number(self, least: float | None = None) -> float:
        """The next word as a number."""
        word = self.word()
        number = parse_float(word)
        if number is None or (least is not None and not number >= least):
            invalid(word)
        return number

    def whole(self, least: int = 0, most: int = 2**64 - 1) -> int:
        """The next word as a whole number."""
        word = self.word()
        number = parse_whole(word, least, most)
        return invalid(word) if number is None else number

    def end(self) -> None:
        """Nothing may follow."""
        if self.rest:
            wrong_arity()


@frozen
class Change:
    """What a write did, for the log, for fences and hooks.  C{parts} are those of a C{PDEL}."""

    command: str
    key: str
    thing: Thing | None = None
    old: Thing | None = None
    time: float = 0.0
    parts: tuple[Change, ...] = ()


@define
class Call:
    """One command of one client, or of the log.

    @ivar changes: What it changed; nothing is logged without.
    @ivar json: Whether the reply is JSON, not RESP.
    @ivar password: One that came with the request, as HTTP has it.
    @ivar title: The first word as it came, in lower case.
    """

    args: list[str]
    json: bool = False
    password: str | None = field(default=None, repr=False)
    changes: list[Change] = field(factory=list)
    started: float = field(factory=time.perf_counter)
    title: str = field(init=False, default="")

    def __attrs_post_init__(self) -> None:
        self.title = self.name

    @property
    def name(self) -> str:
        """The command in lower case."""
        return self.args[0].lower()

    @property
    def words(self) -> Words:
        """All behind the name."""
        return Words(self.args[1:])

    def exactly(self, count: int) -> list[str]:
        """All behind the name, if they are so many."""
        if len(self.args) != count + 1:
            wrong_arity()
        return self.args[1:]

    def seconds(self) -> float:
        """How long it has taken until now."""
        return time.perf_counter() - self.started

    def elapsed(self) -> str:
        """The last member of each JSON reply."""
        return f'"elapsed":"{duration(self.seconds())}"'

    def reply(self, value: Value | Callable[[], Value], members: str | Callable[[], str] = "") -> bytes:
        """The value for RESP, or the members for JSON; whichever is not needed is not made."""
        if not self.json:
            return encode_reply(value() if callable(value) else value)
        told = members() if callable(members) else members
        return to_bytes(f'{{"ok":true{"," if told else ""}{told},{self.elapsed()}}}')

    def done(self) -> bytes:
        """All went well, and there is nothing to tell."""
        return self.reply(OK)

    def counted(self, count: int) -> bytes:
        """A number for RESP; JSON is told only that all went well."""
        return self.reply(count)

    def missing(self, value: Value, why: Callable[[], NoReturn]) -> bytes:
        """Nothing there: a value for RESP, an error for JSON."""
        return why() if self.json else encode_reply(value)

    def error(self, text: str) -> bytes:
        """An error reply; RESP ones get C{ERR} unless they begin with a code of their own."""
        if self.json:
            return to_bytes(f'{{"ok":false,"err":{json_string(text)},{self.elapsed()}}}')
        if text == ARITY:
            text = f"wrong number of arguments for '{self.title}' command"
        code = text.split(" ")[0]
        prefix = "" if code.isascii() and code.isalpha() and code.isupper() else "ERR "
        return b"-%b\r\n" % to_bytes(prefix + text.replace("\r", "\\r").replace("\n", "\\n"))


def bulk(text: str) -> bytes:
    """Text as RESP's bulk string, for L{Call.reply}."""
    return to_bytes(text)
