"""Certificate authorities and certificates made in memory, of the kinds that Consul's Connect CA makes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
DATACENTER = "dc1"


def spiffe(service: str, trust_domain: str = TRUST_DOMAIN, datacenter: str = DATACENTER) -> str:
    """The URI name of a service."""
    return f"spiffe://{trust_domain}/ns/default/dc/{datacenter}/svc/{service}"


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key as the Connect CA makes them."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(certificate: x509.Certificate) -> str:
    """The certificate as text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The key as text."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@frozen
class Issued:
    """A certificate with its key; C{chain_pem} is what must be sent."""

    certificate: x509.Certificate
    chain_pem: str
    key_pem: str


@define
class Authority:
    """A root; what it issues carries C{intermediates}, if it is itself signed by an older root."""

    name: str = "root"
    key: ec.EllipticCurvePrivateKey = field(factory=new_key)
    intermediates: tuple[x509.Certificate, ...] = ()
    root: x509.Certificate = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.root = self._sign_authority(self.name, self.key)

    @property
    def root_pem(self) -> str:
        """What others trust."""
        return pem(self.root)

    def successor(self, name: str) -> Authority:
        """The root after a rotation: what it issues carries the new root's key signed by this root."""
        new = Authority(name)
        new.intermediates = (self._sign_authority(name, new.key),)
        return new

    def issue(
        self,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        subject: str = "",
        days: tuple[float, float] = (-0.01, 3),
    ) -> Issued:
        """A certificate for clients and servers, valid from C{days[0]} to C{days[1]} from now."""
        key = new_key()
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        builder = self._builder(_name(subject), key, days).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), False
        )
        builder = builder.add_extension(x509.BasicConstraints(False, None), True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), not subject)
        certificate = builder.sign(self.key, SHA256())
        chain = "".join(pem(each) for each in (certificate, *self.intermediates))
        return Issued(certificate, chain, key_pem(key))

    def _sign_authority(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        builder = self._builder(_name(name), key, (-1, 3650))
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
        return builder.sign(self.key, SHA256())

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[float, float]
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_name(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
