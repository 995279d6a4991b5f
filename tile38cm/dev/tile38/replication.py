"""The commands between a leader and its followers, and those about the log."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tile38cm.dev.tile38.calls import Call, Refusal, invalid
from tile38cm.dev.tile38.node import Client, Node, Reply
from tile38cm.dev.tile38.text import parse_whole


class Streams(Exception):
    """C{AOF}: the log from a position on, for ever."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def follow(node: Node, call: Call, client: Client | None) -> Reply:
    """C{FOLLOW host port}, C{FOLLOW no one}"""
    words = call.words
    host, port = words.word().lower(), words.word().lower()
    words.end()
    if (host, port) == ("no", "one"):
        _follow(node, "", 0)
        return call.done()
    number = parse_whole(port, 0, 65535)
    if number is None:
        invalid(port)
    if (host, number) == (node.config.follow_host, node.config.follow_port):
        return call.done()

    def judged(refusal: str) -> bytes:
        if refusal:
            raise Refusal(f"cannot follow{refusal}")
        _follow(node, host, number)
        return call.done()

    asked: Deferred[str] = node.ask_leader(host, number)
    return asked.addCallback(judged)


def _follow(node: Node, host: str, port: int) -> None:
    known = (node.config.follow_host, node.config.follow_port)
    node.config.follow_host, node.config.follow_port = host, port
    node.config.write()
    if known != (host, port):
        node.log.info("following {whom}", whom=node.config.following or "no one")
        node.on_follow()


def replconf(node: Node, call: Call, client: Client | None) -> Reply:
    """C{REPLCONF listening-port port}, C{REPLCONF ip-address address}"""
    words = call.words
    name, value = words.word(), words.word()
    if client is None or name not in ("listening-port", "ip-address"):
        raise Refusal("cannot find follower")
    if name == "ip-address":
        client.announced = value
        return call.done()
    port = parse_whole(value)
    if port is None:
        invalid(value)
    client.port = port
    return call.done()


def log_from(node: Node, call: Call, client: Client | None) -> Reply:
    """C{AOF position}

    @raise Streams: always, if it can be had.
    """
    if node.file is None:
        raise Refusal("aof disabled")
    (word,) = call.exactly(1)
    position = parse_whole(word, 0)
    if position is None:
        invalid(word)
    node.flush()
    if position > node.file.flushed:
        raise Refusal("pos is too big, must be less that the aof_size of leader")
    raise Streams(position)


def log_sum(node: Node, call: Call, client: Client | None) -> Reply:
    """C{AOFMD5 position size}"""
    words = call.exactly(2)
    position, size = (parse_whole(word, 0) for word in words)
    if position is None or size is None:
        invalid(words[0] if position is None else words[1])
    node.flush()
    found = node.file.md5(position, size) if node.file is not None else None
    if found is None:
        raise Refusal("EOF")
    return call.reply(found, f'"md5":"{found}"')


def shrink(node: Node, call: Call, client: Client | None) -> Reply:
    """C{AOFSHRINK}: answered before it is done."""
    node.reactor.callLater(0, node.shrink)
    return call.done()


COMMANDS = {
    "follow": follow,
    "slaveof": follow,
    "replconf": replconf,
    "aof": log_from,
    "aofmd5": log_sum,
    "aofshrink": shrink,
}
