"""What each of the node's services presents at this moment."""

from __future__ import annotations

from datetime import UTC, datetime

from attrs import define, field, frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tile38cm.tls.identity import Identities
from tile38cm.tls.material import Material

#: Seconds between two looks at dates, leaves and files.
CHECK_EVERY = 5.0


@frozen
class Credentials:
    """A service's context with how it recognises peers; a new value for each new material."""

    material: Material
    identities: Identities
    context: SSL.Context

    @classmethod
    def of(cls, material: Material, identities: Identities) -> Credentials:
        """Make the context.

        @raise BadMaterial: it cannot be made.
        """
        return cls(material, identities, material.context())


@define
class Keyring:
    """The credentials of C{services}; complete once each has some."""

    services: tuple[str, ...]
    _current: dict[str, Credentials] = field(factory=dict, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    _lapsed: set[str] = field(factory=set, init=False)
    _log: Logger = field(factory=lambda: Logger("tile38cm.tls"), init=False)

    def current(self, service: str) -> Credentials | None:
        """What C{service} presents in a handshake that begins now; C{None} before there is any."""
        return self._current.get(service)

    @property
    def complete(self) -> bool:
        """Whether each service has credentials."""
        return all(service in self._current for service in self.services)

    def put(self, service: str, credentials: Credentials) -> None:
        """Use these from the next handshake on."""
        before = self._current.get(service)
        self._current[service] = credentials
        if before is None or before.material.own != credentials.material.own:
            self._lapsed.discard(service)
            until = datetime.fromtimestamp(credentials.material.expires, UTC)
            self._log.info("certificate for {service} is valid until {until}", service=service, until=until)
        if self.complete:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def filled(self) -> Deferred[None]:
        """Fires when complete; may be cancelled."""
        done: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(done)
        if self.complete:
            self._waiting.remove(done)
            done.callback(None)
        return done

    def check_dates(self, now: float) -> None:
        """Log each certificate that has ended, once.

        @param now: seconds since the epoch.
        """
        for service, credentials in self._current.items():
            if credentials.material.expires <= now and service not in self._lapsed:
                self._lapsed.add(service)
                self._log.error(
                    "certificate for {service} has ended and was not renewed: peers and clients refuse it",
                    service=service,
                )
