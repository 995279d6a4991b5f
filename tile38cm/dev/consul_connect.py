"""Connect's certificate authority and intentions as the Consul-compatible agent has them; no HTTP.

Certificates are real: EC P-256, one SPIFFE URI as the only name, 72 hours,
an empty subject.  After a rotation a leaf is followed by a certificate of the
new root signed by the old one, so that peers which know only the old root
still accept it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet.interfaces import IReactorTime

from tile38cm.dev.consul_changes import Changes, Reading

LEAF_LIFE = timedelta(hours=72)
ROOT_LIFE = timedelta(days=3650)
CROSS_LIFE = timedelta(days=7)
#: A leaf is made anew when less than this part of its life is left.
RENEW_PART = 0.25
#: Certificates begin so long before now, since clocks differ.
BACKDATE = timedelta(minutes=1)

_URI = re.compile(r"spiffe://[^/]+/ns/[^/]+/dc/[^/]+/svc/([^/]+)")


@frozen
class Root:
    """One root with its key."""

    id: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@frozen
class IssuedLeaf:
    """One service's certificate chain and key, as PEM."""

    service: str
    uri: str
    chain: str
    key: str
    serial: int
    not_before: datetime
    not_after: datetime
    index: int


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def time_text(moment: datetime) -> str:
    """A moment as Go writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Authority:
    """Issues leaves under the newest of its roots; all times are the clock's."""

    def __init__(self, changes: Changes, clock: IReactorTime, datacenter: str = "dc1") -> None:
        self.trust_domain = f"{uuid4()}.consul"
        self._changes = changes
        self._clock = clock
        self._datacenter = datacenter
        self._serial = 1
        self._roots: list[Root] = []
        self._roots_index = changes.index
        self._leaves: dict[str, IssuedLeaf] = {}
        self.rotate()

    def rotate(self) -> None:
        """Take a new root into use; the old ones stay trusted, leaves are issued anew when asked for."""
        with self._changes.write() as index:
            self._roots.append(self._make_root())
            self._roots_index = index
            self._leaves = {name: self._issue(name, index) for name in self._leaves}

    def read_roots(self) -> Reading:
        """All roots, the newest last."""
        return Reading(list(self._roots), self._roots_index)

    def read_leaf(self, service: str) -> Reading:
        """The service's leaf, made now if there is none or if it is old."""
        leaf = self._leaves.get(service)
        if leaf is None or leaf.not_after - self._now() < LEAF_LIFE * RENEW_PART:
            with self._changes.write() as index:
                leaf = self._leaves[service] = self._issue(service, index)
        return Reading(leaf, leaf.index)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(int(self._clock.seconds()), UTC)

    def _builder(self, life: timedelta) -> x509.CertificateBuilder:
        self._serial += 1
        start = self._now() - BACKDATE
        builder = x509.CertificateBuilder().serial_number(self._serial)
        return builder.not_valid_before(start).not_valid_after(start + life)

    def _authority_certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, signer: Root | None
    ) -> x509.Certificate:
        """A certificate for a CA's key: signed by itself, or by another root."""
        issuer = signer.certificate.subject if signer is not None else subject
        signing = signer.key if signer is not None else key
        builder = self._builder(CROSS_LIFE if signer is not None else ROOT_LIFE)
        builder = builder.subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_usage(authority=True), critical=True)
        builder = _with_key_ids(builder, key, signing)
        domain = x509.UniformResourceIdentifier(f"spiffe://{self.trust_domain}")
        builder = builder.add_extension(x509.SubjectAlternativeName([domain]), critical=False)
        return builder.sign(signing, hashes.SHA256())

    def _make_root(self) -> Root:
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"pri-{uuid4().hex[:8]}.consul.ca.{self.trust_domain[:8]}.consul"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._authority_certificate(subject, key, None)
        return Root(certificate.fingerprint(hashes.SHA1()).hex(":"), certificate, key)

    def _issue(self, service: str, index: int) -> IssuedLeaf:
        root, key = self._roots[-1], ec.generate_private_key(ec.SECP256R1())
        uri = f"spiffe://{self.trust_domain}/ns/default/dc/{self._datacenter}/svc/{service}"
        builder = self._builder(LEAF_LIFE).subject_name(x509.Name([]))
        builder = builder.issuer_name(root.certificate.subject).public_key(key.public_key())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(authority=False), critical=True)
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        certificate = _with_key_ids(builder, key, root.key).sign(root.key, hashes.SHA256())
        chain = _pem(certificate)
        if len(self._roots) > 1:
            chain += _pem(self._authority_certificate(root.certificate.subject, root.key, self._roots[-2]))
        return IssuedLeaf(
            service,
            uri,
            chain,
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode("ascii"),
            certificate.serial_number,
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            index,
        )


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=not authority,
        key_agreement=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _with_key_ids(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signing: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    return builder.add_extension(own, critical=False).add_extension(above, critical=False)


def roots_json(authority: Authority, roots: list[Root]) -> dict[str, Any]:
    """The body of C{/v1/agent/connect/ca/roots}, the active root first."""
    return {
        "ActiveRootID": roots[-1].id,
        "TrustDomain": authority.trust_domain,
        "Roots": [
            {
                "ID": root.id,
                "Name": "Consul CA Primary Cert",
                "RootCert": _pem(root.certificate),
                "IntermediateCerts": None,
                "Active": root is roots[-1],
                "NotBefore": time_text(root.certificate.not_valid_before_utc),
                "NotAfter": time_text(root.certificate.not_valid_after_utc),
            }
            for root in reversed(roots)
        ],
    }


def leaf_json(leaf: IssuedLeaf) -> dict[str, Any]:
    """The body of C{/v1/agent/connect/ca/leaf/…}."""
    return {
        "SerialNumber": f"{leaf.serial:02x}",
        "CertPEM": leaf.chain,
        "PrivateKeyPEM": leaf.key,
        "Service": leaf.service,
        "ServiceURI": leaf.uri,
        "ValidAfter": time_text(leaf.not_before),
        "ValidBefore": time_text(leaf.not_after),
        "CreateIndex": leaf.index,
        "ModifyIndex": leaf.index,
    }


class Intentions:
    """Who may speak with whom; C{*} stands for every service, the more exact rule wins."""

    def __init__(self, default_allow: bool = True) -> None:
        self._default_allow = default_allow
        #: By destination, then by source: whether it is allowed.
        self._rules: dict[str, dict[str, bool]] = {}

    def put(self, destination: str, sources: dict[str, bool]) -> None:
        """Replace all rules of a destination."""
        self._rules[destination] = dict(sources)

    def put_one(self, destination: str, source: str, allow: bool) -> None:
        """Add or replace one rule."""
        self._rules.setdefault(destination, {})[source] = allow

    def remove(self, destination: str) -> None:
        """Remove all rules of a destination, if there are any."""
        self._rules.pop(destination, None)

    def remove_one(self, destination: str, source: str) -> None:
        """Remove one rule, if it is there."""
        self._rules.get(destination, {}).pop(source, None)

    def judge(self, target: str, uri: str) -> tuple[bool, str] | None:
        """Whether the identity may connect to the target, and why; None if it is no identity.

        As with Consul only the service's name counts, not the trust domain.
        """
        match = _URI.fullmatch(uri)
        if match is None:
            return None
        rules = ((target, match[1], 9), (target, "*", 8), ("*", match[1], 6), ("*", "*", 5))
        for destination, source, precedence in rules:
            allow = self._rules.get(destination, {}).get(source)
            if allow is not None:
                action = "ALLOW" if allow else "DENY"
                return allow, (
                    f"Matched L4 intention: default/{source} => default/{destination} "
                    f"(Precedence: {precedence}, Action: {action})"
                )
        return self._default_allow, "Default behavior configured by ACLs"
