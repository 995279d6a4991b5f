"""Tests that may be long: C{TILE38CM_LONG=1} asks for that."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

LONG = os.environ.get("TILE38CM_LONG") == "1"


def by_length(short: T, long: T) -> T:
    """How much of it there is, in the suite and on demand."""
    return long if LONG else short
