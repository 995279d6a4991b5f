"""What a fresh connection to a server is asked before the first request of a client."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from tile38cm.proxy.partners import Target
from tile38cm.settings import Secret
from tile38cm.wire.replies import is_failure, leader_offset
from tile38cm.wire.resp import Output, encode_request

ROLE = encode_request([b"ROLE"])


@frozen
class Step:
    """One request of the preparation, and whether its reply lets us go on."""

    request: bytes
    passes: Callable[[bytes], bool]
    purpose: str
    #: How many replies it has, as for what else is expected.
    count: int = 1


def preparation(target: Target, password: Secret | None, output: Output, leading: bool) -> tuple[Step, ...]:
    """
    What a fresh connection needs before the first request of a client.

    A local server is asked for its role, since while it loads, or was never
    synchronised, C{PING} answers and C{ROLE} does not.

    @param leading: the server must be a leader.
    """
    steps = []
    if target.local:
        if password is not None:
            login = encode_request([b"AUTH", password.value.encode()])
            steps.append(Step(login, _succeeds, "the server takes the password"))
        passes = _is_leader if leading else _succeeds
        steps.append(Step(ROLE, passes, "the server is a leader" if leading else "the server is ready"))
    if output == "json":
        steps.append(OUTPUT[output])
    return tuple(steps)


def _succeeds(reply: bytes) -> bool:
    return not is_failure(reply)


#: What makes a connection answer in an output.
OUTPUT: dict[Output, Step] = {
    "json": Step(encode_request([b"OUTPUT", b"json"]), _succeeds, "the server answers in JSON"),
    "resp": Step(encode_request([b"OUTPUT", b"resp"]), _succeeds, "the server answers in RESP"),
}


def _is_leader(reply: bytes) -> bool:
    return leader_offset(reply) is not None
