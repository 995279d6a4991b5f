"""The local Tile38 in memory, behind the client that a node really uses."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from hashlib import md5
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.unit.replication.minitile38 import MiniChannel, MiniTile38, Raw
from tile38cm.tile38 import Tile38
from tile38cm.wire.requests import Request, RequestParser
from tile38cm.wire.resp import encode_request, error

T = TypeVar("T")


@define(eq=False)
class LocalServer(MiniTile38):
    """A server with a log, orders of a manager, and streams."""

    readonly: bool = False
    following: bool = True
    #: What the log is after the next rewrite; C{None}: it has not ended yet.
    rewritten: bytes | None = b""
    rewriting: bool = False
    talks: list[Talk] = field(factory=list)

    def append(self, data: bytes) -> None:
        """The log grows, and streams carry it."""
        self.log += data
        for talk in self.talks:
            if talk.streaming:
                talk.say(data)

    def cut(self) -> None:
        """All connections break."""
        talks, self.talks = self.talks, []
        for talk in talks:
            talk.lose()

    def _aof(self, words: list[bytes], channel: MiniChannel) -> Any:
        pos = int(words[1])
        if pos > len(self.log):
            return Raw(error("ERR pos is too big, must be less that the aof_size of leader"))
        return Raw(b"+OK\r\n" + self.log[pos:])

    def _aofmd5(self, words: list[bytes], channel: MiniChannel) -> Any:
        pos, size = int(words[1]), int(words[2])
        if pos + size > len(self.log):
            return Raw(error("EOF"))
        return md5(self.log[pos : pos + size]).hexdigest().encode()

    def _psubscribe(self, words: list[bytes], channel: MiniChannel) -> Any:
        return [b"psubscribe", words[1], 1]

    def publish(self, name: bytes, text: bytes) -> None:
        """Subscribers hear it, and streams carry it."""
        for talk in self.talks:
            if talk.streaming:
                talk.say(encode_request([b"PUBLISH", name, text]))
            elif talk.subscribed:
                talk.say(encode_request([b"pmessage", b"*", name, text]))

    def _readonly(self, words: list[bytes], channel: MiniChannel) -> Any:
        self.readonly = words[1] == b"yes"
        return "OK"

    def _follow(self, words: list[bytes], channel: MiniChannel) -> Any:
        self.following = words[1] != b"no"
        return "OK"

    def _flushdb(self, words: list[bytes], channel: MiniChannel) -> Any:
        if self.readonly or self.following:
            return Raw(error("ERR not the leader"))
        return MiniTile38._flushdb(self, words, channel)

    def _aofshrink(self, words: list[bytes], channel: MiniChannel) -> Any:
        self.rewriting = True
        self.rewrite()
        return "OK"

    def rewrite(self) -> None:
        """End the rewrite, if its outcome is known."""
        if self.rewriting and self.rewritten is not None:
            self.rewriting, self.log = False, self.rewritten

    def _info(self, words: list[bytes], channel: MiniChannel) -> Any:
        return b"aof_rewrite_in_progress:%d" % self.rewriting


class Talk(StringTransport):
    """The server's end of a connection; answers arrive in the next turn."""

    def __init__(self, way: LocalWay, protocol: Any) -> None:
        super().__init__()
        self.streaming = self.subscribed = self.aborted = False
        self._way, self._protocol = way, protocol
        self._channel = MiniChannel(way.server)
        self._parser = RequestParser(1 << 30)

    def write(self, data: bytes) -> None:
        if data == b"$4 QUIT\r\n":
            self._way.asked.append(b"QUIT")
            if not self._way.frozen:
                self._way.clock.callLater(0, self._hang_up)
            return
        self._parser.feed(data)
        while isinstance(request := self._parser.next(), Request):
            self._way.asked.append(request.args[0])
            if self._way.frozen or self._way.busy:
                continue
            reply = self._way.server.answer(request.args, self._channel)
            if request.args[0] == b"AOF" and reply.startswith(b"+OK"):
                self.streaming = True
            self.subscribed |= request.args[0] == b"PSUBSCRIBE"
            self.say(reply)

    def say(self, data: bytes) -> None:
        """Send bytes, in the next turn."""
        self._way.clock.callLater(0, self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if not self.disconnecting:
            self._protocol.dataReceived(data)

    def _hang_up(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self._protocol.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self._way.clock.callLater(0, self._protocol.connectionLost, Failure(ConnectionLost()))

    def lose(self) -> None:
        """It breaks."""
        if not self.disconnecting:
            self.disconnecting = True
            self._protocol.connectionLost(Failure(ConnectionLost()))


@implementer(IStreamClientEndpoint)
class LocalWay:
    """The way to a server, and the client of it that a node has."""

    def __init__(self, server: LocalServer | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.server = server or LocalServer()
        #: Nobody listens; it does nothing; it answers no command, but runs.
        self.refusing = self.frozen = self.busy = False
        #: The names of all commands that came.
        self.asked: list[bytes] = []
        self.client = Tile38(self.clock, self)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:  # noqa: N803  # zope's name
        if self.refusing:
            return fail(ConnectionRefusedError())
        protocol: Any = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]  # nobody looks at it
        talk = Talk(self, protocol)
        self.server.talks.append(talk)
        protocol.makeConnection(talk)
        return succeed(protocol)

    def settle(self, *others: Callable[[], object]) -> None:
        """Let all that is due happen, and nothing else; C{others} move more bytes."""
        for _ in range(300):
            for other in others:
                other()
            if not any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
                return
            self.clock.advance(0)
        raise AssertionError("it does not settle")

    def run(self, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """Begin, and let what is due happen."""
        task = Deferred.fromCoroutine(work)
        self.settle()
        return task

    def wait(self, seconds: float, step: float = 0.05) -> None:
        """Let time pass."""
        for _ in range(round(seconds / step)):
            self.settle()
            self.clock.advance(step)
        self.settle()
