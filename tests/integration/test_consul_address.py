"""Ways to reach a real Consul other than plain HTTP on a port: a unix socket, TLS in its kinds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.real import free_ports
from tests.real_consul import NO_PORTS, RealConsul
from tile38cm.coordination.consul import Unclear, consul_client
from tile38cm.settings import Address, ConsulSettings

#: The name in Consul's certificate, besides its IP address.
SERVER_NAME = "server.dc1.consul"


@frozen
class Identity:
    """A certificate, its key, and where both lie as PEM."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_file: Path
    key_file: Path


def make(directory: Path, name: str, signer: Identity | None, *names: x509.GeneralName) -> Identity:
    """An identity signed by another one, or an authority if there is none."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signing = (signer.certificate.subject, signer.key) if signer is not None else (subject, key)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.BasicConstraints(signer is None, None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(signing, hashes.SHA256())
    cert_file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
    cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Identity(certificate, key, cert_file, key_file)


class AddressCase(TestCase):
    """What the cases here share."""

    timeout = 60

    async def assert_answers(self, settings: ConsulSettings) -> None:
        """Consul is reached, for reading and writing."""
        consul = consul_client(reactor, settings)
        self.addCleanup(lambda: Deferred.fromCoroutine(consul.close()))
        self.assertIn(":", await consul.status_leader())
        self.assertTrue(await consul.put("k", b"v"))

    async def assert_unclear(self, settings: ConsulSettings) -> None:
        """No connection comes about."""
        consul = consul_client(reactor, settings)
        self.addCleanup(lambda: Deferred.fromCoroutine(consul.close()))
        with self.assertRaises(Unclear):
            await consul.status_leader()


class UnixSocketTests(AddressCase):
    """C{unix://…}"""

    async def test_unix_socket(self) -> None:
        """Consul is reached through a unix socket; a missing one is unclear."""
        real = RealConsul()
        self.addCleanup(real.stop)
        path = real.directory / "http.sock"
        real.config["addresses"] = {"http": f"127.0.0.1 unix://{path}"}
        real.start()
        await self.assert_answers(ConsulSettings(unix_socket=str(path)))
        await self.assert_unclear(ConsulSettings(unix_socket=f"{path}.none"))


class TlsTests(AddressCase):
    """C{https://…}"""

    def start(self, **tls: Any) -> ConsulSettings:
        """A Consul with TLS; the settings that reach it, still without any trust."""
        real = RealConsul()
        self.addCleanup(real.stop)
        self.authority = make(real.directory, "authority", None)
        ip = x509.IPAddress(ip_address("127.0.0.1"))
        server = make(real.directory, "server", self.authority, ip, x509.DNSName(SERVER_NAME))
        self.client = make(real.directory, "client", self.authority)
        self.stranger = make(real.directory, "stranger", None)
        https, serf, rpc = free_ports(3)
        real.config["ports"] = {
            **NO_PORTS,
            "http": real.port,
            "https": https,
            "serf_lan": serf,
            "server": rpc,
        }
        files = {"cert_file": str(server.cert_file), "key_file": str(server.key_file)}
        real.config["tls"] = {"https": {**files, "ca_file": str(self.authority.cert_file), **tls}}
        real.start()
        return ConsulSettings(Address("127.0.0.1", https), https=True)

    async def test_authority(self) -> None:
        """Consul is trusted by the authority in a file or a directory, and by no other."""
        bare = self.start()
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "a.pem").write_bytes(self.authority.cert_file.read_bytes())
        await self.assert_answers(evolve(bare, ca_file=self.authority.cert_file))
        await self.assert_answers(evolve(bare, ca_path=directory))
        await self.assert_answers(evolve(bare, verify=False))
        await self.assert_unclear(bare)
        await self.assert_unclear(evolve(bare, ca_file=self.stranger.cert_file))

    async def test_server_name(self) -> None:
        """The name in the certificate may be given, and must be right."""
        trusting = evolve(self.start(), ca_file=self.authority.cert_file)
        await self.assert_answers(evolve(trusting, tls_server_name=SERVER_NAME))
        await self.assert_unclear(evolve(trusting, tls_server_name="other.dc1.consul"))

    async def test_client_certificate(self) -> None:
        """Consul may ask for a certificate of ours, be its own checked or not."""
        trusting = evolve(self.start(verify_incoming=True), ca_file=self.authority.cert_file)
        mine = evolve(trusting, client_cert=self.client.cert_file, client_key=self.client.key_file)
        await self.assert_answers(mine)
        await self.assert_answers(evolve(mine, verify=False))
        await self.assert_unclear(trusting)

    def test_wrong_files(self) -> None:
        """A file without a certificate, or a missing one, is found when the client is made."""
        empty = Path(self.mktemp())
        empty.write_text("nothing")
        with self.assertRaises(ValueError):
            consul_client(reactor, ConsulSettings(https=True, ca_file=empty))
        with self.assertRaises(OSError):
            consul_client(reactor, ConsulSettings(https=True, ca_file=Path("/nonexistent")))
