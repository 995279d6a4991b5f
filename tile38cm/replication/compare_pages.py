"""The objects of a collection in order of their ids, page by page, from one server or from two.

A cursor of C{SCAN} is a count of objects, so under writes pages shift: what is
inserted before it brings objects again, what is deleted before it would hide
some.  Therefore each page begins with the last object of the one before; where
it does not, one goes back until it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tile38cm.replication.direct import Direct

#: Bytes that a page should have; the server blocks writes while it makes one.
PAGE_BYTES = 1024 * 1024
#: Objects in the first page, and in any: the next one is measured by the last.
FIRST_PAGE, SMALLEST_PAGE, LARGEST_PAGE = 200, 2, 4000

#: An id, and what else C{SCAN} tells: the object, then its fields if it has any.
Entry = tuple[bytes, list[Any]]
#: An id, and what each side has of it.
Pair = tuple[bytes, list[Any] | None, list[Any] | None]


def scan(server: Direct, key: bytes, first: int = FIRST_PAGE, largest: int = LARGEST_PAGE) -> Iterator[Entry]:
    """Every object of a collection that is there from begin to end, each id once, ids ascending.

    One that comes or goes meanwhile may be among them or not.  Holds one page at a time.

    @param first: how many objects the first page has; at least L{SMALLEST_PAGE}.
    """
    cursor, back, limit = 0, 1, first
    last: bytes | None = None
    while True:
        before = server.received
        following, page = server.ask(b"SCAN", key, b"CURSOR", cursor, b"LIMIT", limit)
        if last is not None and cursor and (not page or page[0][0] > last):
            cursor, back = max(0, cursor - back), back * 2
            continue
        for id, *content in page:
            if last is None or id > last:
                last = id
                yield id, content
        if not following:
            return
        cursor, back = cursor + len(page) - 1, 1
        fitting = limit * PAGE_BYTES // (server.received - before)
        limit = max(SMALLEST_PAGE, min(fitting, 4 * limit, largest))


def side_by_side(left: Iterator[Entry], right: Iterator[Entry]) -> Iterator[Pair]:
    """Both sides joined by id; C{None} where one has nothing. Both must ascend."""
    mine, other = next(left, None), next(right, None)
    while mine is not None or other is not None:
        if other is None or (mine is not None and mine[0] < other[0]):
            assert mine is not None
            yield mine[0], mine[1], None
            mine = next(left, None)
        elif mine is None or other[0] < mine[0]:
            yield other[0], None, other[1]
            other = next(right, None)
        else:
            yield mine[0], mine[1], other[1]
            mine, other = next(left, None), next(right, None)
