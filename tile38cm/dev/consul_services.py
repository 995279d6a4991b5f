"""Services and checks registered at the Consul-compatible agent; no HTTP.

TTL checks fall after one TTL without an update.  TCP checks are probed by the
callable given, or keep their first status if there is none.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from tile38cm.dev.consul_changes import Changes, Reading

#: Consul raises shorter intervals of TCP checks to this. Seconds.
INTERVAL_MIN = 1.0
#: How long a TCP check that says nothing else waits. Seconds.
TIMEOUT = 10.0
_STATUSES = ("passing", "warning", "critical")

#: Host, port and time-out (seconds) to "does it take connections".
Probe = Callable[[str, int, float], Awaitable[bool]]


class Rejected(Exception):
    """Consul answers 400 with this text."""


@frozen
class Check:
    """How one check stands; all times in seconds, 0 for "not of this kind" and "as usual"."""

    id: str
    name: str
    status: str
    output: str = ""
    ttl: float = 0.0
    tcp: str = ""
    interval: float = 0.0
    timeout: float = 0.0
    failures_before_critical: int = 1


@frozen
class Service:
    """One registered instance, its checks by id."""

    id: str
    name: str
    address: str
    port: int
    tags: tuple[str, ...]
    meta: dict[str, str]
    native: bool
    create_index: int
    modify_index: int


class Services:
    """All services of one agent."""

    _log = Logger()

    def __init__(self, changes: Changes, clock: IReactorTime, probe: Probe | None = None) -> None:
        self.services: dict[str, Service] = {}
        self.checks: dict[str, dict[str, Check]] = {}
        self._changes = changes
        self._clock = clock
        self._probe = probe
        self._touched: dict[str, int] = {}
        #: What keeps each check alive: a TTL that runs, or probes for ever.
        self._pulses: dict[str, Deferred[None]] = {}

    def close(self) -> None:
        """Stop all checks; their statuses stay as they are."""
        for check_id in list(self._pulses):
            self._stop(check_id)

    def read(self, name: str) -> Reading:
        """All instances of a service as pairs with their checks."""
        found = [
            (service, list(self.checks[service.id].values()))
            for service in self.services.values()
            if service.name == name
        ]
        return Reading(found, self._touched.get(name, 0))

    def register(self, service: Service, checks: list[Check], replace_checks: bool) -> None:
        """Add or replace a service; a check that was there keeps its status."""
        old_checks = self.checks.get(service.id, {})
        kept = {} if replace_checks else dict(old_checks)
        for check in checks:
            old = old_checks.get(check.id)
            kept[check.id] = evolve(check, status=old.status, output=old.output) if old else check
        for gone in old_checks.keys() - kept.keys():
            self._stop(gone)
        with self._changes.write() as index:
            self._place(service, kept, index)
        for check in checks:
            self._start(service.id, check)

    def _place(self, service: Service, checks: dict[str, Check], index: int) -> None:
        old = self.services.get(service.id)
        created = old.create_index if old is not None else index
        placed = evolve(service, create_index=created, modify_index=old.modify_index if old else index)
        if placed == old and checks == self.checks.get(service.id):
            return
        if old is not None:
            self._touched[old.name] = index
        self.services[service.id] = evolve(placed, modify_index=index)
        self.checks[service.id] = checks
        self._touched[service.name] = index

    def deregister(self, service_id: str) -> bool:
        """Take it away with its checks; false if it is not known."""
        service = self.services.get(service_id)
        if service is None:
            return False
        with self._changes.write() as index:
            del self.services[service_id]
            for check_id in self.checks.pop(service_id):
                self._stop(check_id)
            self._touched[service.name] = index
        return True

    def update_check(self, check_id: str, status: str, output: str) -> bool:
        """Set how a TTL check stands and start its TTL anew; false if it is not known.

        @raise Rejected: for an unknown status.
        """
        if status not in _STATUSES:
            raise Rejected(f"Invalid check status: '{status}'")
        service_id = self._owner(check_id)
        if service_id is None or not self.checks[service_id][check_id].ttl:
            return False
        self._set(service_id, check_id, status, output)
        self._start(service_id, self.checks[service_id][check_id])
        return True

    def _owner(self, check_id: str) -> str | None:
        return next((owner for owner, checks in self.checks.items() if check_id in checks), None)

    def _set(self, service_id: str, check_id: str, status: str, output: str) -> None:
        old = self.checks[service_id][check_id]
        self.checks[service_id][check_id] = evolve(old, status=status, output=output)
        if old.status != status:
            with self._changes.write() as index:
                self._touched[self.services[service_id].name] = index

    def _stop(self, check_id: str) -> None:
        pulse = self._pulses.pop(check_id, None)
        if pulse is not None:
            pulse.cancel()

    def _start(self, service_id: str, check: Check) -> None:
        self._stop(check.id)
        if check.ttl:
            pulse = Deferred.fromCoroutine(self._expire(service_id, check))
        elif check.tcp and self._probe is not None:
            pulse = Deferred.fromCoroutine(self._probe_for_ever(service_id, check, self._probe))
        else:
            return
        self._pulses[check.id] = pulse.addErrback(self._stopped)

    def _stopped(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("a check ended", failure)

    async def _expire(self, service_id: str, check: Check) -> None:
        await deferLater(self._clock, check.ttl)
        self._set(service_id, check.id, "critical", "TTL expired")

    async def _probe_for_ever(self, service_id: str, check: Check, probe: Probe) -> None:
        """As Consul does: first at a random point of the first interval, critical after enough failures."""
        host, _, port = check.tcp.rpartition(":")
        interval = max(INTERVAL_MIN, check.interval)
        failures = 0
        await deferLater(self._clock, random.uniform(0.0, interval))
        while True:
            if await probe(host.strip("[]"), int(port), check.timeout or TIMEOUT):
                failures = 0
                self._set(service_id, check.id, "passing", f"TCP connect {check.tcp}: Success")
            else:
                failures += 1
            if failures >= check.failures_before_critical:
                self._set(service_id, check.id, "critical", f"dial tcp {check.tcp}: failed")
            await deferLater(self._clock, interval)


class _Knock(Protocol):
    """Closes as soon as it is connected."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


def tcp_probe(reactor: Any) -> Probe:
    """A probe that connects and closes at once."""

    async def probe(host: str, port: int, timeout: float) -> bool:
        try:
            endpoint = HostnameEndpoint(reactor, host, port, timeout=timeout)
            await endpoint.connect(Factory.forProtocol(_Knock))
        except (ConnectError, DNSLookupError):
            return False
        return True

    return probe


def parse_seconds(text: Any) -> float:
    """Go's duration as seconds.

    @raise Rejected: if it is none.
    """
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        unit = next(unit for unit in units if str(text).endswith(unit))
        return float(str(text).removesuffix(unit)) * units[unit]
    except (StopIteration, ValueError):
        raise Rejected(f'time: invalid duration "{text}"') from None


def _parse_check(service_id: str, service: str, number: int, given: dict[str, Any]) -> Check:
    ttl = parse_seconds(given["TTL"]) if given.get("TTL") else 0.0
    tcp = str(given.get("TCP") or "")
    if tcp and not given.get("Interval"):
        raise Rejected("Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks")
    if tcp and ttl:
        raise Rejected("Invalid check: Interval and TTL cannot both be specified")
    return Check(
        id=str(given.get("CheckID") or f"service:{service_id}" + (f":{number}" if number > 1 else "")),
        name=str(given.get("Name") or f"Service '{service}' check"),
        status=str(given.get("Status") or "critical"),
        ttl=ttl,
        tcp=tcp,
        interval=parse_seconds(given["Interval"]) if given.get("Interval") else 0.0,
        timeout=parse_seconds(given["Timeout"]) if given.get("Timeout") else 0.0,
        failures_before_critical=max(1, int(given.get("FailuresBeforeCritical") or 1)),
    )


_FIELDS = {"ID", "Name", "Address", "Port", "Tags", "Meta", "Connect", "Checks", "Check", "EnableTagOverride"}
_FIELDS |= {"Weights", "Kind", "TaggedAddresses"}


def parse_service(given: Any) -> tuple[Service, list[Check]]:
    """A definition for C{/v1/agent/service/register}.

    @raise Rejected: if Consul would answer 400.
    """
    if not isinstance(given, dict):
        raise Rejected("Request decode failed")
    for name in given.keys() - _FIELDS:
        raise Rejected(f'Request decode failed: json: unknown field "{name}"')
    if not given.get("Name"):
        raise Rejected("Missing service name")
    service_id = str(given.get("ID") or given["Name"])
    definitions = list(given.get("Checks") or []) + ([given["Check"]] if given.get("Check") else [])
    name = str(given["Name"])
    checks = [_parse_check(service_id, name, number, each) for number, each in enumerate(definitions, 1)]
    service = Service(
        id=service_id,
        name=name,
        address=str(given.get("Address") or ""),
        port=int(given.get("Port") or 0),
        tags=tuple(given.get("Tags") or ()),
        meta=dict(given.get("Meta") or {}),
        native=bool((given.get("Connect") or {}).get("Native")),
        create_index=0,
        modify_index=0,
    )
    return service, checks
