"""Tests of the keyring."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.unit.tls.support import READER, WRITER, log_of, service_credentials
from tile38cm.tls.keyring import Keyring

ROOT = Authority()


class KeyringTests(SynchronousTestCase):
    """L{Keyring} fills, is waited for, and knows dates."""

    def setUp(self) -> None:
        self.keyring = Keyring((WRITER, READER))

    def put(self, service: str) -> float:
        """Put credentials there; when they end."""
        credentials = service_credentials(ROOT, service)
        self.keyring.put(service, credentials)
        self.assertIs(self.keyring.current(service), credentials)
        return credentials.material.expires

    def test_filled(self) -> None:
        """Whoever waits goes on when the last service has credentials; who comes later, at once."""
        first, second = self.keyring.filled(), self.keyring.filled()
        self.put(WRITER)
        self.assertFalse(self.keyring.complete)
        self.assertNoResult(first)
        self.put(READER)
        for each in (first, second, self.keyring.filled()):
            self.successResultOf(each)
        self.put(WRITER)

    def test_cancelled(self) -> None:
        """Waiting may be given up."""
        waiting = self.keyring.filled()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.put(WRITER)
        self.put(READER)

    def test_dates(self) -> None:
        """Each certificate that has ended is logged once, and its successor again."""
        events = log_of(self)
        for _ in range(2):
            end = self.put(WRITER)
            for moment in (end - 1, end, end + 1):
                self.keyring.check_dates(moment)
        ended = [e["service"] for e in events if "has ended" in e["log_format"]]
        self.assertEqual(ended, [WRITER, WRITER])
