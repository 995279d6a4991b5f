"""Conversations between managers in memory: bytes go where they belong when they are told to."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tile38cm.peers.accept import Identity, PeerGreeter

SECRET = "5ec3e7"


def identity(
    member: str, cluster: str = "c", service: str | None = None, secret: str | None = SECRET
) -> Identity:
    """Who a node is; without a service it knows the secret."""
    return Identity(member, cluster, service, lambda: secret)


class End(StringTransport):
    """One end of a wire."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = self.disconnecting = True

    def taken(self) -> bytes:
        """What was written since the last call; nothing, once it was aborted."""
        value: bytes = b"" if self.aborted else self.value()
        self.clear()
        return value


class Wire:
    """A caller's protocol, and what a listener makes of its bytes."""

    def __init__(self, caller: Any, greeter: PeerGreeter, shown: str | None) -> None:
        self.caller, self.caller_end = caller, End()
        self.listener: Any = None
        self.listener_end = End()
        self.ended = False
        self._greeter = greeter
        self._shown = shown

    def move(self, piece: int = 1 << 20) -> bool:
        """Carry what was written, in pieces of that size; whether there was anything."""
        there, back = self.caller_end.taken(), self.listener_end.taken()
        for data, deliver in ((there, self._to_listener), (back, self._to_caller)):
            for at in range(0, len(data), piece):
                deliver(data[at : at + piece])
        closing = self.caller_end.disconnecting or self.listener_end.disconnecting
        if closing and not (there or back or self.ended):
            self.lose(ConnectionDone())
            return True
        return bool(there or back)

    def lose(self, why: Exception | None = None) -> None:
        """The connection ends, for both."""
        self.ended = True
        for protocol in (self.caller, self.listener):
            if protocol is not None:
                protocol.connectionLost(Failure(why or ConnectionLost()))

    def _to_listener(self, data: bytes) -> None:
        if self.listener is None:
            self.listener = self._greeter.accept(self.listener_end, self._shown, data)
        elif not self.listener_end.disconnecting:
            self.listener.dataReceived(data)

    def _to_caller(self, data: bytes) -> None:
        if not self.caller_end.disconnecting:
            self.caller.dataReceived(data)


@implementer(IStreamClientEndpoint)
class Way:
    """The way to a node: connects in memory.

    @param shown: the service that the caller's certificate names.
    """

    def __init__(self, greeter: PeerGreeter, shown: str | None = None) -> None:
        self.frozen = self.refusing = False
        self.given_up = 0
        self.wires: list[Wire] = []
        self._greeter = greeter
        self._shown = shown

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:  # noqa: N803  # zope's name
        if self.refusing:
            return fail(ConnectionRefusedError())
        if self.frozen:
            return Deferred(self._cancelled)
        caller: Any = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]  # nobody looks at it
        wire = Wire(caller, self._greeter, self._shown)
        self.wires.append(wire)
        caller.makeConnection(wire.caller_end)
        return succeed(caller)

    def _cancelled(self, _: Deferred[Any]) -> None:
        self.given_up += 1

    def move(self, piece: int = 1 << 20) -> None:
        """Carry all there is, back and forth, until nobody says anything more."""
        while any([wire.move(piece) for wire in self.wires]):
            pass
