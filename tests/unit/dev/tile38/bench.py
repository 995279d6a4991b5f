"""Embedded nodes in memory: faked time, clients and followers without sockets."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import hiredis
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.dev.tile38.commands import make_node
from tile38cm.dev.tile38.connection import Connection, Connections
from tile38cm.dev.tile38.following import Following
from tile38cm.dev.tile38.node import Options
from tile38cm.wire.resp import encode_request

#: The moment at which all tests begin: 2023-11-14T22:13:20Z.
START = 1_700_000_000.0


class Session:
    """One client's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 4711))
        connection.makeConnection(self.transport)

    def raw(self, data: bytes) -> bytes:
        """What comes back for these bytes."""
        self._connection.dataReceived(data)
        return self.read()

    def read(self) -> bytes:
        """What has come since."""
        found: bytes = self.transport.value()
        self.transport.clear()
        return found

    def __call__(self, command: str, *more: str | bytes) -> Any:
        """The reply to one command, its words apart from those that follow it."""
        words = [
            *(word.encode() for word in command.split()),
            *(w.encode() if isinstance(w, str) else w for w in more),
        ]
        reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        reader.feed(self.raw(encode_request(words)))
        reply = reader.gets()
        return f"-{reply}" if isinstance(reply, hiredis.ReplyError) else reply


class Memory:
    """One node with its connections."""

    def __init__(self, folder: Path, port: int = 9851, reactor: Any = None) -> None:
        self.reactor = reactor or MemoryReactorClock()
        if reactor is None:
            self.reactor.advance(START)
        self.folder, self.port = folder, port
        self.node = make_node(self.reactor, Options(folder, port))
        self.node.start()
        self.connections = Connections(self.node)
        self.following = Following(self.node)
        #: Connections to leaders.
        self.pumps: list[Any] = []

    def session(self) -> Session:
        """A new client."""
        return Session(self.connections.buildProtocol(None))

    def log(self) -> bytes:
        """What the file has."""
        return (self.folder / "appendonly.aof").read_bytes()

    def again(self) -> Memory:
        """The node after a restart."""
        self.node.stop()
        return Memory(self.folder, self.port, self.reactor)


class NodeCase(SynchronousTestCase):
    """A test with a node, and a client of it."""

    def setUp(self) -> None:
        self.memory = self.another()
        self.reactor = self.memory.reactor
        self.ask = self.memory.session()

    def another(self, port: int = 9851, reactor: Any = None) -> Memory:
        """One more node."""
        memory = Memory(Path(mkdtemp(dir=self.mktemp_parent())), port, reactor)
        self.addCleanup(lambda: memory.node.stop())
        return memory

    def mktemp_parent(self) -> str:
        """A folder that exists."""
        parent = Path(self.mktemp())
        parent.mkdir(parents=True)
        return str(parent)

    def script(self, told: str) -> None:
        """Commands behind C{>}, each with its reply on the next line, as Python writes it."""
        lines = [line.strip() for line in told.strip().splitlines()]
        for command, expected in zip(lines[::2], lines[1::2], strict=True):
            words, _, last = command.removeprefix(">").partition(" | ")
            self.assertEqual(repr(self.ask(words, *([last] if last else []))), expected, command)

    def joined(self, leader: Memory, follower: Memory) -> None:
        """Carry everything that the follower has to say to the leader, and back, until both are silent."""
        clients = follower.reactor.tcpClients
        for _ in range(50):
            while clients:
                _, port, factory, _, _ = clients.pop(0)
                self.assertEqual(port, leader.port)
                client = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", port))
                server = leader.connections.buildProtocol(None)
                follower.pumps.append(
                    iosim.connect(
                        server,
                        iosim.FakeTransport(server, isServer=True),
                        client,
                        iosim.FakeTransport(client, isServer=False),
                    )
                )
            for pump in follower.pumps:
                pump.flush()
            follower.reactor.advance(0)
