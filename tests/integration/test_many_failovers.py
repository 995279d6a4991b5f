"""Many changes of the leader in a row, and what a client notices that stays connected through all of them.

Six in the suite, fifty with C{TILE38CM_LONG=1}; live fences live through four kills, or twenty.
"""

from __future__ import annotations

import random
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

import hiredis
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import READER_PORT, Lab, Node, settled_lab
from tests.integration.load import Load
from tests.integration.long import by_length
from tests.integration.operating import ctl
from tests.real import wait_for
from tile38cm.wire.resp import encode_request

FAILOVERS = by_length(6, 50)
FENCES, KILLS = 100, by_length(4, 20)
#: Long, so that a busy machine costs the leader no follower right before it is killed.
LEASE = "1s"
#: Seconds between two writes of a client.
PACE = 0.005
#: Seconds for the last events to come.
EVENTS_TIMEOUT = 30.0


class ManyTests(SynchronousTestCase):
    """One node's clients, while the lead goes round"""

    timeout = 3600

    def test_failovers(self) -> None:
        """Handed over, killed, frozen, its Tile38 lost: one connection serves on, without an error."""
        with settled_lab(lease=LEASE) as lab:
            home, chance = lab.nodes[0], random.Random(38)
            epoch = lab.status()["epoch"]
            load = Load("many", {home.id: lambda: lab.writer(home, timeout=60)}, PACE)
            with load:
                for number in range(FAILOVERS):
                    self.change(lab, home, number, chance)
                    load.wait_writes(20)
            writer = load.writers[home.id]
            self.assertEqual((writer.errors, writer.connections), ([], 1))
            self.assertEqual(load.acknowledged - lab.wait_same("many"), set())
            self.assertGreaterEqual(lab.status()["epoch"], epoch + FAILOVERS)
            print(f"{FAILOVERS} changes, {len(load.acknowledged)} writes, longest {writer.pause:.2f} s")

    def change(self, lab: Lab, home: Node, number: int, chance: random.Random) -> None:
        """Have another node lead, by whatever means spares the client's own."""
        leader = lab.wait_settled(timeout=60)
        means: list[Callable[[Lab, Node], None]] = [self.switch, self.lose_tile38, self.kill, self.freeze]
        # Each kind in turn, then by chance; the manager of the client's own node is left alone.
        kinds = means[:2] if leader is home else means
        (kinds[number % len(kinds)] if number < len(means) else chance.choice(kinds))(lab, leader)

    def gone(self, lab: Lab, leader: Node) -> None:
        """Wait until another one leads."""
        wait_for(lambda: lab.status()["leader"] != leader.id, "another leader", 20)

    def switch(self, lab: Lab, leader: Node) -> None:
        told = ctl(lab, "switchover")
        self.assertEqual(told.code, 0, told)

    def lose_tile38(self, lab: Lab, leader: Node) -> None:
        leader.tile38.kill()
        self.gone(lab, leader)
        leader.tile38.start()

    def kill(self, lab: Lab, leader: Node) -> None:
        leader.kill()
        self.gone(lab, leader)
        leader.start()

    def freeze(self, lab: Lab, leader: Node) -> None:
        leader.manager.pause()
        leader.tile38.pause()
        self.gone(lab, leader)
        leader.tile38.resume()
        leader.manager.resume()

    def test_fences(self) -> None:
        """A hundred live fences on one node hear of each write once, whoever leads and is killed."""
        with settled_lab(lease=LEASE) as lab:
            home = lab.others(lab.wait_settled())[0]  # a leader's R would open them elsewhere
            load = Load("fenced", {home.id: lambda: lab.writer(home, timeout=60)}, PACE)
            with LiveFences(home, "fenced") as fences, load:
                for _ in range(KILLS):
                    leader = lab.wait_settled(timeout=60)
                    (self.switch if leader is home else self.kill)(lab, leader)
                    load.wait_writes(20)
            self.assertEqual((load.errors, fences.closed), ([], 0))
            fences.wait_all(load.acknowledged)
            self.assertEqual([heard for heard in fences.heard if heard and set(heard.values()) != {1}], [])

    def test_start_over(self) -> None:
        """Fences on a node that copies everything anew are closed, before anything is told twice."""
        with settled_lab(lease=LEASE) as lab:
            leader = lab.wait_settled()
            home = lab.others(leader)[0]
            lab.write(home, "SET", "again", "1", "POINT", 1, 2)
            lab.wait_same("again")
            with LiveFences(home, "again") as fences:
                self.assertEqual(ctl(lab, "switchover", "--candidate", home.id).code, 0)
                # Who has just become leader lets its Tile38 take writes a moment later.
                lab.write(home, "SET", "elsewhere", "known", "POINT", 1, 2)
                home.manager.pause()
                home.tile38.command("SET", "elsewhere", "nobody-knows-of-it", "POINT", 1, 2)
                self.gone(lab, home)
                home.manager.resume()
                wait_for(lambda: fences.closed == FENCES, "the end of all fences", 30)
            fences.wait_all(set())
            lab.wait_settled(timeout=60)
            self.assertIn("starts over", home.manager.text())
            self.assertEqual([heard for heard in fences.heard if heard], [])


class LiveFences:
    """Many live connections to one node's R; each counts the objects that entered its fence.

    Each hears of the ids with its own two last digits only: Tile38 1.37 notes what it tells to
    fences in one tree, under a lock for reading (group.go, live.go), and crashes before long
    where many of them tell of one object at once.
    """

    def __init__(self, node: Node, key: str) -> None:
        self._node, self._key = node, key
        self.heard: list[Counter[str]] = [Counter() for _ in range(FENCES)]
        self.closed = 0
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LiveFences:
        for number, heard in enumerate(self.heard):
            words = f"WITHIN {self._key} MATCH *{number:02} FENCE DETECT enter BOUNDS -90 -180 90 180".split()
            request = encode_request([word.encode() for word in words])
            connection = socket.create_connection((self._node.host, READER_PORT), 10)
            self._sockets.append(connection)
            connection.sendall(request)
            assert connection.recv(5) == b"+OK\r\n"
            self._selector.register(connection, selectors.EVENT_READ, (hiredis.Reader(), heard))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """They go on to listen until L{wait_all}."""

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.2):
                connection, (reader, heard) = key.fileobj, key.data
                assert isinstance(connection, socket.socket)
                data = connection.recv(65536)
                if not data:
                    self.closed += 1
                    self._selector.unregister(connection)
                reader.feed(data)
                while (event := reader.gets()) is not False:
                    heard[_id_of(event)] += 1

    def wait_all(self, names: set[str]) -> None:
        """Wait until each of these was heard of, and a moment for what must not come."""
        wanted = {name for name in names if name[-2:].isdigit()}

        def heard() -> bool:
            return wanted <= {name for heard in self.heard for name in heard}

        try:
            wait_for(heard, "all events", EVENTS_TIMEOUT)
            time.sleep(1.0)
        finally:
            self._stop.set()
            self._thread.join(10)
            for connection in self._sockets:
                connection.close()


def _id_of(event: object) -> str:
    """Which object an event tells of."""
    assert isinstance(event, bytes), event
    return event.partition(b'"id":"')[2].partition(b'"')[0].decode()
