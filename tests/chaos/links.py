"""Relays in place of the network.

Each node has an address for each other node to reach it by, and a relay
listens there.  A node learns these addresses because its way to Consul is a
relay too, which exchanges them in what the catalog says.  So every direction
between two nodes is a L{Wire} of its own, without any privilege.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Callable

from attrs import define, field

CHUNK = 65536
_GZIP = re.compile(rb"(?i)accept-encoding: *gzip")


@define(eq=False)
class Wire:
    """One direction between two places, and what is wrong with it now."""

    name: str
    #: Seconds that each piece takes.
    delay: float = 0.0
    #: New connections are refused.
    refuses: bool = False
    _open: asyncio.Event = field(factory=asyncio.Event)

    def __attrs_post_init__(self) -> None:
        self._open.set()

    def stall(self) -> None:
        """Carry nothing, as a network does that drops everything; nobody is told."""
        self._open.clear()

    def heal(self) -> None:
        """Carry everything again, what was sent meanwhile included."""
        self.delay, self.refuses = 0.0, False
        self._open.set()

    async def carry(self) -> None:
        """Return when a piece that is here now has arrived."""
        await self._open.wait()
        if self.delay:
            await asyncio.sleep(self.delay)
            await self._open.wait()


Rewrite = Callable[[bytes], bytes]


def unchanged(data: bytes) -> bytes:
    """What most relays do to bytes."""
    return data


class Renamed:
    """Exchanges addresses of equal length in a stream, split anywhere."""

    def __init__(self, names: dict[bytes, bytes]) -> None:
        self._names = names
        self._held = b""

    def __call__(self, data: bytes) -> bytes:
        data, self._held = self._held + data, b""
        for old, new in self._names.items():
            data = data.replace(old, new)
        longest = max(map(len, self._names), default=1) - 1
        for size in range(min(longest, len(data)), 0, -1):
            if any(name.startswith(data[-size:]) for name in self._names):
                data, self._held = data[:-size], data[-size:]
                break
        return data


def plain_answers(data: bytes) -> bytes:
    """A request that asks for no compression, which would hide addresses."""
    return _GZIP.sub(b"Accept-Encoding: none", data)


@define(eq=False)
class Relay:
    """Listens at one address for another.  C{out} carries what the dialler sends, C{back} the answers."""

    here: tuple[str, int]
    there: tuple[str, int]
    out: Wire
    back: Wire
    rename: dict[bytes, bytes] = field(factory=dict)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(factory=set)
    _writers: set[asyncio.StreamWriter] = field(factory=set)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, *self.here, backlog=1000)

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """End all connections by RST."""
        for writer in list(self._writers):
            _abort(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            _abort(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.out.refuses or self.back.refuses:
            return
        await self.out.carry()
        far_reader, far_writer = await asyncio.open_connection(*self.there)
        self._writers.add(far_writer)
        asking: Rewrite = plain_answers if self.rename else unchanged
        answering: Rewrite = Renamed(self.rename) if self.rename else unchanged
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, far_writer, self.out, asking))
                both.create_task(_pump(far_reader, writer, self.back, answering))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(far_writer)
            _abort(far_writer)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: Wire, rewrite: Rewrite
) -> None:
    """Carry one direction until its end; the end of it is carried as well."""
    while True:
        data = await reader.read(CHUNK)
        await wire.carry()
        if not data:
            with contextlib.suppress(OSError):
                writer.write_eof()
            return
        writer.write(rewrite(data))
        await writer.drain()


def _abort(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
