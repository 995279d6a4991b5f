"""
A Tile38 has one manager of its machine: a second one would make it read-only under the first.

The claim is a name of Linux's abstract sockets (C{unix(7)}): nothing on any
disk, gone with its process however that ends, and seen by all of a network
namespace, which is what sees a Tile38 on the loopback interface.  Two
managers in two namespaces do not see each other; if they have one id, Consul
shows it (L{tile38cm.coordination.store.Twin}).
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory

from tile38cm.settings import Address
from tile38cm.tasks import quietly

#: C{struct ucred}: process, user, group.
_CREDENTIALS = struct.Struct("3i")
#: Bytes of a name at most; C{sun_path} of C{unix(7)}, but one.
_LONGEST = 107


class ClaimedError(Exception):
    """Another process manages this Tile38; the sentence says which, and what to do."""


class _Nobody(Factory):
    """The name is all: nobody is talked to."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> None:
        """Twisted closes the connection."""


class Claim:
    """
    One manager's, on its Tile38.

    @param server: as it is configured: but for C{localhost}, names are not looked up.
    """

    def __init__(self, reactor: Any, server: Address) -> None:
        self._reactor = reactor
        self._server = server
        host = "127.0.0.1" if server.host == "localhost" else server.host.lower()
        self.name = f"\0tile38cm of {Address(host, server.port)}".encode()[:_LONGEST]
        self._port: IListeningPort | None = None

    def take(self) -> None:
        """Hold it until L{release}, or the end of the process; fails with L{ClaimedError}."""
        try:
            self._port = self._reactor.listenUNIX(self.name, _Nobody())
        except CannotListenError as e:
            if e.socketError.errno != errno.EADDRINUSE:
                return  # a sandbox without such names: nobody can be kept out
            raise ClaimedError(
                f"{self._holder()} manages Tile38 at {self._server} already: end it, or see --server.addr"
                " and --server.port"
            ) from e

    async def release(self) -> None:
        """Let another manager have it."""
        if self._port is not None:
            port, self._port = self._port, None
            await quietly(port.stopListening())

    def _holder(self) -> str:
        """The process that listens, as the kernel knows it; one of another PID namespace has no number."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(self.name)
                said = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            except OSError:
                return "another process"
        pid = _CREDENTIALS.unpack(said)[0]
        return f"process {pid}" if pid else "another process"
