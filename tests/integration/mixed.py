"""Clients of all kinds at once, which know what they must be answered."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MappingProxyType

from attrs import define, field

from tests.integration.lab import Lab, Node
from tests.integration.load import END_TIMEOUT, Client
from tests.real import ReplyError

#: What is written never becomes more than so many objects.
IDS = 2000
#: Objects of the collection that is read as a whole, and bytes of each.
LARGE, SIZE = 300, 10_000
#: Seconds that a fence is open.
LISTENING = 3.0


class Wrong(Exception):
    """An answer that cannot be right."""


@define
class Visit:
    """One client on one node, for some requests."""

    lab: Lab
    node: Node
    random: random.Random

    def writer(self) -> Client:
        """W."""
        return self.lab.writer(self.node)

    def reader(self) -> Client:
        """R."""
        return self.lab.reader(self.node)

    def point(self) -> tuple[str | float, ...]:
        """The rest of a C{SET}."""
        return f"id{self.random.randrange(IDS)}", "POINT", self.random.uniform(-80, 80), self.random.random()


def expect(got: object, right: bool, what: str) -> None:
    """Fails with L{Wrong}."""
    if not right:
        raise Wrong(f"{what} was answered {str(got)[:200]!r}")


def one_by_one(visit: Visit) -> None:
    """Writes and reads what it has written."""
    with visit.writer() as client:
        for number in range(500):
            mine = f"own{visit.random.randrange(1 << 30)}"
            got = client.command("SET", "soak", mine, "FIELD", "n", number, "POINT", 1, number % 90)
            expect(got, got == "OK", "SET")
            got = client.command("FGET", "soak", mine, "n")
            expect(got, got == str(number), "FGET")
            got = client.command("DEL", "soak", mine)
            expect(got, got == 1, "DEL")


def pipelined(visit: Visit) -> None:
    """Sixteen at a time."""
    with visit.writer() as client:
        for _ in range(200):
            for _ in range(16):
                client.send("SET", "soak", *visit.point())
            got = [client.read() for _ in range(16)]
            expect(got, got == ["OK"] * 16, "a pipeline")


def searching(visit: Visit) -> None:
    """Searches on both ports."""
    for client in (visit.reader(), visit.writer()):
        with client:
            for _ in range(150):
                got = client.command("NEARBY", "soak", "LIMIT", 10, "IDS", "POINT", 1, 1)
                expect(got, isinstance(got, list), "NEARBY")


def in_json(visit: Visit) -> None:
    """As some libraries do."""
    with visit.writer() as client:
        client.command("OUTPUT", "json")
        for _ in range(200):
            got = str(client.command("SET", "soak", *visit.point()))
            expect(got, got.startswith('{"ok":true'), "SET in JSON")


def short(visit: Visit) -> None:
    """A connection for each request."""
    for number in range(100):
        with visit.writer() if number % 2 else visit.reader() as client:
            got = client.command("PING")
            expect(got, got == "PONG", "PING")


def whole(visit: Visit) -> None:
    """All of a large collection."""
    for client in (visit.reader(), visit.writer()):
        with client:
            for _ in range(3):
                got = client.command("SCAN", "large", "LIMIT", LARGE)
                expect(got, isinstance(got, list) and len(got[1]) == LARGE, "SCAN")


def slow(visit: Visit) -> None:
    """Reads a large reply slowly, and leaves in the middle of it."""
    with visit.reader() if visit.random.random() < 0.5 else visit.writer() as client:
        for _ in range(4):
            client.send("SCAN", "large", "LIMIT", LARGE)
        for _ in range(20):
            expect(b"", client.piece(1 << 16) > 0, "SCAN")
            time.sleep(0.1)


def fence(visit: Visit) -> None:
    """
    Hears of what moves at a place of its own.

    Where several fences match one object at the same time Tile38 1.37 may panic
    (C{groupConnect}: nothing locks what they share).
    """
    place = round(visit.random.uniform(-80, 80), 3), round(visit.random.uniform(-170, 170), 3)
    with visit.reader() as client, visit.writer() as other:
        expect("", client.command("NEARBY", "moving", "FENCE", "POINT", *place, 1000) == "OK", "FENCE")
        end, mine = time.monotonic() + LISTENING, f"id{visit.random.randrange(1 << 30)}"
        while time.monotonic() < end:
            other.command("SET", "moving", mine, "EX", 20, "POINT", *place)
            while mine not in str(client.read()):
                pass
            time.sleep(0.05)


def subscriber(visit: Visit) -> None:
    """Hears what is published, all of it, in order."""
    with visit.reader() as client, visit.writer() as other:
        mine = f"channel{visit.random.randrange(1 << 30)}"
        client.command("SUBSCRIBE", mine)
        for number in range(50):
            other.command("PUBLISH", mine, number)
        for number in range(50):
            got = client.read()
            expect(got, got == ["message", mine, str(number)], "PUBLISH")


def rude(visit: Visit) -> None:
    """Half a request, none, or rubbish."""
    for data in (b"*3\r\n$3\r\nSET\r\n$1\r\nk", b"", b"*x\r\n", b"\x00\xff" * 500, b"$9 set k\r\n"):
        with visit.writer() as client:
            client.raw(data)


KINDS: MappingProxyType[Callable[[Visit], None], int] = MappingProxyType(
    {
        one_by_one: 4,
        pipelined: 2,
        searching: 3,
        in_json: 2,
        short: 2,
        whole: 1,
        slow: 2,
        fence: 2,
        subscriber: 1,
        rude: 1,
    }
)


@define
class Mixed:
    """
    All kinds, each so often, on changing nodes, while the block of L{running} lasts.

    @ivar done: how often each kind came to its end.
    """

    lab: Lab
    done: Counter[str] = field(factory=Counter)
    errors: list[str] = field(factory=list)
    _stop: threading.Event = field(factory=threading.Event)

    def prepare(self, node: Node) -> None:
        """Write the large collection."""
        with self.lab.writer(node) as client:
            for number in range(LARGE):
                client.command("SET", "large", number, "STRING", "x" * SIZE)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start them all; they end what they do when the block ends."""
        kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
        threads = [
            threading.Thread(target=self._run, args=(kind, number), daemon=True)
            for number, kind in enumerate(kinds)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(END_TIMEOUT)

    def _run(self, kind: Callable[[Visit], None], seed: int) -> None:
        chance = random.Random(seed)
        while not self._stop.is_set():
            node = chance.choice(self.lab.nodes)
            try:
                kind(Visit(self.lab, node, chance))
                self.done[kind.__name__] += 1
            except (OSError, ReplyError, Wrong) as error:
                self.errors.append(f"{kind.__name__} at {node.id}: {type(error).__name__}: {error}")
                self._stop.wait(1)
