"""What a node of any cluster of tests is started with, and how a client of its mesh shows who it is."""

from __future__ import annotations

import ssl
from pathlib import Path

from tests.real_consul import RealConsul

#: Where the cluster's keys are in Consul.
PREFIX = "_locks/tile38/cluster/manager"
#: Each node has an address of its own, so all have the same ports.
TILE38_PORT, WRITER_PORT, READER_PORT = 9851, 7001, 7002


def flags_of(number: int, host: str, folder: Path, **more: object) -> list[str]:
    """The command line of the manager of C{node<number>} at C{host}; C{more} by name, C{_} for a dot."""
    flags = {
        "id": f"node{number}",
        "advertise": host,
        "server.addr": host,
        "server.port": TILE38_PORT,
        "bind.addr.leader": host,
        "bind.port.leader": WRITER_PORT,
        "bind.addr.follower": host,
        "bind.port.follower": READER_PORT,
        "state.dir": folder / "state",
        **{name.replace("_", "."): value for name, value in more.items()},
    }
    told = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [*told, "--service.manage"]


def leaf_context(consul: RealConsul, service: str, folder: Path) -> ssl.SSLContext:
    """A client's TLS with the certificate of a service from Connect, and the roots as they are now."""
    issued = consul.request("GET", f"/v1/agent/connect/ca/leaf/{service}", timeout=20)
    roots = consul.request("GET", "/v1/agent/connect/ca/roots")["Roots"]
    pair = folder / f"{service}.pem"
    pair.write_text(issued["CertPEM"] + issued["PrivateKeyPEM"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # a certificate of Connect names a service, no host
    context.load_cert_chain(pair)
    context.load_verify_locations(cadata="\n".join(root["RootCert"] for root in roots))
    return context
