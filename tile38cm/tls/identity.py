"""Who a certificate speaks for; no I/O.

In the mesh it is a SPIFFE id, which service-identity cannot read (its C{URI_ID}
takes no path), so that pattern and id are given to it here.  The id names the
service, never the node or the instance.  The chain is OpenSSL's part and is done
before; Consul's authorize call looks at the service name alone, so that trust
domain and datacenter must be compared here.

With certificates from files, the cluster's identity is what its own certificate
carries: all its URI names; without any all its DNS names; without any its subject.
A peer is a member if it carries exactly the same.  Nodes with a DNS name each
therefore share a URI name beside it, or one certificate.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Protocol, Self, cast

from attrs import frozen
from cryptography import x509
from service_identity import CertificateError, VerificationError
from service_identity.exceptions import Mismatch
from service_identity.hazmat import verify_service_identity

#: The free edition has the namespace "default" only, and no partitions in the path.  Percent signs are not
#: taken: no service that may register as one has a name that would need them.
_SPIFFE = re.compile(
    r"spiffe://(?P<trust_domain>[a-z0-9][a-z0-9._-]{0,254})/ns/default"
    r"/dc/(?P<datacenter>[A-Za-z0-9_.~-]{1,255})/svc/(?P<service>[A-Za-z0-9_.~-]{1,255})",
    re.ASCII,
)


class WrongPeer(Exception):
    """The certificate is of somebody else than it must be; the text is a sentence for the log."""


@frozen
class Caller:
    """Who is at the other end: C{service} is a service's name if the certificate proves one."""

    service: str | None
    uri: str
    #: As Consul writes it: hexadecimal pairs with colons.
    serial: str


@frozen
class SpiffeId:
    """The identity of a service in the mesh."""

    trust_domain: str
    datacenter: str
    service: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read C{spiffe://<trust domain>/ns/default/dc/<datacenter>/svc/<service>}.

        @raise WrongPeer: it is anything else.
        """
        match = _SPIFFE.fullmatch(uri)
        if match is None:
            raise WrongPeer(f"{uri!r} is no identity of a service")
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/default/dc/{self.datacenter}/svc/{self.service}"


@frozen
class SpiffePattern:
    """What a certificate claims, in service-identity's terms."""

    claimed: SpiffeId


@frozen
class SpiffeMismatch(Mismatch):
    """No pattern of the certificate is the wanted service."""

    mismatched_id: Any


@frozen
class SpiffeService:
    """What is wanted, in service-identity's terms: that service of the mesh, or with C{None} any."""

    trust_domain: str
    datacenter: str
    service: str | None

    pattern_class: ClassVar[type] = SpiffePattern
    error_on_mismatch: ClassVar[type[Mismatch]] = SpiffeMismatch

    def verify(self, pattern: object) -> bool:
        """Whether the pattern is of that trust domain, datacenter and service."""
        if not isinstance(pattern, SpiffePattern):
            return False
        claimed = pattern.claimed
        return (
            claimed.trust_domain == self.trust_domain
            and claimed.datacenter == self.datacenter
            and self.service in (None, claimed.service)
        )

    def __str__(self) -> str:
        return str(SpiffeId(self.trust_domain, self.datacenter, self.service or "*"))


class Identities(Protocol):
    """How peers are recognised."""

    def caller(self, certificate: x509.Certificate, service: str | None = None) -> Caller:
        """Who that is.

        @param service: it must be exactly this service; C{None}: whoever may be a client.
        @raise WrongPeer: it is not.
        """


@frozen
class MeshIdentities:
    """Peers are services of this trust domain and datacenter, by exactly one URI name."""

    trust_domain: str
    datacenter: str

    def caller(self, certificate: x509.Certificate, service: str | None = None) -> Caller:
        """See L{Identities}."""
        wanted = SpiffeService(self.trust_domain, self.datacenter, service)
        uris = _names(certificate, x509.UniformResourceIdentifier)
        if len(uris) != 1:
            raise WrongPeer(f"its certificate has {len(uris)} URI names instead of one")
        claimed = SpiffeId.parse(uris[0])
        try:
            verify_service_identity([cast(Any, SpiffePattern(claimed))], [cast(Any, wanted)], [])
        except (VerificationError, CertificateError):
            raise WrongPeer(f"it is {claimed}, not {wanted}") from None
        return Caller(claimed.service, uris[0], serial_text(certificate))


@frozen
class SharedIdentity:
    """Peers are members if they carry the same names as we do; C{service} is what a member counts as."""

    names: tuple[str, ...]
    service: str

    @classmethod
    def of(cls, certificate: x509.Certificate, service: str) -> Self:
        """The identity of our own certificate.

        @raise WrongPeer: it has no name at all, so that nobody could be recognised by it.
        """
        names = shared_names(certificate)
        if not names:
            raise WrongPeer("our certificate has no URI name, no DNS name and no subject")
        return cls(names, service)

    def caller(self, certificate: x509.Certificate, service: str | None = None) -> Caller:
        """See L{Identities}; each service of the cluster is proven by the same names."""
        names = shared_names(certificate)
        member = names == self.names
        if service is not None and not member:
            raise WrongPeer(f"it is {' '.join(names) or 'nameless'}, not {' '.join(self.names)}")
        return Caller(self.service if member else None, " ".join(names), serial_text(certificate))


def shared_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The certificate's URI names, or else its DNS names, or else its subject, sorted."""
    for kind in (x509.UniformResourceIdentifier, x509.DNSName):
        names = _names(certificate, kind)
        if names:
            return tuple(sorted(f"{kind.__name__}:{name}" for name in names))
    subject = certificate.subject.rfc4514_string()
    return (f"Subject:{subject}",) if subject else ()


def serial_text(certificate: x509.Certificate) -> str:
    """The serial number as Consul writes it, such as C{0a:1f}."""
    number = certificate.serial_number
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big").hex(":")


def _names(
    certificate: x509.Certificate, kind: type[x509.UniformResourceIdentifier] | type[x509.DNSName]
) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return extension.value.get_values_for_type(kind)
    except x509.ExtensionNotFound:
        return []
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise WrongPeer(f"its certificate cannot be read: {error}") from None
