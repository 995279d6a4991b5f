"""When which gate was open, out of the managers' logs.  Pure.

Every manager logs each change of its gate with C{gate}, C{epoch} and C{at},
which is CLOCK_BOOTTIME and so the same clock for all of one machine.  A
process that was killed logs nothing: its gate ended with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen


@frozen
class Opening:
    """One time during which a gate was open."""

    node: str
    epoch: int
    begin: float
    end: float

    def __str__(self) -> str:
        return f"{self.node}'s gate of epoch {self.epoch}, {self.begin:.3f}..{self.end:.3f}"


def openings(node: str, lines: Iterable[str], deaths: Sequence[float]) -> Iterator[Opening]:
    """What one manager's log says, given when its process was killed."""
    began: tuple[float, int] | None = None
    for gate, epoch, at in _changes(lines):
        if began is not None:
            yield Opening(node, began[1], began[0], _end(began[0], at, deaths))
        began = (at, epoch) if gate == "open" else None
    if began is not None:
        yield Opening(node, began[1], began[0], _end(began[0], float("inf"), deaths))


def _end(begin: float, until: float, deaths: Sequence[float]) -> float:
    return min([until, *(death for death in deaths if death >= begin)])


def _changes(lines: Iterable[str]) -> Iterator[tuple[str, int, float]]:
    for line in lines:
        if '"gate"' not in line:
            continue
        try:
            event = json.loads(line)
            yield str(event["gate"]), int(event["epoch"]), float(event["at"])
        except (ValueError, KeyError, TypeError):
            continue  # a line that a kill has torn


def overlaps(found: Iterable[Opening]) -> Iterator[tuple[Opening, Opening]]:
    """Pairs of openings of different nodes at the same time, and of different epochs in the wrong order."""
    ordered = sorted(found, key=lambda o: o.begin)
    for i, one in enumerate(ordered):
        for other in ordered[i + 1 :]:
            if other.begin >= one.end:
                break
            if other.node != one.node:
                yield one, other


def by_node(logs: Mapping[str, Iterable[str]], deaths: Mapping[str, Sequence[float]]) -> list[Opening]:
    """All openings of all nodes."""
    return [each for node, lines in logs.items() for each in openings(node, lines, deaths.get(node, ()))]
