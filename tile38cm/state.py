"""What a node must remember across restarts: a small file, replaced whole and synced."""

from __future__ import annotations

import errno
import fcntl
import json
from pathlib import Path
from threading import Lock
from typing import IO, Any

from attrs import evolve, frozen
from twisted.logger import Logger

from tile38cm.disk import InThread, publish, sync
from tile38cm.model import Position

#: What files of earlier versions lack, and what that means.
LATER: dict[str, Any] = {"rewritten": 0, "whole": False, "session": "", "slacks": []}


class StateError(Exception):
    """The state directory cannot be used; the sentence says what to do."""


@frozen
class Remembered:
    """What is on disk.

    C{led}: the epoch whose log the local Tile38's log still is, 0 if it has
    followed somebody since.  C{clean}: the position and the log's size at the
    last orderly stop, which hold only if the size is still the same.
    """

    cluster: str = ""
    seen: int = 0
    starts: int = 0
    #: The last request to shrink the log that was carried out here.
    shrunk: str = ""
    led: int = 0
    #: While C{led}: a size that the log had, and the MD5 of its last bytes then; a log
    #: that is shorter, or another one, proves nothing.
    fingerprint: tuple[int, str] = (0, "")
    clean: tuple[Position, int] | None = None
    #: The epoch that this node led alone when its log was rewritten: the data is whole, and
    #: C{fingerprint} is that of the new log.
    rewritten: int = 0
    #: Whether a first copy was finished since this node last began from nothing.
    whole: bool = False
    #: The newest session in Consul: whoever else holds this node's key is another manager.
    session: str = ""
    #: The slacks by which lifetimes may have been lengthened behind the log's last marker.
    slacks: tuple[float, ...] = ()


class StateDirectory:
    """The directory of one node; one process at a time.

    Every change is on disk when the call returns, or its Deferred fires.
    """

    _log = Logger()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path / "state.json"
        self.now = Remembered()
        #: Whether C{now} is on disk.
        self._kept = True
        self._lock: IO[bytes] | None = None
        #: Held by the one thread that writes.
        self._writing = Lock()

    def open(self) -> Remembered:
        """Read what was remembered and count this start; fails with L{StateError}.

        @return: what was there before this start.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._take()
            before = _read(self._file)
            self.now = before
            self.keep(evolve(before, starts=before.starts + 1, clean=None))
        except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as e:
            raise StateError(f"the state directory {self.path} cannot be used: {e}; see --state.dir") from e
        return before

    def _take(self) -> None:
        """Be the one process that uses the directory, until it ends."""
        lock = (self.path / "lock").open("ab")
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno in (errno.EACCES, errno.EAGAIN):
                lock.close()
                raise ValueError("another manager uses it") from None
            # A file system without locks: nobody can be kept out.
        self._lock = lock

    def keep(self, state: Remembered) -> None:
        """Remember C{state}; fails with C{OSError}."""
        with self._writing:
            self._write(state)
            self.now, self._kept = state, True

    def _keep_newest(self) -> Remembered:
        """Runs in a thread: what was changed while it waited for the disk is not undone."""
        with self._writing:
            state = self.now
            self._write(state)
        return state

    def _write(self, state: Remembered) -> None:
        text = json.dumps(
            {
                "cluster": state.cluster,
                "seen": state.seen,
                "starts": state.starts,
                "shrunk": state.shrunk,
                "led": state.led,
                "fingerprint": list(state.fingerprint),
                "clean": None if state.clean is None else _clean_words(*state.clean),
                "rewritten": state.rewritten,
                "whole": state.whole,
                "session": state.session,
                "slacks": list(state.slacks),
            }
        )
        temporary = self._file.with_suffix(".new")
        with temporary.open("w") as f:
            f.write(text)
            sync(f)
        publish(temporary, self._file)

    def change(self, **what: Any) -> None:
        """Remember the same with some fields changed; a full disk is reported, not raised.

        The next call, with changes or none, tries again.  Until one works a crash would
        forget: an older epoch than the true one is remembered, or an own log that is none any more.
        """
        state = evolve(self.now, **what)
        if state == self.now and self._kept:
            return
        said = state == self.now
        try:
            self.keep(state)
        except OSError as e:
            self.now, self._kept = state, False
            if not said:
                self._complain(e)

    async def change_apart(self, in_thread: InThread, **what: Any) -> None:
        """The same for what changes all the time: a disk that is slow holds nobody up."""
        state = evolve(self.now, **what)
        if state == self.now and self._kept:
            return
        self.now, self._kept = state, False
        try:
            written = await in_thread(self._keep_newest)
        except OSError as e:
            self._complain(e)
        else:
            self._kept = self.now is written

    def _complain(self, e: OSError) -> None:
        self._log.error("cannot write {path}: {e}", path=str(self._file), e=str(e))


def _clean_words(position: Position, size: int) -> list[int]:
    return [position.epoch, position.offset, size]


def _read(path: Path) -> Remembered:
    if not path.exists():
        return Remembered()
    doc = {**LATER, **json.loads(path.read_text())}
    clean = doc["clean"]
    return Remembered(
        cluster=str(doc["cluster"]),
        seen=int(doc["seen"]),
        starts=int(doc["starts"]),
        shrunk=str(doc["shrunk"]),
        led=int(doc["led"]),
        fingerprint=(int(doc["fingerprint"][0]), str(doc["fingerprint"][1])),
        clean=None if clean is None else (Position(int(clean[0]), int(clean[1])), int(clean[2])),
        rewritten=int(doc["rewritten"]),
        whole=doc["whole"] is True,
        session=str(doc["session"]),
        slacks=tuple(float(slack) for slack in doc["slacks"]),
    )
