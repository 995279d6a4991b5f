"""
Connections to servers that all clients of a side share.

A lane carries requests that leave no state behind, of one weight and one
C{OUTPUT} each, so that nothing large stands before something small.  There is
one for light requests, since the more of them travel together the cheaper
each is, and there are some for searches, which a server answers side by side
on several connections.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from tile38cm.proxy.coverage import Coverage
from tile38cm.proxy.partners import Target
from tile38cm.proxy.preparation import preparation
from tile38cm.proxy.upstream import Upstream
from tile38cm.settings import Secret
from tile38cm.wire.resp import Output
from tile38cm.wire.weights import SEARCH


def search_lanes(processors: int | None) -> int:
    """
    How many lanes for searches keep a server with so many processors busy; of each other weight there is one.

    One more than it can work on, since a lane whose replies are on their way has no work for it; each beyond
    that makes searches dearer here, because fewer of them travel together.
    """
    return min(max(processors or 1, 1) + 1, 8)


#: A server is beside its manager, and other nodes are taken to be like this one.
SEARCH_LANES = search_lanes(os.cpu_count())


class Passenger(Protocol):
    """Who uses a lane."""

    def lane_open(self) -> None:
        """The lane became ready, or takes bytes again."""

    def lane_lost(self, lane: Lane) -> None:
        """It is gone; what was sent and not answered must be judged."""


@define(eq=False)
class Origin:
    """What every connection of a side to its servers is made with."""

    clock: IReactorTime
    connect_timeout: float
    password: Secret | None
    coverage: Coverage | None
    #: Told why a server cannot be used; and that one can.
    complain: Callable[[str], None]
    content: Callable[[], None]
    #: Whether a local server must lead.
    leading: bool


class Lane:
    """One connection, and who uses it."""

    def __init__(self, lanes: Lanes, key: Key) -> None:
        self._lanes = lanes
        self._origin = lanes.origin
        self.key = key
        target, output = key[0], key[1]
        steps = preparation(target, self._origin.password, output, self._origin.leading)
        self.upstream = Upstream(self, target, steps, self._origin.coverage, self._origin.clock)
        self.passengers: dict[Passenger, None] = {}
        self._opened = False

    def open(self) -> None:
        """Connect, when the first passenger is known; harmless when repeated."""
        if self._opened:
            return
        self._opened = True
        self.upstream.open(self._origin.connect_timeout)

    # -- Owner of the upstream

    def upstream_ready(self) -> None:
        """Requests may go."""
        self._origin.content()
        self._tell()

    def upstream_drained(self) -> None:
        """Requests may go again."""
        self._tell()

    def upstream_lost(self, reason: str) -> None:
        """Everybody looks for another way."""
        self._origin.complain(reason)
        self._lanes.forget(self)
        for passenger in list(self.passengers):
            passenger.lane_lost(self)

    def _tell(self) -> None:
        for passenger in list(self.passengers):
            passenger.lane_open()


#: Where to, the output, the weight, and which of several.
Key = tuple[Target, Output, int, int]


@define(eq=False)
class Lanes:
    """The lanes of one side."""

    origin: Origin
    _lanes: dict[Key, Lane] = field(factory=dict, init=False)

    def find(self, target: Target, output: Output, weight: int, seat: int) -> Lane:
        """
        The lane to use; become a passenger, then C{open} it.

        @param seat: any number that is a client's own; clients with different ones search side by side.
        """
        key = (target, output, weight, seat % SEARCH_LANES if weight == SEARCH else 0)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self, key)
        return lane

    def forget(self, lane: Lane) -> None:
        """It is of no use any more."""
        if self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]

    def keep(self, targets: Collection[Target]) -> None:
        """Cut those to all other servers; passengers are not told."""
        for lane in list(self._lanes.values()):
            if lane.key[0] not in targets:
                del self._lanes[lane.key]
                lane.upstream.drop()
