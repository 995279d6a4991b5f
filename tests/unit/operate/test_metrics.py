"""A node's figures on their way to a dogstatsd agent, through a socket in memory."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.operate.metrics import (
    BY_NAME,
    DATAGRAM,
    EVERY,
    RESOLVE_TIMEOUT,
    TABLE,
    Metrics,
    Reading,
    datagrams,
    line,
    number,
    tag,
)
from tile38cm.settings import Address, Settings
from tile38cm.tile38 import ServerInfo, Unreachable

SETTINGS = Settings(
    id="n1",
    advertise="10.0.0.1",
    server=Address("127.0.0.1", 9851),
    writer=Address("0.0.0.0", 0),
    reader=Address("0.0.0.0", 0),
    dogstatsd=Address("127.0.0.1", 8126),
)
TAGS = "#id:n1,cluster:_locks/tile38/cluster/manager"


@define
class Socket:
    """A UDP port in memory; it is also the transport of its protocol."""

    interface: str
    remote: tuple[str, int] | None = None
    sent: list[bytes] = field(factory=list)
    open: bool = True
    error: OSError | None = None

    def connect(self, host: str, port: int) -> None:
        self.remote = (host, port)

    def write(self, datagram: bytes) -> None:
        assert self.open and self.remote is not None
        if self.error is not None:
            raise self.error
        self.sent.append(datagram)

    def stopListening(self) -> None:
        self.open = False


class Reactor(Clock):
    """A clock with UDP sockets and names in memory; a name of nothing never gets an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[Socket] = []
        self.names: dict[str, str | None] = {}

    def listenUDP(self, port: int, protocol: DatagramProtocol, interface: str = "") -> Socket:
        self.sockets.append(Socket(interface))
        protocol.makeConnection(self.sockets[-1])  # type: ignore[arg-type]
        return self.sockets[-1]

    def resolve(self, name: str) -> Deferred[str]:
        if name not in self.names:
            return fail(DNSLookupError(name))
        address = self.names[name]
        return Deferred() if address is None else succeed(address)


class DatagramTests(SynchronousTestCase):
    """The bytes that dogstatsd reads."""

    def test_gauge(self) -> None:
        """A gauge is its name in our namespace, its value and its tags."""
        sent = line(BY_NAME["mem_alloc"], 4795104.0, ("id:n1", "x:y"))
        self.assertEqual(sent, b"tile38.cluster.mem_alloc:4795104|g|#id:n1,x:y")

    def test_fraction(self) -> None:
        """A fraction keeps six digits and no exponent."""
        self.assertEqual(
            line(BY_NAME["lag_seconds"], 0.00001, ("a:b",)), b"tile38.cluster.lag_seconds:0.00001|g|#a:b"
        )

    def test_count(self) -> None:
        """What is added up by the agent is marked so."""
        self.assertEqual(line(BY_NAME["held"], 3, ("a:b",)), b"tile38.cluster.held:3|c|#a:b")

    def test_state(self) -> None:
        """A state is a gauge of 1 with a tag that tells it."""
        self.assertEqual(
            line(BY_NAME["role"], "leader", ("a:b",)), b"tile38.cluster.role:1|g|#a:b,role:leader"
        )

    def test_tags_cannot_break_out(self) -> None:
        """What ends a tag or a line in a datagram is replaced."""
        self.assertEqual(tag("id", "a|b,c#d e\nf:g"), "id:a_b_c_d_e_f:g")

    @given(st.lists(st.binary(min_size=1, max_size=DATAGRAM + 10).map(lambda raw: raw.replace(b"\n", b"."))))
    def test_datagrams(self, lines: list[bytes]) -> None:
        """All lines arrive in order, and only one that is too long by itself makes a datagram too long."""
        packets = list(datagrams(lines))
        self.assertEqual([each for packet in packets for each in packet.split(b"\n")], lines)
        for packet in packets:
            self.assertTrue(len(packet) <= DATAGRAM or b"\n" not in packet)

    @given(st.lists(st.binary(min_size=1, max_size=400).map(lambda raw: raw.replace(b"\n", b"."))))
    def test_datagrams_are_filled(self, lines: list[bytes]) -> None:
        """A line begins a new datagram only if it does not fit into the one before."""
        packets = list(datagrams(lines))
        for packet, following in zip(packets, packets[1:], strict=False):
            self.assertGreater(len(packet) + 1 + len(following.split(b"\n")[0]), DATAGRAM)

    def test_number(self) -> None:
        """Text of Tile38 that is no number is left out."""
        self.assertEqual([number(text) for text in ("8", "1.5", "true", None)], [8.0, 1.5, None, None])

    def test_table(self) -> None:
        """The names that the Go cluster manager's dashboards use are all there, from Tile38's figures."""
        names = "mem_alloc num_hooks pointer_size aof_size avg_item_size heap_size num_objects threads cpus"
        names += " heap_released max_heap_size num_collections num_points in_mem_size num_strings"
        self.assertEqual({metric.name for metric in TABLE if metric.server}, set(names.split()))
        self.assertEqual(len(BY_NAME), len(TABLE))

    def test_txdatadog_has_no_metrics(self) -> None:
        """txdatadog.metrics uses "async" as a name, an error since Python 3.7: hence our own datagrams."""
        with self.assertRaises(SyntaxError):
            importlib.import_module("txdatadog.metrics")


class MetricsTests(SynchronousTestCase):
    """Round after round."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.values: dict[str, Reading] = {}
        self.info: ServerInfo | None = ServerInfo.from_reply(
            ["aof_size", "7", "id", "x", "in_memory_size", "5"]
        )

    async def server(self) -> ServerInfo:
        if self.info is None:
            raise Unreachable("away")
        return self.info

    def start(self, host: str = "127.0.0.1", *names: str) -> Metrics:
        """Begin to send the figures of those names to that host."""
        sources: dict[str, Callable[[], Reading]] = {name: partial(self.values.get, name) for name in names}
        settings = evolve(SETTINGS, dogstatsd=Address(host, 8126))
        metrics = Metrics(settings, self.reactor, sources, self.server)
        metrics.start(self.reactor)
        return metrics

    def taken(self, socket: int = 0) -> list[str]:
        """What has been sent on a socket since it was looked at last, without our tags."""
        sent, self.reactor.sockets[socket].sent[:] = list(self.reactor.sockets[socket].sent), []
        return [each.replace("|" + TAGS, "") for packet in sent for each in packet.decode().split("\n")]

    def test_round(self) -> None:
        """Tile38's figures and the node's go to the agent at once, in the order of the table."""
        self.values = {"epoch": 3, "role": "leader"}
        self.start("127.0.0.1", "role", "epoch")
        self.assertEqual(self.reactor.sockets[0].remote, ("127.0.0.1", 8126))
        expected = ["in_mem_size:5|g", "aof_size:7|g", "role:1|g,role:leader", "epoch:3|g"]
        self.assertEqual(self.taken(), [f"tile38.cluster.{each}" for each in expected])

    def test_every(self) -> None:
        """Ten seconds later the next round goes through the same socket."""
        self.start()
        self.taken()
        self.reactor.advance(EVERY)
        self.assertEqual(len(self.taken()), 2)
        self.assertEqual(len(self.reactor.sockets), 1)

    def test_counts(self) -> None:
        """A count tells what was added since the last round; a total that fell begins anew."""
        self.info = None
        seen = []
        self.values = {"proxied": 5}
        self.start("127.0.0.1", "proxied")
        for total in (5, 12, 2):
            seen += self.taken()
            self.values["proxied"] = total
            self.reactor.advance(EVERY)
        seen += self.taken()
        self.assertEqual(seen, [f"tile38.cluster.proxied:{n}|c" for n in (5, 0, 7, 2)])

    def test_unknown(self) -> None:
        """A figure that is not known at the moment is left out."""
        self.info, self.values = None, {"lag": None, "gate": 1}
        self.start("127.0.0.1", "lag", "gate")
        self.assertEqual(self.taken(), ["tile38.cluster.gate:1|g"])

    def test_tile38_away(self) -> None:
        """Without Tile38 the node's own figures go on, and nothing is logged."""
        self.info, self.values = None, {"gate": 0}
        with capturedLogs() as logs:
            self.start("127.0.0.1", "gate")
            self.reactor.advance(EVERY)
        self.assertEqual(self.taken(), 2 * ["tile38.cluster.gate:0|g"])
        self.assertEqual(logs, [])

    def test_nothing_to_say(self) -> None:
        """Without any figure there is no datagram."""
        self.info = None
        self.start()
        self.assertEqual(self.reactor.sockets, [])

    def test_wrong_name(self) -> None:
        """A source that the table does not know, or that Tile38 is asked for, is a mistake of ours."""
        for name in ("no_such", "mem_alloc"):
            with self.assertRaises(ValueError):
                Metrics(SETTINGS, self.reactor, {name: lambda: 1.0}, self.server)

    def test_ipv6(self) -> None:
        """An agent with an IPv6 address gets a socket of that family."""
        self.start("::1")
        self.assertEqual(self.reactor.sockets[0].interface, "::")

    def test_host_name(self) -> None:
        """A name becomes an address, and another address a new socket; the old one is closed."""
        self.reactor.names["agent"] = "10.0.0.1"
        self.start("agent")
        self.reactor.advance(EVERY)
        self.reactor.names["agent"] = "10.0.0.2"
        self.reactor.advance(EVERY)
        self.assertEqual(
            [each.remote for each in self.reactor.sockets], [("10.0.0.1", 8126), ("10.0.0.2", 8126)]
        )
        self.assertEqual([each.open for each in self.reactor.sockets], [False, True])

    def test_unknown_host(self) -> None:
        """A name without an address is said once, and once that it has one."""
        with capturedLogs() as logs:
            self.start("agent")
            self.reactor.advance(EVERY)
            self.reactor.advance(EVERY)
            self.assertEqual(len(logs), 1)
            self.reactor.names["agent"] = "10.0.0.1"
            self.reactor.advance(EVERY)
            self.reactor.advance(EVERY)
        self.assertEqual(len(logs), 2)
        self.assertEqual(len(self.taken()), 4)

    def test_slow_name(self) -> None:
        """A name server that does not answer is waited for a bounded time, then asked again later."""
        self.reactor.names["agent"] = None
        self.start("agent")
        self.reactor.advance(RESOLVE_TIMEOUT)
        self.reactor.names["agent"] = "10.0.0.1"
        self.reactor.advance(EVERY)
        self.assertEqual(len(self.taken()), 2)

    def test_network_down(self) -> None:
        """An error of the socket costs that round, and a line in the log when it begins and when it ends."""
        self.start()
        self.taken()
        with capturedLogs() as logs:
            self.reactor.sockets[0].error = OSError(101, "Network is unreachable")
            self.reactor.advance(EVERY)
            self.reactor.advance(EVERY)
            self.reactor.sockets[0].error = None
            self.reactor.advance(EVERY)
        self.assertEqual((len(logs), len(self.taken())), (2, 2))

    def test_stop(self) -> None:
        """After the stop the socket is closed, and nothing is left to be done."""
        metrics = self.start()
        self.successResultOf(Deferred.fromCoroutine(metrics.stop()))
        self.assertFalse(self.reactor.sockets[0].open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_before_start(self) -> None:
        """Stopping what was never started does nothing."""
        unused: Any = Metrics(SETTINGS, self.reactor, {}, self.server)
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(unused.stop())))
