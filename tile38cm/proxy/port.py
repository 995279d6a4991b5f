"""Where the replies of a conversation go: to a client's connection, or to this node itself."""

from __future__ import annotations

from typing import Protocol

from tile38cm.proxy.exchange import Exchange
from tile38cm.proxy.upstream import Upstream


class Port(Protocol):
    """The client's side of a conversation."""

    def dataReceived(self, data: bytes) -> None:
        """What the client sent, that needs to be looked at closely."""

    def deliver(self, data: bytes) -> None:
        """Replies for the client."""

    def regulate(self, read: bool) -> None:
        """Whether to read from the client; told on change."""

    def finish(self) -> None:
        """Close the connection once everything delivered is sent."""

    def cut(self) -> None:
        """End the connection at once."""

    def go_on(self) -> None:
        """Requests are taken again."""

    def become_stream(self, upstream: Upstream, asked: Exchange) -> None:
        """From now on client and server talk directly; C{asked} has the server's first reply."""


class Within:
    """
    What is left out of a port where this node asks, not a client.

    Requests are given and not read, none of them is a live command or ends a
    connection; the replies, and that one is cut off, are for those who asked.
    """

    def dataReceived(self, data: bytes) -> None:
        """Nothing is read."""

    def regulate(self, read: bool) -> None:
        """Nothing is read; as many requests come as there are."""

    def finish(self) -> None:
        """There is no connection."""

    def go_on(self) -> None:
        """Requests are given when they are there."""

    def become_stream(self, upstream: Upstream, asked: Exchange) -> None:
        """No live command is asked."""
