"""
C{SERVER}, C{INFO}, C{ROLE} and C{HEALTHZ} with what the manager knows of the node besides.

Each keeps the form in which Tile38 answers: pairs behind pairs, a section of
its own, one element more, members in JSON; an error stays as it is.  Names
begin with C{tile38cm_}, so that none is Tile38's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from tile38cm.wire.commands import unwrapped
from tile38cm.wire.forms import RESP, Form
from tile38cm.wire.resp import Output, bulk, encode_reply

#: What is known of a node, by name; what is not known is not there.
Facts = Mapping[str, str | int]

_SECTION = b"tile38cm"
#: The object in the JSON of each that takes the members.
_OBJECTS = {b"server": b'"stats":{', b"info": b'"info":{', b"role": b'"role":{', b"healthz": b"{"}


@frozen
class StatusForm(Form):
    """Another form, and what is to be added to the reply before."""

    inner: Form = RESP
    args: Sequence[bytes] = ()
    facts: Facts = field(factory=dict)

    @classmethod
    def around(cls, inner: Form, args: Sequence[bytes], facts: Facts) -> StatusForm:
        """For a reply that is written in C{inner}."""
        return cls(inner.output, inner.once, inner=inner, args=args, facts=facts)

    def encode(self, reply: bytes, output: Output) -> bytes:
        """As L{Form}."""
        return self.inner.encode(amended(self.args, reply, output, self.facts), output)


def amended(args: Sequence[bytes], reply: bytes, output: Output, facts: Facts) -> bytes:
    """The reply to C{args}, a status command, with the facts in it."""
    args = unwrapped(args)
    name, sections = args[0].lower(), {arg.lower() for arg in args[1:]}
    wanted = name != b"info" or not sections or sections & {b"all", b"default", _SECTION}
    if not wanted or not facts:
        return reply
    if output == "json":
        return _in_json(name, reply, facts)
    words = [word for fact in facts.items() for word in (_own(fact[0]), str(fact[1]).encode())]
    if name == b"server" and reply.startswith(b"*"):
        return _longer(reply, len(words), b"".join(map(bulk, words)))
    if name == b"role" and reply.startswith(b"*"):
        return _longer(reply, 1, encode_reply(words))
    if name == b"info" and reply.startswith(b"$"):
        return bulk(_with_section(reply[reply.index(b"\n") + 1 : -2], facts))
    return reply


def _in_json(name: bytes, reply: bytes, facts: Facts) -> bytes:
    body = reply[reply.find(b"\n") + 1 : -2]
    place = body.find(_OBJECTS[name])
    if not body.startswith(b'{"ok":true') or place < 0:
        return reply
    place += len(_OBJECTS[name])
    if name == b"healthz":
        place += len(b'"ok":true,')
    members = json.dumps({_own(key).decode(): value for key, value in facts.items()}, separators=(",", ":"))
    comma = b"" if body[place : place + 1] == b"}" else b","
    return bulk(body[:place] + members[1:-1].encode() + comma + body[place:])


def _longer(array: bytes, more: int, tail: bytes) -> bytes:
    head, _, rest = array.partition(b"\r\n")
    return b"*%d\r\n%b%b" % (int(head[1:]) + more, rest, tail)


def _with_section(text: bytes, facts: Facts) -> bytes:
    lines = b"".join(b"%b:%b\r\n" % (_own(key), str(value).encode()) for key, value in facts.items())
    return text + (b"\r\n" if text else b"") + b"# Tile38cm\r\n" + lines


def _own(name: str) -> bytes:
    return b"tile38cm_" + name.encode()
