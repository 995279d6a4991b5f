"""All parts of one node, built and joined; nothing runs yet.

L{Node} knows every part and lets them talk through callables; L{tile38cm.service}
starts and stops it in order.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, cast

from attrs import evolve
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from tile38cm.coordination.cluster import ClusterView, Discovery
from tile38cm.coordination.consul import Consul, KeyValue, consul_client
from tile38cm.coordination.election import Election
from tile38cm.coordination.member import Core
from tile38cm.coordination.promises import Heartbeat
from tile38cm.coordination.secret import SharedSecret
from tile38cm.coordination.status import LEADER_KEY, STATUS_KEY, Rubbish
from tile38cm.coordination.store import ClusterStore
from tile38cm.coordination.term import LocalState
from tile38cm.coordination.watch import Watch
from tile38cm.duties import Duties, Hands
from tile38cm.endpoints import listening_on, reaching
from tile38cm.figures import Announcement, Failovers, Figures, Lag, Own
from tile38cm.footing import Footing
from tile38cm.gatelog import GateLog
from tile38cm.handover import HandOver
from tile38cm.health import LocalHealth
from tile38cm.model import Leadership, Position, Role
from tile38cm.peers.accept import Identity, PeerGreeter
from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.dial import PeerDialer
from tile38cm.peers.heartbeats import Members, Promising
from tile38cm.peers.messages import BRIDGE, FORWARD, HEARTBEAT, POSITION, report_words
from tile38cm.proxy.beside import Beside
from tile38cm.proxy.limits import Counters, HoldBudget, Limits
from tile38cm.proxy.listener import Listener
from tile38cm.proxy.partners import Wire
from tile38cm.proxy.session import Login
from tile38cm.proxy.sides import Reader, Writer
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.contact import Contact
from tile38cm.replication.intake import Intake
from tile38cm.replication.replica import Replica
from tile38cm.replication.session import Stage
from tile38cm.replication.source import Source
from tile38cm.replication.spill import Spill
from tile38cm.routing import LocalTarget, NodeGate, NodeRoutes, Surroundings
from tile38cm.sentinel.listener import SentinelListener
from tile38cm.sentinel.scene import Here, scene_of
from tile38cm.settings import Address, Settings
from tile38cm.state import StateDirectory
from tile38cm.tile38 import Tile38
from tile38cm.tls import mesh_for
from tile38cm.vitals import Vitals

#: A follower that was not level with its leader for this share of the slack of lifetimes looks
#: whether something has expired in its log meanwhile.
CONTACT_SHARE = 0.8
#: How long a question about this node waits for its Tile38, in seconds.
BESIDE_TIMEOUT = 1.0


class Node:
    """The parts, by name. C{reactor.seconds} must be a clock that never steps."""

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self.reactor = reactor
        self.settings = settings
        self.state = StateDirectory(settings.state_dir)
        self.consul: Consul = consul_client(reactor, settings.consul)
        self.mesh = mesh_for(settings, reactor, self.consul, Watch)
        self.store = ClusterStore(self.consul, settings.lock_prefix, settings.id, reactor)
        self.store.on_session = lambda session: self.state.change(session=session)
        self.secret = SharedSecret(self.consul, self.store, reactor, lambda: self.gate.is_open())
        services = (settings.writer_service, settings.reader_service)
        self.discovery = Discovery(self.consul, services, settings.lock_prefix, reactor)
        self.tile38 = Tile38(reactor, self.endpoint_to(settings.server), settings.server_password)
        self.health = LocalHealth(self.tile38, reactor, settings.server_grace, Vitals())
        self._build_replication()
        self._build_election()
        self._build_proxies()
        self._join()

    # -- building -------------------------------------------------------------

    def _build_replication(self) -> None:
        settings = self.settings
        service = None if settings.tls.mode == "off" else settings.writer_service
        identity = Identity(settings.id, settings.lock_prefix, service, lambda: self.secret.value)
        self.identity = identity
        self.dialer = PeerDialer(identity, self.reactor)
        spill = Spill(settings.state_dir / "backlog", settings.backlog)
        self.footing = Footing(settings.state_dir / "footing", lambda: self.replica.position)
        spill.on_kept = self.footing.kept
        self.backlog = Backlog(settings.backlog, spill=spill)
        bridge = listening_on(self.reactor, settings.bridge)
        slack = settings.ttl_slack
        intake = Intake(self.reactor, bridge, self.tile38, self.backlog, settings.id, slack)
        self.intake = intake
        contact = Contact(settings.state_dir / "contact", self.reactor.seconds, slack * CONTACT_SHARE)
        self.replica = Replica(intake, self.dialer, self.backlog, self.reactor, contact)

    def _build_election(self) -> None:
        settings, reactor = self.settings, self.reactor
        hands = Hands(
            reactor,
            self.tile38,
            self.health,
            self.state,
            self.store,
            self.replica,
            self.dialer,
            self.others,
            self._told,
            self._gate_changed,
            self._status_outdated,
            settings.lease,
        )
        self.duties = Duties(hands)
        self.core = Core(
            settings.id,
            settings.lease,
            reactor.seconds,
            self.duties,
            self.local_state,
            lambda: str(uuid.uuid4()),
            reactor.seconds(),
            expect=settings.expect,
            insync_timeout=settings.insync_timeout,
            hold_timeout=settings.hold_timeout,
            priority=settings.tags.priority,
            nofailover=settings.tags.nofailover,
        )
        self.election = Election(self.core)
        self.members = Members(self.election)
        self.source = Source(self.tile38, reactor, self.election, self.backlog, self.duties.log_lost)
        self.source.log_unchanged = self.duties.log_unchanged
        self.source.may_join = self._may_join
        self.duties.bind(self.election, self.members, self.source)

    def _build_proxies(self) -> None:
        settings = self.settings
        self.gate = NodeGate(self.election, settings.ack, settings.min_insync)
        self.gate.subscribe(GateLog(self.election, self.reactor.seconds).look)
        self.routes = NodeRoutes(
            Surroundings(
                settings.id,
                settings.writer_service,
                settings.reader_service,
                self.endpoint_to(settings.server),
                self.dialer,
                self.reach,
                lambda: self.discovery.view,
                lambda: self.replica.ready and self.health.alive and not settings.tags.noread,
                settings.tags.zone,
            )
        )
        limits = Limits.of(settings)
        budget = HoldBudget(settings.hold_bytes)
        password = settings.server_password
        self.writer = Writer(
            self.routes,
            self.reactor,
            limits,
            budget,
            Counters(),
            password,
            gate=self.gate,
            listening=self.source.listening,
        )
        forward = self.writer if settings.reader_writes == "forward" else None
        self.reader = Reader(self.routes, self.reactor, limits, budget, Counters(), password, forward)
        self.hand_over = HandOver(
            self.reactor,
            self.tile38,
            self.election,
            self.members,
            self.writer,
            self._unwilling,
            self.store.answers,
        )
        self.lag = Lag()
        self.failovers = Failovers()
        counters = (self.writer.counters, self.reader.counters)
        self.figures = Figures(self.election, counters, self.lag, self.failovers, self.reactor.seconds)
        self.announcement = Announcement(
            settings,
            self.election,
            self.lag,
            self.local_state,
            lambda: self.state.now,
            self.routes.readable,
            lambda: self.replica.stage.value,
        )
        self.writer_greeter = PeerGreeter(
            self.identity,
            self.reactor,
            {
                FORWARD: lambda conn, _: self._forward(conn, self.writer_listener),
                POSITION: self._tell_position,
                HEARTBEAT: self.members.accept,
                BRIDGE: self.source.accept,
            },
        )
        self.reader_greeter = PeerGreeter(
            self.identity, self.reactor, {FORWARD: lambda conn, _: self._forward(conn, self.reader_listener)}
        )
        # A certificate says who a client is; without TLS the server's password has to.
        login = Login(password, required=password is not None and settings.tls.mode == "off")
        identify = self.mesh.peer_service
        beside = self._beside(limits, budget)
        self.writer_listener = Listener(self.writer, login, self.writer_greeter, identify, beside)
        self.reader_listener = Listener(self.reader, login, self.reader_greeter, identify, beside)
        here = Here.of(settings)
        self.sentinel = SentinelListener(
            lambda: scene_of(here, self.election.leadership, self.discovery.view),
            login.accepts,
            settings.max_clients,
        )

    def _beside(self, limits: Limits, budget: HoldBudget) -> Beside:
        settings = self.settings
        return Beside(
            self.routes,
            self.reactor,
            evolve(limits, hold_timeout=BESIDE_TIMEOUT),
            budget,
            password=settings.server_password,
            target=LocalTarget(0, self.endpoint_to(settings.server)),
            own=Own(settings.id, self.election, self.lag, self._behind),
        )

    def _join(self) -> None:
        self.promising = Promising(
            self.election, self.dialer, self.routes.leader_line, self.reactor, self.settings.lease
        )
        self.watches = [
            self._watch(
                lambda index, wait: self.consul.get(self.store.key(STATUS_KEY), index=index, wait=wait),
                self._status_seen,
                "the status",
            ),
            self._watch(
                lambda index, wait: self.consul.get(self.store.key(LEADER_KEY), index=index, wait=wait),
                self._lock_seen,
                "the lock",
            ),
        ]
        self.promising.on_beat = self._beaten
        self.promising.on_turned_away = self._status_outdated
        self.health.on_change = self._local_changed
        self.health.on_shorter = self.duties.log_shorter
        owner = self.replica.owner
        owner.on_change = self._replica_changed
        owner.on_caught_up = self._caught_up
        owner.level = self._level
        owner.whole = lambda: self.state.now.whole
        owner.before_attach = self.duties.follows
        owner.own_log = self.duties.owns_log
        self.discovery.listen(lambda _: self._surroundings_changed())
        if self.settings.sentinel is not None:
            self.routes.subscribe(self.sentinel.look)

    def _watch(self, query: Any, on_change: Any, name: str) -> Watch[Any]:
        return Watch(query, on_change, self.reactor, name=name)

    # -- endpoints ------------------------------------------------------------

    def endpoint_to(self, address: Address) -> IStreamClientEndpoint:
        """A plain way to an address; names are looked up at each connection."""
        return reaching(self.reactor, address)

    def reach(self, address: Address, service: str) -> IStreamClientEndpoint:
        """The way to another node's listener of C{service}."""
        return self.mesh.endpoint(self.endpoint_to(address), service)

    def others(self, members: frozenset[str] | None) -> dict[str, IStreamClientEndpoint]:
        """The way to the W of other known nodes: of those named, or of all."""
        view: ClusterView = self.discovery.view
        wanted = set(view.peers) if members is None else set(members)
        found = {}
        for member in sorted(wanted - {self.settings.id}):
            address = view.writer(member)
            if address is not None:
                found[member] = self.reach(address, self.settings.writer_service)
        return found

    # -- what parts tell each other -------------------------------------------

    def local_state(self) -> LocalState:
        """What this node can say of itself now."""
        epoch = self.election.epoch()
        if epoch:
            here: Position | None = Position(epoch, self.health.log_size)
            return LocalState(self.health.alive, here, here, self.health.log_size)
        replica = self.replica
        size, shaken = self.health.log_size, self.footing.shaken
        ready = self.health.alive and not self.intake.rewriting
        # Who would lead with less than it has acknowledged would lose it for all.
        position = None if self.intake.owes else replica.position
        return LocalState(ready, position, replica.acknowledged, size, shaken)

    def _told(self, leadership: Leadership) -> None:
        """The gate first, then routes, then whoever follows."""
        self._gate_changed()
        if leadership.role is Role.LEADER:
            self.footing.caught_up()  # what it has is the cluster's by now
        self.failovers.told(leadership)
        if leadership.role is Role.TAKING_OVER and self.writer.waiting:
            self.election.wanted(0)
        self.routes.lead_by(leadership)
        self.replica.leader_changed()
        self.promising.leader_changed()
        self.announce_soon()

    def _gate_changed(self) -> None:
        self.gate.tell()

    def _beaten(self, beat: Heartbeat) -> None:
        now = self.reactor.seconds()
        self.lag.beaten(beat, self.replica.acknowledged, now)
        if self._level():
            self.replica.contact.heard()

    def _level(self) -> bool:
        behind = self.lag.seconds(self.reactor.seconds())
        return behind is not None and behind < self.replica.contact.limit

    def _surroundings_changed(self) -> None:
        self.routes.tell()
        self.replica.leader_changed()
        self.promising.leader_changed()

    def _caught_up(self) -> None:
        self.footing.caught_up()
        # What was fed under an earlier setting stands before a marker by now.
        self.state.change(slacks=(self.settings.ttl_slack,), whole=True)

    def _replica_changed(self) -> None:
        self.footing.moved()
        if self.replica.ready:
            self.on_ready()
        if self.replica.stage is Stage.STARTING_OVER:
            # Tile38 leaves them open, and would tell all that is copied as if it were new.
            self.reader.close_live()
        self.routes.tell()
        self.announce_soon()

    def _local_changed(self, why: str) -> None:
        if why:
            self.hand_over.abandon(f"its Tile38 does not answer: {why}", self._cannot_lead)
        self.routes.tell()
        self.announce_soon()

    def _cannot_lead(self) -> bool:
        return self.election.epoch() > 0 and not self.health.alive

    def _behind(self) -> str | None:
        return None if self.replica.ready else self.replica.stage.value

    def _unwilling(self) -> frozenset[str]:
        return frozenset(m.id for m in self.discovery.view.members.values() if m.nofailover)

    def _may_join(self, member: str) -> bool:
        state = self.discovery.view.members.get(member)
        return state is not None and not state.nosync

    def _status_seen(self, found: KeyValue | None) -> None:
        try:
            status, index = self.store.parse_status(found)
        except Rubbish as e:
            self._log.error("the status in Consul is rubbish, and is not followed: {e}", e=str(e))
            return
        self.election.observed(status, index)
        self.duties.status_seen()

    def _status_outdated(self) -> None:
        self.watches[0].poke()

    def _lock_seen(self, found: KeyValue | None) -> None:
        self.election.lock(self.store.holds(found))

    def _tell_position(self, conn: PeerConnection, _: Sequence[bytes]) -> None:
        conn.send(*report_words(self.election.report()))

    def _forward(self, conn: PeerConnection, listener: Listener) -> None:
        conn.send(b"OK")
        conn.become(listener.serve_peer(cast(Wire, conn.transport)))

    # -- telling Consul -------------------------------------------------------

    #: Replaced by the service: the node serves reads again.
    on_ready = staticmethod(lambda: None)
    #: Replaced by the service: writes this member's key soon.
    announce_soon = staticmethod(lambda: None)
