"""L{tile38cm.requests}: smaller logs, one member after the other."""

from __future__ import annotations

from tests.unit.coordination.recorded import status
from tests.unit.requesting import RequestsCase
from tile38cm.coordination.cluster import ClusterView, MemberState
from tile38cm.requests import SHRINK_TIMEOUT


class ShrinkTests(RequestsCase):
    """All logs are rewritten, the leader's last."""

    def setUp(self) -> None:
        super().setUp()
        self.way.server.rewritten = b"x" * 10

    def shrunk(self, **members: str) -> None:
        """What others say they have done last."""
        self.view = ClusterView(
            {}, {m: MemberState(m, "follower", True, shrunk=s) for m, s in members.items()}
        )

    def follow(self) -> None:
        """A leader is there for as long as it takes."""
        self.member.core.nofailover = True
        self.member.follow(status("A", "B"))

    def shrinks(self) -> int:
        """How often the log was rewritten here."""
        return self.way.asked.count(b"AOFSHRINK")

    def test_follower(self) -> None:
        """A follower rewrites its log once, marks its position in the new one, and announces it."""
        self.member.follow(status("A", "B"))
        self.ask("shrink", {"id": "s1"}, 3)
        self.assertEqual((self.shrinks(), self.link.marks, self.announced), (1, 1, 1))
        self.assertEqual((self.state.now.shrunk, self.way.server.log), ("s1", b"x" * 10))
        self.assertEqual(self.answer("shrink"), (None, None))
        turn = self.station.entry("shrinking")
        assert turn is not None
        self.assertIsNone(turn.session)

    def test_one_at_a_time(self) -> None:
        """While another node has the turn nothing is rewritten."""
        self.follow()
        other = self.station.store("C")
        self.successResultOf(self.station.run(other.take("shrinking")))
        self.ask("shrink", {"id": "s1"}, 3)
        self.assertEqual(self.shrinks(), 0)
        self.successResultOf(self.station.run(other.give_back("shrinking")))
        self.wait(2)
        self.assertEqual(self.shrinks(), 1)

    def test_not_caught_up(self) -> None:
        """A follower that has not caught up waits until it has."""
        self.member.follow(status("A", "B"))
        self.link.caught_up = False
        self.ask("shrink", {"id": "s1"}, 2)
        self.assertEqual(self.shrinks(), 0)

    def test_stands(self) -> None:
        """A log that may be the leader's in a moment is not rewritten."""
        self.member.follow(status("A", "B"))
        self.member.stand()
        self.ask("shrink", {"id": "s1"}, 2)
        self.assertEqual((self.shrinks(), self.link.rewriting), (0, False))

    def test_never_ends(self) -> None:
        """A rewrite that does not end is given up, the turn with it, and tried again."""
        self.way.server.rewritten = None
        self.follow()
        self.ask("shrink", {"id": "s1"}, 1)
        self.assertEqual((self.state.now.shrunk, self.link.rewriting), ("", True))
        self.clock.advance(SHRINK_TIMEOUT)
        self.wait(0.3)
        self.assertFalse(self.link.rewriting)
        turn = self.station.entry("shrinking")
        assert turn is not None
        self.assertIsNone(turn.session)
        self.way.server.rewritten = b""
        self.way.server.rewrite()
        self.wait(4)
        self.assertEqual(self.state.now.shrunk, "s1")

    def test_leader_is_last(self) -> None:
        """A leader waits for all others, then hands over; it is not answered before it has followed."""
        self.lead("C")
        self.shrunk(C="", D="s1")
        self.ask("shrink", {"id": "s1"}, 2)
        self.assertFalse(self.writer.draining)
        self.shrunk(C="s1", D="s1")
        self.wait(0.5)
        self.assertTrue(self.writer.draining)
        self.assertEqual((self.shrinks(), self.answer("shrink")), (0, (None, None)))
        self.take()
        self.assertEqual(self.shrinks(), 1)

    def test_done(self) -> None:
        """The leader that has been shrunk itself says that all are."""
        self.lead("C")
        self.state.change(shrunk="s1")
        self.shrunk(C="s1")
        self.ask("shrink", {"id": "s1"})
        self.assertEqual(self.answer("shrink"), ("done", "all logs are shrunk"))

    def test_alone(self) -> None:
        """A leader alone rewrites its own log, there is nobody to hand over to."""
        self.lead()
        self.ask("shrink", {"id": "s1"}, 3)
        self.assertEqual((self.shrinks(), self.answer("shrink")[0]), (1, "done"))

    def test_no_id(self) -> None:
        """A request without an id could not be told from the last one."""
        self.lead()
        for asked in ({}, {"id": ""}, {"id": 5}):
            self.ask("shrink", asked)
            self.assertEqual(self.answer("shrink"), ("refused", "it has no id"))
