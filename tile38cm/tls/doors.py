"""The two kinds of doors: a listener's, for clients and peers that call, and that of a call of our own."""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tile38cm.tls.entrance import Entrance, IDoor
from tile38cm.tls.identity import Caller, WrongPeer
from tile38cm.tls.intentions import Intentions, Verdict
from tile38cm.tls.keyring import Credentials, Keyring
from tile38cm.tls.transport import MutualTLS

#: Seconds between two log lines on clients that were refused, for each listener.
REFUSED_EVERY = 5.0
#: Seconds for a handshake with a peer that we call; who calls mostly gives up before.
CALL_TIMEOUT = 30.0


class NoCredentials(Exception):
    """There is no certificate yet."""


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class _Connections:
    """Makes connections of the credentials that are current at that moment."""

    def __init__(self, current: Callable[[], Credentials | None]) -> None:
        self._current = current

    def _connection(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        credentials = self._current()
        if credentials is None:
            raise NoCredentials("no certificate yet")
        return SSL.Connection(credentials.context, None)

    serverConnectionForTLS = _connection
    clientConnectionForTLS = _connection


@implementer(IDoor)
class _Client:
    """The door to one listener's protocols, for one connection."""

    expected = None

    def __init__(self, listener: Listener, credentials: Credentials) -> None:
        self._listener = listener
        self.credentials = credentials
        self.clock, self.patience = listener.clock, listener.patience

    def judge(self, caller: Caller) -> Verdict | Deferred[Verdict]:
        return self._listener.judge(caller)

    def open(self, address: IAddress) -> IProtocol | None:
        return self._listener.wrappedFactory.buildProtocol(address)  # type: ignore[no-any-return]  # untyped

    def opened(self, protocol: IProtocol) -> None:
        """Nobody waits for it."""

    def stayed_shut(self, address: IAddress, reason: Failure) -> None:
        self._listener.refused(address, reason)


class Listener(TLSMemoryBIOFactory):
    """A server factory whose connections begin with an L{Entrance}."""

    protocol = MutualTLS
    _log = Logger("tile38cm.tls")

    def __init__(
        self,
        keyring: Keyring,
        service: str,
        clock: IReactorTime,
        intentions: Intentions | None,
        wrapped: IProtocolFactory,
        patience: float,
    ) -> None:
        super().__init__(_Connections(lambda: keyring.current(service)), False, wrapped, clock)
        self._keyring, self._service, self.clock, self._intentions = keyring, service, clock, intentions
        self.patience = patience
        self._logged: float | None = None
        self._unlogged = 0

    def buildProtocol(self, addr: IAddress | None) -> MutualTLS | None:  # type: ignore[override]  # None closes
        credentials = self._keyring.current(self._service)
        if credentials is None:
            return None
        return MutualTLS(self, Entrance(_Client(self, credentials)))

    def doStop(self) -> None:  # noqa: N802  # Twisted's name
        """Nobody listens any more: connections without a protocol end, the others are their owners'."""
        for connection in list(self.protocols):
            if isinstance(connection.wrappedProtocol, Entrance):
                connection.abortConnection()
        super().doStop()

    def judge(self, caller: Caller) -> Verdict | Deferred[Verdict]:
        """Whether an intention lets the caller use this service."""
        if self._intentions is None:
            return Verdict(True, "no intentions")
        return self._intentions.judge(self._service, caller)

    def refused(self, address: IAddress, reason: Failure) -> None:
        """Log it unless the peer simply went away, as health checks by TCP do; not more than now and then."""
        if reason.check(WrongPeer, SSL.Error) is None:
            return
        now = self.clock.seconds()
        if self._logged is not None and 0 <= now - self._logged < REFUSED_EVERY:
            self._unlogged += 1
            return
        self._log.warn(
            "a client of {service} at {address} was refused: {why} ({more} others unlogged before)",
            service=self._service,
            address=address,
            why=_sentence(reason),
            more=self._unlogged,
        )
        self._logged, self._unlogged = now, 0


@implementer(IStreamClientEndpoint)
class MutualEndpoint:
    """An endpoint whose peer must be exactly C{service}.

    @param current: what we show; asked for each connection.
    """

    def __init__(
        self,
        plain: IStreamClientEndpoint,
        current: Callable[[], Credentials | None],
        service: str,
        clock: IReactorTime,
    ) -> None:
        self._plain, self._current, self._service, self._clock = plain, current, service, clock

    def connect(self, protocol_factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fires with the protocol when the peer has proven who it is.

        Fails with L{WrongPeer}, C{SSL.Error} of the handshake, or what the plain
        endpoint fails with; may be cancelled.
        """
        credentials = self._current()
        if credentials is None:
            return fail(NoCredentials("no certificate yet"))
        call = _Call(credentials, self._service, self._clock, protocol_factory)
        return call.over(self._plain)


@implementer(IDoor)
class _Call:
    """The door of one connection of ours to a peer."""

    patience = CALL_TIMEOUT

    def __init__(
        self, credentials: Credentials, expected: str, clock: IReactorTime, factory: IProtocolFactory
    ) -> None:
        self.credentials, self.expected, self.clock = credentials, expected, clock
        self._factory = factory
        self._entrance: Entrance | None = None
        self._result: Deferred[IProtocol] = Deferred(self._cancelled)
        self._connecting: Deferred[IProtocol] | None = None

    def over(self, plain: IStreamClientEndpoint) -> Deferred[IProtocol]:
        """Connect; called once."""
        tls = TLSMemoryBIOFactory(
            _Connections(lambda: self.credentials), True, Factory.forProtocol(self._enter), self.clock
        )
        tls.protocol = MutualTLS
        self._connecting = plain.connect(tls)
        _ = self._connecting.addErrback(self._failed)
        return self._result

    def _enter(self) -> Entrance:
        self._entrance = Entrance(self)
        return self._entrance

    def _cancelled(self, _: Deferred[IProtocol]) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._entrance is not None and self._entrance.transport is not None:
            self._entrance.transport.abortConnection()

    def _failed(self, reason: Failure) -> None:
        if not self._result.called:
            self._result.errback(reason)

    def judge(self, caller: Caller) -> Verdict | Deferred[Verdict]:
        return Verdict(True, "we called it")

    def open(self, address: IAddress) -> IProtocol | None:
        return self._factory.buildProtocol(address)

    def opened(self, protocol: IProtocol) -> None:
        self._entrance = None
        if not self._result.called:
            self._result.callback(protocol)

    def stayed_shut(self, address: IAddress, reason: Failure) -> None:
        self._failed(reason)


def _sentence(reason: Failure) -> str:
    """What went wrong, in words; OpenSSL's errors are lists of (library, function, reason)."""
    error = reason.value
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return "; ".join(str(part[-1]) for part in error.args[0]) or "TLS failed"
    return str(error)
