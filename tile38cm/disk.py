"""What has to be on disk before something is said or done that relies on it; all of it blocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class InThread(Protocol):
    """Runs a function where it may block, as L{twisted.internet.threads.deferToThread} does."""

    def __call__(self, function: Callable[[], T], /) -> Deferred[T]: ...


def sync(file: IO[Any]) -> None:
    """Returns when all that was written to the file is on disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Returns when the names in a directory are on disk: that of a new file, and that one was removed."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def publish(unfinished: Path, path: Path) -> None:
    """Give a file that is synced its name: until then, and after any crash before, the old one has it."""
    unfinished.replace(path)
    sync_directory(path.parent)
