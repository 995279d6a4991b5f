"""Tests of the keyring."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.unit.tls.support import READER, WRITER, service_credentials
from tile38cm.tls.keyring import RENEWAL_MARGIN, Keyring

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

    def test_ending(self) -> None:
        """A certificate is near its end from two minutes before."""
        end = self.put(WRITER)
        self.assertEqual(self.keyring.ending(end - RENEWAL_MARGIN - 1), [])
        self.assertEqual(self.keyring.ending(end - RENEWAL_MARGIN), [WRITER])
        self.assertEqual(self.keyring.ending(end + 1), [WRITER])
