"""
What the proxies need of the rest of a node, and nobody else's classes.

The service gives these at construction.  All calls are cheap and synchronous
unless they return a Deferred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory


class Wire(Protocol):
    """What of a transport is used here; TCP, TLS and the memory transports of tests all have it."""

    def getPeer(self) -> IAddress:
        """As C{ITransport}."""

    def write(self, data: bytes) -> None:
        """As C{ITransport}."""

    def loseConnection(self) -> None:
        """As C{ITransport}."""

    def abortConnection(self) -> None:
        """As C{ITCPTransport}."""

    def pauseProducing(self) -> None:
        """As C{IPushProducer}."""

    def resumeProducing(self) -> None:
        """As C{IPushProducer}."""

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """As C{IConsumer}."""

    def unregisterProducer(self) -> None:
        """As C{IConsumer}."""


class Word(NamedTuple):
    """
    What a gate says at one moment.

    C{acknowledged}: the offset up to which every member of the sync set has
    confirmed this epoch's log.  C{enough}: whether the set holds as many
    members as writes are promised to.  C{least}: how long this epoch's log is at
    least; an offset below that is one of another log.
    """

    open: bool
    epoch: int
    acknowledged: int
    enough: bool
    least: int


class Gate(Protocol):
    """
    Whether this node may serve as the leader at this very moment.

    The callbacks of C{subscribe} are called without arguments whenever the
    gate opened or shut, the epoch changed, or something else of its word
    may have changed.
    """

    def is_open(self) -> bool:
        """Judged on the monotonic clock when called, whatever timers did."""

    def word(self) -> Word:
        """All that the release of a reply depends on, judged as in C{is_open}."""

    def waiting(self) -> None:
        """Told when a request begins to wait for an acknowledgement or for the gate."""

    def released(self, offset: int) -> None:
        """Told before replies that depend on the log up to C{offset} go to a client."""

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Have C{callback} called on every change."""

    def unsubscribe(self, callback: Callable[[], None]) -> None:
        """Undo C{subscribe}."""


class Target(Protocol):
    """
    A server to send requests to.

    Two targets are equal while they mean the same server in the same term;
    a client keeps its connection as long as its target stays equal.
    """

    @property
    def local(self) -> bool:
        """Whether this is the node's own Tile38; else it is a peer's proxy."""

    @property
    def epoch(self) -> int:
        """The term for which this target was chosen."""

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect; for peers TLS and the private handshake included, so that
        C{connectionMade} finds a connection ready for requests.  May be
        cancelled, and ends by itself in bounded time.
        """


class Routes(Protocol):
    """Which servers are to be used now; callbacks as in L{Gate}."""

    def writer(self) -> Target | None:
        """The leader: the local server if this node leads, else the leader's W, else none."""

    def readers(self) -> Sequence[Target]:
        """All that may answer reads now, the preferred one first."""

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Have C{callback} called on every change."""

    def unsubscribe(self, callback: Callable[[], None]) -> None:
        """Undo C{subscribe}."""


class Own(Protocol):
    """What this node's manager knows of it."""

    def facts(self) -> Mapping[str, str | int]:
        """Role, epoch, lag and the like, by name."""

    def trouble(self) -> str | None:
        """Why this node cannot be relied on now, though its Tile38 says it is well; C{None}: it can."""


class Private(Protocol):
    """Who talks with other nodes over the same ports."""

    def accept(self, transport: Wire, identity: str | None, data: bytes) -> IProtocol:
        """
        Take over a connection whose first command is private.

        @param identity: who the peer's certificate says it is, if it has one.
        @param data: all bytes from that command on.
        @return: a protocol already connected to C{transport}, which has dealt
            with C{data}; it is given all later bytes, and the connection's loss.
        """
