"""What Consul tells of a cluster, at one moment: who leads, who follows, how far each is.

Members write their own keys at least every five seconds, so a position is as old as that.
The key of a member that has died stays, without a session: the last that is known of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from tile38cm.coordination.status import EPOCHS, LEADER_KEY, MEMBERS, STATUS_KEY, EpochRecord, Rubbish, Status
from tile38cm.model import Position
from tile38cm.operate.ctl.consul_http import ConsulFailed, Entry, Keys


@frozen
class Member:
    """What a member says of itself, and whether it still lives (C{here})."""

    id: str
    here: bool
    role: str
    #: C{None}: it cannot prove any.
    position: Position | None
    seen: int
    lag: int
    ready: bool
    nofailover: bool
    nosync: bool
    zone: str
    stage: str
    shrunk: str
    version: str
    #: It may have lost what it acknowledged.
    shaken: bool = False

    @classmethod
    def of(cls, name: str, entry: Entry) -> Member:
        """Read a member's key; what is missing or rubbish there is as if it were not said."""
        doc: Mapping[str, Any] = entry.document or {}
        known = doc.get("proven") is not False and _count(doc, "epoch") > 0
        return cls(
            id=name,
            here=entry.held,
            role=_text(doc, "role") or "unknown",
            position=Position(_count(doc, "epoch"), _count(doc, "offset")) if known else None,
            seen=_count(doc, "seen"),
            lag=_count(doc, "lag"),
            ready=doc.get("ready") is True,
            nofailover=doc.get("nofailover") is True,
            nosync=doc.get("nosync") is True,
            zone=_text(doc, "zone"),
            stage=_text(doc, "stage"),
            shrunk=_text(doc, "shrunk"),
            version=_text(doc, "version"),
            shaken=doc.get("shaken") is True,
        )


def _count(doc: Mapping[str, Any], name: str) -> int:
    value = doc.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _text(doc: Mapping[str, Any], name: str) -> str:
    value = doc.get(name)
    return value if isinstance(value, str) else ""


@frozen
class Seen:
    """The cluster as Consul shows it. C{lock}: who holds the lock now."""

    status: Status
    lock: str | None
    members: Mapping[str, Member]
    records: Mapping[int, EpochRecord]

    @property
    def leads(self) -> str | None:
        """Who leads, as far as Consul can tell: named by the status, alive, and says so itself."""
        leader = self.members.get(self.status.leader)
        return leader.id if leader is not None and leader.here and leader.role == "leader" else None

    def against(self, member: Member) -> str:
        """Why a member would not stand for election if the leader went; empty if nothing is against it."""
        return next(_objections(self.status, member), "")

    def told_by_leader(self) -> int:
        """How long the log of the present epoch is at least, by all that anybody has told."""
        epoch = self.status.epoch
        told = [m.position.offset for m in self.members.values() if m.position and m.position.epoch == epoch]
        record = self.records.get(epoch)
        start = record.start if record is not None and record.start is not None else 0
        return max([start, self.status.offset, *told])


def _objections(status: Status, member: Member) -> Iterator[str]:
    if not member.here:
        yield "it is away"
    if member.nofailover:
        yield "it is tagged nofailover"
    if member.id not in status.sync_set:
        tagged = ", for it is tagged nosync" if member.nosync else ", so it may lack acknowledged writes"
        yield f"it is not in the sync set{tagged}"
    if member.seen > status.epoch:
        yield f"it has seen epoch {member.seen}, but Consul's status is older"
    if member.position is None:
        yield "its position is not known, or its log is empty"
    if member.shaken:
        yield "it may have lost acknowledged writes, and waits for all others of the sync set"


def look(keys: Keys) -> Seen:
    """Read it all; fails with L{ConsulFailed}, also where there is no cluster."""
    found = keys.get(STATUS_KEY)
    if found is None:
        raise ConsulFailed(
            f"there is no cluster below {keys.prefix}: no node has led yet, or it is elsewhere"
        )
    try:
        status = Status.decode(found.value)
    except Rubbish as error:
        raise ConsulFailed(f"{found.key} is rubbish: {error}") from None
    lock = keys.get(LEADER_KEY)
    return Seen(
        status=status,
        lock=lock.value.decode("utf-8", "replace") if lock is not None and lock.held else None,
        members={name: Member.of(name, entry) for name, entry in sorted(keys.below(MEMBERS).items())},
        records=dict(_records(keys)),
    )


def _records(keys: Keys) -> Iterator[tuple[int, EpochRecord]]:
    for entry in keys.below(EPOCHS).values():
        try:
            record = EpochRecord.decode(entry.value)
        except Rubbish:
            continue
        yield record.epoch, record
