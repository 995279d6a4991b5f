"""Tests of L{tile38cm.replication.contact}."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.replication.contact import Contact


class ContactTests(SynchronousTestCase):
    """How long the silence is."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.path = Path(self.mktemp())

    def contact(self) -> Contact:
        contact = Contact(self.path, self.clock.seconds, 4.0)
        contact.load()
        return contact

    def test_unknown(self) -> None:
        """A node that has noted nothing has been silent for ever; to hear something does not change that."""
        contact = self.contact()
        contact.heard()
        self.assertTrue(contact.broken)

    def test_kept(self) -> None:
        """While something is heard nothing is broken; one long silence stays until it is dealt with."""
        contact = self.contact()
        contact.renew()
        for _ in range(5):
            self.clock.advance(3.9)
            contact.heard()
        self.assertFalse(contact.broken)
        self.clock.advance(4.1)
        contact.heard()
        self.assertTrue(contact.broken)
        contact.renew()
        self.assertFalse(contact.broken)

    def test_restart(self) -> None:
        """What was noted counts for the next start of the same boot."""
        self.contact().renew()
        self.clock.advance(3)
        self.assertFalse(self.contact().broken)
        self.clock.advance(2)
        self.assertTrue(self.contact().broken)

    def test_rubbish(self) -> None:
        """A file of another boot, of the future, or of rubbish proves nothing."""
        self.contact().renew()
        boot = self.path.read_text().split()[0]
        for text in ("", "x y", f"{boot} 1e9", f"{boot} nan", "other-boot 1000.0"):
            self.path.write_text(text)
            self.assertTrue(self.contact().broken, text)

    def test_full_disk(self) -> None:
        """A file that cannot be written costs nothing now."""
        contact = Contact(self.path / "missing" / "file", self.clock.seconds, 4.0)
        contact.renew()
        self.assertFalse(contact.broken)
