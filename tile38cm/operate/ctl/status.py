"""C{tile38ctl status}: who leads, who follows, how far each is, and who could not lead."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tile38cm.operate.ctl.cluster import Member, Seen, look
from tile38cm.operate.ctl.consul_http import Entry, Keys, consul_options, keys
from tile38cm.operate.ctl.options import Console, Exit, json_option
from tile38cm.requests import FAILOVER, SHRINK, SWITCHOVER

ABOUT = """\
Shows what Consul tells of the cluster: who leads, since when and why; each member's role, its position
(epoch:bytes of that epoch's log), how far its Tile38 is behind, whether it is read, whether it is in the
sync set, and what would keep it from leading; and what was asked of the cluster.

Members tell of themselves at least every five seconds. Only Consul is asked, no node.

Exit code: 0 a node leads; 1 none does; 2 wrong usage; 3 Consul does not answer, or there is no cluster."""

EXAMPLE = "tile38ctl status --consul.addr 127.0.0.1:8500"

REQUESTS = (SWITCHOVER, SHRINK, FAILOVER)
_HEADLINE = ("node", "role", "position", "behind", "reads", "in set", "zone", "if the leader went")


def arguments(parser: ArgumentParser) -> None:
    """What C{status} takes."""
    consul_options(parser)
    json_option(parser)


def run(options: Namespace, console: Console) -> Exit:
    """Look once, and tell."""
    where = keys(options)
    seen = look(where)
    asked = _asked(where)
    if options.json:
        console.say(json.dumps(document(seen, asked), indent=1))
    else:
        for line in lines(seen, asked):
            console.say(line)
    return Exit.GOOD if seen.leads else Exit.NO


def _asked(where: Keys) -> dict[str, Entry]:
    found = {name: where.get(name) for name in REQUESTS}
    return {name: entry for name, entry in found.items() if entry is not None}


def document(seen: Seen, asked: Mapping[str, Entry]) -> dict[str, Any]:
    """The same for programs."""
    status = seen.status
    return {
        "cluster": status.cluster,
        "epoch": status.epoch,
        "leader": seen.leads,
        "elected": status.leader,
        "lock": seen.lock,
        "sync_set": sorted(status.sync_set),
        "members": {name: _member(seen, member) for name, member in seen.members.items()},
        "epochs": [
            {"epoch": r.epoch, "leader": r.leader, "reason": r.reason, "time": r.time}
            for _, r in sorted(seen.records.items())
        ],
        "requests": {name: entry.document for name, entry in asked.items()},
    }


def _member(seen: Seen, member: Member) -> dict[str, Any]:
    position = member.position
    return {
        "here": member.here,
        "role": member.role,
        "epoch": None if position is None else position.epoch,
        "offset": None if position is None else position.offset,
        "behind": member.lag,
        "reads": member.ready,
        "in_sync_set": member.id in seen.status.sync_set,
        "zone": member.zone,
        "stage": member.stage,
        "against": seen.against(member),
        "version": member.version,
    }


def lines(seen: Seen, asked: Mapping[str, Entry]) -> Iterator[str]:
    """The same for people."""
    status, record = seen.status, seen.records.get(seen.status.epoch)
    leads = f"{seen.leads} leads" if seen.leads else f"NO LEADER; the last was {status.leader}"
    since = "" if record is None else f", since {record.time or 'just now'} ({record.reason})"
    yield f"{leads}, epoch {status.epoch}{since}"
    if seen.lock != status.leader:
        yield f"the lock is held by {seen.lock or 'nobody'}"
    yield f"cluster {status.cluster}, sync set: {', '.join(sorted(status.sync_set))}"
    yield ""
    known = [seen.members[name] for name in seen.members]
    rows = [_row(seen, member) for member in known]
    rows += [(n, "away", *[""] * 5, "it is away") for n in sorted(status.sync_set - seen.members.keys())]
    yield from _table((_HEADLINE, *rows))
    told = [_request(name, entry) for name, entry in asked.items()]
    if told:
        yield ""
        yield from told


def _row(seen: Seen, member: Member) -> tuple[str, ...]:
    lives, leads = member.here, member.id == seen.leads
    busy = f" ({member.stage})" if member.stage not in ("", "idle", "following") else ""
    return (
        member.id,
        f"{member.role}{busy}" if lives else "away",
        "unknown" if member.position is None else str(member.position),
        f"{member.lag:,} B" if lives and not leads else "",
        "yes" if lives and member.ready else "no",
        "yes" if member.id in seen.status.sync_set else "no",
        member.zone,
        "it leads" if leads else seen.against(member) or "it may lead",
    )


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    kept = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    for row in rows:
        yield "  ".join(row[i].ljust(widths[i]) for i in kept).rstrip()


def _request(name: str, entry: Entry) -> str:
    doc = entry.document
    if doc is None:
        return f"{name}: the request is no JSON object"
    if "state" in doc:
        return f"{name}: {doc['state']} {doc.get('answered', '')}: {doc.get('said', '')}"
    to = f" to {doc['candidate']}" if doc.get("candidate") else ""
    at = f" at {doc['at']}" if doc.get("at") else ""
    return f"{name}{to}{at}: waits to be carried out"
