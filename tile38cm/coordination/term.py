"""What a member holds while it tries to lead, and while it leads.  Data only."""

from __future__ import annotations

from attrs import define, field, frozen

from tile38cm.coordination.promises import Ledger
from tile38cm.coordination.status import EpochRecord, Settlement, Status
from tile38cm.model import Position


@frozen
class LocalState:
    """What the node can say of itself at this moment.

    C{position} is how far it has taken bytes over, C{None} unless that is
    proven; C{acknowledged} how much of it was handed on to Tile38; C{ready}
    means that Tile38 answers and may be promoted; C{shaken} that it may lack
    something that it has acknowledged before it was started again.
    """

    ready: bool = False
    position: Position | None = None
    acknowledged: Position | None = None
    log_size: int = 0
    shaken: bool = False


#: What a leader may say at one moment: whether it may serve at all; its epoch; how many members,
#: itself included, hold every acknowledged write; the offset that all required members have
#: acknowledged, C{None} if nobody is required; how long the log is at least, by what followers have.
Word = tuple[bool, int, int, int | None, int]


@frozen
class Candidacy:
    """A try at becoming leader, from standing until the outcome is known."""

    ticket: int
    status: Status | None
    index: int
    position: Position
    rounds: int = 0
    claimed: bool = False
    #: When the next round of questions is due.
    next_round: float = float("inf")


@define
class Term:
    """One won epoch, from the transaction to the loss of it."""

    status: Status
    index: int
    record: EpochRecord
    ledger: Ledger
    change: Settlement | None = None
    #: The index at which Consul showed an older status than ours, or none.
    forgotten_at: int | None = None
    prepared: bool = False
    opening: bool = False
    opened: bool = False
    #: Set when handing over: the final offset; the gate is shut for good.
    final: int | None = None
    #: Who may be released then; C{None}: anybody in the set.
    heirs: frozenset[str] | None = None
    released: str | None = None
    #: When the term is given up, whatever has become of its heirs; and why.
    ends: float = float("inf")
    why: str = ""
    #: The largest offset whose reply a client has been given.
    exposed: int = 0
    next_beat: float = float("-inf")
    #: Requests wait or waited until then, so members may be removed for them.
    wanted_until: float = float("-inf")
    blocked_since: float | None = None
    silent_until: float = float("-inf")
    gate_was_open: bool = False
    #: C{required} as it was made last, and of what.
    _required: frozenset[str] = field(default=frozenset(), init=False, repr=False)
    _of: tuple[Status, Status | None] | None = field(default=None, init=False, repr=False)

    @property
    def epoch(self) -> int:
        """The number of this term."""
        return self.status.epoch

    def required(self) -> frozenset[str]:
        """Whose promise and acknowledgement count: while a change is unsettled, both sets' members."""
        of, status = self._of, self.status
        wanted = None if self.change is None else self.change.wanted
        # It is asked for with every batch of requests, so it is made only when it is another one.
        if of is None or of[0] is not status or of[1] is not wanted:
            members = status.sync_set if wanted is None else status.sync_set | wanted.sync_set
            self._required, self._of = members - {status.leader}, (status, wanted)
        return self._required

    def inheriting(self) -> frozenset[str]:
        """The heirs that are in the set."""
        required = self.required()
        return required if self.heirs is None else required & self.heirs

    def lacks_heir(self, member: str) -> bool:
        """Whether no heir is in the set, and C{member} is one."""
        return not self.inheriting() and (self.heirs is None or member in self.heirs)
