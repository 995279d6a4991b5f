"""What stands behind TLS until the peer is known and allowed.

A TLS connection, ours or a client's, begins with an L{Entrance} in the place of its
protocol.  When the handshake is done, the entrance reads who the peer is and asks the
L{IDoor} whether it may come in.  Only then is the protocol made and put in the
entrance's place, so that nobody else ever costs a protocol or reaches one with a
byte; from then on nothing of this module is in the path.

All of it is bounded: the handshake and the question together by the door's
C{patience}, bytes that come before the answer by L{HELD_BYTES}.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from tile38cm.tls.identity import Caller, WrongPeer
from tile38cm.tls.intentions import Verdict
from tile38cm.tls.keyring import Credentials
from tile38cm.tls.transport import MutualTLS

#: A paused transport has at most one read of 64 KiB still to give.
HELD_BYTES = 128 * 1024


class IDoor(Interface):
    """What leads from an entrance to a protocol."""

    clock: IReactorTime = Attribute("For the bounds.")
    credentials: Credentials = Attribute("What the handshake was made with.")
    patience: float = Attribute("Seconds from the TCP connection to the protocol.")
    expected: str | None = Attribute("The one service that the peer must be, or None.")

    def judge(caller: Caller) -> Verdict | Deferred[Verdict]:  # noqa: N805
        """Whether that peer, whose certificate is good, may come in."""

    def open(address: IAddress) -> IProtocol | None:  # noqa: N805
        """Make the protocol; None: there is none for this peer."""

    def opened(protocol: IProtocol) -> None:  # noqa: N805
        """The protocol has been connected."""

    def stayed_shut(address: IAddress, reason: Failure) -> None:  # noqa: N805
        """The connection has ended before it had a protocol."""


@implementer(IHandshakeListener)
class Entrance(Protocol):
    """The first protocol of a TLS connection; replaces itself by the one that C{door} makes."""

    transport: MutualTLS
    _log = Logger("tile38cm.tls")

    def __init__(self, door: IDoor) -> None:
        self._door = door
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._over = False
        self._bound: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._bound = self._door.clock.callLater(self._door.patience, self._too_slow)

    def handshakeCompleted(self) -> None:
        """The chain is good; see whose it is."""
        try:
            caller = self._identify()
        except WrongPeer as error:
            self.refuse(error)
            return
        self.transport.caller = caller
        verdict = self._door.judge(caller)
        if isinstance(verdict, Verdict):
            self._judged(verdict)
        else:
            self.transport.pauseProducing()
            _ = verdict.addCallback(self._judged).addErrback(self._broken)

    def _identify(self) -> Caller:
        tls: SSL.Connection = self.transport.getHandle()
        certificate = tls.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise WrongPeer("it has no certificate")
        return self._door.credentials.identities.caller(certificate, self._door.expected)

    def _judged(self, verdict: Verdict) -> None:
        if self._over:
            return
        if not verdict.allowed:
            who = self.transport.caller
            self.refuse(WrongPeer(f"{who.uri if who else 'it'} is not let in: {verdict.reason}"))
            return
        protocol = self._door.open(self.transport.getPeer())
        if protocol is None:
            self.transport.abortConnection()
            return
        self._give_way(protocol)

    def _give_way(self, protocol: IProtocol) -> None:
        self._end()
        tls, held = self.transport, b"".join(self._held)
        tls.wrappedProtocol = protocol
        # Before the protocol is connected, which may want to pause by itself.
        tls.resumeProducing()
        protocol.makeConnection(tls)
        if held and not tls.disconnecting:
            protocol.dataReceived(held)
        self._door.opened(protocol)

    def dataReceived(self, data: bytes) -> None:
        """What comes while the question is asked; the transport is paused already."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES:
            self.refuse(WrongPeer("it sends too much before it is let in"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._over:
            self._end()
            self._door.stayed_shut(self.transport.getPeer(), reason)

    def refuse(self, error: Exception) -> None:
        """End the connection; the door is told why when it has ended."""
        self.transport.failVerification(Failure(error))

    def _too_slow(self) -> None:
        self._bound = None
        self.refuse(WrongPeer(f"no handshake within {self._door.patience:g} s"))

    def _broken(self, failure: Failure) -> None:
        self._log.failure("a connection could not be taken over by its protocol", failure)
        self.transport.abortConnection()

    def _end(self) -> None:
        self._over = True
        if self._bound is not None:
            self._bound.cancel()
            self._bound = None
