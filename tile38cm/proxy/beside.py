"""
Questions about this node itself, whatever leads or may be read.

C{SERVER} and its like tell of the server that answers, so they go to the
Tile38 beside this manager on either port, and not where requests go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define

from tile38cm.proxy.conversation import Conversation
from tile38cm.proxy.exchange import Exchange
from tile38cm.proxy.partners import Own, Target
from tile38cm.proxy.question import Question
from tile38cm.proxy.sides import Side
from tile38cm.wire.commands import Command
from tile38cm.wire.forms import Form
from tile38cm.wire.requests import Request
from tile38cm.wire.resp import Output
from tile38cm.wire.status import StatusForm

#: Seconds in which the server must have answered.
ANSWER_TIMEOUT = 5.0
_SILENT = "ERR this node's Tile38 does not answer"


@define(eq=False, kw_only=True)
class Beside(Side):
    """Where such questions go, and what is added to the answers."""

    elsewhere = "NOTHERE"
    wanted = "Tile38 beside this manager"
    writes = False

    target: Target
    own: Own

    def pick(self, current: Target | None, failed: Sequence[Target], from_peer: bool) -> Target | None:
        """Always the same."""
        return None if self.target in failed else self.target

    def candidates(self) -> Sequence[Target]:
        """Only that one."""
        return (self.target,)

    def form(self, asked: Request) -> Form:
        """How the answer is written: with what is known of the node."""
        return StatusForm.around(asked.form, asked.args, self.own.facts())

    def ask(
        self, asked: Request, command: Command, output: Output, told: Callable[[bytes, str | None], None]
    ) -> None:
        """Have C{told} called with the answer, or with an error in its place; not at once."""
        trouble = self.own.trouble() if command.name == "healthz" else None

        def answered(reply: bytes | None) -> None:
            problem = None if reply else _SILENT
            told(reply or b"", problem if trouble is None else f"ERR {trouble}")

        # Also when it is known that all is not well: in turn, and only if there is a server.
        question = Question(self.clock, ANSWER_TIMEOUT, answered)
        conversation = Conversation(self, question, from_peer=False)
        conversation.begin_with(output)
        question.ask(conversation, Exchange.of(Request(asked.args, asked.raw), command, self.clock.seconds()))
