"""W and R in Consul's catalog: put there, put there again, taken away.

The names, the check and its times are those of the Go cluster manager, so
that a deployment of it sees no difference.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.coordination.consul import Consul, ConsulError
from tile38cm.settings import Address, Settings
from tile38cm.tasks import Tasks, pause, within

#: Seconds between looks whether the agent still knows both services.
EVERY = 3.0
#: Seconds that a stopping node spends on taking its services away.
STOP_TIMEOUT = 3.0
#: Seconds between two probes, and for one.
CHECK_INTERVAL, CHECK_TIMEOUT = 15, 3
#: So many failed probes make a service critical.
CHECK_FAILURES = 3
#: Consul removes a service that has been critical for so long.
DEREGISTER_AFTER = "5m"

Definition = dict[str, Any]


def definitions(settings: Settings, writer_port: int, reader_port: int) -> tuple[Definition, Definition]:
    """What is registered for W and for R, in Consul's words."""
    return (
        _definition(settings, settings.writer_service, writer_port, "W"),
        _definition(settings, settings.reader_service, reader_port, "R"),
    )


def _definition(settings: Settings, name: str, port: int, listener: str) -> Definition:
    service_id = f"{name}-{settings.id}"
    definition: Definition = {
        "ID": service_id,
        "Name": name,
        "Address": settings.advertise,
        "Port": port,
        "Meta": {"id": settings.id},
        "Check": {
            # Always the same: Consul then keeps the check's status when the service is registered again.
            "CheckID": f"service:{service_id}",
            "Name": f"{listener} of {settings.id} takes connections",
            "TCP": str(Address(settings.advertise, port)),
            "Interval": f"{CHECK_INTERVAL}s",
            "Timeout": f"{CHECK_TIMEOUT}s",
            "FailuresBeforeCritical": CHECK_FAILURES,
            "DeregisterCriticalServiceAfter": DEREGISTER_AFTER,
        },
    }
    if settings.tls.mode == "connect":
        definition["Connect"] = {"Native": True}
    return definition


def _same(known: dict[str, Any], wanted: Definition) -> bool:
    """Whether what the agent knows (in its own words) is what we want it to know."""
    there = (known.get("Service"), known.get("Address"), known.get("Port"), known.get("Meta"))
    return there == (wanted["Name"], wanted["Address"], wanted["Port"], wanted["Meta"])


class Registration:
    """The two services of one node at its Consul agent.

    Consul being away is waited out and logged when it begins and ends.
    """

    _log = Logger()

    def __init__(
        self, consul: Consul, settings: Settings, clock: IReactorTime, writer_port: int, reader_port: int
    ) -> None:
        self._consul = consul
        self._clock = clock
        self._wanted = definitions(settings, writer_port, reader_port)
        self._tasks = Tasks()
        self._in_trouble = False

    async def register(self) -> None:
        """Register both services now, known or not.

        @raise ConsulError: if the agent does not take them; one of them may be registered.
        """
        for definition in self._wanted:
            await self._put(definition)

    def start(self) -> None:
        """Register both, and again whenever the agent has forgotten or changed them, until L{stop}."""
        self._tasks.keep(self._run, self._clock, "keeping the services registered")

    async def stop(self) -> None:
        """Register no more and take both away; returns within L{STOP_TIMEOUT}, be it done or not."""
        await self._tasks.cancel()
        await DeferredList([Deferred.fromCoroutine(self._take_away(each["ID"])) for each in self._wanted])

    async def _take_away(self, service_id: str) -> None:
        try:
            await within(self._consul.deregister(service_id), STOP_TIMEOUT, self._clock)
        except (ConsulError, TimeoutError) as error:
            self._log.warn(
                "{service} stays registered until Consul has found it critical for {after}: {why}",
                service=service_id,
                after=DEREGISTER_AFTER,
                why=str(error) or "no answer",
            )
        else:
            self._log.info("deregistered {service}", service=service_id)

    async def _run(self) -> None:
        # What an earlier run left may look the same and have another check: nothing is compared at first.
        step = self.register
        while True:
            try:
                await step()
            except ConsulError as error:
                self._failed(str(error))
            else:
                self._worked()
                step = self._look
            await pause(self._clock, EVERY)

    async def _look(self) -> None:
        known = await self._consul.agent_services()
        for definition in self._wanted:
            if not _same(known.get(definition["ID"], {}), definition):
                self._log.warn("Consul's agent has lost or changed {service}", service=definition["ID"])
                await self._put(definition)

    async def _put(self, definition: Definition) -> None:
        await self._consul.register(definition)
        address = definition["Check"]["TCP"]
        self._log.info("registered {service} at {address}", service=definition["ID"], address=address)

    def _failed(self, why: str) -> None:
        if not self._in_trouble:
            self._log.warn("W and R cannot be kept registered: {why}", why=why)
        self._in_trouble = True

    def _worked(self) -> None:
        if self._in_trouble:
            self._log.info("W and R are registered again")
        self._in_trouble = False
