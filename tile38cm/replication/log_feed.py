"""The local leader's log as a stream of whole commands, for one follower."""

from __future__ import annotations

from hashlib import md5
from typing import Protocol as TypingProtocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tile38cm.replication.stream import Chunk, Spliced, StreamRefused, StreamSplitter
from tile38cm.tasks import Tasks
from tile38cm.tile38 import Tile38, Tile38Error
from tile38cm.wire.resp import encode_request

#: A command that may be cut by a splice waits so long (seconds) for the byte behind it.
RELEASE_AFTER = 0.02
#: So many bytes of the log are remembered, to know it again.
REMEMBERED = 512
#: Seconds between tries to read the log; whether its server is dead is decided elsewhere.
RETRY = 0.05


class Sink(TypingProtocol):
    """Who is fed."""

    def deliver(self, chunk: Chunk, end: int) -> None:
        """A chunk; if it is data, it ends at byte C{end} of the log."""

    def ended(self, why: str, replaced: bool) -> None:
        """Nothing more comes; told once, unless the feed was stopped.

        @param replaced: Tile38 answers, but its log is another one than before.
        """


@implementer(IPushProducer)
class LogFeed:
    """Reads C{AOF pos} of the local Tile38 and asks again behind every splice.

    A push producer: who is fed pauses it.
    """

    _log = Logger()

    def __init__(self, local: Tile38, clock: IReactorTime, pos: int, sink: Sink) -> None:
        self._local = local
        self._clock = clock
        self._pos = pos
        self._sink = sink
        self._reader: _Reader | None = None
        self._connecting: Deferred[_Reader] | None = None
        self._paused = False
        self._stopped = False
        self._last = b""
        self._tasks = Tasks()
        #: How often C{PUBLISH} was found in the middle of a command.
        self.splices = 0

    def start(self) -> None:
        """Connect and begin."""
        self._connect()

    def _connect(self) -> None:
        connecting = connectProtocol(self._local.endpoint, _Reader(self))
        self._connecting = connecting
        connecting.addErrback(self._not_connected)

    def stop(self) -> None:
        """End; the sink is told nothing, and what is under way finds nothing to do."""
        self._stopped = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._reader is not None:
            self._reader.abort()

    def stopProducing(self) -> None:
        self.stop()

    def pauseProducing(self) -> None:
        self._paused = True
        if self._reader is not None:
            self._reader.hold(True)

    def resumeProducing(self) -> None:
        self._paused = False
        if self._reader is not None:
            self._reader.hold(False)

    def _not_connected(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._failed()

    def _failed(self) -> None:
        self._reader = None
        if not self._stopped:
            self._clock.callLater(RETRY, self._again)

    def _again(self) -> None:
        """Go on where it ended, if it is still the same log: a rewrite of the log cuts its streams."""
        if not self._stopped:
            self._tasks.start(self._go_on(), "reading the log again")

    async def _go_on(self) -> None:
        last = self._last
        try:
            found = await self._local.aofmd5(self._pos - len(last), len(last)) if last else ""
        except Tile38Error:
            self._failed()
            return
        if last and found != md5(last, usedforsecurity=False).hexdigest():
            self.refused("it does not hold what it held")
        elif not self._stopped:
            self._connect()

    def connected(self, reader: _Reader) -> None:
        """The connection is there: log in if need be, and ask for the log."""
        self._reader = reader
        if self._stopped:
            reader.abort()
            return
        if self._local.password is not None:
            reader.login(self._local.password.value)
        reader.ask(self._pos)
        if self._paused:
            reader.hold(True)

    def chunks(self, chunks: list[Chunk]) -> None:
        """Whole commands have come."""
        for chunk in chunks:
            if chunk.count:
                self._pos += chunk.count
                self._last = (self._last + chunk.payload[-REMEMBERED:])[-REMEMBERED:]
            self._sink.deliver(chunk, self._pos)

    def spliced(self, broken: Spliced) -> None:
        """A message for subscribers landed inside a command: ask again from the last whole one."""
        self.splices += 1
        self.chunks(broken.chunks)
        self._reader = None
        self._again()

    def refused(self, why: str) -> None:
        """Tile38 will not give the log from here: it is shorter, or another one."""
        if why.startswith("LOADING"):
            self._failed()  # it was started again, and says nothing of its log yet
        elif why.startswith("ERR authentication"):
            self.shut_out(why)
        elif not self._stopped:
            self._stopped = True
            self._sink.ended(f"the local log is another one: {why}", True)

    def shut_out(self, why: str) -> None:
        """Tile38 does not take our password, which says nothing of its log."""
        if not self._stopped:
            self._stopped = True
            self._sink.ended(f"the local log cannot be read: {why}", False)

    def lost(self) -> None:
        """The connection broke."""
        self._failed()


class _Reader(Protocol):
    """One C{AOF} connection."""

    def __init__(self, feed: LogFeed) -> None:
        self._feed = feed
        self._splitter = StreamSplitter()
        self._await_login = False
        self._login = b""
        self._done = False

    def connectionMade(self) -> None:
        self._feed.connected(self)

    def login(self, password: str) -> None:
        """Authenticate before anything else."""
        self._await_login = True
        self._write(encode_request([b"AUTH", password.encode()]))

    def ask(self, pos: int) -> None:
        """Begin the stream at C{pos}."""
        self._write(encode_request([b"AOF", b"%d" % pos]))

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def hold(self, paused: bool) -> None:
        """Stop or go on reading."""
        transport = self.transport
        if transport is not None and not self._done:
            (transport.pauseProducing if paused else transport.resumeProducing)()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Close, and report nothing."""
        self._done = True
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        if self._done:
            return
        if self._await_login:
            self._login += data
            if b"\r\n" not in self._login:
                return
            answer, data = self._login.split(b"\r\n", 1)
            self._await_login = False
            if not answer.startswith(b"+"):
                self.abort()
                self._feed.shut_out("the password is wrong")
                return
        self._split(data)

    def _split(self, data: bytes) -> None:
        try:
            chunks = self._splitter.feed(data)
        except Spliced as e:
            self.abort()
            self._feed.spliced(e)
        except StreamRefused as e:
            self.abort()
            self._feed.refused(str(e))
        else:
            self._feed.chunks(chunks)
            if self._splitter.held:
                self._feed._clock.callLater(RELEASE_AFTER, self._release_held, self._splitter.good)

    def _release_held(self, good: int) -> None:
        if not self._done and self._splitter.held and self._splitter.good == good:
            self._feed.chunks(self._splitter.release())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._done:
            self._done = True
            self._feed.lost()
