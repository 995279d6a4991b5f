"""Certificates, key and roots, and the OpenSSL context that is made of them.

A context is made once for each new material and shared by all connections of that
time.  The whole chain is sent: after a rotation of roots it holds the new root,
signed by the old one, without which peers that still trust only the old root fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

#: For TLS 1.2; those of 1.3 are all fit.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"


class BadMaterial(Exception):
    """Certificate, key or roots cannot be used; the text says which and why, and holds no secret."""


@frozen
class Material:
    """What a service proves itself with and whom it trusts; the first of C{chain} is its own certificate."""

    chain: tuple[x509.Certificate, ...]
    key: Key = field(repr=False)
    roots: tuple[x509.Certificate, ...]

    @classmethod
    def parse(cls, chain_pem: str, key_pem: str, root_pems: Iterable[str]) -> Self:
        """Read PEM texts; a text may hold several certificates.

        @raise BadMaterial: one of them cannot be read, or is of no use.
        """
        roots = [root for pem in root_pems for root in _certificates(pem, "a root")]
        return cls(_certificates(chain_pem, "the certificate"), _key(key_pem), tuple(roots))

    @property
    def own(self) -> x509.Certificate:
        """The service's certificate."""
        return self.chain[0]

    @property
    def expires(self) -> float:
        """When our certificate ends, in seconds since the epoch."""
        return self.own.not_valid_after_utc.timestamp()

    def context(self) -> SSL.Context:
        """A context for servers and clients alike, in which a peer without a good chain fails the handshake.

        Sessions are never resumed: a resumed one would be known by a certificate
        that was verified against the roots of an earlier day.

        @raise BadMaterial: the key is not the certificate's.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(CIPHERS)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        # Idle connections give their two buffers of 17 KiB back.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        self._trust(context)
        self._present(context)
        return context

    def _trust(self, context: SSL.Context) -> None:
        store = context.get_cert_store()
        assert store is not None
        for root in self.roots:
            store.add_cert(crypto.X509.from_cryptography(root))

    def _present(self, context: SSL.Context) -> None:
        try:
            context.use_certificate(self.own)
            for certificate in self.chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(self.key)
            context.check_privatekey()
        except SSL.Error:
            raise BadMaterial("the key does not belong to the certificate") from None


def _certificates(pem: str, what: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        raise BadMaterial(f"{what} cannot be read") from None


def _key(pem: str) -> Key:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        # The cause may quote the text, which is secret; an encrypted key is a TypeError.
        raise BadMaterial("the key cannot be read, or is encrypted") from None
    if not isinstance(key, Key):
        raise BadMaterial("the key is of a kind that is not for TLS")
    return key
