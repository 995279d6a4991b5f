"""How Consul's answers are read and its transactions written; no I/O.

L{judge} sorts an answer into "yes or a normal no" (returned), "a definite
no" (L{Refused}) and "nobody knows" (L{Unclear}).  The C{read_*} functions
turn decoded JSON into values; whatever does not have the expected shape is
L{Unclear}, because then another program than Consul has answered.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

from attrs import asdict, frozen

from tile38cm.coordination.consul_values import (
    Instance,
    KeyValue,
    Leaf,
    Op,
    Refused,
    Roots,
    TxnAnswer,
    TxnError,
    Unclear,
)
from tile38cm.settings import Secret

T = TypeVar("T")

#: Of a text that Consul sends with an error, at most so many characters are kept.
ERROR_TEXT = 300

#: Consul answers 500 also when it is sure; these words tell it apart from a failure of the cluster.
_DEFINITE_500 = (
    "invalid session",
    "missing session",
    "Missing check",
    "Missing node registration",
    "is in critical state",
    "Invalid Session TTL",
    "Invalid Behavior",
)


@frozen
class Answer:
    """One complete HTTP answer; C{index} is C{X-Consul-Index} as sent."""

    status: int
    body: bytes
    index: str = ""

    @property
    def text(self) -> str:
        """The body for a message, shortened."""
        text = self.body[: 4 * ERROR_TEXT].decode("utf-8", "replace").strip()
        return text if len(text) <= ERROR_TEXT else text[:ERROR_TEXT] + "…"


def judge(answer: Answer, normal: tuple[int, ...] = ()) -> Answer:
    """Give the answer back if its status is 200 or one of C{normal}.

    @raise Refused: for other statuses below 500 and for the 500s that are sure.
    @raise Unclear: for 429 (too many connections) and all else.
    """
    status = answer.status
    if status == 200 or status in normal:
        return answer
    text = answer.text
    if 400 <= status < 500 and status != 429:
        raise Refused(status, text)
    if status == 500 and any(words in text for words in _DEFINITE_500):
        raise Refused(status, text)
    raise Unclear(f"Consul answers {status}: {text}")


def rubbish(what: str) -> NoReturn:
    """@raise Unclear: always, with a sentence on what was wrong."""
    raise Unclear(f"Consul's answer is not understood: {what}")


def read_index(answer: Answer) -> int:
    """The index to block on; Consul's own rule is to take 0 as 1."""
    text = answer.index
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        rubbish("no X-Consul-Index")
    return max(1, int(text))


def read_json(answer: Answer) -> Any:
    """The body as decoded JSON of any shape."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        rubbish("no JSON")


def read_bool(answer: Answer) -> bool:
    """The body as C{true} or C{false}."""
    value = read_json(answer)
    if not isinstance(value, bool):
        rubbish("neither true nor false")
    return value


def member(value: Any, name: str, kind: type[T], default: T | None = None) -> T:
    """C{value[name]} if it is of that kind; C{default}, if given, stands for absent and null."""
    if not isinstance(value, dict):
        rubbish(f"no object around {name}")
    found = value.get(name)
    if found is None and default is not None:
        return default
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        rubbish(f"{name} is missing or of another kind")
    return found


def members(value: Any, what: str) -> list[Any]:
    """The value as a list; null is an empty one, as in Go."""
    if value is None:
        return []
    if not isinstance(value, list):
        rubbish(f"{what} is no list")
    return value


def member_list(value: Any, name: str) -> list[Any]:
    """C{value[name]} as a list; absent and null are an empty one."""
    if not isinstance(value, dict):
        rubbish(f"no object around {name}")
    return members(value.get(name), name)


def read_object(answer: Answer) -> dict[str, Any]:
    """The body as a JSON object."""
    value = read_json(answer)
    if not isinstance(value, dict):
        rubbish("no object")
    return value


def read_key(value: Any) -> KeyValue:
    """One key of C{/v1/kv} or of a transaction's results."""
    encoded = member(value, "Value", str, "")
    try:
        content = b64decode(encoded, validate=True)
    except (Base64Error, ValueError):
        rubbish("a value is not base64")
    return KeyValue(
        key=member(value, "Key", str),
        value=content,
        modify_index=member(value, "ModifyIndex", int),
        create_index=member(value, "CreateIndex", int),
        lock_index=member(value, "LockIndex", int),
        flags=member(value, "Flags", int, 0),
        session=member(value, "Session", str, "") or None,
    )


def write_op(op: Op) -> dict[str, Any]:
    """An operation as C{/v1/txn} wants it."""
    words: dict[str, Any] = {"Verb": op.VERB}
    for name, value in asdict(op).items():
        if value is not None:
            words[name.capitalize()] = b64encode(value).decode("ascii") if name == "value" else value
    return {"KV": words}


def read_txn(answer: Answer) -> TxnAnswer:
    """The body of a 200 or a 409 of C{/v1/txn}."""
    value = read_object(answer)
    results = tuple(read_key(member(result, "KV", dict)) for result in member_list(value, "Results"))
    errors = tuple(
        TxnError(member(error, "OpIndex", int), member(error, "What", str))
        for error in member_list(value, "Errors")
    )
    if (answer.status == 200) == bool(errors):
        rubbish("the errors of a transaction contradict its status")
    return TxnAnswer(answer.status == 200, results, errors)


def _read_meta(value: Any, name: str) -> dict[str, str]:
    meta = member(value, name, dict, {})
    return {str(key): str(content) for key, content in meta.items()}


def _read_tags(value: Any, name: str) -> tuple[str, ...]:
    return tuple(str(tag) for tag in member_list(value, name))


def read_catalog(value: Any) -> Instance:
    """One entry of C{/v1/catalog/service} or C{/v1/catalog/connect}."""
    return Instance(
        id=member(value, "ServiceID", str),
        name=member(value, "ServiceName", str),
        node=member(value, "Node", str),
        address=member(value, "ServiceAddress", str, "") or member(value, "Address", str),
        port=member(value, "ServicePort", int, 0),
        meta=_read_meta(value, "ServiceMeta"),
        tags=_read_tags(value, "ServiceTags"),
        passing=True,
        native=bool(member(value, "ServiceConnect", dict, {}).get("Native")),
    )


def read_health(value: Any) -> Instance:
    """One entry of C{/v1/health/service} or C{/v1/health/connect}."""
    node = member(value, "Node", dict)
    service = member(value, "Service", dict)
    checks = member_list(value, "Checks")
    return Instance(
        id=member(service, "ID", str),
        name=member(service, "Service", str),
        node=member(node, "Node", str),
        address=member(service, "Address", str, "") or member(node, "Address", str),
        port=member(service, "Port", int, 0),
        meta=_read_meta(service, "Meta"),
        tags=_read_tags(service, "Tags"),
        passing=all(member(check, "Status", str) == "passing" for check in checks),
        native=bool(member(service, "Connect", dict, {}).get("Native")),
    )


def read_roots(value: Any) -> Roots:
    """The body of C{/v1/agent/connect/ca/roots}."""
    pems: list[str] = []
    for root in member_list(value, "Roots"):
        pems.append(member(root, "RootCert", str))
        pems.extend(str(pem) for pem in member_list(root, "IntermediateCerts"))
    return Roots(
        trust_domain=member(value, "TrustDomain", str),
        pems=tuple(pems),
        active_id=member(value, "ActiveRootID", str),
    )


def read_leaf(value: Any) -> Leaf:
    """The body of C{/v1/agent/connect/ca/leaf/…}."""
    try:
        valid_before = datetime.fromisoformat(member(value, "ValidBefore", str))
    except ValueError:
        rubbish("ValidBefore is no time")
    if valid_before.tzinfo is None:
        valid_before = valid_before.replace(tzinfo=UTC)
    return Leaf(
        service=member(value, "Service", str),
        uri=member(value, "ServiceURI", str),
        cert_pem=member(value, "CertPEM", str),
        key_pem=Secret(member(value, "PrivateKeyPEM", str)),
        valid_before=valid_before,
        serial=member(value, "SerialNumber", str),
        modify_index=member(value, "ModifyIndex", int),
    )
