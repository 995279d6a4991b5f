"""The keyring kept fresh from three files: certificate with its chain, key, and the roots to trust.

They are read again when one of them changes; while they do not fit together, as
in the middle of a renewal, the material before stays in use.
"""

from __future__ import annotations

from pathlib import Path
from time import time

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tile38cm.settings import TlsSettings
from tile38cm.tls.identity import SharedIdentity, WrongPeer
from tile38cm.tls.keyring import CHECK_EVERY, Credentials, Keyring
from tile38cm.tls.material import BadMaterial, Material
from tile38cm.tls.partners import WallClock

#: What tells that a file is another one: inode, size and time of change.
Marks = tuple[tuple[int, int, int], ...]


class FileSource(Service):
    """Fills C{keyring} while it runs: all services with the same credentials.

    @param member: the service's name that a member of the cluster counts as.
    """

    _log = Logger("tile38cm.tls")

    def __init__(
        self,
        keyring: Keyring,
        settings: TlsSettings,
        member: str,
        clock: IReactorTime,
        wall: WallClock = time,
    ) -> None:
        assert settings.cert and settings.key and settings.ca, "the options have been checked"
        self._keyring, self._member, self._wall = keyring, member, wall
        self._cert, self._key, self._ca = settings.cert, settings.key, settings.ca
        self._seen: Marks | None = None
        self._trouble: str | None = None
        self._looks = LoopingCall(self._look)
        self._looks.clock = clock

    def startService(self) -> None:
        """Files that are there and good are in use when this returns."""
        super().startService()
        _ = self._looks.start(CHECK_EVERY).addErrback(self._log_failure)

    def stopService(self) -> Deferred[None]:
        """Nothing is read any more."""
        super().stopService()
        if self._looks.running:
            self._looks.stop()
        return succeed(None)

    def _look(self) -> None:
        try:
            marks = tuple(_mark(path) for path in (self._cert, self._key, self._ca))
            if marks != self._seen:
                self._load()
                self._seen = marks
            self._trouble = None
        except (OSError, ValueError, BadMaterial, WrongPeer) as error:
            self._complain(str(error))
        self._keyring.check_dates(self._wall())

    def _load(self) -> None:
        cert, key, ca = (path.read_text("ascii") for path in (self._cert, self._key, self._ca))
        material = Material.parse(cert, key, [ca])
        credentials = Credentials.of(material, SharedIdentity.of(material.own, self._member))
        for service in self._keyring.services:
            self._keyring.put(service, credentials)

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._log.error(
                "certificate files {cert}, {key}, {ca} cannot be used, {kept}: {trouble}",
                cert=self._cert,
                key=self._key,
                ca=self._ca,
                kept="those before stay" if self._keyring.complete else "waiting for good ones",
                trouble=trouble,
            )

    def _log_failure(self, failure: Failure) -> None:
        self._log.failure("looking at certificate files failed", failure)


def _mark(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
