"""
One request and its reply, from arrival to release.

An exchange is I{held} until it is sent, I{sent} until its reply is here, and
leaves the queue of its client when the reply is released.  A reply out of
this node's own Tile38, while this node leads, is released only when the
L{Batch} it was sent in is covered: every member of the sync set has
acknowledged the offset that C{ROLE}, sent behind the batch, reported, and the
gate is open in the same epoch.  Tile38 executes a connection's commands in
order, so that offset includes the batch's writes, and all that its reads saw.

A L{Packet} stands for several requests that came together, a L{Bundle}: they
were sent together, are covered by one offset, and so are released together.
Nothing is known of its requests but what the bundle says; wherever they must
be judged one by one it is replaced by its L{Exchange.singles}, so one that is
held is always a single one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import ClassVar, Protocol

from attrs import define, field

from tile38cm.proxy.partners import Gate
from tile38cm.wire.bundles import Bundle
from tile38cm.wire.commands import Class, Command, classify
from tile38cm.wire.forms import RESP, Form
from tile38cm.wire.replies import ReplyParser, is_failure
from tile38cm.wire.requests import Request, RequestParser
from tile38cm.wire.resp import OK, Output, error, okay
from tile38cm.wire.weights import APART, LIGHT, weight_of

UNCERTAIN = (
    "UNCERTAIN the server was lost before it confirmed this command:"
    " it may or may not have been applied, check before you repeat it"
)
#: A node that turns another one's request away may have tried it before it lost its server.
PERHAPS = b"perhaps executed"
LOST_TOO_OFTEN = "ERR the server was lost each time this command was sent"
HOLD_FULL = "ERR too many requests are waiting for a leader: this node's memory for them is full"


#: Bytes of a reply after which it is passed on in pieces where that can be, and a client's reads have a
#: connection of their own.
LARGE_REPLY = 64 * 1024


class State(Enum):
    """How far an exchange is."""

    HELD = "held"
    SENT = "sent"
    ANSWERED = "answered"
    #: The answer will come from elsewhere than a server of the side.
    AWAITED = "awaited"
    #: Answered here; nothing can change the answer any more.
    SETTLED = "settled"


#: What is known of bundles.
_WRITES = Command("several", Class.WRITE, leader=True)
_READS = Command("several", Class.READ)


class Asker(Protocol):
    """Whose request an exchange is."""

    def landed(self, exchange: Exchange, reply: bytes) -> bool:
        """
        The whole reply to one exchange, which may be released.

        @return: whether it was, as nothing else was in the way; else C{replied} must follow.
        """

    def replied(self, exchange: Exchange, reply: bytes) -> None:
        """The whole reply to one exchange; C{turned} follows when more is of no use."""

    def turned(self, verdict: Verdict | None) -> None:
        """
        Replies came, and if they must be covered the offset that covers them.

        @param verdict: what the gate said in this turn, if it was asked.
        """

    def flows(self, exchange: Exchange, part: Callable[[], bytes]) -> None:
        """There is much of a reply, and more to come; C{part} takes what there is, to be passed on."""

    def partly_replied(self, exchange: Exchange, replies: bytes) -> None:
        """To some of a bundle's requests; there will be no more, and C{turned} does not follow."""

    def not_sent(self, exchange: Exchange) -> None:
        """It was taken and not sent after all; C{turned} follows."""


@define(eq=False)
class Batch:
    """What was sent to the local Tile38 in one turn, and the offset that covers it once known.

    C{least} is how long the log was at least when this was sent.  An offset below that
    shows that the log was rewritten (C{AOFSHRINK}): followers' acknowledgements are of
    the log that was, and say nothing of this batch.
    """

    #: How many replies tell of it: that to C{ROLE}.
    count: ClassVar[int] = 1

    epoch: int
    least: int = 0
    offset: int | None = None
    exchanges: list[Exchange] = field(factory=list)


class Exchange:
    """
    One request and, later, its reply.

    One is made for each packet, so what nearly all have in common is an
    attribute of the class, and costs nothing.

    @ivar arrived: in seconds of the injected clock.
    @ivar asker: who is told; what is answered without a server needs nobody.
    @ivar mode: what C{OUTPUT} the client had chosen before.
    @ivar weight: on which connections it may go.
    @ivar heavy: how many of its requests have more than a short answer.
    """

    #: How many requests this stands for; C{bundled}: they have not been looked at one by one.
    count = 1
    bundled = False
    reply = b""
    #: C{None} for what needs no acknowledgement.
    batch: Batch | None = None
    #: The error to answer with, worded when it is released: C{OUTPUT} may come before.
    problem: str | None = None
    #: What C{OUTPUT} asks for, if that is what this command is.
    output: Output | None = None
    #: The connection is closed behind this reply.
    last = False
    #: Its bytes are taken from the hold budget.
    budgeted = False
    #: How often it was lost with its server.
    losses = 0
    #: A write that is held again after it had been sent: the first attempt may have been applied.
    doubtful = False
    #: The client has a part of the reply already.
    begun = False
    #: How the reply is written for the client.
    form: Form = RESP

    def __init__(
        self, raw: bytes, command: Command, arrived: float, asker: Asker | None = None, mode: Output = "resp"
    ) -> None:
        self.raw = raw
        self.command = command
        self.arrived = arrived
        self.asker = asker
        self.mode = mode
        self.weight = APART
        self.heavy = 0
        self.state = State.HELD

    @classmethod
    def of(cls, request: Request, command: Command, arrived: float) -> Exchange:
        """One request that is to be sent."""
        exchange = cls(request.raw, command, arrived)
        exchange.weight = weight_of(command, request.args, len(request.raw))
        exchange.heavy = int(command.heavy)
        if request.form is not RESP:
            exchange.form, exchange.last = request.form, request.form.once
        return exchange

    @classmethod
    def settled(
        cls, form: Form, command: Command, arrived: float, problem: str | None = None, last: bool = False
    ) -> Exchange:
        """One that is answered without a server: with an error, or that it is done."""
        exchange = cls(b"", command, arrived)
        exchange.state = State.SETTLED
        exchange.form, exchange.problem, exchange.last = form, problem, last or form.once
        return exchange

    def singles(self) -> list[Exchange]:
        """One exchange for each request that this stands for."""
        return [self]

    def settle(self, problem: str) -> None:
        """Answer with an error of our own."""
        self.state = State.SETTLED
        self.problem = problem
        self.reply = b""
        self.batch = None

    def refuse(self, problem: str) -> bool:
        """Answer with an error that says that nothing was done, unless something may have been.

        @return: whether nothing was.
        """
        self.settle(UNCERTAIN if self.doubtful else problem)
        return not self.doubtful

    def lose(self) -> None:
        """Its server is gone, and with it the answer; it will be sent again."""
        self.losses += 1
        self.doubtful = self.command.leader
        self.hold_again()

    def hold_again(self) -> None:
        """Forget that it was sent; it will be sent again."""
        self.state = State.HELD
        self.reply = b""
        self.batch = None

    @property
    def fence(self) -> bool:
        """Whether this live command is a search."""
        return self.command.name in ("nearby", "within", "intersects")

    def flips(self) -> bool:
        """Whether the server's reply to this live command says that the connection is a stream now."""
        if self.fence:
            return self.reply == OK or b'"live":true' in self.reply
        return not is_failure(self.reply)

    def encoded(self, output: Output) -> bytes:
        """The reply as it goes to the client."""
        if self.problem is not None:
            reply = error(self.problem, output)
        elif self.reply:
            reply = self.reply
        elif self.command.name == "quit" and output == "json":
            # Closes without a word, as Tile38 does.
            reply = b""
        else:
            reply = okay(output)
        return reply if self.form is RESP else self.form.encode(reply, self.output or output)


class Packet(Exchange):
    """Several requests that are sent, answered and released together; see the module."""

    bundled = True
    weight = LIGHT
    heavy = 0
    state = State.SENT

    def __init__(self, raw: bytes, leader: bool, arrived: float, asker: Asker, mode: Output) -> None:
        # Not by way of the other one: this is done for nearly every packet of every client.
        self.raw = raw
        self.command = _WRITES if leader else _READS
        self.arrived = arrived
        self.asker = asker
        self.mode = mode

    @classmethod
    def of_bundle(cls, bundle: Bundle, arrived: float, asker: Asker, mode: Output, weight: int) -> Packet:
        """What goes on connections of that weight."""
        packet = cls(bundle.raw, bundle.leader, arrived, asker, mode)
        packet.count, packet.heavy, packet.weight = bundle.requests, bundle.heavy, weight
        return packet

    def singles(self) -> list[Exchange]:
        """One exchange for each request, with its reply as far as replies have come."""
        requests, replies = RequestParser(len(self.raw)), ReplyParser()
        requests.feed(self.raw)
        replies.feed(self.reply)
        found = []
        while isinstance(event := requests.next(), Request):
            single = Exchange.of(event, classify(event.args), self.arrived)
            single.asker, single.mode, single.batch = self.asker, self.mode, self.batch
            reply = replies.next()
            single.state = self.state if reply is None else State.ANSWERED
            single.reply = reply or b""
            found.append(single)
        return found


class Verdict:
    """What the gate said at one moment, so that one turn asks it once."""

    __slots__ = ("passed", "told", "word")

    def __init__(self, gate: Gate) -> None:
        self.word = gate.word()
        #: A batch of which everything may be released.
        self.passed: Batch | None = None
        #: The offset that the gate was told of last.
        self.told = 0

    def passes(self, batch: Batch) -> bool:
        """Whether all that was sent in a batch may go to its clients."""
        if batch is self.passed:
            return True
        may, epoch, acknowledged, enough, _ = self.word
        offset = batch.offset
        if not (may and enough and epoch == batch.epoch and offset is not None):
            return False
        if acknowledged >= offset >= batch.least:
            self.passed = batch
            return True
        return False

    def lacks_only_acknowledgement(self, batch: Batch) -> bool:
        """Whether a batch that does not pass will, as soon as more is acknowledged."""
        word, offset = self.word, batch.offset
        return (
            word.open
            and word.enough
            and word.epoch == batch.epoch
            and offset is not None
            and offset >= batch.least
            and offset > word.acknowledged
        )

    def releases(self, exchange: Exchange) -> bool:
        """Whether an answered exchange may go to its client."""
        batch = exchange.batch
        if batch is None or self.passes(batch):
            return True
        return not exchange.command.leader and self._covers(batch)

    def _covers(self, batch: Batch) -> bool:
        word, offset = self.word, batch.offset
        return (
            word.open
            and word.epoch == batch.epoch
            and offset is not None
            and word.acknowledged >= offset >= batch.least
        )
