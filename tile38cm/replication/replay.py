"""A tail given back to the cluster, through a W.

With C{if_absent} only objects come back whose id nobody has now, and only as the
tail left them: its last C{SET} of an id, made with C{NX}, then later changes of
the same object.  Nothing that the cluster has is touched; doing it twice is
harmless.  Lifetimes go on from when the tail was saved.  What cannot be done in
this way is told, with the reason, and stays in the file.

Otherwise every command is sent again as it is, in order, deletions too; only what
had expired by itself is not deleted again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from attrs import define, field, frozen

from tile38cm.replication.direct import Direct
from tile38cm.replication.matching import expired_here
from tile38cm.replication.tail import BadTail, Tail, read_tail, text
from tile38cm.tile38 import Tile38Error

#: Seconds that an object gets whose lifetime is over, when the tail changes that afterwards.
_UNTIL_CHANGED = 60.0
_OBJECT_BEGINS = frozenset((b"object", b"point", b"bounds", b"hash", b"string"))
_CHANGES = frozenset((b"fset", b"jset", b"expire", b"persist"))
_REMOVALS = frozenset((b"del", b"pdel", b"drop", b"flushdb", b"rename", b"renamenx"))
#: Commands are told by their first words, each of at most so many characters.
_SHOWN_WORDS, _SHOWN_CHARACTERS = 6, 60


class Reason(Enum):
    """Why a command of a tail was not replayed."""

    THERE = "the cluster has this id"
    ENDED = "its lifetime is over"
    REMOVED = "the tail removes it later"
    PERHAPS_REMOVED = "the tail removes it later, perhaps: by a pattern"
    RENAMED = "the tail renames its collection later"
    NO_OBJECT = "it changes what the tail does not set"
    NOT_BACK = "its object did not come back"
    REMOVAL = "nothing is removed from the cluster"
    OTHER = "only objects come back"


@frozen
class Skipped:
    """One command that was not sent, or that W refused; C{reason} is then what W said."""

    command: str
    reason: str


@define
class Replayed:
    """How many commands had an effect; were left out, by reason; were refused, by what W said."""

    written: int = 0
    skipped: Counter[str] = field(factory=Counter)
    refused: Counter[str] = field(factory=Counter)


def replay(
    tail: Tail,
    connect: Callable[[], Direct],
    if_absent: bool,
    tell: Callable[[Skipped], object] = lambda skipped: None,
    now: datetime | None = None,
) -> Replayed:
    """Send what a tail holds through the W that C{connect} reaches; blocks.

    @param tell: called for each command that is left out or refused.
    @raise BadTail: the file cannot be read; with C{if_absent} nothing was sent then.
    @raise Tile38Error: W does not answer any more.  With C{if_absent} it may be run again;
        changes behind a C{SET} that had already come back are then left out, and told.
    """
    with connect() as writer:
        replaying = _Replaying(tail, writer, tell, now or datetime.now(UTC))
        if if_absent:
            replaying.if_absent()
        else:
            replaying.everything()
    return replaying.result


@define
class _Replaying:
    """One replay while it runs. The file is read once for each step, so that only ids are held."""

    tail: Tail
    writer: Direct
    tell: Callable[[Skipped], object]
    now: datetime
    result: Replayed = field(factory=Replayed)

    def everything(self) -> None:
        self._send(words for words in read_tail(self.tail.path) if not expired_here(words))

    def if_absent(self) -> None:
        fates = Fates()
        for number, words in enumerate(read_tail(self.tail.path)):
            try:
                fates.take(number, words)
            except IndexError:
                raise BadTail(f"{self.tail.path} has a command without its words: {shown(words)}") from None
        age = max(0.0, (self.now - self.tail.time).total_seconds())
        back = {(words[1], words[2]) for words in self._send(self._objects(fates, age))}
        self._send(self._changes(fates, back, age))

    def _objects(self, fates: Fates, age: float) -> Iterator[list[bytes]]:
        """The last C{SET} of each id, if its object outlived the tail."""
        for number, words in enumerate(read_tail(self.tail.path)):
            name = words[0].lower()
            if name == b"set":
                fate = fates.of(words)
                if isinstance(fate, Reason):
                    self._skip(words, fate)
                elif fate == number:
                    made = if_new(words, age, fates.lives_on(words))
                    if made is None:
                        self._skip(words, Reason.ENDED)
                    else:
                        yield made
            elif name not in _CHANGES and not expired_here(words):
                self._skip(words, Reason.REMOVAL if name in _REMOVALS else Reason.OTHER)

    def _changes(self, fates: Fates, back: set[tuple[bytes, bytes]], age: float) -> Iterator[list[bytes]]:
        """What came behind the last C{SET} of those that are back."""
        for number, words in enumerate(read_tail(self.tail.path)):
            if words[0].lower() not in _CHANGES:
                continue
            fate = fates.of(words)
            if fate is None:
                self._skip(words, Reason.NO_OBJECT)
            elif isinstance(fate, Reason):
                self._skip(words, fate)
            elif number > fate and (words[1], words[2]) in back:
                yield _later(words, age)
            elif number > fate:
                self._skip(words, Reason.NOT_BACK)

    def _send(self, commands: Iterable[list[bytes]]) -> list[list[bytes]]:
        """Send them; returns those that had an effect, cut to their first words."""
        sent: deque[list[bytes]] = deque()
        done = []

        def remembered() -> Iterator[list[bytes]]:
            for words in commands:
                sent.append(words[:_SHOWN_WORDS])
                yield words

        for reply in self.writer.ask_each(remembered()):
            words = sent.popleft()
            if self._took(words, reply):
                done.append(words[:3])
        return done

    def _took(self, words: Sequence[bytes], reply: Any) -> bool:
        if isinstance(reply, Tile38Error):
            self.result.refused[str(reply)] += 1
            self.tell(Skipped(shown(words), str(reply)))
            return False
        if reply is None:
            # The answer to SET ... NX where the id is.
            self._skip(words, Reason.THERE)
            return False
        self.result.written += 1
        return True

    def _skip(self, words: Sequence[bytes], reason: Reason) -> None:
        self.result.skipped[reason.value] += 1
        self.tell(Skipped(shown(words), reason.value))


@define
class Fates:
    """What became of each object that a tail sets: the number of its last C{SET}, or why there is none."""

    _ids: dict[bytes, dict[bytes, int | Reason]] = field(factory=dict)
    _lives_on: set[tuple[bytes, bytes]] = field(factory=set)

    def of(self, words: Sequence[bytes]) -> int | Reason | None:
        """The fate of what a command names; L{None} if the tail never sets it."""
        return self._ids.get(words[1], {}).get(words[2])

    def lives_on(self, words: Sequence[bytes]) -> bool:
        """Whether the lifetime in the last C{SET} was changed afterwards."""
        return (words[1], words[2]) in self._lives_on

    def take(self, number: int, words: Sequence[bytes]) -> None:
        """The next command of the tail."""
        name = words[0].lower()
        if name == b"set":
            self._ids.setdefault(words[1], {})[words[2]] = number
            self._lives_on.discard((words[1], words[2]))
        elif name in (b"expire", b"persist"):
            self._lives_on.add((words[1], words[2]))
        elif name == b"flushdb":
            for key in self._ids:
                self._end(key, Reason.REMOVED)
        elif name == b"drop":
            self._end(words[1], Reason.REMOVED)
        elif name in (b"rename", b"renamenx"):
            self._end(words[1], Reason.RENAMED)
            self._end(words[2], Reason.RENAMED)
        elif name == b"pdel":
            self._end(words[1], Reason.PERHAPS_REMOVED, _literal(words[2]))
        elif name == b"del" and words[2] in self._ids.get(words[1], {}):
            self._ids[words[1]][words[2]] = Reason.REMOVED

    def _end(self, key: bytes, reason: Reason, prefix: bytes = b"") -> None:
        ids = self._ids.get(key, {})
        for id, fate in ids.items():
            if isinstance(fate, int) and id.startswith(prefix):
                ids[id] = reason


def _literal(pattern: bytes) -> bytes:
    """What every id that the pattern matches begins with."""
    for at, letter in enumerate(pattern):
        if letter in b"*?[\\":
            return pattern[:at]
    return pattern


def if_new(words: Sequence[bytes], age: float, lives_on: bool) -> list[bytes] | None:
    """A logged C{SET} with C{NX}, its lifetime C{age} seconds shorter; L{None} if that is over.

    @param lives_on: the lifetime is changed afterwards, so that its end counts for nothing.
    """
    options: list[bytes] = []
    at = 3
    while at < len(words) and words[at].lower() not in _OBJECT_BEGINS:
        option = words[at].lower()
        size = {b"field": 3, b"ex": 2}.get(option, 1)
        if option == b"ex":
            left = float(words[at + 1]) - age
            if left <= 0 and not lives_on:
                return None
            options += [b"EX", _seconds(left if left > 0 else _UNTIL_CHANGED)]
        elif option == b"field":
            options += words[at : at + size]
        at += size
    return [b"SET", words[1], words[2], b"NX", *options, *words[at:]]


def _later(words: list[bytes], age: float) -> list[bytes]:
    """A logged change as it is to be made now: a lifetime that is over ends in a second."""
    if words[0].lower() != b"expire":
        return words
    return [*words[:3], _seconds(max(1.0, float(words[3]) - age))]


def _seconds(value: float) -> bytes:
    return f"{value:.3f}".encode()


def shown(words: Sequence[bytes]) -> str:
    """The beginning of a command, for people: one line, and no bytes that a terminal would obey."""
    parts = []
    for word in words[:_SHOWN_WORDS]:
        printable = "".join(c if c.isprintable() else "?" for c in text(word))
        parts.append(
            printable if len(printable) <= _SHOWN_CHARACTERS else printable[:_SHOWN_CHARACTERS] + "..."
        )
    return " ".join(parts)
