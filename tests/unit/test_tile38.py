"""L{tile38cm.tile38}: what is sent, what is understood, and when it is given up."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.unit.local38 import LocalWay
from tile38cm.settings import Address, Secret
from tile38cm.tile38 import (
    ANSWER_TIMEOUT,
    CatchingUp,
    Loading,
    Refused,
    ServerInfo,
    Tile38,
    Unreachable,
    Word,
    refusal,
)
from tile38cm.wire.resp import encode_request

SERVER = "id abc aof_size 104 num_objects 3 read_only true version 1.37.0 pid 7".split()


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects in memory; C{talks} are the connections, oldest first."""

    def __init__(self) -> None:
        self.refuse = False
        self.talks: list[Talk] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:  # noqa: N803  # zope's name
        if self.refuse:
            return fail(ConnectionRefusedError())
        protocol = protocolFactory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9851))
        self.talks.append(Talk(protocol))
        return succeed(protocol)


class Talk:
    """The server's end of one connection."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def sent(self) -> bytes:
        """What the client has said since the last call."""
        value: bytes = self.transport.value()
        self.transport.clear()
        return value

    def say(self, data: bytes) -> None:
        """Answer."""
        self.protocol.dataReceived(data)

    def lose(self) -> None:
        """Break the connection."""
        self.transport.connected = False
        self.protocol.connectionLost(Failure(ConnectionLost()))


class ClientTests(SynchronousTestCase):
    """The client on connections in memory and a clock that stands still."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.client = self.make()

    def make(self, password: Secret | None = None) -> Tile38:
        """A started client."""
        client = Tile38(self.clock, self.endpoint, password)
        client.start()
        return client

    def ask(self, *words: Word) -> Deferred[Any]:
        """One command."""
        return Deferred.fromCoroutine(self.client.command(*words))

    def test_bytes(self) -> None:
        """Words go out as bulk strings, numbers in decimal."""
        asked = self.ask("AOFMD5", 0, b"\xff")
        self.assertEqual(self.endpoint.talks[0].sent(), encode_request([b"AOFMD5", b"0", b"\xff"]))
        self.endpoint.talks[0].say(b"+abc\r\n")
        self.assertEqual(self.successResultOf(asked), "abc")

    def test_errors(self) -> None:
        """Each refusal has its type, and Tile38's own words."""
        for line, error, text in (
            ("ERR not the leader", Refused, "not the leader"),
            ("EOF", Refused, "EOF"),
            ("ERR catching up to leader", CatchingUp, "catching up to leader"),
            ("LOADING Tile38 is loading", Loading, "LOADING Tile38 is loading"),
        ):
            asked = self.ask("X")
            self.endpoint.talks[0].say(f"-{line}\r\n".encode())
            failure = self.failureResultOf(asked)
            self.assertIs(failure.type, error)
            self.assertEqual(str(failure.value), text)
            self.assertIs(type(refusal(line)), error)

    def test_too_late(self) -> None:
        """After the bound it fails, and the connection is not used again."""
        asked = self.ask("PING")
        self.clock.advance(ANSWER_TIMEOUT - 0.1)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.failureResultOf(asked, Unreachable)
        self.assertTrue(self.endpoint.talks[0].transport.disconnected)

    def test_lost(self) -> None:
        """All that were asked fail when the connection breaks; the next one is answered by another."""
        asked = [self.ask("PING"), self.ask("PING")]
        self.endpoint.talks[0].lose()
        for each in asked:
            self.failureResultOf(each, Unreachable)
        connections = len(self.endpoint.talks)
        self.clock.advance(1.0)
        self.assertEqual(len(self.endpoint.talks), connections + 1)
        again = self.ask("PING")
        self.endpoint.talks[-1].say(b"+PONG\r\n")
        self.assertEqual(self.successResultOf(again), "PONG")

    def test_refused(self) -> None:
        """Where nobody listens a question fails with the next attempt, not after the whole bound."""
        self.endpoint.refuse = True
        client = self.make()
        asked = Deferred.fromCoroutine(client.ping())
        self.clock.pump([0.1] * 15)
        self.failureResultOf(asked, Unreachable)

    def test_stopped(self) -> None:
        """A client that is stopped, or was never started, says so at once."""
        asked = self.ask("PING")
        stopped = Deferred.fromCoroutine(self.client.stop())
        self.failureResultOf(asked, Unreachable)
        self.successResultOf(stopped)
        self.failureResultOf(self.ask("PING"), Unreachable)
        self.failureResultOf(Deferred.fromCoroutine(Tile38(self.clock, self.endpoint).ping()), Unreachable)

    def test_follow_has_its_own_connection(self) -> None:
        """C{FOLLOW}, which may take seconds, keeps nobody waiting."""
        follow = Deferred.fromCoroutine(self.client.follow(Address("127.0.0.1", 9)))
        asked = self.ask("PING")
        self.assertEqual(self.endpoint.talks[1].sent(), encode_request([b"FOLLOW", b"127.0.0.1", b"9"]))
        self.endpoint.talks[0].say(b"+PONG\r\n")
        self.successResultOf(asked)
        self.assertNoResult(follow)
        self.endpoint.talks[1].say(b"+OK\r\n")
        self.successResultOf(follow)

    def test_password(self) -> None:
        """Each connection logs in before anything else, without waiting."""
        before = len(self.endpoint.talks)
        self.client = self.make(Secret("sesame"))
        asked = self.ask("PING")
        talk = self.endpoint.talks[before]
        self.assertEqual(talk.sent(), encode_request([b"AUTH", b"sesame"]) + encode_request([b"PING"]))
        talk.say(b"+OK\r\n+PONG\r\n")
        self.assertEqual(self.successResultOf(asked), "PONG")

    def test_password_refused(self) -> None:
        """What is refused for want of a password is told, and the connection begins anew."""
        before = len(self.endpoint.talks)
        self.client = self.make(Secret("wrong"))
        asked = self.ask("SERVER")
        talk = self.endpoint.talks[before]
        talk.say(b"-ERR invalid password\r\n-ERR authentication required\r\n")
        self.assertEqual(self.failureResultOf(asked, Refused).value.text, "authentication required")
        self.assertTrue(talk.transport.disconnected)

    def test_role(self) -> None:
        """The offset stands at different places in a leader's and a follower's answer."""
        for reply, offset in (
            (b"*3\r\n$6\r\nmaster\r\n:104\r\n*0\r\n", 104),
            (b"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:9\r\n$9\r\nconnected\r\n:208\r\n", 208),
        ):
            asked = Deferred.fromCoroutine(self.client.role_offset())
            self.endpoint.talks[0].say(reply)
            self.assertEqual(self.successResultOf(asked), offset)

    def test_watching_has_its_own_connection(self) -> None:
        """What is asked to see whether the server is there stands behind nothing else."""
        asked = Deferred.fromCoroutine(self.client.watched_offset(1.0))
        self.assertEqual(self.endpoint.talks[0].sent(), b"")
        self.assertEqual(self.endpoint.talks[2].sent(), encode_request([b"ROLE"]))
        self.endpoint.talks[2].say(b"*3\r\n$6\r\nmaster\r\n:104\r\n*0\r\n")
        self.assertEqual(self.successResultOf(asked), 104)

    def test_watched_connection_comes_back_soon(self) -> None:
        """However long the server was away, it is tried again several times in a tenth of a second."""
        self.endpoint.refuse = True
        self.endpoint.talks[2].lose()
        self.clock.pump([0.05] * 200)
        self.endpoint.refuse = False
        before = len(self.endpoint.talks)
        self.clock.pump([0.05] * 2)
        self.assertEqual(len(self.endpoint.talks), before + 1)

    def knock(self) -> tuple[Deferred[None], Talk]:
        """Knock; the server's end."""
        knocking = Deferred.fromCoroutine(self.client.knock(0.5))
        talk = self.endpoint.talks[-1]
        self.assertEqual(talk.sent(), b"$4 QUIT\r\n")
        return knocking, talk

    def test_knock(self) -> None:
        """A server that closes, or says anything, runs."""
        knocking, talk = self.knock()
        self.assertNoResult(knocking)
        talk.transport.loseConnection()
        self.successResultOf(knocking)
        knocking, talk = self.knock()
        talk.say(b"+OK\r\n")
        self.successResultOf(knocking)
        self.assertTrue(talk.transport.disconnected)

    def test_knock_in_vain(self) -> None:
        """One that refuses, resets, or does nothing in time does not."""
        knocking, talk = self.knock()
        talk.lose()
        self.failureResultOf(knocking, Unreachable)
        knocking, talk = self.knock()
        self.clock.advance(0.6)
        self.failureResultOf(knocking, Unreachable)
        self.assertTrue(talk.transport.disconnected)
        self.endpoint.refuse = True
        self.failureResultOf(Deferred.fromCoroutine(self.client.knock(0.5)), Unreachable)


class ServerInfoTests(SynchronousTestCase):
    """What C{SERVER} says."""

    def test_leader(self) -> None:
        """A server that follows nobody is not caught up with anybody."""
        info = ServerInfo.from_reply(SERVER)
        self.assertEqual((info.aof_size, info.id, info.num_objects, info.version), (104, "abc", 3, "1.37.0"))
        self.assertEqual((info.following, info.caught_up, info.read_only), (None, False, True))
        self.assertEqual((info.raw["version"], info.pid), ("1.37.0", 7))

    def test_follower(self) -> None:
        """A follower says whom it follows, and whether it is level."""
        info = ServerInfo.from_reply([*SERVER, "following", "127.0.0.1:9", "caught_up", "true"])
        self.assertEqual((info.following, info.caught_up), ("127.0.0.1:9", True))

    def test_not_shown(self) -> None:
        """A password does not show."""
        self.assertNotIn("sesame", repr(Secret("sesame")) + str(Secret("sesame")))


class LogSizeTests(SynchronousTestCase):
    """How long the log is, whatever the server says of itself."""

    def setUp(self) -> None:
        self.way = LocalWay()
        self.way.client.start()

    def size(self, at_least: int = 0) -> int:
        """As it is found."""
        self.way.asked.clear()
        asking = Deferred.fromCoroutine(self.way.client.log_size(at_least))
        self.way.settle()
        return self.successResultOf(asking)

    def test_any_word(self) -> None:
        """A word that is too small, too large or none costs questions, and nothing else."""
        for length in (0, 1, 2, 1000, 1023, 1024):
            self.way.server.log = b"x" * length
            for said in (None, 0, 1, length // 2, length, length + 1, 5 * length):
                self.way.server.offset = said
                for at_least in (0, length // 3, length + 7):
                    self.assertEqual(self.size(at_least), length, (said, at_least))

    def test_few_questions(self) -> None:
        """A server that knows is asked four things."""
        self.way.server.log = b"x" * 100_000
        self.assertEqual(self.size(), 100_000)
        self.assertEqual(self.way.asked, [b"PING", b"ROLE", b"AOFMD5", b"AOFMD5"])
