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
    At,
    GivenLeaf,
    handshake,
    log_of,
    service_credentials,
)
from tile38cm.coordination.watch import Watch
from tile38cm.settings import Secret
from tile38cm.tls.connect import FETCH_AGAIN_MOST, ConnectSource
from tile38cm.tls.keyring import CHECK_EVERY, Credentials, Keyring

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
        """A renewed leaf is used within seconds."""
        self.start()
        before = self.writer()
        self.agent.renew()
        self.settle(CHECK_EVERY)
        self.assertNotEqual(self.writer().material.own, before.material.own)
        self.assertEqual(self.writer().material.roots, before.material.roots)

    def test_same_again(self) -> None:
        """The same leaf and roots again make no new context."""
        self.start()
        before = self.writer()
        self.agent.wake()
        self.settle(3 * CHECK_EVERY)
        self.assertIs(self.writer(), before)

    def test_rotation(self) -> None:
        """After a rotation both roots are trusted, and the new leaf is there at once."""
        self.start()
        before = self.writer()
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
        self.agent.busy = True
        self.agent.rotate(new)
        self.settle(2 * CHECK_EVERY)
        self.assertEqual(self.writer().material.own, before)
        handshake(self.writer().context, service_credentials(new, WEB, new, ROOT).context)
        self.agent.renew()
        self.settle(CHECK_EVERY)
        self.assertNotEqual(self.writer().material.own, before)

    def test_slow_leaf(self) -> None:
        """An answer that was asked for before the roots changed does not replace the one asked for after."""
        self.start()
        slow: list[Deferred[None]] = []
        original = self.agent.connect_leaf

        async def ask(service: str) -> At[GivenLeaf]:
            answer = await original(service)
            if len(slow) < 2:
                slow.append(Deferred())
                await slow[-1]
            return answer

        self.agent.connect_leaf = ask  # type: ignore[method-assign]  # the first ones are slow
        self.settle(CHECK_EVERY)
        self.agent.rotate(ROOT.successor("new"))
        self.settle()
        rotated = self.writer()
        self.assertEqual(len(rotated.material.chain), 2)
        self.assertEqual([each.called for each in slow], [True, True])
        self.settle()
        self.assertIs(self.writer(), rotated)

    def test_away_during_rotation(self) -> None:
        """A leaf that cannot be had is asked for again until it comes."""
        self.start()
        before = self.writer().material.own
        original = self.agent.connect_leaf

        async def fail(service: str) -> At[GivenLeaf]:
            raise OSError("away")

        self.agent.connect_leaf = fail  # type: ignore[method-assign]  # for a while
        self.agent.rotate(ROOT.successor("new"))
        self.settle(20)
        self.assertEqual(self.writer().material.own, before)
        self.agent.connect_leaf = original  # type: ignore[method-assign]  # as it was
        self.settle(FETCH_AGAIN_MOST + 0.1)
        self.assertNotEqual(self.writer().material.own, before)

    def give(self, issued: Issued, uri: str) -> None:
        """Let the agent hand out this."""
        self.agent.leaves[WRITER] = GivenLeaf(uri, issued.chain_pem, Secret(issued.key_pem))
        self.settle(CHECK_EVERY)

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

    def test_ended(self) -> None:
        """A certificate that has ended is logged once, and stays in use until another one comes."""
        self.start()
        before = self.writer()
        self.now = before.material.expires + 1
        self.settle(4 * CHECK_EVERY)
        self.assertEqual(len([e for e in self.errors() if "has ended" in e]), 2)
        self.assertIs(self.writer(), before)
        self.agent.renew()
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
