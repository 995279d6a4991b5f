"""A search as a value: what to look for, where, and how to show it."""

from __future__ import annotations

from attrs import frozen

from tile38cm.dev.tile38.filters import Filter
from tile38cm.dev.tile38.geometry import Geo


@frozen
class Roam:
    """Objects that come near to each other: those under C{key} whose ids fit C{id}."""

    key: str
    id: str
    meters: float
    scan: str = ""


@frozen
class Search:
    """What to look for, where, and how to show it."""

    command: str
    key: str
    filter: Filter = Filter()
    output: str = "objects"
    letters: int = 0
    cursor: int = 0
    #: C{None}: as many as is usual for the output.
    limit: int | None = None
    nofields: bool = False
    distance: bool = False
    descending: bool = False
    fence: bool = False
    nodwell: bool = False
    detect: frozenset[str] | None = None
    accept: frozenset[str] | None = None
    area: Geo | Roam | None = None
