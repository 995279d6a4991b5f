"""A leader as a Tile38 expects it, without our care: for tests of what then happens.

C{python -m tests.integration.plain_leader SIZE} says its port, then C{asked} at the
first question for a checksum, which it leaves open.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import md5
from typing import Any

import hiredis
from twisted.internet import reactor as the_reactor
from twisted.internet.protocol import Factory, Protocol

from tile38cm.wire.resp import encode_request

reactor: Any = the_reactor
LOOPBACK = "127.0.0.1"


class PlainLeader(Factory):
    """Has the log that C{log} returns; C{question} may take over at a question for a checksum."""

    noisy = False

    def __init__(self, log: Callable[[], bytes]) -> None:
        self.log = log
        self.question: Callable[[PlainLink], bool] = lambda link: False
        #: Where followers began, and the links on which they listen now.
        self.positions: list[int] = []
        self.streams: list[PlainLink] = []
        self._links: list[PlainLink] = []

    def buildProtocol(self, addr: Any) -> PlainLink:
        link = PlainLink(self)
        self._links.append(link)
        return link

    def listen(self) -> int:
        """On a free port of loopback."""
        self._port = reactor.listenTCP(0, self, interface=LOOPBACK)
        return int(self._port.getHost().port)

    def stop(self) -> Any:
        """End everything, by RST."""
        for link in self._links:
            link.abort()
        return self._port.stopListening()


class PlainLink(Protocol):
    """One connection of a follower."""

    def __init__(self, leader: PlainLeader) -> None:
        self._leader = leader
        self._reader = hiredis.Reader()

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        while (words := self._reader.gets()) is not False:
            self._answer(words)

    def _answer(self, words: list[bytes]) -> None:
        leader = self._leader
        name = words[0].lower()
        if name == b"server":
            self.say(encode_request([b"id", b"plain", b"aof_size", b"%d" % len(leader.log())]))
        elif name == b"aofmd5":
            if not leader.question(self):
                start, size = int(words[1]), int(words[2])
                self.say(b"+%s\r\n" % md5(leader.log()[start : start + size]).hexdigest().encode())
        else:
            self.say(b"+OK\r\n")
        if name == b"aof":
            leader.positions.append(int(words[1]))
            leader.streams.append(self)

    def say(self, data: bytes) -> None:
        """Send bytes."""
        assert self.transport is not None
        self.transport.write(data)

    def close(self) -> None:
        """End it in good order, by FIN."""
        assert self.transport is not None
        self.transport.loseConnection()

    def abort(self) -> None:
        """End it by RST."""
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]  # TCP has it


def main(size: int) -> None:
    """Lead until killed."""
    leader = PlainLeader(lambda: b"x" * size)

    def asked(_: PlainLink) -> bool:
        print("asked", flush=True)
        return True

    leader.question = asked
    print(leader.listen(), flush=True)
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
