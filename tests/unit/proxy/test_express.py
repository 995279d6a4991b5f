"""The way of nearly all requests leads where the long way does, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import GET, OK, SET, Bench, Caller, FakeTarget, role
from tile38cm.proxy.client import Client
from tile38cm.proxy.exchange import LARGE_REPLY
from tile38cm.proxy.express import take
from tile38cm.proxy.limits import Limits
from tile38cm.proxy.line import Line
from tile38cm.wire.bundles import BundleScanner, plain_request
from tile38cm.wire.resp import encode_request

NEAR = "NEARBY k LIMIT 10 IDS POINT 1 2"
#: Most of them as the one before, so that there is a short way for them.
PLAIN = [GET] * 24 + [SET] * 8 + [NEAR] * 3 + ["set k j POINT 1 2"]
#: What is nearly plain, and what chooses something for what follows.
OTHER = ["GET tile38cm i", "NEARBY k POINT 1 2", "OUTPUT json", "OUTPUT resp", "PING", "SHUTDOWN", "QUIT"]
OTHER += ["TIMEOUT 1 GET k i", f"{SET}\n{GET}", f"{GET}\nOUTPUT json", "GET k large", "GET k large"]
RUBBISH = [b"*3\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"$1\r\ni\r\n", b"PING\r\n", b"\r\n", b"x"]
#: What happens beside: the gate, the routes, the side, a client, a server.
HAPPENINGS = "shut open members epoch elsewhere here drain resume full empty lost gone idle time".split()

Take = Callable[[Iterable[tuple[Line, bytes]]], None]


def packet(text: str) -> bytes:
    """Requests, parted by line ends."""
    return b"".join(encode_request(one.encode().split()) for one in text.split("\n"))


def at_length(arrivals: Iterable[tuple[Line, bytes]]) -> None:
    """The long way."""
    for line, data in arrivals:
        line.port.dataReceived(data)


def answer(args: list[bytes]) -> bytes:
    """What a server says."""
    match args[0].lower():
        case b"role":
            return role(7)
        case b"set" | b"output":
            return OK
        case b"get":
            size = LARGE_REPLY + 9 if args[-1] == b"large" else 1
            return b"$%d\r\n%b\r\n" % (size, b"x" * size)
        case b"nearby":
            return b"*2\r\n:0\r\n*1\r\n$1\r\ni\r\n"
    return b"-ERR what\r\n"


class World:
    """Three clients of one side, and what happens to them."""

    def __init__(self, reader: bool, way: Take) -> None:
        self.bench = Bench(reader, Limits(max_pipeline=3, max_heavy=2, max_kept=400, idle_timeout=5))
        self.way = way
        self.callers = [self.bench.caller() for _ in range(3)]
        #: What each connection to a server was asked, and how much of that it has answered.
        self.asked: list[list[list[bytes]]] = []
        self.answered: list[int] = []
        for _ in range(2):
            for number in range(3):
                self.say([(number, packet(GET))])
            self.serve(99, False)

    def say(self, packets: list[tuple[int, bytes]]) -> None:
        """Some clients say something in one turn, each at most once."""
        pairs = [(self.callers[who].protocol.line, data) for who, data in dict(packets).items()]
        self.way(iter(pairs))
        self.bench.clock.advance(0)

    def serve(self, most: int, cut: bool) -> None:
        """Each server answers some requests, the last of them perhaps in two pieces."""
        connections = self.bench.here.connections
        for number, connection in enumerate(connections):
            if number == len(self.asked):
                self.asked.append([])
                self.answered.append(0)
            self.asked[number] += connection.requests()
            done = self.answered[number]
            data = b"".join(map(answer, self.asked[number][done : done + most]))
            self.answered[number] = min(done + most, len(self.asked[number]))
            if data and not connection.transport.disconnecting:
                half = len(data) // 2 if cut else len(data)
                for piece in filter(None, (data[:half], data[half:])):
                    connection.reply(piece)

    def happen(self, what: str) -> None:
        """All else."""
        bench = self.bench
        match what:
            case "shut" | "open":
                bench.gate.change(opened=what == "open")
            case "members":
                bench.gate.change(members=not bench.gate.members)
            case "epoch":
                bench.here.epoch += 1
                bench.gate.change(epoch=bench.here.epoch)
            case "elsewhere" | "here":
                there = bench.here if what == "here" else FakeTarget(local=False, clock=bench.clock)
                bench.routes.change(leader=there, ready=[there])
            case "drain" | "resume":
                bench.side.draining = what == "drain"
                bench.side.look_again()
            case "full":
                self.callers[0].protocol.pauseProducing()
            case "empty":
                self.callers[0].protocol.resumeProducing()
            case "lost":
                bench.here.connections[-1].lose()
            case "gone":
                self.callers[1].lose()
            case "idle":
                bench.clock.advance(6)
            case "time":
                bench.clock.advance(0.2)
        bench.clock.advance(0)

    def state(self) -> object:
        """All that can be seen from outside, and what is counted."""
        bench = self.bench
        lines = [caller.protocol.line for caller in self.callers]
        return (
            [caller.transport.value() for caller in self.callers],
            [caller.transport.disconnecting for caller in self.callers],
            self.asked,
            [connection.transport.value() for connection in bench.here.connections],
            (bench.side.in_flight, bench.side.waiting, bench.side.counters),
            [(line.asked, line.kept, line.heavy) for line in lines],
        )


SAYINGS = st.sampled_from(PLAIN + OTHER).map(packet) | st.sampled_from(RUBBISH)
SAY = st.tuples(st.just("say"), st.lists(st.tuples(st.integers(0, 2), SAYINGS), min_size=1, max_size=3))
SERVE = st.tuples(st.just("serve"), st.sampled_from([1, 2, 99]), st.booleans())
HAPPEN = st.tuples(st.just("happen"), st.sampled_from(HAPPENINGS))
EVENTS = st.one_of(SAY, SERVE, SAY, SERVE, SAY, SERVE, HAPPEN)


class SameTests(SynchronousTestCase):
    """Both ways beside each other"""

    @settings(max_examples=300)
    @given(st.booleans(), st.lists(EVENTS, max_size=40))
    def test_same(self, reader: bool, events: list[tuple[str, ...]]) -> None:
        """Whatever is said and happens, nobody can tell which way requests went."""
        worlds = [World(reader, way) for way in (take, at_length)]
        for name, *details in events:
            for world in worlds:
                getattr(world, name)(*details)
            ours, theirs = (world.state() for world in worlds)
            self.assertEqual(ours, theirs)


class ExpressTests(SynchronousTestCase):
    """When the short way is gone"""

    def setUp(self) -> None:
        self.bench = Bench()
        self.callers = [self.bench.caller() for _ in range(3)]
        self.at_length: list[Client] = []
        for caller in self.callers * 2:
            # The first request ever is looked at closely, the second finds the way.
            self.ask(caller, SET)
        for caller in self.callers:
            self.watch(caller)

    def watch(self, caller: Caller) -> None:
        """Note what goes the long way."""
        protocol = caller.protocol
        received = protocol.dataReceived

        def noted(data: bytes) -> None:
            self.at_length.append(protocol)
            received(data)

        protocol.dataReceived = noted  # type: ignore[method-assign]  # a spy

    def ask(self, caller: Caller, text: str, reply: bytes = OK) -> None:
        """One request, answered."""
        caller.send(text)
        self.bench.here.last.reply(reply + role(1))
        self.assertEqual(caller.got(), reply)

    def test_short(self) -> None:
        """One plain request after the other, of many clients at once: all in one piece with one offset."""
        data = encode_request(SET.encode().split())
        together = [(caller.protocol.line, data) for caller in self.callers]
        take(together)
        self.bench.clock.advance(0)
        # Who was alone until now waits for nobody.
        self.bench.here.last.reply(OK + role(2) + OK * 2 + role(2))
        self.assertEqual([caller.got() for caller in self.callers], [OK] * 3)
        self.bench.here.last.requests()
        take(together)
        self.bench.clock.advance(0)
        self.assertEqual(self.bench.here.last.requests(), [SET.encode().split()] * 3 + [[b"ROLE"]])
        self.bench.here.last.reply(OK * 3 + role(2))
        self.assertEqual([caller.got() for caller in self.callers], [OK] * 3)
        self.assertEqual((self.at_length, self.bench.side.in_flight), ([], 0))

    def test_another_weight(self) -> None:
        """What needs another connection takes the long way once."""
        caller = self.callers[0]
        self.ask(caller, GET, b"$1\r\nx\r\n")
        self.assertEqual(self.at_length, [caller.protocol])
        self.ask(caller, GET, b"$1\r\nx\r\n")
        self.assertEqual(len(self.at_length), 2)
        self.ask(caller, GET, b"$1\r\nx\r\n")
        self.assertEqual(len(self.at_length), 2)

    def test_under_way(self) -> None:
        """Nothing goes the short way behind what is under way."""
        caller = self.callers[0]
        caller.send(SET)
        caller.send(SET)
        self.assertEqual(self.at_length, [caller.protocol])

    def test_changes(self) -> None:
        """Whatever may concern the client closes the short way; its next request goes the long one."""
        caller = self.callers[0]

        def change_gate() -> None:
            self.bench.gate.change(opened=False)
            self.bench.gate.change(opened=True)

        changes: list[Callable[[], object]] = [
            caller.protocol.resumeProducing,
            lambda: self.bench.routes.change(leader=self.bench.here),
            change_gate,
            lambda: caller.send("OUTPUT resp"),
        ]
        for number, change in enumerate(changes):
            change()
            caller.got()
            self.at_length.clear()
            self.ask(caller, SET)
            self.ask(caller, SET)
            self.assertEqual(self.at_length, [caller.protocol], number)

    def test_congested(self) -> None:
        """A server that does not take what it was sent is sent no more."""
        caller, server = self.callers[0], self.bench.here.last
        server.requests()
        server.protocol.pauseProducing()  # type: ignore[attr-defined]  # a producer
        caller.send(SET)
        self.assertEqual(server.requests(), [])
        server.protocol.resumeProducing()  # type: ignore[attr-defined]
        self.assertEqual(server.requests(), [SET.encode().split(), [b"ROLE"]])

    def test_reader(self) -> None:
        """R refuses a write of a client whose reads it takes, though both are light."""
        bench = Bench(reader=True)
        caller = bench.caller()
        for _ in range(3):
            caller.send("EXISTS k i")
            bench.here.last.reply(b":1\r\n")
            self.assertEqual(caller.got(), b":1\r\n")
        caller.send(SET)
        self.assertIn(b"write commands go to the writer port", caller.got())

    def test_pipeline(self) -> None:
        """Who sent more at once than it may is read from again when it is answered."""
        bench = Bench(limits=Limits(max_pipeline=3))
        caller = bench.caller()
        for number in (1, 1, 1, 5, 1):
            caller.send(*[SET] * number)
            self.assertEqual(caller.transport.producerState, "paused" if number > 3 else "producing")
            bench.here.last.reply(OK * number + role(1))
            self.assertEqual((caller.got(), caller.transport.producerState), (OK * number, "producing"))

    def test_closing(self) -> None:
        """Nothing goes the short way for a client that is being shown out."""
        bench = Bench(limits=Limits(idle_timeout=5))
        caller = bench.caller()
        for _ in range(3):
            caller.send(SET)
            bench.here.last.reply(OK + role(1))
        for _ in range(7):
            bench.clock.advance(1)
        self.assertTrue(caller.transport.disconnecting)
        bench.here.last.requests()
        caller.send(SET)
        self.assertEqual(bench.here.last.requests(), [])

    def test_turned_away_at_once(self) -> None:
        """What is given back while it is sent leaves no short way: another node's connection stays spent."""
        bench = Bench()
        peer = bench.peer()
        for _ in range(2):
            peer.send(SET)
            bench.here.last.reply(OK + role(1))
        self.assertEqual(peer.got(), OK * 2)
        peer.protocol.resumeProducing()
        bench.here.last.requests()
        # As if nobody was told.
        bench.gate.opened, bench.routes.leader = False, None
        peer.send(SET)
        bench.gate.opened, bench.routes.leader = True, bench.here
        peer.send(SET)
        self.assertEqual(bench.here.last.requests(), [])
        self.assertEqual(peer.got(), b"-NOTLEADER tile38cm: not executed\r\n" * 2)

    def test_waits_no_more(self) -> None:
        """Who was refused at once for want of memory does not stay among those who wait."""
        bench = Bench(hold_bytes=0)
        caller = bench.caller()
        for _ in range(2):
            caller.send(SET)
            bench.here.last.reply(OK + role(1))
        caller.got()
        bench.gate.opened = False
        caller.send(SET)
        self.assertIn(b"memory for them is full", caller.got())
        bench.gate.opened = True
        for _ in range(2):
            caller.send("EXISTS k i")
            bench.here.last.reply(b":1\r\n" + role(1))
            self.assertEqual((caller.got(), bench.side.waiting), (b":1\r\n", 0))

    def test_never_connected(self) -> None:
        """A client whose connection broke while it was accepted keeps nobody from being looked at."""
        bench = Bench(limits=Limits(idle_timeout=5))
        bench.listener.buildProtocol(None)
        caller = bench.caller()
        for _ in range(7):
            bench.clock.advance(1)
        self.assertTrue(caller.transport.disconnecting)

    def test_lost_meanwhile(self) -> None:
        """What was read of a client that was lost in the same turn is of no use."""
        caller = self.callers[0]
        caller.lose()
        self.bench.here.last.requests()
        caller.send(SET)
        self.assertEqual(self.bench.here.last.requests(), [])

    def test_peer_lost_meanwhile(self) -> None:
        """Nor is that of another node."""
        caller = self.bench.caller()
        caller.send("TILE38CM HELLO")
        caller.lose()
        caller.send("more")
        self.assertEqual(self.bench.private.protocols[0].data, b"")


class PlainTests(SynchronousTestCase):
    """What is told of a request without taking it apart"""

    WORDS = st.sampled_from(
        b"SET GET NEARBY SCAN k LIMIT limit 10 101 POINT point IDS WHERE 1.5 -2e3 tile38cm".split()
    )

    @given(
        st.lists(
            WORDS | st.sampled_from([b"", b"\r\n", b"x\r\n$5\r\nPOINT\r\n1", b"1\r\n$1\r\n2"]),
            min_size=1,
            max_size=9,
        )
    )
    def test_same(self, words: list[bytes]) -> None:
        """It is what the scanner finds, which the strict parser confirms."""
        data = encode_request(words)
        known, bundle = plain_request(data), BundleScanner().scan(data)
        if known is not None:
            self.assertEqual(bundle, (data, 1, *known))

    def test_searches(self) -> None:
        """One that may look at far more than it finds is none, wherever that is said."""
        near = NEAR.encode().split()
        for words, small in (
            (near, True),
            ([*near, b"1000"], True),
            ([*near[:4], *near[5:], b"FENCE"], False),
            ([near[0], b"k", b"WHERE", b"speed", b"1", b"2", *near[5:]], False),
            ([*near[:2], b"LIMIT", b"101", *near[5:]], False),
            ([*near[:4], b"x\r\n$5\r\nPOINT\r\n1"], False),
        ):
            for _ in range(2):
                self.assertEqual(plain_request(encode_request(words)) is not None, small, words)

    @given(st.binary(max_size=60))
    def test_rubbish(self, tail: bytes) -> None:
        """Bytes behind a request, or in it, make it none."""
        data = encode_request(NEAR.encode().split())
        self.assertIsNotNone(plain_request(data))
        if tail:
            self.assertIsNone(plain_request(data + tail))
        self.assertIsNone(plain_request(data[:-1]))
