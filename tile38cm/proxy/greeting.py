"""
C{HELLO}, with which today's Redis clients begin; Tile38 1.37 does not know it.

Without an answer redis-py 8 and what is built on it cannot connect.  Protocol
3 is granted: a reply of RESP2, which is all that Tile38 gives, means the same
in RESP3.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from tile38cm.wire.resp import encode_reply


@frozen
class Greeting:
    """
    What a C{HELLO} asks for.

    C{problem} is the error to answer, if it cannot be granted; C{login} the
    C{AUTH} inside it, as a command of its own.
    """

    protocol: int = 2
    login: list[bytes] | None = None
    problem: str | None = None

    @classmethod
    def of(cls, args: Sequence[bytes]) -> Greeting:
        """Read C{HELLO [protocol [AUTH user password] [SETNAME name]]}."""
        protocol, rest, login = 2, list(args[2:]), None
        if len(args) > 1:
            if args[1] not in (b"2", b"3"):
                return cls(problem="NOPROTO unsupported protocol version")
            protocol = int(args[1])
        while rest:
            option = rest[0].lower()
            if option == b"auth" and len(rest) > 2:
                # Tile38 knows no users, so neither name of the usual one matters.
                login = [b"AUTH", rest[2]] if rest[1] in (b"default", b"") else [b"AUTH", rest[1], rest[2]]
                rest = rest[3:]
            elif option == b"setname" and len(rest) > 1:
                rest = rest[2:]
            else:
                return cls(problem="ERR syntax error in HELLO")
        return cls(protocol, login)

    def reply(self, role: str) -> bytes:
        """The answer: a map in RESP3, pairs in RESP2."""
        fields: list[tuple[bytes, int | bytes | list[bytes]]] = [
            (b"server", b"tile38"),
            (b"version", b"1.37.0"),
            (b"proto", self.protocol),
            (b"id", 0),
            (b"mode", b"standalone"),
            (b"role", role.encode()),
            (b"modules", list[bytes]()),
        ]
        body = b"".join(encode_reply(name) + encode_reply(value) for name, value in fields)
        head = b"%%%d\r\n" % len(fields) if self.protocol == 3 else b"*%d\r\n" % (2 * len(fields))
        return head + body
