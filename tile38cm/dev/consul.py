"""An HTTP agent that answers as Consul does, as far as a cluster manager asks.

L{DevConsul} joins the state of the other modules with klein's routes; it lives
in memory, needs no other program, and is held to the same contract as the real
one.  It has no ACLs: a token is taken and ignored.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Site

from tile38cm.dev.consul_changes import Changes, Reading
from tile38cm.dev.consul_connect import Authority, Intentions, leaf_json, roots_json
from tile38cm.dev.consul_json import (
    ADDRESS,
    DATACENTER,
    NODE,
    catalog_json,
    check_json,
    entry_json,
    health_json,
    session_json,
)
from tile38cm.dev.consul_keys import TTL_MIN, Invalid, Keys, Operation
from tile38cm.dev.consul_services import (
    Probe,
    Rejected,
    Services,
    parse_seconds,
    parse_service,
    tcp_probe,
)

#: How long a blocking query without C{wait} blocks, and the longest. Seconds.
WAIT_DEFAULT = 300.0
WAIT_MAX = 600.0
#: Consul's limit for one value and for a transaction. Bytes.
VALUE_MAX = 512 * 1024
#: And for the operations of one transaction.
OPERATIONS_MAX = 128


class NotFound(Exception):
    """Consul answers 404 with this text."""


class TooLarge(Exception):
    """Consul answers 413 with this text."""


def _argument(request: IRequest, name: str) -> str | None:
    values = request.args.get(name.encode())
    return values[0].decode() if values else None


def _said(request: IRequest, name: str) -> bool:
    """Whether a word is in the query, be it with a value or, as Twisted leaves it out, without."""
    _, _, query = request.uri.partition(b"?")
    return name.encode() in (word.partition(b"=")[0] for word in query.split(b"&"))


def _number(request: IRequest, name: str) -> int | None:
    text = _argument(request, name)
    if text is None:
        return None
    if not text.isdigit():
        raise Rejected(f"Invalid {name}: {text}")
    return int(text)


def _body(request: IRequest) -> bytes:
    content: bytes = request.content.read()
    return content


def _document(request: IRequest) -> Any:
    try:
        return json.loads(_body(request) or b"{}")
    except ValueError as error:
        raise Rejected(f"Request decode failed: {error}") from None


def _json(request: IRequest, value: Any, status: int = 200) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    return json.dumps(value).encode()


def _lock_delay(given: Any) -> float:
    """Seconds; Consul's default is 15, numbers below 1000 are seconds, others nanoseconds."""
    if given is None:
        return 15.0
    if isinstance(given, int):
        return float(given) if given < 1000 else given / 1e9
    return parse_seconds(given)


def _operation(given: Any) -> Operation:
    try:
        words = given["KV"]
        return Operation(
            verb=words["Verb"],
            key=words["Key"],
            value=b64decode(words.get("Value") or "", validate=True),
            flags=int(words.get("Flags") or 0),
            index=int(words.get("Index") or 0),
            session=words.get("Session") or "",
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Rejected(f"Failed to parse body: {error}") from None


class DevConsul:
    """One agent with its state.

    @param clock: judges sessions, checks, blocking queries and certificates.
    @param probe: how TCP checks are made; without it they keep their first status.
    @param ttl_min: the shortest TTL of a session (seconds).
    """

    app = Klein()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        probe: Probe | None = None,
        ttl_min: float = TTL_MIN,
        default_allow: bool = True,
    ) -> None:
        self.changes = Changes(clock)
        self.keys = Keys(self.changes, clock, ttl_min)
        self.services = Services(self.changes, clock, probe)
        self.authority = Authority(self.changes, clock, DATACENTER)
        self.intentions = Intentions(default_allow)

    def resource(self) -> IResource:
        """What a C{Site} or an in-memory agent serves."""
        return self.app.resource()

    def close(self) -> None:
        """Stop all timers; the state can still be read."""
        self.keys.close()
        self.services.close()

    async def _blocking(self, request: IRequest, read: Callable[[], Reading]) -> Any:
        """The value that C{read} gives in the end, with its index in the headers."""
        wait = min(parse_seconds(_argument(request, "wait") or "0s") or WAIT_DEFAULT, WAIT_MAX)
        reading = await self.changes.blocking(read, _number(request, "index") or 0, wait)
        request.setHeader(b"X-Consul-Index", str(reading.touched or self.changes.index).encode())
        request.setHeader(b"X-Consul-KnownLeader", b"true")
        request.setHeader(b"X-Consul-LastContact", b"0")
        return reading.value

    @app.handle_errors(Rejected)
    def rejected(self, request: IRequest, failure: Failure) -> bytes:
        request.setResponseCode(400)
        return str(failure.value).encode()

    @app.handle_errors(NotFound)
    def not_found(self, request: IRequest, failure: Failure) -> bytes:
        request.setResponseCode(404)
        return str(failure.value).encode()

    @app.handle_errors(TooLarge)
    def too_large(self, request: IRequest, failure: Failure) -> bytes:
        request.setResponseCode(413)
        return str(failure.value).encode()

    @app.handle_errors(Invalid)
    def invalid(self, request: IRequest, failure: Failure) -> bytes:
        request.setResponseCode(500)
        return f"raft apply failed: {failure.value}".encode()

    @app.route("/v1/kv/", methods=["GET"], defaults={"key": ""})
    @app.route("/v1/kv/<path:key>", methods=["GET"])
    async def kv_get(self, request: IRequest, key: str) -> bytes:
        if _said(request, "stale") and _said(request, "consistent"):
            raise Rejected("Cannot specify ?stale with ?consistent, conflicting semantics.")
        if _said(request, "recurse") or _said(request, "keys"):
            found = await self._blocking(request, lambda: self.keys.read_tree(key))
        else:
            entry = await self._blocking(request, lambda: self.keys.read(key))
            found = [entry] if entry is not None else []
        if not found:
            raise NotFound("")
        if _said(request, "raw"):
            raw: bytes = found[0].value
            return raw
        keys_only = _said(request, "keys")
        return _json(request, [entry.key if keys_only else entry_json(entry) for entry in found])

    @app.route("/v1/kv/<path:key>", methods=["PUT"])
    def kv_put(self, request: IRequest, key: str) -> bytes:
        value = _body(request)
        if len(value) > VALUE_MAX:
            raise TooLarge(f"Request body({len(value)} bytes) too large, max size: {VALUE_MAX} bytes.")
        verbs = {"cas": "cas", "acquire": "lock", "release": "unlock"}
        given = [name for name in verbs if _said(request, name)]
        if len(given) > 1:
            raise Rejected(f"Conflicting flags: {' and '.join(given)}")
        session = _argument(request, given[0]) if given and given != ["cas"] else None
        index = _number(request, "cas") or 0
        flags = _number(request, "flags") or 0
        verb = verbs[given[0]] if given else "set"
        return _json(request, self.keys.attempt(Operation(verb, key, value, flags, index, session or "")))

    @app.route("/v1/kv/<path:key>", methods=["DELETE"])
    def kv_delete(self, request: IRequest, key: str) -> bytes:
        index = _number(request, "cas")
        verb = "delete-tree" if _said(request, "recurse") else "delete" if index is None else "delete-cas"
        return _json(request, self.keys.attempt(Operation(verb, key, index=index or 0)))

    @app.route("/v1/txn", methods=["PUT"])
    def txn(self, request: IRequest) -> bytes:
        document = _document(request)
        if not isinstance(document, list):
            raise Rejected("Failed to parse body")
        if len(document) > OPERATIONS_MAX:
            raise TooLarge(f"Transaction contains too many operations ({len(document)} > {OPERATIONS_MAX})")
        results, errors = self.keys.transact([_operation(each) for each in document])
        if errors:
            told = [{"OpIndex": position, "What": what} for position, what in errors]
            return _json(request, {"Results": None, "Errors": told}, 409)
        return _json(request, {"Results": [{"KV": entry_json(entry)} for entry in results], "Errors": None})

    @app.route("/v1/session/create", methods=["PUT"])
    def session_create(self, request: IRequest) -> bytes:
        given = _document(request)
        session = self.keys.create_session(
            str(given.get("Name") or ""),
            NODE,
            parse_seconds(given.get("TTL") or "0s"),
            _lock_delay(given.get("LockDelay")),
            given.get("Behavior") or "release",
        )
        return _json(request, {"ID": session.id})

    @app.route("/v1/session/renew/<session_id>", methods=["PUT"])
    def session_renew(self, request: IRequest, session_id: str) -> bytes:
        session = self.keys.renew_session(session_id)
        if session is None:
            raise NotFound(f"Session id '{session_id}' not found")
        return _json(request, [session_json(session)])

    @app.route("/v1/session/destroy/<session_id>", methods=["PUT"])
    def session_destroy(self, request: IRequest, session_id: str) -> bytes:
        self.keys.destroy_session(session_id)
        return _json(request, True)

    @app.route("/v1/session/info/<session_id>", methods=["GET"])
    def session_info(self, request: IRequest, session_id: str) -> bytes:
        session = self.keys.sessions.get(session_id)
        return _json(request, [session_json(session)] if session is not None else [])

    @app.route("/v1/session/list", methods=["GET"])
    def session_list(self, request: IRequest) -> bytes:
        return _json(request, [session_json(session) for session in self.keys.sessions.values()])

    @app.route("/v1/status/leader", methods=["GET"])
    def status_leader(self, request: IRequest) -> bytes:
        return _json(request, f"{ADDRESS}:8300")

    @app.route("/v1/agent/self", methods=["GET"])
    def agent_self(self, request: IRequest) -> bytes:
        config = {"NodeName": NODE, "Datacenter": DATACENTER, "Server": True, "Version": "1.20.1"}
        return _json(request, {"Config": config, "Member": {"Name": NODE, "Addr": ADDRESS, "Status": 1}})

    @app.route("/v1/agent/services", methods=["GET"])
    def agent_services(self, request: IRequest) -> bytes:
        found = self.services.services.values()
        return _json(request, {each.id: health_json(each, [])["Service"] for each in found})

    @app.route("/v1/agent/checks", methods=["GET"])
    def agent_checks(self, request: IRequest) -> bytes:
        known = self.services.services.values()
        found = [(each, check) for each in known for check in self.services.checks[each.id].values()]
        return _json(request, {check.id: check_json(check, each) for each, check in found})

    @app.route("/v1/agent/service/register", methods=["PUT"])
    def register(self, request: IRequest) -> bytes:
        service, checks = parse_service(_document(request))
        replace = _argument(request, "replace-existing-checks") == "true"
        self.services.register(service, checks, replace)
        return b""

    @app.route("/v1/agent/service/deregister/<service_id>", methods=["PUT"])
    def deregister(self, request: IRequest, service_id: str) -> bytes:
        if not self.services.deregister(service_id):
            raise NotFound(f'Unknown service ID "{service_id}". Ensure that the service ID is passed.')
        return b""

    @app.route("/v1/agent/check/update/<check_id>", methods=["PUT"])
    def check_update(self, request: IRequest, check_id: str) -> bytes:
        given = _document(request)
        if not self.services.update_check(check_id, str(given.get("Status")), str(given.get("Output") or "")):
            raise NotFound(f'Unknown check ID "{check_id}". Ensure that the check ID is passed.')
        return b""

    @app.route("/v1/catalog/<any(service, connect):kind>/<name>", methods=["GET"])
    async def catalog(self, request: IRequest, kind: str, name: str) -> bytes:
        found = await self._blocking(request, lambda: self.services.read(name))
        return _json(request, [catalog_json(each) for each, _ in found if kind == "service" or each.native])

    @app.route("/v1/health/<any(service, connect):kind>/<name>", methods=["GET"])
    async def health(self, request: IRequest, kind: str, name: str) -> bytes:
        found = await self._blocking(request, lambda: self.services.read(name))
        passing = _said(request, "passing")
        return _json(
            request,
            [
                health_json(each, checks)
                for each, checks in found
                if (kind == "service" or each.native)
                and not (passing and any(check.status != "passing" for check in checks))
            ],
        )

    @app.route("/v1/agent/connect/ca/roots", methods=["GET"])
    @app.route("/v1/connect/ca/roots", methods=["GET"])
    async def roots(self, request: IRequest) -> bytes:
        found = await self._blocking(request, self.authority.read_roots)
        return _json(request, roots_json(self.authority, found))

    @app.route("/v1/agent/connect/ca/leaf/<service>", methods=["GET"])
    async def leaf(self, request: IRequest, service: str) -> bytes:
        return _json(
            request, leaf_json(await self._blocking(request, lambda: self.authority.read_leaf(service)))
        )

    @app.route("/v1/connect/ca/configuration", methods=["PUT"])
    def ca_configuration(self, request: IRequest) -> bytes:
        """Whatever is given, a new root comes into use."""
        self.authority.rotate()
        return b""

    @app.route("/v1/agent/connect/authorize", methods=["POST"])
    def authorize(self, request: IRequest) -> bytes:
        given = _document(request)
        if not given.get("Target"):
            raise Rejected("Target service must be specified")
        judged = self.intentions.judge(given["Target"], str(given.get("ClientCertURI")))
        if judged is None:
            raise Rejected("ClientCertURI not a valid Connect identifier")
        return _json(request, {"Authorized": judged[0], "Reason": judged[1]})

    @app.route("/v1/connect/intentions/exact", methods=["PUT", "DELETE"])
    def intention(self, request: IRequest) -> bytes:
        source, destination = _argument(request, "source"), _argument(request, "destination")
        if not source or not destination:
            raise Rejected("required query parameter 'source' or 'destination' not set")
        if request.method == b"DELETE":
            self.intentions.remove_one(destination, source)
            return _json(request, True)
        self.intentions.put_one(destination, source, _document(request).get("Action") == "allow")
        return _json(request, True)

    @app.route("/v1/config", methods=["PUT"])
    def config(self, request: IRequest) -> bytes:
        given = _document(request)
        if given.get("Kind") != "service-intentions":
            raise Rejected(f"invalid config entry kind: {given.get('Kind')}")
        sources = {each["Name"]: each.get("Action") == "allow" for each in given.get("Sources") or []}
        self.intentions.put(given["Name"], sources)
        return _json(request, True)

    @app.route("/v1/config/service-intentions/<name>", methods=["DELETE"])
    def config_delete(self, request: IRequest, name: str) -> bytes:
        self.intentions.remove(name)
        return _json(request, {})


def site(reactor: Any, *, ttl_min: float = TTL_MIN) -> tuple[DevConsul, Site]:
    """An agent and its site, to be listened on; C{DevConsul.close} ends its timers."""
    agent = DevConsul(reactor, probe=tcp_probe(reactor), ttl_min=ttl_min)
    return agent, Site(agent.resource())
