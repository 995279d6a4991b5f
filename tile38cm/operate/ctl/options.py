"""Options that several sub-commands share, and what becomes of them."""

from __future__ import annotations

import os
import ssl
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from socket import socket
from typing import IO, TypeVar

from attrs import frozen
from cryptography import x509

from tile38cm.flags import values
from tile38cm.replication.direct import Channel, Direct, reach
from tile38cm.settings import Address, Secret
from tile38cm.tls.identity import Identities, MeshIdentities, SharedIdentity, SpiffeId, WrongPeer

T = TypeVar("T")


class Exit(IntEnum):
    """The exit codes."""

    GOOD = 0
    NO = 1
    WRONG_USAGE = 2
    FAILED = 3


class WrongUsage(Exception):
    """One sentence for the operator: options that do not go together, a file that is not there."""


@frozen
class Console:
    """Where a command writes: what was asked for, and remarks about the work."""

    out: IO[str]
    err: IO[str]

    def say(self, line: str = "") -> None:
        """One line of the answer."""
        print(line, file=self.out)

    def progress(self, text: str) -> None:
        """How far it is, over the same line again, if somebody looks; empty: done."""
        if self.err.isatty():
            print(f"\r{text:<60}" if text else f"\r{'':<60}\r", end="", file=self.err, flush=True)


def typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """A parser of L{values} as argparse wants it: the same sentence on a wrong value."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as wrong:
            raise ArgumentTypeError(f"it is {text!r}, but must be {wrong}") from None

    return parsed


def _address(text: str) -> Address:
    name, separator, number = text.rpartition(":")
    if not separator or (":" in name and not name.startswith("[")):
        raise ValueError("HOST:PORT, an IPv6 address in brackets")
    return Address(values.reachable_host(name), values.port(number))


address = typed(_address)
seconds = typed(values.duration(0.0, 3600.0))
path = typed(values.path)


def password_options(parser: ArgumentParser) -> None:
    """C{--password-file}."""
    parser.add_argument(
        "--password-file",
        type=path,
        metavar="FILE",
        help="a file whose first line is Tile38's requirepass (default: $SERVER_PASSWORD, if that is set)",
    )


def password(options: Namespace) -> Secret | None:
    """What C{--password-file} or the environment says; fails with L{WrongUsage}."""
    file: Path | None = options.password_file
    text = os.environ.get("SERVER_PASSWORD", "") if file is None else _first_line(file)
    return Secret(text) if text else None


def _first_line(file: Path) -> str:
    try:
        return file.read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"--password-file {file} cannot be read: {error}") from None


def tls_options(parser: ArgumentParser) -> None:
    """C{--cert}, C{--key}, C{--ca}, C{--service}."""
    group = parser.add_argument_group(
        "TLS", "All three files, or none where the cluster runs with --tls off. Their form is PEM."
    )
    group.add_argument(
        "--cert", type=path, metavar="FILE", help="a certificate that W lets in, with its chain"
    )
    group.add_argument("--key", type=path, metavar="FILE", help="the key of that certificate")
    group.add_argument(
        "--ca", type=path, metavar="FILE", help="the roots that W's certificate must come from"
    )
    group.add_argument(
        "--service",
        type=typed(values.service_name),
        default="tile38-writer",
        metavar="NAME",
        help="W's service in Consul's mesh, which its certificate must name (default: %(default)s)",
    )


def writer(options: Namespace) -> Callable[[], Direct]:
    """The way to the W at C{--writer}; fails with L{WrongUsage}."""
    files = (options.cert, options.key, options.ca)
    if any(files) and not all(files):
        raise WrongUsage("--cert, --key and --ca go together: give all three, or none")
    secure = _secured(*files, options.service) if all(files) else None
    secret, where = password(options), options.writer
    return lambda: reach(where, secret, secure)


def _secured(cert: Path, key: Path, ca: Path, service: str) -> Callable[[socket], Channel]:
    """TLS in which W proves to be that service of our own cluster, as the nodes prove it to each other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Certificates of a mesh name a service, not a host; that is what is checked below.
    context.check_hostname = False
    try:
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
        identities = _identities(x509.load_pem_x509_certificate(cert.read_bytes()), service)
    except (OSError, ValueError, WrongPeer) as error:
        raise WrongUsage(f"--cert {cert}, --key {key}, --ca {ca} cannot be used: {error}") from None

    def secure(plain: socket) -> Channel:
        connection = context.wrap_socket(plain)
        try:
            peer = connection.getpeercert(binary_form=True)
            assert peer is not None
            identities.caller(x509.load_der_x509_certificate(peer), service)
        except WrongPeer as error:
            connection.close()
            raise ConnectionError(str(error)) from None
        return connection

    return secure


def _identities(own: x509.Certificate, service: str) -> Identities:
    """As our own certificate is of the mesh, or from files."""
    shared = SharedIdentity.of(own, service)
    for name in shared.names:
        kind, _, uri = name.partition(":")
        if kind == "UniformResourceIdentifier" and uri.startswith("spiffe://"):
            mine = SpiffeId.parse(uri)
            return MeshIdentities(mine.trust_domain, mine.datacenter)
    return shared


def json_option(parser: ArgumentParser) -> None:
    """C{--json}."""
    parser.add_argument("--json", action="store_true", help="answer with one JSON document, for programs")
