"""What the kernel says of a process on this machine: does it want a processor?

A server on a machine whose processors are all taken answers late, and a frozen
one not at all; from outside both are silent.  The kernel knows them apart: threads
of the first are runnable (state C{R} of C{/proc/PID/task/TID/stat}, see proc(5)),
those of a stopped one are not, and neither are those that wait for a dead disk.
"""

from __future__ import annotations

from pathlib import Path

#: The name of a server's process begins so; anything else is another process of the same number,
#: as where the server runs in a container with numbers of its own.
NAME = b"tile38-server"
_RUNNABLE = b"R"


class Vitals:
    """Looks at the process of one local server, once its number is known.

    @param proc: where the kernel tells it.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._process: Path | None = None

    @property
    def known(self) -> bool:
        """Whether a number was given that may be looked at."""
        return self._process is not None

    def watch(self, pid: int) -> None:
        """The server says that this is its number."""
        self._process = self._proc / str(pid)

    def forget(self) -> None:
        """It may be another process by now."""
        self._process = None

    def wants_processor(self) -> bool:
        """Whether a thread runs or waits for a processor; false also where nobody can tell."""
        if self._process is None:
            return False
        return any(_runnable(path) for path in (self._process / "task").glob("*/stat"))


def _runnable(path: Path) -> bool:
    """Read C{NUMBER (NAME) STATE …}; a name may have any character in it."""
    try:
        stat = path.read_bytes()
    except OSError:  # the thread has ended meanwhile
        return False
    name, _, rest = stat.partition(b" (")[2].rpartition(b") ")
    return name.startswith(NAME) and rest.startswith(_RUNNABLE)
