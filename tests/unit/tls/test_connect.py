"""Tests of the keyring fed by the Connect CA, with real blocking queries against an agent in memory."""

from __future__ import annotations

from time import time

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, Issued, spiffe
from tests.unit.tls.support import (
    READER,
    WEB,
    WRITER,
    Agent,
    GivenLeaf,
    handshake,
    log_of,
    service_credentials,
)
from tile38cm.coordination.watch import Watch
from tile38cm.settings import Secret
from tile38cm.tls.connect import FETCH_AGAIN_MOST, ConnectSource
from tile38cm.tls.keyring import CHECK_EVERY, RENEWAL_MARGIN, Credentials, Keyring

ROOT = Authority("old")


class ConnectSourceTests(SynchronousTestCase):
    """L{ConnectSource} while Consul does this and that."""

    def setUp(self) -> None:
        self.agent, self.clock = Agent(ROOT), Clock()
        self.now = time()
        self.keyring = Keyring((WRITER, READER))
        self.source = ConnectSource(self.keyring, self.agent, self.clock, Watch, lambda: self.now)
        self.events = log_of(self)
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop at the end, and leave nothing behind."""
        if self.source.running:
            self.successResultOf(self.source.stopService())
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def start(self) -> None:
        """Start, with all that happens at once."""
        self.source.startService()
        self.settle()

    def settle(self, seconds: float = 0.05) -> None:
        """Let short pauses pass."""
        self.clock.pump([0.01] * round(seconds / 0.01))

    def writer(self) -> Credentials:
        """What W presents."""
        current = self.keyring.current(WRITER)
        assert current is not None
        return current

    def errors(self) -> list[str]:
        """What was logged as an error."""
        return [str(e["log_format"]) for e in self.events if getattr(e["log_level"], "name", "") == "error"]

    def test_both_services(self) -> None:
        """Each service gets its own certificate, and the identities of peers come with it."""
        self.start()
        for service in (WRITER, READER):
            current = self.keyring.current(service)
            assert current is not None
            self.assertEqual(current.identities.caller(current.material.own).service, service)

    def test_ready_later(self) -> None:
        """While Consul is away nothing is ready; when it is back everything is."""
        self.agent.away = True
        self.start()
        filled = self.keyring.filled()
        self.settle(3)
        self.assertNoResult(filled)
        self.agent.away = False
        self.settle(3)
        self.successResultOf(filled)

    def test_renewal(self) -> None:
        """A renewed leaf is used at once; roots and connections have nothing to do with it."""
        self.start()
        before = self.writer()
        self.agent.renew()
        self.settle()
        self.assertNotEqual(self.writer().material.own, before.material.own)
        self.assertEqual(self.writer().material.roots, before.material.roots)

    def test_same_again(self) -> None:
        """A wake-up without a change makes no new context."""
        self.start()
        before = self.writer()
        self.agent.wake("roots", "leaf")
        self.settle()
        self.assertIs(self.writer(), before)

    def test_rotation(self) -> None:
        """After a rotation both roots are trusted, and the new leaf is there without the blocking query."""
        self.start()
        before = self.writer()
        self.agent.lag = True
        new = ROOT.successor("new")
        self.agent.rotate(new)
        self.settle()
        self.assertEqual(self.writer().material.roots, (ROOT.root, new.root))
        self.assertNotEqual(self.writer().material.own, before.material.own)
        self.assertEqual(len(self.writer().material.chain), 2)
        for client in (service_credentials(ROOT, WEB), service_credentials(new, WEB, new, ROOT)):
            handshake(self.writer().context, client.context)

    def test_rotation_without_leaf(self) -> None:
        """While no new leaf can be had, the old one is presented and the new root is trusted already."""
        self.start()
        before = self.writer().material.own
        new = ROOT.successor("new")
        fetches: list[Deferred[None]] = []
        original = self.agent.connect_leaf

        async def slow(service: str, *, index: int = 0, wait: float = 0.0) -> object:
            if index == 0:
                fetches.append(Deferred())
                await fetches[-1]
            return await original(service, index=index, wait=wait)

        self.agent.connect_leaf = slow  # type: ignore[method-assign, assignment]  # a slow one
        self.agent.lag = True
        self.agent.rotate(new)
        self.settle()
        self.assertEqual(self.writer().material.own, before)
        handshake(self.writer().context, service_credentials(new, WEB, new, ROOT).context)
        for fetch in fetches:
            fetch.callback(None)
        self.settle()
        self.assertNotEqual(self.writer().material.own, before)

    def test_away_during_rotation(self) -> None:
        """A leaf that cannot be had is asked for again until it comes."""
        self.start()
        before = self.writer().material.own
        failing = [True]
        original = self.agent.connect_leaf

        async def flaky(service: str, *, index: int = 0, wait: float = 0.0) -> object:
            if failing[0]:
                raise OSError("away")
            return await original(service, index=index, wait=wait)

        self.agent.connect_leaf = flaky  # type: ignore[method-assign, assignment]  # fails for a while
        self.agent.lag = True
        self.agent.rotate(ROOT.successor("new"))
        self.settle(20)
        self.assertEqual(self.writer().material.own, before)
        failing[0] = False
        self.settle(FETCH_AGAIN_MOST + 0.1)
        self.assertNotEqual(self.writer().material.own, before)

    def give(self, issued: Issued, uri: str) -> None:
        """Let the agent hand out this."""
        self.agent.leaves[WRITER] = GivenLeaf(uri, issued.chain_pem, Secret(issued.key_pem))
        self.agent.wake("leaf")
        self.settle()

    def test_rubbish(self) -> None:
        """What is of no use is logged and never replaces what is in use."""
        self.start()
        before = self.writer()
        other = ROOT.issue([spiffe(WEB)])
        writer = ROOT.issue([spiffe(WRITER)])
        self.give(Issued(writer.certificate, "rubbish", writer.key_pem), spiffe(WRITER))
        self.give(Issued(writer.certificate, writer.chain_pem, other.key_pem), spiffe(WRITER))
        self.give(other, spiffe(WRITER))
        self.give(writer, "https://rubbish")
        self.assertEqual(len(self.errors()), 4)
        self.assertIs(self.writer(), before)

    def test_ending_unrenewed(self) -> None:
        """A certificate near its end is asked for by ourselves, without a blocking query."""
        self.start()
        self.agent.lag = True
        self.agent.leaves[WRITER] = self.agent.issue(WRITER, (-0.01, 4))
        self.settle(CHECK_EVERY)
        before = self.writer()
        self.now = before.material.expires - RENEWAL_MARGIN + 1
        self.settle(CHECK_EVERY)
        self.assertNotEqual(self.writer().material.own, before.material.own)
        self.assertEqual(self.errors(), [])

    def test_ended(self) -> None:
        """A certificate that has ended is logged once, asked for again and again, and stays in use."""
        self.start()
        before = self.writer()
        self.now = before.material.expires + 1
        self.settle(4 * CHECK_EVERY)
        self.assertEqual(len([e for e in self.errors() if "has ended" in e]), 2)
        self.assertIs(self.writer(), before)
        self.agent.leaves[WRITER] = self.agent.issue(WRITER, (-0.01, 9))
        self.settle(CHECK_EVERY)
        self.assertNotEqual(self.writer().material.own, before.material.own)

    def test_stop(self) -> None:
        """After stopping nothing is asked any more and nothing changes."""
        self.start()
        before = self.writer()
        self.stop()
        self.agent.renew()
        self.settle(CHECK_EVERY)
        self.assertIs(self.writer(), before)
