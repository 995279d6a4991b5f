"""One node's life: started in order, stopped in order.

Start: no other manager of this Tile38, state directory, Tile38 answers and is fenced, Consul has a leader,
certificates, listeners, registration, election.  Each missing thing is waited
for; only what no waiting can mend (an address in use, an unusable state
directory) ends the process.

Stop: no new requests to Tile38, what is under way is answered, another node
takes over, registration and session go, connections close.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from tile38cm import __version__
from tile38cm.antecedents import Antecedents
from tile38cm.claim import Claim, ClaimedError
from tile38cm.coordination.consul import ConsulError, Unclear
from tile38cm.coordination.store import Twin
from tile38cm.endpoints import listening_on
from tile38cm.erasure import Erasure, Grounds
from tile38cm.handover import DRAIN_TIMEOUT, NotHandedOver
from tile38cm.model import Position, Role
from tile38cm.node import Node
from tile38cm.operate.metrics import Metrics
from tile38cm.operate.registration import Registration
from tile38cm.requests import Means, Requests
from tile38cm.settings import Address, Settings
from tile38cm.state import Remembered, StateError
from tile38cm.tasks import Tasks, pause, quietly, within
from tile38cm.tile38 import Tile38Error

#: How often the election looks at the clock: so many times in a lease.
TICKS_PER_LEASE = 16
#: Seconds between tries of what must be there before the node can start.
STARTUP_RETRY = 0.25
#: A member writes its own key at least every so many seconds.
ANNOUNCE_EVERY = 5.0
#: Changes are gathered for so many seconds before they are written.
ANNOUNCE_SOON = 0.05
#: Seconds until it is tried again where it could not be written.
ANNOUNCE_RETRY = 1.0
#: Seconds for all parts to end, once the lead is handed over.
WIND_DOWN_TIMEOUT = 6.0
T = TypeVar("T")


class NodeService(Service):
    """The whole of one manager, as C{twist tile38cm} runs it."""

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._node = Node(reactor, settings)
        self._claim = Claim(reactor, settings.server)
        self._tasks = Tasks()
        self._ports: list[IListeningPort] = []
        self._registration: Registration | None = None
        self._metrics: Metrics | None = None
        self._requests: Requests | None = None
        self._announce = False
        #: What a stop is busy with, for the log.
        self._step = ""
        self._node.announce_soon = self._announce_soon
        node = self._node
        grounds = Grounds(reactor, node.tile38, node.state, node.store, settings.id, self._in_thread)
        self._before = Antecedents(
            reactor, node.store, node.state, node.footing, settings.id, node.endpoint_to, self._void
        )
        self._erasure = Erasure(grounds, lambda: node.election.leadership.epoch)
        self._erasure.on_emptying = node.duties.follows
        node.replica.owner.erase = self._erasure.erase
        node.on_ready = self._erasure.done

    # -- start ----------------------------------------------------------------

    def startService(self) -> None:
        super().startService()
        settings = self._settings
        self._log.info(
            "tile38cm {version}: node {id}, Tile38 at {server}, Consul at {consul}",
            version=__version__,
            id=settings.id,
            server=str(settings.server),
            consul=settings.consul.unix_socket or str(settings.consul.address),
        )
        try:
            self._claim.take()
            before = self._node.state.open()
            self._node.footing.load(before.starts == 0)
            self._node.backlog.load()
            self._node.replica.contact.load()
        except (ClaimedError, StateError, OSError) as e:
            self._fatal(str(e))
            return
        self._tasks.start(self._begin(before), "starting")

    def _fatal(self, why: str) -> None:
        """No waiting can mend this: end the process with exit code 1."""
        self._log.critical("{why}", why=why)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.callWhenRunning(self._reactor.stop)

    async def _begin(self, before: Remembered) -> None:
        node = self._node
        node.core.seen = before.seen
        node.store.mine.add(before.session)
        slack = self._settings.ttl_slack
        node.intake.slacks = (slack, *(earlier for earlier in before.slacks if earlier != slack))
        node.state.change(slacks=node.intake.slacks)
        node.tile38.start()
        await self._until("the local Tile38", lambda: node.tile38.readonly(True))
        await self._prove_position(before)
        node.health.start()
        await self._until("Consul", self._consul_leads)
        try:
            await self._until("Consul", self._before.alone)
        except Twin as e:
            self._fatal(str(e))
            return
        await self._until("Consul", lambda: self._before.judge(node.replica.position))
        await self._until("Consul", self._before.count)
        if self._settings.tls.mode == "off":
            await self._until("the cluster's secret", node.secret.learn)
            node.secret.start()
        node.mesh.startService()
        await node.mesh.ready()
        try:
            await self._listen()
        except CannotListenError as e:
            self._fatal(f"{e}; see --bind.addr.* and --bind.port.*")
            return
        await self._register()
        self._start_election()
        self._start_metrics()

    async def _until(self, what: str, attempt: Callable[[], Awaitable[None]]) -> None:
        """Try until it works; says once what is waited for, and once that it is there."""
        said = False
        while True:
            try:
                await attempt()
            except (Tile38Error, ConsulError) as e:
                if not said:
                    said = True
                    self._log.warn("waiting for {what}: {e}", what=what, e=str(e))
                await pause(self._reactor, STARTUP_RETRY)
            else:
                if said:
                    self._log.info("{what} is there", what=what)
                return

    async def _consul_leads(self) -> None:
        if not await self._node.consul.status_leader():
            raise Unclear("Consul has no leader")

    def _void(self, why: str) -> None:
        self._log.warn("{why}: it proves nothing", why=why)
        self._node.duties.follows()
        self._node.intake.give_up("the disk was put back to an earlier time")

    async def _prove_position(self, before: Remembered) -> None:
        """What the state directory and the log together prove of this node's position."""
        node = self._node

        async def measure() -> None:
            size = await node.tile38.log_size()
            node.health.measured(size)
            own = await node.duties.proven(before, size)
            if own is not None:
                node.replica.know(own)
            elif size and before.clean is not None and before.clean[1] == size:
                node.replica.know(before.clean[0])

        await self._until("the local log", measure)

    async def _listen(self) -> None:
        node, settings = self._node, self._settings
        await node.intake.listen()
        node.writer_listener.start()
        node.reader_listener.start()
        listeners: list[tuple[Address, Factory, str]] = [
            (settings.writer, node.writer_listener, settings.writer_service),
            (settings.reader, node.reader_listener, settings.reader_service),
        ]
        if settings.sentinel is not None:
            listeners.append((settings.sentinel, node.sentinel, settings.writer_service))
        for address, factory, service in listeners:
            wrapped = node.mesh.listener_factory(factory, service)
            self._ports.append(await listening_on(self._reactor, address).listen(wrapped))
        writer: Any = self._ports[0].getHost()
        node.announcement.address = str(Address(settings.advertise, writer.port))

    async def _register(self) -> None:
        if self._settings.service_manage:
            hosts: list[Any] = [port.getHost() for port in self._ports]
            writer, reader = (host.port for host in hosts[:2])
            self._registration = Registration(
                self._node.consul, self._settings, self._reactor, writer, reader
            )
            self._registration.start()

    def _start_election(self) -> None:
        node = self._node
        node.core.started = self._reactor.seconds()
        node.discovery.start()
        for watch in node.watches:
            watch.startService()
        node.promising.start()
        node.replica.start(node.routes.leader_line)
        self._start_requests()
        self._tasks.keep(node.store.keep_session, self._reactor, "keeping the session")
        self._tasks.keep(self._tick, self._reactor, "the election's clock")
        self._tasks.keep(self._announcing, self._reactor, "announcing this member")

    async def _tick(self) -> None:
        step = self._settings.lease / TICKS_PER_LEASE
        why = ""
        while True:
            election = self._node.election
            if self._node.writer.waiting:
                election.wanted(self._node.health.log_size)
            election.tick()
            if election.why_not != why:
                why = election.why_not
                leader = election.leadership.leader
                seen = why and (leader is None or election.resting)
                tell = self._log.info if seen else self._log.debug
                tell("this node does not stand for election: {why}", why=why or "it may")
            began = self._reactor.seconds()
            await pause(self._reactor, step)
            held = self._reactor.seconds() - began - step
            if held > self._settings.lease / 2:
                # Of other nodes it looks like a cut, so the log of this one should tell.
                self._log.warn("this process did not run for {held:.2f} s", held=held)

    def _start_requests(self) -> None:
        node = self._node
        means = Means(
            self._reactor,
            node.consul,
            node.dialer,
            node.others,
            node.store,
            node.election,
            node.hand_over,
            node.tile38,
            node.intake,
            node.state,
            lambda: node.discovery.view,
            self._settings.id,
        )
        self._requests = Requests(means, self._announce_soon)
        for watch in self._requests.watches():
            node.watches.append(watch)
            watch.startService()
        self._requests.start()

    def _start_metrics(self) -> None:
        self._metrics = Metrics(
            self._settings, self._reactor, self._node.figures.sources(), self._node.tile38.server
        )
        self._metrics.start(self._reactor)

    # -- while it runs --------------------------------------------------------

    def _announce_soon(self) -> None:
        self._announce = True

    async def _announcing(self) -> None:
        """Write this member's key when something changed, and now and then."""
        trouble, due = "", 0.0
        while True:
            now = self._reactor.seconds()
            if self._announce or now >= due:
                self._announce = False
                due = now + ANNOUNCE_EVERY
                self._node.state.change()  # what a full disk did not take
                try:
                    await self._node.duties.remember(self._in_thread)
                    written = await self._node.store.announce(self._node.announcement.document())
                    trouble = ""
                except (ConsulError, Tile38Error) as e:
                    if str(e) != trouble:
                        trouble = str(e)
                        self._log.warn("this member cannot be announced: {e}", e=trouble)
                    written = False
                except Twin as e:
                    self._fatal(str(e))
                    return
                if not written:
                    self._announce = True
                    await pause(self._reactor, ANNOUNCE_RETRY)
            await pause(self._reactor, ANNOUNCE_SOON)

    def _in_thread(self, function: Callable[[], T]) -> Deferred[T]:
        """Run what may block outside the reactor's thread."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)

    # -- stop -----------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._log.info("stopping")
        await self._hand_over()
        try:
            await within(self._wind_down(), WIND_DOWN_TIMEOUT, self._reactor)
        except TimeoutError:
            self._log.warn(
                "{step} took too long; the rest is left to the end of the process", step=self._step
            )
        else:
            self._log.info("stopped")

    async def _wind_down(self) -> None:
        """End all parts, from the outside in; what another node leads by is over already."""
        node = self._node
        self._step = "ending requests and the registration"
        if self._requests is not None:
            await self._requests.stop()
        node.election.retire()
        if self._registration is not None:
            await self._registration.stop()
        if self._metrics is not None:
            await self._metrics.stop()
        self._step = "closing the listeners"
        for port in self._ports:
            await quietly(port.stopListening())
        node.writer_listener.stop()
        node.reader_listener.stop()
        node.sentinel.stop()
        self._step = "ending the clock and the announcements"
        await self._tasks.cancel()
        self._step = "ending the heartbeats"
        await node.promising.stop()
        self._step = "having Tile38 apply what it was sent"
        await self._remember(await node.replica.stop())
        self._step = "ending the rest"
        node.election.stop()
        await node.source.stop()
        await node.duties.stop()
        await node.hand_over.stop()
        await self._erasure.stop()
        for watch in node.watches:
            await watch.stopService()
        await node.secret.stop()
        await node.discovery.stop()
        await node.store.leave()
        await node.health.stop()
        await node.tile38.stop()
        await quietly(node.mesh.stopService())
        await node.consul.close()
        await self._claim.release()

    async def _hand_over(self) -> None:
        """Let another member lead before this one goes."""
        if self._node.election.leadership.role is not Role.LEADER:
            return
        try:
            await self._node.hand_over.expect_successors()
            await self._node.hand_over()
        except NotHandedOver as e:
            self._log.info("the lead is not handed over: {e}", e=str(e))
            await self._node.writer.drain(DRAIN_TIMEOUT)

    async def _remember(self, position: Position | None) -> None:
        """An orderly stop proves the position to the next start, if the log is untouched till then."""
        if position is None:
            return
        await self._before.note_the_end()
        if self._node.state.now.led:
            return
        try:
            size = await self._node.tile38.log_size()
        except Tile38Error:
            return
        self._node.state.change(clean=(position, size))
