"""What managers say to each other: arrays of byte strings, both ways.  Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence

from attrs import asdict, frozen

from tile38cm.coordination.promises import Answer, Heartbeat
from tile38cm.coordination.survey import Report
from tile38cm.model import Position

#: Raised when the conversation changes so that old and new cannot talk.
VERSION = 1
COMMAND = b"TILE38CM"
HELLO = b"HELLO"
FORWARD = b"FORWARD"
POSITION = b"POSITION"
HEARTBEAT = b"HEARTBEAT"
BRIDGE = b"BRIDGE"

# On a HEARTBEAT connection.
BEAT = b"BEAT"
PROMISE = b"PROMISE"
RELEASE = b"RELEASE"
LEAVE = b"LEAVE"
# On a BRIDGE connection.
CONTINUE = b"CONTINUE"
OVER = b"OVER"
DATA = b"D"
PUBLISH = b"P"
EPOCH = b"E"
ACK = b"A"

#: A node that does not know its position sends this as the epoch.
UNKNOWN = b"?"


class BadMessage(ValueError):
    """A peer said something that it must not; the connection is closed."""


def number(word: bytes) -> int:
    """A whole number of at least 0; fails with L{BadMessage}."""
    if not word.isdigit() or len(word) > 18:
        raise BadMessage("not a whole number")
    return int(word)


def _duration(word: bytes) -> float:
    try:
        value = float(word)
    except ValueError as e:
        raise BadMessage("not a duration") from e
    if not 0 < value < 3600:
        raise BadMessage("not a duration")
    return value


def _words(message: Sequence[bytes], kind: bytes, count: int) -> Sequence[bytes]:
    if len(message) != count or message[0] != kind:
        raise BadMessage(f"expected {kind.decode()} of {count} words")
    return message


def proof(secret: str, side: bytes, nonces: tuple[bytes, bytes], member: bytes) -> bytes:
    """What only somebody who knows the cluster's secret can say in this conversation.

    @param side: who speaks, so that one side's word cannot be said by the other.
    """
    text = b"\0".join([side, *nonces, member])
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest().encode()


def beat_words(beat: Heartbeat) -> tuple[bytes, ...]:
    """A heartbeat as it is sent."""
    lease = repr(beat.lease).encode()
    return (BEAT, b"%d" % beat.epoch, beat.leader.encode(), b"%d" % beat.seq, lease, b"%d" % beat.offset)


def read_beat(message: Sequence[bytes]) -> Heartbeat:
    """A heartbeat as it came; fails with L{BadMessage}."""
    _, epoch, leader, seq, lease, offset = _words(message, BEAT, 6)
    return Heartbeat(
        number(epoch), leader.decode("utf-8", "replace"), number(seq), _duration(lease), number(offset)
    )


def answer_words(answer: Answer) -> tuple[bytes, ...]:
    """An answer to a heartbeat as it is sent; the member is known by its connection."""
    return (PROMISE, b"%d" % answer.epoch, b"%d" % answer.seq, *position_words(answer.position))


def read_answer(member: str, message: Sequence[bytes]) -> Answer:
    """An answer as it came; fails with L{BadMessage}."""
    _, epoch, seq, *position = _words(message, PROMISE, 5)
    return Answer(member, number(epoch), number(seq), read_position(position[0], position[1]))


def position_words(position: Position | None) -> tuple[bytes, bytes]:
    """A position, or that it is unknown."""
    if position is None:
        return UNKNOWN, b"0"
    return b"%d" % position.epoch, b"%d" % position.offset


def read_position(epoch: bytes, offset: bytes) -> Position | None:
    """The opposite of L{position_words}; fails with L{BadMessage}."""
    return None if epoch == UNKNOWN else Position(number(epoch), number(offset))


def report_words(report: Report) -> tuple[bytes, ...]:
    """Where a member stands, as it is sent."""
    return (POSITION, json.dumps(asdict(report)).encode())


def read_report(message: Sequence[bytes]) -> Report:
    """Where a member stands, as it came; fails with L{BadMessage}."""
    _, raw = _words(message, POSITION, 2)
    try:
        doc = json.loads(raw)
        place = doc["position"]
        return Report(
            member=str(doc["member"]),
            position=None if place is None else Position(int(place["epoch"]), int(place["offset"])),
            seen_epoch=int(doc["seen_epoch"]),
            bound=bool(doc["bound"]),
            eligible=bool(doc["eligible"]),
            priority=int(doc["priority"]),
            log_size=int(doc["log_size"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        raise BadMessage("not a report") from e


@frozen
class Attach:
    """A follower's request for the log from where it stands; C{Position(0, 0)}: it is empty."""

    position: Position | None
    #: With an unknown position: the size of the whole log, and a sum over it.
    prefix: tuple[int, str] | None = None

    def words(self) -> tuple[bytes, ...]:
        """As it is sent behind the purpose."""
        words = position_words(self.position)
        if self.prefix is None:
            return words
        return (*words, b"%d" % self.prefix[0], self.prefix[1].encode())

    @classmethod
    def read(cls, words: Sequence[bytes]) -> Attach:
        """As it came; fails with L{BadMessage}."""
        if len(words) not in (2, 4):
            raise BadMessage("expected a position")
        prefix = (number(words[2]), words[3].decode("ascii", "replace")) if len(words) == 4 else None
        return cls(read_position(words[0], words[1]), prefix)


@frozen
class Resume:
    """The leader's answer: the stream begins at C{position}; C{to_come} bytes are there already."""

    position: Position
    to_come: int

    def words(self) -> tuple[bytes, ...]:
        """As it is sent."""
        return (CONTINUE, *position_words(self.position), b"%d" % self.to_come)

    @classmethod
    def read(cls, message: Sequence[bytes]) -> Resume:
        """As it came; fails with L{BadMessage}."""
        _, epoch, offset, to_come = _words(message, CONTINUE, 4)
        return cls(Position(number(epoch), number(offset)), number(to_come))


@frozen
class Data:
    """Whole commands of the log of C{epoch}, which end at byte C{end}."""

    epoch: int
    end: int
    payload: bytes

    @property
    def start(self) -> int:
        """The byte at which they begin."""
        return self.end - len(self.payload)

    def words(self) -> tuple[bytes, ...]:
        """As it is sent."""
        return (DATA, b"%d" % self.epoch, b"%d" % self.end, self.payload)

    @classmethod
    def read(cls, message: Sequence[bytes]) -> Data:
        """As it came; fails with L{BadMessage}."""
        _, epoch, end, payload = _words(message, DATA, 4)
        data = cls(number(epoch), number(end), payload)
        if data.start < 0:
            raise BadMessage("more bytes than the log has")
        return data
