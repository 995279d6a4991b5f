"""C{python -m tile38cm.dev.talk PORT COMMAND...}: one command to a port of this machine.

For where C{redis-cli} is not installed; it shows what the server answers.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis

from tile38cm.wire.resp import encode_request

#: Seconds for connecting, and for each piece of the answer.
TIMEOUT = 15.0
#: What a folder with a client's certificates has in it.
CERT, KEY, CA = "client.pem", "client.key", "ca.pem"

#: Text, whole number, list, nothing, or an error (C{hiredis.ReplyError}).
Reply = Any


def talk(port: int, *words: str, tls: Path | None = None, timeout: float = TIMEOUT) -> Reply:
    """The reply to one command on a connection of its own; an error reply is returned, not raised.

    @param tls: A folder with a client's certificate, as L{CERT}, L{KEY} and L{CA}.
    @raise OSError: No connection, or no whole answer in time.
    """
    with socket.create_connection(("127.0.0.1", port), timeout) as plain:
        connection = plain if tls is None else _context(tls).wrap_socket(plain)
        with connection:
            connection.sendall(encode_request([word.encode() for word in words]))
            return _read(connection)


def _context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # Connect's certificates name a service, no host
    context.load_cert_chain(folder / CERT, folder / KEY)
    context.load_verify_locations(folder / CA)
    return context


def _read(connection: socket.socket) -> Reply:
    reader = hiredis.Reader(encoding="utf-8", errors="replace")
    reply = reader.gets()
    while reply is False:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("the connection was closed before the answer")
        reader.feed(data)
        reply = reader.gets()
    return reply


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the reply; 1 if it was an error or there was none."""
    parser = argparse.ArgumentParser(prog="python -m tile38cm.dev.talk", description="One command to Tile38.")
    parser.add_argument("--tls", type=Path, metavar="FOLDER", help=f"a folder with {CERT}, {KEY} and {CA}")
    parser.add_argument("port", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    if not given.command:
        parser.error("no command")
    try:
        reply = talk(given.port, *given.command, tls=given.tls)
    except OSError as error:
        print(f"port {given.port}: {error}", file=sys.stderr)
        return 1
    print(reply)
    return 1 if isinstance(reply, hiredis.ReplyError) else 0


if __name__ == "__main__":
    sys.exit(main())
