"""A blocking connection to a Tile38, or to a W, for tools; never for a process with a reactor.

Replies are C{bytes}, C{int}, lists of them, or C{None}; every failure is a
L{Tile38Error<tile38cm.tile38.Tile38Error>} that names the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from socket import create_connection, socket
from typing import Any, Protocol, Self

import hiredis

from tile38cm.replication.markers import packed
from tile38cm.settings import Address, Secret
from tile38cm.tile38 import Refused, Tile38Error, Unreachable, Word, refusal

#: Seconds to connect, and for any one piece of a reply.
TIMEOUT = 30.0
#: Requests are written in batches of so many bytes, and so many commands, before their replies are
#: read: neither side's buffers fill up while both write.
BATCH_BYTES, BATCH_COMMANDS = 64 * 1024, 500
_CHUNK = 256 * 1024
#: Seconds for more bytes of a log, which may have fewer than the server believes.
_LOG_TIMEOUT = 1.0


class Channel(Protocol):
    """What is needed of a socket."""

    def sendall(self, data: bytes, /) -> None: ...

    def recv(self, size: int, /) -> bytes: ...

    def settimeout(self, seconds: float, /) -> None: ...

    def close(self) -> None: ...


class Direct:
    """One connection, made by C{dial} when it is first needed and logged in; close it at the end.

    @param name: for messages.
    """

    def __init__(self, dial: Callable[[], Channel], name: str, password: Secret | None = None) -> None:
        self.name = name
        #: All bytes that ever came.
        self.received = 0
        self._dial = dial
        self._password = password
        self._channel: Channel | None = None
        self._reader = hiredis.Reader()

    def again(self) -> Direct:
        """Another connection to the same server."""
        return Direct(self._dial, self.name, self._password)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; the next question connects anew."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def ask(self, *words: Word) -> Any:
        """The reply to one command; fails with L{Refused<tile38cm.tile38.Refused>} if it is an error."""
        self._send(packed([_encoded(word) for word in words]))
        return self._good(self._reply())

    def ask_each(self, commands: Iterable[Sequence[bytes]]) -> Iterator[Any]:
        """The replies to many commands, in order, pipelined; errors come as L{Tile38Error} values."""
        batch: list[bytes] = []
        size = 0
        for words in commands:
            batch.append(packed(words))
            size += len(batch[-1])
            if size >= BATCH_BYTES or len(batch) >= BATCH_COMMANDS:
                yield from self._replies(batch)
                batch, size = [], 0
        yield from self._replies(batch)

    def _replies(self, batch: list[bytes]) -> Iterator[Any]:
        if batch:
            self._send(b"".join(batch))
        for _ in batch:
            reply = self._reply()
            yield self._error(reply) if isinstance(reply, hiredis.ReplyError) else reply

    def log_tail(self, size: int) -> bytes:
        """At most the last C{size} bytes of the server's log, beginning anywhere; on a connection of its own.

        Fewer, or none, where the server does not know its log's size.
        """
        with self.again() as stream:
            # PING makes a follower write out what it keeps in memory.
            stream.ask("PING")
            end = stream.role_offset()
            wanted = min(size, end)
            try:
                return stream._raw(end - wanted, wanted)
            except Refused:
                return b""

    def _raw(self, pos: int, size: int) -> bytes:
        self._send(packed([b"AOF", b"%d" % pos]))
        data = b""
        while b"\r\n" not in data:
            data += self._more()
        line, _, data = data.partition(b"\r\n")
        if line != b"+OK":
            raise refusal(line[1:].decode("latin-1"))
        self._connected().settimeout(_LOG_TIMEOUT)
        while len(data) < size:
            try:
                data += self._more()
            except Unreachable:
                break
        return data[:size]

    def role_offset(self) -> int:
        """The size of the log as the server tells it by C{ROLE}."""
        reply = self.ask("ROLE")
        return int(reply[1] if reply[0] == b"master" else reply[4])

    def server(self) -> dict[str, str]:
        """What C{SERVER} says."""
        flat = [word.decode("latin-1") for word in self.ask("SERVER")]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    # -- bytes ----------------------------------------------------------------

    def _connected(self) -> Channel:
        if self._channel is None:
            try:
                self._channel = self._dial()
            except OSError as error:
                raise Unreachable(f"{self.name} cannot be reached: {error}") from None
            self._reader = hiredis.Reader()
            if self._password is not None:
                self.ask("AUTH", self._password.value)
        return self._channel

    def _send(self, data: bytes) -> None:
        channel = self._connected()
        try:
            channel.sendall(data)
        except OSError as error:
            raise self._lost(str(error)) from None

    def _reply(self) -> Any:
        while True:
            try:
                reply = self._reader.gets()
            except hiredis.ProtocolError as error:
                raise self._lost(f"not a Tile38: {error}") from None
            if reply is not False:
                return reply
            self._reader.feed(self._more())

    def _more(self) -> bytes:
        try:
            data = self._connected().recv(_CHUNK)
        except OSError as error:
            raise self._lost(str(error) or "timed out") from None
        if not data:
            raise self._lost("it closed the connection")
        self.received += len(data)
        return data

    def _lost(self, why: str) -> Unreachable:
        self.close()
        return Unreachable(f"{self.name} does not answer: {why}")

    def _good(self, reply: Any) -> Any:
        if isinstance(reply, hiredis.ReplyError):
            raise self._error(reply)
        return reply

    def _error(self, reply: Exception) -> Tile38Error:
        return refusal(str(reply))


def _encoded(word: Word) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


def reach(
    address: Address,
    password: Secret | None = None,
    secure: Callable[[socket], Channel] | None = None,
    timeout: float = TIMEOUT,
) -> Direct:
    """A connection to that address; nothing is sent yet.

    @param secure: makes TLS of a connection, or fails with C{OSError}.
    """

    def dial() -> Channel:
        plain = create_connection((address.host, address.port), timeout)
        if secure is None:
            return plain
        try:
            return secure(plain)
        except BaseException:
            plain.close()
            raise

    return Direct(dial, str(address), password)
