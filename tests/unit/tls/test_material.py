"""Tests of contexts: what a handshake takes and what not."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, Issued, key_pem, new_key, spiffe
from tests.unit.tls.support import handshake
from tile38cm.tls.material import BadMaterial, Material

OLD = Authority("old")
NEW = OLD.successor("new")


def context(issued: Issued, *roots: Authority) -> SSL.Context:
    """The context of that certificate which trusts these roots."""
    return Material.parse(issued.chain_pem, issued.key_pem, [root.root_pem for root in roots]).context()


class HandshakeTests(SynchronousTestCase):
    """Contexts of L{Material} among each other."""

    def setUp(self) -> None:
        self.issued = OLD.issue([spiffe("web")])
        self.good = context(self.issued, OLD)

    def test_both_know_each_other(self) -> None:
        """Both ends see the other's certificate, by TLS 1.3."""
        near, far = handshake(self.good, self.good)
        for end in (near, far):
            seen = end.get_peer_certificate(as_cryptography=True)
            self.assertEqual(seen, self.issued.certificate)
            self.assertEqual(end.get_protocol_version_name(), "TLSv1.3")

    def test_unknown_root(self) -> None:
        """A chain that ends in an unknown root is refused on both sides."""
        stranger = Authority("old")
        foreign = context(stranger.issue([spiffe("web")]), stranger, OLD)
        self.assertRaises(SSL.Error, handshake, self.good, foreign)
        self.assertRaises(SSL.Error, handshake, foreign, self.good)

    def test_dates(self) -> None:
        """A certificate that has ended or not begun is refused."""
        for days in ((-2.0, -1.0), (1.0, 2.0)):
            other = context(OLD.issue([spiffe("web")], days=days), OLD)
            self.assertRaises(SSL.Error, handshake, self.good, other)

    def test_no_certificate(self) -> None:
        """A client without a certificate is refused."""
        bare = SSL.Context(SSL.TLS_METHOD)
        self.assertRaises(SSL.Error, handshake, self.good, bare)

    def test_old_versions(self) -> None:
        """TLS 1.2 is spoken, 1.1 is not."""
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_1_VERSION, None)):
            other = context(self.issued, OLD)
            other.set_min_proto_version(SSL.TLS1_VERSION)
            other.set_max_proto_version(version)
            other.set_cipher_list(b"ALL:@SECLEVEL=0")
            if name is None:
                self.assertRaises(SSL.Error, handshake, self.good, other)
            else:
                self.assertEqual(handshake(self.good, other)[0].get_protocol_version_name(), name)

    def test_rotation(self) -> None:
        """Old and new certificates go together as long as both roots, or the old one, are trusted."""
        old, new = OLD.issue([spiffe("web")]), NEW.issue([spiffe("web")])
        both_old, both_new = context(old, OLD, NEW), context(new, OLD, NEW)
        for one, other in ((both_old, both_new), (both_new, both_old), (both_new, context(old, OLD))):
            handshake(one, other)
        self.assertRaises(SSL.Error, handshake, both_old, context(new, NEW))

    def test_never_resumed(self) -> None:
        """A client that offers its old session gets a full handshake, its certificate looked at again."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = self.stdlib_client(version)
            session = self.visit(client, None).session
            again = self.visit(client, session)
            self.assertEqual(again.version(), str(version.name).replace("_", "."))
            self.assertFalse(again.session_reused)

    def stdlib_client(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """A context of the standard library's, which can tell whether a session was resumed."""
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.maximum_version = version
        client.load_verify_locations(cadata=OLD.root_pem)
        path = Path(self.mktemp())
        path.write_text(self.issued.chain_pem + self.issued.key_pem)
        client.load_cert_chain(path)
        return client

    def visit(self, client: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLObject:
        """One handshake of that client with the good context, and what follows it."""
        near = SSL.Connection(self.good, None)
        near.set_accept_state()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        step: Callable[[], object]
        far = client.wrap_bio(incoming, outgoing, session=session)
        for _ in range(4):
            for step in (far.do_handshake, partial(far.read, 1)):
                with contextlib.suppress(ssl.SSLWantReadError):
                    step()
            sent = outgoing.read()
            for step in (partial(near.bio_write, sent), near.do_handshake, partial(near.recv, 1)):
                with contextlib.suppress(SSL.WantReadError):
                    step()
            with contextlib.suppress(SSL.WantReadError):
                incoming.write(near.bio_read(1 << 16))
        return far


class ParseTests(SynchronousTestCase):
    """L{Material.parse} reads PEM and tells what is wrong with it."""

    def setUp(self) -> None:
        self.issued = OLD.issue([spiffe("web")])

    def test_expires(self) -> None:
        """The end of the certificate is known in seconds since the epoch."""
        material = Material.parse(self.issued.chain_pem, self.issued.key_pem, [OLD.root_pem])
        self.assertEqual(material.expires, self.issued.certificate.not_valid_after_utc.timestamp())

    def test_several_roots_in_one_text(self) -> None:
        """A text of roots may hold several."""
        material = Material.parse(self.issued.chain_pem, self.issued.key_pem, [OLD.root_pem + NEW.root_pem])
        self.assertEqual(material.roots, (OLD.root, NEW.root))

    def test_key_is_not_shown(self) -> None:
        """The key is not part of what is printed."""
        material = Material.parse(self.issued.chain_pem, self.issued.key_pem, [OLD.root_pem])
        self.assertNotIn("PrivateKey", repr(material))

    def test_rubbish(self) -> None:
        """Each part that cannot be read is named, and secrets are not repeated."""
        chain, key, root = self.issued.chain_pem, self.issued.key_pem, OLD.root_pem
        secret = key.replace("-----BEGIN", "-----BEGUN")
        for parts, what in (
            (("", key, [root]), "the certificate cannot be read"),
            ((chain, secret, [root]), "the key cannot be read, or is encrypted"),
            ((chain, key, ["root"]), "a root cannot be read"),
        ):
            error = self.assertRaises(BadMaterial, Material.parse, *parts)
            self.assertEqual(str(error), what)

    def test_foreign_key(self) -> None:
        """A key of another certificate is found out before it is used."""
        material = Material.parse(self.issued.chain_pem, key_pem(new_key()), [OLD.root_pem])
        error = self.assertRaises(BadMaterial, material.context)
        self.assertEqual(str(error), "the key does not belong to the certificate")
