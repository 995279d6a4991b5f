"""What clients may cost, and the count of what they did."""

from __future__ import annotations

from attrs import define, field, frozen

from tile38cm.settings import Settings

#: Bytes that a client may have here without their being counted against the bound for all.
FREE = 64 * 1024


@frozen
class Limits:
    """Bounds for one listener and for each of its clients; bytes and seconds."""

    #: Connections at once; those of other nodes are not counted.
    max_clients: int = 10_000
    max_request: int = 64 * 1024 * 1024
    #: Arguments of one request.
    max_args: int = 1_000_000
    #: From a request's arrival until it is given up for want of a leader.
    hold_timeout: float = 10.0
    #: Requests of one client without an answer; beyond it the client is not read.
    max_pipeline: int = 4096
    #: Bytes of one client's requests and replies kept here; beyond it the client is not read.
    max_kept: int = 1024 * 1024
    #: Bytes that all clients together may have here, as far as one has more than C{FREE}.
    max_bytes: int = 1024 * 1024 * 1024
    #: Seconds after which a client that says nothing, and is owed nothing, is disconnected; 0: never.
    idle_timeout: float = 0.0
    #: Requests of one client under way at once that may each be answered with megabytes.
    max_heavy: int = 32
    #: Connecting to a server, its handshake included.
    connect_timeout: float = 5.0
    #: Pause before a server that could not be used is tried again.
    retry_delay: float = 0.05

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """As a node was told."""
        return cls(
            max_clients=settings.max_clients,
            max_request=settings.max_request,
            max_args=settings.max_args,
            hold_timeout=settings.hold_timeout,
            max_pipeline=settings.max_pipeline,
            max_kept=settings.max_client_bytes,
            max_bytes=settings.max_bytes,
            idle_timeout=settings.idle_timeout,
        )


@define
class Counters:
    """What happened since the start, for metrics; C{clients} is how many there are now."""

    clients: int = 0
    #: Requests sent to a server.
    proxied: int = 0
    #: Requests that had to wait for a leader or a ready server.
    held: int = 0
    #: Requests answered with an error here because of what they are.
    refused: int = 0
    #: Writes of which nobody can say whether they were done.
    uncertain: int = 0


@define
class HoldBudget:
    """The memory that something of all clients may use together, in bytes."""

    limit: int
    used: int = field(default=0, init=False)

    def take(self, size: int) -> bool:
        """Reserve C{size} bytes if they fit."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Return what was taken."""
        self.used -= size
