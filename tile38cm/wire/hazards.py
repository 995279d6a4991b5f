"""
Requests by which one client would end the server for all: Tile38 1.37 exits on them.

It takes the first letter of a word that is not there, or makes room for as
many words as are announced, not as have come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Counts with more digits than Tile38 reads are an error to it.
_MAX_DIGITS: Final = 19


def hazard_of_search(args: Sequence[bytes]) -> str | None:
    """Why a search, or a hook with a search inside, must not reach a server."""
    for at, arg in enumerate(args[: len(args) - 2]):
        if len(arg) == 5 and arg.lower() == b"where" and not args[at + 2]:
            return "an empty WHERE would end the server"
        if len(arg) == 7 and arg.lower() == b"wherein" and _beyond(args[at + 2], len(args) - at - 3):
            return "a WHEREIN of more values than there are would end the server"
    return None


def hazard_of_script(args: Sequence[bytes]) -> str | None:
    """Why C{EVAL script numkeys ...} and its like must not reach a server."""
    if len(args) > 2 and _beyond(args[2], len(args) - 3):
        return "a script with more keys than there are would end the server"
    return None


def _beyond(count: bytes, there: int) -> bool:
    return count.isdigit() and len(count) <= _MAX_DIGITS and int(count) > there
