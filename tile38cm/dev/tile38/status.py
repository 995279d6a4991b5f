"""What a node says of itself: C{SERVER}, C{INFO}, C{ROLE}, C{HEALTHZ}."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator

from tile38cm.dev.tile38.calls import Call, Refusal, bulk, invalid
from tile38cm.dev.tile38.node import VERSION, Client, Node, Reply, memory
from tile38cm.dev.tile38.text import format_float, json_string
from tile38cm.wire.resp import Value

#: A figure as JSON has it.
Figure = str | int | float | bool


def server(node: Node, call: Call, client: Client | None) -> Reply:
    """C{SERVER [EXT]}"""
    for word in call.args[1:]:
        if word.lower() != "ext":
            invalid(word)
    figures = _extended(node) if len(call.args) > 1 else _basic(node)
    rows = sorted(figures.items())
    return call.reply(
        lambda: [bulk(_shown(each)) for row in rows for each in row],
        lambda: f'"stats":{json.dumps(dict(rows), separators=(",", ":"))}',
    )


def _shown(figure: Figure) -> str:
    if isinstance(figure, bool):
        return "true" if figure else "false"
    return format_float(figure) if isinstance(figure, float) else str(figure)


def _sums(node: Node) -> dict[str, int]:
    collections = list(node.data.collections())
    return {
        "num_collections": len(collections),
        "num_hooks": len(node.data.hooks),
        "num_objects": sum(map(len, collections)),
        "num_points": sum(each.points for each in collections),
        "num_strings": sum(each.strings for each in collections),
        "in_memory_size": sum(each.weight for each in collections),
    }


def _basic(node: Node) -> dict[str, Figure]:
    config, sums, used = node.config, _sums(node), memory()
    figures: dict[str, Figure] = {
        **sums,
        "id": config.server_id,
        "version": VERSION,
        "http_transport": node.options.http,
        "pid": os.getpid(),
        "aof_size": node.log_size,
        "mem_alloc": used,
        "heap_size": used,
        "heap_released": 0,
        "max_heap_size": config.memory,
        "avg_item_size": used // sums["num_points"] if sums["num_points"] else 0,
        "pointer_size": 8 if sys.maxsize > 2**32 else 4,
        "read_only": config.read_only,
        "cpus": os.cpu_count() or 1,
        "threads": 1,
        "pending_events": node.pending(),
    }
    if config.follow_host:
        figures |= {
            "following": config.following,
            "caught_up": node.caught_up,
            "caught_up_once": node.caught_up_once,
        }
    return figures


def _extended(node: Node) -> dict[str, Figure]:
    config, counters = node.config, node.counters
    figures: dict[str, Figure] = {f"tile38_{name}": figure for name, figure in _sums(node).items()}
    return figures | {
        "alloc_bytes": memory(),
        "sys_cpus": os.cpu_count() or 1,
        "tile38_aof_current_rewrite_time_sec": 0,
        "tile38_aof_enabled": node.file is not None,
        "tile38_aof_last_rewrite_time_sec": 0,
        "tile38_aof_rewrite_in_progress": False,
        "tile38_aof_size": node.log_size,
        "tile38_cluster_enabled": False,
        "tile38_connected_clients": len(node.clients),
        "tile38_connected_slaves": len(node.readers),
        "tile38_expired_keys": counters.expired,
        "tile38_http_transport": node.options.http,
        "tile38_id": config.server_id,
        "tile38_max_heap_size": config.memory,
        "tile38_pid": os.getpid(),
        "tile38_pointer_size": 8,
        "tile38_read_only": config.read_only,
        "tile38_total_commands_processed": counters.commands,
        "tile38_total_connections_received": counters.connections,
        "tile38_total_messages_sent": counters.messages,
        "tile38_type": "follower" if config.follow_host else "leader",
        "tile38_uptime_in_seconds": float(node.reactor.seconds() - node.started),
        "tile38_version": VERSION,
    }


def healthz(node: Node, call: Call, client: Client | None) -> Reply:
    """C{HEALTHZ}"""
    call.exactly(0)
    if node.config.follow_host and not node.caught_up:
        raise Refusal("not caught up")
    return call.done()


def _followers(node: Node) -> Iterator[tuple[str, int]]:
    """Host and port of each that has told its port."""
    for client in node.clients.values():
        if client.port:
            yield client.announced or client.host, client.port


def role(node: Node, call: Call, client: Client | None) -> Reply:
    """C{ROLE}"""
    config, size = node.config, node.log_size
    if config.follow_host:
        told: list[Value] = [bulk("slave"), bulk(config.follow_host), config.follow_port]
        where = f'"host":{json_string(config.follow_host)},"port":{config.follow_port}'
        return call.reply(
            [*told, bulk("connected"), node.leader_offset],
            f'"role":{{"role":"slave",{where},"state":"connected","offset":{node.leader_offset}}}',
        )
    rows = [(host, str(port), str(size)) for host, port in _followers(node)]
    slaves = [dict(zip(("ip", "port", "offset"), row, strict=True)) for row in rows]
    shown = json.dumps(slaves, separators=(",", ":"))
    return call.reply(
        [bulk("master"), size, [[bulk(each) for each in row] for row in rows]],
        f'"role":{{"role":"master","offset":{size},"slaves":{shown}}}',
    )


def info(node: Node, call: Call, client: Client | None) -> Reply:
    """C{INFO [section ...]}"""
    wanted = {word.lower() for word in call.args[1:]} or {"all"}
    if wanted & {"all", "default"}:
        wanted = set(_SECTIONS)
    chosen = [(name, dict(rows(node))) for name, rows in _SECTIONS.items() if name in wanted]
    titles = {"cpu": "CPU"}
    text = "\r\n".join(
        f"# {titles.get(name, name.capitalize())}\r\n" + "".join(f"{k}:{v}\r\n" for k, v in rows.items())
        for name, rows in chosen
    )
    if wanted >= {"keyspace"}:
        text += "\r\n"
    figures = {k: _number(v) for _, rows in chosen for k, v in rows.items()}
    return call.reply(
        lambda: bulk(text),
        lambda: f'"info":{json.dumps(dict(sorted(figures.items())), separators=(",", ":"))}',
    )


def _number(text: Figure) -> Figure:
    """As C{INFO}'s JSON has it: numbers where the text is one."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number == int(number) else number


def _server_section(node: Node) -> Iterator[tuple[str, Figure]]:
    yield "tile38_version", VERSION
    yield "redis_version", VERSION
    yield "uptime_in_seconds", int(node.reactor.seconds() - node.started)


def _persistence(node: Node) -> Iterator[tuple[str, Figure]]:
    yield "aof_enabled", int(node.file is not None)
    yield "aof_rewrite_in_progress", 0
    yield "aof_last_rewrite_time_sec", 0
    yield "aof_current_rewrite_time_sec", 0


def _stats(node: Node) -> Iterator[tuple[str, Figure]]:
    yield "total_connections_received", node.counters.connections
    yield "total_commands_processed", node.counters.commands
    yield "total_messages_sent", node.counters.messages
    yield "expired_keys", node.counters.expired


def _replication(node: Node) -> Iterator[tuple[str, Figure]]:
    config = node.config
    if config.follow_host:
        yield "role", "slave"
        yield "master_host", config.follow_host
        yield "master_port", config.follow_port
        yield "slave_repl_offset", node.leader_offset
        if config.values["replica-priority"]:
            yield "slave_priority", config.values["replica-priority"]
    else:
        yield "role", "master"
        for number, (host, port) in enumerate(_followers(node)):
            yield f"slave{number}", f"ip={host},port={port},state=online"
    yield "connected_slaves", len(node.readers)


def _cpu(node: Node) -> Iterator[tuple[str, Figure]]:
    used = os.times()
    yield "used_cpu_sys", f"{used.system:.2f}"
    yield "used_cpu_user", f"{used.user:.2f}"
    yield "used_cpu_sys_children", f"{used.children_system:.2f}"
    yield "used_cpu_user_children", f"{used.children_user:.2f}"


_SECTIONS: dict[str, Callable[[Node], Iterator[tuple[str, Figure]]]] = {
    "server": _server_section,
    "clients": lambda node: iter([("connected_clients", len(node.clients))]),
    "memory": lambda node: iter([("used_memory", memory())]),
    "persistence": _persistence,
    "stats": _stats,
    "replication": _replication,
    "cpu": _cpu,
    "cluster": lambda node: iter([("cluster_enabled", 0)]),
}

READS = {"server": server, "info": info, "role": role, "healthz": healthz}
