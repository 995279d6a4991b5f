"""Bytes over TLS come out as they went in, however records and packets lie."""

from __future__ import annotations

import contextlib

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.certificates import Authority
from tests.unit.tls.support import WEB, WRITER, Recorder, service_credentials
from tile38cm.tls.transport import LARGEST, MutualTLS

ROOT = Authority()
SERVER, CLIENT = service_credentials(ROOT, WRITER), service_credentials(ROOT, WEB)


@implementer(IOpenSSLServerConnectionCreator)
class Server:
    """Makes the server's connections."""

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(SERVER.context, None)


class Socket(StringTransport):
    """A transport that can be cut."""

    def abortConnection(self) -> None:
        self.disconnecting = True


class TransportTests(SynchronousTestCase):
    """L{MutualTLS}, with OpenSSL itself at the other end"""

    def setUp(self) -> None:
        self.recorder = Recorder()
        factory = Factory.forProtocol(lambda: self.recorder)
        tls = TLSMemoryBIOFactory(Server(), False, factory, Clock())
        tls.protocol = MutualTLS
        self.server = tls.buildProtocol(None)
        assert isinstance(self.server, MutualTLS)
        self.socket = Socket()
        self.client = SSL.Connection(CLIENT.context, None)
        self.client.set_connect_state()
        self.server.makeConnection(self.socket)
        for _ in range(4):
            with contextlib.suppress(SSL.WantReadError):
                self.client.do_handshake()
            if raw := self.sent():
                self.server.dataReceived(raw)
            self.received()

    def sent(self, *pieces: bytes) -> bytes:
        """What the client's end makes of these, a record each."""
        for piece in pieces:
            self.client.send(piece)
        with contextlib.suppress(SSL.WantReadError):
            return self.client.bio_read(1 << 20)
        return b""

    def received(self) -> bytes:
        """What the client's end understands of what was sent to it."""
        if raw := self.socket.value():
            self.client.bio_write(raw)
            self.socket.clear()
        got = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                got += self.client.recv(1 << 16)
        return got

    def test_records(self) -> None:
        """One record in a packet, and several."""
        self.server.dataReceived(self.sent(b"one"))
        self.assertEqual(self.recorder.data, b"one")
        self.server.dataReceived(self.sent(b" two", b" three"))
        self.server.dataReceived(self.sent(b" four"))
        self.assertEqual(self.recorder.data, b"one two three four")

    def test_every_split(self) -> None:
        """Packets end anywhere: in a header, in a record, between two."""
        size = len(self.sent_and_taken(b"abc", b"de"))
        for cut in range(1, size):
            self.recorder.data = b""
            raw = self.sent(b"abc", b"de")
            self.server.dataReceived(raw[:cut])
            self.server.dataReceived(raw[cut:])
            self.server.dataReceived(self.sent(b"f"))
            self.assertEqual(self.recorder.data, b"abcdef", cut)

    def test_byte_by_byte(self) -> None:
        """The smallest packets there are."""
        for byte in self.sent(b"abc", b"x" * 1000):
            self.server.dataReceived(bytes((byte,)))
        self.assertEqual(self.recorder.data, b"abc" + b"x" * 1000)

    def test_writes(self) -> None:
        """Nothing, a little, exactly a record, more than one: the same bytes arrive, in order."""
        for size in (0, 1, 100, LARGEST - 1, LARGEST, LARGEST + 1, 3 * LARGEST + 5):
            data = bytes(i % 251 for i in range(size))
            self.server.write(data)
            self.assertEqual(self.received(), data, size)

    def test_end(self) -> None:
        """The client says that it ends: so does the connection."""
        self.client.shutdown()
        self.server.dataReceived(self.sent())
        self.assertTrue(self.socket.disconnecting)

    def test_damaged(self) -> None:
        """A record that was changed on its way is not handed over, and ends the connection."""
        raw = bytearray(self.sent(b"transfer 100"))
        raw[10] ^= 1
        self.server.dataReceived(bytes(raw))
        self.assertEqual((self.recorder.data, self.socket.disconnecting), (b"", True))

    def test_not_tls(self) -> None:
        """Bytes that are no record end the connection, even if they seem to have its length."""
        self.server.dataReceived(b"\xff\x03\x03\x00\x04oops")
        self.assertEqual((self.recorder.data, self.socket.disconnecting), (b"", True))

    def test_abort(self) -> None:
        """After an abort nothing is handed over any more."""
        self.server.abortConnection()
        self.server.dataReceived(self.sent(b"late"))
        self.assertEqual(self.recorder.data, b"")

    def sent_and_taken(self, *pieces: bytes) -> bytes:
        """As L{sent}, and taken by the server, so that the records' numbers stay in step."""
        raw = self.sent(*pieces)
        self.server.dataReceived(raw)
        return raw
