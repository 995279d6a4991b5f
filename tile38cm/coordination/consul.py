"""The Consul client: one coroutine for each request that a manager makes.

Every answer becomes a frozen value of L{tile38cm.coordination.consul_values};
every failure a L{Refused} (a definite no, or a wrong configuration) or an
L{Unclear} (nobody knows whether it took effect).  A request is sent at most
once; repeating it is the caller's decision.
"""

from __future__ import annotations

import json
from typing import Any

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import HTTPConnectionPool

from tile38cm.coordination.consul_agent import AgentLink, Request, http_client, path_of
from tile38cm.coordination.consul_values import (
    Authorization,
    Cas,
    CheckIndex,
    CheckNotExists,
    CheckSession,
    ConsulError,
    Delete,
    DeleteCas,
    Get,
    GetOrEmpty,
    GetTree,
    Indexed,
    Instance,
    KeyValue,
    Leaf,
    Lock,
    Op,
    Refused,
    Roots,
    Set,
    TxnAnswer,
    TxnError,
    Unclear,
    Unlock,
)
from tile38cm.coordination.consul_wire import (
    Answer,
    judge,
    member,
    members,
    read_bool,
    read_catalog,
    read_health,
    read_index,
    read_json,
    read_key,
    read_leaf,
    read_object,
    read_roots,
    read_txn,
    rubbish,
    write_op,
)
from tile38cm.settings import ConsulSettings

__all__ = [
    "Authorization",
    "Cas",
    "CheckIndex",
    "CheckNotExists",
    "CheckSession",
    "Consul",
    "ConsulError",
    "Delete",
    "DeleteCas",
    "Get",
    "GetOrEmpty",
    "GetTree",
    "Indexed",
    "Instance",
    "KeyValue",
    "Leaf",
    "Lock",
    "Op",
    "Refused",
    "Roots",
    "Set",
    "TxnAnswer",
    "TxnError",
    "Unclear",
    "Unlock",
    "consul_client",
]

#: Seconds for one request, without the time that it may block.
TIMEOUT = 5.0

_Params = tuple[tuple[str, str], ...]


def _duration(seconds: float) -> str:
    """Seconds as Go's duration, never 0 for more than 0: C{wait=0s} would mean five minutes."""
    return f"{max(1, round(seconds * 1000))}ms" if seconds > 0 else "0s"


def _blocking(index: int, wait: float) -> _Params:
    """Parameters of a blocking query; without an index or a time it does not block."""
    if index <= 0 or wait <= 0:
        return ()
    return (("index", str(index)), ("wait", _duration(wait)))


def _flag(name: str, on: bool) -> _Params:
    return ((name, "1"),) if on else ()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8")


class Consul:
    """The local Consul agent.

    All methods are coroutines, may run side by side and may be cancelled.
    Each raises L{ConsulError} and nothing else; after L{Unclear} from one that
    writes, the write may have happened or may happen later.

    C{index} and C{wait} (seconds) make a query block until something newer than
    the index is there, at most C{wait} and a sixteenth; see
    L{tile38cm.coordination.watch} for doing it for ever.

    @param http: a treq client whose agent reaches Consul.
    @param timeout: seconds for one request, on top of C{wait}.
    """

    def __init__(
        self, http: HTTPClient, settings: ConsulSettings, clock: IReactorTime, timeout: float = TIMEOUT
    ) -> None:
        self._link = AgentLink(http, settings, clock, timeout)
        self._pool: HTTPConnectionPool | None = None

    async def close(self) -> None:
        """Close the idle connections; call it when no request is under way."""
        if self._pool is not None:
            await self._pool.closeCachedConnections()

    async def get(
        self, key: str, *, index: int = 0, wait: float = 0.0, consistent: bool = False
    ) -> Indexed[KeyValue | None]:
        """The key, or None; C{consistent} asks the Consul leader's quorum."""
        found = await self._keys(key, index, wait, _flag("consistent", consistent))
        if len(found.value) > 1:
            rubbish("more than one key")
        return Indexed(found.value[0] if found.value else None, found.index)

    async def get_tree(
        self, prefix: str, *, index: int = 0, wait: float = 0.0, consistent: bool = False
    ) -> Indexed[tuple[KeyValue, ...]]:
        """All keys that begin with the prefix, in order; none is an empty tuple."""
        params = (*_flag("recurse", True), *_flag("consistent", consistent))
        return await self._keys(prefix, index, wait, params)

    async def _keys(
        self, key: str, index: int, wait: float, params: _Params
    ) -> Indexed[tuple[KeyValue, ...]]:
        path = path_of("kv", key)
        answer = await self._blocking_get(path, index, wait, params, normal=(404,))
        found = members(read_json(answer), "keys") if answer.status == 200 else []
        return Indexed(tuple(read_key(value) for value in found), read_index(answer))

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        cas: int | None = None,
        acquire: str | None = None,
        release: str | None = None,
    ) -> bool:
        """Write a key; false if the index, the lock or a lock-delay forbids it.

        @param cas: the C{modify_index} that it must have, 0 for "does not exist".
        @param acquire: the session that takes its lock.
        @param release: the session that gives its lock up.
        @raise Refused: also if the session does not exist.
        """
        conditions = (("cas", cas), ("acquire", acquire), ("release", release))
        params = tuple((name, str(given)) for name, given in conditions if given is not None)
        return read_bool(await self._ask("PUT", path_of("kv", key), params, value))

    async def delete(self, key: str, *, cas: int | None = None, recurse: bool = False) -> bool:
        """Remove a key, or all that begin with it; true also if there was none.

        @return: false only if C{cas} is given and is not its C{modify_index}.
        """
        params = (*((("cas", str(cas)),) if cas is not None else ()), *_flag("recurse", recurse))
        return read_bool(await self._ask("DELETE", path_of("kv", key), params))

    async def txn(self, *ops: Op) -> TxnAnswer:
        """Do all operations or none, in one step; C{ok} is false if one of them fails.

        A missing right shows as an error "Permission denied" in the answer.
        """
        body = _json([write_op(op) for op in ops])
        return read_txn(await self._ask("PUT", path_of("txn"), (), body, normal=(409,)))

    async def session_create(
        self, name: str, *, ttl: float, lock_delay: float = 0.0, behavior: str = "release"
    ) -> str:
        """A new session's id; no check of node or service can end it, only its TTL (seconds).

        Consul ends it between one and two TTLs after the last renewal, and at
        once when the agent leaves the cluster.
        """
        body = {
            "Name": name,
            "TTL": _duration(ttl),
            "LockDelay": _duration(lock_delay),
            "Behavior": behavior,
            "NodeChecks": [],
        }
        answer = await self._ask("PUT", path_of("session", "create"), (), _json(body))
        return member(read_object(answer), "ID", str)

    async def session_renew(self, session: str) -> bool:
        """Start the session's TTL anew; false if it is gone."""
        path = path_of("session", "renew", session)
        return (await self._ask("PUT", path, normal=(404,))).status == 200

    async def session_destroy(self, session: str) -> None:
        """End the session, known or not; its locks are free after its lock-delay."""
        await self._ask("PUT", path_of("session", "destroy", session))

    async def session_info(self, session: str) -> bool:
        """Whether there is such a session."""
        answer = await self._ask("GET", path_of("session", "info", session))
        return any(member(found, "ID", str) == session for found in members(read_json(answer), "sessions"))

    async def status_leader(self) -> str:
        """The address of Consul's own leader; empty if there is none."""
        leader = read_json(await self._ask("GET", path_of("status", "leader")))
        return leader if isinstance(leader, str) else rubbish("the leader is no text")

    async def agent_self(self) -> dict[str, Any]:
        """What the agent says of itself; needs the right agent:read."""
        return read_object(await self._ask("GET", path_of("agent", "self")))

    async def agent_services(self) -> dict[str, dict[str, Any]]:
        """The services registered at this agent, by their ids."""
        services = read_object(await self._ask("GET", path_of("agent", "services")))
        return {name: member(services, name, dict) for name in services}

    async def register(self, definition: dict[str, Any]) -> None:
        """Register a service at this agent; checks not in the definition go away.

        A check that was there keeps its status.  Unknown fields are refused.
        """
        params = (("replace-existing-checks", "true"),)
        await self._ask("PUT", path_of("agent", "service", "register"), params, _json(definition))

    async def deregister(self, service_id: str) -> bool:
        """Take a service of this agent away; false if it does not know it."""
        path = path_of("agent", "service", "deregister", service_id)
        return (await self._ask("PUT", path, normal=(404,))).status == 200

    async def check_update(self, check_id: str, status: str, output: str) -> None:
        """Tell the agent how a TTL check stands: C{passing}, C{warning} or C{critical}.

        @raise Refused: also if the agent does not know the check (404).
        """
        body = _json({"Status": status, "Output": output})
        await self._ask("PUT", path_of("agent", "check", "update", check_id), (), body)

    async def catalog_service(
        self, name: str, *, index: int = 0, wait: float = 0.0, connect: bool = False
    ) -> Indexed[tuple[Instance, ...]]:
        """All instances of a service, ordered by node and id, healthy or not."""
        path = path_of("catalog", "connect" if connect else "service", name)
        answer = await self._blocking_get(path, index, wait)
        return _instances([read_catalog(value) for value in members(read_json(answer), "services")], answer)

    async def health_service(
        self,
        name: str,
        *,
        index: int = 0,
        wait: float = 0.0,
        passing: bool = False,
        connect: bool = False,
    ) -> Indexed[tuple[Instance, ...]]:
        """Instances of a service with their health, ordered by node and id."""
        path = path_of("health", "connect" if connect else "service", name)
        answer = await self._blocking_get(path, index, wait, _flag("passing", passing))
        return _instances([read_health(value) for value in members(read_json(answer), "services")], answer)

    async def connect_roots(self, *, index: int = 0, wait: float = 0.0) -> Indexed[Roots]:
        """The roots of Connect's CA that are to be trusted."""
        answer = await self._blocking_get(path_of("agent", "connect", "ca", "roots"), index, wait)
        return Indexed(read_roots(read_object(answer)), read_index(answer))

    async def connect_leaf(self, service: str, *, index: int = 0, wait: float = 0.0) -> Indexed[Leaf]:
        """The service's certificate and key; after a change of roots ask without an index,
        which gives the new leaf at once, where a blocking query may take half a minute.
        """
        answer = await self._blocking_get(path_of("agent", "connect", "ca", "leaf", service), index, wait)
        return Indexed(read_leaf(read_object(answer)), read_index(answer))

    async def authorize(self, target: str, uri: str, serial: str) -> Authorization:
        """Whether intentions let the identity C{uri} connect to the service C{target}.

        Consul looks at the service's name in the URI only: chain and trust domain
        must have been checked before.
        """
        body = _json({"Target": target, "ClientCertURI": uri, "ClientCertSerial": serial})
        found = read_object(await self._ask("POST", path_of("agent", "connect", "authorize"), (), body))
        return Authorization(member(found, "Authorized", bool), member(found, "Reason", str, ""))

    async def _blocking_get(
        self, path: str, index: int, wait: float, params: _Params = (), normal: tuple[int, ...] = ()
    ) -> Answer:
        blocking = _blocking(index, wait)
        request = Request("GET", path, (*blocking, *params), wait=wait if blocking else 0.0)
        return judge(await self._link.ask(request), normal)

    async def _ask(
        self, method: str, path: str, params: _Params = (), body: bytes = b"", normal: tuple[int, ...] = ()
    ) -> Answer:
        return judge(await self._link.ask(Request(method, path, params, body)), normal)


def _instances(found: list[Instance], answer: Answer) -> Indexed[tuple[Instance, ...]]:
    ordered = sorted(found, key=lambda instance: (instance.node, instance.id))
    return Indexed(tuple(ordered), read_index(answer))


def consul_client(reactor: Any, settings: ConsulSettings, timeout: float = TIMEOUT) -> Consul:
    """A client with its own connections, opened when needed and closed by L{Consul.close}.

    @raise OSError, ValueError, OpenSSL.SSL.Error: if a TLS file is missing or wrong.
    """
    http, pool = http_client(reactor, settings, timeout)
    consul = Consul(http, settings, reactor, timeout)
    consul._pool = pool
    return consul
