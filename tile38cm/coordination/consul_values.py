"""Consul's words as frozen values: keys, transactions, services, certificates, and what goes wrong."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Generic, TypeVar

from attrs import frozen

from tile38cm.settings import Secret

T = TypeVar("T")


class ConsulError(Exception):
    """What every method of the client raises, and nothing else."""


class Refused(ConsulError):
    """A definite no, or an error of configuration: asking again unchanged is of no use."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"Consul refuses ({status}): {text}")
        self.status = status
        self.text = text


class Unclear(ConsulError):
    """Nobody knows whether the request took effect, or will: away, slow, without a leader, rubbish."""


@frozen
class Indexed(Generic[T]):
    """A value and the index to block on for the next one; the index is never below 1."""

    value: T
    index: int


@frozen
class KeyValue:
    """One key; C{session} holds its lock, if any."""

    key: str
    value: bytes
    modify_index: int
    create_index: int
    lock_index: int
    flags: int
    session: str | None


@frozen
class TxnError:
    """Why a transaction failed: the position of the operation and Consul's words."""

    op_index: int
    what: str


@frozen
class TxnAnswer:
    """C{results} are those keys that the operations gave back, in order: checks
    and writes give one without its value, deletions none, L{GetTree} any number.
    """

    ok: bool
    results: tuple[KeyValue, ...]
    errors: tuple[TxnError, ...]


@frozen
class Set:
    """Write a key; a lock on it stays, but its C{lock_index} falls to 0."""

    VERB: ClassVar[str] = "set"
    key: str
    value: bytes


@frozen
class Cas:
    """Write a key if its C{modify_index} is C{index}; 0: if it does not exist."""

    VERB: ClassVar[str] = "cas"
    key: str
    value: bytes
    index: int


@frozen
class Lock:
    """Write a key and take its lock; fails if another session holds it."""

    VERB: ClassVar[str] = "lock"
    key: str
    value: bytes
    session: str


@frozen
class Unlock:
    """Give up the lock of a key; the value is replaced as well, by nothing if not given."""

    VERB: ClassVar[str] = "unlock"
    key: str
    session: str
    value: bytes | None = None


@frozen
class Get:
    """Give back a key; fails if there is none."""

    VERB: ClassVar[str] = "get"
    key: str


@frozen
class GetOrEmpty:
    """Give back a key; a missing one comes with C{modify_index} 0."""

    VERB: ClassVar[str] = "get-or-empty"
    key: str


@frozen
class GetTree:
    """Give back all keys that begin with C{key}."""

    VERB: ClassVar[str] = "get-tree"
    key: str


@frozen
class CheckIndex:
    """Fail unless the key's C{modify_index} is C{index}."""

    VERB: ClassVar[str] = "check-index"
    key: str
    index: int


@frozen
class CheckSession:
    """Fail unless the key is locked by this session."""

    VERB: ClassVar[str] = "check-session"
    key: str
    session: str


@frozen
class CheckNotExists:
    """Fail if there is such a key."""

    VERB: ClassVar[str] = "check-not-exists"
    key: str


@frozen
class Delete:
    """Remove a key, whoever holds its lock."""

    VERB: ClassVar[str] = "delete"
    key: str


@frozen
class DeleteCas:
    """Remove a key if its C{modify_index} is C{index}."""

    VERB: ClassVar[str] = "delete-cas"
    key: str
    index: int


Op = (
    Set
    | Cas
    | Lock
    | Unlock
    | Get
    | GetOrEmpty
    | GetTree
    | CheckIndex
    | CheckSession
    | CheckNotExists
    | Delete
    | DeleteCas
)


@frozen
class Instance:
    """One instance of a service, at the address where it is to be reached.

    C{passing} is whether all its checks and its node's pass (true where the
    endpoint tells no checks); C{native} whether it speaks Connect itself.
    """

    id: str
    name: str
    node: str
    address: str
    port: int
    meta: dict[str, str]
    tags: tuple[str, ...]
    passing: bool
    native: bool


@frozen
class Roots:
    """All roots to trust, with their intermediates, also those just rotated out."""

    trust_domain: str
    pems: tuple[str, ...]
    active_id: str


@frozen
class Leaf:
    """A service's certificate; C{cert_pem} is the whole chain, to be sent whole."""

    service: str
    uri: str
    cert_pem: str
    key_pem: Secret
    valid_before: datetime
    serial: str
    modify_index: int


@frozen
class Authorization:
    """Whether an intention lets that identity in, and Consul's reason."""

    authorized: bool
    reason: str
