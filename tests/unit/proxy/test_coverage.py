"""L{tile38cm.proxy.coverage}: answered batches until they are acknowledged."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.proxy.fakes import OK, SET, Bench, Caller, role
from tile38cm.proxy.coverage import PATIENCE, ROOM
from tile38cm.proxy.exchange import Exchange

SEARCH = "NEARBY k POINT 1 2 3"


class CoverageTests(SynchronousTestCase):
    """Nothing is acknowledged yet"""

    def setUp(self) -> None:
        self.bench = Bench()
        self.bench.gate.offset = 0

    def wrote(self, *offsets: int) -> list[Caller]:
        """A client for each offset, whose write was answered."""
        callers = []
        for offset in offsets:
            callers.append(self.bench.caller())
            callers[-1].send(SET)
            self.bench.here.last.reply(OK + role(offset))
        return callers

    def timers(self) -> list[str]:
        """What of it runs by time."""
        found = [str(call) for call in self.bench.clock.getDelayedCalls()]
        return [name for name in found if "Coverage" in name]

    def test_each_in_its_turn(self) -> None:
        """An acknowledgement releases what it covers, and nobody else is looked at."""
        first, second, third = self.wrote(5, 7, 9)
        self.assertEqual(self.bench.side.waiting, 0)
        self.bench.gate.change(offset=7)
        self.assertEqual([c.got() for c in (first, second, third)], [OK, OK, b""])
        self.bench.gate.change(offset=9)
        self.assertEqual((third.got(), self.bench.side.in_flight), (OK, 0))

    def test_nothing_is_left_to_the_garbage_collector(self) -> None:
        """Requests and their batch know each other; when both are done with, they go at once."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for late in (False, True):
            before = self.exchanges()
            (caller,) = self.wrote(5)
            if late:
                self.bench.clock.pump([PATIENCE] * 2)
            self.bench.gate.change(offset=5)
            self.assertEqual(caller.got(), OK)
            self.bench.gate.change(offset=0)
            self.assertEqual(self.exchanges(), before)

    def exchanges(self) -> int:
        """How many requests there are in memory."""
        return sum(isinstance(each, Exchange) for each in gc.get_objects())

    def test_leader_hears(self) -> None:
        """The leader is told that somebody waits, and what is shown before it is."""
        (caller,) = self.wrote(5)
        self.assertEqual((self.bench.gate.told_waiting, self.bench.gate.told_released), (1, []))
        self.bench.gate.change(offset=5)
        self.assertEqual((self.bench.gate.told_released, caller.got()), ([5], OK))

    def test_not_soon(self) -> None:
        """What is not covered soon waits as everything else does, and is released the same."""
        (caller,) = self.wrote(5)
        self.bench.clock.pump([PATIENCE] * 2)
        self.assertEqual((caller.got(), self.bench.side.waiting), (b"", 1))
        self.bench.gate.change(offset=5)
        self.assertEqual((caller.got(), self.bench.side.waiting), (OK, 0))
        self.bench.clock.pump([PATIENCE] * 3)
        self.assertEqual(self.timers(), [])

    def test_younger_is_given_its_time(self) -> None:
        """A look hands over what was there at the look before, and no more."""
        self.wrote(5)
        self.bench.clock.advance(PATIENCE)
        self.wrote(6)
        self.bench.clock.advance(PATIENCE)
        self.assertEqual(self.bench.side.waiting, 1)

    def test_no_room(self) -> None:
        """Large replies are their clients' at once: they count what they keep."""
        caller = self.bench.caller()
        caller.send(SET)
        self.bench.here.last.reply(b"$%d\r\n%b\r\n" % (ROOM, b"x" * ROOM) + role(5))
        self.assertEqual(self.bench.side.waiting, 1)

    def test_shut_gate(self) -> None:
        """A gate that shuts keeps everything in; the same epoch releases it."""
        (caller,) = self.wrote(5)
        self.bench.gate.change(opened=False)
        self.bench.gate.change(offset=5)
        self.assertEqual((caller.got(), self.bench.side.waiting), (b"", 1))
        self.bench.gate.change(opened=True)
        self.assertEqual(caller.got(), OK)

    def test_another_epoch(self) -> None:
        """An acknowledgement of another term's log releases nothing."""
        (caller,) = self.wrote(5)
        self.bench.gate.change(epoch=2, offset=9)
        self.assertEqual(caller.got(), b"")

    def test_client_leaves(self) -> None:
        """Who has gone gets nothing, and nothing is left of it."""
        first, second = self.wrote(5, 6)
        first.lose()
        self.bench.gate.change(offset=6)
        self.assertEqual((first.got(), second.got(), self.bench.side.in_flight), (b"", OK, 0))

    def test_connection_lost(self) -> None:
        """What was answered is not lost with the connection that it came from."""
        first, second = self.wrote(5, 6)
        self.bench.here.last.lose()
        self.bench.clock.advance(0)
        self.assertEqual(self.bench.side.waiting, 2)
        self.bench.gate.change(offset=5)
        self.assertEqual((first.got(), second.got()), (OK, b""))

    def test_next_request_goes(self) -> None:
        """A search goes on its own connection though the write before it is not covered; order holds."""
        (caller,) = self.wrote(5)
        caller.send(SEARCH)
        search = self.bench.here.last
        self.assertEqual(search.requests()[0], SEARCH.encode().split())
        search.reply(b"*2\r\n:0\r\n*0\r\n" + role(4))
        self.bench.gate.change(offset=4)
        self.assertEqual(caller.got(), b"")
        self.bench.gate.change(offset=5)
        self.assertEqual(caller.got(), OK + b"*2\r\n:0\r\n*0\r\n")

    def test_stopped(self) -> None:
        """A side that stops leaves no timer behind."""
        self.wrote(5)
        self.assertEqual(len(self.timers()), 1)
        self.bench.side.stop()
        self.bench.clock.advance(0)
        self.assertEqual(self.timers(), [])
