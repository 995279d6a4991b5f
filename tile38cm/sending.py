"""
Sending at once where that is possible.

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
