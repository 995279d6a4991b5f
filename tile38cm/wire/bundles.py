"""
Several plain requests as one piece of bytes.

Most of what clients send is whole: a packet holds one short command, or a
pipeline of them, in the form that client libraries write.  Such a packet can
be sent on as it is, and nothing but the number of its requests need be
remembered.  Finding out costs about a fifth of L{RequestParser}, since
hiredis does it in C.

hiredis is not strict enough to be trusted with bytes that other clients'
requests will follow on a shared connection: it takes any two bytes for the
end of a bulk, and C{:1} where a bulk must be.  So what it understood is
encoded again and compared: only what is byte for byte the one form that
L{encode_request} writes is a bundle.  All else is L{RequestParser}'s.

One request of few short words, which is what comes most, is found to be of
that form by a regular expression, in half the time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import hiredis
from hiredis import pack_command

from tile38cm.wire.commands import OWN_KEY, TABLE
from tile38cm.wire.resp import bulk, bulk_pattern, bulks_pattern
from tile38cm.wire.weights import ALWAYS, APART, LARGE, LIGHT, SEARCH, search_weight

#: hiredis makes a list as long as an array's header says before the first element is there.
_LONG_ARRAY = re.compile(rb"\*[0-9]{4}")
#: One request of few short words.
_SHORT = re.compile(b"\\*%b" % bulks_pattern(range(1, 10), bulk_pattern(40)), re.DOTALL)
#: Bytes up to which it is worth a look whether it is such a one.
_WORTH = 256
_ZERO = ord("0")
_SEARCHES = frozenset(
    form for name in (b"nearby", b"within", b"intersects", b"scan") for form in (name, name.upper())
)
_WRITES = frozenset(name for name in ALWAYS if TABLE[name.lower()].command.leader)
#: By a command's framed name: whether it is one for a leader, how many heavy ones it is, its weight.
_KNOWN = {
    bulk(name).removesuffix(b"\r\n"): (name in _WRITES, int(weight > LIGHT), weight)
    for name, weight in ALWAYS.items()
}
_FRAMED_SEARCHES = frozenset(bulk(name).removesuffix(b"\r\n") for name in _SEARCHES)
_UNREADABLE = (hiredis.HiredisError, TypeError, LookupError, AttributeError, MemoryError)


class Bundle(NamedTuple):
    """
    Whole requests at the beginning of what came.

    C{leader}: one of them at least only a leader may run.  C{heavy}: how many
    of its C{requests} have more than a short answer.  C{weight}: that of the heaviest.
    """

    raw: bytes
    requests: int
    leader: bool
    heavy: int
    weight: int


#: A third of what C{Bundle(...)} costs, which is made for nearly each packet.
_make = tuple.__new__


class BundleScanner:
    """One is enough for all clients: nothing is kept from one call to the next."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()

    def scan(self, data: bytes) -> Bundle | None:
        """
        The plain requests that C{data} begins with, or C{None} if it does not begin with any.

        What stands behind them is for L{RequestParser}.  No login, no limit
        but L{LARGE}, and no refusal is looked at, except that none of the
        commands is ever refused on W, and on R those that are C{leader}.
        """
        if len(data) <= _WORTH and _SHORT.fullmatch(data) is not None and OWN_KEY not in data:
            return _short(data)
        if _LONG_ARRAY.search(data) is not None:
            return None
        try:
            self._reader.feed(data)
            bundle = self._bundle(data)
        except _UNREADABLE:
            bundle = None
        if bundle is None or len(bundle.raw) != len(data):
            self._reader = hiredis.Reader()
        return bundle

    def _bundle(self, data: bytes) -> Bundle | None:
        """As C{scan}, of what the reader was fed; it may know of more afterwards."""
        gets, always, searches, writes = self._reader.gets, ALWAYS.get, _SEARCHES, _WRITES
        packed: list[bytes] = []
        leader, heavy, weight = False, 0, LIGHT
        while (args := gets()) is not False:
            name = args[0]
            own = always(name)
            if own is None:
                own = search_weight([arg.lower() for arg in args]) if name in searches else APART
            if own == APART or OWN_KEY in args:
                break
            if own:
                heavy += 1
                if own > weight:
                    weight = own
            if name in writes:
                leader = True
            packed.append(pack_command(tuple(args)))
        raw = b"".join(packed)
        if not packed or (len(packed) == 1 and len(raw) > LARGE) or not data.startswith(raw):
            return None
        return Bundle(raw, len(packed), leader, heavy, weight)


def _short(data: bytes) -> Bundle | None:
    """As C{scan}, of what is L{_SHORT}."""
    # Behind the array's four bytes stands the name; a line's end inside of it makes it none we know.
    name = data[4 : data.find(b"\r\n", 8)]
    known = _KNOWN.get(name)
    if known is not None:
        return _make(Bundle, (data, 1, *known))
    if name in _FRAMED_SEARCHES:
        words = data.lower().split(b"\r\n")
        # Unless a word holds such a line's end itself, each stands behind its length.
        if len(words) == 2 * (data[1] - _ZERO) + 2 and search_weight(words[2::2]) == SEARCH:
            return _make(Bundle, (data, 1, False, 1, SEARCH))
    return None
