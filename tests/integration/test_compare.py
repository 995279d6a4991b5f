"""C{tile38ctl compare} on two real Tile38s."""

from __future__ import annotations

import json
import sys
import threading
import time
from io import StringIO
from pathlib import Path
from subprocess import run as run_program
from typing import Any

from twisted.trial.unittest import TestCase

from tests.integration.load import Load, fill
from tests.integration.loaded import LoadedTile38
from tests.real import ROOT, RespClient, wait_for
from tile38cm.operate.ctl.commands import run

#: More than a plain follower on a loaded machine is ever behind here.
PATIENCE = "3s"


class CompareTests(TestCase):
    """A leader and another server, each with its own data at first."""

    timeout = 120

    def setUp(self) -> None:
        self.leader, self.other = (LoadedTile38().start() for _ in range(2))
        for server in (self.leader, self.other):
            self.addCleanup(server.stop)
            self.addCleanup(server.kill)  # quicker

    def both(self, *words: str | int) -> None:
        """The same command to both."""
        for server in (self.leader, self.other):
            server.command(*words)

    def compare(self, *words: str) -> tuple[int, dict[str, Any]]:
        """The exit code and the document."""
        out, err = StringIO(), StringIO()
        servers = ("--leader", f"127.0.0.1:{self.leader.port}", "--follower", f"127.0.0.1:{self.other.port}")
        code = run(["compare", *servers, "--json", *words], out, err)
        self.assertEqual(err.getvalue(), "")
        return code, json.loads(out.getvalue())

    def test_kinds(self) -> None:
        """Equal is 0; every kind of difference, in every form of object, is found and is 1."""
        for shape in (
            ("a", "POINT", 1, 2, 3),
            ("b", "BOUNDS", 1, 2, 3, 4),
            ("c", "FIELD", "f", 1, "FIELD", "g", '{"a":1}', "STRING", "text"),
            ("d", "EX", 1000, "HASH", "9my5xp7"),
            ("e", "OBJECT", '{"type":"Point","coordinates":[1,2]}'),
            ("same", "POINT", 1, 2),
        ):
            self.both("SET", "k", *shape)
        self.both("SET", "spaced *[key]", "x", "POINT", 1, 2)
        self.both("SETCHAN", "zone", "META", "m", "1", "NEARBY", "k", "FENCE", "POINT", 1, 2, 100)
        self.both(
            "SETHOOK", "warn", "http://127.0.0.1:1/", "EX", 500, "WITHIN", "k", "FENCE", "BOUNDS", 1, 2, 3, 4
        )
        self.leader.command("SET", "tile38cm", "p", "STRING", "a:1:5")
        code, found = self.compare("--expiries")
        self.assertEqual((code, found["equal"], found["objects"], found["expiring"]), (0, True, 7, 1))
        self.other.command("SET", "k", "a", "POINT", 1, 2, 4)
        self.other.command("DEL", "k", "b")
        self.other.command("FSET", "k", "c", "g", '{"a":2}')
        self.other.command("PERSIST", "k", "d")
        self.leader.command("DEL", "k", "e")
        self.other.command("DROP", "spaced *[key]")
        self.other.command("SETCHAN", "zone", "META", "m", "2", "NEARBY", "k", "FENCE", "POINT", 1, 2, 100)
        self.other.command("DELHOOK", "warn")
        expected = {
            ("different", "object", "a"),
            ("missing", "object", "b"),
            ("different", "object", "c"),
            ("extra", "object", "e"),
            ("missing", "object", "x"),
            ("different", "channel", "zone"),
            ("missing", "hook", "warn"),
        }
        for words, more in (((), set()), (("--expiries",), {("different", "lifetime of object", "d")})):
            code, found = self.compare(*words)
            self.assertEqual(code, 1)
            told = {(each["what"], each["kind"], each["id"]) for each in found["differences"]}
            self.assertEqual(told, expected | more)

    def test_many(self) -> None:
        """200,000 objects take seconds, and one that differs is found."""
        for server in (self.leader, self.other):
            with server.connect(30) as client:
                fill(client, "many", 200_000)
        self.other.command("DEL", "many", "150000")
        started = time.monotonic()
        code, found = self.compare("--patience", "1s")
        self.assertEqual((code, found["missing"], found["differences"][0]["id"]), (1, 1, "150000"))
        self.assertLess(time.monotonic() - started, 30)

    def test_under_writes(self) -> None:
        """A follower of a leader that is written to is equal, and what it lacks is found meanwhile."""
        with self.leader.connect(30) as client:
            fill(client, "many", 20_000)
        self.other.command("FOLLOW", self.leader.host, self.leader.port)
        self.wait_caught_up()
        stop = threading.Event()
        churn = threading.Thread(target=self.churn, args=(stop,), daemon=True)
        with Load("load", {"one": self.leader.connect}, pace=0.001) as load:
            churn.start()
            try:
                for _ in range(3):
                    code, found = self.compare("--patience", PATIENCE)
                    self.assertEqual((code, found["differences"]), (0, []))
                # Not logged, so that the follower never hears of it.
                self.leader.command("SET", "odd", "x", "STRING", '{"a":1,"b":2}')
                self.leader.command("JDEL", "odd", "x", "a")
                code, found = self.compare("--patience", PATIENCE)
            finally:
                stop.set()
                churn.join()
        self.assertEqual((code, [each["id"] for each in found["differences"]]), (1, ["x"]))
        self.assertGreater(len(load.acknowledged), 100)

    def churn(self, stop: threading.Event) -> None:
        """Delete and set again all over a collection, and one id all the time."""
        number = 0
        with self.leader.connect() as client:
            while not stop.wait(0.001):
                number += 1
                client.command("DEL", "many", number * 3 % 20_000)
                client.command("SET", "many", number * 7 % 20_000, "POINT", number % 80, number % 170)
                client.command("SET", "hot", "x", "FIELD", "n", number, "POINT", 1, 2)

    def wait_caught_up(self) -> None:
        """Until the follower says that it has all."""
        wait_for(lambda: self.other.server().get("caught_up") == "true", "a follower that has caught up")

    def test_never_caught_up(self) -> None:
        """A follower that has never heard of its leader cannot be compared: 3."""
        self.other.command("FOLLOW", self.leader.host, self.leader.port)
        self.wait_caught_up()
        port = self.leader.port
        self.other.kill()
        self.leader.kill()
        self.other.start()
        self.leader = LoadedTile38().start()
        self.addCleanup(self.leader.stop)
        self.assertNotEqual(self.leader.port, port)
        out, err = StringIO(), StringIO()
        servers = ("--leader", f"127.0.0.1:{self.leader.port}", "--follower", f"127.0.0.1:{self.other.port}")
        self.assertEqual(run(["compare", *servers], out, err), 3)
        self.assertIn("catching up to leader", err.getvalue())

    def test_unreachable(self) -> None:
        """A server that is not there: exit 3, and the sentence names it."""
        self.other.kill()
        out, err = StringIO(), StringIO()
        servers = ("--leader", f"127.0.0.1:{self.leader.port}", "--follower", f"127.0.0.1:{self.other.port}")
        self.assertEqual((run(["compare", *servers], out, err), out.getvalue()), (3, ""))
        self.assertIn(f"127.0.0.1:{self.other.port} cannot be reached", err.getvalue())

    def test_program(self) -> None:
        """As a program of its own it answers on standard output, with no progress in a pipe."""
        self.both("SET", "k", "a", "POINT", 1, 2)
        words = ["--leader", f"127.0.0.1:{self.leader.port}", "--follower", f"127.0.0.1:{self.other.port}"]
        ended = run_program(
            [sys.executable, "-m", "tile38cm.operate.ctl", "compare", *words],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertTrue(ended.stdout.endswith("\nequal\n"), ended.stdout)

    def test_password(self) -> None:
        """Servers with a password are asked with it; a wrong one is told."""
        for server in (self.leader, self.other):
            server.command("CONFIG", "SET", "requirepass", "sesame")
        file = Path(self.mktemp())
        file.write_text("sesame\n")
        code, found = self.compare("--password-file", str(file.absolute()))
        self.assertEqual((code, found["equal"]), (0, True))
        with RespClient("127.0.0.1", self.leader.port) as client:
            client.command("AUTH", "sesame")
            client.command("CONFIG", "SET", "requirepass", "other")
        out, err = StringIO(), StringIO()
        servers = ("--leader", f"127.0.0.1:{self.leader.port}", "--follower", f"127.0.0.1:{self.other.port}")
        code = run(["compare", *servers, "--password-file", str(file.absolute())], out, err)
        self.assertEqual(code, 3)
        self.assertIn("invalid password", err.getvalue())
