"""A cluster of three to be asked about, and a client that asks."""

from __future__ import annotations

from typing import Any

import hiredis
from twisted.internet.testing import StringTransport

from tile38cm.coordination.cluster import ClusterView, MemberState
from tile38cm.model import Leadership, Peer, Role
from tile38cm.sentinel.listener import SentinelListener
from tile38cm.sentinel.scene import Here, Scene, scene_of
from tile38cm.settings import Address
from tile38cm.wire.resp import encode_request

HERE = Here("tile38", "b", Address("10.0.0.2", 7001), Address("10.0.0.2", 7004), 1.0)


def view(*ready: str) -> ClusterView:
    """Nodes a, b and c; those that are C{ready} may be read."""
    names = {"a": 1, "b": 2, "c": 3}
    return ClusterView(
        {n: Peer(n, Address(f"10.0.0.{i}", 7001), Address(f"10.0.0.{i}", 7002)) for n, i in names.items()},
        {n: MemberState(n, ready=n in ready, offset=9, sentinel=7004) for n in names},
    )


def scene(leader: str | None = "a", of: ClusterView | None = None) -> Scene:
    """What b says."""
    role = Role.LEADER if leader == "b" else Role.FOLLOWER
    return scene_of(HERE, Leadership(role, leader, 5, 0.0, ""), view("b", "c") if of is None else of)


class Transport(StringTransport):
    """A connection that can be cut."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Asking:
    """A client of b's sentinel."""

    def __init__(self, listener: SentinelListener) -> None:
        connection = listener.buildProtocol(None)
        assert connection is not None
        self.connection = connection
        self.transport = Transport()
        self.connection.makeConnection(self.transport)
        self._reader = hiredis.Reader()

    def said(self) -> list[Any]:
        """All that has come since the last call; errors as text with a minus in front."""
        self._reader.feed(self.transport.value())
        self.transport.clear()
        found = []
        while (reply := self._reader.gets()) is not False:
            found.append(f"-{reply}" if isinstance(reply, Exception) else reply)
        return found

    def ask(self, *words: str | bytes) -> Any:
        """The one reply to a command."""
        (reply,) = self.tell(*words)
        return reply

    def tell(self, *words: str | bytes) -> list[Any]:
        """All that is said to a command."""
        raw = [word if isinstance(word, bytes) else word.encode() for word in words]
        self.connection.dataReceived(encode_request(raw))
        return self.said()
