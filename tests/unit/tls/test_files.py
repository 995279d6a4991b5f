"""Tests of the keyring fed by files."""

from __future__ import annotations

import os
from pathlib import Path
from time import time

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, Issued
from tests.unit.tls.support import READER, WRITER, log_of
from tile38cm.settings import TlsSettings
from tile38cm.tls.files import FileSource
from tile38cm.tls.keyring import CHECK_EVERY, Credentials, Keyring

ROOT = Authority()


class FileSourceTests(SynchronousTestCase):
    """L{FileSource} while its files change."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.cert, self.key, self.ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
        self.clock, self.now = Clock(), time()
        self.keyring = Keyring((WRITER, READER))
        settings = TlsSettings("files", self.cert, self.key, self.ca)
        self.source = FileSource(self.keyring, settings, WRITER, self.clock, lambda: self.now)
        self.events = log_of(self)
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop at the end, and leave nothing behind."""
        self.successResultOf(self.source.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def issue(self, uri: str = "urn:tile38") -> Issued:
        """A certificate for the files."""
        return ROOT.issue([uri])

    def write(self, issued: Issued) -> None:
        """Put these into the files."""
        self.replace(self.cert, issued.chain_pem)
        self.replace(self.key, issued.key_pem)
        self.replace(self.ca, ROOT.root_pem)

    def replace(self, path: Path, text: str) -> None:
        """Replace a file at once, as tools that renew certificates do."""
        new = path.with_suffix(".new")
        new.write_text(text)
        os.replace(new, path)

    def writer(self) -> Credentials:
        """What W presents."""
        current = self.keyring.current(WRITER)
        assert current is not None
        return current

    def troubles(self) -> list[str]:
        """What was complained of."""
        return [str(e["trouble"]) for e in self.events if "trouble" in e]

    def test_at_start(self) -> None:
        """Good files are in use when the service has started, for both services alike."""
        issued = self.issue()
        self.write(issued)
        self.source.startService()
        self.assertEqual(self.writer().material.own, issued.certificate)
        self.assertIs(self.keyring.current(READER), self.writer())
        self.assertEqual(self.writer().identities.caller(issued.certificate).service, WRITER)

    def test_missing_at_start(self) -> None:
        """Files that come later are waited for, with one line."""
        self.source.startService()
        filled = self.keyring.filled()
        self.clock.pump([CHECK_EVERY] * 5)
        self.assertNoResult(filled)
        self.assertEqual(len(self.troubles()), 1)
        self.write(self.issue())
        self.clock.advance(CHECK_EVERY)
        self.successResultOf(filled)

    def test_renewed(self) -> None:
        """Changed files are used within seconds; unchanged ones are left alone."""
        self.write(self.issue())
        self.source.startService()
        before = self.writer()
        self.clock.advance(CHECK_EVERY)
        self.assertIs(self.writer(), before)
        issued = self.issue()
        self.write(issued)
        self.clock.advance(CHECK_EVERY)
        self.assertEqual(self.writer().material.own, issued.certificate)

    def test_half_renewed(self) -> None:
        """While certificate and key do not fit, those before stay; then the new ones are used."""
        self.write(self.issue())
        self.source.startService()
        before, issued = self.writer(), self.issue()
        self.replace(self.cert, issued.chain_pem)
        self.clock.pump([CHECK_EVERY] * 3)
        self.assertIs(self.writer(), before)
        self.assertEqual(self.troubles(), ["the key does not belong to the certificate"])
        self.replace(self.key, issued.key_pem)
        self.clock.advance(CHECK_EVERY)
        self.assertEqual(self.writer().material.own, issued.certificate)

    def test_of_no_use(self) -> None:
        """Removed, unreadable and nameless files are complained of, each once; the service goes on."""
        self.write(self.issue())
        self.source.startService()
        before = self.writer()
        self.ca.unlink()
        self.clock.advance(CHECK_EVERY)
        self.replace(self.ca, "rubbish")
        self.clock.advance(CHECK_EVERY)
        self.ca.write_bytes(b"\xff\xfe")
        self.clock.advance(CHECK_EVERY)
        self.write(ROOT.issue())
        self.clock.advance(CHECK_EVERY)
        self.assertEqual(len(self.troubles()), 4)
        self.assertIs(self.writer(), before)
        issued = self.issue()
        self.write(issued)
        self.clock.advance(CHECK_EVERY)
        self.assertEqual(self.writer().material.own, issued.certificate)

    def test_ended(self) -> None:
        """A certificate that has ended is logged once for each service."""
        self.write(self.issue())
        self.source.startService()
        self.now = self.writer().material.expires + 1
        self.clock.pump([CHECK_EVERY] * 3)
        ended = [e["service"] for e in self.events if "has ended" in str(e["log_format"])]
        self.assertEqual(ended, [WRITER, READER])
