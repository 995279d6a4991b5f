"""Keys, locks, sessions and transactions as Consul 1.20 treats them; no HTTP.

Facts of the real one that are kept here: an equal value does not move
C{ModifyIndex}; a plain write keeps the holder of a lock but sets its
C{LockIndex} to 0; a release frees a lock without delay, the end of a session
after the session's lock-delay; a session falls two TTLs after its last renewal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from uuid import uuid4

from attrs import evolve, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tile38cm.dev.consul_changes import Changes, Reading

#: Consul takes TTLs from this to a day, unless its C{session_ttl_min} says otherwise. Seconds.
TTL_MIN = 10.0
TTL_MAX = 86_400.0
#: A lock-delay above this counts as this. Seconds.
LOCK_DELAY_MAX = 60.0


class Invalid(Exception):
    """Consul answers 500 with this text."""


class Failed(Exception):
    """An operation of a transaction does not apply; the text is what Consul says."""


@frozen
class Entry:
    """One key."""

    key: str
    value: bytes
    flags: int
    lock_index: int
    session: str | None
    create_index: int
    modify_index: int


@frozen
class Session:
    """One session; C{ttl} 0 means for ever. Seconds."""

    id: str
    name: str
    node: str
    ttl: float
    lock_delay: float
    behavior: Literal["release", "delete"]
    create_index: int


@frozen
class Operation:
    """One step of a transaction; fields that its verb does not need are ignored."""

    verb: str
    key: str
    value: bytes = b""
    flags: int = 0
    index: int = 0
    session: str = ""


class Keys:
    """All keys and sessions of one agent.

    @param ttl_min: the shortest TTL that a session may have (seconds).
    """

    def __init__(self, changes: Changes, clock: IReactorTime, ttl_min: float = TTL_MIN) -> None:
        self.sessions: dict[str, Session] = {}
        self._changes = changes
        self._clock = clock
        self._ttl_min = ttl_min
        self._entries: dict[str, Entry] = {}
        #: When a key was removed last, for those who wait for a missing one.
        self._removed: dict[str, int] = {}
        self._delayed_until: dict[str, float] = {}
        self._timers: dict[str, IDelayedCall] = {}
        self._verbs: dict[str, Callable[[Operation, int], list[Entry]]] = {
            "set": self._op_set,
            "cas": self._op_cas,
            "lock": self._op_lock,
            "unlock": self._op_unlock,
            "get": self._op_get,
            "get-or-empty": self._op_get_or_empty,
            "get-tree": self._op_get_tree,
            "check-index": self._op_check_index,
            "check-session": self._op_check_session,
            "check-not-exists": self._op_check_not_exists,
            "delete": self._op_delete,
            "delete-cas": self._op_delete_cas,
            "delete-tree": self._op_delete_tree,
        }

    def close(self) -> None:
        """Forget all timers; no session expires any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def read(self, key: str) -> Reading:
        """The entry of a key, or None."""
        entry = self._entries.get(key)
        touched = entry.modify_index if entry is not None else self._removed.get(key, 0)
        return Reading(entry, touched)

    def read_tree(self, prefix: str) -> Reading:
        """All entries whose keys begin with the prefix, ordered by key."""
        entries = self._below(prefix)
        removed = (index for key, index in self._removed.items() if key.startswith(prefix))
        return Reading(entries, max((*(entry.modify_index for entry in entries), *removed), default=0))

    def transact(self, operations: list[Operation]) -> tuple[list[Entry], list[tuple[int, str]]]:
        """Results and no errors, or, with nothing changed, errors by position."""
        before = self._entries.copy(), self._removed.copy()
        results: list[Entry] = []
        errors: list[tuple[int, str]] = []
        with self._changes.write() as index:
            for position, operation in enumerate(operations):
                try:
                    results.extend(self._apply(operation, index))
                except Failed as failed:
                    errors.append((position, str(failed)))
            if errors:
                self._entries, self._removed = before
        return ([], errors) if errors else (results, [])

    def attempt(self, operation: Operation) -> bool:
        """Do a single one; false if it does not apply.

        @raise Invalid: if it names a session that does not exist.
        """
        if operation.verb in ("lock", "unlock"):
            self._session_of(operation, Invalid)
        return not self.transact([operation])[1]

    def create_session(self, name: str, node: str, ttl: float, lock_delay: float, behavior: str) -> Session:
        """A new session.

        @raise Invalid: for a TTL or a behaviour that Consul does not take.
        """
        if ttl and not self._ttl_min <= ttl <= TTL_MAX:
            raise Invalid(
                f"Invalid Session TTL '{ttl * 1e9:.0f}', must be between [{self._ttl_min:g}s=24h0m0s]"
            )
        if behavior not in ("release", "delete"):
            raise Invalid(f"Invalid Behavior setting '{behavior}'")
        with self._changes.write() as index:
            kind: Literal["release", "delete"] = "delete" if behavior == "delete" else "release"
            session = Session(str(uuid4()), name, node, ttl, lock_delay, kind, index)
            self.sessions[session.id] = session
        self._start_ttl(session)
        return session

    def renew_session(self, session_id: str) -> Session | None:
        """Start its TTL anew; None if there is no such session."""
        session = self.sessions.get(session_id)
        if session is not None:
            self._start_ttl(session)
        return session

    def destroy_session(self, session_id: str) -> None:
        """End it, if it is there; its keys are released or removed, after its lock-delay for others."""
        timer = self._timers.pop(session_id, None)
        if timer is not None and timer.active():
            timer.cancel()
        session = self.sessions.pop(session_id, None)
        if session is None:
            return
        with self._changes.write() as index:
            for entry in [entry for entry in self._entries.values() if entry.session == session_id]:
                self._delayed_until[entry.key] = self._clock.seconds() + min(
                    session.lock_delay, LOCK_DELAY_MAX
                )
                if session.behavior == "delete":
                    self._remove(entry.key, index)
                else:
                    self._entries[entry.key] = evolve(entry, session=None, modify_index=index)

    def _start_ttl(self, session: Session) -> None:
        timer = self._timers.pop(session.id, None)
        if timer is not None and timer.active():
            timer.cancel()
        if session.ttl:
            self._timers[session.id] = self._clock.callLater(
                2 * session.ttl, self.destroy_session, session.id
            )

    def _below(self, prefix: str) -> list[Entry]:
        return [self._entries[key] for key in sorted(self._entries) if key.startswith(prefix)]

    def _write(self, entry: Entry) -> list[Entry]:
        """Put an entry in place, unless nothing of it would change; the entry as a write gives it back."""
        old = self._entries.get(entry.key)
        if old is not None and evolve(entry, modify_index=old.modify_index) == old:
            entry = old
        self._entries[entry.key] = entry
        return [evolve(entry, value=b"")]

    def _remove(self, key: str, index: int) -> None:
        if self._entries.pop(key, None) is not None:
            self._removed[key] = index

    def _made(self, op: Operation, index: int) -> Entry:
        """The key with the operation's value, its holder kept, its C{LockIndex} 0."""
        old = self._entries.get(op.key)
        created = old.create_index if old is not None else index
        session = old.session if old is not None else None
        return Entry(op.key, op.value, op.flags, 0, session, created, index)

    def _apply(self, op: Operation, index: int) -> list[Entry]:
        verb = self._verbs.get(op.verb)
        if verb is None:
            raise Failed(f'unknown KV verb "{op.verb}"')
        return verb(op, index)

    def _session_of(self, op: Operation, error: type[Exception]) -> None:
        if not op.session:
            raise error("missing session")
        if op.session not in self.sessions and op.verb == "lock":
            raise error(f'invalid session "{op.session}"')

    def _existing(self, op: Operation) -> Entry:
        entry = self._entries.get(op.key)
        if entry is None:
            raise Failed(f'key "{op.key}" doesn\'t exist')
        return entry

    def _op_set(self, op: Operation, index: int) -> list[Entry]:
        return self._write(self._made(op, index))

    def _op_cas(self, op: Operation, index: int) -> list[Entry]:
        old = self._entries.get(op.key)
        if (old.modify_index if old is not None else 0) != op.index:
            raise Failed(f'failed to set key "{op.key}", index is stale')
        return self._write(self._made(op, index))

    def _op_lock(self, op: Operation, index: int) -> list[Entry]:
        self._session_of(op, Failed)
        old = self._entries.get(op.key)
        if self._delayed_until.get(op.key, 0.0) > self._clock.seconds():
            raise Failed(f'failed to lock key "{op.key}" due to lock delay')
        holder = old.session if old is not None else None
        if holder not in (None, op.session):
            raise Failed(f'failed to lock key "{op.key}", lock is already held')
        lock_index = (old.lock_index if old is not None else 0) + (holder is None)
        return self._write(evolve(self._made(op, index), lock_index=lock_index, session=op.session))

    def _op_unlock(self, op: Operation, index: int) -> list[Entry]:
        self._session_of(op, Failed)
        old = self._entries.get(op.key)
        if old is None or old.session != op.session:
            raise Failed(f'failed to unlock key "{op.key}", lock isn\'t held, or is held by another session')
        return self._write(evolve(self._made(op, index), lock_index=old.lock_index, session=None))

    def _op_get(self, op: Operation, index: int) -> list[Entry]:
        return [self._existing(op)]

    def _op_get_or_empty(self, op: Operation, index: int) -> list[Entry]:
        return [self._entries.get(op.key) or Entry(op.key, b"", 0, 0, None, 0, 0)]

    def _op_get_tree(self, op: Operation, index: int) -> list[Entry]:
        return self._below(op.key)

    def _op_check_index(self, op: Operation, index: int) -> list[Entry]:
        entry = self._existing(op)
        if entry.modify_index != op.index:
            raise Failed(
                f'failed index check for key "{op.key}", '
                f"current modify index {entry.modify_index} != {op.index}"
            )
        return [evolve(entry, value=b"")]

    def _op_check_session(self, op: Operation, index: int) -> list[Entry]:
        entry = self._existing(op)
        if entry.session != op.session:
            raise Failed(
                f'failed session check for key "{op.key}", '
                f'current session "{entry.session or ""}" != "{op.session}"'
            )
        return [evolve(entry, value=b"")]

    def _op_check_not_exists(self, op: Operation, index: int) -> list[Entry]:
        if op.key in self._entries:
            raise Failed(f'key "{op.key}" exists')
        return []

    def _op_delete(self, op: Operation, index: int) -> list[Entry]:
        self._remove(op.key, index)
        return []

    def _op_delete_cas(self, op: Operation, index: int) -> list[Entry]:
        entry = self._entries.get(op.key)
        if entry is not None and entry.modify_index != op.index:
            raise Failed(f'failed to delete key "{op.key}", index is stale')
        self._remove(op.key, index)
        return []

    def _op_delete_tree(self, op: Operation, index: int) -> list[Entry]:
        for entry in self._below(op.key):
            self._remove(entry.key, index)
        return []
