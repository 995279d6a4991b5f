"""A follower's side of Tile38's own replication: whom to follow, from where on, and the stream."""

from __future__ import annotations

from collections import deque
from typing import Any

import hiredis
from twisted.internet.abstract import isIPAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from tile38cm.dev.tile38.calls import Refusal
from tile38cm.dev.tile38.logfile import Damaged, commands
from tile38cm.dev.tile38.node import SLICE, Node
from tile38cm.dev.tile38.text import to_bytes, to_text
from tile38cm.wire.resp import encode_request

#: What is compared of two logs at once; a shorter one is not compared. Bytes.
BLOCK = 512 * 1024
#: What a follower may hold back from its file until somebody asks it something. Bytes.
BUFFER = 10 * 1024
#: Seconds for a connection, and between two tries.
CONNECT, AGAIN = 2.0, 1.0


class Unfit(Exception):
    """The leader cannot be followed, now or at all."""


class LeaderLink(Protocol):
    """A connection to a leader: questions first, then perhaps its log.

    @ivar ended: Whether it is over.
    """

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._reader = hiredis.Reader()
        self._asked: deque[Deferred[Any]] = deque()
        self._apply: Any = None
        self._ended: Deferred[None] | None = None
        self.ended = False

    def ask(self, *words: str | int) -> Deferred[Any]:
        """The reply to one question; fails with L{Unfit} for an error, or when the link ends."""
        waiting: Deferred[Any] = Deferred()
        if self.ended:
            waiting.errback(Unfit("EOF"))
            return waiting
        self._asked.append(waiting)
        self.transport.write(encode_request([to_bytes(str(word)) for word in words]))
        return waiting

    def stream(self, apply: Any) -> Deferred[None]:
        """Hand every command from now on to C{apply}; fails at the end of the link."""
        self._apply, self._ended = apply, Deferred()
        ended = self._ended
        self._go_on()
        return ended

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        self._go_on()

    def _go_on(self) -> None:
        try:
            while self._asked:
                reply = self._reader.gets()
                if reply is False:
                    return
                waiting = self._asked.popleft()
                if isinstance(reply, hiredis.ReplyError):
                    waiting.errback(Unfit(str(reply)))
                else:
                    waiting.callback(_text(reply))
            if self._apply is not None:
                self._some()
        except (hiredis.ProtocolError, Damaged, Refusal) as error:
            self._end(Unfit(str(error)))

    def _some(self) -> None:
        for count, args in enumerate(commands(self._reader), 1):
            if self.ended:
                return
            self._apply(args)
            if count == SLICE:
                self.transport.pauseProducing()
                self._reactor.callLater(0, self._resume)
                return

    def _resume(self) -> None:
        if not self.ended:
            self.transport.resumeProducing()
            self._go_on()

    def connectionLost(self, reason: Any = None) -> None:
        self._end(Unfit("EOF"))

    def _end(self, why: Unfit) -> None:
        if self.ended:
            return
        self.ended = True
        if self.transport is not None:
            self.transport.loseConnection()
        while self._asked:
            self._asked.popleft().errback(why)
        if self._ended is not None:
            self._ended.errback(why)

    def close(self) -> None:
        """Say goodbye, and hang up."""
        if not self.ended and self.transport is not None:
            self.ended = True
            self.transport.write(encode_request([b"quit"]))
            self.transport.loseConnection()

    def cut(self) -> None:
        """Hang up at once; nothing that is under way is done any more."""
        self.ended = True
        if self.transport is not None:
            self.transport.abortConnection()


def _text(reply: Any) -> Any:
    """Bytes in a reply as text."""
    if isinstance(reply, list):
        return [_text(each) for each in reply]
    return to_text(reply) if isinstance(reply, bytes) else reply


async def _told(link: LeaderLink, *words: str | int) -> None:
    """Ask for what is answered by C{OK}."""
    reply = await link.ask(*words)
    if reply != "OK":
        raise Unfit(f"invalid response to {words[0]} request")


class Following:
    """Keeps a node at its leader's heels, whoever that is."""

    _log = Logger()

    def __init__(self, node: Node) -> None:
        self._node = node
        self._work: Deferred[None] | None = None
        node.on_follow, node.ask_leader = self.change, self.ask

    def change(self) -> None:
        """Follow whom the configuration names; nobody, if it names nobody."""
        self.stop()
        if self._node.config.follow_host:
            self._work = Deferred.fromCoroutine(self._follow())
            _ = self._work.addErrback(self._ended)

    def stop(self) -> None:
        """Follow no longer."""
        work, self._work = self._work, None
        self._node.held = False
        if work is not None:
            work.cancel()

    def _ended(self, failure: Failure) -> None:
        if failure.check(CancelledError, ConnectingCancelledError) is None:
            self._log.failure("a mistake while following", failure)

    async def _follow(self) -> None:
        while True:
            try:
                await self._step()
            except Unfit as error:
                self._log.warn("follow: {error}", error=error)
            await deferLater(self._node.reactor, AGAIN)

    def ask(self, host: str, port: int) -> Deferred[str]:
        """Why a leader cannot be followed, or nothing; on a connection of its own."""
        return Deferred.fromCoroutine(self._ask(host, port))

    async def _ask(self, host: str, port: int) -> str:
        try:
            link = await self._connect(host, port)
            try:
                await self._inspect(link)
            finally:
                link.close()
        except Unfit as error:
            text = str(error)
            return text if text in (" self", " a follower") else f": {text.removeprefix('cannot follow: ')}"
        return ""

    async def _connect(self, host: str, port: int) -> LeaderLink:
        reactor = self._node.reactor
        kind = TCP4ClientEndpoint if isIPAddress(host) else HostnameEndpoint
        endpoint = kind(reactor, host, port, timeout=CONNECT)
        try:
            link: LeaderLink = await connectProtocol(endpoint, LeaderLink(reactor))
        except (ConnectError, OSError) as error:
            raise Unfit(f"cannot follow: dial tcp {host}:{port}: {error}") from None
        password = self._node.config.values["leaderauth"]
        if password:
            await link.ask("auth", password)
        return link

    async def _inspect(self, link: LeaderLink) -> dict[str, str]:
        flat = await link.ask("server")
        told = dict(zip(flat[::2], flat[1::2], strict=False)) if isinstance(flat, list) else {}
        if not told.get("id"):
            raise Unfit("invalid id")
        if told["id"] == self._node.config.server_id:
            raise Unfit(" self")
        if told.get("following"):
            raise Unfit(" a follower")
        return told

    async def _step(self) -> None:
        """Follow until the link ends, which comes as L{Unfit}."""
        node, config = self._node, self._node.config
        node.leader_offset = 0
        node.set_caught_up(False)
        link = await self._connect(config.follow_host, config.follow_port)
        try:
            told = await self._inspect(link)
            position = await self._compare()
            port = int(config.values["replica_announce_port"]) or node.options.port
            await _told(link, "replconf", "listening-port", port)
            if config.values["replica_announce_ip"]:
                await _told(link, "replconf", "ip-address", config.values["replica_announce_ip"])
            await _told(link, "aof", position)
            await self._take(link, int(told["aof_size"]), position)
        finally:
            link.cut()

    async def _take(self, link: LeaderLink, size: int, position: int) -> None:
        node = self._node
        node.set_caught_up(position >= size)

        def apply(args: list[str]) -> None:
            call = node.replay(args)
            if call.name != "publish":
                node.record(call)
            node.leader_offset = node.log_size
            if node.file is not None and node.file.buffered > BUFFER:
                node.flush()
            if not node.caught_up and node.log_size >= size:
                node.flush()
                node.set_caught_up(True)
                self._log.info("caught up")

        await link.stream(apply)

    # -- two logs ---------------------------------------------------------------------

    async def _compare(self) -> int:
        """From where on the leader's log is needed; what differs from it is cut off.

        Under L{BLOCK} nothing is compared, and everything is asked for again.
        """
        node = self._node
        node.flush()
        if node.file is None or node.log_size < BLOCK:
            return 0
        node.held = True
        try:
            link = await self._connect(node.config.follow_host, node.config.follow_port)
            try:
                position = await self._common(link)
            finally:
                link.close()
            return self._cut(position)
        finally:
            node.held = False

    async def _common(self, link: LeaderLink) -> int:
        """Where the last block ends that both logs have, by halves."""
        least, most = 0, self._node.log_size - BLOCK
        limit = self._node.log_size
        if not await self._same(link, 0):
            return 0
        least = BLOCK
        while most >= least and most + BLOCK <= limit:
            if await self._same(link, most):
                least = most + BLOCK
            else:
                limit = most
            most = (limit - least) // 2 - BLOCK // 2 + least
        return least

    async def _same(self, link: LeaderLink, position: int) -> bool:
        file = self._node.file
        mine = file.md5(position, BLOCK) if file is not None else None
        if mine is None:
            return False
        try:
            return bool(mine == await link.ask("aofmd5", position, BLOCK))
        except Unfit as error:
            # Only the leader's own word says that it has less; a link that ends does not.
            if str(error) == "EOF" and not link.ended:
                return False
            raise

    def _cut(self, position: int) -> int:
        """Cut the log behind the command that ends about there; what it made is made anew."""
        node = self._node
        assert node.file is not None
        if position == 0:
            self._log.warn("the leader has another log; this one is emptied")
            node.file.truncate(0)
            return 0
        end = node.file.end_of_command(position)
        if end == position:
            return position
        self._log.warn("the log is cut to {size} bytes", size=end)
        node.file.truncate(end)
        node.forget()
        node.load()
        return end
