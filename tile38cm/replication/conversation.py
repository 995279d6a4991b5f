"""What a leader says to a Tile38 that wants to follow it, so that it keeps its log.

A Tile38 compares its log with its leader's before it follows, and empties or cuts
it where it finds a difference.  It is told the checksums of its own log, so it
finds none; what it lacks is sent by other means.  Its rules (Tile38 1.37):

- log below 512 KiB: it asks nothing, wants C{aof 0}, and keeps the log;
- up to 1 MiB: it asks for the first 512 KiB only, then I{cuts} its log to them, even
  though they agree: L{in_trap}; such a log is made longer before it may follow;
- longer: it asks for the first and the last 512 KiB, then wants C{aof size}.

Where it asks for any other range, it has found a difference and is looking for
a place to cut.  An error makes it stop, keep its log and try again after a
second; a wrong sum, the error C{EOF} or a clean close makes it go on and cut.
So the only answers here are the right sums, and errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from tile38cm.wire.resp import encode_request

#: Tile38 compares logs in pieces of this size, and shorter ones not at all.
BLOCK = 512 * 1024
#: From this size on it compares two pieces and cuts nothing that agrees.
SAFE_SIZE = 2 * BLOCK
#: A log this close to L{BLOCK} may grow into it, by the server's own expiry, while it asks.
MARGIN = 8 * 1024

NOT_YET = b"-ERR not yet\r\n"
RETRY = b"-ERR retry\r\n"
OK = b"+OK\r\n"


def in_trap(size: int) -> bool:
    """Whether Tile38 would, or soon could, cut a log of this size, whatever it is told."""
    return BLOCK - MARGIN <= size < SAFE_SIZE


@frozen
class OwnLog:
    """A log as its own server measured it, everything written out.

    C{first} and C{last} are the MD5 sums of its first and last L{BLOCK}, in
    hexadecimal; L{None} where the log is shorter.
    """

    size: int
    first: str | None = None
    last: str | None = None


@frozen
class Offer:
    """The terms on which a Tile38 may follow now.

    C{to_come} is the number of bytes that it will be sent after its own.
    """

    leader_id: str
    log: OwnLog
    to_come: int

    @property
    def announced(self) -> int:
        """The C{aof_size} that makes C{caught_up} true when all has come, not before.

        Tile38 compares it with the position it asks for, and after each command with
        its own size.  A short log asks for 0, so with nothing to come 0 must be said:
        its own size would be reached only with the next command.
        """
        if self.log.size < BLOCK and not self.to_come:
            return 0
        return self.log.size + self.to_come


@frozen
class Answer:
    """The bytes to send, and what they mean for the connection."""

    reply: bytes
    #: Set when the connection now carries the stream: the position asked for.
    stream_from: int | None = None
    #: The follower will give up this attempt and wait a second.
    turned_away: bool = False


def answer(words: Sequence[bytes], offer: Offer | None) -> Answer:
    """What to say to one command; without an offer nobody gets as far as the stream."""
    match [words[0].lower(), *words[1:]]:
        case [b"ping"]:
            return Answer(b"+PONG\r\n")
        case [b"quit"] | [b"auth", *_]:
            # No password is asked for; a follower with leaderauth set crashes on a refusal.
            return Answer(OK)
        case _ if offer is None:
            return Answer(NOT_YET, turned_away=True)
        case [b"server"]:
            return Answer(_server(offer))
        case [b"replconf", *_]:
            return Answer(OK)
        case [b"aofmd5", pos, size] if pos.isdigit() and size.isdigit():
            return _checksum(int(pos), int(size), offer.log)
        case [b"aof", pos] if pos.isdigit():
            return Answer(OK, stream_from=int(pos))
    return Answer(b"-ERR unknown command\r\n", turned_away=True)


def _server(offer: Offer) -> bytes:
    facts = {"id": offer.leader_id, "aof_size": str(offer.announced), "read_only": "false"}
    return encode_request([text.encode() for fact in facts.items() for text in fact])


def _checksum(pos: int, size: int, log: OwnLog) -> Answer:
    """The sum of exactly the first or the last block, else an error."""
    if size == BLOCK and pos == 0 and log.first is not None:
        return Answer(f"+{log.first}\r\n".encode())
    if size == BLOCK and pos + size == log.size and log.last is not None:
        return Answer(f"+{log.last}\r\n".encode())
    return Answer(RETRY, turned_away=True)
