"""What clients asked and heard, and the rules for it.  Pure.

Every object is a register with one writer, which asks one thing at a time and
never writes a value twice; C{None} is the value of an object that is not there.
So what a reader may see follows from times alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum

from attrs import define, field, frozen

Key = tuple[str, str]


class Outcome(Enum):
    """What the client heard."""

    ACKNOWLEDGED = "acknowledged"
    #: An error that says that nothing was done.
    REFUSED = "refused"
    #: C{-UNCERTAIN}, or nothing at all.
    UNCERTAIN = "uncertain"


@define
class Write:
    """One write; while C{outcome} is uncertain it may take effect at any time after C{invoked}."""

    value: str | None
    invoked: float
    by: str
    ended: float = float("inf")
    outcome: Outcome = Outcome.UNCERTAIN
    said: str = ""


@frozen
class Read:
    """One read through W that was answered."""

    key: Key
    value: str | None
    invoked: float
    ended: float
    by: str


@define
class History:
    """All that happened, per register in the order of its writer."""

    writes: dict[Key, list[Write]] = field(factory=dict)
    reads: list[Read] = field(factory=list)

    def begin(self, key: Key, value: str | None, now: float, by: str) -> Write:
        """A write is about to be sent."""
        write = Write(value, now, by)
        self.writes.setdefault(key, []).append(write)
        return write

    def all_writes(self) -> Iterator[Write]:
        """Every write."""
        for writes in self.writes.values():
            yield from writes

    def forget(self, collection: str) -> None:
        """Ask nothing of a collection."""
        self.writes = {key: writes for key, writes in self.writes.items() if key[0] != collection}

    def count(self, outcome: Outcome) -> int:
        """How many writes ended so."""
        return sum(write.outcome is outcome for write in self.all_writes())

    def longest_pause(self) -> tuple[float, float]:
        """The longest time without an acknowledgement to anybody: seconds, and when it began."""
        ends = sorted(w.ended for w in self.all_writes() if w.outcome is Outcome.ACKNOWLEDGED)
        gaps = [(after - before, before) for before, after in zip(ends, ends[1:], strict=False)]
        return max(gaps, default=(0.0, 0.0))


#: The state before the first write.
_NOTHING = Write(None, float("-inf"), "", float("-inf"), Outcome.ACKNOWLEDGED)


def possible(writes: list[Write], invoked: float, ended: float) -> list[Write]:
    """Whose value a look at the register between two times may see.

    An acknowledged write hides all acknowledged ones that ended before it was
    asked for; an uncertain one is never hidden, for it may come late.
    """
    seen = [w for w in [_NOTHING, *writes] if w.outcome is not Outcome.REFUSED and w.invoked <= ended]
    settled = [w for w in seen if w.outcome is Outcome.ACKNOWLEDGED and w.ended < invoked]
    newest = max((w.invoked for w in settled), default=float("-inf"))
    return [w for w in seen if w.outcome is Outcome.UNCERTAIN or w.ended >= newest]


def wrong_read(history: History, read: Read) -> str | None:
    """Why a read through W may not have been answered so; C{None} if it may."""
    writes = history.writes.get(read.key, [])
    allowed = possible(writes, read.invoked, read.ended)
    if any(w.value == read.value for w in allowed):
        return None
    what = _verdict(writes, read.value, allowed)
    return f"{read.by} read {read.key} = {read.value!r} at {read.invoked:.3f}..{read.ended:.3f}: {what}"


def wrong_reads(history: History) -> Iterator[str]:
    """All reads that were answered wrongly, and those that went back in time."""
    latest: dict[Key, Read] = {}
    for read in sorted(history.reads, key=lambda r: r.invoked):
        wrong = wrong_read(history, read)
        if wrong is not None:
            yield wrong
        before = latest.get(read.key)
        if before is not None and before.ended < read.invoked:
            wrong = _went_back(history.writes.get(read.key, []), before, read)
            if wrong is not None:
                yield wrong
        if before is None or read.ended > before.ended:
            latest[read.key] = read


def _went_back(writes: list[Write], before: Read, read: Read) -> str | None:
    """A value that was seen hides whatever was acknowledged before it was asked for."""
    if read.value is None or before.value is None:
        return None  # several writes may have had this effect
    seen = next((w for w in writes if w.value == before.value), None)
    now = next((w for w in writes if w.value == read.value), None)
    if seen is None or now is None or now.outcome is not Outcome.ACKNOWLEDGED:
        return None
    if now.ended < seen.invoked:
        late = f"at {read.invoked:.3f}, after {before.value!r} was read"
        return f"{read.by} read {read.key} = {read.value!r} {late}"
    return None


def wrong_ends(history: History, contents: Mapping[Key, str], now: float) -> Iterator[str]:
    """What of the final contents contradicts what clients were told."""
    for key, writes in history.writes.items():
        value = contents.get(key)
        allowed = possible(writes, now, now)
        if not any(w.value == value for w in allowed):
            yield f"in the end {key} = {value!r}: {_verdict(writes, value, allowed)}"
    for key in contents.keys() - history.writes.keys():
        yield f"in the end {key} = {contents[key]!r}: nobody ever wrote that object"


def _verdict(writes: list[Write], value: str | None, allowed: list[Write]) -> str:
    expected = "; ".join(_shown(w) for w in allowed[-4:])
    same = [w for w in writes if w.value == value]
    refused = [w for w in same if w.outcome is Outcome.REFUSED]
    if value is not None and not same:
        kind = "a value that nobody wrote"
    elif refused and len(refused) == len(same):
        kind = f"it was refused ({_shown(refused[-1])})"
    else:
        kind = f"LOST an acknowledged write (what is there: {_shown(same[-1]) if same else 'nothing'})"
    return f"{kind}; possible: {expected}"


def _shown(write: Write) -> str:
    said = f" {write.said!r}" if write.said else ""
    return f"{write.value!r} {write.outcome.value} {write.invoked:.3f}..{write.ended:.3f} by {write.by}{said}"
