"""
Batches that are answered, and wait until the sync set has acknowledged them.

Nearly all are covered within milliseconds, and then are released as if their
replies came now: the conversations need not know that they waited, and an
acknowledgement costs what it releases, however many clients there are.  What
is not covered soon, is large, or may never be covered is handed over to the
conversations, which pay for what they keep and give up in time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tile38cm.proxy.exchange import Asker, Batch, Exchange, Verdict
from tile38cm.proxy.partners import Gate
from tile38cm.turns import soon

#: Seconds after which the conversations take what is not covered; twice that at most.
PATIENCE = 0.1
#: Bytes of replies that may be here at one time.
ROOM = 1024 * 1024

Replies = list[tuple[Exchange, bytes]]


@frozen(eq=False)
class _Answered:
    """A batch, its replies that were not handed out, and which connection they came from."""

    batch: Batch
    replies: Replies
    connection: object
    size: int


@define(eq=False)
class Coverage:
    """What of one gate's batches is to be released, and when."""

    gate: Gate
    clock: IReactorTime
    #: In the order of their answers, which is nearly that of their offsets.
    _waiting: OrderedDict[Batch, _Answered] = field(factory=OrderedDict, init=False)
    _kept: int = field(default=0, init=False)
    _look: IDelayedCall | None = field(default=None, init=False)
    #: The last batch that was there already at the look before.
    _old: Batch | None = field(default=None, init=False)

    def arrived(
        self,
        batch: Batch,
        replies: Replies,
        verdict: Verdict | None,
        concerned: dict[Asker, None],
        connection: object,
    ) -> Verdict:
        """
        A batch is answered, its offset known: release it, or keep it until it is covered.

        @param concerned: to be extended by who has to be told C{turned}.
        @return: what the gate said.
        """
        verdict = verdict or Verdict(self.gate)
        if verdict.passes(batch):
            self._release(batch, replies, verdict, concerned)
            return verdict
        size = sum([len(reply) for _, reply in replies])
        if verdict.lacks_only_acknowledgement(batch) and self._kept + size <= ROOM:
            self._kept += size
            self._waiting[batch] = _Answered(batch, replies, connection, size)
            self.gate.waiting()
            if self._look is None:
                self._look = self.clock.callLater(PATIENCE, self._look_again)
        else:
            _hand_over(batch, replies, concerned)
        return verdict

    def moved(self, verdict: Verdict) -> None:
        """More was acknowledged."""
        while self._waiting:
            batch = next(iter(self._waiting))
            if not verdict.passes(batch):
                return
            concerned: dict[Asker, None] = {}
            self._release(batch, self._forget(batch).replies, verdict, concerned)
            for asker in concerned:
                asker.turned(verdict)

    def let_go(self, connection: object = None) -> None:
        """
        Hand over what came from a connection, or all: it may never be covered.

        C{turned} follows when this turn's events are dealt with.
        """
        found = [each for each in self._waiting.values() if connection in (None, each.connection)]
        if not found:
            return
        concerned: dict[Asker, None] = {}
        for answered in found:
            self._forget(answered.batch)
            _hand_over(answered.batch, answered.replies, concerned)
        soon(self.clock)(lambda: _turn(concerned))

    def stop(self) -> None:
        """Nothing is released any more."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._waiting.clear()

    def _release(
        self, batch: Batch, replies: Replies, verdict: Verdict, concerned: dict[Asker, None]
    ) -> None:
        """Hand out what is covered; who has more to release is C{concerned}."""
        assert batch.offset is not None
        if batch.offset > verdict.told:
            # Told before the replies go.
            verdict.told = batch.offset
            self.gate.released(batch.offset)
        for exchange, reply in replies:
            asker = exchange.asker
            assert asker is not None
            if not asker.landed(exchange, reply):
                asker.replied(exchange, reply)
                concerned[asker] = None
        if len(replies) < len(batch.exchanges):
            _concern(batch, concerned)
        _free(batch)

    def _forget(self, batch: Batch) -> _Answered:
        answered = self._waiting.pop(batch)
        self._kept -= answered.size
        return answered

    def _look_again(self) -> None:
        """Hand over what was here already at the last look."""
        self._look = None
        concerned: dict[Asker, None] = {}
        if self._old in self._waiting:
            for answered in list(self._waiting.values()):
                self._forget(answered.batch)
                _hand_over(answered.batch, answered.replies, concerned)
                if answered.batch is self._old:
                    break
        self._old = next(reversed(self._waiting), None)
        if self._waiting:
            self._look = self.clock.callLater(PATIENCE, self._look_again)
        _turn(concerned)


def keep(replies: Iterable[tuple[Exchange, bytes]]) -> None:
    """These replies are not to be released yet: their conversations keep them."""
    for exchange, reply in replies:
        assert exchange.asker is not None
        exchange.asker.replied(exchange, reply)


def _hand_over(batch: Batch, replies: Replies, concerned: dict[Asker, None]) -> None:
    keep(replies)
    _concern(batch, concerned)
    _free(batch)


def _concern(batch: Batch, concerned: dict[Asker, None]) -> None:
    for exchange in batch.exchanges:
        assert exchange.asker is not None
        concerned[exchange.asker] = None


def _free(batch: Batch) -> None:
    """Exchanges know their batch: without this each of them would be left to the garbage collector."""
    batch.exchanges.clear()


def _turn(concerned: Iterable[Asker]) -> None:
    for asker in concerned:
        asker.turned(None)
