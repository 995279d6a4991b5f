"""What operators ask for through keys in Consul: a switchover, a shrink of all logs.

A request is a JSON object; whoever carried it out adds C{state} and C{said} to
it, by compare-and-set, so that it is answered once; who hands the lead over for it
adds C{by} first, so that the next leader, which sees it as well, does not do it again::

    switchover   {"candidate": "node2", "at": "2031-05-01T03:00:00Z"}     both optional
    shrink       {"id": "anything new"}
    failover     {"candidate": "node2", "old_leader_is_dead": true}

A forced failover is for when no member of the sync set comes back: the candidate
leads with what it has, alone, and what only others had is gone.

A shrink of the logs rewrites them to what the data needs.  The followers go
first, one at a time; then the lead is handed over, and the old leader follows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from tile38cm.coordination.cluster import ClusterView
from tile38cm.coordination.consul import Cas, Consul, ConsulError, KeyValue
from tile38cm.coordination.election import Election
from tile38cm.coordination.store import ClusterStore
from tile38cm.coordination.watch import Watch
from tile38cm.handover import HandOver, NotHandedOver
from tile38cm.model import Role
from tile38cm.peers.connection import PeerError
from tile38cm.peers.dial import PeerDialer
from tile38cm.replication.intake import Intake
from tile38cm.state import StateDirectory
from tile38cm.tasks import Tasks, pause
from tile38cm.tile38 import Tile38, Tile38Error

SWITCHOVER = "switchover"
SHRINK = "shrink"
FAILOVER = "failover"
#: The lock that a node holds while its log is rewritten.
TURN = "shrinking"
#: Seconds between looks at requests that wait for something.
EVERY = 0.25
#: Seconds for a member to lead that was forced to; for its leader to show that it lives.
FORCE_TIMEOUT, FORCE_ASK = 30.0, 2.0
#: Seconds in which somebody must be fit to lead, so that the leader's log can be shrunk.
GIVE_WAY_TIMEOUT = 5.0
#: Seconds for one log to be rewritten.
SHRINK_TIMEOUT = 600.0


@frozen
class Means:
    """What is needed to carry requests out."""

    clock: IReactorTime
    consul: Consul
    dialer: PeerDialer
    #: All other known nodes, or the named ones, with the way to their W.
    others: Callable[[frozenset[str] | None], dict[str, IStreamClientEndpoint]]
    store: ClusterStore
    election: Election
    hand_over: HandOver
    local: Tile38
    intake: Intake
    state: StateDirectory
    view: Callable[[], ClusterView]
    member: str


class Requests:
    """Carries out what is asked, as far as it is this node's part."""

    _log = Logger()

    def __init__(self, means: Means, announce: Callable[[], None]) -> None:
        self._means = means
        self._announce = announce
        self._found: dict[str, KeyValue] = {}
        #: Since when nobody takes the lead for a shrink.
        self._declined: float | None = None
        self._tasks = Tasks()

    def start(self) -> None:
        """Begin to look."""
        self._tasks.keep(self._run, self._means.clock, "carrying out requests")

    async def stop(self) -> None:
        """Look no more."""
        await self._tasks.cancel()

    def watches(self) -> list[Watch[KeyValue | None]]:
        """What shows the requests; to be started and stopped by the owner."""
        return [self._watch(name) for name in (SWITCHOVER, SHRINK, FAILOVER)]

    def _watch(self, name: str) -> Watch[KeyValue | None]:
        consul, key = self._means.consul, self._means.store.key(name)
        return Watch(
            lambda index, wait: consul.get(key, index=index, wait=wait),
            lambda found: self._seen(name, found),
            self._means.clock,
            name=f"requests for a {name}",
        )

    def _seen(self, name: str, found: KeyValue | None) -> None:
        if found is None:
            self._found.pop(name, None)
        else:
            self._found[name] = found

    async def _run(self) -> None:
        while True:
            try:
                await self._look(SWITCHOVER, self._switch_over)
                await self._look(SHRINK, self._shrink)
                await self._look(FAILOVER, self._force)
            except (ConsulError, Tile38Error) as e:
                self._log.warn("a request has to wait: {e}", e=str(e))
                await pause(self._means.clock, 1.0)
            await pause(self._means.clock, EVERY)

    async def _look(self, name: str, carry_out: Any) -> None:
        found = self._found.get(name)
        if found is None or not found.value:
            return
        try:
            asked = json.loads(found.value)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            if self._leading():
                await self._answer(found, {}, "refused", "the request is not a JSON object")
        elif "state" not in asked:
            await carry_out(found, asked)

    async def _answer(self, found: KeyValue, asked: dict[str, Any], state: str, said: str) -> None:
        """Write the outcome back, unless the request has changed meanwhile.

        It is the answer that is repeated until Consul takes it, not what was asked for.
        """
        self._log.info(
            "{request}: {state}, {said}", request=found.key.rsplit("/", 1)[-1], state=state, said=said
        )
        done = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        text = json.dumps({**asked, "state": state, "said": said, "answered": done})
        while True:
            try:
                await self._means.consul.put(found.key, text.encode(), cas=found.modify_index)
                break
            except ConsulError as e:
                self._log.warn("the answer has to wait: {e}", e=str(e))
                await pause(self._means.clock, 1.0)
        # The watch may show it unanswered for a while yet.
        self._found = {
            name: other
            for name, other in self._found.items()
            if other.key != found.key or other.modify_index > found.modify_index
        }

    def _leading(self) -> bool:
        return self._means.election.leadership.role is Role.LEADER

    # -- switchover -----------------------------------------------------------

    async def _switch_over(self, found: KeyValue, asked: dict[str, Any]) -> None:
        if not self._leading():
            return
        candidate, at = asked.get("candidate"), asked.get("at")
        if not (candidate is None or isinstance(candidate, str)):
            await self._answer(found, asked, "refused", "the candidate is not a name")
            return
        due = _due(at)
        if due is None:
            await self._answer(found, asked, "refused", f"{at!r} is not a time such as 2031-05-01T03:00:00Z")
        elif due <= time.time():
            await self._give_up_the_lead(found, asked, candidate)

    async def _give_up_the_lead(self, found: KeyValue, asked: dict[str, Any], candidate: str | None) -> None:
        means, by = self._means, asked.get("by")
        if by not in (None, means.member):
            # Its answer may be lost, or on its way.
            state = "done" if candidate in (None, means.member) else "failed"
            await self._answer(found, asked, state, f"{means.member} leads")
            return
        try:
            means.hand_over.successors(candidate)
        except NotHandedOver as e:
            await self._answer(found, asked, "refused", str(e))
            return
        claimed = await self._claim(found, asked)
        if claimed is not None:
            state, said = await self._hand_over(candidate)
            await self._answer(claimed, asked, state, said)

    async def _claim(self, found: KeyValue, asked: dict[str, Any]) -> KeyValue | None:
        """Write down who carries a request out; C{None} if it has changed. Fails with C{ConsulError}."""
        asked["by"] = self._means.member
        value = json.dumps(asked).encode()
        answer = await self._means.consul.txn(Cas(found.key, value, found.modify_index))
        if not answer.ok:
            return None
        return evolve(found, value=value, modify_index=answer.results[0].modify_index)

    async def _hand_over(self, candidate: str | None) -> tuple[str, str]:
        means = self._means
        try:
            leader = await means.hand_over(candidate)
        except NotHandedOver as e:
            return "refused", str(e)
        finally:
            means.election.come_back()
            means.hand_over.writer.resume()
        return "done", f"{leader} leads"

    # -- forced failover ------------------------------------------------------

    async def _force(self, found: KeyValue, asked: dict[str, Any]) -> None:
        means = self._means
        if self._leading():
            # Nor may it wait for a candidate that is away: that one would come back to it some day.
            mine = asked.get("candidate") == means.member
            state, what = ("done", "") if mine else ("refused", ": ask for a switchover")
            await self._answer(found, asked, state, f"{means.member} leads{what}")
            return
        if asked.get("candidate") != means.member:
            return
        if asked.get("old_leader_is_dead") is not True:
            why = "say that the old leader is dead ('old_leader_is_dead': true), and be sure of it"
            await self._answer(found, asked, "refused", why)
            return
        status = means.election.status
        leader = None if status is None else status.leader
        if leader is not None and leader != means.member and await self._answers(leader):
            await self._answer(found, asked, "refused", f"{leader} answers: ask for a switchover")
            return
        position = means.intake.position
        if not means.election.force():
            await self._answer(found, asked, "refused", "this node cannot lead now; its log says why")
            return
        end = means.clock.seconds() + FORCE_TIMEOUT
        while not self._leading() and means.clock.seconds() < end:
            await pause(means.clock, 0.05)
        if self._leading():
            await self._answer(found, asked, "done", f"{means.member} leads with what it had: {position}")
        else:
            await self._answer(found, asked, "failed", f"{means.member} does not lead; its log says why")

    async def _answers(self, member: str) -> bool:
        means = self._means
        for endpoint in means.others(frozenset({member})).values():
            try:
                await means.dialer.position(endpoint, FORCE_ASK)
                return True
            except PeerError:
                return False
        return False

    # -- shrink ---------------------------------------------------------------

    async def _shrink(self, found: KeyValue, asked: dict[str, Any]) -> None:
        wanted = asked.get("id")
        if not isinstance(wanted, str) or not wanted:
            if self._leading():
                await self._answer(found, asked, "refused", "it has no id")
            return
        means = self._means
        mine = means.state.now.shrunk == wanted
        if not self._leading():
            # A log that is rewritten before it has caught up lacks what Tile38 waits for.
            if not mine and await self._follows():
                await self._shrink_here(wanted)
            return
        others = [m for m in means.view().members.values() if m.id != means.member]
        if any(m.shrunk != wanted for m in others):
            return  # their turn comes first
        if mine:
            await self._answer(found, asked, "done", "all logs are shrunk")
        elif others:
            await self._give_way(found, asked)
        else:
            await self._shrink_here(wanted)

    async def _give_way(self, found: KeyValue, asked: dict[str, Any]) -> None:
        """Let another member lead, so that this log's turn comes; a follower may need a moment first."""
        state, said = await self._hand_over(None)
        now = self._means.clock.seconds()
        if state == "done":
            self._declined = None
            self._log.info("the lead goes elsewhere for the shrink: {said}", said=said)
        elif self._declined is None:
            self._declined = now
        elif now - self._declined >= GIVE_WAY_TIMEOUT:
            self._declined = None
            await self._answer(found, asked, "failed", f"all logs but the leader's are shrunk: {said}")

    async def _shrink_here(self, wanted: str) -> None:
        means = self._means
        if not await means.store.take(TURN):
            return
        # Who may be chosen to lead does not rewrite its log, and who rewrites it is not chosen.
        means.intake.rewriting = True
        try:
            if not (self._leading() or await self._follows()):
                return
            before = await means.local.log_size()
            await self._rewrite()
            means.intake.mark()
            after = await means.local.log_size()
            self._log.info("the log was shrunk from {before} to {after} bytes", before=before, after=after)
            means.state.change(shrunk=wanted)
            self._announce()
        finally:
            means.intake.rewriting = False
            await means.store.give_back(TURN)

    async def _follows(self) -> bool:
        """Whether this node has caught up with a leader, and does not stand for election."""
        means = self._means
        return await means.intake.level() and not (means.election.standing or means.election.epoch())

    async def _rewrite(self) -> None:
        """Have Tile38 rewrite its log, and wait until it has."""
        means = self._means
        end = means.clock.seconds() + SHRINK_TIMEOUT
        await means.local.aofshrink()
        while await means.local.shrinking():
            if means.clock.seconds() > end:
                raise Tile38Error("Tile38 does not finish to shrink its log")
            await pause(means.clock, 0.05)


def _due(at: object) -> float | None:
    """When a request is to be carried out, in seconds of the wall clock; C{None}: that is no time."""
    if at is None:
        return 0.0
    try:
        when = datetime.fromisoformat(str(at).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
