"""The same random requests to Tile38 directly and through W or R have the same answers, byte for byte.

C{TILE38CM_SEQUENCES} says how many, C{TILE38CM_SEED} which; a failure names its seed.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable

from twisted.internet.defer import Deferred

from tests.integration.proxybench import ProxyTestCase
from tests.integration.sequences import End, Sequence, Sequences, difference
from tests.real import RealTile38
from tile38cm.wire.resp import encode_request

COUNT = int(os.environ.get("TILE38CM_SEQUENCES", "300"))
#: Seconds for one answer; a loaded machine needs some of them.
PATIENCE = 30.0


def answer(port: int, sequence: Sequence, nonce: bytes) -> tuple[bytes, End]:
    """All that comes back, without the answer to a last C{ECHO}; and how the connection ended."""
    data = b""
    # Bytes behind the end would have the kernel throw away what was answered before.
    last = [] if sequence.closing else [encode_request([b"ECHO", nonce])]
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in [*sequence.pieces, *last]:
                opened.sendall(piece)
            while nonce not in data:
                came = opened.recv(1 << 20)
                if not came:
                    return data, End.CLOSED
                data += came
        except ConnectionError:
            return data, End.RESET
    return data[: data.index(nonce)].rpartition(b"$")[0], End.OPEN


class DifferentialTests(ProxyTestCase):
    """Two servers that are told the same, one of them through the proxies"""

    timeout = 3600

    def setUp(self) -> None:
        super().setUp()
        self.direct = RealTile38().start()
        self.addCleanup(self.direct.stop)
        self.seed = int(os.environ.get("TILE38CM_SEED", secrets.randbelow(1 << 32)))

    def compare(self, port: Callable[[int], int], writes: bool) -> None:
        """Run them."""
        sequences = Sequences(self.seed, writes)
        print(f"TILE38CM_SEED={self.seed}, {COUNT} sequences")
        for number in range(COUNT):
            sequence, nonce = sequences.next(), secrets.token_hex(16).encode()
            direct, end = answer(self.direct.port, sequence, nonce)
            through, _ = answer(port(number), sequence, nonce)
            differs = difference(direct, through, end)
            if differs is not None:
                self.fail(f"seed {self.seed}, sequence {number}:\n{sequence}\n{differs}")

    def test_writer(self) -> Deferred[None]:
        """Everything through W."""
        return self.threaded(lambda: self.compare(lambda _: self.writer_port, True))

    def test_reader(self) -> Deferred[None]:
        """What changes nothing through R and W by turns, on data that was written before."""

        def run() -> None:
            for port in (self.direct.port, self.tile38.port):
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as opened:
                    for number, key in enumerate(("fleet", "k")):
                        args = f"SET {key} 1 FIELD speed {number} POINT 33 -115".encode().split()
                        opened.sendall(encode_request(args))
                        opened.recv(100)
            self.compare(lambda number: (self.reader_port, self.writer_port)[number % 2], False)

        return self.threaded(run)
