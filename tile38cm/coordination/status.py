"""The one document that says who leads, and the ways in which it may change.

C{status} under the lock prefix is written only by a transaction that compares
its index.  Everything here is pure: documents, the few allowed successors of
a document, and L{Settlement}, the rule for a write whose answer was lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, evolve, field, frozen

#: What a status document is called below the lock prefix.
STATUS_KEY = "status"
LEADER_KEY = "leader"
EPOCHS = "epochs"
MEMBERS = "members"


class Rubbish(ValueError):
    """A document in Consul is not what a manager writes there."""


@frozen
class Status:
    """Who leads which members in which epoch.

    C{version} grows by one with every change; C{nonce} makes each write
    different, because Consul does not move the index of a key that is written
    with an equal value, and a second compare-and-set would then win as well.
    C{lease} (seconds) is the longest that a promise in this cluster may run.
    """

    cluster: str
    version: int
    epoch: int
    leader: str
    sync_set: frozenset[str]
    lease: float
    nonce: str = ""
    #: The leader's offset at the time of the write, for people.
    offset: int = 0

    def encode(self) -> bytes:
        """This document as Consul holds it."""
        return json.dumps(
            {
                "cluster": self.cluster,
                "version": self.version,
                "epoch": self.epoch,
                "leader": self.leader,
                "sync_set": sorted(self.sync_set),
                "lease": self.lease,
                "nonce": self.nonce,
                "offset": self.offset,
            }
        ).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Status:
        """Read a document; fails with L{Rubbish}."""
        doc = _document(raw)
        return cls(
            cluster=_text(doc, "cluster"),
            version=_count(doc, "version"),
            epoch=_count(doc, "epoch"),
            leader=_text(doc, "leader"),
            sync_set=_names(doc, "sync_set"),
            lease=_seconds(doc, "lease"),
            nonce=_text(doc, "nonce"),
            offset=_count(doc, "offset"),
        )


@frozen
class EpochRecord:
    """One term in the tree of history.

    The leader stood at C{parent_offset} of epoch C{parent} when it was
    promoted; its own log began the epoch at byte C{start}, which is not yet
    known when the term is won (C{None}: nobody continues in it yet).
    C{parent} 0 is the empty beginning.
    """

    epoch: int
    leader: str
    parent: int
    parent_offset: int
    start: int | None = None
    reason: str = ""
    #: Wall clock, for people.
    time: str = ""

    def encode(self) -> bytes:
        """This document as Consul holds it."""
        return json.dumps(
            {
                "epoch": self.epoch,
                "leader": self.leader,
                "parent": self.parent,
                "parent_offset": self.parent_offset,
                "start": self.start,
                "reason": self.reason,
                "time": self.time,
            }
        ).encode()

    @classmethod
    def decode(cls, raw: bytes) -> EpochRecord:
        """Read a document; fails with L{Rubbish}."""
        doc = _document(raw)
        return cls(
            epoch=_count(doc, "epoch"),
            leader=_text(doc, "leader"),
            parent=_count(doc, "parent"),
            parent_offset=_count(doc, "parent_offset"),
            start=None if doc.get("start") is None else _count(doc, "start"),
            reason=_text(doc, "reason"),
            time=_text(doc, "time"),
        )


def found(cluster: str, leader: str, lease: float) -> Status:
    """The first status of a new cluster."""
    return Status(cluster, 1, 1, leader, frozenset({leader}), lease)


def take_over(status: Status, candidate: str, seen: int, handed_over: bool = False) -> Status:
    """The next term: C{candidate} leads, the old leader is out of the set.

    @param seen: the highest epoch that the candidate knows of, which may be
        above Consul's when Consul was restored.
    @param handed_over: the old leader gave the term up with everything in its
        log, so it stays a member until a request has to wait for it: after an
        orderly stop of all nodes the set still holds all of them.
    """
    stays = handed_over or status.leader == candidate
    rest = status.sync_set if stays else status.sync_set - {status.leader}
    return evolve(
        status,
        version=status.version + 1,
        epoch=max(status.epoch, seen) + 1,
        leader=candidate,
        sync_set=rest | {candidate},
    )


def resize(
    status: Status, *, add: frozenset[str] = frozenset(), drop: frozenset[str] = frozenset()
) -> Status:
    """The same term with another sync set; the leader itself never leaves it."""
    members = (status.sync_set | add) - (drop - {status.leader})
    return evolve(status, version=status.version + 1, sync_set=members)


@define
class Settlement:
    """One wanted write of C{status}, until it is known what became of it.

    Consul may apply a request seconds after it failed, so an unchanged index
    proves nothing: the write is repeated at the same index, each time with a
    new nonce, until the index has moved; then the document found tells.
    """

    wanted: Status
    #: The C{ModifyIndex} that the write compares with; 0: the key must not exist.
    index: int
    nonces: set[str] = field(factory=set)

    def attempt(self, new_nonce: Callable[[], str]) -> Status:
        """The document to send next; each call's is different."""
        nonce = new_nonce()
        self.nonces.add(nonce)
        return evolve(self.wanted, nonce=nonce)

    def outcome(self, found: Status | None, index: int) -> bool | None:
        """Judge a consistent read: C{True} ours is there, C{False} another's, C{None} try again."""
        if index == self.index:
            return None
        return found is not None and found.nonce in self.nonces


def _document(raw: bytes) -> Mapping[str, Any]:
    try:
        doc = json.loads(raw)
    except (ValueError, RecursionError) as e:
        raise Rubbish("not JSON") from e
    if not isinstance(doc, dict):
        raise Rubbish("not an object")
    return doc


def _text(doc: Mapping[str, Any], key: str) -> str:
    value = doc.get(key)
    if not isinstance(value, str):
        raise Rubbish(f"{key} is not a text")
    return value


def _count(doc: Mapping[str, Any], key: str) -> int:
    value = doc.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Rubbish(f"{key} is not a whole number of at least 0")
    return value


def _seconds(doc: Mapping[str, Any], key: str) -> float:
    value = doc.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 3600:
        raise Rubbish(f"{key} is not a duration")
    return float(value)


def _names(doc: Mapping[str, Any], key: str) -> frozenset[str]:
    value = doc.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(m, str) for m in value):
        raise Rubbish(f"{key} is not a list of member ids")
    return frozenset(value)
