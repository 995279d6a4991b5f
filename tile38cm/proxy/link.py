"""
The way from one client to its server: which, connected when needed, left when wrong.

A conversation asks for a connection for requests of some weight: a lane that
it shares with others, or one of its own; it hears when there is one and when
it is gone.  It uses one at a time, and asks for another only when nothing is
under way: that keeps its requests in order.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall

from tile38cm.proxy.lanes import Lane
from tile38cm.proxy.partners import Target
from tile38cm.proxy.preparation import OUTPUT, preparation
from tile38cm.proxy.sides import Side
from tile38cm.proxy.upstream import Upstream
from tile38cm.wire.resp import Output
from tile38cm.wire.weights import APART

#: The longest pause between two attempts is the first one, doubled so many times.
MAX_DOUBLINGS = 3


class Traveller(Protocol):
    """Who uses a link."""

    @property
    def idle(self) -> bool:
        """Whether nothing was asked that has no answer."""

    def link_changed(self) -> None:
        """A connection became ready or takes bytes again, or a pause is over."""

    def link_lost(self) -> None:
        """The connection is gone; what was sent and not answered must be judged."""


class Link:
    """One client's way to a server of its side."""

    def __init__(self, side: Side, traveller: Traveller, from_peer: bool) -> None:
        self._side = side
        self._traveller = traveller
        self._from_peer = from_peer
        self._seat = side.next_seat()
        self._target: Target | None = None
        self._lanes: dict[tuple[Output, int], Lane] = {}
        self._own: Upstream | None = None
        self._own_output: Output = "resp"
        #: The connection that was asked for last.
        self.chosen: Upstream | None = None
        #: Servers that could not be used since the routes changed or the last pause ended.
        self._failed: list[Target] = []
        self._pause: IDelayedCall | None = None
        self._doublings = 0

    @property
    def connecting(self) -> bool:
        """Whether a connection is being made; that ends in bounded time."""
        return self.chosen is not None and not self.chosen.ready

    @property
    def congested(self) -> bool:
        """Whether the server does not take requests as fast as they come."""
        return self.chosen is not None and self.chosen.congested

    @property
    def sealed(self) -> bool:
        """Whether replies of the connection in use pass the gate."""
        return self.chosen is not None and self.chosen.gate is not None

    @property
    def server(self) -> Target | None:
        """Where requests belong now; C{None}: nowhere."""
        return self._side.pick(self._target, self._failed, self._from_peer)

    @property
    def astray(self) -> bool:
        """Whether requests belong elsewhere than to the server in use."""
        return self._target is not None and self.server != self._target

    def reroute(self) -> bool:
        """
        The routes changed: leave a server that is not the right one any more.

        @return: whether there is a connection still.
        """
        self._failed.clear()
        self._stop_pause()
        if self.astray:
            self.leave()
        return self.chosen is not None

    def read(self, read: bool) -> None:
        """Whether to take replies that come for this client alone."""
        if self._own is not None:
            self._own.read(read)

    def open_lane(self, output: Output, weight: int) -> Upstream | None:
        """The lane of that weight, if it is in use already and takes requests."""
        lane = self._lanes.get((output, weight))
        if lane is None or not lane.upstream.usable or (self.chosen is not None and self.chosen.retiring):
            return None
        self.chosen = lane.upstream
        return lane.upstream

    def connection(self, output: Output, weight: int) -> Upstream | None:
        """
        The connection for requests of that weight if it takes requests now.

        Else it is being made, if there is a server to connect to and no pause
        between attempts; C{link_changed} or C{link_lost} follows.
        """
        if self.chosen is not None and self.chosen.retiring:
            return None
        target = self.server
        if target is None:
            if self._failed and self._pause is None:
                self._begin_pause()
            return None
        self._target = target
        chosen = self._apart(target, output) if weight == APART else self._shared(target, output, weight)
        return chosen if chosen is not None and chosen.usable else None

    def retire(self) -> None:
        """The peer serves us no more: send nothing, and leave it when its last reply is here."""
        if self.chosen is not None:
            self.chosen.retire()

    def leave(self) -> None:
        """Use the server no more."""
        own, self._own = self._own, None
        self.chosen = self._target = None
        lanes = list(self._lanes.values())
        self._lanes.clear()
        for lane in lanes:
            lane.passengers.pop(self, None)
        if own is not None:
            own.drop()

    def give_away(self) -> Upstream:
        """Hand the client's own connection over for a stream; this link has none any more."""
        own, self._own = self._own, None
        assert own is not None
        return own

    def close(self) -> None:
        """The client is gone."""
        self._stop_pause()
        self.leave()

    # -- Owner of the client's own connection, passenger of lanes

    def upstream_ready(self) -> None:
        """Requests may go."""
        self._side.content()
        self._traveller.link_changed()

    def upstream_drained(self) -> None:
        """Requests may go again."""
        self._traveller.link_changed()

    def upstream_lost(self, reason: str) -> None:
        """Not this server for a while, if it is in use."""
        self._side.complain(reason)
        own, self._own = self._own, None
        if own is not None:
            self._lost(own)

    def lane_open(self) -> None:
        """Requests may go."""
        self._traveller.link_changed()

    def lane_lost(self, lane: Lane) -> None:
        """Not this server for a while, if the lane is in use."""
        self._lanes.pop(lane.key[1:3], None)
        self._lost(lane.upstream)

    # -- inside

    def _shared(self, target: Target, output: Output, weight: int) -> Upstream | None:
        lane = self._lanes.get((output, weight))
        if lane is None:
            lane = self._lanes[output, weight] = self._side.lanes.find(target, output, weight, self._seat)
            lane.passengers[self] = None
        self.chosen = lane.upstream
        # This may fail at once, and then there is nothing chosen any more.
        lane.open()
        return self.chosen

    def _apart(self, target: Target, output: Output) -> Upstream | None:
        own = self._own
        if own is None:
            origin = self._side.origin
            steps = preparation(target, origin.password, output, origin.leading)
            own = self._own = Upstream(self, target, steps, origin.coverage, origin.clock, wide=True)
            self._own_output = output
            self.chosen = own
            # As with lanes.
            own.open(origin.connect_timeout)
        elif own.usable and self._own_output != output:
            self._own_output = output
            own.prefix(OUTPUT[output])
        if self._own is own:
            self.chosen = own
        return self.chosen

    def _lost(self, upstream: Upstream) -> None:
        if upstream.answered:
            self._doublings = 0
        if upstream is not self.chosen:
            return
        target = self._target
        self.leave()
        if target is not None and not self._traveller.idle:
            self._failed.append(target)
        self._traveller.link_lost()

    def _begin_pause(self) -> None:
        delay = self._side.limits.retry_delay * 2**self._doublings
        self._doublings = min(self._doublings + 1, MAX_DOUBLINGS)
        self._pause = self._side.clock.callLater(delay, self._pause_over)

    def _pause_over(self) -> None:
        self._pause = None
        self._failed.clear()
        self._traveller.link_changed()

    def _stop_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
