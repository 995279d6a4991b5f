"""L{tile38cm.erasure}: what is kept before a node starts over, and whose turn it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.weather import Station
from tests.unit.local38 import LocalWay
from tests.unit.replication.minitile38 import command
from tile38cm import erasure as module
from tile38cm.coordination.status import EpochRecord
from tile38cm.erasure import TURN, Erasure, Grounds
from tile38cm.model import Position
from tile38cm.replication.history import EMPTY
from tile38cm.replication.local_log import NoRoom
from tile38cm.replication.markers import marker
from tile38cm.replication.tail import read_tail
from tile38cm.state import StateDirectory
from tile38cm.tile38 import Tile38Error

T = TypeVar("T")
FIRST = command("SET", "fleet", "1", "POINT", "1", "2")
SECOND = command("SET", "fleet", "2", "POINT", "3", "4")


def at_once(function: Callable[[], T]) -> Deferred[T]:
    """As in a thread, but here and now."""
    return execute(function)


class ErasureTests(SynchronousTestCase):
    """A node that has led epoch 1, of which the cluster knows the first command only; it leads epoch 2."""

    def setUp(self) -> None:
        self.station = Station()
        self.way = LocalWay(clock=self.station.clock)
        self.way.server.log = FIRST + SECOND
        self.way.server.put("fleet", "1")
        self.way.server.put("fleet", "2")
        self.way.client.start()
        self.state = StateDirectory(Path(self.mktemp()))
        self.state.open()
        self.state.change(led=1)
        self.station.put("epochs/1", EpochRecord(1, "B", 0, 0, 0).encode())
        self.station.put("epochs/2", EpochRecord(2, "A", 1, len(FIRST), 0).encode())
        self.store = self.station.store("B")
        grounds = Grounds(self.station.clock, self.way.client, self.state, self.store, "B", at_once)
        self.erasure = Erasure(grounds, lambda: 2)
        #: What the log was whenever it was said to be nobody's any more.
        self.emptying: list[bytes] = []
        self.erasure.on_emptying = lambda: self.emptying.append(self.way.server.log)

    def wait(self, seconds: float) -> None:
        """Time passes everywhere."""
        self.way.settle(self.station.bench.traversal.flush)
        for _ in range(round(seconds / 0.05)):
            self.station.bench.advance(0.05)
            self.way.settle(self.station.bench.traversal.flush)

    def erase(self, seconds: float = 1.0) -> Deferred[Position]:
        """Start over."""
        task = Deferred.fromCoroutine(self.erasure.erase("test"))
        self.wait(seconds)
        return task

    def kept(self) -> list[Path]:
        """The files with commands."""
        return sorted((self.state.path / "kept").glob("*.aof"))

    def holder(self) -> str | None:
        """Whose turn it is: a session."""
        entry = self.station.entry(TURN)
        return None if entry is None else entry.session

    def assert_empty(self, task: Deferred[Position]) -> None:
        """All is gone, clients cannot write, and nothing is remembered of an own reign."""
        self.assertEqual(self.successResultOf(task), EMPTY)
        server = self.way.server
        self.assertEqual((server.log, server.following, server.readonly), (b"", False, True))
        self.assertEqual((self.state.now.led, self.state.now.clean), (0, None))

    def test_tail(self) -> None:
        """What the cluster never saw is kept, and only that."""
        self.assert_empty(self.erase())
        (path,) = self.kept()
        self.assertEqual([words[2] for words in read_tail(path)], [b"2"])
        self.assertTrue(path.with_suffix(".json").exists())

    def test_nothing_of_its_own(self) -> None:
        """If the cluster has everything but our markers, nothing is kept."""
        self.way.server.log = FIRST + marker("B", Position(1, len(FIRST)))
        self.assert_empty(self.erase())
        self.assertEqual(self.kept(), [])

    def test_position_unknown(self) -> None:
        """Where it is not known what the cluster has, the whole log is kept."""
        self.state.change(led=0)
        self.assert_empty(self.erase())
        (path,) = self.kept()
        self.assertEqual(path.read_bytes(), FIRST + SECOND)

    def test_shorter_than_it_was(self) -> None:
        """A log that ends before the place where it parted is another one, and kept whole."""
        self.way.server.log = FIRST[:-1]
        self.assert_empty(self.erase())
        (path,) = self.kept()
        self.assertEqual(path.read_bytes(), FIRST[:-1])

    def test_never_part_of_it(self) -> None:
        """So is one whose epoch the cluster does not come from."""
        self.station.put("epochs/2", EpochRecord(2, "A", 0, 0, 0).encode())
        self.assert_empty(self.erase())
        self.assertEqual(self.kept()[0].read_bytes(), FIRST + SECOND)

    def test_parted_at_its_end(self) -> None:
        """A log that the cluster has whole is offered first; if that is of no use, it goes."""
        self.way.server.log = FIRST
        self.assertEqual(self.successResultOf(self.erase()), Position(1, len(FIRST)))
        self.assertEqual((self.way.server.log, self.state.now.led), (FIRST, 1))
        self.assert_empty(self.erase())

    def test_empty(self) -> None:
        """An empty log needs no copy."""
        self.way.server.log = b""
        self.assert_empty(self.erase())
        self.assertEqual(self.kept(), [])

    def test_history_not_readable(self) -> None:
        """Without the history nothing is decided: it waits for Consul."""
        self.assertTrue(self.successResultOf(self.station.run(self.store.take(TURN))))
        self.station.weather.away = True
        task = self.erase(3)
        self.assertNoResult(task)
        self.assertEqual(self.way.server.log, FIRST + SECOND)
        self.station.weather.away = False
        self.wait(1)
        self.assert_empty(task)

    def test_turns(self) -> None:
        """One node at a time; the turn lasts until the node serves again."""
        other = self.station.store("C")
        self.assertTrue(self.successResultOf(self.station.run(other.take(TURN))))
        task = self.erase(2)
        self.assertNoResult(task)
        self.assertEqual(self.way.server.log, FIRST + SECOND)
        self.successResultOf(self.station.run(other.give_back(TURN)))
        self.wait(1)
        self.assert_empty(task)
        self.assertFalse(self.successResultOf(self.station.run(other.take(TURN))))
        self.erasure.done()
        self.wait(0)
        self.assertTrue(self.successResultOf(self.station.run(other.take(TURN))))

    def test_done_without_a_turn(self) -> None:
        """A node that became ready otherwise gives back nothing."""
        self.successResultOf(self.station.run(self.store.take(TURN)))
        self.station.weather.changes = 0
        self.erasure.done()
        self.wait(1)
        self.assertEqual(self.station.weather.changes, 0)

    def assert_untouched(self) -> None:
        """Everything is as it was, and another node may start over."""
        self.assertEqual((self.way.server.log, self.state.now.led), (FIRST + SECOND, 1))
        self.assertIsNone(self.holder())

    def test_no_room(self) -> None:
        """Without room for the copy nothing is erased, and the turn is given back."""
        self.state.change(led=0)
        self.patch(module, "BUDGET", 10)
        self.failureResultOf(self.erase(), NoRoom)
        self.state.change(led=1)
        self.assert_untouched()
        self.failureResultOf(self.erase(), NoRoom)
        self.assert_untouched()
        self.assertEqual(self.kept(), [])

    def test_no_directory(self) -> None:
        """Nor where the copy has no place."""
        (self.state.path / "kept").write_text("")
        self.failureResultOf(self.erase(), OSError)
        self.assert_untouched()

    def test_tile38_away(self) -> None:
        """Nor when Tile38 does not answer."""
        self.way.refusing = True
        self.way.server.cut()
        self.failureResultOf(self.erase(), Tile38Error)
        self.assert_untouched()
        self.assertEqual(self.emptying, [])

    def test_not_emptied(self) -> None:
        """A Tile38 that cannot be emptied stays fenced; what it had is kept, and the turn is given back."""
        self.way.server.refuses[b"FLUSHDB"] = "ERR not now"
        self.failureResultOf(self.erase(), Tile38Error)
        self.assertEqual((self.way.server.readonly, len(self.kept())), (True, 1))
        self.assertEqual(self.emptying, [FIRST + SECOND])
        self.assertIsNone(self.holder())
        del self.way.server.refuses[b"FLUSHDB"]
        self.assert_empty(self.erase())

    def test_cancelled(self) -> None:
        """Who stops while it waits has no turn."""
        other = self.station.store("C")
        self.assertTrue(self.successResultOf(self.station.run(other.take(TURN))))
        task = self.erase()
        task.cancel()
        self.failureResultOf(task)
        self.successResultOf(self.station.run(self.erasure.stop()))
        self.assertEqual(self.way.server.log, FIRST + SECOND)
