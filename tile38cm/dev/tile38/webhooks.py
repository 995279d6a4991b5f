"""Events to where C{SETHOOK} wants them: a POST each, in their order, tried again for a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from io import BytesIO
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.http_headers import Headers

from tile38cm.dev.tile38.hooks import Hook
from tile38cm.dev.tile38.node import Node
from tile38cm.dev.tile38.text import to_bytes

#: Seconds that an event is kept, between two tries, and for one of them.
KEEP, AGAIN, LIMIT = 30.0, 0.5, 5.0

#: Brings an event to an address; whether it was taken.
Post = Callable[[str, bytes], Deferred[bool]]


@frozen
class _Event:
    endpoints: tuple[str, ...]
    body: bytes
    until: float


class Webhooks:
    """One row of events for each hook."""

    _log = Logger()

    def __init__(self, node: Node, post: Post) -> None:
        self._node, self._post = node, post
        self._rows: dict[str, deque[_Event]] = {}
        self._work: dict[str, Deferred[None]] = {}
        node.send_hook, node.pending = self.send, self.pending

    def pending(self) -> int:
        """How many events are waiting."""
        return sum(map(len, self._rows.values()))

    def send(self, hook: Hook, event: str) -> None:
        """Have an event brought to the first of the hook's endpoints that takes it."""
        known = tuple(each for each in hook.endpoints if each.lower().startswith(("http://", "https://")))
        if not known:
            self._log.warn("hook {name}: only http and https are known to this node", name=hook.name)
            return
        row = self._rows.setdefault(hook.name, deque())
        row.append(_Event(known, to_bytes(event), self._node.reactor.seconds() + KEEP))
        if hook.name not in self._work:
            self._work[hook.name] = Deferred.fromCoroutine(self._bring(hook.name, row))
            _ = self._work[hook.name].addErrback(self._mistake)

    async def _bring(self, name: str, row: deque[_Event]) -> None:
        await deferLater(self._node.reactor, 0)
        while row:
            event = row[0]
            if event.until < self._node.reactor.seconds() or await self._taken(event):
                row.popleft()
            else:
                await deferLater(self._node.reactor, AGAIN)
        del self._rows[name], self._work[name]

    async def _taken(self, event: _Event) -> bool:
        for endpoint in event.endpoints:
            try:
                if await self._post(endpoint, event.body):
                    return True
            except CancelledError:
                raise
            except Exception as error:  # whatever the network has for us
                self._log.debug("hook: {endpoint}: {error}", endpoint=endpoint, error=error)
        return False

    def stop(self) -> None:
        """Bring nothing more."""
        for work in list(self._work.values()):
            work.cancel()

    def _mistake(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("a mistake while sending an event", failure)


def poster(reactor: Any) -> Post:
    """POSTs over HTTP; only 200 means that it was taken."""
    agent = Agent(reactor, connectTimeout=LIMIT)

    async def post(endpoint: str, body: bytes) -> bool:
        headers = Headers({b"Content-Type": [b"application/json"], b"User-Agent": [b"Tile38"]})
        address = endpoint.partition("#")[0].encode()
        response = await agent.request(b"POST", address, headers, FileBodyProducer(BytesIO(body)))
        await readBody(response)
        return bool(response.code == 200)

    return lambda endpoint, body: Deferred.fromCoroutine(post(endpoint, body)).addTimeout(LIMIT, reactor)
