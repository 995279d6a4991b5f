"""
A live command's connection: client and server talk directly, until either ends.

Each side's transport is the other's producer, so that a slow reader slows its
writer.
"""

from __future__ import annotations

from collections.abc import Callable

from tile38cm.proxy.partners import Wire
from tile38cm.proxy.sides import Side
from tile38cm.proxy.upstream import Upstream
from tile38cm.wire.live import Talk
from tile38cm.wire.replies import BadReply


class Stream:
    """
    The pair of connections.

    On W it ends when its server is not the leader any more.  On R it outlives
    every change of roles, since a follower's streams go on when it is
    promoted; only L{Side.close_live} ends it.

    @param client: has no producer when this is made.
    @param talk: between the client's protocol and the server's.
    @param ended: called once, after the client's connection was asked to close.
    """

    def __init__(
        self, side: Side, client: Wire, upstream: Upstream, talk: Talk, ended: Callable[[], None]
    ) -> None:
        self._side = side
        self._client = client
        self._upstream = upstream
        self._talk = talk
        self._ended = ended
        self._open = True

    def start(self, opening: bytes, first: bytes) -> None:
        """Hand over what has come already: the first reply, and the client's bytes behind its command."""
        rest = self._upstream.stream(self.data_from_server, self.close)
        server = self._upstream.transport
        server.unregisterProducer()
        server.registerProducer(self._client, True)
        self._client.registerProducer(server, True)
        self._side.join(self)
        if opening:
            self._client.write(opening)
        self.data_from_server(first + rest)
        self.data_from_client(b"")

    def data_from_server(self, data: bytes) -> None:
        """What the server says goes to the client."""
        if not self._open:
            return
        try:
            told = self._talk.told(data)
        except BadReply:
            self.close()
        else:
            if told:
                self._client.write(told)

    def data_from_client(self, data: bytes) -> None:
        """What the client says goes to the server."""
        if not self._open:
            return
        said = self._talk.said(data)
        if said.server:
            self._upstream.transport.write(said.server)
        if said.client:
            self._client.write(said.client)
        if said.over:
            self.close()

    def close(self) -> None:
        """End both connections; harmless when repeated."""
        if not self._open:
            return
        self._open = False
        self._side.leave(self)
        self._upstream.drop()
        # TLS ends with what the client says to that.
        self._client.resumeProducing()
        self._client.unregisterProducer()
        self._client.loseConnection()
        self._ended()

    # -- Waiter

    def look_again(self) -> None:
        """The leader's stream ends with its term."""
        if self._side.gate is not None and self._side.routes.writer() != self._upstream.target:
            self.close()

    def gate_moved(self) -> None:
        """Nothing of a stream waits for the gate."""

    def expire(self, now: float) -> None:
        """Nothing of a stream expires."""

    def close_live(self) -> None:
        """The local server is about to lose its data; another one is its own node's matter."""
        if self._upstream.target.local:
            self.close()
