"""
W or R as a factory of connections.

A full listener still takes some connections more: only their first command
shows whether they are clients, which get an error, or other nodes, without
which this one could neither lead nor follow.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from tile38cm.proxy.badge import Badge
from tile38cm.proxy.beside import Beside
from tile38cm.proxy.client import Client
from tile38cm.proxy.express import take
from tile38cm.proxy.limits import HoldBudget
from tile38cm.proxy.partners import Private, Wire
from tile38cm.proxy.session import Login
from tile38cm.proxy.sides import Side
from tile38cm.turns import gather

#: Connections beyond C{max_clients} that may show that they are other nodes'.
SPARE = 256
#: How often each client is looked at, in seconds.
LOOK = 1.0


def nobody(transport: Wire) -> str | None:
    """Without TLS nothing tells who the other end is."""
    return None


class Listener(Factory):
    """
    Makes clients of connections; give it to an endpoint, wrapped for TLS if need be.

    @param private: who talks with other nodes; C{None}: nobody on this port.
    @param identify: the verified name in the peer's certificate, if there is one.
    @param beside: who answers for this node itself.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        side: Side,
        login: Login,
        private: Private | None = None,
        identify: Callable[[Wire], str | None] = nobody,
        beside: Beside | None = None,
    ) -> None:
        self.side = side
        self.beside = beside
        self._login = login
        self._private = private
        self._identify = identify
        self._admitted: set[Client] = set()
        self._open: set[Client] = set()
        #: Those among the open ones that belong to other nodes.
        self._peers: set[Client] = set()
        self._numbers = itertools.count(1)
        self.room = HoldBudget(side.limits.max_bytes)
        self._look: IDelayedCall | None = None

    # -- for the service

    def start(self) -> None:
        """Serve: to be called before the port listens."""
        gather(self.side.clock, take)
        self.side.start()
        if self.beside is not None:
            self.beside.start()
        self._look_again()

    def stop(self) -> None:
        """Close all connections; the port must not listen any more."""
        self.side.stop()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self.beside is not None:
            self.beside.stop()
        for client in list(self._open):
            client.transport.abortConnection()

    def _look_again(self) -> None:
        clock = self.side.clock
        self._look = clock.callLater(LOOK, self._look_again)
        now = clock.seconds()
        for client in list(self._open):
            client.look(now)

    def serve_peer(self, transport: Wire) -> IProtocol:
        """
        Serve another node's client on a connection that the private protocol has opened.

        @return: a protocol, already connected to C{transport}; give it the
            bytes from now on, and the connection's loss.
        """
        client = Client(self, self.side, Login(), from_peer=True)
        self._open.add(client)
        self._peers.add(client)
        client.makeConnection(transport)
        return client

    # -- Factory

    def buildProtocol(self, addr: IAddress | None) -> Client | None:
        """A client, or C{None}: Twisted closes the connection."""
        if len(self._open) - len(self._peers) >= self.side.limits.max_clients + SPARE:
            return None
        client = Client(self, self.side, self._login)
        self._open.add(client)
        return client

    # -- House

    def next_number(self) -> int:
        """Never the same twice."""
        return next(self._numbers)

    def badges(self) -> Iterator[Badge]:
        """Those of clients; other nodes have none."""
        return (client.badge for client in self._admitted)

    def admits(self, client: Client) -> bool:
        """Count one more client if there is room."""
        if len(self._admitted) >= self.side.limits.max_clients:
            return False
        self._admitted.add(client)
        self.side.counters.clients += 1
        return True

    def gone(self, client: Client) -> None:
        """One less."""
        self._open.discard(client)
        self._peers.discard(client)
        if client in self._admitted:
            self._admitted.discard(client)
            self.side.counters.clients -= 1

    def give_over(self, client: Client, data: bytes) -> IProtocol | None:
        """Another node's connection does not count as a client's."""
        if self._private is None:
            return None
        self._peers.add(client)
        transport = client.transport
        return self._private.accept(transport, self._identify(transport), data)
