"""The rules of leading, in a world that does its worst.

L{LeadingTests} lets hypothesis choose what happens and shrink what it finds;
the walks go deeper.  L{MutantTests} weakens one rule at a time and demands
that the walks see it: a model that finds nothing would prove nothing.

C{TILE38CM_MODEL_EXAMPLES} sets how many examples and walks there are: the
default takes seconds, 100000 takes hours.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random, SystemRandom

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination import walk
from tests.unit.coordination.model import CALM, Options, Violation, World, storm
from tests.unit.coordination.mutants import weakened

EXAMPLES = int(os.environ.get("TILE38CM_MODEL_EXAMPLES", "60"))
#: Walks in which a weakened rule has to show.
PATIENCE = 1500

sizes = st.sampled_from((3, 2, 4))
options = st.builds(
    Options,
    tick=st.sampled_from((0.2, 0.05)),
    survey=st.sampled_from((0.05, 0.2)),
    expect=st.sampled_from((1, 2)),
    busy=st.sampled_from((0.0, 0.3)),
)
pauses = st.sampled_from((0.1, 0.5, 1.3, 3.0))
whom = st.integers(0, 3)


#: For each weakened rule a walk in which it shows, at this writing; the search goes on from there.
FIRST_SEEN = {
    "promise_from_receipt": 93,
    "no_safety": 185,
    "promise_not_asked": 23,
    "answers_while_standing": 485,
    "no_union": 132,
    "drop_silently": 6,
    "no_acknowledgements": 0,
    "nearly_caught_up": 20,
    "earlier_terms_forgotten": 312,
    "wipe_in_set": 49,
    "touch_off": 747,
    "not_shaken": 83,
    "beyond_the_parting": 27,
    "one_line_of_epochs": 20183,
}


class Leading(RuleBasedStateMachine):
    """Members that lead, follow, fail and come back, as hypothesis wants it."""

    world: World

    @initialize(seed=st.integers(0, 2**16), size=sizes, options=options, founded=st.booleans())
    def build(self, seed: int, size: int, options: Options, founded: bool) -> None:
        """A fresh cluster that has had the time to choose a leader."""
        self.world = World.build(Random(seed), size, options, founded)
        self.world.run(4.0)

    def _name(self, number: int) -> str:
        names = sorted(self.world.nodes)
        return names[number % len(names)]

    @rule(pause=pauses)
    def time_passes(self, pause: float) -> None:
        """Whatever is under way goes on."""
        self.world.run(pause)

    @rule(number=whom, count=st.integers(1, 3), reads=st.booleans())
    def clients(self, number: int, count: int, reads: bool) -> None:
        """Clients write through a node, and read what they wrote."""
        node = self.world.nodes[self._name(number)]
        if node.up and not node.stalled:
            for _ in range(count):
                node.write()
            if reads:
                node.read()
            self.world.check()

    @rule(number=whom, pause=pauses)
    def stall(self, number: int, pause: float) -> None:
        """A process is frozen for a while; its clock runs."""
        walk.stall(self.world, self._name(number), pause)

    @rule(number=whom, clean=st.booleans(), pause=pauses)
    def crash(self, number: int, clean: bool, pause: float) -> None:
        """A process ends and is started again later."""
        walk.crash(self.world, self._name(number), clean, pause)
        self.world.check()

    @rule(number=whom, most=st.integers(0, 3), pause=pauses)
    def lose(self, number: int, most: int, pause: float) -> None:
        """A machine ends, and what it had not synced is gone."""
        walk.lose(self.world, self._name(number), most, pause)
        self.world.check()

    @rule(number=whom, other=whom, pause=pauses)
    def cut(self, number: int, other: int, pause: float) -> None:
        """Two nodes, or one node and Consul, do not reach each other for a while."""
        walk.cut(self.world, self._name(number), self._name(other), pause)

    @rule(number=whom, pause=pauses)
    def isolate(self, number: int, pause: float) -> None:
        """A node reaches nobody for a while."""
        walk.isolate(self.world, self._name(number), pause, pause + 1.0)

    @rule(seed=st.integers(0, 2**16))
    def worse_weather(self, seed: int) -> None:
        """From now on messages and answers are late, lost or doubled."""
        self.world.weather = storm(Random(seed))

    @precondition(lambda self: self.world.weather is not CALM)
    @rule()
    def better_weather(self) -> None:
        """Messages arrive again."""
        self.world.weather = CALM

    @rule()
    def hand_over(self) -> None:
        """The leader lets another one lead, and stops or stays."""
        walk.hand_over(self.world)
        self.world.check()

    @rule(number=whom)
    def leave(self, number: int) -> None:
        """A follower stops, and says so."""
        walk.leave(self.world, self._name(number))
        self.world.check()

    @rule(number=whom)
    def resign(self, number: int) -> None:
        """The log of a leader has ended."""
        walk.resign(self.world, self._name(number))
        self.world.check()

    def teardown(self) -> None:
        """At last all trouble ends, and requests must be answered."""
        if hasattr(self, "world"):
            self.world.run(1.0)
            self.world.calm()


class LeadingTests(SynchronousTestCase):
    """The intact rules."""

    def test_hypothesis(self) -> None:
        """No order of events that hypothesis finds opens two gates, loses a write or ends in silence."""
        run_state_machine_as_test(
            Leading,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def test_known_walks(self) -> None:
        """Walks that are the same each time: those in which weakened rules show, among others."""
        counts: Counter[str] = Counter()
        for first in FIRST_SEEN.values():
            for seed in range(first, first + 5):
                self.assertIsNone(walk.judge(seed, counts=counts), f"seed {seed}")
        for each in ("continued over 0 epochs", "continued over 1 epochs", "continued over 2 epochs"):
            self.assertGreater(counts[each], 5, counts)
        self.assertGreater(min(counts["over"], counts["lost"]), 5, counts)

    def test_new_walks(self) -> None:
        """Walks that are new each time; the seed is in the message."""
        first = SystemRandom().randrange(10**9)
        for seed in range(first, first + EXAMPLES * 2):
            self.assertIsNone(walk.judge(seed), f"seed {seed}")


class MutantTests(SynchronousTestCase):
    """Weakened rules; that each of them is seen shows what the model can see."""

    def see(self, mutant: str, kind: str) -> None:
        """Walk until something of the kind is wrong."""
        first = FIRST_SEEN[mutant]
        with weakened(mutant):
            for seed in range(first, first + PATIENCE):
                if (walk.judge(seed) or "").startswith(kind):
                    return
        self.fail(f"{mutant}: {kind} not seen in {PATIENCE} walks from seed {first}")

    def test_promise_from_receipt(self) -> None:
        """If the leader counts from the answer's arrival, a late answer outlives the promise."""
        self.see("promise_from_receipt", "gates")

    def test_no_safety(self) -> None:
        """If the giver's promise is no longer than the taker's lease, a faster clock ends it too soon."""
        self.see("no_safety", "gates")

    def test_promise_not_asked(self) -> None:
        """If members stand whatever they have promised, promises are worth nothing."""
        self.see("promise_not_asked", "gates")

    def test_answers_while_standing(self) -> None:
        """If a candidate goes on promising, it may win and serve while it is bound."""
        self.see("answers_while_standing", "gates")

    def test_no_union(self) -> None:
        """If a change counts only when it is known, a member may be in the set without a reply's write."""
        self.see("no_union", "set")

    def test_drop_silently(self) -> None:
        """If a member that is being removed is not waited for, it may lack a reply's write there."""
        self.see("drop_silently", "set")

    def test_no_acknowledgements(self) -> None:
        """If replies wait for nobody, members of the set lack what clients were told."""
        self.see("no_acknowledgements", "set")

    def test_nearly_caught_up(self) -> None:
        """If a follower is let in two commands early, it lacks them."""
        self.see("nearly_caught_up", "set")

    def test_earlier_terms_forgotten(self) -> None:
        """If only this term's replies count, a follower is let in without those of the terms before."""
        self.see("earlier_terms_forgotten", "set")

    def test_wipe_in_set(self) -> None:
        """If a member erases its data before it is out of the set, the set holds an empty member."""
        self.see("wipe_in_set", "set")

    def test_touch_off(self) -> None:
        """If an unchanged index counts as a refusal, a write that comes late finds nobody who expects it."""
        self.see("touch_off", "set")

    def test_not_shaken(self) -> None:
        """If a member that has lost acknowledged writes stands like any other, they are lost for all."""
        self.see("not_shaken", "lost")

    def test_beyond_the_parting(self) -> None:
        """If a deposed leader goes on with what it wrote alone, it holds other things than its leader."""
        self.see("beyond_the_parting", "prefix")

    def test_one_line_of_epochs(self) -> None:
        """If terms are taken for a line, a node goes on from a term that nobody built upon."""
        self.see("one_line_of_epochs", "prefix")


class ScriptTests(SynchronousTestCase):
    """What is too rare for walks, step by step: two members, and the leader is cut off."""

    def setUp(self) -> None:
        """It is in office with the other's promise, and reaches nobody from now on."""
        self.world = World.build(Random(2), 2, Options(tick=0.05, survey=0.01), founded=True)
        self.world.run(4.0)
        (leader,) = self.world.gates()
        (self.other,) = leader.election.required()
        walk.isolate(self.world, leader.name, 20.0, 30.0)

    def start_again(self) -> None:
        """The other is started again while its promise is counted."""
        walk.crash(self.world, self.other, True, 0.01)
        self.world.run(5.0)

    def hear_the_past(self) -> None:
        """The other leads, is started again without Consul, and hears the old leader, which knows nothing."""
        world = self.world
        world.run(5.0)
        world.nodes[self.other].write()
        self.assertEqual(len(world.acknowledged), 1)
        walk.cut(world, self.other, self.other, 30.0)
        walk.crash(world, self.other, True, 0.5)
        world.run(1.0)
        world.cuts.clear()
        world.run(5.0)

    def test_grace(self) -> None:
        """A restarted member waits until its former promises have run out, and leads then."""
        self.start_again()
        self.assertEqual([node.name for node in self.world.gates()], [self.other])

    def test_no_grace(self) -> None:
        """Without that both gates are open."""
        with weakened("no_grace"):
            self.assertEqual(self.assertRaises(Violation, self.start_again).kind, "gates")

    def test_epoch_on_disk(self) -> None:
        """A restarted leader gives no promise to the leader before it."""
        self.hear_the_past()
        self.assertEqual(self.world.gates(), [])

    def test_epoch_forgotten(self) -> None:
        """If it has forgotten its own epoch, the old leader serves without the new one's writes."""
        with weakened("epoch_forgotten"):
            self.assertEqual(self.assertRaises(Violation, self.hear_the_past).kind, "lost")
