"""The listening side of the private conversation."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.messages import COMMAND, HELLO, VERSION, BadMessage, proof

#: Seconds for a peer to say who it is and what it wants.
GREETING_TIMEOUT = 5.0

#: Gets the connection and the words behind the purpose.
Purpose = Callable[[PeerConnection, Sequence[bytes]], None]


@frozen
class Identity:
    """Who this node is to its peers, and how they prove themselves.

    C{service}: what the certificate of a peer must name; with C{None} (no
    TLS) the proof is the cluster's secret, which may not be known yet.
    """

    member: str
    cluster: str
    service: str | None
    secret: Callable[[], str | None]


class PeerGreeter:
    """Greets peers that connect to W and hands them over by purpose."""

    _log = Logger()

    def __init__(self, identity: Identity, clock: IReactorTime, purposes: Mapping[bytes, Purpose]) -> None:
        self._identity = identity
        self._clock = clock
        self._purposes = purposes
        self._open: set[PeerConnection] = set()

    def accept(self, transport: Any, identity: str | None, data: bytes) -> PeerConnection:
        """Take a connection over whose first command is ours.

        @param identity: whose certificate the other side has shown, if any.
        @param data: all bytes from that command on.
        """
        conn = PeerConnection(self._clock)
        conn.makeConnection(transport)
        _Greeting(self, conn, identity)
        self._open.add(conn)
        conn.dataReceived(data)
        return conn

    def close(self) -> None:
        """End all conversations."""
        for conn in list(self._open):
            conn.close("this node stops")
        self._open.clear()

    def _denied(self, conn: PeerConnection, why: str) -> None:
        self._log.warn("a peer ({peer}) was refused: {why}", peer=conn.peer, why=why)
        conn.error(f"DENIED {why}")


class _Greeting:
    """One conversation until its purpose is known."""

    def __init__(self, greeter: PeerGreeter, conn: PeerConnection, service: str | None) -> None:
        self._greeter = greeter
        self._conn = conn
        self._service = service
        self._nonces = (b"", b"")
        self._timeout = greeter._clock.callLater(GREETING_TIMEOUT, conn.close, "the greeting took too long")
        conn.receive = self._hello
        conn.lost = self._lost

    def _hello(self, message: list[bytes]) -> None:
        if len(message) != 6 or message[0].upper() != COMMAND or message[1].upper() != HELLO:
            raise BadMessage("expected TILE38CM HELLO")
        identity = self._greeter._identity
        _, _, version, cluster, member, nonce = message
        self._conn.peer = member.decode("utf-8", "replace")[:200]
        why = self._refusal(version, cluster)
        if why:
            self._done()
            self._greeter._denied(self._conn, why)
            return
        self._nonces = (nonce, secrets.token_hex(16).encode())
        mine = identity.member.encode()
        self._conn.send(HELLO, b"%d" % VERSION, mine, self._nonces[1], self._proof(b"accept", mine))
        self._conn.receive = self._purpose

    def _refusal(self, version: bytes, cluster: bytes) -> str:
        identity = self._greeter._identity
        if version != b"%d" % VERSION:
            return f"it speaks version {version[:8]!r}, this node {VERSION}"
        if cluster != identity.cluster.encode():
            return "it belongs to another cluster"
        if identity.service is not None and self._service != identity.service:
            return f"its certificate is not of the service {identity.service}"
        if identity.service is None and identity.secret() is None:
            return "this node does not know the cluster's secret yet"
        return ""

    def _proof(self, side: bytes, member: bytes) -> bytes:
        secret = self._greeter._identity.secret()
        if self._greeter._identity.service is not None or secret is None:
            return b""
        return proof(secret, side, self._nonces, member)

    def _purpose(self, message: list[bytes]) -> None:
        if len(message) < 3 or message[0].upper() != COMMAND:
            raise BadMessage("expected TILE38CM and a purpose")
        _, purpose, given, *rest = message
        self._done()
        if not secrets.compare_digest(given, self._proof(b"dial", self._conn.peer.encode())):
            self._greeter._denied(self._conn, "it does not know the cluster's secret")
            return
        serve = self._greeter._purposes.get(purpose.upper())
        if serve is None:
            self._greeter._denied(self._conn, f"there is no {purpose[:20]!r}")
            return
        self._conn.trusted = True
        self._conn.receive = _unexpected
        serve(self._conn, rest)

    def _done(self) -> None:
        if self._timeout.active():
            self._timeout.cancel()
        self._greeter._open.discard(self._conn)

    def _lost(self, _: str) -> None:
        self._done()


def _unexpected(_: list[bytes]) -> None:
    raise BadMessage("nothing more was expected")
