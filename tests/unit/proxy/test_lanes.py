"""Connections that clients share: together where that is cheap, apart where one could harm another."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import ASK, DEL, GET, OK, SET, Bench, Caller, Connected, FakeTarget, role, words
from tile38cm.proxy.lanes import search_lanes
from tile38cm.proxy.limits import Limits
from tile38cm.proxy.upstream import ENOUGH, Upstream
from tile38cm.wire.resp import encode_request
from tile38cm.wire.weights import LIGHT, SEARCH, VALUE

NEAR, SCAN = "NEARBY k LIMIT 3 POINT 1 2", "SCAN k"


class SearchLanesTests(SynchronousTestCase):
    """How many searches a server works on side by side"""

    def test_by_processors(self) -> None:
        """One more than processors, and a few where nobody knows them or there are many."""
        lanes = {count: search_lanes(count) for count in (None, 1, 2, 4, 7, 64)}
        self.assertEqual(lanes, {None: 2, 1: 2, 2: 3, 4: 5, 7: 8, 64: 8})


class LaneCase(SynchronousTestCase):
    """Clients that have been here before: their packets are looked at as a whole."""

    def setUp(self) -> None:
        self.bench = Bench(limits=Limits(max_heavy=4))
        self.here = self.bench.here
        self.one, self.two = self.known(), self.known()
        # A lane that has seen several clients in one turn waits for all of the next one.
        self.together((self.one, "PING"), (self.two, "PING"), (self.two, "PING"))
        self.assertEqual(self.light.requests(), [[b"PING"], ASK, [b"PING"], [b"PING"], ASK])
        pong = b"+PONG\r\n"
        self.light.reply(pong + role(0) + pong * 2 + role(0))
        self.assertEqual((self.one.got(), self.two.got()), (pong, pong * 2))

    def known(self) -> Caller:
        """A client whose first request, a light one, has been answered."""
        caller = self.bench.caller()
        caller.send("PING")
        self.light.requests()
        self.light.reply(b"+PONG\r\n" + role(0))
        self.assertEqual(caller.got(), b"+PONG\r\n")
        return caller

    @property
    def light(self) -> Connected:
        """The lane for light requests, which is made first."""
        return self.here.connections[0]

    def upstreams(self, weight: int) -> list[Upstream]:
        """The connections of the lanes of one weight."""
        return [lane.upstream for key, lane in self.bench.side.lanes._lanes.items() if key[2] == weight]

    def together(self, *asked: tuple[Caller, str]) -> None:
        """Have clients send in one turn of the reactor."""
        for caller, request in asked:
            caller.protocol.dataReceived(_encoded(request))
        self.bench.clock.advance(0)


def _encoded(*requests: str) -> bytes:
    return b"".join(encode_request(words(request)) for request in requests)


class SharingTests(LaneCase):
    """What goes together"""

    def test_one_turn(self) -> None:
        """What all clients send in one turn goes out in one piece, with one question for the offset."""
        self.together((self.one, SET), (self.two, DEL), (self.one, DEL))
        self.assertEqual(self.light.requests(), [words(SET), words(DEL), words(DEL), ASK])
        self.light.reply(OK + b":1\r\n:0\r\n")
        self.assertEqual((self.one.got(), self.two.got()), (b"", b""))
        self.light.reply(role(5))
        self.assertEqual((self.one.got(), self.two.got()), (OK + b":0\r\n", b":1\r\n"))
        self.assertEqual((len(self.here.connections), self.bench.side.in_flight), (1, 0))

    def test_replies_in_pieces(self) -> None:
        """Replies find their clients however the bytes are cut."""
        for _ in range(2):
            self.together((self.one, SET), (self.two, DEL))
            for byte in OK + b":17\r\n" + role(5):
                self.light.reply(bytes((byte,)))
            self.assertEqual((self.one.got(), self.two.got()), (OK, b":17\r\n"))

    def test_split_request(self) -> None:
        """A request that comes in pieces is as good as a whole one, and so is what follows it."""
        data = _encoded(SET, DEL)
        for cut in range(1, len(data)):
            self.one.raw(data[:cut])
            self.one.raw(data[cut:])
            got = self.light.requests()
            self.assertEqual([g for g in got if g != ASK], [words(SET), words(DEL)], cut)
            split = ASK in got[:-1]
            self.light.reply(OK + (role(1) if split else b"") + b":1\r\n" + role(1))
            self.assertEqual(self.one.got(), OK + b":1\r\n")

    def test_weights_apart(self) -> None:
        """A large reply delays neither writes nor searches, and a search no writes."""
        self.together((self.one, GET), (self.two, NEAR))
        value, search = self.here.connections[1:]
        self.assertEqual((value.requests(), search.requests()), ([words(GET), ASK], [words(NEAR), ASK]))
        value.reply(b"$1000000\r\nxxx")
        third = self.known()
        third.send(SET)
        self.light.reply(OK + role(1))
        search.reply(b"*0\r\n" + role(1))
        self.assertEqual((third.got(), self.two.got(), self.one.got()), (OK, b"*0\r\n", b""))

    def test_outputs_apart(self) -> None:
        """Clients in JSON mode share lanes of their own."""
        self.one.send("OUTPUT json")
        self.one.got()
        self.together((self.one, SET), (self.two, SET))
        self.assertEqual(len(self.here.connections), 2)
        self.assertEqual(self.here.last.requests(), [words(SET), ASK])
        self.assertEqual(self.light.requests(), [words(SET), ASK])

    def test_output_is_no_plain_command(self) -> None:
        """OUTPUT never reaches a lane: it would change it for all."""
        self.one.send(SET, "OUTPUT json", SET)
        self.light.reply(OK + role(1))
        self.assertNotIn(words("OUTPUT json"), self.light.requests())
        json, done = self.here.last, b'$11\r\n{"ok":true}\r\n'
        self.assertEqual(json.requests(), [words(SET), ASK])
        json.reply(done + b'$60\r\n{"ok":true,"role":{"role":"master","offset":52,"slaves":[]}}\r\n')
        self.assertEqual(self.one.got(), OK + b'$26\r\n{"ok":true,"elapsed":"0s"}\r\n' + done)

    def test_large_objects(self) -> None:
        """A client whose objects are large reads them on a connection of its own."""
        self.one.send(GET)
        large = b"$70000\r\n" + b"x" * 70000 + b"\r\n"
        self.here.last.reply(large + role(1))
        self.assertEqual(self.one.got(), large)
        self.one.send(GET)
        self.assertEqual(len(self.here.connections), 3)
        self.two.send(GET)
        self.assertEqual(len(self.here.connections), 3)

    def test_a_gone_client(self) -> None:
        """A client that goes leaves its replies behind, and others' in order."""
        self.together((self.one, SET), (self.two, DEL))
        self.one.lose()
        self.light.reply(OK + b":1\r\n" + role(1))
        self.assertEqual(self.two.got(), b":1\r\n")
        self.assertEqual(self.bench.side.in_flight, 0)

    def test_a_client_that_does_not_read(self) -> None:
        """What one client does not take stops nobody else."""
        self.together((self.one, SET), (self.two, SET))
        self.one.protocol.pauseProducing()
        self.one.send(DEL)
        self.light.reply(OK * 2 + role(1))
        self.two.send(DEL)
        self.assertEqual(self.light.requests(), [words(SET), words(SET), ASK, words(DEL), ASK])
        self.assertEqual(self.light.transport.producerState, "producing")


class OrderTests(LaneCase):
    """One client's requests are executed in the order it sent them"""

    def test_heavier_waits(self) -> None:
        """What may not travel with what is under way waits until that is answered and covered."""
        for heavier in (GET, NEAR, SCAN):
            caller = self.known()
            caller.send(SET)
            caller.send(heavier, DEL)
            self.assertEqual(self.light.requests(), [words(SET), ASK])
            self.light.reply(OK)
            before = self.here.last.requests()
            self.light.reply(role(1))
            self.assertEqual((before, self.here.last.requests()), ([], [words(heavier), words(DEL), ASK]))
            self.here.last.reply(b"*0\r\n:1\r\n" + role(2))
            self.assertEqual(caller.got(), OK + b"*0\r\n:1\r\n")

    def test_lighter_travels_along(self) -> None:
        """What is lighter than what is under way goes the same way, and later its own again."""
        self.one.send(GET)
        value = self.here.last
        self.one.send(SET)
        self.assertEqual(value.requests(), [words(GET), ASK, words(SET), ASK])
        value.reply(b"$-1\r\n" + role(1) + OK + role(2))
        self.assertEqual(self.one.got(), b"$-1\r\n" + OK)
        self.one.send(SET)
        self.assertEqual(self.light.requests(), [words(SET), ASK])

    def test_reads_in_company(self) -> None:
        """Single reads wait for others."""
        self.in_company(GET, b"$-1\r\n", VALUE)

    def test_writes_in_company(self) -> None:
        """Single writes wait for others."""
        self.in_company(SET, OK, LIGHT)

    def in_company(self, request: str, reply: bytes, weight: int) -> None:
        """As many as are enough do not wait, nor does a pipeline."""
        several = [self.one, self.two, *(self.known() for _ in range(ENOUGH))]
        self.together((self.one, request), (self.two, request), (self.two, request))
        server = self.light if weight == LIGHT else self.here.last
        self.assertEqual(server.requests(), [words(request), ASK, words(request), words(request), ASK])
        (upstream,) = self.upstreams(weight)
        waiting: list[object] = []
        upstream._later = waiting.append
        server.reply(reply + role(1) + reply * 2 + role(1))
        self.together(*((caller, request) for caller in several[: ENOUGH - 1]))
        self.assertEqual((server.requests(), waiting), ([], [upstream._flush]))
        self.together((several[ENOUGH - 1], request))
        self.assertEqual(server.requests(), [words(request)] * ENOUGH + [ASK])
        self.together((several[ENOUGH], request))
        several[0].send(request, request)
        self.assertEqual(server.requests(), [words(request)] * 3 + [ASK])
        self.assertEqual(waiting, [upstream._flush] * 2)

    def test_searches_alone(self) -> None:
        """A search waits for nobody."""
        self.together((self.one, NEAR))
        (upstream,) = self.upstreams(SEARCH)
        upstream._later = self.fail
        server = self.here.last
        self.assertEqual(server.requests(), [words(NEAR), ASK])
        server.reply(b"*2\r\n:0\r\n*0\r\n" + role(1))
        upstream._alone = False
        self.together((self.one, NEAR))
        self.assertEqual(server.requests(), [words(NEAR), ASK])

    def test_few_heavy_ones(self) -> None:
        """Few of a client's objects are under way at once, in bundles too."""
        self.one.send(GET, GET, GET)
        self.one.send(GET, GET)
        value = self.here.last
        self.assertEqual(value.requests(), [words(GET)] * 3 + [ASK, words(GET), ASK])
        value.reply(b"$-1\r\n" * 3 + role(1))
        self.assertEqual(value.requests(), [words(GET), ASK])


class TroubleTests(LaneCase):
    """Lanes that are lost, and gates that shut"""

    def test_lost(self) -> None:
        """When a lane is lost every client's requests are judged by themselves."""
        self.together((self.one, SET), (self.two, DEL))
        self.light.lose()
        self.assertTrue(self.two.got().startswith(b"-UNCERTAIN "))
        self.bench.clock.advance(0.05)
        self.bench.clock.advance(0)
        self.assertEqual(self.here.last.requests(), [words(SET), ASK])
        self.here.last.reply(OK + role(1))
        self.assertEqual(self.one.got(), OK)

    def test_lost_while_idle(self) -> None:
        """A lane that was lost while a client asked nothing is made again at once when it does."""
        self.light.lose()
        self.one.send(SET)
        self.assertEqual(self.here.last.requests(), [words(SET), ASK])

    def test_bundle_lost(self) -> None:
        """A pipeline that is lost is judged request by request, and keeps its order."""
        self.one.send(SET, DEL, SET)
        self.light.reply(OK)
        self.light.lose()
        self.bench.clock.advance(0.05)
        self.bench.clock.advance(0)
        self.assertEqual(self.here.last.requests(), [words(SET), words(SET), ASK])
        self.here.last.reply(OK * 2 + role(1))
        got = self.one.got()
        self.assertTrue(got.startswith(OK + b"-UNCERTAIN "), got)
        self.assertTrue(got.endswith(b"\r\n" + OK), got)

    def test_gate_shuts_before_sending(self) -> None:
        """What was taken and not sent when the gate shut was not executed: it waits."""
        self.together((self.one, DEL))
        self.light.requests()
        for caller in (self.one, self.two):
            caller.protocol.dataReceived(_encoded(DEL, SET))
        self.bench.gate.opened = False
        self.bench.clock.advance(0)
        self.assertEqual(self.light.requests(), [])
        self.bench.gate.change(opened=True)
        self.assertEqual(self.light.requests(), [words(DEL), words(SET), words(DEL), words(SET), ASK])

    def test_gate_shuts_before_release(self) -> None:
        """No client gets a reply while the gate is shut; all do when it opens in the same epoch."""
        self.together((self.one, SET), (self.two, DEL))
        self.bench.gate.opened = False
        self.light.reply(OK + b":1\r\n" + role(1))
        self.assertEqual((self.one.got(), self.two.got()), (b"", b""))
        self.bench.gate.change(opened=True)
        self.assertEqual((self.one.got(), self.two.got()), (OK, b":1\r\n"))

    def test_unacknowledged(self) -> None:
        """Clients of one batch are released together, when it is acknowledged."""
        self.bench.gate.offset = 4
        self.together((self.one, SET), (self.two, DEL))
        self.light.reply(OK + b":1\r\n" + role(5))
        self.assertEqual((self.one.got(), self.two.got()), (b"", b""))
        self.bench.gate.change(offset=5)
        self.assertEqual((self.one.got(), self.two.got()), (OK, b":1\r\n"))

    def test_another_epoch(self) -> None:
        """In another term everything has another lane, and what was not released is judged."""
        self.together((self.one, SET), (self.two, DEL))
        again = FakeTarget(epoch=2, clock=self.bench.clock)
        self.bench.gate.epoch = 2
        self.bench.routes.change(leader=again)
        self.assertTrue(self.light.transport.aborted)
        self.assertEqual(again.last.requests(), [words(SET), ASK])
        self.assertTrue(self.two.got().startswith(b"-UNCERTAIN "))

    def test_dropped_before_sending(self) -> None:
        """What was not sent yet when its lane was cut is sent to the next leader, repeatable or not."""
        self.together((self.one, DEL))
        self.light.requests()
        self.one.protocol.dataReceived(_encoded(DEL, SET))
        there = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(leader=there)
        self.assertEqual(there.last.requests(), [words(DEL), words(SET)])

    def test_looked_at_before_sending(self) -> None:
        """What has just come is not late, though it is looked at in the turn in which it came."""
        self.bench.gate.offset = 0
        self.bench.clock.advance(100)
        self.one.send(SET)
        self.light.reply(OK + role(7))
        self.one.protocol.dataReceived(_encoded(SET, SET))
        self.bench.side.look_again()
        for waiting in list(self.bench.side._waiting):
            waiting.expire(self.bench.clock.seconds() + 5)
        self.assertEqual(self.one.got(), b"")

    def test_waits_too_long(self) -> None:
        """A pipeline that is not covered in time is answered request by request."""
        self.bench.gate.offset = 0
        self.one.send(SET, GET)
        self.here.last.reply(OK + b"$-1\r\n" + role(7))
        self.bench.clock.pump([0.1] * 101)
        first, second = self.one.got().splitlines()
        self.assertTrue(first.startswith(b"-UNCERTAIN "), first)
        self.assertTrue(second.startswith(b"-ERR no leader"), second)
        self.assertEqual(self.bench.side.in_flight, 0)


class PeerLaneTests(SynchronousTestCase):
    """Lanes to another node"""

    def setUp(self) -> None:
        self.bench = Bench()
        self.there = self.bench.routes.leader = FakeTarget(local=False, clock=self.bench.clock)
        self.callers = [self.bench.caller(), self.bench.caller()]
        for caller in self.callers:
            caller.send("PING")
            self.there.last.requests()
            self.there.last.reply(b"+PONG\r\n")
            caller.got()

    def test_few_connections(self) -> None:
        """However many clients there are, they share one connection, and no offset is asked for."""
        for caller in self.callers:
            caller.send(SET, DEL)
        self.assertEqual(len(self.there.connections), 1)
        self.assertEqual(self.there.last.requests(), [words(SET), words(DEL)] * 2)
        self.there.last.reply(OK + b":1\r\n" + OK + b":0\r\n")
        self.assertEqual([c.got() for c in self.callers], [OK + b":1\r\n", OK + b":0\r\n"])

    def test_turned_away(self) -> None:
        """What the other node does not execute any more is held, each client's in order."""
        for caller in self.callers:
            caller.send(SET, DEL)
        self.callers[0].send(GET)
        away = b"-NOTLEADER tile38cm: not executed\r\n"
        self.there.last.reply(OK + away * 3)
        self.assertEqual([c.got() for c in self.callers], [OK, b""])
        self.assertTrue(self.there.last.transport.aborted)
        self.bench.routes.change(leader=self.bench.here)
        sent = [r for connected in self.bench.here.connections for r in connected.requests() if r != ASK]
        self.assertEqual(sorted(sent), sorted([words(DEL), words(GET), words(SET), words(DEL)]))

    def test_looks_like_it(self) -> None:
        """A value that holds the words between nodes is a value."""
        value = b"$12\r\n\r\n-NOTLEADER\r\n"
        self.callers[0].send("GET k i", "GET k j")
        self.there.last.reply(value * 2)
        self.assertEqual(self.callers[0].got(), value * 2)

    def test_lost(self) -> None:
        """Replies that came before the connection broke are as good as any."""
        self.callers[0].send(DEL, DEL, SET)
        self.there.last.reply(b":1\r\n:0")
        self.there.last.lose()
        got = self.callers[0].got()
        self.assertTrue(got.startswith(b":1\r\n-UNCERTAIN "), got)
        self.bench.clock.advance(0.05)
        self.bench.clock.advance(0)
        self.assertEqual(self.there.last.requests(), [words(SET)])
