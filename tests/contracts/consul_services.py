"""The Consul contract on services and on Connect."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.contracts.consul_case import WAIT, ConsulCase, certificates, verify_chain
from tile38cm.coordination.consul import (
    Roots,
)

reactor: Any = the_reactor


class ServiceContract(ConsulCase):
    """Services, checks, certificates, intentions."""

    def definition(self, number: int = 1, **more: Any) -> dict[str, Any]:
        """A native instance with a TTL check, taken away after the test."""
        service_id = f"{self.name}-{number}"
        self.addCleanup(lambda: Deferred.fromCoroutine(self.consul.deregister(service_id)))
        check = {"CheckID": f"{service_id}:ttl", "Name": "manager", "TTL": "60s", "Status": "passing"}
        return {
            "ID": service_id,
            "Name": self.name,
            "Address": "127.0.0.9",
            "Port": 4000 + number,
            "Meta": {"id": f"node-{number}"},
            "Tags": ["v1"],
            "Connect": {"Native": True},
            "Checks": [check],
            **more,
        }

    async def test_unknown_service(self) -> None:
        """A service that nobody registered has no instances."""
        self.assertEqual((), (await self.consul.health_service(self.name)).value)
        self.assertEqual((), (await self.consul.catalog_service(self.name, connect=True)).value)

    async def test_register(self) -> None:
        """A registered instance is seen with all that was told, in health, catalog and at its agent."""
        await self.consul.register(self.definition())
        for connect in (False, True):
            (health,) = (await self.consul.health_service(self.name, connect=connect, passing=True)).value
            (catalog,) = (await self.consul.catalog_service(self.name, connect=connect)).value
            self.assertEqual(health, catalog)
        self.assertEqual(
            (f"{self.name}-1", self.name, "127.0.0.9", 4001, {"id": "node-1"}, ("v1",), True, True),
            (
                *(health.id, health.name, health.address, health.port),
                *(health.meta, health.tags, health.passing, health.native),
            ),
        )
        self.assertEqual(4001, (await self.consul.agent_services())[f"{self.name}-1"]["Port"])

    async def test_address_of_node(self) -> None:
        """An instance without an address of its own is reached at its node's; not native is not native."""
        await self.consul.register(self.definition(Address="", Connect={}))
        (health,) = (await self.consul.health_service(self.name)).value
        self.assertEqual(("127.0.0.1", False), (health.address, health.native))
        self.assertEqual((), (await self.consul.health_service(self.name, connect=True)).value)

    async def test_several_instances(self) -> None:
        """Instances come ordered, so that the same ones compare equal."""
        for number in (2, 3, 1):
            await self.consul.register(self.definition(number))
        found = (await self.consul.catalog_service(self.name)).value
        self.assertEqual([4001, 4002, 4003], [each.port for each in found])

    async def test_check_update(self) -> None:
        """A check's news change the instance's health and wake who is blocked on it."""
        await self.consul.register(self.definition())
        before = await self.consul.health_service(self.name)
        pending = self.background(self.consul.health_service(self.name, index=before.index, wait=WAIT))
        await self.consul.check_update(f"{self.name}-1:ttl", "critical", "gone")
        (seen,) = (await self.arrive(pending)).value
        self.assertFalse(seen.passing)
        self.assertEqual((), (await self.consul.health_service(self.name, passing=True)).value)
        await self.consul.check_update(f"{self.name}-1:ttl", "warning", "hm")
        self.assertEqual((), (await self.consul.health_service(self.name, passing=True)).value)
        await self.consul.check_update(f"{self.name}-1:ttl", "passing", "")
        self.assertEqual(1, len((await self.consul.health_service(self.name, passing=True)).value))

    async def test_ttl_check_expires(self) -> None:
        """A TTL check that nobody updates becomes critical."""
        check = {"CheckID": f"{self.name}-1:ttl", "Name": "m", "TTL": "300ms", "Status": "passing"}
        await self.consul.register(self.definition(Checks=[check]))
        self.assertTrue((await self.consul.health_service(self.name)).value[0].passing)
        await self.elapse(0.8)
        self.assertFalse((await self.consul.health_service(self.name)).value[0].passing)

    async def test_register_again(self) -> None:
        """Registering again changes what is told, keeps a check's status, and drops checks left out."""
        await self.consul.register(self.definition())
        await self.consul.check_update(f"{self.name}-1:ttl", "critical", "")
        await self.consul.register(self.definition(Meta={"id": "other"}))
        (health,) = (await self.consul.health_service(self.name)).value
        self.assertEqual(({"id": "other"}, False), (health.meta, health.passing))
        await self.consul.register(self.definition(Checks=[]))
        self.assertTrue((await self.consul.health_service(self.name)).value[0].passing)
        await self.refused(self.consul.check_update(f"{self.name}-1:ttl", "passing", ""))

    async def test_bad_definition(self) -> None:
        """A definition that Consul does not understand is refused."""
        self.assertEqual(400, (await self.refused(self.consul.register(self.definition(Bogus=1)))).status)
        self.assertEqual(400, (await self.refused(self.consul.register({"ID": self.name}))).status)

    async def test_deregister(self) -> None:
        """A service is taken away once; then its agent does not know it."""
        await self.consul.register(self.definition())
        self.assertTrue(await self.consul.deregister(f"{self.name}-1"))
        self.assertFalse(await self.consul.deregister(f"{self.name}-1"))
        self.assertEqual((), (await self.consul.catalog_service(self.name)).value)
        self.assertNotIn(f"{self.name}-1", await self.consul.agent_services())

    async def test_agent(self) -> None:
        """The agent knows Consul's leader and its own name."""
        self.assertIn(":", await self.consul.status_leader())
        self.assertTrue((await self.consul.agent_self())["Config"]["NodeName"])

    async def test_leaf(self) -> None:
        """A leaf is signed by the roots, names the service in its only name, and is valid now."""
        roots, leaf = (
            (await self.consul.connect_roots()).value,
            (await self.consul.connect_leaf(self.name)).value,
        )
        verify_chain(leaf, list(roots.pems), self.now())
        self.assertEqual(f"spiffe://{roots.trust_domain}/ns/default/dc/dc1/svc/{self.name}", leaf.uri)
        certificate = certificates(leaf.cert_pem)[0]
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([leaf.uri], [name.value for name in names])
        self.assertEqual(certificate.not_valid_after_utc, leaf.valid_before)
        self.assertLess(self.now(), leaf.valid_before)
        self.assertLess(leaf.valid_before, self.now() + timedelta(hours=73))
        self.assertIn("PRIVATE KEY", leaf.key_pem.value)
        self.assertNotIn("PRIVATE KEY", repr(leaf))

    async def test_leaf_is_kept(self) -> None:
        """The same leaf comes each time, until it is renewed."""
        first = await self.consul.connect_leaf(self.name)
        self.assertEqual(first, await self.consul.connect_leaf(self.name))

    async def rotate(self) -> Roots:
        """Let the CA take a new root; the roots after it."""
        before = await self.consul.connect_roots()
        pending = self.background(self.consul.connect_roots(index=before.index, wait=WAIT))
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
        body = {"Provider": "consul", "Config": {"PrivateKey": pem, "RootCert": ""}}
        await self.raw("PUT", "/v1/connect/ca/configuration", body)
        after = await self.arrive(pending)
        self.assertGreater(after.index, before.index)
        self.assertNotEqual(before.value.active_id, after.value.active_id)
        self.assertTrue(set(before.value.pems) <= set(after.value.pems), "the old roots stay")
        return after.value

    async def test_rotation(self) -> None:
        """After a rotation a leaf asked for without an index is new, and good for peers of both roots."""
        old_roots = (await self.consul.connect_roots()).value
        old_leaf = (await self.consul.connect_leaf(self.name)).value
        roots = await self.rotate()
        leaf = (await self.consul.connect_leaf(self.name)).value
        self.assertNotEqual(old_leaf.serial, leaf.serial)
        verify_chain(leaf, [pem for pem in roots.pems if pem not in old_roots.pems], self.now())
        verify_chain(leaf, list(old_roots.pems), self.now())
        verify_chain(old_leaf, list(roots.pems), self.now())

    async def intend(self, **actions: str) -> None:
        """Say who may connect to this test's service; C{any} is everybody else."""
        sources = [
            {"Name": "*" if name == "any" else name, "Action": action} for name, action in actions.items()
        ]
        body = {"Kind": "service-intentions", "Name": self.name, "Sources": sources}
        await self.raw("PUT", "/v1/config", body)

    async def authorized(self, service: str) -> bool:
        """Whether a service of that name is let in."""
        domain = (await self.consul.connect_roots()).value.trust_domain
        uri = f"spiffe://{domain}/ns/default/dc/dc1/svc/{service}"
        found = await self.consul.authorize(self.name, uri, "09")
        self.assertTrue(found.reason)
        return found.authorized

    async def decided(self, **wanted: bool) -> None:
        """An agent hears of new intentions in its own time."""
        end = reactor.seconds() + 10
        while {name: await self.authorized(name) for name in wanted} != wanted:
            self.assertLess(reactor.seconds(), end, f"not {wanted}")
            await deferLater(reactor, 0.05)

    async def test_authorize(self) -> None:
        """Intentions decide by the service's name, the more exact one first."""
        self.assertTrue(await self.authorized("friend"), "without ACLs the default is to allow")
        await self.intend(friend="allow", any="deny")
        await self.decided(friend=True, foe=False)
        await self.intend(friend="deny", any="allow")
        await self.decided(friend=False, foe=True)

    async def test_authorize_nonsense(self) -> None:
        """What is no identity is refused."""
        error = await self.refused(self.consul.authorize(self.name, "http://example.com", "09"))
        self.assertEqual(400, error.status)
