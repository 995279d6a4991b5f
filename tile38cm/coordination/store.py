"""What a member writes into Consul: C{status}, the lock, its own key, epochs.

Every write here ends in certainty: a compare-and-set whose answer was lost is
repeated at its index until the index moves (L{Settlement} has the rule).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.coordination.consul import (
    Cas,
    Consul,
    ConsulError,
    KeyValue,
    Lock,
    Op,
    Refused,
    Set,
    Unclear,
    Unlock,
)
from tile38cm.coordination.status import (
    EPOCHS,
    LEADER_KEY,
    MEMBERS,
    STATUS_KEY,
    EpochRecord,
    Rubbish,
    Settlement,
    Status,
)
from tile38cm.model import Position
from tile38cm.tasks import pause

#: Seconds; Consul's least. Nothing is decided by it: it only tidies up after the dead.
SESSION_TTL = 10.0
#: Seconds between tries while an answer is outstanding: short, since a failover may wait for it.
RETRY = 0.1
#: After a refusal (permissions, configuration): an operator has to act.
REFUSED_RETRY = 1.0


@frozen
class Settled:
    """The certain outcome of a L{Settlement}, and what Consul holds now."""

    won: bool
    status: Status | None
    index: int


class Twin(Exception):
    """Another manager that runs has this member's id."""

    def __init__(self, member: str) -> None:
        super().__init__(f"another manager runs as {member}: give each its own --id")


@frozen
class Rival:
    """Whose session holds this member's key: another manager's of the same id, or one's that has ended.

    C{address}: where its W was; empty if it does not say.
    """

    session: str
    address: str


@frozen
class Told:
    """What an earlier run of this member last said of itself."""

    led: bool
    position: Position


class ClusterStore:
    """The keys of one cluster, as one member reads and writes them.

    @param prefix: the lock prefix, without a trailing slash.
    @param on_lock: told whether this member's session holds the lock, when that is seen to change.
    """

    _log = Logger()

    def __init__(self, consul: Consul, prefix: str, member: str, clock: IReactorTime) -> None:
        self._consul = consul
        self._prefix = prefix
        self._member = member
        self._clock = clock
        self._session: str | None = None
        #: Keys that are to be unlocked as soon as Consul can be reached.
        self._owed: set[str] = set()
        #: The sessions of this run, and those that an earlier one has remembered.
        self.mine: set[str] = set()
        #: Told each session of this member before it is used.
        self.on_session: Callable[[str], None] = lambda _: None
        self._trouble = ""

    def key(self, *names: object) -> str:
        """A key below the prefix."""
        return "/".join([self._prefix, *map(str, names)])

    # -- status ---------------------------------------------------------------

    def parse_status(self, found: KeyValue | None) -> tuple[Status | None, int]:
        """The document and its index; fails with L{Rubbish}."""
        if found is None:
            return None, 0
        return Status.decode(found.value), found.modify_index

    async def read_status(self) -> tuple[Status | None, int]:
        """As Consul's leader confirms it; fails with C{ConsulError} or L{Rubbish}."""
        answer = await self._consul.get(self.key(STATUS_KEY), consistent=True)
        return self.parse_status(answer.value)

    async def answers(self) -> bool:
        """Whether Consul's leader answers; takes as long as that, or as a request may take."""
        try:
            await self.read_status()
        except (ConsulError, Rubbish):
            return False
        return True

    async def settle(self, settlement: Settlement, record: EpochRecord | None = None) -> Settled:
        """Write C{status}, take the lock with it, and C{record} if given; returns when it is certain.

        That may take as long as Consul is away; cancelling leaves it open.
        """
        while True:
            wanted = settlement.attempt(lambda: secrets.token_hex(8))
            try:
                ops = await self._operations(wanted, settlement.index, record)
                answer = await self._consul.txn(*ops)
                if answer.ok:
                    self._went_well()
                    return Settled(True, wanted, _index_of(answer.results, self.key(STATUS_KEY)))
                if any("session" in e.what and "invalid" in e.what for e in answer.errors):
                    self._session = None
                status, index = await self.read_status()
            except Rubbish as e:
                await self._again(f"the status in Consul is rubbish: {e}", REFUSED_RETRY)
                continue
            except Refused as e:
                if "session" in str(e):
                    self._session = None
                await self._again(str(e), REFUSED_RETRY)
                continue
            except ConsulError as e:
                await self._again(str(e), RETRY)
                continue
            self._went_well()
            outcome = settlement.outcome(status, index)
            if outcome is not None:
                return Settled(outcome, status, index)
            await pause(self._clock, RETRY)

    async def _operations(self, wanted: Status, index: int, record: EpochRecord | None) -> list[Op]:
        session = await self._own_session()
        ops: list[Op] = [Cas(self.key(STATUS_KEY), wanted.encode(), index)]
        lock = (await self._consul.get(self.key(LEADER_KEY), consistent=True)).value
        if lock is not None and lock.session is not None and lock.session != session:
            ops.append(Unlock(lock.key, lock.session))
        ops.append(Lock(self.key(LEADER_KEY), self._member.encode(), session))
        if record is not None:
            ops.append(Set(self.key(EPOCHS, record.epoch), record.encode()))
        return ops

    async def _again(self, trouble: str, seconds: float) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._log.warn("writing the status has to wait: {trouble}", trouble=trouble)
        await pause(self._clock, seconds)

    def _went_well(self) -> None:
        if self._trouble:
            self._log.info("writing the status works again")
            self._trouble = ""

    # -- session and lock -----------------------------------------------------

    async def _own_session(self) -> str:
        if self._session is None:
            # No node checks and no lock delay: with them the transaction of a
            # takeover is refused for as long as the delay runs.
            self._session = await self._consul.session_create(f"tile38cm {self._member}", ttl=SESSION_TTL)
            self.mine.add(self._session)
            self.on_session(self._session)
        return self._session

    def holds(self, lock: KeyValue | None) -> bool:
        """Whether the lock key, as seen, is locked by this member's session."""
        return lock is not None and lock.session is not None and lock.session == self._session

    async def keep_session(self) -> None:
        """Renew the session for ever; a lost one is made again where it is next needed."""
        while True:
            await pause(self._clock, SESSION_TTL / 3)
            try:
                await self._unlock_owed()
                if self._session is not None and not await self._consul.session_renew(self._session):
                    self._log.warn("the session in Consul has ended; a new one will be made")
                    self._session = None
            except ConsulError:
                pass  # the watches tell of an absent Consul; the session outlives its absence

    async def leave(self) -> None:
        """Destroy the session, and with it the lock and this member's hold on its key."""
        session, self._session = self._session, None
        if session is not None:
            try:
                await self._consul.delete(self.key(MEMBERS, self._member))
                await self._consul.session_destroy(session)
            except ConsulError as e:
                self._log.info("the session was left to expire: {e}", e=str(e))

    # -- members, epochs, secret ----------------------------------------------

    async def announce(self, state: Mapping[str, Any]) -> bool:
        """Write this member's own key under its session; fails with C{ConsulError} and with L{Twin}.

        @return: whether it was written; if not, try again.
        """
        value = json.dumps(dict(state), sort_keys=True).encode()
        written = await self._lock(self.key(MEMBERS, self._member), value)
        if not written and await self.rival() is not None:
            raise Twin(self._member)
        return written

    async def rival(self) -> Rival | None:
        """Who holds this member's key, if it is not this member; fails with C{ConsulError}.

        A session that a crash of this member has left, which would hold it for as long
        as sessions live, is ended.
        """
        found = await self._own_key()
        if found is None or found.session in (None, self._session):
            return None
        if found.session in self.mine:
            await self.end(str(found.session))
            return None
        address = _document(found).get("address")
        return Rival(str(found.session), address if isinstance(address, str) else "")

    async def end(self, session: str) -> None:
        """End an earlier session of this member; fails with C{ConsulError}."""
        self._log.info("the session from before a crash of this member is ended")
        await self._consul.session_destroy(session)

    async def _own_key(self) -> KeyValue | None:
        return (await self._consul.get(self.key(MEMBERS, self._member), consistent=True)).value

    async def take(self, name: str) -> bool:
        """Lock a key below the prefix with this member's session; fails with C{ConsulError}."""
        self._owed.discard(name)
        return await self._lock(self.key(name), self._member.encode())

    async def _lock(self, key: str, value: bytes) -> bool:
        """Write under this member's session; one that has ended is made again the next time."""
        try:
            return await self._consul.put(key, value, acquire=await self._own_session())
        except Refused as e:
            if "session" in str(e):
                self._session = None
            raise

    async def give_back(self, name: str) -> None:
        """Unlock a key that was taken: now, or when Consul can be reached again.

        The session lives on, so nobody else would ever get a key that is only left.
        """
        self._owed.add(name)
        try:
            await self._unlock_owed()
        except ConsulError as e:
            self._log.info("{name} is unlocked later: {e}", name=name, e=str(e))

    async def _unlock_owed(self) -> None:
        """Fails with C{ConsulError}; who takes such a key anew meanwhile keeps it."""
        for name in list(self._owed):
            if self._session is not None:
                await self._consul.put(self.key(name), b"", release=self._session)
            self._owed.discard(name)

    async def starts(self) -> int:
        """The highest count of its own starts that this member has noted; fails with C{ConsulError}.

        A node that starts for the so many-eth time, or an earlier one, has a disk that went back in time.
        """
        found = (await self._consul.get(self.key("starts", self._member), consistent=True)).value
        return int(found.value) if found is not None and found.value.isdigit() else 0

    async def count_start(self, mine: int) -> int:
        """Note a member's count of its own starts; fails with C{ConsulError}.

        @return: the highest count that was noted before.
        """
        noted = await self.starts()
        await self._consul.put(self.key("starts", self._member), b"%d" % max(noted, mine))
        return noted

    async def last_told(self) -> Told | None:
        """What this member's own key says that it had, at least; fails with C{ConsulError}.

        After an orderly stop there is no such key.
        """
        found = await self._own_key()
        told = {} if found is None else _document(found)
        try:
            return Told(told["role"] == "leader", Position(int(told["epoch"]), int(told["offset"])))
        except (ValueError, KeyError, TypeError, OverflowError):
            return None

    async def epochs(self) -> dict[int, EpochRecord]:
        """All recorded terms; a record that cannot be read is left out. Fails with C{ConsulError}."""
        found = (await self._consul.get_tree(self.key(EPOCHS) + "/", consistent=True)).value
        records = {}
        for entry in found:
            try:
                record = EpochRecord.decode(entry.value)
            except Rubbish as e:
                self._log.error("{key} is rubbish: {e}", key=entry.key, e=str(e))
                continue
            records[record.epoch] = record
        return records

    async def write_record(self, record: EpochRecord, still_wanted: Callable[[], bool]) -> bool:
        """Write the start of a won epoch; only its leader does. Repeats until it is there.

        @return: whether it was written before C{still_wanted} said no.
        """
        while still_wanted():
            try:
                if await self._consul.put(self.key(EPOCHS, record.epoch), record.encode()):
                    return True
            except Refused as e:
                await self._again(str(e), REFUSED_RETRY)
            except Unclear as e:
                await self._again(str(e), RETRY)
        return False

    async def secret(self) -> str:
        """The cluster's shared secret, made by whoever comes first; fails with C{ConsulError}."""
        key = self.key("secret")
        found = (await self._consul.get(key, consistent=True)).value
        if found is None:
            await self._consul.put(key, secrets.token_hex(32).encode(), cas=0)
            found = (await self._consul.get(key, consistent=True)).value
        if found is None:
            raise Unclear("the cluster's secret was not stored")
        return found.value.decode("ascii", "replace")


def _document(found: KeyValue) -> dict[str, Any]:
    """A member's key; nothing if it is rubbish."""
    try:
        document = json.loads(found.value)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _index_of(results: tuple[KeyValue, ...], key: str) -> int:
    return next((r.modify_index for r in results if r.key == key), 0)


def with_start(record: EpochRecord, start: int, time: str) -> EpochRecord:
    """The record of a term whose leader's log began it at C{start}."""
    return evolve(record, start=start, time=time)
