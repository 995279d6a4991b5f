"""The listener B: it poses as the leader of the local Tile38, and feeds it.

Tile38's own C{FOLLOW} decides alone what becomes of a log.  So the local server
follows this one, is told what keeps its log whole
(L{conversation<tile38cm.replication.conversation>}), and gets only what it lacks.

What keeps the log safe:

1. Until C{AOF} has come a connection ends by RST only, even if this process is killed
   (L{caller<tile38cm.replication.caller>}).
2. Outside L{VirtualLeader.attach} every question is answered C{-ERR not yet}; Tile38
   then asks again each second, and serves reads meanwhile.
3. Before C{SERVER} is answered the server writes its log out and its sums are
   taken.  If its own expiry changes the log in the moment before it asks
   for them, it is turned away by an error and told to begin anew.
4. A log of a size at which Tile38 always cuts is made longer first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast
from uuid import uuid4

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTime, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger

from tile38cm.replication.caller import Caller, Callers
from tile38cm.replication.conversation import BLOCK, SAFE_SIZE, Offer, OwnLog, answer, in_trap
from tile38cm.replication.delivery import Delivery
from tile38cm.replication.local_log import LogError, read_log
from tile38cm.settings import Address
from tile38cm.tasks import within
from tile38cm.tile38 import Refused, Tile38, Tile38Error
from tile38cm.turns import soon
from tile38cm.wire.commands import OWN_KEY

#: Seconds: for a whole attach; from C{FOLLOW} to C{AOF}; before the next attempt.
ATTACH_TIMEOUT, CONVERSATION_TIMEOUT, NEXT_ATTEMPT = 15.0, 3.0, 0.02
#: Seconds for everything to be handed over and applied before a promotion.
DRAIN_TIMEOUT = 10.0
#: How far back in the log the marker of a drain is looked for; the server's own
#: expiry may have written behind it.
MARKER_WINDOW = 64 * 1024


class AttachError(Exception):
    """The local Tile38 did not begin to follow; its log is as it was."""


class LogCut(AttachError):
    """Tile38 has cut its log to C{base} bytes in spite of everything; what it has is older now."""

    def __init__(self, base: int, size: int) -> None:
        super().__init__(f"Tile38 cut its log from {size} to {base} bytes")
        self.base = base
        self.size = size


class NotAttached(Exception):
    """There is no link to write to, or to drain."""


@frozen
class Attached:
    """The link is up. C{size} is the node's log at that moment, C{base} what it asked for."""

    size: int
    base: int


@frozen
class Drained:
    """The end of a link. C{proven}: the final marker is in the log, so all before it is.

    C{size} is that of the log afterwards, written out.
    """

    proven: bool
    size: int


@frozen
class _Start:
    """What is known of the log before Tile38 is let in."""

    size: int
    first: str | None
    to_come: int


async def lengthen(local: Tile38, size: int) -> None:
    """Bring a log of C{size} bytes out of the sizes at which Tile38 cuts; it must take writes."""
    await local.command("JSET", OWN_KEY, "padding", "p", b"." * (SAFE_SIZE - size), "STR")
    await local.command("DEL", OWN_KEY, "padding")


class VirtualLeader:
    """The leader that the local Tile38 sees.

    The callables are its owner's: C{on_lost} is called once with the reason when
    a link that C{attach} has brought up is lost, except by C{attach}, C{drain}
    or C{detach}; C{on_delivered} with the last mark of what the socket has taken;
    C{on_drained} when C{full} ends.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamServerEndpoint,
        local: Tile38,
        on_lost: Callable[[str], None],
        on_delivered: Callable[[object], None] = lambda mark: None,
        on_drained: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._local = local
        self._on_lost = on_lost
        self._on_delivered = on_delivered
        self._on_drained = on_drained
        self._id = uuid4().hex
        self._port: IListeningPort | None = None
        self._callers: set[Caller] = set()
        # Set while attaching:
        self._start: _Start | None = None
        self._offer: Offer | None = None
        self._met: Deferred[int | None] | None = None
        self._why = ""
        # Set while there is a link; C{_ended} while it is drained:
        self._link: Caller | None = None
        self._feed: Delivery | None = None
        self._ended: Deferred[str] | None = None

    async def start(self) -> None:
        """Listen; fails with the endpoint's error."""
        self._port = await self._endpoint.listen(Callers(self._clock, self))

    async def stop(self) -> None:
        """Stop listening and end every connection; the log of Tile38 stays whole."""
        self._cut()
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)

    @property
    def address(self) -> Address:
        """Where Tile38 finds this; only between C{start} and C{stop}."""
        if self._port is None:
            raise NotAttached("not listening")
        host = cast(IPv4Address | IPv6Address, self._port.getHost())
        return Address(host.host, host.port)

    @property
    def attached(self) -> bool:
        """Whether the link is up and may be written to."""
        return self._feed is not None and self._start is None and self._ended is None

    @property
    def full(self) -> bool:
        """Whether the writer should pause until C{on_drained}."""
        return self._feed is not None and self._feed.full

    @property
    def buffered(self) -> int:
        """Bytes that were written and are not yet handed to the socket."""
        return 0 if self._feed is None else self._feed.buffered

    def write(self, payload: bytes, mark: object | None = None) -> None:
        """Give the local Tile38 whole commands; C{mark} comes back when its socket has them.

        Fails with L{NotAttached} when the link is gone, as C{on_lost} has said.
        """
        if self._feed is None or not self.attached:
            raise NotAttached("the local Tile38 does not follow")
        self._feed.write(payload, mark)

    async def attach(self, to_come: int, *, resume: bool = True, timeout: float = ATTACH_TIMEOUT) -> Attached:
        """Make the local Tile38 follow, with its log as it is; an older link is dropped.

        C{to_come} is how many bytes it will be written until it is level: it says
        of itself that it is caught up when its log has grown by so much.  Unless
        C{resume}, its log must be empty already.  Fails with L{AttachError} or
        L{Tile38Error}; then Tile38 follows nobody, or asks each second in vain.
        """
        self._cut()
        self._why = "it did not come"
        try:
            attached = await within(self._attach(to_come, resume), timeout, self._clock)
            if self._feed is None:
                raise AttachError("Tile38 hung up at once")
        except TimeoutError:
            self._cut()
            raise AttachError(f"Tile38 did not follow within {timeout:g} s: {self._why}") from None
        except BaseException:
            self._cut()
            raise
        self._start = None
        return attached

    async def drain(self, marker: bytes | None = None, timeout: float = DRAIN_TIMEOUT) -> Drained:
        """Have everything applied, then end the link: before a promotion.

        C{marker} is fed last (see L{pair}); only if it is found in the log is the
        end proven, since Tile38 also closes on errors, such as a lack of memory.
        C{unfollow} within a second, or Tile38 asks again.  Fails with L{NotAttached},
        and with L{Tile38Error} if the log cannot be looked at.
        """
        if self._feed is None or self._link is None or not self.attached:
            raise NotAttached("the local Tile38 does not follow")
        if marker is not None:
            self._feed.write(marker)
        self._ended = Deferred()
        work = self._close_after_all(self._feed, self._link, self._ended)
        try:
            await within(work, timeout, self._clock)
        except TimeoutError:
            self._log.warn("Tile38 did not take everything within {timeout} s", timeout=timeout)
        finally:
            self._cut()
        return await self._judge(marker)

    async def detach(self) -> None:
        """End the link and every conversation by RST; C{on_lost} is not called."""
        self._cut()

    def _cut(self) -> None:
        self._start = self._offer = self._met = None
        self._link = self._feed = self._ended = None
        self._drop_all("detached")

    def _drop_all(self, reason: str) -> None:
        for caller in list(self._callers):
            caller.abort(reason)

    # Attaching

    async def _attach(self, to_come: int, resume: bool) -> Attached:
        base = None
        while base is None:
            await self._local.unfollow()
            self._start = start = await self._prepare(to_come, resume)
            base = await self._converse()
            if base is None:
                self._log.debug("Tile38 is told to begin anew: {why}", why=self._why)
                await deferLater(self._clock, NEXT_ATTEMPT)
        self._offer = None
        if base < start.size and start.size >= BLOCK:
            raise LogCut(base, start.size)
        self._log.info("Tile38 follows, with {size} bytes of its own", size=start.size)
        return Attached(start.size, base)

    async def _prepare(self, to_come: int, resume: bool) -> _Start:
        """Measure the log, and bring it out of the sizes at which Tile38 cuts."""
        size = await self._local.log_size()
        if size and not resume:
            raise AttachError(f"the log should be empty and has {size} bytes")
        if in_trap(size):
            size = await self._lengthened(size)
        first = await self._local.aofmd5(0, BLOCK) if size >= BLOCK else None
        return _Start(size, first, to_come)

    async def _lengthened(self, size: int) -> int:
        """Add commands without effect, long enough.

        By C{JSET}, which Tile38 takes even when it has no memory left: if it
        then cut its log and read it again, it would end.
        """
        read_only = (await self._local.server()).read_only
        if read_only:
            await self._local.readonly(False)
        try:
            await lengthen(self._local, size)
        finally:
            if read_only:
                await self._local.readonly(True)
        return await self._local.log_size(size)

    async def _converse(self) -> int | None:
        """One C{FOLLOW}: the position that Tile38 asked for, or L{None} if it was turned away."""
        met: Deferred[int | None] = Deferred()
        self._met = met
        try:
            await self._local.follow(self.address)
            return await within(met, CONVERSATION_TIMEOUT, self._clock)
        except Refused as refused:
            self._why = refused.text
        except TimeoutError:
            self._drop_all("it asked for too long")
        return None

    # Draining

    async def _close_after_all(self, feed: Delivery, link: Caller, ended: Deferred[str]) -> None:
        await feed.when_empty()
        feed.finish()
        link.end_stream()
        await ended

    async def _judge(self, marker: bytes | None) -> Drained:
        """Look for the marker; in a log that was rewritten while it was read, once more."""
        size = await self._local.log_size()
        while marker is not None:
            start = max(0, size - MARKER_WINDOW - len(marker))
            try:
                end = await read_log(self._clock, self._local, start, size - start)
            except LogError:
                end = b""
            if marker in end:
                return Drained(True, size)
            before, size = size, await self._local.log_size()
            if size >= before:
                break
        return Drained(False, size)

    # What callers tell

    def came(self, caller: Caller) -> None:
        """A connection was accepted."""
        self._callers.add(caller)

    async def asked(self, caller: Caller, words: list[bytes]) -> None:
        """Answer one command of one connection."""
        if words[0].lower() == b"server" and self._start is not None and self._link is None:
            self._offer = await self._measured(self._start)
        told = answer(words, self._offer)
        if told.stream_from is not None:
            self._adopt(caller, told.reply, told.stream_from)
            return
        caller.answer(told.reply)
        if told.turned_away:
            self._why = f"it asked {words!r}"
            self._meet(None)

    async def _measured(self, start: _Start) -> Offer | None:
        """The log as it is now, written out; L{None} if that cannot be said."""
        try:
            size = await self._local.log_size(start.size)
            last = await self._local.aofmd5(size - BLOCK, BLOCK) if size >= BLOCK else None
            if in_trap(size):
                return None
        except Tile38Error as error:
            self._log.warn("Tile38 is turned away, its log cannot be measured: {error}", error=error)
            return None
        return Offer(self._id, OwnLog(size, start.first, last), start.to_come)

    def _adopt(self, caller: Caller, reply: bytes, base: int) -> None:
        """This connection is the link; whatever is written to an older one is lost."""
        if caller.lost:
            return
        old, self._link = self._link, caller
        if old is not None:
            old.abort("a newer link has come")
        caller.begin_stream(reply)
        self._feed = Delivery(caller.transport, self._on_delivered, self._on_drained, soon(self._clock))
        self._meet(base)

    def _meet(self, outcome: int | None) -> None:
        met, self._met = self._met, None
        if met is not None:
            met.callback(outcome)

    def gone(self, caller: Caller, reason: str) -> None:
        """A connection has ended."""
        self._callers.discard(caller)
        if caller is not self._link:
            return
        attached, ended = self.attached, self._ended
        self._link = self._feed = self._ended = None
        if ended is not None:
            ended.callback(reason)
        elif attached:
            self._log.info("Tile38 no longer follows: {reason}", reason=reason)
            self._on_lost(reason)
