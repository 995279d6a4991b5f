"""From single values to L{Settings}: what they must keep among each other, and what files must be there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from tile38cm.flags.sources import Value
from tile38cm.flags.values import ConsulAddress, WrongValue, is_wildcard
from tile38cm.settings import Address, ConsulSettings, Secret, Settings, Tags, TlsSettings

_LOOPBACK = ("127.", "localhost", "::1")


def settings_from(values: Mapping[str, Value]) -> Settings:
    """The settings that these values mean.  Reads files that are named, connects to nothing.

    @raise WrongValue: Something required is missing, or two values exclude each other.
    """
    _check_required(values.values())
    plain: dict[str, Any] = {name: each.value for name, each in values.items()}
    consul = consul_settings(values)
    settings = Settings(
        id=plain["id"],
        advertise=plain["advertise"],
        server=Address(plain["server.addr"], plain["server.port"]),
        writer=Address(plain["bind.addr.leader"], plain["bind.port.leader"]),
        reader=Address(plain["bind.addr.follower"], plain["bind.port.follower"]),
        bridge=Address(plain["bridge.addr"], plain["bridge.port"]),
        sentinel=Address(plain["bind.addr.leader"], plain["sentinel.port"])
        if plain["sentinel.port"]
        else None,
        sentinel_name=plain["sentinel.name"],
        server_password=_server_password(values, plain),
        server_grace=plain["server.grace"],
        consul=consul,
        lock_prefix=plain["consul.lock.prefix"],
        dogstatsd=Address(plain["dogstatsd.addr"], plain["dogstatsd.port"]),
        service_manage=plain["service.manage"],
        writer_service=plain["service.name.leader"],
        reader_service=plain["service.name.follower"],
        tls=_tls(values, plain),
        lease=plain["lease"],
        state_dir=plain["state.dir"] or Path("tile38cm-state").absolute() / plain["id"],
        expect=plain["expect"],
        ack=plain["ack"],
        min_insync=plain["min.insync"],
        insync_timeout=plain["insync.timeout"],
        hold_timeout=plain["hold.timeout"],
        hold_bytes=plain["hold.bytes"],
        backlog=plain["replication.backlog"],
        ttl_slack=plain["replication.ttl-slack"],
        tags=Tags(
            nofailover=plain["tag.nofailover"],
            noread=plain["tag.noread"],
            nosync=plain["tag.nosync"],
            priority=plain["tag.priority"],
            zone=plain["tag.zone"] or "",
        ),
        max_clients=plain["max.clients"],
        max_request=plain["max.request"],
        reader_writes=plain["reader.writes"],
        max_args=plain["max.args"],
        max_pipeline=plain["max.pipeline"],
        max_client_bytes=plain["max.client.bytes"],
        max_bytes=plain["max.bytes"],
        idle_timeout=plain["idle.timeout"],
        handshake_timeout=plain["handshake.timeout"],
        log_format=plain["log.format"],
        log_level=plain["log.level"],
    )
    _check_addresses(settings)
    if settings.writer_service == settings.reader_service:
        raise WrongValue(
            f"--service.name.leader and --service.name.follower are both '{settings.writer_service}', "
            "but W and R must be two services."
        )
    return settings


def _check_required(values: Iterable[Value]) -> None:
    missing = [each.flag for each in values if each.flag.required and each.value is None]
    if missing:
        names = ", ".join(f"--{flag.name} ({flag.env})" for flag in missing)
        raise WrongValue(f"Required, but given neither by flag nor by environment nor by --config: {names}.")


def _check_addresses(settings: Settings) -> None:
    listeners = [
        ("W (--bind.addr.leader, --bind.port.leader)", settings.writer),
        ("R (--bind.addr.follower, --bind.port.follower)", settings.reader),
        ("the bridge (--bridge.addr, --bridge.port)", settings.bridge),
        ("Tile38 (--server.addr, --server.port)", settings.server),
    ]
    if settings.sentinel is not None:
        listeners.append(("the sentinel (--bind.addr.leader, --sentinel.port)", settings.sentinel))
    for (one, here), (other, there) in combinations(listeners, 2):
        if _collide(here, there):
            raise WrongValue(f"{one} and {other} are both at {there}, but each needs its own.")


def _collide(here: Address, there: Address) -> bool:
    if here.port != there.port or here.port == 0:
        return False
    if here.host == there.host:
        return True
    # A wildcard takes every interface of this machine; another name may be another machine.
    wild = is_wildcard(here.host), is_wildcard(there.host)
    return all(wild) or (any(wild) and any(each.host.startswith(_LOOPBACK) for each in (here, there)))


def _server_password(values: Mapping[str, Value], plain: Mapping[str, Any]) -> Secret | None:
    password: Secret | None = plain["server.password"]
    file: Path | None = plain["server.password.file"]
    if file is None:
        return password
    if password is not None:
        one, other = _origin(values, "server.password"), _origin(values, "server.password.file")
        raise WrongValue(f"{one} and {other} are both given, but only one of them can hold.")
    first = next(iter(_read(values, "server.password.file", file).splitlines()), "").strip()
    if not first:
        origin = _origin(values, "server.password.file")
        raise WrongValue(f"{origin} is '{file}', but its first line is empty.")
    return Secret(first)


def consul_settings(values: Mapping[str, Value]) -> ConsulSettings:
    """How to reach Consul by these values, of which only those of its group need be there.

    @raise WrongValue: A file is not there, or two values exclude each other.
    """
    plain: dict[str, Any] = {name: each.value for name, each in values.items()}
    _check_consul(values, plain)
    where: ConsulAddress = plain["consul.addr"]
    return ConsulSettings(
        address=where.address,
        https=where.https or plain["consul.ssl"],
        unix_socket=where.unix_socket,
        path_prefix=where.path_prefix,
        token=plain["consul.token"],
        token_file=plain["consul.token.file"],
        http_auth=plain["consul.auth"],
        ca_file=plain["consul.cacert"],
        ca_path=plain["consul.capath"],
        client_cert=plain["consul.client.cert"],
        client_key=plain["consul.client.key"],
        verify=plain["consul.ssl.verify"],
        tls_server_name=plain["consul.tls.server.name"],
    )


def _check_consul(values: Mapping[str, Value], plain: Mapping[str, Any]) -> None:
    for name in ("consul.token.file", "consul.cacert", "consul.client.cert", "consul.client.key"):
        if plain[name] is not None:
            _read(values, name, plain[name])
    if plain["consul.capath"] is not None and not plain["consul.capath"].is_dir():
        origin = _origin(values, "consul.capath")
        raise WrongValue(f"{origin} is '{plain['consul.capath']}', but must be a folder.")
    pair = ("consul.client.cert", "consul.client.key")
    if sum(plain[name] is not None for name in pair) == 1:
        raise WrongValue(
            "--consul.client.cert and --consul.client.key need each other, but only one is given."
        )


def _tls(values: Mapping[str, Value], plain: Mapping[str, Any]) -> TlsSettings:
    mode = plain["tls"]
    names = ("tls.cert", "tls.key", "tls.ca")
    given = [name for name in names if plain[name] is not None]
    if mode != "files":
        if given:
            raise WrongValue(f"{_origin(values, given[0])} is for --tls files, but --tls is {mode}.")
        return TlsSettings(mode)
    missing = [f"--{name}" for name in names if name not in given]
    if missing:
        raise WrongValue(f"--tls is files, but needs {' and '.join(missing)} too.")
    for name in names:
        _read(values, name, plain[name])
    return TlsSettings(mode, *(plain[name] for name in names))


def _read(values: Mapping[str, Value], name: str, file: Path) -> str:
    """The file's text, only to know that it can be read, or for what is in it."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "not a text file"
    raise WrongValue(f"{_origin(values, name)} is '{file}', but that file cannot be read: {reason}.")


def _origin(values: Mapping[str, Value], name: str) -> str:
    given = values[name].given
    return f"--{name}" if given is None else given.origin
