"""Tests of who a certificate speaks for."""

from __future__ import annotations

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import DATACENTER, TRUST_DOMAIN, Authority, spiffe
from tile38cm.tls.identity import (
    MeshIdentities,
    SharedIdentity,
    SpiffeId,
    SpiffeService,
    WrongPeer,
    serial_text,
)

AUTHORITY = Authority()
MESH = MeshIdentities(TRUST_DOMAIN, DATACENTER)


def certificate(*uris: str, dns: tuple[str, ...] = (), subject: str = "") -> x509.Certificate:
    """One with these names."""
    return AUTHORITY.issue(uris, dns, subject).certificate


class SpiffeIdTests(SynchronousTestCase):
    """L{SpiffeId} reads identities of services and nothing else."""

    def test_parts(self) -> None:
        """Trust domain, datacenter and service are read."""
        self.assertEqual(SpiffeId.parse(spiffe("a-b_c.d")), SpiffeId(TRUST_DOMAIN, DATACENTER, "a-b_c.d"))

    def test_others(self) -> None:
        """Whatever deviates from the one form is refused."""
        good = spiffe("web")
        for uri in (
            "",
            good.upper(),
            good.replace("spiffe:", "https:"),
            good.replace("/ns/default", "/ns/other"),
            good.replace("/ns/", "/ap/default/ns/"),
            good.replace("/svc/web", "/svc/"),
            good.replace("/svc/web", ""),
            good.replace("/svc/", "/gateway/"),
            good.replace("/svc/", "//svc/"),
            good.replace("/svc/web", "/svc/../svc/web"),
            good.replace("spiffe://", "spiffe://user@"),
            good.replace("/ns", ":443/ns", 1),
            good + "/",
            good + "?a=b",
            good + "#a",
            good + "\n",
            good + "\0",
            good + "%2e",
            good.replace("web", "w\u0435b"),
            f"spiffe://{TRUST_DOMAIN}/agent/client/dc/dc1/id/local",
            f"spiffe://{TRUST_DOMAIN}",
        ):
            self.assertRaises(WrongPeer, SpiffeId.parse, uri)

    @given(st.text(max_size=80) | st.from_regex(r"spiffe://[^/]*(/[a-z]*){0,10}", fullmatch=True))
    def test_any_text(self, text: str) -> None:
        """Any text is either refused or is exactly what the identity writes again."""
        try:
            identity = SpiffeId.parse(text)
        except WrongPeer:
            return
        self.assertEqual(str(identity), text)

    @given(
        st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True),
        st.from_regex(r"[A-Za-z0-9_.~-]{1,20}", fullmatch=True),
    )
    def test_round_trip(self, datacenter: str, service: str) -> None:
        """What is written is read."""
        identity = SpiffeId(TRUST_DOMAIN, datacenter, service)
        self.assertEqual(SpiffeId.parse(str(identity)), identity)


class MeshIdentitiesTests(SynchronousTestCase):
    """L{MeshIdentities} recognises services of its own trust domain and datacenter."""

    def test_any_service(self) -> None:
        """Whoever is of the mesh is named with service, URI and serial number."""
        web = certificate(spiffe("web"))
        caller = MESH.caller(web)
        self.assertEqual((caller.service, caller.uri), ("web", spiffe("web")))
        self.assertEqual(int(caller.serial.replace(":", ""), 16), web.serial_number)

    def test_that_service(self) -> None:
        """With a wanted service only that one is taken."""
        self.assertEqual(MESH.caller(certificate(spiffe("web")), "web").service, "web")
        for other in (spiffe("web2"), spiffe("we"), spiffe("WEB")):
            self.assertRaises(WrongPeer, MESH.caller, certificate(other), "web")

    def test_foreign(self) -> None:
        """Another trust domain or datacenter is refused, with a sentence that shows both."""
        for uri in (spiffe("web", trust_domain="evil"), spiffe("web", datacenter="dc2")):
            error = self.assertRaises(WrongPeer, MESH.caller, certificate(uri))
            self.assertEqual(str(error), f"it is {uri}, not {spiffe('*')}")

    def test_not_exactly_one_uri(self) -> None:
        """Two URI names are refused even if both are good, and so is none."""
        for uris in ((), (spiffe("web"), spiffe("web")), (spiffe("web"), "https://web")):
            self.assertRaises(WrongPeer, MESH.caller, certificate(*uris, dns=("web",)))

    def test_other_patterns(self) -> None:
        """A pattern of another kind never matches."""
        self.assertFalse(SpiffeService(TRUST_DOMAIN, DATACENTER, None).verify(spiffe("web")))


class SharedIdentityTests(SynchronousTestCase):
    """L{SharedIdentity} recognises members by the names of our own certificate."""

    def identity(self, *uris: str, dns: tuple[str, ...] = (), subject: str = "") -> SharedIdentity:
        return SharedIdentity.of(certificate(*uris, dns=dns, subject=subject), "tile38-writer")

    def test_uri_before_dns(self) -> None:
        """With a URI name that alone counts, so that each node may have a DNS name of its own."""
        ours = self.identity("urn:tile38", dns=("a.example",))
        self.assertEqual(ours.caller(certificate("urn:tile38", dns=("b.example",))).service, "tile38-writer")
        self.assertIsNone(ours.caller(certificate("urn:web", dns=("a.example",))).service)
        self.assertIsNone(ours.caller(certificate(dns=("a.example",))).service)

    def test_dns_before_subject(self) -> None:
        """Without a URI name all DNS names count."""
        ours = self.identity(dns=("a.example", "b.example"), subject="a")
        member = certificate(dns=("b.example", "a.example"), subject="b")
        self.assertEqual(ours.caller(member).service, "tile38-writer")
        self.assertIsNone(ours.caller(certificate(dns=("a.example",), subject="a")).service)

    def test_subject(self) -> None:
        """Without both the subject counts, and a nameless certificate is nobody."""
        ours = self.identity(subject="tile38")
        self.assertEqual(ours.caller(certificate(subject="tile38")).service, "tile38-writer")
        self.assertIsNone(ours.caller(certificate(subject="web")).service)
        self.assertIsNone(ours.caller(certificate()).service)

    def test_same_text_of_another_kind(self) -> None:
        """A DNS name is not a URI name of the same text."""
        self.assertIsNone(self.identity("tile38").caller(certificate(dns=("tile38",))).service)

    def test_wanted(self) -> None:
        """When we call, only a member will do, whatever the service."""
        ours = self.identity("urn:tile38")
        self.assertEqual(ours.caller(certificate("urn:tile38"), "tile38-reader").service, "tile38-writer")
        self.assertRaises(WrongPeer, ours.caller, certificate("urn:web"), "tile38-reader")

    def test_nameless(self) -> None:
        """A certificate of our own without any name is refused, as it could recognise nobody."""
        self.assertRaises(WrongPeer, self.identity)


class SerialTests(SynchronousTestCase):
    """L{serial_text} writes serial numbers as Consul does."""

    def test_pairs(self) -> None:
        """Pairs of hexadecimal digits, with a colon between and no leading zero pair."""
        text = serial_text(certificate())
        self.assertRegex(text, r"^[0-9a-f]{2}(:[0-9a-f]{2})*$")
        self.assertFalse(text.startswith("00:"))
