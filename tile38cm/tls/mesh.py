"""What the node uses: listeners and endpoints with mutual TLS, or plain ones with C{--tls off}."""

from __future__ import annotations

from collections.abc import Coroutine
from time import time
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import Interface, implementer

from tile38cm.settings import Settings
from tile38cm.tls.connect import ConnectSource
from tile38cm.tls.doors import Listener, MutualEndpoint
from tile38cm.tls.files import FileSource
from tile38cm.tls.intentions import Intentions
from tile38cm.tls.keyring import Keyring
from tile38cm.tls.partners import Authority, WallClock, WatchMaker
from tile38cm.tls.transport import MutualTLS


class IMesh(Interface):
    """The node's view of who may speak with whom.  A provider is an L{IService
    <twisted.application.service.IService>} too and works while it runs.
    """

    def listener_factory(protocol_factory: IProtocolFactory, service: str) -> IProtocolFactory:  # noqa: N805
        """Wrap a server's factory for a listener of C{service}: its C{buildProtocol}
        is called, and the protocol connected, for peers only that are known and allowed.
        """

    def endpoint(plain: IStreamClientEndpoint, service: str) -> IStreamClientEndpoint:  # noqa: N805
        """Wrap an endpoint that leads to a peer's C{service}: its C{connect} fires when
        the peer has proven to be that service, with the protocol already connected.
        """

    def peer_service(transport: object) -> str | None:  # noqa: N805
        """The service that the peer behind a protocol's transport has proven to be;
        None without proof, so always with C{--tls off}.
        """

    def ready() -> Coroutine[Any, Any, None]:
        """Return when certificates are there; waits for ever, may be cancelled."""


def mesh_for(
    settings: Settings,
    clock: IReactorTime,
    authority: Authority,
    watch: WatchMaker,
    wall: WallClock = time,
) -> Mesh | PlainMesh:
    """The mesh that C{--tls} asks for.

    @param authority: a Consul client; not asked for anything unless the mode is "connect".
    @param watch: makes a service of a blocking query.
    """
    if settings.tls.mode == "off":
        return PlainMesh()
    keyring = Keyring((settings.writer_service, settings.reader_service))
    if settings.tls.mode == "files":
        mesh = Mesh(keyring, settings.writer_service, clock, None, settings.handshake_timeout)
        FileSource(keyring, settings.tls, settings.writer_service, clock, wall).setServiceParent(mesh)
        return mesh
    mesh = Mesh(
        keyring, settings.writer_service, clock, Intentions(authority, clock), settings.handshake_timeout
    )
    ConnectSource(keyring, authority, clock, watch, wall).setServiceParent(mesh)
    return mesh


@implementer(IMesh)
class PlainMesh(Service):
    """No TLS at all: everything is handed back as it is."""

    def listener_factory(self, protocol_factory: IProtocolFactory, service: str) -> IProtocolFactory:
        """See L{IMesh}."""
        return protocol_factory

    def endpoint(self, plain: IStreamClientEndpoint, service: str) -> IStreamClientEndpoint:
        """See L{IMesh}."""
        return plain

    def peer_service(self, transport: object) -> str | None:
        """See L{IMesh}."""
        return None

    async def ready(self) -> None:
        """See L{IMesh}."""


@implementer(IMesh)
class Mesh(MultiService):
    """Mutual TLS with what lies on C{keyring}; a child service keeps that fresh.

    @param outgoing: the service whose certificate is shown to peers.
    @param intentions: asked before a client comes in; None: who is known may come in.
    @param patience: seconds that a client has for its handshake.
    """

    _log = Logger("tile38cm.tls")

    def __init__(
        self,
        keyring: Keyring,
        outgoing: str,
        clock: IReactorTime,
        intentions: Intentions | None,
        patience: float,
    ) -> None:
        super().__init__()
        self._patience = patience
        self._keyring, self._outgoing, self._clock, self._intentions = keyring, outgoing, clock, intentions

    def stopService(self) -> Deferred[None]:
        """Fires when nothing is asked of Consul any more; connections are their owners' matter."""
        return Deferred.fromCoroutine(self._stop(super().stopService()))

    async def _stop(self, children: Deferred[Any]) -> None:
        if self._intentions is not None:
            await self._intentions.close()
        await children

    def listener_factory(self, protocol_factory: IProtocolFactory, service: str) -> IProtocolFactory:
        """See L{IMesh}; before there are credentials connections are closed at once."""
        return Listener(
            self._keyring, service, self._clock, self._intentions, protocol_factory, self._patience
        )

    def endpoint(self, plain: IStreamClientEndpoint, service: str) -> IStreamClientEndpoint:
        """See L{IMesh}; without credentials C{connect} fails with L{NoCredentials}."""
        return MutualEndpoint(plain, lambda: self._keyring.current(self._outgoing), service, self._clock)

    def peer_service(self, transport: object) -> str | None:
        """See L{IMesh}."""
        if isinstance(transport, MutualTLS) and transport.caller is not None:
            return transport.caller.service
        return None

    async def ready(self) -> None:
        """See L{IMesh}."""
        if not self._keyring.complete:
            self._log.info(
                "waiting for certificates for {services}", services=" and ".join(self._keyring.services)
            )
            await self._keyring.filled()
