"""
What many clients cost a node: KiB for each idle one, and how thousands at once are served.

Run alone on a machine at rest::

    python -m benchmarks.clients --clients 5000
    python -m benchmarks.clients --clients 5000 --tls

All connect at once, and each sends one C{PING}; then they stay and are silent.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import ssl
import time
from collections.abc import Sequence

from tests.integration.lab import WRITER_PORT, Lab, Manager

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"
#: Seconds for all of them to be served.
TIMEOUT = 120.0
#: Descriptors beside those of the clients.
SPARE = 200


async def crowd(host: str, clients: int, tls: ssl.SSLContext | None) -> list[asyncio.StreamWriter]:
    """So many clients, each with a reply."""

    async def one() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(host, WRITER_PORT, ssl=tls, ssl_handshake_timeout=None)
        writer.write(PING)
        assert await reader.readexactly(len(PONG)) == PONG
        return writer

    return list(await asyncio.wait_for(asyncio.gather(*(one() for _ in range(clients))), TIMEOUT))


async def measure(host: str, manager: Manager, clients: int, tls: ssl.SSLContext | None) -> None:
    """Print what it is about."""
    before, began = manager.resident(), time.monotonic()
    writers = await crowd(host, clients, tls)
    took = time.monotonic() - began
    await asyncio.sleep(1)
    each = (manager.resident() - before) / clients
    print(f"{clients} clients served in {took:.1f} s, {each:.1f} KiB for each idle one")
    for writer in writers:
        writer.transport.abort()


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--tls", action="store_true", help="with mTLS by Consul Connect")
    given = parser.parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, given.clients * 2 + SPARE), hard))
    with Lab(nodes=1, tls="connect" if given.tls else "off", lease="1s") as lab:
        lab.start()
        node = lab.wait_settled()
        asyncio.run(measure(node.host, node.manager, given.clients, lab.tls()))


if __name__ == "__main__":
    main()
