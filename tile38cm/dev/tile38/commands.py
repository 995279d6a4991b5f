"""The table of commands: who may give one when, and what does it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from attrs import frozen
from shapely import GEOSException
from twisted.internet.defer import Deferred

from tile38cm.dev.tile38 import (
    administration,
    documents,
    hook_commands,
    monitor,
    objects,
    replication,
    scans,
    status,
)
from tile38cm.dev.tile38.administration import Subscribed
from tile38cm.dev.tile38.calls import ARITY, Call, Refusal, invalid, wrong_arity
from tile38cm.dev.tile38.data import Data
from tile38cm.dev.tile38.node import Client, Node, Options, Reply
from tile38cm.dev.tile38.scans import GoesLive
from tile38cm.dev.tile38.text import json_string, parse_float, to_bytes
from tile38cm.wire.resp import bulk

T = TypeVar("T")
Done = Callable[[Node, Call, Client | None], Reply]


class Kind(Enum):
    """When a command is refused."""

    #: On a follower, and where the node is read-only.
    WRITE = 0
    #: On a follower that has not caught up since its start.
    READ = 1
    #: Never.
    FREE = 2


@frozen
class Entry:
    """One row."""

    kind: Kind
    do: Done


def run(node: Node, call: Call, client: Client | None) -> Reply:
    """Do one command, whoever may give it.

    @raise Refusal: It cannot be done.
    """
    if call.name in ("config", "script") and len(call.args) > 1:
        call.args = [f"{call.args[0]} {call.args[1]}", *call.args[2:]]
    entry = _TABLE.get(call.name)
    if entry is None:
        node.log.warn("{name} is not known to this node", name=call.args[0][:64])
        raise Refusal(f"unknown command '{call.args[0]}'")
    return entry.do(node, call, client)


def answer(node: Node, call: Call, client: Client) -> Reply:
    """The reply to one command of a client; a write is in the log's buffer then.

    Whatever makes the connection live comes out as an exception.
    """
    try:
        return _checked(node, call, client)
    except Refusal as error:
        return call.error(str(error))
    except (ArithmeticError, ValueError, GEOSException) as error:
        node.log.warn("{name} was asked of places that are none: {error}", name=call.name, error=error)
        return call.error("these places are none for an embedded node")


def _checked(node: Node, call: Call, client: Client) -> Reply:
    name = call.name
    if name in ("ping", "echo"):
        return _ping(call)
    if name == "hello":
        raise Refusal(f"unknown command '{call.args[0]}'")
    limit = _unwrap(call) if name == "timeout" else None
    logged_in = _log_in(node, call, client)
    if logged_in is not None:
        return logged_in
    _judge(node, call, limit)
    try:
        reply = run(node, call, client)
    except (Refusal, GoesLive, Subscribed) as why:
        if call.name in _TABLE and str(why) != ARITY:
            node.show(call, client)
        raise
    if limit is not None and call.seconds() > limit:
        raise Refusal("timeout")
    if isinstance(reply, Deferred):
        return reply.addErrback(lambda failure: _late(call, failure.trap(Refusal) and failure.value))
    node.record(call)
    node.show(call, client)
    return reply


def _late(call: Call, error: object) -> bytes:
    return call.error(str(error))


def _ping(call: Call) -> bytes:
    if len(call.args) > 1:
        if call.json:
            return call.reply(None, f'"{call.name}":{json_string(call.args[1])}')
        return bulk(to_bytes(call.args[1]))
    return call.reply("PONG", f'"{call.name}":"pong"')


def _unwrap(call: Call) -> float:
    """Take C{TIMEOUT seconds} off; returns the seconds."""
    if len(call.args) < 3 or not call.args[1]:
        wrong_arity()
    seconds = parse_float(call.args[1])
    if seconds is None or not seconds >= 0:
        invalid(call.args[1])
    call.args = call.args[2:]
    return seconds


def _log_in(node: Node, call: Call, client: Client) -> bytes | None:
    """The reply to C{AUTH}; nothing if the command may go on.

    @raise Refusal: A password is asked for, or this is not the one.
    """
    asks = call.name == "auth"
    if (client.trusted and not asks) or call.name in ("output", "healthz"):
        return None
    password = node.config.values["requirepass"]
    if not password:
        if asks:
            raise Refusal("invalid password")
        return None
    if not asks and call.password is None:
        raise Refusal("authentication required")
    given = "".join(call.args[1:2]) if call.password is None else call.password
    if given.strip() != password:
        raise Refusal("invalid password")
    client.trusted = True
    return call.done() if asks else None


def _judge(node: Node, call: Call, limit: float | None) -> None:
    """Whether the command may be given to this node now."""
    entry = _TABLE.get(call.name)
    kind = Kind.WRITE if call.name in _SCRIPTS else entry.kind if entry is not None else Kind.FREE
    if kind is Kind.WRITE:
        if node.config.follow_host:
            raise Refusal("not the leader")
        if node.config.read_only:
            raise Refusal("read only")
        if limit is not None and entry is not None:
            raise Refusal(f"timeout not supported for '{call.name}'")
    elif kind is Kind.READ and node.config.follow_host and not node.caught_up_once:
        raise Refusal("catching up to leader")


#: Scripts that may write: refused where writes are, and unknown elsewhere.
_SCRIPTS = ("eval", "evalsha")


def _of_data(do: Callable[[Data, Call], bytes]) -> Done:
    return lambda node, call, client: do(node.data, call)


def _rows() -> dict[str, Entry]:
    plain: list[tuple[Kind, dict[str, Callable[[Data, Call], bytes]]]] = [
        (Kind.WRITE, objects.WRITES | documents.WRITES | hook_commands.WRITES),
        (Kind.READ, objects.READS | documents.READS | hook_commands.READS | scans.READS),
        (Kind.FREE, documents.UNLOGGED | scans.ALWAYS),
    ]
    rows = {name: Entry(kind, _of_data(do)) for kind, commands in plain for name, do in commands.items()}
    rows |= {name: Entry(Kind.READ, do) for name, do in status.READS.items()}
    free = administration.COMMANDS | replication.COMMANDS | monitor.COMMANDS
    return rows | {name: Entry(Kind.FREE, do) for name, do in free.items()}


_TABLE = _rows()


def make_node(reactor: object, options: Options) -> Node:
    """A node that knows all commands, and has not been started."""
    return Node(reactor, options, run)
