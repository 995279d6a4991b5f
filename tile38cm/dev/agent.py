"""C{python -m tile38cm.dev.agent}: the Consul of L{tile38cm.dev.consul} in a process of its own.

For development, where there is no Consul: one agent, in memory, without ACLs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from tile38cm.dev.consul import site
from tile38cm.dev.consul_keys import TTL_MIN


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ends the process on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tile38cm.dev.agent",
        description="A Consul-compatible agent in Python, for trying out and for tests; not for production.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; default 127.0.0.1")
    parser.add_argument("--port", type=int, default=8500, help="default 8500")
    parser.add_argument(
        "--session-ttl-min", type=float, default=TTL_MIN, metavar="SECONDS", help="default 10"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an agent until a signal; 0 after SIGTERM, 1 if it could not listen."""
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    given = parse(arguments)
    # Each request is worth a line to Twisted; to nobody else.
    worthy = FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)])
    globalLogBeginner.beginLoggingTo([worthy], redirectStandardIO=False)
    agent, served = site(reactor, ttl_min=given.session_ttl_min)
    try:
        reactor.listenTCP(given.port, served, interface=given.host)
    except CannotListenError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    reactor.addSystemEventTrigger("before", "shutdown", agent.close)
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
