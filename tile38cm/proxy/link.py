"""
The way from one client to its server: which, connected when needed, left when wrong.

This is the part that shared connections will replace: a conversation asks for
an upstream, and hears when there is one and when it is gone.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall

from tile38cm.proxy.exchange import Exchange
from tile38cm.proxy.partners import Target
from tile38cm.proxy.sides import Side
from tile38cm.proxy.upstream import Upstream, preparation
from tile38cm.wire.resp import Output

#: The longest pause between two attempts is the first one, doubled so many times.
MAX_DOUBLINGS = 3


class Traveller(Protocol):
    """Who uses a link."""

    def link_changed(self) -> None:
        """An upstream became ready or takes bytes again, or a pause is over."""

    def link_lost(self) -> None:
        """The upstream is gone; what was sent and not answered must be judged."""

    def link_replied(self, exchange: Exchange, reply: bytes) -> None:
        """The whole reply to one request."""

    def link_turned(self) -> None:
        """All replies that came in one turn were reported."""


class Link:
    """One client's way to a server of its side."""

    def __init__(self, side: Side, traveller: Traveller, from_peer: bool) -> None:
        self._side = side
        self._traveller = traveller
        self._from_peer = from_peer
        self._upstream: Upstream | None = None
        #: Servers that could not be used since the routes changed or the last pause ended.
        self._failed: list[Target] = []
        self._pause: IDelayedCall | None = None
        self._doublings = 0

    @property
    def upstream(self) -> Upstream | None:
        """The connection in use, if it may be sent to."""
        upstream = self._upstream
        if upstream is None or not upstream.ready or upstream.retiring:
            return None
        return upstream

    @property
    def connecting(self) -> bool:
        """Whether a connection is being made; that ends in bounded time."""
        return self._upstream is not None and not self._upstream.ready

    @property
    def sealed(self) -> bool:
        """Whether replies of the connection in use pass the gate."""
        return self._upstream is not None and self._side.gate is not None and self._upstream.target.local

    @property
    def server(self) -> Target | None:
        """Where requests belong now; C{None}: nowhere."""
        current = None if self._upstream is None else self._upstream.target
        return self._side.pick(current, self._failed, self._from_peer)

    def reroute(self) -> bool:
        """
        The routes changed: leave a server that is not the right one any more.

        @return: whether there is a connection still.
        """
        self._failed.clear()
        self._stop_pause()
        upstream = self._upstream
        if upstream is not None and self.server != upstream.target:
            self.leave()
        return self._upstream is not None

    def read(self, read: bool) -> None:
        """Whether to take replies from the server."""
        if self._upstream is not None:
            self._upstream.read(read)

    def ensure(self, output: Output) -> None:
        """Connect if there is a server to connect to, no connection, and no pause between attempts."""
        if self._upstream is not None:
            return
        target = self.server
        if target is None:
            if self._failed and self._pause is None:
                self._begin_pause()
            return
        steps = preparation(target, self._side.password, output, leading=self._side.gate is not None)
        self._upstream = Upstream(self, target, steps)
        self._upstream.open(self._side.clock, self._side.limits.connect_timeout)

    def retire(self) -> None:
        """The peer serves us no more: send nothing, and leave it when its last reply is here."""
        if self._upstream is not None:
            self._upstream.retiring = True

    def leave(self) -> None:
        """Drop the connection, if any."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.drop()

    def give_away(self) -> Upstream:
        """Hand the connection over for a stream; this link has none any more."""
        upstream, self._upstream = self._upstream, None
        assert upstream is not None
        return upstream

    def close(self) -> None:
        """The client is gone."""
        self._stop_pause()
        self.leave()

    # -- Owner of the upstream

    def upstream_ready(self) -> None:
        """Requests may go."""
        self._side.content()
        self._traveller.link_changed()

    def upstream_lost(self, reason: str) -> None:
        """Not this server for a while."""
        self._side.complain(reason)
        self._abandon()

    def upstream_replied(self, exchange: Exchange, reply: bytes) -> None:
        """Pass it on; a server that answers is worth a quick attempt again."""
        self._doublings = 0
        self._traveller.link_replied(exchange, reply)

    def upstream_turned(self) -> None:
        """Pass it on; a connection that retires is left with its last reply."""
        upstream = self._upstream
        if upstream is not None and upstream.retiring and upstream.idle:
            self._abandon()
        else:
            self._traveller.link_turned()

    def upstream_drained(self) -> None:
        """Pass it on."""
        self._traveller.link_changed()

    # -- inside

    def _abandon(self) -> None:
        upstream = self._upstream
        self.leave()
        if upstream is not None:
            self._failed.append(upstream.target)
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
