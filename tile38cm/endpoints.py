"""The way to an address, and where to listen for one, plain: what TLS adds is put around these."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
)
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint

from tile38cm.settings import Address

#: Seconds to connect; what takes longer is as good as away.
CONNECT_TIMEOUT = 1.0
#: Connections that may wait to be accepted, since thousands may come at once.
QUEUE = 4096


def listening_on(reactor: Any, address: Address) -> IStreamServerEndpoint:
    """Where to listen for an address."""
    kind = TCP6ServerEndpoint if ":" in address.host else TCP4ServerEndpoint
    return kind(reactor, address.port, backlog=QUEUE, interface=address.host)


def reaching(reactor: Any, address: Address) -> IStreamClientEndpoint:
    """The way to an address; names are looked up at each connection."""
    host, port = address.host, address.port
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT)
    return HostnameEndpoint(reactor, host, port, timeout=CONNECT_TIMEOUT)
