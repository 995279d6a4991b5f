"""The client of the local Tile38 server: asks, orders, and never waits for ever.

One connection, made again by itself, carries nearly everything.  C{FOLLOW}
answers only when the leader to be has answered Tile38's own questions, so it has
a connection of its own, and the leader to be may ask meanwhile; and whether the
server is there is asked on a third one, where nothing slow stands in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from tile38cm.settings import Address, Secret
from tile38cm.tasks import within
from tile38cm.tile38_link import (
    FIRST_RETRY,
    CatchingUp,
    Knock,
    Link,
    Loading,
    Refused,
    Tile38Error,
    Unreachable,
    Word,
    refusal,
)

__all__ = [
    "ANSWER_TIMEOUT",
    "CatchingUp",
    "Loading",
    "Refused",
    "ServerInfo",
    "Tile38",
    "Tile38Error",
    "Unreachable",
    "Word",
    "refusal",
]

#: Seconds for one answer; an order that flushes a large log is the slowest.
ANSWER_TIMEOUT = 5.0
#: Seconds for C{FOLLOW}: Tile38 itself gives up dialling after 2.
FOLLOW_TIMEOUT = 5.0


@frozen
class ServerInfo:
    """What C{SERVER} said. C{aof_size} counts bytes not yet written, too."""

    aof_size: int
    id: str
    #: C{host:port}, or L{None} on a server that follows nobody.
    following: str | None
    #: Whether a follower is; always false on a server that follows nobody.
    caught_up: bool
    read_only: bool
    num_objects: int
    version: str
    #: The number of its process, as it sees it; 0: it did not say.
    pid: int
    raw: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_reply(cls, reply: list[str]) -> ServerInfo:
        """Read the flat list of names and values that Tile38 sends."""
        raw = dict(zip(reply[::2], reply[1::2], strict=True))
        return cls(
            aof_size=int(raw["aof_size"]),
            id=raw["id"],
            following=raw.get("following") or None,
            caught_up=raw.get("caught_up") == "true",
            read_only=raw.get("read_only") == "true",
            num_objects=int(raw.get("num_objects", 0)),
            version=raw.get("version", ""),
            pid=int(raw.get("pid", 0)),
            raw=raw,
        )


def _offset(role: Any) -> int:
    """The size of the log in what C{ROLE} answers, on a leader or a follower."""
    return int(role[1] if role[0] == "master" else role[4])


class Tile38:
    """The local server, as its manager sees it.

    Every coroutine ends within its bound and fails with L{Tile38Error} only:
    L{Unreachable}, L{Loading} or L{Refused}.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        password: Secret | None = None,
        timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        self.endpoint = endpoint
        self.password = password
        self._clock = clock
        self._timeout = timeout
        self._link = Link(clock, endpoint, password)
        self._follow_link = Link(clock, endpoint, password)
        self._watch_link = Link(clock, endpoint, password, FIRST_RETRY)

    def start(self) -> None:
        """Begin to connect; commands may be given at once."""
        for link in (self._link, self._follow_link, self._watch_link):
            link.start()

    async def stop(self) -> None:
        """Close the connections; unanswered commands fail with L{Unreachable}."""
        for link in (self._link, self._follow_link, self._watch_link):
            await link.stop()

    async def command(self, *words: Word) -> Any:
        """The reply to any short command: text, whole number, list or L{None}."""
        return await self._link.ask(self._timeout, *words)

    async def ping(self) -> None:
        """Returns when Tile38 answered, which also makes it write its log out.

        Tile38 keeps up to 10 kB or 1 s of a follower's log in memory; any command
        with a reply writes that to the file first.  It answers while loading, too.
        """
        await self.command("PING")

    async def healthz(self) -> bool:
        """Whether Tile38 calls itself fit to be read from; no password is needed."""
        try:
            await self.command("HEALTHZ")
        except (Refused, Loading):
            return False
        return True

    async def server(self) -> ServerInfo:
        """Fails with L{CatchingUp} on a follower that has never caught up."""
        return ServerInfo.from_reply(await self.command("SERVER"))

    async def role_offset(self) -> int:
        """The size of the log by C{ROLE}, the cheapest command that tells it."""
        return _offset(await self.command("ROLE"))

    async def watched_offset(self, timeout: float) -> int:
        """As L{role_offset}, on a connection of its own that is made again quickly."""
        return _offset(await self._watch_link.ask(timeout, "ROLE"))

    async def knock(self, timeout: float) -> None:
        """Returns when the server has shown that it runs, however busy it is.

        Fails with L{Unreachable} if nothing happens within C{timeout} seconds.
        """
        knock = Knock()
        connecting = connectProtocol(self.endpoint, knock)
        try:
            await within(connecting, timeout, self._clock)
            await within(knock.opened, timeout, self._clock)
        except CancelledError:
            raise
        except Exception as error:  # as with a link, they have no common base
            raise Unreachable(f"Tile38 does not open: {error}") from error
        finally:
            if knock.connected:
                knock.abort()

    async def follow(self, address: Address) -> None:
        """Follow that leader, which must answer; does nothing if it is followed already."""
        await self._follow_link.ask(FOLLOW_TIMEOUT, "FOLLOW", address.host, address.port)

    async def unfollow(self) -> None:
        """Follow nobody; what the link has delivered and Tile38 has not read is dropped."""
        await self.command("FOLLOW", "no", "one")

    async def readonly(self, on: bool) -> None:
        """Refuse or accept writes of clients; kept in Tile38's config file."""
        await self.command("READONLY", "yes" if on else "no")

    async def flushdb(self) -> None:
        """Remove every object, hook and channel; refused on a follower and when read-only."""
        await self.command("FLUSHDB")

    async def aofshrink(self) -> None:
        """Begin to rewrite the log; silently ignored while another rewrite runs."""
        await self.command("AOFSHRINK")

    async def shrinking(self) -> bool:
        """Whether a rewrite of the log is under way."""
        return "aof_rewrite_in_progress:1" in str(await self.command("INFO", "persistence"))

    async def aofmd5(self, pos: int, size: int) -> str | None:
        """The MD5 of a range of the log file in hexadecimal, L{None} if it reaches past the end.

        Tile38 serves nobody meanwhile: 1 MiB takes about 1.3 ms.
        """
        if pos < 0 or size < 1:
            # AOFMD5 with size 0 crashes a server that runs without a log.
            raise ValueError("AOFMD5 needs a range of at least one byte")
        try:
            return str(await self.command("AOFMD5", pos, size))
        except Refused as error:
            if error.text == "EOF":
                return None
            raise

    async def log_size(self, at_least: int = 0) -> int:
        """The true size of the log file in bytes, also where C{SERVER} is refused or wrong.

        C{aof_size} is inflated after a shrink of the leader, and a follower that
        never caught up hides it; any byte of the file can be asked for in both.
        So what C{ROLE} says is only where the search begins: nearly always it is
        right, and saves some thirty questions, one after the other, in each election.
        C{at_least} is another guess, if the caller has one.
        """
        await self.ping()
        guess = at_least or await self._said_size()
        base = guess if guess and await self._has_byte(guess - 1) else 0
        there, beyond = base - 1, base
        while await self._has_byte(beyond):
            there, beyond = beyond, 2 * beyond + 1 - base
        while beyond - there > 1:
            middle = (there + beyond) // 2
            if await self._has_byte(middle):
                there = middle
            else:
                beyond = middle
        return beyond

    async def _said_size(self) -> int:
        """What C{ROLE} says; 0 where it says nothing, as on a follower that has never caught up."""
        try:
            return await self.role_offset()
        except Refused:
            return 0

    async def _has_byte(self, pos: int) -> bool:
        return await self.aofmd5(pos, 1) is not None

    async def config_get(self, name: str) -> str:
        """The value of one configuration parameter; empty if it is not set."""
        reply = await self.command("CONFIG", "GET", name)
        return str(reply[1]) if len(reply) > 1 else ""

    async def config_set(self, name: str, value: str) -> None:
        """Set one parameter until the next start of Tile38."""
        await self.command("CONFIG", "SET", name, value)
