"""The transport over TLS that W, R and the nodes use among themselves.

Twisted's, with two shorter ways.  Of what it does for each packet most is to find
out by errors that there is nothing more to read or to send: a second C{recv}, a
second C{bio_read}, each with 32 KiB of memory and an exception, which cost
more than the cipher.  But the usual packet is one record, and the header of a
record says how long it is: then a single C{recv} is all, and one C{bio_read}
of the right size is all that a C{send} has made.  Whatever is not that simple
(the handshake, several records or a part of one, messages of TLS itself, an end,
an error) goes Twisted's way, so nothing of TLS is decided here.
"""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL.SSL import Error, WantReadError, ZeroReturnError
from twisted.internet.interfaces import ITransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from tile38cm.sending import sender
from tile38cm.tls.identity import Caller

#: Bytes of a record's header: type, version and length (RFC 8446, 5.1).
HEADER = 5
#: The most that one record carries in plain text.
LARGEST = 2**14
#: A record is longer than what it carries by less than this (RFC 5246, 6.2.3: explicit nonce,
#: padding and checksum); if it were not, nothing is lost but time.
OVERHEAD = 512


class MutualTLS(TLSMemoryBIOProtocol):
    """
    A TLS transport that knows its peer: C{caller} is set before the protocol is connected.

    Not Twisted's buffering one, which keeps small writes for the next turn of
    the reactor: our protocols write once in a turn, and a timer for each write costs
    more than the write.
    """

    caller: Caller | None = None
    _send: Callable[[bytes], object]
    #: Bytes that are missing of the record that came last, and a header that is not whole yet.
    _missing = 0
    _header = b""

    def makeConnection(self, transport: ITransport) -> None:
        """TLS's own bytes go to the socket at once where that is possible."""
        self._send = sender(transport)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Decrypt, and hand over; see the module."""
        if (
            self._missing
            or self._header
            or len(data) < HEADER
            or len(data) - HEADER != data[3] << 8 | data[4]
            or not self._handshakeDone
            or self._appSendBuffer
            or self._aborted
            or self._lostTLSConnection
        ):
            self._note_records(data)
            super().dataReceived(data)
            return
        tls = self._tlsConnection
        tls.bio_write(data)
        try:
            plain = tls.recv(len(data))
        except (WantReadError, ZeroReturnError):
            # It was a message of TLS itself, and said so; it is asked again, and says so again.
            self._flushReceiveBIO()
        except Error:
            self._tlsShutdownFinished(Failure())
        else:
            self.wrappedProtocol.dataReceived(plain)

    def _note_records(self, data: bytes) -> None:
        """Find out where the last record in it ends."""
        data = self._header + data
        at = self._missing
        while at + HEADER <= len(data):
            at += HEADER + (data[at + 3] << 8 | data[at + 4])
        self._missing = max(at - len(data), 0)
        self._header = data[at:]

    def _write(self, data: bytes) -> None:
        if not 0 < len(data) <= LARGEST or self._appSendBuffer or self._lostTLSConnection:
            super()._write(data)
            return
        tls = self._tlsConnection
        try:
            sent = tls.send(data)
            made = tls.bio_read(len(data) + OVERHEAD)
        except WantReadError:
            self._bufferedWrite(data)
            return
        except Error:
            self._tlsShutdownFinished(Failure())
            return
        self._send(made)
        if len(made) == len(data) + OVERHEAD:
            self._flushSendBIO()
        if sent < len(data):
            self._write(data[sent:])

    def _flushSendBIO(self) -> None:  # noqa: N802  # Twisted's name; there only the last line differs
        try:
            data = self._tlsConnection.bio_read(2**15)
        except WantReadError:
            return
        self._send(data)
