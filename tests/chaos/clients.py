"""Who asks: each client does one thing at a time, through some W or R, and writes down what it heard."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from attrs import define, field

from tests.chaos.history import History, Key, Outcome, Read, Write
from tests.chaos.world import World, now
from tests.cluster import READER_PORT, WRITER_PORT

#: Seconds; longer than any node holds a request.
PATIENCE = 20.0
REGISTERS, ONCE, TTL, FLEET = "chaos:registers", "chaos:once", "chaos:ttl", "chaos:fleet"
HOOKS, CHANS = "hooks", "chans"
#: Seconds that objects of C{TTL} live.
LIFETIMES = (1, 2, 3)
#: Nobody listens there.
ENDPOINT = "http://127.0.0.1:9/nobody"

Reply = str | int | list["Reply"] | None


class Refused(Exception):
    """The server said C{-…}."""


class Connection:
    """One connection; after any failure it is of no use."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, *words: str | int | float) -> Reply:
        """One command, one reply; fails with L{Refused}, C{OSError}, C{EOFError} or C{TimeoutError}."""
        raw = [str(word).encode() for word in words]
        self._writer.write(b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(r), r) for r in raw))
        async with asyncio.timeout(PATIENCE):
            return await self.read()

    async def read(self) -> Reply:
        """The next reply."""
        line = (await self._reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:].decode()
        if kind == b"+":
            return rest
        if kind == b"-":
            raise Refused(rest)
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"*":
            return [await self.read() for _ in range(size)]
        return (await self._reader.readexactly(size + 2))[:-2].decode()

    def close(self) -> None:
        """End it."""
        self._writer.transport.abort()


@define
class Load:
    """All clients of a run, and what they heard."""

    world: World
    seed: int
    history: History = field(factory=History)
    #: Answers of R: whatever was read, and when.
    stale_reads: list[Read] = field(factory=list)
    errors: Counter[str] = field(factory=Counter)
    messages: int = 0
    published: int = 0
    going: bool = True
    _tasks: list[asyncio.Task[None]] = field(factory=list)

    def start(self) -> None:
        """Begin."""
        kinds: list[Callable[[Client], Awaitable[None]]] = [registers] * self.world.options.clients
        kinds += [lifetimes, fences, traffic, followers, subscriber]
        for number, kind in enumerate(kinds):
            client = Client(self, f"client{number}", random.Random(self.seed * 1000 + number))
            self._tasks.append(asyncio.create_task(client.run(kind)))

    async def stop(self) -> None:
        """Let each finish what it has asked; no answer can be missing then."""
        self.going = False
        await asyncio.gather(*self._tasks)


@define
class Client:
    """One client: a connection to some node, exchanged now and then and whenever it fails."""

    load: Load
    name: str
    random: random.Random
    connection: Connection | None = None
    where: str = ""
    count: int = 0

    async def run(self, kind: Callable[[Client], Awaitable[None]]) -> None:
        """Do so until the load ends."""
        while self.load.going:
            try:
                await kind(self)
            except (OSError, EOFError, asyncio.IncompleteReadError):
                self.leave()
            except Refused as e:
                self.load.errors[str(e)[:90]] += 1
            await asyncio.sleep(self.random.uniform(0.005, 0.04))
        self.leave()

    async def at(self, port: int) -> Connection:
        """A connection to some W or R; fails with C{OSError}."""
        if self.connection is not None and self.random.random() < 0.02:
            self.leave()
        if self.connection is None:
            world = self.load.world
            node = self.random.choice(world.nodes)
            self.where = f"{self.name} at {node.id}"
            name = None if world.tls is None else ""
            opening = asyncio.open_connection(node.host, port, ssl=world.tls, server_hostname=name)
            async with asyncio.timeout(PATIENCE):
                self.connection = Connection(*await opening)
        return self.connection

    def leave(self) -> None:
        """Use another connection from now on."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def fresh(self) -> str:
        """A value that nobody has written."""
        self.count += 1
        return f"{self.name}-{self.count}"

    async def write(self, key: Key, value: str | None, *words: str | int | float) -> Write:
        """Ask for a change of a register, and write down what became of it."""
        connection = await self.at(WRITER_PORT)
        write = self.load.history.begin(key, value, now(), self.where)
        try:
            write.said = str(await connection.ask(*words))
            write.outcome = Outcome.ACKNOWLEDGED
        except Refused as e:
            write.said = str(e)
            self.load.errors[write.said[:90]] += 1
            if not write.said.startswith("UNCERTAIN"):
                write.outcome = Outcome.REFUSED
        except (OSError, EOFError, asyncio.IncompleteReadError) as e:
            write.said = type(e).__name__
            self.leave()
        write.ended = now()
        return write

    async def look(self, key: Key, port: int) -> Read | None:
        """Read a register."""
        connection = await self.at(port)
        began = now()
        value = await connection.ask("GET", *key)
        assert value is None or isinstance(value, str)
        return Read(key, value, began, now(), self.where)


async def registers(client: Client) -> None:
    """Overwrite, delete and read, through W."""
    chance, key = client.random.random(), (REGISTERS, f"{client.name}.{client.random.randrange(12)}")
    if chance < 0.3:
        await client.write(key, value := client.fresh(), "SET", *key, "STRING", value)
    elif chance < 0.4:
        await client.write(key, None, "DEL", *key)
    elif chance < 0.7:
        once = (ONCE, value := client.fresh())
        await client.write(once, value, "SET", *once, "FIELD", "n", client.count, "STRING", value)
    elif chance < 0.75:
        mine = (ONCE, f"{client.name}-{client.random.randrange(client.count + 1)}")
        if mine in client.load.history.writes and len(client.load.history.writes[mine]) == 1:
            await client.write(mine, None, "DEL", *mine)
    else:
        found = await client.look(client.random.choice([key, *client.load.history.writes]), WRITER_PORT)
        if found is not None and found.key[0] in (REGISTERS, ONCE):
            client.load.history.reads.append(found)


async def lifetimes(client: Client) -> None:
    """Objects that expire, and some that were persisted just in time."""
    key = (TTL, value := client.fresh())
    connection = await client.at(WRITER_PORT)
    lifetime = client.random.choice(LIFETIMES)
    await connection.ask("SET", *key, "EX", lifetime, "STRING", value)
    if client.random.random() < 0.3:
        await asyncio.sleep(client.random.choice([0.0, lifetime - 0.5, lifetime]))
        write = await client.write(key, value, "PERSIST", *key)
        if write.said == "0":
            del client.load.history.writes[key]  # too late: nothing was persisted


async def fences(client: Client) -> None:
    """Hooks and channels come and go."""
    kind = client.random.choice([HOOKS, CHANS])
    key = (kind, f"{kind}{client.random.randrange(10)}")
    fence = ("NEARBY", FLEET, "FENCE", "POINT", 33, -115, 100000)
    if client.random.random() < 0.3:
        await client.write(key, None, "DELHOOK" if kind == HOOKS else "DELCHAN", key[1])
    else:
        value = client.fresh()
        words = ("SETHOOK", key[1], ENDPOINT) if kind == HOOKS else ("SETCHAN", key[1])
        await client.write(key, value, *words, "META", "value", value, *fence)
    await asyncio.sleep(client.random.uniform(0.0, 0.3))


async def traffic(client: Client) -> None:
    """What fires fences, and messages of clients' own."""
    connection = await client.at(WRITER_PORT)
    for _ in range(10):
        where = (33 + client.random.uniform(-2, 2), -115 + client.random.uniform(-2, 2))
        await connection.ask("SET", FLEET, f"truck{client.random.randrange(100)}", "POINT", *where)
        await connection.ask("PUBLISH", "news", "x" * client.random.randrange(2000))
        client.load.published += 1


async def followers(client: Client) -> None:
    """Reads through R: they may be old, but never of what was refused."""
    names = [key for key in client.load.history.writes if key[0] in (REGISTERS, ONCE)]
    if names:
        found = await client.look(client.random.choice(names), READER_PORT)
        if found is not None:
            client.load.stale_reads.append(found)


async def subscriber(client: Client) -> None:
    """Messages through R, for some time."""
    connection = await client.at(READER_PORT)
    await connection.ask("SUBSCRIBE", "news", *(f"{CHANS}{n}" for n in range(10)))
    end = now() + client.random.uniform(1, 10)
    while now() < end and client.load.going:
        try:
            async with asyncio.timeout(1.0):
                await connection.read()
        except TimeoutError:
            break
        client.load.messages += 1
    client.leave()
