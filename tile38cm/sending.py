"""
Sending at once where that is possible, and reading much at once where it is worth it.

Twisted's C{transport.write} keeps the bytes, registers the socket for
writing, and sends when the next poll says so: three system calls and a turn
of the reactor more than C{send} alone, which nearly always takes all.  This
is the one place that knows how a Twisted TCP connection keeps what it has
not sent yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.tcp import Connection

#: Bytes read at once from a connection that is for large replies: with a quarter of that they come at two
#: thirds of the speed.
WIDE = 256 * 1024


class Writable(Protocol):
    """Any transport."""

    def write(self, data: bytes) -> None:
        """As C{ITransport}."""


def sender(transport: Writable) -> Callable[[bytes], bool | None]:
    """
    The quickest way to send on a connection, as ordered and as bounded as C{transport.write}.

    Over TLS, which sends its own bytes with this, and in tests it is C{transport.write} itself.

    @return: what sends, and says C{True} if the socket has taken everything at once.
    """
    if not isinstance(transport, Connection):
        return transport.write
    attempt = transport.getHandle().send

    def send(data: bytes) -> bool:
        # Bytes that are kept already go first; a connection that is closing, or
        # closed, has its own ideas of what may still be sent.
        if (
            transport.dataBuffer
            or transport._tempDataBuffer
            or transport.disconnecting
            or not transport.connected
        ):
            transport.write(data)
            return False
        try:
            sent = attempt(data)
        except OSError:
            # Full, or broken; the transport finds out which when it sends by itself.
            sent = 0
        if sent == len(data):
            return True
        transport.write(data[sent:])
        return False

    return send


def widen(transport: Writable) -> None:
    """Have more bytes read at once; over TLS and in tests it is as many as ever."""
    if isinstance(transport, Connection):
        transport.bufferSize = WIDE
