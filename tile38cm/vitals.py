"""What the kernel says of a process on this machine: does it want a processor?

A server on a machine whose processors are all taken answers late, and a frozen
one not at all; from outside both are silent.  The kernel knows them apart: threads
of the first are runnable (state C{R} of C{/proc/PID/task/TID/stat}, see proc(5)),
those of a stopped one are not, and neither are those that wait for a dead disk.
"""

from __future__ import annotations

import os
from pathlib import Path

#: The name of a server's process begins so; anything else is another process of the same number,
#: as where the server runs in a container with numbers of its own.
NAME = b"tile38-"
_RUNNABLE = b"R"
#: Where a thread's flags stand behind its name, counted from 0; and that of one that ends (PF_EXITING).
_FLAGS = 6
_EXITING = 0x4


class Vitals:
    """Looks at the process of one local server, once its number is known.

    @param proc: where the kernel tells it.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._process = ""

    @property
    def known(self) -> bool:
        """Whether a number was given that may be looked at."""
        return bool(self._process)

    def watch(self, pid: int) -> None:
        """The server says that this is its number."""
        self._process = f"{self._proc}/{pid}/task"

    def forget(self) -> None:
        """It may be another process by now."""
        self._process = ""

    def wants_processor(self) -> bool:
        """Whether a thread runs or waits for a processor; false also where nobody can tell."""
        if not self._process:
            return False
        try:
            threads = os.listdir(self._process)
        except OSError:  # it is gone, or this process may open no more files
            return False
        return any(_wants(f"{self._process}/{thread}/stat") for thread in threads)


def _wants(path: str) -> bool:
    """Read C{NUMBER (NAME) STATE PARENT … FLAGS …}; a name may have any character in it."""
    try:
        with open(path, "rb", buffering=0) as file:
            stat = file.read(512)
    except OSError:  # the thread has ended meanwhile
        return False
    name, _, rest = stat.partition(b" (")[2].rpartition(b") ")
    fields = rest.split(maxsplit=_FLAGS + 1)
    if not name.startswith(NAME) or len(fields) <= _FLAGS or fields[0] != _RUNNABLE:
        return False
    # A process that was killed may free its memory for seconds before its sockets close.
    return not int(fields[_FLAGS]) & _EXITING
