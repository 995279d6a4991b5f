"""What this package needs of a Consul client and of a blocking query, as shapes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from twisted.application.service import IService

from tile38cm.settings import Secret

T_co = TypeVar("T_co", covariant=True)


class Indexed(Protocol[T_co]):
    """A value and the index to block on for the next one."""

    @property
    def value(self) -> T_co: ...
    @property
    def index(self) -> int: ...


class Roots(Protocol):
    """All roots to trust, also those just rotated out."""

    @property
    def trust_domain(self) -> str: ...
    @property
    def pems(self) -> tuple[str, ...]: ...


class Leaf(Protocol):
    """One service's certificate; C{cert_pem} is the whole chain."""

    @property
    def uri(self) -> str: ...
    @property
    def cert_pem(self) -> str: ...
    @property
    def key_pem(self) -> Secret: ...


class Authorization(Protocol):
    """An intention's answer."""

    @property
    def authorized(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class Authority(Protocol):
    """The Connect part of a Consul client.  Any exception but cancellation means "not now"."""

    def connect_roots(self, *, index: int = 0, wait: float = 0.0) -> Coroutine[Any, Any, Indexed[Roots]]: ...

    def connect_leaf(self, service: str) -> Coroutine[Any, Any, Indexed[Leaf]]: ...

    def authorize(self, target: str, uri: str, serial: str) -> Coroutine[Any, Any, Authorization]: ...


#: C{watch(query, on_change, clock, wait=seconds, name=text)}: a service that runs the
#: blocking query C{query(index, wait)} and reports each change of its value.
WatchMaker = Callable[..., IService]

#: Seconds since the epoch: certificates are dated by the wall clock.
WallClock = Callable[[], float]
