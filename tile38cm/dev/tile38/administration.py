"""Commands for whoever runs the node, and for the connection itself."""

from __future__ import annotations

import gc

from tile38cm.dev.tile38 import areas
from tile38cm.dev.tile38.calls import ARITY, Call, Refusal, Words, bulk, invalid, wrong_arity
from tile38cm.dev.tile38.config import DEFAULTS
from tile38cm.dev.tile38.geometry import Geo, intersects, within
from tile38cm.dev.tile38.globs import matches
from tile38cm.dev.tile38.node import Client, Node, Reply
from tile38cm.dev.tile38.text import duration, json_string


class Subscribed(Exception):
    """C{SUBSCRIBE}, C{PSUBSCRIBE}"""


def subscribe(node: Node, call: Call, client: Client | None) -> Reply:
    """C{SUBSCRIBE channel ...}, C{PSUBSCRIBE pattern ...}

    @raise Subscribed: always, if it is complete.
    """
    if len(call.args) < 2:
        wrong_arity()
    raise Subscribed


def output(node: Node, call: Call, client: Client | None) -> Reply:
    """C{OUTPUT [JSON|RESP]}"""
    if len(call.args) == 1:
        # Tile38 leaves the quotes out.
        head = f'{{"ok":true,"output":"json","elapsed":{duration(call.seconds())}}}'
        return head.encode() if call.json else call.reply(bulk("resp"))
    (word,) = call.exactly(1)
    if word.lower() not in ("json", "resp"):
        invalid(word)
    call.json = word.lower() == "json"
    if client is not None:
        client.json = call.json
    return call.done()


def readonly(node: Node, call: Call, client: Client | None) -> Reply:
    """C{READONLY yes|no}"""
    (word,) = call.exactly(1)
    if word not in ("yes", "no"):
        invalid(word)
    if node.config.read_only != (word == "yes"):
        node.config.read_only = word == "yes"
        node.config.write()
    return call.done()


def config_get(node: Node, call: Call, client: Client | None) -> Reply:
    """C{CONFIG GET pattern}"""
    (pattern,) = _behind_config(call, 1)
    found = {name: node.config.values[name] for name in DEFAULTS if matches(pattern, name)}
    rows = sorted(found.items())
    members = ",".join(f"{json_string(name)}:{json_string(value)}" for name, value in rows)
    return call.reply([bulk(each) for row in rows for each in row], f'"properties":{{{members}}}')


def config_set(node: Node, call: Call, client: Client | None) -> Reply:
    """C{CONFIG SET name value}; a password may be left out, and is none then."""
    words = call.args[1:]
    if len(words) == 1 and words[0].lower() == "requirepass":
        words = [*words, ""]
    if len(words) != 2:
        raise Refusal(ARITY)
    node.config.set(*words)
    node.judge_memory()
    return call.done()


def config_rewrite(node: Node, call: Call, client: Client | None) -> Reply:
    """C{CONFIG REWRITE}"""
    _behind_config(call, 0)
    node.config.rewrite()
    return call.done()


def _behind_config(call: Call, count: int) -> list[str]:
    if len(call.args) != count + 1:
        raise Refusal(ARITY)
    return call.args[1:]


def client(node: Node, call: Call, asking: Client | None) -> Reply:
    """C{CLIENT LIST|GETNAME|SETNAME name|KILL ...}"""
    words = call.words
    verb = words.any().lower()
    if verb == "list":
        words.end()
        return call.reply(
            lambda: bulk("".join(_line(node, each) + "\n" for each in node.clients.values())), ""
        )
    if verb == "getname" and asking is not None:
        words.end()
        return call.reply(bulk(asking.name), f'"name":{json_string(asking.name)}')
    if verb == "setname" and asking is not None:
        name = words.any()
        words.end()
        if not all("!" <= letter <= "~" for letter in name):
            raise Refusal("Client names cannot contain spaces, newlines or special characters.")
        asking.name = name
        return call.done()
    if verb == "kill":
        return _kill(node, call, words.rest)
    raise Refusal("Syntax error, try CLIENT (LIST | KILL | GETNAME | SETNAME)")


def _line(node: Node, each: Client) -> str:
    now = node.reactor.seconds()
    return (
        f"id={each.id} addr={each.address} name={each.name} "
        f"age={int(now - each.opened)} idle={int(now - (each.last or now))}"
    )


def _kill(node: Node, call: Call, words: list[str]) -> bytes:
    if not words:
        wrong_arity()
    by, value = (words[0].lower(), words[1]) if len(words) == 2 else ("addr", words[0])
    found = [
        each
        for each in list(node.clients.values())
        if (by == "id" and str(each.id) == value) or (by == "addr" and each.address == value)
    ]
    if not found:
        raise Refusal("No such client")
    for each in found:
        node.reactor.callLater(0, each.close)
    return call.done()


def collect(node: Node, call: Call, client: Client | None) -> Reply:
    """C{GC}"""
    gc.collect()
    return call.done()


def publish(node: Node, call: Call, client: Client | None) -> Reply:
    """C{PUBLISH channel message}"""
    count = node.publish(*call.exactly(2))
    return call.reply(count, f'"published":{count}')


def test(node: Node, call: Call, client: Client | None) -> Reply:
    """C{TEST area WITHIN|INTERSECTS area}"""
    words = call.words
    one = _tested(node, words)
    verb = words.word()
    if verb.lower() not in ("within", "intersects"):
        invalid(verb)
    other = _tested(node, words)
    words.end()
    yes = (within if verb.lower() == "within" else intersects)(one, other)
    return call.reply(int(yes), f'"result":{"true" if yes else "false"}')


def _tested(node: Node, words: Words) -> Geo:
    if words.lower not in areas.AREAS:
        wrong_arity()
    area = areas.read_area(node.data, "test", words, fence=False)
    assert isinstance(area, Geo)
    return area


COMMANDS = {
    "output": output,
    "readonly": readonly,
    "config get": config_get,
    "config set": config_set,
    "config rewrite": config_rewrite,
    "client": client,
    "gc": collect,
    "publish": publish,
    "subscribe": subscribe,
    "psubscribe": subscribe,
    "test": test,
}
