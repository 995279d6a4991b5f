"""The contract on a real Consul, and on our own agent behind a port; the shipped policy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar, TypeVar, cast
from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from tests.contracts import consul as contract
from tests.real import ROOT
from tests.real_consul import RealConsul
from tile38cm.coordination.consul import CheckNotExists, Consul, Lock, Refused, Set, consul_client
from tile38cm.coordination.watch import Watch
from tile38cm.dev.consul import site
from tile38cm.settings import Address, ConsulSettings, Secret

T = TypeVar("T")

POLICY = ROOT / "deploy" / "consul-policy.hcl"
#: What the policy is written for.
WRITER, READER, PREFIX = "tile38-writer", "tile38-reader", "_locks/tile38/cluster/manager"


class RealConsulContractTests(contract.ConsulOverSockets):
    """All of the contract, by Consul itself; one server for all tests."""

    _shared: ClassVar[RealConsul | None] = None

    def setUp(self) -> None:
        super().setUp()
        cls = RealConsulContractTests
        if cls._shared is None:
            cls._shared = RealConsul(config={"session_ttl_min": "200ms"}).start()
        self.connect(ConsulSettings(Address(cls._shared.host, cls._shared.port)))


class DevConsulContractTests(contract.ConsulOverSockets):
    """All of the contract, by our own agent behind a port."""

    def setUp(self) -> None:
        super().setUp()
        agent, served = site(reactor, ttl_min=0.2)
        port = reactor.listenTCP(0, served, interface="127.0.0.1")  # type: ignore[arg-type]
        self.addCleanup(port.stopListening)
        self.addCleanup(agent.close)
        host = port.getHost()
        assert isinstance(host, IPv4Address)
        self.connect(ConsulSettings(Address(host.host, host.port)))


class PolicyTests(TestCase):
    """Consul denies by default; a manager has a token with the shipped policy and no other right."""

    timeout = 60

    def setUp(self) -> None:
        management = str(uuid4())
        tokens = {"initial_management": management, "agent": management}
        acl = {"enabled": True, "default_policy": "deny", "tokens": tokens}
        self.real = RealConsul(config={"acl": acl}, token=management).start()
        self.addCleanup(self.real.stop)
        self.real.request("PUT", "/v1/acl/policy", {"Name": "tile38cm", "Rules": POLICY.read_text()})
        made = self.real.request("PUT", "/v1/acl/token", {"Policies": [{"Name": "tile38cm"}]})
        self.token: str = made["SecretID"]

    def client(self, **more: object) -> Consul:
        """A client of this Consul, with its token unless told otherwise."""
        settings = ConsulSettings(Address(self.real.host, self.real.port), **more)  # type: ignore[arg-type]
        consul = consul_client(reactor, settings)
        self.addCleanup(lambda: Deferred.fromCoroutine(consul.close()))
        return consul

    async def use_keys(self, consul: Consul) -> None:
        """What an election asks."""
        session = await consul.session_create("manager", ttl=10.0)
        self.assertTrue(await consul.session_renew(session))
        self.assertTrue(await consul.session_info(session))
        answer = await consul.txn(
            CheckNotExists(f"{PREFIX}/status"),
            Set(f"{PREFIX}/status", b"{}"),
            Lock(f"{PREFIX}/leader", b"n1", session),
        )
        self.assertEqual((), answer.errors)
        self.assertTrue(await consul.put(f"{PREFIX}/members/n1", b"", acquire=session))
        self.assertEqual(3, len((await consul.get_tree(f"{PREFIX}/", consistent=True)).value))
        self.assertTrue(await consul.delete(f"{PREFIX}/members/n1"))
        await consul.session_destroy(session)

    async def use_services(self, consul: Consul, name: str) -> None:
        """What registration, discovery and certificates ask."""
        check = {"CheckID": f"{name}-n1:ttl", "Name": "m", "TTL": "10s"}
        definition = {
            "ID": f"{name}-n1",
            "Name": name,
            "Port": 1,
            "Connect": {"Native": True},
            "Checks": [check],
        }
        await consul.register(definition)
        await consul.check_update(f"{name}-n1:ttl", "passing", "")
        self.assertIn(f"{name}-n1", await consul.agent_services())
        self.assertEqual(1, len((await consul.health_service(name, passing=True, connect=True)).value))
        self.assertEqual(1, len((await consul.catalog_service(name, connect=True)).value))
        leaf = (await consul.connect_leaf(name)).value
        contract.verify_chain(leaf, list((await consul.connect_roots()).value.pems), contract.wall_clock())
        self.assertIn("ACLs", (await consul.authorize(name, leaf.uri, leaf.serial)).reason)
        self.assertTrue(await consul.deregister(f"{name}-n1"))

    async def test_policy_suffices(self) -> None:
        """All that a manager asks works with the shipped policy."""
        consul = self.client(token=Secret(self.token))
        await self.use_keys(consul)
        for name in (WRITER, READER):
            await self.use_services(consul, name)
        self.assertTrue(await consul.status_leader())
        self.assertTrue(await consul.agent_self())

    async def test_policy_ends(self) -> None:
        """The policy gives no other key and no other service; the token is in no error."""
        consul = self.client(token=Secret(self.token))
        for asked in (consul.put("other/key", b""), consul.register({"Name": "other"})):
            error = await self.failure_of(asked)
            self.assertEqual(403, error.status)
            self.assertIn("Permission denied", error.text)
            self.assertNotIn(self.token, str(error))
        answer = await consul.txn(Set("other/key", b""))
        self.assertEqual([0], [error.op_index for error in answer.errors])

    async def failure_of(self, asked: Awaitable[object]) -> Refused:
        """What it was refused with."""
        try:
            await asked
        except Refused as error:
            return error
        raise AssertionError("not refused")

    async def test_token_file_is_read_again(self) -> None:
        """A token file wins over the token, and a new token in it is used at once."""
        path = Path(self.mktemp())
        path.write_text("00000000-0000-0000-0000-00000000dead\n")
        consul = self.client(token=Secret(self.token), token_file=path)
        self.assertEqual(403, (await self.failure_of(consul.put(f"{PREFIX}/x", b""))).status)
        path.write_text(f"{self.token}\n")
        self.assertTrue(await consul.put(f"{PREFIX}/x", b""))

    async def test_filtered_results_are_told_once(self) -> None:
        """Without read rights lists look empty; the log says so, once."""
        await self.client(token=Secret(self.token)).register({"ID": "w", "Name": WRITER, "Port": 1})
        weak = self.real.request("PUT", "/v1/acl/token", {"Description": "no rights"})
        consul = self.client(token=Secret(weak["SecretID"]))
        seen: list[LogEvent] = []
        observer = cast(ILogObserver, seen.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(2):
            self.assertEqual((), (await consul.health_service(WRITER)).value)
        self.assertEqual(1, len([event for event in seen if "ACLs hide" in str(event.get("log_format"))]))


class WatchTests(TestCase):
    """A watch on a real Consul that goes away and comes back."""

    timeout = 60

    async def test_restart(self) -> None:
        """A watch waits a restart out and then tells of new values, though Consul's indexes began anew."""
        real = RealConsul().start()
        self.addCleanup(real.stop)
        consul = consul_client(reactor, ConsulSettings(Address(real.host, real.port)))
        self.addCleanup(lambda: Deferred.fromCoroutine(consul.close()))
        seen: list[bytes | None] = []
        for number in range(20):
            await consul.put("k", b"%d" % number)
        watch = Watch(
            lambda index, wait: consul.get("k", index=index, wait=wait),
            lambda found: seen.append(found.value if found is not None else None),
            reactor,
            name="k",
        )
        watch.startService()
        self.addCleanup(watch.stopService)
        await self.until(lambda: seen[-1:] == [b"19"])
        real.kill()
        real.start()
        await self.until(lambda: seen[-1:] == [None])
        await consul.put("k", b"new")
        await self.until(lambda: seen[-1:] == [b"new"])
        self.assertEqual([b"19", None, b"new"], seen)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for it, within the test's time."""
        while not true():
            await deferLater(reactor, 0.02)
