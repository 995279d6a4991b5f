"""The calling side of the private conversation."""

from __future__ import annotations

import secrets
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint

from tile38cm.coordination.survey import Report
from tile38cm.peers.accept import Identity
from tile38cm.peers.connection import NotLeader, PeerConnection, PeerError
from tile38cm.peers.messages import COMMAND, FORWARD, HELLO, POSITION, VERSION, BadMessage, proof, read_report
from tile38cm.tasks import within

T = TypeVar("T")

#: Seconds to connect and greet; a peer that is slower is as good as away.
DIAL_TIMEOUT = 2.0


class PeerDialer:
    """Calls peers; all failures are L{PeerError}."""

    def __init__(self, identity: Identity, clock: IReactorTime) -> None:
        self._identity = identity
        self._clock = clock

    async def dial(self, endpoint: IStreamClientEndpoint, purpose: bytes, *words: bytes) -> PeerConnection:
        """A greeted connection on which C{purpose} was just asked for.

        Its first message is the answer.  The caller sets C{receive} and
        C{lost} in the same turn.
        """
        try:
            connecting = connectProtocol(endpoint, PeerConnection(self._clock))
            conn = await _bounded(connecting, DIAL_TIMEOUT, self._clock)
        except PeerError:
            raise
        except CancelledError:
            raise
        except Exception as e:  # an endpoint may fail with anything that a resolver or TLS raises
            raise PeerError(str(e) or type(e).__name__) from e
        return await self._greet(conn, purpose, words)

    async def _greet(self, conn: PeerConnection, purpose: bytes, words: tuple[bytes, ...]) -> PeerConnection:
        identity = self._identity
        me, nonce = identity.member.encode(), secrets.token_hex(16).encode()
        conn.send(COMMAND, HELLO, b"%d" % VERSION, identity.cluster.encode(), me, nonce)
        message = await self.reply(conn, DIAL_TIMEOUT)
        if len(message) != 5 or message[0] != HELLO:
            conn.close("no greeting")
            raise PeerError("the peer did not greet")
        _, _, member, theirs, given = message
        nonces = (nonce, theirs)
        secret = identity.secret()
        if identity.service is None:
            if secret is None or not secrets.compare_digest(given, proof(secret, b"accept", nonces, member)):
                conn.close("no proof")
                raise PeerError("the peer does not know the cluster's secret")
            conn.send(COMMAND, purpose, proof(secret, b"dial", nonces, me), *words)
        else:
            conn.send(COMMAND, purpose, b"", *words)
        conn.peer = member.decode("utf-8", "replace")
        conn.trusted = True
        return conn

    async def reply(self, conn: PeerConnection, timeout: float) -> list[bytes]:
        """The next message of a connection; it is closed when none comes in time."""
        waiting: Deferred[list[bytes]] = Deferred()

        def receive(message: list[bytes]) -> None:
            conn.receive = _too_early
            if not waiting.called:
                waiting.callback(message)

        def lost(why: str) -> None:
            if not waiting.called:
                waiting.errback(PeerError(why))

        conn.receive, conn.lost = receive, lost
        try:
            message = await _bounded(waiting, timeout, self._clock)
        except (PeerError, CancelledError):
            conn.close("no answer")
            raise
        if message[0].startswith(b"-"):
            conn.close("refused")
            text = message[0][1:].decode("utf-8", "replace")
            raise (NotLeader if text.startswith("NOTLEADER") else PeerError)(text)
        return message

    async def position(self, endpoint: IStreamClientEndpoint, timeout: float) -> Report:
        """Where a member stands."""
        conn = await self.dial(endpoint, POSITION)
        message = await self.reply(conn, timeout)
        conn.close("answered")
        try:
            return read_report(message)
        except BadMessage as e:
            raise PeerError(str(e)) from e

    async def forward(self, endpoint: IStreamClientEndpoint, factory: IProtocolFactory) -> IProtocol:
        """A connection for clients' requests, given to a protocol of C{factory} when it is ready."""
        conn = await self.dial(endpoint, FORWARD)
        await self.reply(conn, DIAL_TIMEOUT)
        assert conn.transport is not None
        protocol = factory.buildProtocol(conn.transport.getPeer())
        if protocol is None:
            conn.close("nobody wants it")
            raise PeerError("the connection is not wanted any more")
        conn.become(protocol)
        protocol.makeConnection(conn.transport)
        return protocol


async def _bounded(waiting: Deferred[T], timeout: float, clock: IReactorTime) -> T:
    try:
        return await within(waiting, timeout, clock)
    except TimeoutError as e:
        raise PeerError(f"no answer within {timeout:g} s") from e


def _too_early(_: list[bytes]) -> None:
    raise BadMessage("nothing was asked")
