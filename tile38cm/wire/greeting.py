"""
C{HELLO}, with which today's clients of Redis begin; Tile38 1.37 does not know it.

Some go on without it (go-redis, ioredis), but redis-py 8 and what is built on
it do not connect without being granted RESP3.  So it is granted, and spoken:
L{tile38cm.wire.resp3}.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from tile38cm.wire.resp import encode_reply


@frozen
class Greeting:
    """
    What a C{HELLO} asks for.

    C{protocol} is 0 if it stays what it is.  C{problem} is the error to
    answer, if it cannot be granted; C{login} and C{name} are the C{AUTH} and
    C{CLIENT SETNAME} inside it, as commands of their own.
    """

    protocol: int = 0
    login: list[bytes] | None = None
    name: list[bytes] | None = None
    problem: str | None = None

    @classmethod
    def of(cls, args: Sequence[bytes]) -> Greeting:
        """Read C{HELLO [protocol [AUTH user password] [SETNAME name]]}."""
        protocol, rest = 0, list(args[2:])
        login: list[bytes] | None = None
        name: list[bytes] | None = None
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
                name = [b"CLIENT", b"SETNAME", rest[1]]
                rest = rest[2:]
            else:
                return cls(problem="ERR syntax error in HELLO")
        return cls(protocol, login, name)

    def reply(self, protocol: int, role: str, number: int, mode: str = "standalone") -> bytes:
        """The answer: a map in RESP3, pairs in RESP2; C{number} is the client's."""
        fields: list[tuple[bytes, int | bytes | list[bytes]]] = [
            (b"server", b"tile38"),
            (b"version", b"1.37.0"),
            (b"proto", protocol),
            (b"id", number),
            (b"mode", mode.encode()),
            (b"role", role.encode()),
            (b"modules", list[bytes]()),
        ]
        body = b"".join(encode_reply(name) + encode_reply(value) for name, value in fields)
        head = b"%%%d\r\n" % len(fields) if protocol == 3 else b"*%d\r\n" % (2 * len(fields))
        return head + body
