"""C{python -m tile38cm.dev.client PORT [COMMAND...]}: commands to a port of this machine.

For where C{redis-cli} is not installed; it shows what the server answers.  Without a
command each line of the input is one; what C{SUBSCRIBE} and C{FENCE} tell is shown as it comes.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import split
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
    with _asked(port, words, tls, timeout) as connection:
        return next(_replies(connection))


def listen(port: int, *words: str, tls: Path | None = None) -> Iterator[Reply]:
    """The reply to a live command, and then whatever the server tells, until it closes the connection.

    @raise OSError: No connection.
    """
    with _asked(port, words, tls, TIMEOUT) as connection:
        connection.settimeout(None)
        yield from _replies(connection)


def is_live(words: Sequence[str]) -> bool:
    """Whether a command turns its connection into a stream."""
    name = words[0].lower()
    return name in ("subscribe", "psubscribe") or (
        name in ("nearby", "within", "intersects") and "fence" in (word.lower() for word in words)
    )


@contextmanager
def _asked(port: int, words: Sequence[str], tls: Path | None, timeout: float) -> Iterator[socket.socket]:
    """A connection on which the words were said."""
    with socket.create_connection(("127.0.0.1", port), timeout) as plain:
        connection = plain if tls is None else _context(tls).wrap_socket(plain)
        with connection:
            connection.sendall(encode_request([word.encode() for word in words]))
            yield connection


def _context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # Connect's certificates name a service, no host
    context.load_cert_chain(folder / CERT, folder / KEY)
    context.load_verify_locations(folder / CA)
    return context


def _replies(connection: socket.socket) -> Iterator[Reply]:
    """Each whole reply as it comes.

    @raise ConnectionError: at the end.
    """
    reader = hiredis.Reader(encoding="utf-8", errors="replace")
    while True:
        reply = reader.gets()
        while reply is not False:
            yield reply
            reply = reader.gets()
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("the connection was closed before the answer")
        reader.feed(data)


def _show(port: int, words: Sequence[str], tls: Path | None) -> int:
    """Print what one command brings; 1 if it was an error or there was none."""
    replies = listen(port, *words, tls=tls) if is_live(words) else iter([talk(port, *words, tls=tls)])
    failed = False
    for reply in replies:
        failed = isinstance(reply, hiredis.ReplyError)
        print(reply, flush=True)
    return int(failed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the replies; 1 if one was an error or there was none."""
    parser = argparse.ArgumentParser(prog="python -m tile38cm.dev.client", description="Commands to Tile38.")
    parser.add_argument("--tls", type=Path, metavar="FOLDER", help=f"a folder with {CERT}, {KEY} and {CA}")
    parser.add_argument("port", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    lines = [given.command] if given.command else (split(line) for line in sys.stdin)
    result = 0
    try:
        for words in lines:
            result |= _show(given.port, words, given.tls) if words else 0
    except (OSError, ValueError) as error:
        print(f"port {given.port}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return result


if __name__ == "__main__":
    sys.exit(main())
