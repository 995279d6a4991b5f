"""L{tile38cm.replication.tail} on a real Tile38, and C{tile38ctl tail replay} through a real TLS."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.certificates import Authority, Issued, spiffe
from tests.integration.loaded import LoadedTile38
from tests.real import LOOPBACK, wait_for
from tile38cm.model import Position
from tile38cm.operate.ctl.commands import run
from tile38cm.replication.local_log import LogError, NoRoom
from tile38cm.replication.markers import commands, marker
from tile38cm.replication.tail import Tail, TailSpan, list_tails, read_tail, save_tail
from tile38cm.tile38 import Tile38

reactor: Any = the_reactor
BUDGET = 2**24


class TailCase(TestCase):
    """One server, its client, and a directory."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.server = self.started()
        self.local = Tile38(reactor, TCP4ClientEndpoint(reactor, LOOPBACK, self.server.port))
        self.local.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.local.stop()))
        self.directory = Path(self.mktemp()).absolute() / "tails"

    def started(self) -> LoadedTile38:
        """Another server."""
        server = LoadedTile38().start()
        self.addCleanup(server.stop)
        self.addCleanup(server.kill)  # quicker
        return server

    def write(self, *commands: tuple[str | bytes | int | float, ...]) -> None:
        """Some commands, one after the other."""
        with self.server.connect() as client:
            for words in commands:
                client.command(*words)

    def log(self) -> bytes:
        """The log file as it is."""
        return Path(self.server.directory, "appendonly.aof").read_bytes()

    async def save(self, start: int, budget: int = BUDGET, epoch: int = 4) -> Tail | None:
        """Save what the log has from there on."""
        span = TailSpan("node1", epoch, start, len(self.log()), "it led alone")
        return await save_tail(reactor, self.local, self.directory, span, budget, deferToThread)

    def files(self) -> list[str]:
        """The names in the directory."""
        return sorted(path.name for path in self.directory.glob("*"))


class SaveTests(TailCase):
    """What is saved, and what is not."""

    async def test_saved(self) -> None:
        """The commands of the span are in the file, as in the log, and the summary counts them."""
        self.write(("SET", "fleet", "old", "POINT", 1, 2))
        start = len(self.log())
        self.write(
            ("SET", "fleet", b"\xff\r\n", "FIELD", "f", 1, "EX", 100, "POINT", 1, 2),
            ("SET", "tile38cm", "p", "STRING", "node1:4:7"),
            ("DEL", "tile38cm", "p"),
            ("FSET", "fleet", "old", "f", 2),
            ("SET", "zones", "park", "OBJECT", '{"type":"Point","coordinates":[1,2]}'),
            ("SETCHAN", "feed", "NEARBY", "fleet", "FENCE", "POINT", 1, 2, 3),
        )
        tail = await self.save(start)
        assert tail is not None and tail.content is not None
        expected = [words for words in commands(self.log()[start:]) if words[1] != b"tile38cm"]
        self.assertEqual(list(read_tail(tail.path)), expected)
        self.assertIn(tail.path.read_bytes(), self.log().replace(marker("node1", Position(4, 7)), b""))
        self.assertEqual((tail.content.commands, tail.content.expiries, tail.content.torn), (4, 0, 0))
        self.assertEqual(tail.content.keys, {"fleet": 3, "zones": 1})
        summary = json.loads(tail.path.with_suffix(".json").read_text())
        for name, value in (
            ("member", "node1"),
            ("epoch", 4),
            ("start", start),
            ("end", len(self.log())),
            ("commands", 4),
            ("keys", {"fleet": 3, "zones": 1}),
            ("reason", "it led alone"),
        ):
            self.assertEqual(summary[name], value)
        self.assertEqual(list_tails(self.directory), [tail])
        self.assertEqual(self.files(), [f"{tail.path.stem}.aof", f"{tail.path.stem}.json"])

    async def test_twice(self) -> None:
        """The same span is kept once, so that crashes while starting over do not fill the disk."""
        self.write(("SET", "fleet", "1", "POINT", 1, 2))
        first = await self.save(0)
        self.assertEqual(await self.save(0), first)
        self.assertEqual(len(self.files()), 2)
        self.assertNotEqual(await self.save(0, epoch=5), first)
        self.assertEqual(len(self.files()), 4)

    async def test_nothing(self) -> None:
        """Expiries and markers alone are no tail, even where there is no room; nor is an empty span."""
        self.write(("SET", "fleet", "1", "EX", 0.1, "POINT", 1, 2))
        start = len(self.log())
        self.write(("SET", "tile38cm", "p", "STRING", "x"), ("DEL", "tile38cm", "p"))
        await deferToThread(lambda: wait_for(lambda: b"\r\ndel\r\n" in self.log(), "the expiry"))
        self.assertIsNone(await self.save(start, budget=0))
        self.assertIsNone(await self.save(len(self.log())))
        self.assertEqual(self.files(), [])

    async def test_expiries(self) -> None:
        """Expiries among other commands are in the file and counted by themselves."""
        self.write(("SET", "fleet", "1", "EX", 0.1, "POINT", 1, 2))
        await deferToThread(lambda: wait_for(lambda: b"\r\ndel\r\n" in self.log(), "the expiry"))
        self.write(("DEL", "fleet", "1"), ("SET", "fleet", "2", "POINT", 1, 2))
        tail = await self.save(0)
        assert tail is not None and tail.content is not None
        self.assertEqual((tail.content.commands, tail.content.expiries), (2, 1))
        self.assertEqual(tail.path.read_bytes(), self.log())

    async def test_no_room(self) -> None:
        """What does not fit beside the tails that are there is refused, and leaves nothing behind."""
        for number in range(40):
            self.write(("SET", "big", number, "STRING", "x" * 100_000))
        middle = len(self.log()) // 2
        start = len(self.log()[:middle].rpartition(b"*5\r\n")[0])
        saved = await self.save(start)
        assert saved is not None
        before = self.files()
        await self.assertFailure(
            Deferred.fromCoroutine(self.save(0, budget=saved.size + len(self.log()) - 100)), NoRoom
        )
        self.assertEqual(self.files(), before)
        self.assertIsNotNone(await self.save(0, budget=saved.size + len(self.log()) + 2000))

    async def test_interrupted(self) -> None:
        """What a crash left half written is removed; a failure of the log leaves nothing."""
        self.write(("SET", "fleet", "1", "POINT", 1, 2))
        self.directory.mkdir(parents=True)
        Path(self.directory, "crashed.aof.part").write_bytes(b"x" * 100)
        span = TailSpan("node1", 4, 0, len(self.log()) + 1, "")
        save = save_tail(reactor, self.local, self.directory, span, BUDGET, deferToThread)
        await self.assertFailure(Deferred.fromCoroutine(save), LogError)
        self.assertEqual(self.files(), [])


class TlsDoor(threading.Thread):
    """Takes TLS connections that show a certificate, one after the other, and passes them to a server."""

    def __init__(self, issued: Issued, root: str, port: int, folder: Path) -> None:
        super().__init__(daemon=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        folder.mkdir(parents=True)
        for name, pem in (("cert", issued.chain_pem), ("key", issued.key_pem)):
            Path(folder, name).write_text(pem)
        self._context.load_cert_chain(Path(folder, "cert"), Path(folder, "key"))
        self._context.load_verify_locations(cadata=root)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server((LOOPBACK, 0))
        self._target = port
        self.port = self._listener.getsockname()[1]

    def run(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as client:
                    self._pass(client)
            except OSError:
                continue

    def _pass(self, client: ssl.SSLSocket) -> None:
        """Questions and answers in turn, as they come."""
        with socket.create_connection((LOOPBACK, self._target)) as server:
            client.settimeout(0.02)
            server.settimeout(0.02)
            while True:
                for source, sink in ((client, server), (server, client)):
                    try:
                        data = source.recv(65536)
                    except TimeoutError:
                        continue
                    if not data:
                        return
                    sink.sendall(data)

    def close(self) -> None:
        """Take no more; the thread ends."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join(5)


class ReplayTests(TailCase):
    """A tail of one server given to another."""

    async def saved(self) -> Tail:
        """A tail with 1000 points and what else can be."""
        self.write(*(("SET", "fleet", number, "POINT", 1, 2) for number in range(1000)))
        self.write(
            ("SET", "fleet", "5", "FIELD", "speed", 9, "POINT", 3, 4),
            ("FSET", "fleet", "7", "speed", 8),
            ("DEL", "fleet", "9"),
            ("SET", "fleet", "ends", "EX", 1000, "POINT", 1, 2),
            ("SETCHAN", "feed", "NEARBY", "fleet", "FENCE", "POINT", 1, 2, 3),
        )
        tail = await self.save(0)
        assert tail is not None
        return tail

    async def replay(self, tail: Tail, port: int, *words: str) -> tuple[int, str, str]:
        """Exit code, output, remarks."""
        out, err = StringIO(), StringIO()
        told = ("tail", "replay", str(tail.path), "--writer", f"{LOOPBACK}:{port}", *words)
        code: int = await deferToThread(lambda: run(told, out, err))
        return code, out.getvalue(), err.getvalue()

    async def test_if_absent(self) -> None:
        """Objects whose id is free come back as they were; the others stay; what is left out is told."""
        tail, cluster = await self.saved(), self.started()
        with cluster.connect() as client:
            client.command("SET", "fleet", "3", "STRING", "newer")
            code, out, err = await self.replay(tail, cluster.port, "--if-absent", "--json", "--verbose")
            self.assertEqual((code, err), (0, ""))
            done = json.loads(out)
            # 1000 points and "ends", but neither 3 nor 9; and one FSET.
            self.assertEqual(done["written"], 1000)
            self.assertEqual(
                {each["command"].split(" POINT")[0] for each in done["left_out"]},
                {"SET fleet 3 NX", "SET fleet 9", "DEL fleet 9", "SETCHAN feed NEARBY fleet FENCE"},
            )
            ask = client.command
            self.assertEqual(ask("GET", "fleet", "3"), "newer")
            point = '{"type":"Point","coordinates":[4,3]}'
            self.assertEqual(ask("GET", "fleet", "5", "WITHFIELDS"), [point, ["speed", "9"]])
            self.assertEqual(ask("FGET", "fleet", "7", "speed"), "8")
            self.assertEqual(ask("GET", "fleet", "9"), None)
            self.assertIn(ask("TTL", "fleet", "ends"), range(900, 1001))
            self.assertEqual(ask("CHANS", "*"), [])
        code, out, _ = await self.replay(tail, cluster.port, "--if-absent")
        self.assertEqual((code, out.splitlines()[0]), (0, "0 commands replayed"))

    async def test_overwrite(self) -> None:
        """Everything in order makes the other server like the first."""
        tail, cluster = await self.saved(), self.started()
        cluster.command("SET", "fleet", "3", "STRING", "newer")
        code, out, _ = await self.replay(tail, cluster.port, "--overwrite")
        self.assertEqual((code, out), (0, "1,005 commands replayed\n"))
        servers = ("--leader", f"{LOOPBACK}:{self.server.port}", "--follower", f"{LOOPBACK}:{cluster.port}")
        self.assertEqual(run(["compare", *servers], StringIO(), StringIO()), 0)

    async def test_refused(self) -> None:
        """A server that takes no writes: 1, and its words."""
        tail, cluster = await self.saved(), self.started()
        cluster.command("READONLY", "yes")
        code, out, _ = await self.replay(tail, cluster.port, "--if-absent")
        self.assertEqual(code, 1)
        self.assertIn("refused by W: read only", out)

    async def test_tls(self) -> None:
        """Over TLS both show who they are; a W that is another service gets nothing."""
        tail, cluster = await self.saved(), self.started()
        root, folder = Authority(), Path(self.mktemp()).absolute()
        folder.mkdir()
        mine = root.issue(uris=[spiffe("ops")])
        for name, pem in (("cert", mine.chain_pem), ("key", mine.key_pem), ("ca", root.root_pem)):
            Path(folder, name).write_text(pem)
        files = [word for name in ("cert", "key", "ca") for word in (f"--{name}", str(folder / name))]
        for service, expected in (("other", 3), ("tile38-writer", 0)):
            issued = root.issue(uris=[spiffe(service)])
            door = TlsDoor(issued, root.root_pem, cluster.port, folder / service)
            door.start()
            self.addCleanup(door.close)
            code, out, err = await self.replay(tail, door.port, "--if-absent", *files)
            self.assertEqual(code, expected, f"{out} {err}")
            if expected:
                self.assertIn("svc/tile38-writer", err)
                self.assertEqual(cluster.server()["num_objects"], "0")
        self.assertEqual(cluster.server()["num_objects"], "1000")
        code, _, err = await self.replay(tail, door.port, "--if-absent")
        self.assertEqual(code, 3)
