"""
What one client has asked and nobody was sent yet, in order.

Waiting costs memory, so while there is no server for them the requests are
paid for from the budget of the whole node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from tile38cm.proxy.exchange import HOLD_FULL, Exchange, State
from tile38cm.proxy.limits import Counters, HoldBudget


class Held:
    """The held requests of one client."""

    def __init__(self, budget: HoldBudget, counters: Counters) -> None:
        self._budget = budget
        self._counters = counters
        #: In order; others look whether there are any, and no more.
        self.exchanges: deque[Exchange] = deque()

    def __len__(self) -> int:
        return len(self.exchanges)

    def __iter__(self) -> Iterator[Exchange]:
        return iter(self.exchanges)

    @property
    def first(self) -> Exchange:
        """The one whose turn it is; there must be one."""
        return self.exchanges[0]

    def append(self, exchange: Exchange) -> None:
        """The newest request."""
        self.exchanges.append(exchange)

    def take(self) -> Exchange:
        """Remove the first: it is about to be sent."""
        exchange = self.exchanges.popleft()
        self.forget(exchange)
        return exchange

    def clear(self) -> list[Exchange]:
        """Remove all."""
        exchanges = list(self.exchanges)
        self.exchanges.clear()
        for exchange in exchanges:
            self.forget(exchange)
        return exchanges

    def collect(self, queue: Iterable[Exchange]) -> None:
        """Find out anew, in order, which of a client's exchanges are held."""
        self.exchanges = deque(exchange for exchange in queue if exchange.state is State.HELD)

    def reserve(self) -> bool:
        """
        Pay for what is not paid for yet; what does not fit is settled with an error.

        @return: whether everything fitted; else C{collect} is due.
        """
        fitted = True
        for exchange in self.exchanges:
            if exchange.budgeted:
                continue
            if self._budget.take(len(exchange.raw)):
                exchange.budgeted = True
                self._counters.held += 1
            else:
                fitted = False
                self._counters.uncertain += not exchange.refuse(HOLD_FULL)
        return fitted

    def forget(self, exchange: Exchange) -> None:
        """It is held no more: return what it took."""
        if exchange.budgeted:
            exchange.budgeted = False
            self._budget.give(len(exchange.raw))
