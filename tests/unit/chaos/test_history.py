"""What clients may see, and what the checker says when they saw something else."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.history import History, Key, Outcome, Read, wrong_ends, wrong_reads

KEY: Key = ("registers", "r")


class HistoryCase(SynchronousTestCase):
    """A register's history, made step by step; each write takes one second."""

    def setUp(self) -> None:
        self.history = History()

    def wrote(self, value: str | None, at: float, outcome: Outcome = Outcome.ACKNOWLEDGED) -> None:
        """A write from C{at} to C{at + 1}."""
        write = self.history.begin(KEY, value, at, "writer")
        write.ended, write.outcome = at + 1, outcome

    def read(self, value: str | None, at: float, until: float | None = None) -> None:
        """A read that was answered."""
        self.history.reads.append(Read(KEY, value, at, at + 1 if until is None else until, "reader"))


class ReadTests(HistoryCase):
    """Reads through W."""

    def wrong(self) -> list[str]:
        return list(wrong_reads(self.history))

    def test_newest(self) -> None:
        """The last acknowledged write is what must be read."""
        self.wrote("a", 0)
        self.wrote("b", 2)
        self.read("b", 4)
        self.assertEqual(self.wrong(), [])

    def test_missed(self) -> None:
        """An older value than the last acknowledged one is a write that was missed."""
        self.wrote("a", 0)
        self.wrote("b", 2)
        self.read("a", 4)
        self.assertIn("LOST", self.wrong()[0])

    def test_missed_deletion(self) -> None:
        """A deletion that was acknowledged must be seen too, and an object that was never deleted."""
        self.wrote("a", 0)
        self.wrote(None, 2)
        self.read("a", 4)
        self.read(None, 6)
        self.wrote("b", 8)
        self.read(None, 10)
        self.assertEqual(len(self.wrong()), 2)

    def test_at_the_same_time(self) -> None:
        """While a write is under way its value and the one before may be read."""
        self.wrote("a", 0)
        self.wrote("b", 2)
        self.read("a", 2.5)
        self.read("b", 2.5)
        self.assertEqual(self.wrong(), [])

    def test_uncertain(self) -> None:
        """An uncertain write may have been applied, never, or later."""
        self.wrote("a", 0)
        self.wrote("b", 2, Outcome.UNCERTAIN)
        self.read("a", 4)
        self.wrote("c", 6)
        self.read("c", 8)
        self.read("b", 10)
        self.assertEqual(self.wrong(), [])

    def test_refused(self) -> None:
        """What was refused is never there."""
        self.wrote("a", 0, Outcome.REFUSED)
        self.read("a", 2)
        self.assertIn("refused", self.wrong()[0])

    def test_invented(self) -> None:
        """Nobody reads what nobody wrote, nor before it was written."""
        self.wrote("a", 5)
        self.read("x", 0)
        self.read("a", 2)
        self.assertEqual(len(self.wrong()), 2)

    def test_back_in_time(self) -> None:
        """What was seen once, though uncertain, hides what was acknowledged before it."""
        self.wrote("a", 0)
        self.wrote("b", 2, Outcome.UNCERTAIN)
        self.read("b", 4)
        self.read("a", 6)
        self.assertIn("after 'b' was read", self.wrong()[0])


class EndTests(HistoryCase):
    """What is there in the end."""

    def wrong(self, contents: dict[Key, str]) -> list[str]:
        return list(wrong_ends(self.history, contents, 100))

    def test_right(self) -> None:
        """The last acknowledged value is there."""
        self.wrote("a", 0)
        self.wrote("b", 2)
        self.assertEqual(self.wrong({KEY: "b"}), [])

    def test_lost(self) -> None:
        """Another value, or none, is a loss."""
        self.wrote("a", 0)
        self.wrote("b", 2)
        self.assertIn("LOST", self.wrong({KEY: "a"})[0])
        self.assertIn("LOST", self.wrong({})[0])

    def test_risen(self) -> None:
        """What was deleted does not come back."""
        self.wrote("a", 0)
        self.wrote(None, 2)
        self.assertIn("LOST", self.wrong({KEY: "a"})[0])

    def test_strange(self) -> None:
        """An object that nobody ever wrote is not there."""
        self.assertIn("nobody", self.wrong({KEY: "a"})[0])


class CountTests(HistoryCase):
    """Figures."""

    def test_pause(self) -> None:
        """The longest time without an acknowledgement, whatever else was said meanwhile."""
        self.wrote("a", 0)
        self.wrote("b", 3, Outcome.UNCERTAIN)
        self.wrote("c", 9)
        self.assertEqual(self.history.longest_pause(), (9, 1))
        self.assertEqual(self.history.count(Outcome.UNCERTAIN), 1)
