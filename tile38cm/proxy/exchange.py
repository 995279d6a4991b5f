"""
One request and its reply, from arrival to release.

An exchange is I{held} until it is sent, I{sent} until its reply is here, and
leaves the queue of its client when the reply is released.  A reply out of
this node's own Tile38, while this node leads, is released only when the
L{Batch} it was sent in is covered: every member of the sync set has
acknowledged the offset that C{ROLE}, sent behind the batch, reported, and the
gate is open in the same epoch.  Tile38 executes a connection's commands in
order, so that offset includes the batch's writes, and all that its reads saw.
"""

from __future__ import annotations

from enum import Enum

from attrs import define, frozen

from tile38cm.proxy.partners import Gate
from tile38cm.wire.commands import Command
from tile38cm.wire.replies import is_failure
from tile38cm.wire.resp import OK, Output, error, okay

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
    #: Answered here; nothing can change the answer any more.
    SETTLED = "settled"


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

    def flips(self) -> bool:
        """Whether the server's reply to this live command says that the connection is a stream now."""
        if self.command.name in ("nearby", "within", "intersects"):
            return self.reply == OK or b'"live":true' in self.reply
        return not is_failure(self.reply)

    def encoded(self, output: Output) -> bytes:
        """The reply as it goes to the client."""
        if self.problem is not None:
            return error(self.problem, output)
        if self.reply:
            return self.reply
        # QUIT in JSON closes without a word, as Tile38 does.
        return b"" if self.last and output == "json" else okay(output)


@frozen
class Verdict:
    """What the gate said at one moment, so that one turn asks it once."""

    open: bool
    epoch: int
    acknowledged: int
    enough: bool

    @classmethod
    def of(cls, gate: Gate) -> Verdict:
        """The gate's word now."""
        return cls(gate.is_open(), gate.epoch, gate.acknowledged(), gate.enough())

    def releases(self, exchange: Exchange) -> bool:
        """Whether an answered exchange may go to its client."""
        batch = exchange.batch
        if batch is None:
            return True
        return (
            self.open
            and self.epoch == batch.epoch
            and batch.offset is not None
            and self.acknowledged >= batch.offset >= batch.least
            and (self.enough or not exchange.command.leader)
        )
