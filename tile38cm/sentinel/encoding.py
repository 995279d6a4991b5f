"""Replies of a sentinel, as the two versions of the protocol have them.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from tile38cm.wire.resp import Value, encode_reply
from tile38cm.wire.resp3 import NULL, with_nulls

#: What is said of one server.
Record = Mapping[str, str | int]


@frozen
class Encoding:
    """How one connection is answered; C{protocol} is 2, or 3 if its C{HELLO} asked for that."""

    protocol: int = 2

    def value(self, value: Value) -> bytes:
        """What looks the same in both."""
        return encode_reply(value)

    def nothing(self) -> bytes:
        """An array that is not there."""
        return NULL if self.protocol == 3 else b"*-1\r\n"

    def record(self, record: Record) -> bytes:
        """A map, or names and values in turn; numbers are text, as Redis sends them."""
        body = b"".join(encode_reply(str(word).encode()) for pair in record.items() for word in pair)
        head = b"%%%d\r\n" % len(record) if self.protocol == 3 else b"*%d\r\n" % (2 * len(record))
        return head + body

    def records(self, records: Sequence[Record]) -> bytes:
        """A list of them."""
        return b"*%d\r\n" % len(records) + b"".join(map(self.record, records))

    def push(self, *words: str | bytes | int | None) -> bytes:
        """What subscribers are told; in RESP3 it is no reply."""
        parts = [encode_reply(word.encode() if isinstance(word, str) else word) for word in words]
        if self.protocol == 3:
            return b">%d\r\n" % len(parts) + with_nulls(b"".join(parts))
        return b"*%d\r\n" % len(parts) + b"".join(parts)
