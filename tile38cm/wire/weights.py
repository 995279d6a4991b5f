"""
How much a request may hold up others that share a connection with it.

A server answers one connection's requests in order, so a large reply delays
all that stand behind it.  The weights are plain numbers, since they are
compared for each request; what has a lower one may travel where a higher one
does, not the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tile38cm.wire.commands import Class, Command, unwrapped

#: Writes, and questions with short answers.
LIGHT: Final = 0
#: One object: a few bytes nearly always, megabytes at worst.
VALUE: Final = 1
#: A search that ends after few objects.
SEARCH: Final = 2
#: What may be large or slow, or changes its connection: never shared.
APART: Final = 3

#: Bytes of a request beyond which it is no company for others.
LARGE = 32 * 1024
#: What a search may find at most to be a small one, and in how many digits that may be written.
FEW = 100
_DIGITS = 12

_LIGHT_READS = frozenset(("fget", "exists", "fexists", "ttl", "type", "bounds", "stats", "ping", "echo"))
_LIGHT_WRITES = frozenset(("set", "fset", "jset", "del", "expire", "persist", "drop", "rename", "renamenx"))
_VALUES = frozenset(("get", "jget"))
_SEARCHES = frozenset(("nearby", "within", "intersects", "scan", "search"))
#: With these a search may look at every object before it has found its few, or never end.
_FAR = frozenset(
    (b"where", b"wherein", b"whereeval", b"whereevalsha", b"match", b"fence", b"sparse", b"buffer", b"clip")
)

#: The weight of commands that always have the same, by name in upper and lower case.
ALWAYS: Final[dict[bytes, int]] = {
    form: weight
    for names, weight in ((_LIGHT_READS | _LIGHT_WRITES, LIGHT), (_VALUES, VALUE))
    for name in names
    for form in (name.encode(), name.upper().encode())
}


def weight_of(command: Command, args: Sequence[bytes], size: int) -> int:
    """
    The weight of one request.

    @param args: what C{command} was classified from.
    @param size: the bytes of the whole request.
    """
    if size > LARGE or command.class_ is Class.LIVE:
        return APART
    if command.class_ is Class.STATUS or command.class_ is Class.MESSAGE:
        return LIGHT
    if command.name in _SEARCHES:
        return search_weight([arg.lower() for arg in unwrapped(args)])
    return ALWAYS.get(command.name.encode(), APART)


def search_weight(words: Sequence[bytes]) -> int:
    """
    L{SEARCH} for a search that finds few objects and stops there, else L{APART}.

    @param words: its arguments in lower case.
    """
    try:
        limit = words[words.index(b"limit") + 1]
    except (ValueError, IndexError):
        return APART
    few = len(limit) <= _DIGITS and limit.isdigit() and int(limit) <= FEW
    return SEARCH if few and _FAR.isdisjoint(words) else APART
