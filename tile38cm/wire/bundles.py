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
from functools import lru_cache
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
#: Of one request: whether it is one for a leader, how many heavy ones it is, its weight.
Known = tuple[bool, int, int]
#: By a command's framed name.
_KNOWN: dict[bytes, Known] = {
    bulk(name).removesuffix(b"\r\n"): (name in _WRITES, int(weight > LIGHT), weight)
    for name, weight in ALWAYS.items()
}
#: What a search's options end with, and what nothing but numbers and their framing consists of.
_POINT, _NUMBERS = b"$5\r\nPOINT\r\n", b"0123456789.+-eE$\r\n"
_SMALL_SEARCH: Known = (False, 1, SEARCH)
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
            known = _known(data)
            return None if known is None else _make(Bundle, (data, 1, *known))
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


def plain_request(data: bytes) -> Known | None:
    """
    What is known of one short plain request, or C{None} if C{data} is not exactly that.

    What this takes L{BundleScanner.scan} takes as well.
    """
    if len(data) > _WORTH or _SHORT.fullmatch(data) is None or OWN_KEY in data:
        return None
    return _known(data)


def _known(data: bytes) -> Known | None:
    """As L{plain_request}, of what is L{_SHORT}."""
    # Behind the array's four bytes stands the name; a line's end inside of it makes it none we know.
    name = data[4 : data.find(b"\r\n", 8)]
    known = _KNOWN.get(name)
    if known is None and name in _FRAMED_SEARCHES:
        head, _, point = data.partition(_POINT)
        if point and not point.strip(_NUMBERS) and _finds_few(head):
            return _SMALL_SEARCH
        words = data.lower().split(b"\r\n")
        # Unless a word holds such a line's end itself, each stands behind its length.
        if len(words) == 2 * (data[1] - _ZERO) + 2 and search_weight(words[2::2]) == SEARCH:
            return _SMALL_SEARCH
    return known


@lru_cache(maxsize=256)
def _finds_few(head: bytes) -> bool:
    """
    Whether what begins so is a small search, if only numbers come behind the C{POINT} that follows.

    One client's searches differ in these numbers, so their beginnings are worth remembering.
    """
    lines = head.split(b"\r\n")
    sizes, words = lines[1:-1:2], lines[2:-1:2]
    # Each word has the length that stands before it: no word holds a line's end.
    framed = [b"$%d" % len(word) for word in words] == sizes and not lines[-1]
    return framed and search_weight([word.lower() for word in words]) == SEARCH
