"""What every node holds, asked at its own Tile38."""

from __future__ import annotations

from collections.abc import Mapping

from tests.chaos.clients import CHANS, HOOKS, ONCE, REGISTERS, TTL
from tests.chaos.history import Key
from tests.chaos.world import ALL, Node
from tests.real import Reply

Contents = Mapping[str, Mapping[str, object]]
#: The managers' own objects, which come and go.
OURS = "tile38cm"


def contents(node: Node) -> Contents:
    """Collections, their objects with fields, hooks and channels; the same on two nodes means equal."""
    found: dict[str, Mapping[str, object]] = {}
    for name in _list(node.direct("KEYS", "*")):
        if name != OURS:
            _, objects = _list(node.direct("SCAN", str(name), "LIMIT", ALL))
            rows = [_list(each) for each in _list(objects)]
            found[str(name)] = {str(row[0]): row[1:] for row in rows}
    for kind in (HOOKS, CHANS):
        found[kind] = {str(_list(each)[0]): each for each in _list(node.direct(kind.upper(), "*"))}
    return {name: objects for name, objects in found.items() if objects}


def differences(one: Contents, other: Contents) -> list[str]:
    """Where two nodes differ, in words; at most a few of each collection."""
    found = []
    for name in sorted(one.keys() | other.keys()):
        here, there = one.get(name, {}), other.get(name, {})
        wrong = sorted(i for i in here.keys() | there.keys() if here.get(i) != there.get(i))
        if wrong:
            shown = ", ".join(f"{i}: {here.get(i)!r} / {there.get(i)!r}" for i in wrong[:3])
            found.append(f"{name} differs in {len(wrong)} objects: {shown}")
    return found


def registers(found: Contents) -> dict[Key, str]:
    """The registers' values; objects that only live for a while are not among them unless persisted."""
    values: dict[Key, str] = {}
    for name in (REGISTERS, ONCE, TTL):
        for key, rest in found.get(name, {}).items():
            values[name, key] = str(_list(rest)[0])
    for kind in (HOOKS, CHANS):
        for key, row in found.get(kind, {}).items():
            values[kind, key] = _meta(row)
    return values


def _meta(row: object) -> str:
    """The value under META C{value}, which is the last part of a row of HOOKS or CHANS."""
    flat = [str(word) for part in _list(row) if isinstance(part, list) for word in part]
    return flat[flat.index("value") + 1] if "value" in flat else ""


def _list(reply: object) -> list[Reply]:
    assert isinstance(reply, list), reply
    return reply
