"""What a sentinel answers to each command.  Pure.

Names and fields are those of Redis 7 (redis.io, "High availability with Redis
Sentinel"); where clients want numbers that mean nothing here they are those of a
server in good health, or 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tile38cm.sentinel.encoding import Encoding, Record
from tile38cm.sentinel.scene import Follower, Place, Scene
from tile38cm.settings import Address
from tile38cm.wire.resp import error

Args = Sequence[bytes]
Answer = Callable[[Scene, Args, Encoding], bytes]

#: Where changes of the leader are published.
SWITCH = "+switch-master"
_NO_MASTER = error("ERR No such master with that name")
_ARITY = "ERR wrong number of arguments for 'sentinel|{}' command"
_ELSEWHERE = "ERR 'sentinel {}' is refused by tile38cm: a cluster is operated by tile38ctl"
_REFUSED = frozenset(
    ("failover", "monitor", "remove", "set", "reset", "flushconfig", "config", "simulate-failure", "debug")
)


def answer(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    """The reply to one command that leaves no state behind."""
    name = _word(args[0])
    if name == "sentinel":
        return _sentinel(scene, args, encoding)
    plain = _PLAIN.get(name)
    return error(f"ERR unknown command '{name[:64]}'") if plain is None else plain(scene, args, encoding)


def switch(name: str, before: Address, after: Address) -> str:
    """The message that tells of another leader."""
    return f"{name} {before.host} {before.port} {after.host} {after.port}"


def _word(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").lower()


def _sentinel(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    name = _word(args[1]) if len(args) > 1 else ""
    if name in _REFUSED:
        return error(_ELSEWHERE.format(name))
    if name in _OF_MASTER:
        if len(args) != 3:
            return error(_ARITY.format(name))
        if args[2] != scene.here.name.encode():
            return encoding.nothing() if name == "get-master-addr-by-name" else _NO_MASTER
        return _OF_MASTER[name](scene, args, encoding)
    general = _GENERAL.get(name)
    if general is None:
        return error(f"ERR unknown subcommand '{name[:64]}'. Try SENTINEL HELP.")
    return general(scene, args, encoding)


# -- of one master ------------------------------------------------------------


def _address(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    address = scene.master.address
    return encoding.value([address.host.encode(), str(address.port).encode()])


def _master(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.record(master_record(scene))


def _replicas(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.records([_follower(scene, each) for each in scene.followers])


def _sentinels(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.records([_server(scene, each, each.member, "sentinel") for each in scene.sentinels])


def _quorum(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    usable = len(scene.sentinels) + 1
    if scene.leader is None:
        return error(f"NOQUORUM {usable} usable Sentinels. Nobody leads at the moment")
    return encoding.value(f"OK {usable} usable Sentinels. Quorum and failover authorization can be reached")


# -- general ------------------------------------------------------------------


def _masters(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.records([master_record(scene)])


def _my_id(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.value(Place(scene.here.member, scene.here.sentinel).run_id.encode())


def _is_down(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    """Other sentinels ask so for a vote; ours vote for nobody."""
    return encoding.value([0, b"*", 0])


def _pending(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.value([])


def _help(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.value([f"SENTINEL {name.upper()}" for name in sorted({*_OF_MASTER, *_GENERAL})])


def _ping(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.value(args[1] if len(args) > 1 else "PONG")


def _info(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    here, master = scene.here, scene.master.address
    status = "ok" if scene.leader is not None else "odown"
    counts = f"slaves={len(scene.followers)},sentinels={len(scene.sentinels) + 1}"
    lines = [
        "# Server",
        "redis_version:7.0.0",
        "redis_mode:sentinel",
        f"run_id:{Place(here.member, here.sentinel).run_id}",
        f"tcp_port:{here.sentinel.port}",
        "",
        "# Sentinel",
        "sentinel_masters:1",
        "sentinel_tilt:0",
        "sentinel_running_scripts:0",
        f"master0:name={here.name},status={status},address={master.host}:{master.port},{counts}",
        "",
    ]
    return encoding.value("\r\n".join(lines).encode())


def _role(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.value([b"sentinel", [scene.here.name.encode()]])


def _client(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    """Names of connections are taken, and forgotten."""
    known = len(args) > 1 and _word(args[1]) in ("setname", "setinfo", "no-evict", "no-touch", "reply")
    return encoding.value("OK") if known else error("ERR unknown subcommand of CLIENT")


def _commands(scene: Scene, args: Args, encoding: Encoding) -> bytes:
    return encoding.value([])


# -- records ------------------------------------------------------------------


def master_record(scene: Scene) -> Record:
    """What C{SENTINEL MASTER} says of whoever leads."""
    flags = "master" if scene.leader is not None else "master,o_down"
    return {
        **_server(scene, scene.master, scene.here.name, flags),
        "role-reported": "master",
        "role-reported-time": 0,
        "config-epoch": scene.epoch,
        "num-slaves": len(scene.followers),
        "num-other-sentinels": len(scene.sentinels),
        "quorum": scene.quorum,
        "failover-timeout": round(2000 * scene.here.lease),
        "parallel-syncs": scene.nodes,
    }


def _follower(scene: Scene, follower: Follower) -> Record:
    address = follower.place.address
    return {
        **_server(scene, follower.place, str(address), "slave" if follower.ready else "slave,s_down"),
        "role-reported": "slave",
        "role-reported-time": 0,
        "master-link-down-time": 0,
        "master-link-status": "ok" if follower.ready else "err",
        "master-host": scene.master.address.host,
        "master-port": scene.master.address.port,
        "slave-priority": 100,
        "slave-repl-offset": follower.offset,
        "replica-announced": 1,
    }


def _server(scene: Scene, place: Place, name: str, flags: str) -> dict[str, str | int]:
    return {
        "name": name,
        "ip": place.address.host,
        "port": place.address.port,
        "runid": place.run_id,
        "flags": flags,
        "link-pending-commands": 0,
        "link-refcount": 1,
        "last-ping-sent": 0,
        "last-ok-ping-reply": 0,
        "last-ping-reply": 0,
        "down-after-milliseconds": round(1000 * scene.here.lease),
        "info-refresh": 0,
    }


_OF_MASTER: Mapping[str, Answer] = {
    "get-master-addr-by-name": _address,
    "master": _master,
    "replicas": _replicas,
    "slaves": _replicas,
    "sentinels": _sentinels,
    "ckquorum": _quorum,
}
_GENERAL: Mapping[str, Answer] = {
    "masters": _masters,
    "myid": _my_id,
    "is-master-down-by-addr": _is_down,
    "pending-scripts": _pending,
    "help": _help,
}
_PLAIN: Mapping[str, Answer] = {
    "ping": _ping,
    "info": _info,
    "role": _role,
    "client": _client,
    "command": _commands,
}
