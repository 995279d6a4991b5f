"""
One request and its reply, from arrival to release.

An exchange is I{held} until it is sent, I{sent} until its reply is here, and
leaves the queue of its client when the reply is released.  A reply out of
this node's own Tile38, while this node leads, is released only when the
L{Batch} it was sent in is covered: every member of the sync set has
acknowledged the offset that C{ROLE}, sent behind the batch, reported, and the
gate is open in the same epoch.  Tile38 executes a connection's commands in
order, so that offset includes the batch's writes, and all that its reads saw.

An exchange may stand for several requests of one packet, a L{Bundle}: they
were sent together, are covered by one offset, and so are released together.
Nothing is known of its requests but what the bundle says; wherever they must
be judged one by one it is replaced by its L{Exchange.singles}, so one that is
held is always a single one.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from attrs import define, field

from tile38cm.proxy.partners import Gate
from tile38cm.wire.bundles import Bundle
from tile38cm.wire.commands import Class, Command, classify
from tile38cm.wire.forms import RESP, Form
from tile38cm.wire.replies import ReplyParser, is_failure
from tile38cm.wire.requests import Request, RequestParser
from tile38cm.wire.resp import OK, Output, error, okay
from tile38cm.wire.weights import APART, weight_of

UNCERTAIN = (
    "UNCERTAIN the server was lost before it confirmed this command:"
    " it may or may not have been applied, check before you repeat it"
)
#: A node that turns another one's request away may have tried it before it lost its server.
PERHAPS = b"perhaps executed"
LOST_TOO_OFTEN = "ERR the server was lost each time this command was sent"
HOLD_FULL = "ERR too many requests are waiting for a leader: this node's memory for them is full"


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

    def replied(self, exchange: Exchange, reply: bytes) -> None:
        """The whole reply to one exchange; C{turned} follows when more is of no use."""

    def turned(self, verdict: Verdict | None) -> None:
        """
        Replies came, and if they must be covered the offset that covers them.

        @param verdict: what the gate said in this turn, if it was asked.
        """

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

    epoch: int
    least: int = 0
    offset: int | None = None
    exchanges: list[Exchange] = field(factory=list)


@define(eq=False)
class Exchange:
    """
    One request and, later, its reply.

    C{arrived} is in seconds of the injected clock.  C{batch} is C{None} for
    what needs no acknowledgement.  C{budgeted}: its bytes are taken from the
    hold budget.
    """

    raw: bytes
    command: Command
    arrived: float
    #: Who is told; what is answered without a server needs nobody.
    asker: Asker | None = None
    #: What C{OUTPUT} the client had chosen before, and on which connections it may go.
    mode: Output = "resp"
    weight: int = APART
    #: How many of its requests have more than a short answer.
    heavy: int = 0
    #: How many requests this stands for; C{bundled}: they have not been looked at one by one.
    count: int = 1
    bundled: bool = False
    state: State = State.HELD
    reply: bytes = b""
    batch: Batch | None = None
    #: The error to answer with, worded when it is released: C{OUTPUT} may come before.
    problem: str | None = None
    #: What C{OUTPUT} asks for, if that is what this command is.
    output: Output | None = None
    #: The connection is closed behind this reply.
    last: bool = False
    budgeted: bool = False
    #: How often it was lost with its server.
    losses: int = 0
    #: A write that is held again after it had been sent: the first attempt may have been applied.
    doubtful: bool = False
    #: How the reply is written for the client.
    form: Form = RESP

    @classmethod
    def of(cls, request: Request, command: Command, arrived: float) -> Exchange:
        """One request that is to be sent."""
        weight = weight_of(command, request.args, len(request.raw))
        made = cls(request.raw, command, arrived, weight=weight, heavy=int(command.heavy))
        if request.form is not RESP:
            made.form, made.last = request.form, request.form.once
        return made

    @classmethod
    def of_bundle(cls, bundle: Bundle, arrived: float, asker: Asker, mode: Output, weight: int) -> Exchange:
        """Several that are sent together."""
        # By place and not by name: this is done for nearly every packet of every client.
        raw, count, leader, heavy, _ = bundle
        return cls(raw, _WRITES if leader else _READS, arrived, asker, mode, weight, heavy, count, True)

    def singles(self) -> list[Exchange]:
        """One exchange for each request, with its reply as far as replies have come."""
        if not self.bundled:
            return [self]
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


@define(eq=False)
class Verdict:
    """What the gate said at one moment, so that one turn asks it once."""

    open: bool
    epoch: int
    acknowledged: int
    enough: bool
    #: A batch of which everything may be released.
    passed: Batch | None = None
    #: The offset that the gate was told of last.
    told: int = 0

    @classmethod
    def of(cls, gate: Gate) -> Verdict:
        """The gate's word now."""
        return cls(gate.is_open(), gate.epoch, gate.acknowledged(), gate.enough())

    def releases(self, exchange: Exchange) -> bool:
        """Whether an answered exchange may go to its client."""
        batch = exchange.batch
        if batch is None or batch is self.passed:
            return True
        covered = (
            self.open
            and self.epoch == batch.epoch
            and batch.offset is not None
            and self.acknowledged >= batch.offset >= batch.least
        )
        if covered and self.enough:
            self.passed = batch
        return covered and (self.enough or not exchange.command.leader)
