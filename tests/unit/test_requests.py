"""L{tile38cm.requests}: what operators ask for in Consul, who carries it out, and what is answered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import status
from tests.unit.peers.wires import Way, identity
from tests.unit.requesting import RequestsCase
from tile38cm.peers.accept import PeerGreeter
from tile38cm.peers.messages import POSITION
from tile38cm.requests import FORCE_TIMEOUT, _due


class SwitchoverTests(RequestsCase):
    """The lead goes elsewhere on demand."""

    def test_done(self) -> None:
        """It is carried out, answered with who leads, and the asker's words stay."""
        self.lead("C")
        self.ask("switchover", {"candidate": "C", "note": "mine"}, 0.5)
        self.assertTrue(self.writer.draining)
        self.take()
        self.assertEqual(self.answer("switchover"), ("done", "C leads"))
        self.assertEqual(self.found("switchover")["note"], "mine")
        self.assertFalse(self.writer.draining)
        self.assertTrue(self.member.core.may_lead)

    def test_under_way(self) -> None:
        """Who carries it out says so first."""
        self.lead("C")
        self.ask("switchover", {"candidate": "C"}, 0.5)
        self.assertEqual(self.found("switchover"), {"candidate": "C", "by": "B"})

    def test_the_next_leader(self) -> None:
        """Who leads by a request that is not answered yet answers it, and keeps the lead."""
        self.lead("C")
        for candidate, state in ((None, "done"), ("B", "done"), ("D", "failed")):
            self.ask("switchover", {"candidate": candidate, "by": "A"})
            self.assertEqual(self.answer("switchover"), (state, "B leads"))
        self.assertFalse(self.writer.draining)

    def test_claim_lost(self) -> None:
        """A claim of which nothing was heard is ours all the same."""
        self.lead("C")
        self.station.weather.faults = ["lost"]
        self.ask("switchover", {"candidate": "C"}, 2.5)
        self.assertTrue(self.writer.draining)
        self.take()
        self.assertEqual(self.answer("switchover"), ("done", "C leads"))

    def test_refused(self) -> None:
        """What cannot be is refused with the reason, and the node goes on as it was."""
        self.lead()
        for asked, said in (
            ({"candidate": "C"}, "C is not connected"),
            ({"candidate": "X"}, "X is not in the sync set"),
            ({"candidate": 5}, "the candidate is not a name"),
            ({"candidate": ["C"]}, "the candidate is not a name"),
            ({}, "no other member of the sync set is connected"),
            ({"at": "soon"}, "'soon' is not a time such as 2031-05-01T03:00:00Z"),
            ({"at": {}}, "{} is not a time such as 2031-05-01T03:00:00Z"),
            (b"[]", "the request is not a JSON object"),
            (b"\xff{", "the request is not a JSON object"),
            (b"[" * 50_000, "the request is not a JSON object"),
        ):
            self.ask("switchover", asked)
            self.assertEqual(self.answer("switchover"), ("refused", said))
        self.assertFalse(self.writer.draining or self.way.server.readonly)
        self.assertTrue(self.member.core.may_lead)

    def test_followers_are_silent(self) -> None:
        """Only the leader answers."""
        self.member.follow(status("A", "B"))
        for asked in ({"candidate": "C"}, b"rubbish", {"at": "soon"}):
            self.ask("switchover", asked)
            self.assertNotIn(b"state", getattr(self.station.entry("switchover"), "value", b""))

    def test_later(self) -> None:
        """A time to come is waited for; one that is past is now."""
        self.lead()
        self.ask("switchover", {"at": "2999-01-01T00:00:00Z"}, 3)
        self.assertEqual(self.answer("switchover"), (None, None))
        self.ask("switchover", {"at": "2001-01-01T00:00:00Z"})
        self.assertEqual(self.answer("switchover")[0], "refused")

    def test_answered_already(self) -> None:
        """An answered request is done with."""
        self.lead("C")
        self.ask("switchover", {"state": "done"}, 2)
        self.assertFalse(self.writer.draining)

    def test_empty(self) -> None:
        """A key without a value asks for nothing."""
        self.lead()
        self.ask("switchover", b"", 2)
        self.assertEqual(getattr(self.station.entry("switchover"), "value", None), b"")

    def test_answered_once(self) -> None:
        """A view of Consul that is late does not have a request answered again and again."""
        self.lead()
        self.successResultOf(self.station.run(self.stop_watches()))
        self.requests._seen("switchover", None)
        self.station.put("switchover", b"{}")
        found = self.successResultOf(
            self.station.run(self.station.consul.get(self.store.key("switchover")))
        ).value
        self.requests._seen("switchover", found)
        self.station.weather.changes = 0
        self.wait(3)
        self.assertEqual((self.answer("switchover")[0], self.station.weather.changes), ("refused", 1))

    def test_consul_away(self) -> None:
        """An answer that Consul does not take is given again; what was asked for is not done again."""
        self.lead("C")
        self.ask("switchover", {"candidate": "C"}, 0.5)
        self.station.weather.faults = ["Permission denied"] * 2
        self.take()
        self.assertEqual(self.answer("switchover"), (None, None))
        self.wait(3)
        self.assertEqual(self.answer("switchover"), ("done", "C leads"))
        self.assertEqual(self.way.asked.count(b"READONLY"), 1)

    def test_changed_meanwhile(self) -> None:
        """An answer never overwrites a newer request."""
        self.lead("C")
        self.ask("switchover", {"candidate": "C"}, 0.5)
        self.station.put("switchover", b'{"at": "2999-01-01T00:00:00Z"}')
        self.take()
        self.assertEqual(self.answer("switchover"), (None, None))


class ForceTests(RequestsCase):
    """A failover that an operator answers for."""

    def setUp(self) -> None:
        super().setUp()
        self.member.follow(status("A", "C"))

    def force(self, seconds: float = 1.0, **more: Any) -> None:
        """Ask."""
        self.ask("failover", {"candidate": "B", "old_leader_is_dead": True} | more, seconds)

    def test_done(self) -> None:
        """The candidate leads alone with what it has, and says what that is."""
        self.leader_way.refusing = True
        self.force()
        (_, settlement, record) = self.member.last("claim")
        self.assertEqual(settlement.wanted.sync_set, {"B"})
        self.assertEqual(self.answer("failover"), (None, None))
        won = settlement.attempt(lambda: "won")
        self.member.election.claim_settled(self.member.core.tickets, True, won, 20)
        self.member.election.prepared(won.epoch)
        self.wait(2)
        self.member.election.opened(won.epoch)
        self.wait(1)
        self.assertEqual(self.answer("failover"), ("done", "B leads with what it had: 1:100"))

    def test_not_sure(self) -> None:
        """Who does not say that the leader is dead is told to be sure of it."""
        for word in (None, False, "true", 1):
            self.force(old_leader_is_dead=word)
            state, said = self.answer("failover")
            self.assertEqual((state, "old_leader_is_dead" in said), ("refused", True))
        self.assertEqual(self.member.asked("claim"), [])

    def test_leader_lives(self) -> None:
        """A leader that answers is no dead one."""
        self.force()
        self.assertEqual(self.answer("failover"), ("refused", "A answers: ask for a switchover"))

    def test_leader_talks_nonsense(self) -> None:
        """One that answers rubbish ends no more than the call."""
        self.leader_way = Way(
            PeerGreeter(identity("A"), self.clock, {POSITION: lambda conn, _: conn.send(POSITION, NONSENSE)})
        )
        self.force()
        self.assertEqual(len(self.member.asked("claim")), 1)

    def test_not_meant(self) -> None:
        """Only the candidate acts."""
        self.force(candidate="C")
        self.assertEqual((self.answer("failover"), self.member.asked("claim")), ((None, None), []))

    def test_cannot(self) -> None:
        """A candidate whose Tile38 is away cannot lead."""
        self.leader_way.refusing = True
        self.member.local = type(self.member.local)(False, None, None, 0)
        self.force()
        self.assertEqual(self.answer("failover")[0], "refused")

    def test_in_vain(self) -> None:
        """A claim that leads to nothing is said to have failed, and not made again."""
        self.leader_way.refusing = True
        self.force(FORCE_TIMEOUT + 2)
        self.assertEqual(self.answer("failover")[0], "failed")
        self.wait(2)
        self.assertEqual(len(self.member.asked("claim")), 1)


#: A report with an infinite number.
NONSENSE = (
    b'{"member": "A", "position": null, "seen_epoch": Infinity, "bound": false,'
    b' "eligible": true, "priority": 0, "log_size": 0}'
)


class DueTests(SynchronousTestCase):
    """When a request is to be carried out."""

    def test_zones(self) -> None:
        """Times may name their zone; without one they are UTC."""
        seconds = datetime(2031, 5, 1, 3, tzinfo=UTC).timestamp()
        for text in (
            "2031-05-01T03:00:00Z",
            "2031-05-01T03:00:00",
            "2031-05-01T05:00:00+02:00",
            "2031-05-01 03:00",
        ):
            self.assertEqual(_due(text), seconds, text)
        self.assertEqual(_due(None), 0.0)

    @settings(deadline=None)
    @given(
        st.text("0123456789-:TZ+. x")
        | st.integers()
        | st.floats()
        | st.lists(st.text("2Z-"))
        | st.booleans()
        | st.datetimes().map(str)
    )
    def test_anything(self, at: object) -> None:
        """Whatever is given is a time or none."""
        found = _due(at)
        self.assertTrue(found is None or isinstance(found, float))
