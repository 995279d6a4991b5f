"""Tests of what is asked about intentions, and how long answers count."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, spiffe
from tests.unit.tls.support import WRITER, Agent, log_of
from tile38cm.tls.identity import Caller
from tile38cm.tls.intentions import (
    ASK_AGAIN,
    ASK_TIMEOUT,
    KNOWN_PATIENCE,
    LOG_EVERY,
    NO_FRESH,
    REMEMBERED,
    STALE,
    YES_FRESH,
    Intentions,
    Verdict,
)

ROOT = Authority()


def caller(name: str = "web") -> Caller:
    """Some service."""
    return Caller(name, spiffe(name), "01")


class IntentionsTests(SynchronousTestCase):
    """L{Intentions} against an agent in memory."""

    def setUp(self) -> None:
        self.agent, self.clock = Agent(ROOT), Clock()
        self.intentions = Intentions(self.agent, self.clock)
        self.events = log_of(self)

    def ask(self, name: str = "web") -> Deferred[Verdict]:
        """A question that is not answered yet."""
        verdict = self.intentions.judge(WRITER, caller(name))
        assert isinstance(verdict, Deferred)
        return verdict

    def known(self, name: str = "web") -> Verdict:
        """A question that is answered at once."""
        verdict = self.intentions.judge(WRITER, caller(name))
        assert isinstance(verdict, Verdict)
        return verdict

    def answered(self, authorized: bool, name: str = "web") -> None:
        """Have an answer remembered."""
        asked = self.ask(name)
        self.agent.say(authorized)
        self.assertEqual(self.successResultOf(asked).allowed, authorized)

    def asked_again(self) -> Deferred[Verdict]:
        """A caller that was let in, and of whom the agent is asked anew."""
        self.answered(True)
        self.clock.advance(YES_FRESH)
        return self.ask()

    def test_what_is_asked(self) -> None:
        """The agent is asked with target, URI and serial number, and its words are passed on."""
        asked = self.ask()
        self.assertEqual(self.agent.asked, [(WRITER, spiffe("web"), "01")])
        self.assertNoResult(asked)
        self.agent.say(False, "an intention denies it")
        self.assertEqual(self.successResultOf(asked), Verdict(False, "an intention denies it"))

    def test_yes_is_remembered(self) -> None:
        """A yes counts for five seconds, then it is asked again."""
        self.answered(True)
        self.clock.advance(YES_FRESH - 0.1)
        self.assertTrue(self.known().allowed)
        self.clock.advance(0.2)
        self.answered(False)

    def test_no_is_remembered_shortly(self) -> None:
        """A no counts for one second."""
        self.answered(False)
        self.clock.advance(NO_FRESH - 0.1)
        self.assertFalse(self.known().allowed)
        self.clock.advance(0.2)
        self.answered(True)

    def test_age_counts_from_asking(self) -> None:
        """An answer that took long is as old as its question."""
        asked = self.ask()
        self.clock.advance(ASK_TIMEOUT - 0.1)
        self.agent.say(True)
        self.successResultOf(asked)
        self.clock.advance(YES_FRESH - ASK_TIMEOUT + 0.2)
        _ = self.ask()

    def test_asked_once_at_a_time(self) -> None:
        """Many connections of one service cost one question; other services are asked for separately."""
        web = [self.ask() for _ in range(3)]
        other = self.ask("other")
        self.assertEqual(len(self.agent.asked), 2)
        self.agent.say(True)
        self.assertEqual([self.successResultOf(each).allowed for each in web], [True] * 3)
        self.assertNoResult(other)

    def test_target_matters(self) -> None:
        """An answer for one of our services says nothing of the other."""
        self.answered(True)
        self.assertIsInstance(self.intentions.judge("tile38-reader", caller()), Deferred)

    def test_agent_away_unknown(self) -> None:
        """Without an agent an unknown caller is refused, also while asking would be too soon."""
        asked = self.ask()
        self.agent.fail()
        self.assertFalse(self.successResultOf(asked).allowed)
        self.assertFalse(self.known().allowed)
        self.clock.advance(ASK_AGAIN)
        self.answered(True)

    def test_agent_away_known(self) -> None:
        """Without an agent the last answer counts for a day, yes or no, and no longer."""
        for authorized in (True, False):
            self.answered(authorized)
            self.clock.advance(STALE - 1)
            asked = self.ask()
            self.agent.fail()
            self.assertEqual(self.successResultOf(asked).allowed, authorized)
            self.clock.advance(2)
            asked = self.ask()
            self.agent.fail()
            self.assertFalse(self.successResultOf(asked).allowed)
            self.clock.advance(ASK_AGAIN)
            self.answered(True)
            self.clock.advance(YES_FRESH)

    def test_known_caller_waits_a_moment(self) -> None:
        """Of an agent that hangs the last answer comes soon; once that is known, at once, for all callers."""
        self.answered(False, "other")
        asked = self.asked_again()
        self.clock.advance(KNOWN_PATIENCE - 0.01)
        self.assertNoResult(asked)
        self.clock.advance(0.01)
        self.assertTrue(self.successResultOf(asked).allowed)
        self.clock.advance(ASK_TIMEOUT)
        self.assertTrue(self.known().allowed)
        self.assertFalse(self.known("other").allowed)
        self.assertNoResult(self.ask("unknown"))

    def test_slow_agent(self) -> None:
        """What an agent says after the moment counts from the next connection on."""
        asked = self.asked_again()
        self.clock.advance(KNOWN_PATIENCE)
        self.assertTrue(self.successResultOf(asked).allowed)
        self.agent.say(False)
        self.assertFalse(self.known().allowed)

    def test_agent_is_back(self) -> None:
        """It is asked all the time, behind the answers that are given at once."""
        _ = self.asked_again()
        self.agent.fail()
        self.clock.advance(ASK_AGAIN)
        for _ in range(3):
            self.assertTrue(self.known().allowed)
        self.assertEqual(len(self.agent.asked), 3)
        self.agent.say(False)
        self.assertFalse(self.known().allowed)

    def test_agent_away_for_hours(self) -> None:
        """Who was let in an hour ago is let in: a cluster goes on without Consul."""
        asked = self.asked_again()
        self.agent.fail()
        self.assertTrue(self.successResultOf(asked).allowed)
        for _ in range(4):
            self.clock.advance(3600.0)
            self.assertTrue(self.known().allowed)
            self.agent.fail()

    def test_agent_hangs(self) -> None:
        """An agent that does not answer is given up after two seconds."""
        asked = self.ask()
        self.clock.advance(ASK_TIMEOUT)
        self.assertFalse(self.successResultOf(asked).allowed)

    def test_clock_goes_back(self) -> None:
        """When the clock is set back, an answer from the future is not trusted."""
        self.clock.advance(1000)
        self.answered(True)
        self.clock.rightNow -= 500
        _ = self.ask()

    def test_logged_now_and_then(self) -> None:
        """An agent that is away gives a line every half minute, not one per connection."""
        for _ in range(3):
            _ = self.ask()
            self.agent.fail()
            self.clock.advance(ASK_AGAIN)
        self.assertEqual(len([e for e in self.events if "cannot ask" in str(e["log_format"])]), 1)
        self.clock.advance(LOG_EVERY)
        _ = self.ask()
        self.agent.fail()
        self.assertEqual(len([e for e in self.events if "cannot ask" in str(e["log_format"])]), 2)

    def test_memory_is_bounded(self) -> None:
        """The caller who was not seen for longest is forgotten when there are too many."""
        for number in range(REMEMBERED):
            self.answered(True, f"web{number}")
        self.known("web0")
        self.answered(True, "one-more")
        self.known("web0")
        _ = self.ask("web1")

    def test_close(self) -> None:
        """At the end whoever waits is refused, and nothing is asked any more."""
        asked = self.ask()
        self.successResultOf(Deferred.fromCoroutine(self.intentions.close()))
        self.assertFalse(self.successResultOf(asked).allowed)
        self.clock.advance(ASK_AGAIN)
        self.assertFalse(self.known().allowed)
        self.assertEqual(len(self.agent.asked), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
