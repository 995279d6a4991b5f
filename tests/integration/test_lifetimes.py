"""Lifetimes that the leader extends while a follower hears nothing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.lab import settled_lab
from tests.real import wait_for


class SilenceTests(SynchronousTestCase):
    """A follower whose manager is frozen for longer than lifetimes are lengthened."""

    def test_persist(self) -> None:
        """An object that it lets expire meanwhile is there again: the leader has made it live for ever."""
        with settled_lab() as lab:
            leader = lab.wait_settled()
            follower = lab.others(leader)[0]
            lab.write(leader, "SET", "lives", "k", "EX", 1, "STRING", "v")
            wait_for(lambda: "k" in follower.objects("lives"), "it is replicated", 5)
            follower.manager.pause()
            try:
                lab.write(leader, "PERSIST", "lives", "k")
                wait_for(
                    lambda: "k" not in follower.objects("lives"), "it expires where nothing is heard", 20
                )
            finally:
                follower.manager.resume()
            wait_for(lambda: "k" in follower.objects("lives"), "it is there again", 20)
            self.assertIs(lab.wait_settled(), leader)
            self.assertEqual(lab.wait_same("lives"), {"k"})
