"""Whether all that this node has acknowledged is still here.

To acknowledge is to have given bytes to Tile38's socket and to the files of the backlog;
neither is synced.  The end of processes takes nothing of that, the end of the machine may, and so
may a disk that refuses the backlog.  Such a node is I{shaken}: what it has is true, but
it may be less than what a leader was told.  It ends with catching up with one.

A disk that was put back to a copy made while this node followed is noticed by what the
node's own key in Consul says that it had.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger

from tile38cm.disk import sync, sync_directory
from tile38cm.model import Position

_BOOT = Path("/proc/sys/kernel/random/boot_id")
#: In place of a start of the machine: the node has stopped in good order.
_STOPPED = "stopped"


def boot_id() -> str:
    """What tells this start of the machine from others; the same empty word where nothing does."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


class Footing:
    """Kept in a file, which is there only while the node stands firm.

    @param position: how far this node is now.
    """

    _log = Logger()

    def __init__(self, path: Path, position: Callable[[], Position | None]) -> None:
        self._path = path
        self._position = position
        self._firm = True
        self._on_disk = True
        self._told: Position | None = None

    def load(self, first: bool) -> None:
        """Judge how the last run has ended; C{first}: there was none."""
        try:
            found = self._path.read_text()
        except OSError:
            found = ""
        self._firm = first or found == _STOPPED or (found != "" and found == boot_id())
        self._write(boot_id() if self._firm else "")

    def had(self, position: Position) -> None:
        """An earlier run has told that it had so much; what has become known of this node tells L{moved}."""
        self._told = position
        self._write("")  # the key that told it is about to be written anew
        self.moved()

    def moved(self) -> None:
        """Look whether that is here by now: a crash of processes costs nothing that the backlog has not."""
        here = self._position()
        if self._told is not None and here is not None and here >= self._told:
            self._told = None
            self._write(boot_id() if self._firm else "")

    @property
    def shaken(self) -> bool:
        """Whether something that was acknowledged may be missing."""
        return not self._firm or self._told is not None

    def caught_up(self) -> None:
        """All that any leader can have counted on is here."""
        if self._told is not None or not self._firm:
            self._firm, self._told = True, None
            self._write(boot_id())

    def kept(self, on_disk: bool) -> None:
        """Whether the files of the backlog hold what is acknowledged from now on."""
        if on_disk != self._on_disk:
            self._on_disk = on_disk
            self._write(boot_id() if self._firm else "")

    def stopped(self) -> None:
        """The node ends in good order."""
        if not self.shaken:
            self._on_disk = True  # Tile38 has applied everything
            self._write(_STOPPED)

    def _write(self, word: str) -> None:
        """Synced, and so is that it is gone, since an older word would vouch for too much.

        To remove it works on a full disk too.
        """
        try:
            self._path.unlink(missing_ok=True)
            if word and self._on_disk:
                with self._path.open("w") as file:
                    file.write(word)
                    sync(file)
            sync_directory(self._path.parent)
        except OSError as e:
            self._log.warn("{path} cannot be written: {e}", path=str(self._path), e=str(e))
