"""C{SETHOOK}, C{SETCHAN} and those that show and take away what they made."""

from __future__ import annotations

import re

from tile38cm.dev.tile38.calls import Call, Change, Refusal, Words, bulk, invalid
from tile38cm.dev.tile38.data import Commands, Data
from tile38cm.dev.tile38.globs import matches, span_of
from tile38cm.dev.tile38.hooks import Hook
from tile38cm.dev.tile38.searches import read_search
from tile38cm.dev.tile38.text import json_string
from tile38cm.wire.resp import Value

#: What Tile38 takes for an endpoint; this node sends to the first two only.
_ENDPOINT = re.compile(
    r"(https?|disque|grpc|redis|kafka|mqtt|amqps?|sqs|nats|local|pubsub|sc|eventhub|kafkas)://.+", re.I
)
_SEARCHES = ("nearby", "within", "intersects")


def set_hook(data: Data, call: Call) -> bytes:
    """C{SETHOOK name endpoint[,endpoint] [META name value ...] [EX seconds] NEARBY key FENCE ...}

    And C{SETCHAN name ...}, which has no endpoint.
    """
    channel, words = call.name == "setchan", call.words
    name = words.word()
    endpoints = (f"local://{name}",) if channel else _endpoints(words.word())
    hook = _read(data, name, channel, endpoints, words)
    old = data.hooks.get(name)
    if old is not None and old.channel != channel:
        raise Refusal("hooks and channels cannot share the same name")
    if old is not None and old.same(hook):
        return call.counted(0)
    if old is not None:
        data.forget_hook(name)
    data.hooks[name] = hook
    call.changes.append(Change("sethook", "", time=data.now()))
    return call.counted(1)


def _endpoints(word: str) -> tuple[str, ...]:
    found = tuple(each.strip() for each in word.split(","))
    for each in found:
        if not _ENDPOINT.fullmatch(each):
            invalid(each)
    return found


def _read(data: Data, name: str, channel: bool, endpoints: tuple[str, ...], words: Words) -> Hook:
    metas: dict[str, str] = {}
    expires = None
    while words.lower not in _SEARCHES:
        word = words.word()
        if word.lower() == "meta":
            meta = words.word()
            metas[meta] = words.word()
        elif word.lower() == "ex":
            expires = data.now() + words.number()
        else:
            invalid(word)
    given = tuple(words.rest)
    search = read_search(data, words.any().lower(), words, fenced=True)
    return Hook(name, channel, search, given, endpoints, tuple(sorted(metas.items())), expires)


def delete_hook(data: Data, call: Call) -> bytes:
    """C{DELHOOK name}, C{DELCHAN name}"""
    words = call.words
    name = words.word()
    words.end()
    return _delete(data, call, [name])


def delete_hooks(data: Data, call: Call) -> bytes:
    """C{PDELHOOK pattern}, C{PDELCHAN pattern}"""
    return _delete(data, call, [hook.name for hook in _fitting(data, call)])


def _delete(data: Data, call: Call, names: list[str]) -> bytes:
    channel = call.name.endswith("chan")
    gone = [name for name in names if name in data.hooks and data.hooks[name].channel == channel]
    for name in gone:
        del data.hooks[name]
        data.forget_hook(name)
    if gone:
        call.changes.append(Change("delhook", "", time=data.now()))
    return call.counted(len(gone))


def _fitting(data: Data, call: Call) -> list[Hook]:
    """Those that the command's pattern is about, in the order of their names."""
    words = call.words
    pattern = words.word()
    words.end()
    channel, span = "chan" in call.name, span_of(pattern)
    named = sorted(data.hooks.values(), key=lambda hook: hook.name)
    inside = [hook for hook in named if span is None or span[0] <= hook.name <= span[1]]
    return [hook for hook in inside if hook.channel == channel and matches(pattern, hook.name)]


def show_hooks(data: Data, call: Call) -> bytes:
    """C{HOOKS pattern}, C{CHANS pattern}"""
    found = _fitting(data, call)
    return call.reply(
        lambda: [_resp(hook) for hook in found],
        lambda: f'"{call.name}":[{",".join(_json(data, hook) for hook in found)}]',
    )


def _resp(hook: Hook) -> Value:
    metas = [bulk(text) for pair in hook.metas for text in pair]
    endpoints, words = ([bulk(each) for each in group] for group in (hook.endpoints, hook.words))
    return [bulk(hook.name), bulk(hook.key), endpoints, words, metas]


def _json(data: Data, hook: Hook) -> str:
    left = -1 if hook.expires is None else max(int(hook.expires - data.now()), 0)
    endpoints = "" if hook.channel else f'"endpoints":[{",".join(map(json_string, hook.endpoints))}],'
    words = ",".join(map(json_string, hook.words))
    metas = ",".join(f"{json_string(name)}:{json_string(value)}" for name, value in hook.metas)
    named = f'"name":{json_string(hook.name)},"key":{json_string(hook.key)},"ttl":{left}'
    return f'{{{named},{endpoints}"command":[{words}],"meta":{{{metas}}}}}'


def ended_hooks(data: Data) -> list[list[str]]:
    """The command for each hook and channel whose time is over."""
    now = data.now()
    return [
        ["delchan" if hook.channel else "delhook", hook.name]
        for hook in data.hooks.values()
        if hook.expires is not None and hook.expires <= now
    ]


WRITES: Commands = {
    "sethook": set_hook,
    "setchan": set_hook,
    "delhook": delete_hook,
    "delchan": delete_hook,
    "pdelhook": delete_hooks,
    "pdelchan": delete_hooks,
}
READS: Commands = {"hooks": show_hooks, "chans": show_hooks}
