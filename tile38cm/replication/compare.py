"""Whether a follower holds what its leader holds, found out while clients write.

Both are read side by side, in pages.  Under writes they are never at the same
place at the same time, so what differs at first is only suspected, and looked
at again, one by one: the leader's value, then, when the follower has had time
to get there, the follower's, then the leader's once more.  A follower that shows
either of the leader's values is right.  One that does not, while the leader's
value has stood still long enough, is not.

"Long enough" is short where the follower's log tells by a marker of ours that
it has passed the leader's position, or where neither log has grown for a while;
otherwise it is C{Asked.patience}, which must be more than the follower's lag.

The collection C{tile38cm} is this program's own and is not compared.  A
C{STRING} that reads like GeoJSON is told apart from the same object by neither
C{SCAN} nor C{GET}, so not here either.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from enum import Enum

from attrs import define, field, frozen

from tile38cm.replication.compare_pages import scan, side_by_side
from tile38cm.replication.direct import Direct
from tile38cm.replication.held import LIFETIME_OF, Kind, Subject, Value, collections, hooks, read
from tile38cm.wire.commands import OWN_KEY

#: Suspects are looked at together, so that their waits are shared; this many ids are held at most.
MOST_SUSPECTS = 50_000
#: Objects whose lifetimes are asked for at once.
_LIFETIMES_AT_ONCE = 2000
#: Seconds that the leader's value must have stood still where the follower's position is proven.
SHORT_PATIENCE = 0.3
#: Seconds between two looks.
LOOK_EVERY = 0.05
#: Bytes of the follower's log in which a marker is looked for: there is one every 16 KiB.
_LOG_END = 256 * 1024
_MARKER = re.compile(
    rb"\r\n\$8\r\ntile38cm\r\n\$1\r\np\r\n\$6\r\nSTRING\r\n\$\d+\r\n[^\r\n]*:(\d+):(\d+)\r\n"
    rb"\*3\r\n\$3\r\nDEL\r\n\$8\r\ntile38cm\r\n"
)


class Verdict(Enum):
    """How a follower differs."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"
    #: Written so often that the two were never seen at the same place.
    UNSETTLED = "unsettled"


@frozen
class Difference:
    """One thing in which the follower is not like its leader.

    Lifetimes are what was left at the end, in seconds; -1 for ever, -2 gone.
    """

    subject: Subject
    verdict: Verdict
    leader_lifetime: int | None = None
    follower_lifetime: int | None = None


@frozen
class Asked:
    """How to compare; durations in seconds."""

    #: Lifetimes too; they restart when Tile38 does, and when a follower starts over.
    lifetimes: bool = False
    #: By so much two lifetimes may differ.
    tolerance: float = 10.0
    #: How long the leader's value must stand still before the follower's is held against it.
    patience: float = 2.0
    #: How long to look again at what changes all the time.
    wait: float = 15.0
    #: So many differences of each verdict are described; the rest is counted.
    describe: int = 50
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@frozen
class Comparison:
    """What was found."""

    #: Collections, objects, hooks and channels of either side.
    collections: int
    objects: int
    hooks: int
    channels: int
    #: Objects that expire, on either side; C{None} if that was not asked.
    expiring: int | None
    counts: dict[Verdict, int]
    differences: tuple[Difference, ...]
    leader_offset: int
    seconds: float

    @property
    def differing(self) -> int:
        """How many things are certainly not the same."""
        return sum(count for verdict, count in self.counts.items() if verdict is not Verdict.UNSETTLED)

    @property
    def unsettled(self) -> int:
        """Of how many things nothing can be said."""
        return self.counts[Verdict.UNSETTLED]

    @property
    def equal(self) -> bool:
        """Whether all is the same, with certainty."""
        return not self.differing and not self.unsettled


def compare(
    leader: Direct,
    follower: Direct,
    asked: Asked | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Comparison:
    """Compare two servers; blocks, and never writes to either.

    @param progress: called now and then with the objects seen so far, and how many there are.
    @raise Tile38Error: one of them does not answer, or is a follower that has never caught up.
    """
    return _Comparing(leader, follower, asked or Asked(), progress).run()


@define
class _Comparing:
    """One comparison while it runs."""

    leader: Direct
    follower: Direct
    asked: Asked
    progress: Callable[[int, int], object]
    counts: dict[Verdict, int] = field(factory=lambda: dict.fromkeys(Verdict, 0))
    described: list[Difference] = field(factory=list)
    suspects: list[Subject] = field(factory=list)
    objects: int = 0
    total: int = 0
    expiring: int = 0
    place: _Place = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.place = _Place(self.leader, self.follower, self.asked)

    def run(self) -> Comparison:
        started = self.asked.now()
        self.total = int(self.leader.server()["num_objects"])
        self.follower.server()
        self.place.quiet()
        keys = sorted({*collections(self.leader), *collections(self.follower)} - {OWN_KEY})
        for key in keys:
            self._collection(key)
        hook_count, channel_count = self._named(Kind.HOOK), self._named(Kind.CHANNEL)
        self._settle()
        self.progress(self.objects, self.total)
        return Comparison(
            collections=len(keys),
            objects=self.objects,
            hooks=hook_count,
            channels=channel_count,
            expiring=self.expiring if self.asked.lifetimes else None,
            counts=self.counts,
            differences=tuple(map(self._with_lifetimes, self.described)),
            leader_offset=self.leader.role_offset(),
            seconds=self.asked.now() - started,
        )

    def _collection(self, key: bytes) -> None:
        same: list[bytes] = []
        for id, mine, other in side_by_side(scan(self.leader, key), scan(self.follower, key)):
            self.objects += 1
            if mine != other:
                self._suspect(Subject(Kind.OBJECT, key, id))
            elif self.asked.lifetimes:
                same.append(id)
                if len(same) >= _LIFETIMES_AT_ONCE:
                    self._lifetimes(key, same)
                    same = []
            if self.objects % 1000 == 0:
                self.progress(self.objects, self.total)
        self._lifetimes(key, same)

    def _lifetimes(self, key: bytes, ids: Sequence[bytes]) -> None:
        subjects = [Subject(Kind.OBJECT_LIFETIME, key, id) for id in ids]
        mine, other = read(self.leader, subjects), read(self.follower, subjects)
        for subject in subjects:
            self.expiring += _expires(mine[subject]) or _expires(other[subject])
            if not self._agree(mine[subject], other[subject]):
                self._suspect(subject)

    def _named(self, kind: Kind) -> int:
        """Compare all hooks, or all channels; they come in one reply."""
        kinds = [kind, LIFETIME_OF[kind]] if self.asked.lifetimes else [kind]
        names: set[bytes] = set()
        for each in kinds:
            mine, other = hooks(self.leader, each), hooks(self.follower, each)
            names |= mine.keys() | other.keys()
            for name in sorted(mine.keys() | other.keys()):
                # Without its hook a lifetime is no difference of its own.
                comparable = each is kind or (name in mine and name in other)
                if comparable and not self._agree(mine.get(name), other.get(name)):
                    self._suspect(Subject(each, b"", name))
        return len(names)

    def _agree(self, mine: Value, other: Value) -> bool:
        if isinstance(mine, int) and isinstance(other, int) and mine >= 0 and other >= 0:
            return abs(mine - other) <= self.asked.tolerance
        return mine == other

    # -- suspects -------------------------------------------------------------

    def _suspect(self, subject: Subject) -> None:
        self.suspects.append(subject)
        if len(self.suspects) >= MOST_SUSPECTS:
            self._settle()

    def _settle(self) -> None:
        """Look at all suspects until something is certain of each, or the time is over."""
        pending, self.suspects = self.suspects, []
        if not pending:
            return
        known = read(self.leader, pending)
        since = dict.fromkeys(pending, self.asked.now())
        end = self.asked.now() + self.asked.wait
        while pending:
            patience = self.place.look()
            there, after = read(self.follower, pending), read(self.leader, pending)
            still = []
            for each in pending:
                if self._agree(known[each], there[each]) or self._agree(after[each], there[each]):
                    continue
                if not self._agree(known[each], after[each]):
                    since[each] = self.asked.now()
                elif self.asked.now() - since[each] >= patience:
                    self._found(each, _verdict(after[each], there[each]))
                    continue
                still.append(each)
            known, pending = after, still
            if pending and self.asked.now() > end:
                for each in pending:
                    self._found(each, Verdict.UNSETTLED)
                return
            if pending:
                self.asked.sleep(LOOK_EVERY)

    def _found(self, subject: Subject, verdict: Verdict) -> None:
        self.counts[verdict] += 1
        if self.counts[verdict] <= self.asked.describe:
            self.described.append(Difference(subject, verdict))

    def _with_lifetimes(self, difference: Difference) -> Difference:
        subject = difference.subject
        if subject.kind not in (Kind.OBJECT, Kind.OBJECT_LIFETIME):
            return difference
        ends = [
            int(server.ask("TTL", subject.collection, subject.id)) for server in (self.leader, self.follower)
        ]
        return Difference(subject, difference.verdict, *ends)


def _expires(lifetime: Value) -> bool:
    return isinstance(lifetime, int) and lifetime >= 0


def _verdict(mine: Value, other: Value) -> Verdict:
    if other is None:
        return Verdict.MISSING
    return Verdict.EXTRA if mine is None else Verdict.DIFFERENT


@define
class _Place:
    """How far the follower is behind, as far as that can be known from outside."""

    leader: Direct
    follower: Direct
    asked: Asked
    _sizes: tuple[int, int] = (-1, -1)
    _since: float = 0.0
    #: The markers once did not get there in time, so they are not waited for again.
    _late: bool = False

    def look(self) -> float:
        """Wait, within bounds, until the follower has what the leader has now.

        @return: how many seconds a difference must last from before this call to be one.
        """
        if self.quiet() or self._passed():
            return min(SHORT_PATIENCE, self.asked.patience)
        return self.asked.patience

    def quiet(self) -> bool:
        """Whether neither log has grown for so long that nothing can be on its way."""
        sizes = (self.leader.role_offset(), self.follower.role_offset())
        if sizes != self._sizes:
            self._sizes, self._since = sizes, self.asked.now()
        return self.asked.now() - self._since >= self.asked.patience

    def _passed(self) -> bool:
        """Whether a marker in the follower's log is not before the leader's present position."""
        goal, end = self.leader.role_offset(), self.asked.now() + self.asked.patience
        while True:
            found = _MARKER.findall(self.follower.log_tail(_LOG_END))
            if not found:
                return False
            if int(found[-1][1]) >= goal:
                self._late = False
                return True
            if self._late or self.asked.now() > end:
                self._late = True
                return False
            self.asked.sleep(LOOK_EVERY)
