"""Whether an intention lets a service in, asked through the local agent and remembered briefly.

The agent answers from its own cache in a fraction of a millisecond and does so
even while all Consul servers are dead; when the agent itself is away, an answer of
the last day counts, as long as the caller's certificate holds: the nodes of a
cluster let each other in all that time.  Without one the caller is refused.

Who is known waits a moment only, and not at all once the agent is known to be
away: it may be a node that a leader needs the promise of.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tile38cm.tasks import Tasks, within
from tile38cm.tls.identity import Caller
from tile38cm.tls.partners import Authority

#: Seconds for which a yes and a no need not be asked again.
YES_FRESH = 5.0
NO_FRESH = 1.0
#: Seconds for which an answer counts while the agent is away.
STALE = 24 * 3600.0
#: Seconds for one question, and after a failed one until the next.
ASK_TIMEOUT = 2.0
ASK_AGAIN = 1.0
#: Seconds that a known caller waits before the last answer counts.
KNOWN_PATIENCE = 0.25
#: Callers that are remembered.
REMEMBERED = 1024
#: Seconds between two log lines on the agent being away.
LOG_EVERY = 30.0


@frozen
class Verdict:
    """Whether the caller may come in, and why."""

    allowed: bool
    reason: str


Question = tuple[str, str, str]


@frozen
class _Remembered:
    verdict: Verdict
    asked: float

    def fresh(self, now: float) -> bool:
        return 0 <= now - self.asked < (YES_FRESH if self.verdict.allowed else NO_FRESH)

    def usable(self, now: float) -> bool:
        return 0 <= now - self.asked < STALE


T = TypeVar("T")


def _keep(memory: OrderedDict[Question, T], question: Question, what: T) -> None:
    """Put it last, and forget the first if there are too many."""
    memory[question] = what
    memory.move_to_end(question)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


@define(eq=False)
class Intentions:
    """Asks C{authority} at most once at a time for the same caller."""

    _authority: Authority
    _clock: IReactorTime
    _remembered: OrderedDict[Question, _Remembered] = field(factory=OrderedDict, init=False)
    _asking: dict[Question, list[Deferred[Verdict]]] = field(factory=dict, init=False)
    _tasks: Tasks = field(factory=Tasks, init=False)
    #: The last question was not answered.
    _away: bool = field(default=False, init=False)
    _failed: OrderedDict[Question, float] = field(factory=OrderedDict, init=False)
    _logged: float | None = field(default=None, init=False)
    _log: Logger = field(factory=lambda: Logger("tile38cm.tls"), init=False)

    def judge(self, target: str, caller: Caller) -> Verdict | Deferred[Verdict]:
        """May C{caller} use the service C{target}?  At once if known; else a Deferred that never fails."""
        question = (target, caller.uri, caller.serial)
        known = self._remembered.get(question)
        now = self._clock.seconds()
        if known is not None and known.fresh(now):
            self._remembered.move_to_end(question)
            return known.verdict
        if 0 <= now - self._failed.get(question, -ASK_AGAIN) < ASK_AGAIN:
            return self._without_agent(question)
        if known is None or not known.usable(now):
            return self._asked(question)
        if not self._away:
            return self._soon(self._asked(question), known.verdict)
        if question not in self._asking:
            _ = self._asked(question)
        return known.verdict

    def _soon(self, answer: Verdict | Deferred[Verdict], known: Verdict) -> Verdict | Deferred[Verdict]:
        """The answer, or what is known if it does not come soon; then it counts from the next time on."""
        if isinstance(answer, Verdict):
            return answer
        timer = self._clock.callLater(KNOWN_PATIENCE, answer.callback, known)

        def answered(verdict: Verdict) -> Verdict:
            if timer.active():
                timer.cancel()
            return verdict

        return answer.addCallback(answered)

    def _asked(self, question: Question) -> Verdict | Deferred[Verdict]:
        answer: Deferred[Verdict] = Deferred()
        if question in self._asking:
            self._asking[question].append(answer)
            return answer
        self._asking[question] = [answer]
        if self._tasks.start(self._ask(question), "asking for an intention") is None:
            del self._asking[question]
            return self._without_agent(question)
        return answer

    async def close(self) -> None:
        """Ask no more: who waits, or comes later, gets the answer of an agent that is away."""
        await self._tasks.cancel()

    async def _ask(self, question: Question) -> None:
        try:
            verdict = await self._answer(question)
        except CancelledError:
            verdict = self._without_agent(question)
        except Exception as error:  # the edge towards Consul: whatever it was, there is no answer
            _keep(self._failed, question, self._clock.seconds())
            self._away = True
            self._complain(error)
            verdict = self._without_agent(question)
        for waiting in self._asking.pop(question):
            if not waiting.called:
                waiting.callback(verdict)

    async def _answer(self, question: Question) -> Verdict:
        asked = self._clock.seconds()
        asking = Deferred.fromCoroutine(self._authority.authorize(*question))
        authorization = await within(asking, ASK_TIMEOUT, self._clock)
        verdict = Verdict(authorization.authorized, authorization.reason)
        self._failed.pop(question, None)
        self._away = False
        _keep(self._remembered, question, _Remembered(verdict, asked))
        return verdict

    def _without_agent(self, question: Question) -> Verdict:
        known = self._remembered.get(question)
        if known is not None and known.usable(self._clock.seconds()):
            return known.verdict
        return Verdict(False, "the Consul agent does not answer, and nothing is known of this caller")

    def _complain(self, error: Exception) -> None:
        now = self._clock.seconds()
        if self._logged is None or not 0 <= now - self._logged < LOG_EVERY:
            self._logged = now
            self._log.warn(
                "cannot ask Consul for intentions ({error}): answers of the last {stale:g} h count,"
                " unknown callers are refused",
                error=error,
                stale=STALE / 3600,
            )
