"""One HTTP request to the Consul agent and its whole answer, in bounded time and space.

L{http_client} builds the connections: a small pool, TLS by the official
client's rules, unix sockets.  L{AgentLink} asks one L{Request} at a time per
connection and lets nothing out but L{Answer}, L{Unclear} and cancellation.
"""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attrs import frozen
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import (
    IConsumer,
    IOpenSSLClientConnectionCreator,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from tile38cm.coordination.consul_values import Unclear
from tile38cm.coordination.consul_wire import Answer
from tile38cm.settings import ConsulSettings, Secret

#: The largest answer that is read; Consul's own limit for one key is 512 KiB.
MAX_ANSWER = 16 * 1024 * 1024
#: Idle connections kept to the agent, which takes 200 from one address.
MAX_IDLE_CONNECTIONS = 8
#: Seconds after which an idle connection is closed.
IDLE_TIMEOUT = 60

_PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@frozen
class Request:
    """What to ask; C{path} is already quoted, C{wait} is how long the agent may block (seconds)."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    wait: float = 0.0


def path_of(*parts: str) -> str:
    """The parts quoted and joined below C{/v1}; a slash within the last one stays."""
    return "/v1/" + "/".join(quote(part, safe="/") for part in parts)


@implementer(IBodyProducer)
class WholeBody:
    """A body of known length, written at once: Consul ignores a chunked one on C{session/create}."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """All is written already."""

    def resumeProducing(self) -> None:
        """All is written already."""

    def stopProducing(self) -> None:
        """All is written already."""


class _Collector(Protocol):
    """Gathers a body up to a limit; cancelling C{done} aborts the connection."""

    def __init__(self, limit: int) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._parts: list[bytes] = []
        self._left = limit

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._parts.append(data)
        elif not self.done.called:
            self._abort()
            self.done.errback(Failure(Unclear("Consul's answer is too large")))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(reason)

    def _abort(self) -> None:
        abort = getattr(self.transport, "abortConnection", None)
        if abort is not None:
            abort()


async def _read_body(response: IResponse, limit: int) -> bytes:
    collector = _Collector(limit)
    response.deliverBody(collector)
    return await collector.done


def _causes(error: BaseException) -> list[BaseException]:
    """What Twisted's HTTP client gathered as the causes of an error of its own."""
    found = (getattr(cause, "value", cause) for cause in getattr(error, "reasons", None) or ())
    return [cause for cause in found if isinstance(cause, BaseException)]


def _reason(error: BaseException) -> str:
    """A sentence for a failure of HTTP, TLS or TCP, without the request's content."""
    for cause in _causes(error):
        return _reason(cause)
    text = str(error)
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _was_cancelled(error: BaseException) -> bool:
    """Whether Twisted's HTTP client failed because its Deferred was cancelled."""
    ended = (CancelledError, ConnectingCancelledError)
    return isinstance(error, ended) or any(_was_cancelled(cause) for cause in _causes(error))


class AgentLink:
    """Sends requests to one agent, each at most once and with a time limit.

    @param http: a treq client; what it is built on decides how the agent is reached.
    @param timeout: seconds for one request; blocking ones get C{wait} and its
        jitter (a sixteenth) on top.
    """

    _log = Logger()

    def __init__(
        self, http: HTTPClient, settings: ConsulSettings, clock: IReactorTime, timeout: float
    ) -> None:
        self._http = http
        self._settings = settings
        self._clock = clock
        self._timeout = timeout
        self._base = _base_url(settings)
        self._warned_of_filter = False

    async def ask(self, request: Request) -> Answer:
        """The agent's answer, whatever its status.

        @raise Unclear: on time-out, failed connections, broken or too large answers.
        """
        limit = request.wait * 17 / 16 + self._timeout
        exchange = Deferred.fromCoroutine(self._exchange(request))
        late: list[str] = []

        def expire() -> None:
            late.append(f"Consul has not answered in {limit:g} s")
            exchange.cancel()

        timer = self._clock.callLater(limit, expire)
        try:
            return await exchange
        except Unclear:
            raise
        except Exception as error:
            if late:
                raise Unclear(late[0]) from None
            if _was_cancelled(error):
                raise CancelledError() from None
            raise Unclear(f"Consul cannot be reached: {self._hide(_reason(error))}") from None
        finally:
            if timer.active():
                timer.cancel()

    async def _exchange(self, request: Request) -> Answer:
        response = await self._http.request(
            request.method,
            self._base + request.path,
            params=list(request.params),
            headers=self._headers(),
            data=request.body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,  # type: ignore[arg-type]  # only used with treq's own time-outs
        )
        body = await _read_body(response, MAX_ANSWER)
        self._warn_of_filter(response.headers, request.path)
        # Names as bytes: Twisted caches them by equality, and str beside bytes is a warning under -b.
        index = response.headers.getRawHeaders(b"X-Consul-Index", [b""])[0].decode("ascii", "replace")
        if response.code >= 300:
            body = self._hide(body.decode("utf-8", "replace")).encode()
        return Answer(response.code, body, index)

    def _token(self) -> str | None:
        settings = self._settings
        if settings.token_file is not None:
            try:
                return settings.token_file.read_text().strip()
            except (OSError, ValueError) as error:
                raise Unclear(f"the token file {settings.token_file} cannot be read: {error}") from None
        return settings.token.value if settings.token is not None else None

    def _headers(self) -> Headers:
        headers = Headers()
        token = self._token()
        if token:
            headers.setRawHeaders(b"X-Consul-Token", [token.encode()])
        if self._settings.http_auth is not None:
            encoded = b64encode(self._settings.http_auth.value.encode())
            headers.setRawHeaders(b"Authorization", [b"Basic " + encoded])
        return headers

    def _hide(self, text: str) -> str:
        """The text without our own secrets, should anybody have sent them back."""
        secrets: list[Secret | None] = [self._settings.token, self._settings.http_auth]
        for secret in secrets:
            if secret is not None and secret.value:
                text = text.replace(secret.value, str(secret))
        return text

    def _warn_of_filter(self, headers: Headers, path: str) -> None:
        """Say once that Consul left things out: lists then look emptier than they are."""
        filtered = headers.getRawHeaders(b"X-Consul-Results-Filtered-By-ACLs", [])
        if filtered == [b"true"] and not self._warned_of_filter:
            self._warned_of_filter = True
            self._log.warn(
                "Consul's ACLs hide results from this token (seen on {path}); it lacks read rights", path=path
            )


def _base_url(settings: ConsulSettings) -> str:
    """Where paths are put behind; it shows in the Host header only, the endpoint knows the way.

    hyperlink, which treq uses, takes no IPv6 literals.
    """
    scheme, address = "https" if settings.https else "http", settings.address
    if settings.unix_socket is not None:
        host = "localhost"
    else:
        host = f"localhost:{address.port}" if ":" in address.host else str(address)
    return f"{scheme}://{host}{settings.path_prefix}"


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """TLS that trusts whoever answers: C{CONSUL_HTTP_SSL_VERIFY=false}."""

    def __init__(self, server_name: str, client: PrivateCertificate | None) -> None:
        self._name = server_name
        self._options = client.options() if client is not None else CertificateOptions(verify=False)

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._options.getContext(), None)
        if not re.fullmatch(r"[\d.]+|.*:.*", self._name):
            connection.set_tlsext_host_name(self._name.encode("idna"))
        return connection


def _certificates(paths: list[Path]) -> list[Certificate]:
    """All certificates in those PEM files, in order."""
    blocks = [block for path in paths for block in _PEM_CERTIFICATE.findall(path.read_text())]
    return [Certificate.loadPEM(block.encode("ascii")) for block in blocks]


def _client_certificate(settings: ConsulSettings) -> PrivateCertificate | None:
    if settings.client_cert is None:
        return None
    key = settings.client_key or settings.client_cert
    loaded: PrivateCertificate = PrivateCertificate.loadPEM(
        key.read_bytes() + b"\n" + settings.client_cert.read_bytes()
    )
    return loaded


def tls_creator(settings: ConsulSettings) -> IOpenSSLClientConnectionCreator:
    """TLS towards the agent as the settings say.

    @raise OSError, ValueError, OpenSSL.SSL.Error: if a file cannot be read or holds no certificate.
    """
    name = settings.tls_server_name or (
        "localhost" if settings.unix_socket is not None else settings.address.host
    )
    client = _client_certificate(settings)
    if not settings.verify:
        return _Unverified(name, client)
    paths = [settings.ca_file] if settings.ca_file is not None else []
    if not paths and settings.ca_path is not None:
        paths = sorted(path for path in settings.ca_path.iterdir() if path.is_file())
    trusted = _certificates(paths)
    if paths and not trusted:
        raise ValueError(f"no certificate in {', '.join(str(path) for path in paths)}")
    trust = trustRootFromCertificates(trusted) if trusted else platformTrust()
    return optionsForClientTLS(name, trustRoot=trust, clientCertificate=client)


@implementer(IAgentEndpointFactory)
class _AgentEndpoints:
    """Every URL leads to the one Consul agent."""

    def __init__(self, reactor: Any, settings: ConsulSettings, timeout: float) -> None:
        self._reactor = reactor
        self._settings = settings
        self._timeout = timeout
        self._tls = tls_creator(settings) if settings.https else None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        settings, address = self._settings, self._settings.address
        endpoint: IStreamClientEndpoint
        if settings.unix_socket is not None:
            endpoint = UNIXClientEndpoint(self._reactor, settings.unix_socket, timeout=self._timeout)
        else:
            endpoint = HostnameEndpoint(self._reactor, address.host, address.port, timeout=self._timeout)
        return wrapClientTLS(self._tls, endpoint) if self._tls is not None else endpoint


def http_client(
    reactor: Any, settings: ConsulSettings, timeout: float
) -> tuple[HTTPClient, HTTPConnectionPool]:
    """A treq client that reaches the agent, and its pool, which the caller closes at the end.

    Nothing is repeated by the pool: a lost C{DELETE} may have taken effect.

    @raise OSError, ValueError, OpenSSL.SSL.Error: as L{tls_creator}.
    """
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.retryAutomatically = False
    pool.maxPersistentPerHost = MAX_IDLE_CONNECTIONS
    pool.cachedConnectionTimeout = IDLE_TIMEOUT
    agent = Agent.usingEndpointFactory(reactor, _AgentEndpoints(reactor, settings, timeout), pool)
    return HTTPClient(agent, data_to_body_producer=WholeBody), pool
