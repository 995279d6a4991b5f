"""C{python -m tile38cm.dev.tile38}: a node for development, with the flags of the real server."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from tile38cm.dev.tile38.commands import make_node
from tile38cm.dev.tile38.connection import Connections
from tile38cm.dev.tile38.following import Following
from tile38cm.dev.tile38.logfile import Damaged
from tile38cm.dev.tile38.node import Options
from tile38cm.dev.tile38.webhooks import Webhooks, poster

#: Flags of the real server that change nothing here; those with a value, and those without.
IGNORED = ("-s", "-l", "--queuefilename", "--protected-mode", "--spinlock", "--pidfile")
IGNORED_ALONE = ("--nohup", "--dev")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ends the process on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tile38cm.dev.tile38",
        description="A Tile38-compatible node in Python, for trying out and for tests; not for production.",
        add_help=False,
    )
    parser.add_argument("--help", action="help")
    parser.add_argument(
        "-h", dest="host", default="", metavar="HOST", help="where to listen; default: everywhere"
    )
    parser.add_argument("-p", dest="port", type=int, default=9851, metavar="PORT")
    parser.add_argument("-d", dest="folder", type=Path, default=Path("data"), metavar="FOLDER")
    parser.add_argument("-o", dest="output", choices=("resp", "json"), default="resp")
    parser.add_argument("--appendonly", choices=("yes", "no"), default="yes")
    parser.add_argument("--appendfilename", default="appendonly.aof", metavar="FILE")
    parser.add_argument("--http-transport", choices=("yes", "no"), default="yes")
    parser.add_argument("-q", dest="quiet", action="store_true", help="log only errors")
    parser.add_argument("-v", "-vv", dest="verbose", action="store_true", help="log everything")
    for flag in IGNORED:
        parser.add_argument(flag, help=argparse.SUPPRESS)
    for flag in IGNORED_ALONE:
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def log_to(stream: Any, quiet: bool, verbose: bool) -> None:
    """Write what is logged to a stream."""
    level = LogLevel.error if quiet else LogLevel.debug if verbose else LogLevel.info
    observer = FilteringLogObserver(textFileLogObserver(stream), [LogLevelFilterPredicate(level)])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def name_process() -> None:
    """Show by which program this is, where the kernel lets one say so: managers look for it, and people."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text("tile38-embedded")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a node until a signal; 0 after SIGTERM, 1 if it could not be brought up."""
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    given = parse(arguments)
    log_to(sys.stderr, given.quiet, given.verbose)
    name_process()
    options = Options(
        given.folder,
        given.port,
        given.appendonly == "yes",
        given.appendfilename,
        given.output == "json",
        given.http_transport == "yes",
    )
    try:
        node = make_node(reactor, options)
        node.start()
        connections = Connections(node)
        reactor.listenTCP(given.port, connections, interface=given.host, backlog=1024)
    except (OSError, ValueError, Damaged, CannotListenError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    following = Following(node)
    following.change()
    webhooks = Webhooks(node, poster(reactor))
    node.log.info("Ready to accept connections at {host}:{port}", host=given.host, port=given.port)

    def stop() -> None:
        following.stop()
        webhooks.stop()
        connections.close_all()
        node.stop()

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
