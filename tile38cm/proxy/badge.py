"""
What a client says of itself, and C{CLIENT}, which tells it.

The server knows none of the clients, only this node's own connections, so
its list would be of no use; the names are kept and the clients listed here.
Whatever else C{CLIENT} may be asked the server answers: with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import define, field

from tile38cm.wire.resp import Output, bulk, encode_reply, okay, success

#: The longest name, and library's name or version, in bytes.
MAX_NAME = 256
_INFO = frozenset((b"lib-name", b"lib-ver"))


@define(eq=False)
class Badge:
    """
    One client's; C{opened} and C{heard} are in seconds of the injected clock.

    @param everybody: the badges of all clients of the same port.
    """

    number: int
    address: str
    opened: float
    everybody: Callable[[], Iterable[Badge]] = field(repr=False)
    name: bytes = b""
    #: When something came last, to the second.
    heard: float = 0.0

    def answer(self, args: Sequence[bytes], output: Output, now: float) -> bytes | str | None:
        """
        What C{CLIENT ...} is answered.

        @return: the reply, or the text of an error; C{None}: the server knows what to say.
        """
        asked = args[1].lower() if len(args) > 1 else b""
        match asked, len(args):
            case b"setname", 3:
                return self._called(args[2], output)
            case b"getname", 2:
                return self._told("name", self.name.decode(), output)
            case b"id", 2:
                return self._told("id", self.number, output)
            case b"list", 2:
                return self._list(output, now)
            case b"setinfo", 4 if args[2].lower() in _INFO:
                return okay(output) if len(args[3]) <= MAX_NAME else "ERR the name is too long"
        return None

    def _called(self, name: bytes, output: Output) -> bytes | str | None:
        if any(not 33 <= letter <= 126 for letter in name):
            return None
        if len(name) > MAX_NAME:
            return f"ERR a client's name has at most {MAX_NAME} letters"
        self.name = name
        return okay(output)

    def _told(self, what: str, value: str | int, output: Output) -> bytes:
        if output == "json":
            return success({what: value})
        return encode_reply(value.encode() if isinstance(value, str) else value)

    def _list(self, output: Output, now: float) -> bytes:
        """In the words of Tile38."""
        each = sorted(self.everybody(), key=lambda badge: badge.number)
        rows = [
            {
                "id": badge.number,
                "addr": badge.address,
                "name": badge.name.decode(),
                "age": int(now - badge.opened),
                "idle": int(now - max(badge.heard, badge.opened)),
            }
            for badge in each
        ]
        if output == "json":
            return success({"list": rows})
        lines = (" ".join(f"{name}={value}" for name, value in row.items()) + "\n" for row in rows)
        return bulk("".join(lines).encode())
