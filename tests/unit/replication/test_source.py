"""L{tile38cm.replication.source}: what a leader sends to whom, and whom it lets into the sync set."""

from __future__ import annotations

from hashlib import md5
from typing import Any

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.coordination.recorded import LEASE, Member, status
from tests.unit.local38 import LocalWay
from tests.unit.peers.wires import End
from tests.unit.replication.minitile38 import command
from tile38cm.coordination.status import EpochRecord
from tile38cm.peers.connection import PeerConnection
from tile38cm.peers.messages import ACK, PUBLISH, BadMessage, Data
from tile38cm.replication.backlog import Backlog
from tile38cm.replication.source import Reign, Source

FIRST = command("SET", "fleet", "1", "POINT", "1", "2")
SECOND = command("SET", "fleet", "2", "POINT", "3", "4")


#: The sum over an empty log.
EMPTY_SUM = md5(b"").hexdigest().encode()


class Follower:
    """A member at its end of a C{BRIDGE} connection."""

    def __init__(self, member: str) -> None:
        self.end = End()
        self.conn = PeerConnection(Clock())
        self.conn.makeConnection(self.end)
        self.conn.peer, self.conn.trusted = member, True

    def said(self) -> list[Any]:
        """What came since the last call."""
        reader, found = hiredis.Reader(), []
        reader.feed(self.end.value())
        self.end.clear()
        while (message := reader.gets()) is not False:
            found.append(str(message) if isinstance(message, Exception) else message)
        return found

    def ack(self, epoch: int, offset: int) -> None:
        """Acknowledge."""
        words = (ACK, b"%d" % epoch, b"%d" % offset)
        self.conn.dataReceived(command(*words))


class SourceTests(SynchronousTestCase):
    """C{B} leads epoch 2, which began at its log's first byte; C{C} is in the set."""

    def setUp(self) -> None:
        self.way = LocalWay()
        self.server = self.way.server
        self.server.log = FIRST + SECOND
        self.way.client.start()
        self.member = Member("B", clock=self.way.clock)
        self.backlog = Backlog(1 << 20)
        self.lost: list[tuple[str, bool]] = []
        self.source = Source(
            self.way.client,
            self.way.clock,
            self.member.election,
            self.backlog,
            lambda why, replaced: self.lost.append((why, replaced)),
        )
        self.member.lead(status("A", "B", "C"))
        records = {1: EpochRecord(1, "A", 0, 0, 0), 2: EpochRecord(2, "B", 1, 50, 0)}
        self.reign = Reign(2, 0, records)
        self.source.lead(self.reign)
        self.member.effects.done.clear()

    def attach(self, member: str, *words: bytes) -> Follower:
        """A follower comes, and all that is due happens."""
        follower = Follower(member)
        self.source.accept(follower.conn, words)
        self.way.settle()
        return follower

    def wanted(self) -> list[frozenset[str]]:
        """The sync sets that were asked for."""
        return [args[0].wanted.sync_set for args in self.member.asked("change")]

    def promised(self, *members: str) -> None:
        """They have promised, which admission asks for."""
        self.member.wait(LEASE / 8)
        self.member.election.tick()
        for member in members:
            self.member.promise_of(member)

    def test_within_the_log(self) -> None:
        """A follower of this epoch goes on where it stands, and gets what comes."""
        follower = self.attach("C", b"2", b"%d" % len(FIRST))
        resume, data = follower.said()
        self.assertEqual(resume, [b"CONTINUE", b"2", b"%d" % len(FIRST), b"%d" % len(SECOND)])
        self.assertEqual(Data.read(data), Data(2, len(FIRST + SECOND), SECOND))
        self.server.append(FIRST)
        self.way.settle()
        self.assertEqual([Data.read(words).payload for words in follower.said()], [FIRST])

    def test_earlier_epoch(self) -> None:
        """One of an earlier epoch gets the rest of that first, and is told where the next begins."""
        self.backlog.append(Data(1, 50, b"x" * 20))
        follower = self.attach("C", b"1", b"40")
        resume, old, turn, new = follower.said()
        self.assertEqual(resume[:3], [b"CONTINUE", b"1", b"40"])
        self.assertEqual(int(resume[3]), 10 + len(FIRST + SECOND))
        self.assertEqual(Data.read(old), Data(1, 50, b"x" * 10))
        self.assertEqual(turn, [b"E", b"2", b"0"])
        self.assertEqual(Data.read(new).payload, FIRST + SECOND)

    def test_start_over(self) -> None:
        """One that cannot continue is out of the set for certain before it is told to start over."""
        follower = self.attach("C", b"?", b"0")
        self.assertEqual(follower.said(), ["WAIT it is being taken out of the sync set"])
        self.assertEqual(self.wanted(), [frozenset({"B"})])
        (settlement,) = self.member.last("change")
        self.member.election.change_settled(settlement, True, settlement.attempt(lambda: "n"), 30)
        follower = self.attach("C", b"?", b"0")
        (message,) = follower.said()
        self.assertEqual((message[0], follower.end.disconnecting), (b"OVER", True))

    def test_member_that_is_empty(self) -> None:
        """A member of the set that comes with nothing has lost its data, and vouches for nothing any more."""
        follower = self.attach("C", b"0", b"0")
        self.assertEqual(follower.said(), ["WAIT it is being taken out of the sync set"])
        self.assertEqual(self.wanted(), [frozenset({"B"})])

    def test_newcomer(self) -> None:
        """An empty node gets the log from its beginning, and is let in when it has what there was."""
        self.promised("C", "D")
        follower = self.attach("D", b"0", b"0")
        self.assertEqual(Data.read(follower.said()[1]).payload, FIRST + SECOND)
        follower.ack(2, len(FIRST))
        self.source.offer()
        self.assertEqual(self.wanted(), [])
        follower.ack(2, len(FIRST + SECOND))
        self.assertEqual(self.wanted(), [frozenset({"B", "C", "D"})])

    def test_never_let_in(self) -> None:
        """One that must not be a member never is."""
        self.source.may_join = lambda member: member != "D"
        self.promised("C", "D")
        follower = self.attach("D", b"0", b"0")
        follower.ack(2, len(FIRST + SECOND))
        self.source.offer()
        self.assertEqual(self.wanted(), [])

    def test_acknowledgements(self) -> None:
        """What a member has counts for the gate; on the bytes of an earlier epoch it does not."""
        follower = self.attach("C", b"2", b"0")
        follower.ack(1, 7)
        self.assertEqual((self.member.election.covered(), self.source.lag()), (-1, {"C": -1}))
        follower.ack(2, 7)
        self.assertEqual((self.member.election.covered(), self.source.lag()), (7, {"C": 7}))
        follower.conn.connectionLost()
        self.assertEqual((self.member.election.covered(), self.source.lag()), (-1, {}))

    def test_nonsense(self) -> None:
        """A follower that says anything else is cut off."""
        for words in ((b"A",), (b"A", b"x", b"1"), (b"D", b"1", b"2")):
            follower = self.attach("C", b"2", b"0")
            follower.conn.dataReceived(command(*words))
            self.assertTrue(follower.end.aborted)
            self.assertEqual(self.source.lag(), {})
        self.assertRaises(BadMessage, self.source.accept, Follower("C").conn, [b"1"])

    def test_equal_log(self) -> None:
        """One that does not know where it stands may go on if its log is the beginning of ours."""
        size = len(FIRST)
        piece = md5(self.server.log[:size]).hexdigest()
        same = md5(piece.encode()).hexdigest().encode()
        follower = self.attach("D", b"?", b"0", b"%d" % size, same)
        self.assertEqual(follower.said()[0], [b"CONTINUE", b"2", b"%d" % size, b"%d" % len(SECOND)])
        for prefix in ((b"%d" % size, b"00"), (b"0", EMPTY_SUM), (b"9999", same)):
            follower = self.attach("D", b"?", b"0", *prefix)
            self.assertEqual(follower.said()[0][0], b"OVER")

    def test_not_leading(self) -> None:
        """Who does not lead, or not any more, says so."""
        self.source.retire()
        self.member.election.resign("for the test")
        follower = self.attach("C", b"2", b"0")
        self.assertTrue(follower.said()[0].startswith("NOTLEADER"))
        self.source.lead(self.reign)
        follower = Follower("C")
        self.source.accept(follower.conn, [b"2", b"0"])
        self.source.retire()
        self.way.settle()
        self.assertEqual(follower.said(), ["NOTLEADER this node leads no more"])

    def test_too_early(self) -> None:
        """Who calls while this node takes over is served as soon as it leads, and only once."""
        self.source.retire()
        gone, again = self.attach("C", b"2", b"0"), self.attach("C", b"2", b"0")
        away = self.attach("D", b"2", b"0")
        away.conn.close("it has gone")
        self.way.wait(0.2)
        self.assertEqual((gone.end.aborted, again.said()), (True, []))
        self.source.lead(self.reign)
        self.way.settle()
        self.assertEqual([words[0] for words in again.said()], [b"CONTINUE", b"D"])
        self.assertEqual(away.said(), [])

    def test_too_early_in_vain(self) -> None:
        """If it never leads, they are told."""
        self.source.retire()
        follower = self.attach("C", b"2", b"0")
        self.source.retire()
        self.way.settle()
        self.assertEqual(follower.said(), ["NOTLEADER this node leads no more"])

    def test_retired(self) -> None:
        """The end of a term ends all connections, and what they read."""
        follower = self.attach("C", b"2", b"0")
        self.source.retire()
        self.way.settle()
        self.assertTrue(follower.end.aborted)
        self.assertEqual([talk for talk in self.server.talks if talk.streaming and not talk.aborted], [])

    def test_log_rewritten(self) -> None:
        """A log that is not the one of this reign is given to nobody, and ends the term."""

        async def changed() -> bool:
            return False

        self.source.log_unchanged = changed
        follower = self.attach("C", b"2", b"0")
        self.assertTrue(follower.said()[0].startswith("NOTLEADER"))
        self.assertEqual(self.lost, [("the local log was rewritten", True)])

    def test_log_ends(self) -> None:
        """So does one that is another one when it can be read again; till then nothing is known."""
        follower = self.attach("C", b"2", b"0")
        self.way.refusing = True
        self.server.cut()
        self.way.wait(3)
        self.assertEqual((self.lost, follower.end.aborted), ([], False))
        self.server.log = b""
        self.way.refusing = False
        self.way.wait(3)
        self.assertEqual([replaced for _, replaced in self.lost], [True])
        self.assertTrue(follower.end.aborted)

    def test_tile38_away(self) -> None:
        """While Tile38 does not answer nobody is attached, and the follower asks again."""
        self.way.refusing = True
        self.server.cut()
        follower = self.attach("C", b"2", b"0")
        self.way.wait(1)
        self.assertTrue(follower.said()[0].startswith("NOTLEADER"))

    def test_newer_connection(self) -> None:
        """A newer connection ends the older one, whose acknowledgements count no more."""
        old = self.attach("C", b"2", b"0")
        new = self.attach("C", b"2", b"0")
        self.assertEqual((old.end.aborted, new.end.aborted), (True, False))
        old.ack(2, 9)
        self.assertEqual(self.source.lag(), {"C": -1})

    def test_gone_while_it_was_looked_at(self) -> None:
        """A connection that ended before it was answered is not attached, and ends no newer one."""
        asked: Deferred[bool] = Deferred()

        async def slow() -> bool:
            return await asked

        async def quick() -> bool:
            return True

        self.source.log_unchanged = slow
        gone = self.attach("C", b"2", b"0")
        gone.conn.connectionLost()
        self.source.log_unchanged = quick
        new = self.attach("C", b"2", b"0")
        new.ack(2, 5)
        asked.callback(True)
        self.way.settle()
        self.assertFalse(new.end.aborted)
        self.assertEqual((self.source.lag(), gone.said()), ({"C": 5}, []))

    def test_published(self) -> None:
        """What is published goes to every follower once, also where it cuts the log's stream."""
        followers = [self.attach("C", b"2", b"0"), self.attach("D", b"2", b"0")]
        for follower in followers:
            follower.said()
        self.server.publish(b"news", b"one")
        self.server.publish(b"old", b"\r\n")
        self.way.settle()
        messages = command("PUBLISH", "news", "one"), command("PUBLISH", "old", "\r\n")
        for follower in followers:
            self.assertEqual(follower.said(), [[PUBLISH, message] for message in messages])

    def test_published_to_whom(self) -> None:
        """Who takes nothing now gets it later, who is gone never; a lost connection is made anew."""
        slow, gone = (self.attach(member, b"2", b"0") for member in "CD")
        slow.said()
        assert slow.end.producer is not None
        slow.end.producer.pauseProducing()
        gone.conn.close("for a test")
        gone.end.clear()
        self.server.publish(b"news", b"one")
        self.way.settle()
        self.assertEqual((slow.said(), gone.said()), ([], []))
        slow.end.producer.resumeProducing()
        self.way.wait(0.1)
        self.assertEqual(slow.said(), [[PUBLISH, command("PUBLISH", "news", "one")]])
        self.server.cut()
        self.way.wait(1)
        self.server.publish(b"news", b"two")
        self.way.settle()
        self.assertEqual(slow.said(), [[PUBLISH, command("PUBLISH", "news", "two")]])

    def test_published_elsewhere(self) -> None:
        """Who leads no more hears nothing."""
        self.source.retire()
        self.way.wait(1)
        self.assertEqual([talk for talk in self.server.talks if talk.subscribed and not talk.aborted], [])

    def test_back_pressure(self) -> None:
        """A follower that does not read has its feed paused."""
        follower = self.attach("C", b"2", b"0")
        assert follower.end.producer is not None
        follower.end.producer.pauseProducing()
        (talk,) = [talk for talk in self.server.talks if talk.streaming]
        self.assertEqual(talk.producerState, "paused")
        self.assertTrue(follower.end.streaming)

    def test_stop(self) -> None:
        """The end leaves nobody attached."""
        follower = self.attach("C", b"2", b"0")
        self.successResultOf(Deferred.fromCoroutine(self.source.stop()))
        self.assertTrue(follower.end.aborted)
        self.assertEqual(self.source.lag(), {})
