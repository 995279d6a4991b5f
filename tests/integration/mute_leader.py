"""A child process for a test: a virtual leader that is asked for a checksum, says so, and stays silent.

C{python -m tests.integration.mute_leader PORT}, with the port of a Tile38.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.python.failure import Failure

from tile38cm.replication.caller import Caller
from tile38cm.replication.virtual_leader import VirtualLeader
from tile38cm.tile38 import Tile38

reactor: Any = the_reactor
LOOPBACK = "127.0.0.1"


class MuteLeader(VirtualLeader):
    """Never answers a question for a checksum."""

    async def asked(self, caller: Caller, words: list[bytes]) -> None:
        if words[0].lower() == b"aofmd5":
            print("asked", flush=True)
            await Deferred()
        await super().asked(caller, words)


async def main(port: int) -> None:
    """Have that Tile38 follow."""
    local = Tile38(reactor, TCP4ClientEndpoint(reactor, LOOPBACK, port))
    local.start()
    endpoint = TCP4ServerEndpoint(reactor, 0, interface=LOOPBACK)
    leader = MuteLeader(reactor, endpoint, local, on_lost=print)
    await leader.start()
    await leader.attach(0)


if __name__ == "__main__":
    following = Deferred.fromCoroutine(main(int(sys.argv[1])))
    # The child is killed in the end; until then its errors are the parent's to read.
    following.addErrback(Failure.printTraceback)  # type: ignore[unused-awaitable]
    reactor.run()
