"""What a log would be that only makes what is there."""

from __future__ import annotations

from collections.abc import Iterator
from math import floor

from tile38cm.dev.tile38.collection import Thing
from tile38cm.dev.tile38.data import Data
from tile38cm.dev.tile38.hooks import Hook
from tile38cm.dev.tile38.text import format_float, to_bytes
from tile38cm.wire.resp import encode_request

#: The least that is left of a lifetime. Seconds.
LEAST = 0.1


def snapshot(data: Data) -> Iterator[bytes]:
    """A command for each object, hook and channel."""
    now = data.now()
    for key in data.keys():
        collection = data.get(key)
        for thing in collection.by_id() if collection is not None else ():
            yield _encoded(_set(key, thing, now))
    for name in sorted(data.hooks):
        yield _encoded(_hook(data.hooks[name], now))


def _encoded(words: list[str]) -> bytes:
    return encode_request([to_bytes(word) for word in words])


def _set(key: str, thing: Thing, now: float) -> list[str]:
    words = ["set", key, thing.id]
    for name, value in thing.fields.items():
        words += ["field", name, value.json()]
    if thing.expires is not None:
        words += ["ex", format_float(max(floor((thing.expires - now) * 10) / 10, LEAST))]
    return [*words, "object" if thing.geo.spatial else "string", thing.geo.text]


def _hook(hook: Hook, now: float) -> list[str]:
    words = ["setchan", hook.name] if hook.channel else ["sethook", hook.name, ",".join(hook.endpoints)]
    for name, value in hook.metas:
        words += ["meta", name, value]
    if hook.expires is not None:
        words += ["ex", f"{hook.expires - now:.1f}"]
    return [*words, *hook.words]
