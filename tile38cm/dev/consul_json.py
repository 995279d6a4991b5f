"""Keys, sessions, services and checks with the names that Consul's JSON gives them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from tile38cm.dev.consul_keys import Entry, Session
from tile38cm.dev.consul_services import Check, Service

NODE = "dev"
ADDRESS = "127.0.0.1"
DATACENTER = "dc1"


def entry_json(entry: Entry) -> dict[str, Any]:
    """One key; no holder means no C{Session} at all, an empty value is null."""
    found = {
        "LockIndex": entry.lock_index,
        "Key": entry.key,
        "Flags": entry.flags,
        "Value": b64encode(entry.value).decode() if entry.value else None,
        "CreateIndex": entry.create_index,
        "ModifyIndex": entry.modify_index,
    }
    return found if entry.session is None else found | {"Session": entry.session}


def session_json(session: Session) -> dict[str, Any]:
    """One session as C{session/info} shows it."""
    return {
        "ID": session.id,
        "Name": session.name,
        "Node": session.node,
        "LockDelay": int(session.lock_delay * 1e9),
        "Behavior": session.behavior,
        "TTL": f"{session.ttl:g}s" if session.ttl else "",
        "NodeChecks": [],
        "CreateIndex": session.create_index,
        "ModifyIndex": session.create_index,
    }


def check_json(check: Check, service: Service | None) -> dict[str, Any]:
    """One check within C{health/service} and C{agent/checks}."""
    return {
        "Node": NODE,
        "CheckID": check.id,
        "Name": check.name,
        "Status": check.status,
        "Output": check.output,
        "ServiceID": service.id if service is not None else "",
        "ServiceName": service.name if service is not None else "",
        "ServiceTags": list(service.tags) if service is not None else [],
        "Type": "tcp" if check.tcp else "ttl" if check.ttl else "",
        "Interval": _duration(check.interval),
        "Timeout": _duration(check.timeout),
    }


def _duration(seconds: float) -> str:
    """As Go writes it; nothing for none."""
    if not seconds:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours:g}h"] if hours else []
    parts += [f"{minutes:g}m"] if hours or minutes else []
    return "".join([*parts, f"{rest:g}s"])


_SERF = Check("serfHealth", "Serf Health Status", "passing", "Agent alive and reachable")


def health_json(service: Service, checks: list[Check]) -> dict[str, Any]:
    """One instance as C{health/service} shows it, with its node's check."""
    return {
        "Node": {"Node": NODE, "Address": ADDRESS, "Datacenter": DATACENTER},
        "Service": {
            "ID": service.id,
            "Service": service.name,
            "Tags": list(service.tags),
            "Address": service.address,
            "Port": service.port,
            "Meta": service.meta,
            "Connect": {"Native": True} if service.native else {},
            "CreateIndex": service.create_index,
            "ModifyIndex": service.modify_index,
        },
        "Checks": [check_json(_SERF, None), *(check_json(check, service) for check in checks)],
    }


def catalog_json(service: Service) -> dict[str, Any]:
    """One instance as C{catalog/service} shows it."""
    return {
        "Node": NODE,
        "Address": ADDRESS,
        "Datacenter": DATACENTER,
        "ServiceID": service.id,
        "ServiceName": service.name,
        "ServiceAddress": service.address,
        "ServicePort": service.port,
        "ServiceMeta": service.meta,
        "ServiceTags": list(service.tags),
        "ServiceConnect": {"Native": True} if service.native else {},
        "CreateIndex": service.create_index,
        "ModifyIndex": service.modify_index,
    }
