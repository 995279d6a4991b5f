"""
How fast large replies go through W and R, beside Tile38 alone, and how much memory that takes.

Run alone on a machine at rest::

    python -m benchmarks.large --mebibytes 10

One node; each round reads a collection of strings whole, from each in turn.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import time
from collections.abc import Sequence
from contextlib import closing

from tests.integration.lab import READER_PORT, TILE38_PORT, WRITER_PORT, Lab
from tests.real import RespClient

#: Bytes of each object.
SIZE = 10_000
#: Bytes taken from a socket at once.
PIECE = 1 << 18
_SCAN = b"*4\r\n$4\r\nSCAN\r\n$5\r\nlarge\r\n$5\r\nLIMIT\r\n$8\r\n10000000\r\n*1\r\n$4\r\nPING\r\n"
_END = b"+PONG\r\n"


def read_whole(host: str, port: int) -> tuple[float, int]:
    """Seconds for all of the collection, and its bytes."""
    with closing(socket.create_connection((host, port), 60)) as connection:
        began, came, end = time.monotonic(), 0, b""
        connection.sendall(_SCAN)
        while not end.endswith(_END):
            piece = connection.recv(PIECE)
            if not piece:
                raise ConnectionError("closed")
            came, end = came + len(piece), (end + piece)[-len(_END) :]
        return time.monotonic() - began, came


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mebibytes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args(arguments)
    with Lab(nodes=1, lease="1s") as lab:
        lab.start()
        node = lab.wait_settled()
        with RespClient(node.host, TILE38_PORT, 60) as client:
            for number in range(given.mebibytes * (1 << 20) // SIZE):
                client.command("SET", "large", number, "STRING", "x" * SIZE)
        targets = {"direct": TILE38_PORT, "W": WRITER_PORT, "R": READER_PORT}
        rates: dict[str, list[float]] = {name: [] for name in targets}
        before = node.manager.resident()
        most = before
        for _ in range(given.rounds):
            for name, port in targets.items():
                took, came = read_whole(node.host, port)
                rates[name].append(came / took / 1e6)
                most = max(most, node.manager.resident())
        direct = statistics.median(rates["direct"])
        for name, found in rates.items():
            rate = statistics.median(found)
            print(f"{name:6}  {rate:7.0f} MB/s  {rate / direct:.2f} of direct")
        print(f"the manager: {before:,} KiB before, {most:,} KiB at most")


if __name__ == "__main__":
    main()
