"""The embedded node and a real Tile38 read each other's logs, and follow each other: the same data."""

from __future__ import annotations

import json
import os
import random
import shutil
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from queue import Queue
from threading import Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.contracts.tile38_random import Commands
from tests.real import EmbeddedTile38, RealTile38, ReplyError, RespClient, require, wait_for


def contents(server: RealTile38) -> Any:
    """All objects, hooks and channels of a server."""
    keys = server.command("KEYS", "*")
    assert isinstance(keys, list)
    objects = {key: server.command("SCAN", key, "LIMIT", 100000) for key in keys}
    return objects, server.command("HOOKS", "*"), server.command("CHANS", "*")


def fill(server: RealTile38, count: int, seed: int = 5) -> None:
    """Random commands; which of them are refused does not matter."""
    with server.connect() as client:
        for words in islice(Commands(seed), count):
            try:
                client.command(*words)
            except ReplyError:
                pass


class BothWaysTests(SynchronousTestCase):
    """Two kinds of servers."""

    def setUp(self) -> None:
        require("tile38")
        self.real, self.embedded = RealTile38().start(), EmbeddedTile38().start()
        self.addCleanup(self.real.stop)
        self.addCleanup(self.embedded.stop)

    def hand_over(self, source: RealTile38, target: RealTile38) -> None:
        """The log of one becomes the log of the other."""
        expected = contents(source)
        source.terminate()
        target.terminate()
        shutil.copy(source.directory / "appendonly.aof", target.directory / "appendonly.aof")
        target.start()
        wait_for(lambda: target.command("HEALTHZ") == "OK", "the log to be read")
        self.assertEqual(contents(target), expected)

    def test_log_of_embedded(self) -> None:
        """A real server reads the embedded node's log, written by commands and then written anew."""
        fill(self.embedded, 2000)
        self.hand_over(self.embedded, self.real)
        self.embedded.start()
        self.embedded.command("AOFSHRINK")
        wait_for(lambda: self.embedded.server()["aof_size"] != "0", "the log")
        self.hand_over(self.embedded, self.real)

    def test_log_of_real(self) -> None:
        """The embedded node reads a real server's log."""
        fill(self.real, 2000)
        self.hand_over(self.real, self.embedded)

    def follow(self, leader: RealTile38, follower: RealTile38) -> None:
        """One follows the other, from before its writes on and from behind them."""
        fill(leader, 700, seed=1)
        follower.command("FOLLOW", leader.host, leader.port)
        fill(leader, 1500, seed=2)
        wait_for(lambda: follower.server()["aof_size"] == leader.server()["aof_size"], "level")
        self.assertEqual(contents(follower), contents(leader))
        own, other = (server.directory / "appendonly.aof" for server in (follower, leader))
        self.assertEqual(own.read_bytes(), other.read_bytes())

    def test_embedded_follows(self) -> None:
        """The embedded node ends with the real server's data, and with its log."""
        self.follow(self.real, self.embedded)

    def test_real_follows(self) -> None:
        """A real server ends with the embedded node's data, and with its log."""
        self.follow(self.embedded, self.real)

    def test_long_logs(self) -> None:
        """Logs long enough to be compared are, and what one has too much is cut off."""
        for leader, follower in ((self.real, self.embedded), (self.embedded, self.real)):
            for server in (leader, follower):
                server.command("FOLLOW", "no", "one")
                server.command("FLUSHDB")
                server.command("AOFSHRINK")
                wait_for(partial(self.empty, server), "an empty log")
            with leader.connect() as client:
                for number in range(1200):
                    client.command("SET", "k", f"i{number}", "STRING", "x" * 900)
            follower.command("FOLLOW", leader.host, leader.port)
            wait_for(partial(self.equal_logs, follower, leader), "caught up")
            follower.command("FOLLOW", "no", "one")
            follower.command("SET", "k", "extra", "STRING", "x")
            follower.command("FOLLOW", leader.host, leader.port)
            # "caught_up" may still be that of the time before.
            wait_for(partial(self.equal_logs, follower, leader), "caught up again")
            self.assertEqual(contents(follower), contents(leader))

    def level(self, server: RealTile38) -> bool:
        """Whether it has caught up."""
        return server.server().get("caught_up") == "true"

    def equal_logs(self, follower: RealTile38, leader: RealTile38) -> bool:
        """Whether it has caught up, and with as long a log."""
        return self.level(follower) and follower.server()["aof_size"] == leader.server()["aof_size"]

    def empty(self, server: RealTile38) -> bool:
        """Whether its log is."""
        return server.server()["aof_size"] == "0"

    def test_events(self) -> None:
        """Channels of every kind tell the same of the same moves, but for ids and times."""
        seed = int(os.environ.get("TILE38CM_SEED") or random.SystemRandom().randrange(10**6))
        heard = []
        for server in (self.real, self.embedded):
            for name, fence in CHANNELS.items():
                server.command("SETCHAN", name, *fence.split())
            with server.connect() as listener:
                listener.command("PSUBSCRIBE", "*")
                moves(server, random.Random(seed))
                server.command("PUBLISH", "end", "end")
                heard.append(self.events(listener))
        for name in CHANNELS:
            self.assertEqual(heard[1][name], heard[0][name], f"{name}, seed {seed}")

    def events(self, listener: RespClient) -> dict[str, list[Any]]:
        """All events until the end, by channel, without what is never the same."""
        found: dict[str, list[Any]] = {name: [] for name in CHANNELS}
        while True:
            message: Any = listener.read()
            if message[2] == "end":
                return found
            told = json.loads(message[3])
            self.assertRegex(told.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
            self.assertEqual(len(told.pop("group", "0" * 24)), 24)
            if "distance" in told:
                told["distance"] = round(told["distance"], 3)
            found[message[2]].append(told)

    def test_webhook(self) -> None:
        """Events of a hook are brought by HTTP."""
        told: Queue[Any] = Queue()

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        served = HTTPServer(("127.0.0.1", 0), Receiver)
        self.addCleanup(served.server_close)
        Thread(target=served.serve_forever, daemon=True).start()
        self.addCleanup(served.shutdown)
        for server in (self.real, self.embedded):
            place = f"http://127.0.0.1:{served.server_port}/"
            server.command("SETHOOK", "h", place, *CHANNELS["within"].split())
            for where in ("33.5 -112.2", "40 -100"):
                server.command("SET", "fleet", "truck1", "POINT", *where.split())
            events = [told.get(timeout=30)["detect"] for _ in range(2)]
            self.assertEqual(events, ["enter", "exit"], server)

    def test_live(self) -> None:
        """A live fence tells its client the same, in both kinds of output."""
        for output in ("resp", "json"):
            heard = []
            for server in (self.real, self.embedded):
                server.command("FLUSHDB")
                with server.connect() as listener:
                    listener.command("OUTPUT", output)
                    listener.send("NEARBY", "fleet", "FENCE", "IDS", "POINT", "33.5", "-112.2", "5000")
                    hello = listener.read()
                    for place in ("40 -100", "33.5 -112.2", "40 -100"):
                        server.command("SET", "fleet", "truck1", "POINT", *place.split())
                    told = [json.loads(str(listener.read())) for _ in range(5)]
                heard.append((hello, [(each["detect"], each["id"], each["command"]) for each in told]))
            self.assertEqual(heard[1], heard[0])

    def test_monitor(self) -> None:
        """Who watches commands is shown the same."""
        heard = []
        for server in (self.real, self.embedded):
            with server.connect() as watching, server.connect() as client:
                watching.command("MONITOR")
                for words in islice(Commands(7), 300):
                    try:
                        client.command(*words)
                    except ReplyError:
                        pass
                client.command("ROLE")
                shown: list[str] = []
                while not shown or shown[-1] != '"ROLE"':
                    shown.append(str(watching.read()).partition("] ")[2])
            heard.append(shown)
        self.assertEqual(heard[1], heard[0])


#: Channels that watch random moves.
CHANNELS = {
    "near": "NEARBY fleet FENCE POINT 33.5 -112.2 9000",
    "within": "WITHIN fleet FENCE DETECT enter,exit,cross BOUNDS 33.4 -112.3 33.6 -112.1",
    "inside": "INTERSECTS fleet FENCE DETECT inside CIRCLE 33.5 -112.2 9000",
    "outside": "WITHIN fleet FENCE DETECT outside,exit OBJECT "
    '{"type":"Polygon","coordinates":[[[-112.3,33.3],[-112.0,33.3],[-112.0,33.6],[-112.3,33.3]]]}',
    "fast": "WITHIN fleet WHERE speed 5 +inf FENCE BOUNDS 33.3 -112.3 33.6 -112.1",
    "points": "NEARBY fleet DISTANCE FENCE DETECT enter POINTS POINT 33.5 -112.2 9000",
    "hashes": "NEARBY fleet MATCH truck* NOFIELDS FENCE COMMANDS set,fset HASHES 6 POINT 33.5 -112.2 9000",
    "deleted": "NEARBY fleet FENCE COMMANDS del,drop POINT 33.5 -112.2 9000",
    "count": "NEARBY fleet FENCE COUNT POINT 33.5 -112.2 9000",
    "roam": "NEARBY fleet FENCE ROAM fleet truck* 4000",
    "dwell": "NEARBY fleet NODWELL FENCE ROAM fleet * 4000 SCAN *",
}


def moves(server: RealTile38, chance: random.Random) -> None:
    """Objects that go about, change, and go."""
    with server.connect() as client:
        for _ in range(250):
            id = chance.choice(("truck1", "truck2", "bus1", "zone"))
            place = [
                repr(round(chance.uniform(33.2, 33.8), 3)),
                repr(round(chance.uniform(-112.5, -111.9), 3)),
            ]
            speed = ["FIELD", "speed", str(chance.randrange(10))]
            box = [*place, repr(float(place[0]) + 0.05), repr(float(place[1]) + 0.05)]
            words = chance.choices(
                (
                    ["SET", "fleet", id, *speed, "POINT", *place],
                    ["SET", "fleet", id, "BOUNDS", *box],
                    ["SET", "fleet", id, "STRING", "text"],
                    ["FSET", "fleet", id, *speed[1:]],
                    ["EXPIRE", "fleet", id, "1000"],
                    ["DEL", "fleet", id],
                    ["PDEL", "fleet", "truck*"],
                    ["DROP", "fleet"],
                ),
                (20, 3, 1, 4, 2, 2, 1, 1),
            )[0]
            try:
                client.command(*words)
            except ReplyError:
                pass
