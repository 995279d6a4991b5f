"""The node's figures, sent to a dogstatsd agent every L{EVERY} seconds.

L{TABLE} is the one place that names them; the documentation is made from it.
Nobody waits for the agent: it may be missing, come later or move.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal

from attrs import frozen
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.settings import Settings
from tile38cm.tasks import Tasks, pause, within
from tile38cm.tile38 import ServerInfo, Tile38Error

#: Seconds between two rounds.
EVERY = 10.0
#: Seconds for the agent's host name to become an address.
RESOLVE_TIMEOUT = 3.0
NAMESPACE = "tile38.cluster"
#: Bytes that fit into one datagram on every usual network.
DATAGRAM = 1432

#: A C{count} is a total of this process, sent as what was added to it; a C{state} is a text, sent as a gauge
#: of 1 that is tagged with it.
Kind = Literal["gauge", "count", "state"]
Reading = float | str | None


@frozen
class Metric:
    """One figure; C{server} is its name in Tile38's C{SERVER}, empty if the node itself knows it."""

    name: str
    kind: Kind
    unit: str
    server: str
    help: str


def _of_server(name: str, unit: str, text: str, server: str = "") -> Metric:
    return Metric(name, "gauge", unit, server or name, text)


def _of_node(name: str, kind: Kind, unit: str, text: str) -> Metric:
    return Metric(name, kind, unit, "", text)


TABLE: tuple[Metric, ...] = (
    _of_server("mem_alloc", "byte", "Memory that Tile38 has allocated and still uses."),
    _of_server("heap_size", "byte", "Tile38's heap."),
    _of_server("max_heap_size", "byte", "The heap size at which Tile38 refuses writes; 0: none is set."),
    _of_server("heap_released", "byte", "Heap given back to the system."),
    _of_server("in_mem_size", "byte", "Objects in memory, by Tile38's estimate.", "in_memory_size"),
    _of_server("avg_item_size", "byte", "Memory in use divided by the number of points."),
    _of_server("pointer_size", "byte", "The size of a pointer: 8 on a 64-bit system."),
    _of_server("aof_size", "byte", "The log, as Tile38 says; a follower may say too much."),
    _of_server("num_collections", "item", "Collections (keys)."),
    _of_server("num_objects", "item", "Objects in all collections."),
    _of_server("num_points", "item", "Points that these objects consist of."),
    _of_server("num_strings", "item", "Objects that are strings."),
    _of_server("num_hooks", "item", "Hooks and channels."),
    _of_server("threads", "thread", "Threads of Tile38."),
    _of_server("cpus", "core", "Processors that Tile38 uses."),
    _of_node("role", "state", "", "1, tagged role:leader, role:follower, role:taking-over or role:unknown."),
    _of_node("epoch", "gauge", "", "The term that this node takes part in; it grows with each new leader."),
    _of_node("lag", "gauge", "byte", "On a follower: what its Tile38 still lacks of the leader's log."),
    _of_node("lag_seconds", "gauge", "second", "On a follower: for how long it has lagged."),
    _of_node("insync", "gauge", "item", "Members of the sync set, the leader included."),
    _of_node("gate", "gauge", "", "1 while this node may answer writes, else 0."),
    _of_node("clients", "gauge", "connection", "Clients connected to W and R."),
    _of_node("proxied", "count", "request", "Requests passed on."),
    _of_node("held", "count", "request", "Requests that had to wait for a usable leader."),
    _of_node("refused", "count", "request", "Requests answered with an error by this node itself."),
    _of_node("uncertain", "count", "request", "Writes answered UNCERTAIN: the leader was lost meanwhile."),
    _of_node("failovers", "count", "event", "Changes of the leader that this node has seen."),
)

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in TABLE}

_NODE_NAMES = frozenset(metric.name for metric in TABLE if not metric.server)
#: What ends or divides tags in a datagram.
_UNFIT = re.compile(r"[|,#\s]")


def tag(name: str, value: str) -> str:
    """C{name:value}, with what a datagram cannot carry in a tag replaced by C{_}."""
    return f"{name}:{_UNFIT.sub('_', value)}"


def line(metric: Metric, value: float | str, tags: tuple[str, ...]) -> bytes:
    """One metric as dogstatsd reads it; a text is for a C{state} only."""
    if isinstance(value, str):
        tags, value = (*tags, tag(metric.name, value)), 1
    shown = f"{value:.6f}".rstrip("0").rstrip(".")
    letter = "c" if metric.kind == "count" else "g"
    return f"{NAMESPACE}.{metric.name}:{shown}|{letter}|#{','.join(tags)}".encode()


def datagrams(lines: list[bytes], limit: int = DATAGRAM) -> Iterator[bytes]:
    """The lines in order, as many in each datagram as fit; one that is too long goes alone."""
    packet = b""
    for each in lines:
        joined = packet + b"\n" + each if packet else each
        if packet and len(joined) > limit:
            yield packet
            joined = each
        packet = joined
    if packet:
        yield packet


def number(text: str | None) -> float | None:
    """Tile38 sends numbers as text; what is no number is not sent on."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


class Metrics:
    """Reads all figures and sends them, for ever.

    @param sources: What the node knows of itself, by the names of L{TABLE}; nothing is sent of a missing one
        or of C{None}.
    @param server: Asks the local Tile38; without its answer only its own figures are missing.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        clock: IReactorTime,
        sources: Mapping[str, Callable[[], Reading]],
        server: Callable[[], Awaitable[ServerInfo]],
    ) -> None:
        if unknown := sources.keys() - _NODE_NAMES:
            raise ValueError(f"no such metrics of a node: {', '.join(sorted(unknown))}")
        self._agent = settings.dogstatsd
        self._clock = clock
        self._sources = sources
        self._server = server
        self._tags = (tag("id", settings.id), tag("cluster", settings.lock_prefix))
        self._totals: dict[str, float] = {}
        self._tasks = Tasks()
        self._line: _Line | None = None
        self._trouble = ""

    def start(self, reactor: Any) -> None:
        """Begin; C{reactor} resolves names and sends datagrams."""
        self._line = _Line(reactor, self._clock, self._agent.host, self._agent.port)
        self._tasks.start(self._run(self._line), "sending metrics")

    async def stop(self) -> None:
        """Send no more, and close the socket."""
        await self._tasks.cancel()
        if self._line is not None:
            await self._line.close()

    async def _run(self, to: _Line) -> None:
        while True:
            lines = await self._lines()
            try:
                for datagram in datagrams(lines):
                    await to.send(datagram)
            except (OSError, CannotListenError, DNSLookupError, TimeoutError) as error:
                self._say(str(error) or type(error).__name__)
            else:
                self._say("")
            await pause(self._clock, EVERY)

    def _say(self, trouble: str) -> None:
        """Once for each beginning and end of not being able to send."""
        if trouble and not self._trouble:
            self._log.info("metrics cannot be sent to {agent}: {why}", agent=str(self._agent), why=trouble)
        elif self._trouble and not trouble:
            self._log.info("metrics are sent to {agent} again", agent=str(self._agent))
        self._trouble = trouble

    async def _lines(self) -> list[bytes]:
        """This round's figures; what a count has grown by is not told twice."""
        try:
            raw = (await self._server()).raw
        except Tile38Error:
            raw = {}
        found = []
        for metric in TABLE:
            value = number(raw.get(metric.server)) if metric.server else self._own(metric)
            if value is not None:
                found.append(line(metric, value, self._tags))
        return found

    def _own(self, metric: Metric) -> Reading:
        source = self._sources.get(metric.name)
        value = None if source is None else source()
        if metric.kind != "count" or not isinstance(value, (int, float)):
            return value
        before = self._totals.get(metric.name, 0.0)
        self._totals[metric.name] = value
        return value - before if value >= before else value


class _Line:
    """The way to the agent; its name is asked for anew whenever its address may be another one."""

    def __init__(self, reactor: Any, clock: IReactorTime, host: str, port: int) -> None:
        self._reactor = reactor
        self._clock = clock
        self._host = host
        self._port = port
        self._address = ""
        self._resolved_at = -EVERY
        self._protocol: Any = None
        self._socket: Any = None

    async def send(self, datagram: bytes) -> None:
        """Hand one datagram to the kernel.

        Nobody answering at that port is not noticed.

        @raise OSError, CannotListenError, DNSLookupError, TimeoutError: it was not sent.
        """
        await self._open()
        self._protocol.send(datagram)

    async def close(self) -> None:
        """Close the socket, if there is one."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await maybeDeferred(socket.stopListening)

    async def _open(self) -> None:
        address = await self._resolve()
        # Where nobody listens the kernel reports that as an error of the socket, for which epoll's reactor
        # closes it: the protocol has then lost its transport.
        if self._socket is not None and self._protocol.transport is not None and address == self._address:
            return
        await self.close()
        # Here and not above: this module of txdatadog takes the global reactor when it is imported.
        from txdatadog.client import DogStatxD

        self._protocol = DogStatxD(host=address, port=self._port)
        self._protocol.noisy = False
        interface = "::" if isIPv6Address(address) else ""
        self._socket = self._reactor.listenUDP(0, self._protocol, interface=interface)
        self._address = address

    async def _resolve(self) -> str:
        """The agent's address, not older than half a round; a host name becomes an IPv4 address."""
        if isIPAddress(self._host) or isIPv6Address(self._host):
            return self._host
        if self._address and self._clock.seconds() - self._resolved_at < EVERY / 2:
            return self._address
        asked: Deferred[str] = self._reactor.resolve(self._host)
        address = await within(asked, RESOLVE_TIMEOUT, self._clock)
        self._resolved_at = self._clock.seconds()
        return address
