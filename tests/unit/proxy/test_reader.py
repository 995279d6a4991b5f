"""R: which server answers reads, and what becomes of them when it goes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import GET, Bench, FakeTarget, role

ASKED = [[b"GET", b"k", b"i"]]


class ReaderTests(SynchronousTestCase):
    """A client of R"""

    def setUp(self) -> None:
        self.bench = Bench(reader=True)
        self.caller = self.bench.caller()
        self.there = FakeTarget(local=False)

    def test_plain(self) -> None:
        """A read's reply is released as it comes; no gate, no question for an offset."""
        self.caller.send(GET)
        self.assertEqual(self.bench.here.last.requests(), ASKED)
        self.bench.here.last.reply(b"$-1\r\n")
        self.assertEqual(self.caller.got(), b"$-1\r\n")

    def test_writes(self) -> None:
        """Whatever only the leader may run is refused with the port to use, in order."""
        for name in ("SET k i POINT 1 2", "EVAL x 0", "EVALNA x 0", "PUBLISH c x", "TIMEOUT 1 DEL k i"):
            self.caller.send(name)
            self.assertTrue(
                self.caller.got().startswith(b"-ERR write commands go to the writer port: '"), name
            )
        self.assertEqual(self.bench.here.connections, [])
        self.assertEqual(self.bench.side.counters.refused, 5)

    def test_dangerous(self) -> None:
        """What no port takes is refused as on W."""
        self.caller.send("FOLLOW a 1")
        self.assertTrue(self.caller.got().startswith(b"-ERR 'follow' is refused by tile38cm: "))

    def test_a_follower_will_do(self) -> None:
        """A local server need not lead; one that was never synchronised will not do."""
        self.bench.here.first_role = b"*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$9\r\nconnected\r\n:7\r\n"
        self.caller.send(GET)
        self.assertEqual(self.bench.here.last.requests(), ASKED)
        self.bench.here.first_role = b"-ERR catching up to leader\r\n"
        other = Bench(reader=True)
        other.here.first_role = b"-ERR catching up to leader\r\n"
        other.routes.ready.append(self.there)
        other.caller().send(GET)
        self.assertEqual(self.there.last.requests(), ASKED)

    def test_stays(self) -> None:
        """A client keeps its server while that is a candidate, whatever the order of preference."""
        self.bench.routes.ready = [self.there, self.bench.here]
        self.caller.send(GET)
        self.bench.routes.change(ready=[self.bench.here, self.there])
        self.caller.send(GET)
        self.assertEqual(self.there.last.requests(), ASKED * 2)

    def test_unready(self) -> None:
        """When its server is no candidate any more, what was not answered is asked elsewhere, in order."""
        self.caller.send(GET, "GET k j")
        self.bench.here.last.reply(b"$1\r\na\r\n")
        self.bench.routes.change(ready=[self.there])
        self.assertTrue(self.bench.here.last.transport.aborted)
        self.assertEqual(self.there.last.requests(), [[b"GET", b"k", b"j"]])
        self.there.last.reply(b"$1\r\nb\r\n")
        self.assertEqual(self.caller.got(), b"$1\r\na\r\n$1\r\nb\r\n")

    def test_next_candidate(self) -> None:
        """A server that cannot be reached is passed over at once."""
        self.bench.here.refusing = True
        self.bench.routes.ready.append(self.there)
        self.caller.send(GET)
        self.assertEqual(self.there.last.requests(), ASKED)

    def test_all_fail(self) -> None:
        """When no candidate can be reached all are tried again, with growing pauses, until the time is up."""
        self.bench.here.refusing = True
        self.caller.send(GET)
        self.bench.clock.pump([0.05] * 250)
        self.assertEqual(
            self.caller.got(), b"-ERR no server that is ready: the command waited 10 s for one\r\n"
        )
        self.assertTrue(20 < self.bench.here.attempts < 40, self.bench.here.attempts)

    def test_peer_not_ready(self) -> None:
        """What a peer did not serve is asked of the next candidate."""
        self.bench.routes.ready = [self.there, self.bench.here]
        self.caller.send(GET)
        self.there.last.reply(b"-NOTREADY tile38cm: not executed\r\n")
        self.assertEqual(self.bench.here.last.requests(), ASKED)

    def test_nobody_ready(self) -> None:
        """Without a candidate reads wait for one."""
        self.bench.routes.ready = []
        self.caller.send(GET)
        self.assertEqual(self.bench.side.counters.held, 1)
        self.bench.routes.change(ready=[self.there])
        self.assertEqual(self.there.last.requests(), ASKED)

    def test_never_sent_on(self) -> None:
        """Another node's reads are answered here or turned away."""
        self.bench.routes.ready = [self.there, self.bench.here]
        peer = self.bench.peer()
        peer.send(GET)
        self.assertEqual(self.bench.here.last.requests(), ASKED)
        self.bench.routes.change(ready=[self.there])
        self.assertEqual(peer.got(), b"-NOTREADY tile38cm: not executed\r\n")
        self.assertEqual(self.there.connections, [])


class ForwardTests(SynchronousTestCase):
    """Writes on R, where they are to go to the leader"""

    def setUp(self) -> None:
        self.bench = Bench(reader=True, forward=True)
        self.leader = FakeTarget(local=False, clock=self.bench.clock)
        self.bench.routes.change(ready=[self.bench.here], leader=self.leader)
        self.caller = self.bench.caller()

    def test_each_where_it_belongs(self) -> None:
        """Writes go to the leader, reads stay, and replies come in the order of the requests."""
        self.caller.send("SET k i POINT 1 2", GET, "DEL k i")
        self.assertEqual([args[0] for args in self.leader.last.requests()], [b"SET", b"DEL"])
        self.bench.here.last.reply(b"$-1\r\n")
        self.assertEqual(self.caller.got(), b"")
        self.leader.last.reply(b"+OK\r\n:1\r\n")
        self.assertEqual(self.caller.got(), b"+OK\r\n$-1\r\n:1\r\n")

    def test_acknowledged(self) -> None:
        """On a leader a write waits for its followers as on W."""
        self.bench.routes.change(leader=self.bench.here)
        self.bench.gate.change(offset=4)
        self.caller.send("SET k i POINT 1 2")
        self.assertEqual(len(self.bench.here.last.requests()), 2)
        self.bench.here.last.reply(b"+OK\r\n" + role(5))
        self.assertEqual(self.caller.got(), b"")
        self.bench.gate.change(offset=5)
        self.assertEqual(self.caller.got(), b"+OK\r\n")

    def test_in_json_over_http(self) -> None:
        """In each form and output."""
        self.caller.send("SET k i POINT 1 2")
        self.leader.last.reply(b"+OK\r\n")
        self.caller.send("OUTPUT json", "SET k i POINT 1 2")
        # The new lane's own OUTPUT first.
        self.leader.last.reply(b'$11\r\n{"ok":true}\r\n')
        self.leader.last.reply(b'$11\r\n{"ok":true}\r\n')
        self.assertTrue(self.caller.got().endswith(b'$11\r\n{"ok":true}\r\n'))
        caller = self.bench.caller()
        caller.raw(b"GET /set+k+i+point+1+2 HTTP/1.1\r\n\r\n")
        self.leader.last.reply(b'$11\r\n{"ok":true}\r\n')
        self.assertTrue(caller.got().startswith(b"HTTP/1.1 200 OK"))
        self.assertTrue(caller.transport.disconnecting)

    def test_held(self) -> None:
        """Without a leader a write waits, while reads behind it are asked; at last it is told."""
        self.bench.routes.change(leader=None)
        self.caller.send("SET k i POINT 1 2", GET)
        self.bench.here.last.reply(b"$-1\r\n")
        self.bench.clock.pump([0.1] * 101)
        self.assertEqual(self.caller.got(), b"-ERR no leader: the command waited 10 s for one\r\n$-1\r\n")

    def test_lost(self) -> None:
        """A write that was lost with the leader is as uncertain as on W."""
        self.caller.send("DEL k i")
        self.bench.routes.change(leader=None)
        self.assertTrue(self.caller.got().startswith(b"-UNCERTAIN "))

    def test_refused(self) -> None:
        """What no port takes is not taken here either, nor any write that another node sends."""
        self.caller.send("FOLLOW a 1")
        self.assertTrue(self.caller.got().startswith(b"-ERR 'follow' is refused"))
        peer = self.bench.peer()
        peer.send("SET k i POINT 1 2")
        self.assertTrue(peer.got().startswith(b"-ERR write commands go to the writer port"))
        self.assertEqual(self.leader.connections, [])

    def test_client_gone(self) -> None:
        """An answer for a client that has gone is of no use."""
        self.caller.send("SET k i POINT 1 2")
        self.caller.lose()
        self.leader.last.reply(b"+OK\r\n")
        self.assertEqual((self.caller.got(), self.bench.listener.room.used), (b"", 0))
