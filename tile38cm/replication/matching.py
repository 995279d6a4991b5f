"""Where a log stands in its leader's stream, found again after a crash.  Pure.

A follower's log behind its last marker is the leader's stream from there, less
the commands that changed nothing here (Tile38 does not log those), plus what
expired here by itself.  So both lists are walked side by side, keeping every way
in which one explains the other; the first place at which the whole log is
explained is the answer.  What lies between it and the true place are commands
without effect, which may be fed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

#: What Tile38 logs in lower case when something expires by itself.
_EXPIRY = {b"del": 3, b"delhook": 2, b"delchan": 2}
#: Ways kept at once; more only arise where nearly all commands are equal.
MAX_WAYS = 100_000

Command = Sequence[bytes]


class Doubts:
    """Objects that expired here by themselves, of which the leader may have thought otherwise.

    A follower that hears nothing for longer than the slack of lifetimes may expire an
    object that the leader has meanwhile given a longer life; the command that did so
    would find nothing here.  Feed it the stream's commands from where it was last heard.
    """

    def __init__(self, log: Iterable[Command]) -> None:
        self._ids = {(c[1], c[2]) for c in log if c[0] == b"del" and len(c) == 3}

    def __bool__(self) -> bool:
        return bool(self._ids)

    def hear(self, command: Command) -> None:
        """The stream's next command; fails with L{NoMatch} if it needs what expired here."""
        name = command[0].lower()
        if name in (b"flushdb",):
            self._ids.clear()
        elif name in (b"drop", b"pdel", b"rename", b"renamenx"):
            self._hear_collection(name, command)
        elif len(command) > 2 and (command[1], command[2]) in self._ids:
            if name not in (b"set", b"del"):
                raise NoMatch("an object has expired here that the leader has kept alive")
            self._ids.discard((command[1], command[2]))

    def _hear_collection(self, name: bytes, command: Command) -> None:
        concerned = {i for i in self._ids if i[0] in command[1:3]}
        if concerned and name in (b"rename", b"renamenx"):
            raise NoMatch("an object has expired here, and the leader has renamed its collection")
        if name == b"drop":
            self._ids -= concerned


class NoMatch(Exception):
    """The log cannot be explained by this stream: nothing is known of its position."""


def expired_here(command: Command) -> bool:
    """Whether a logged command may be this node's own expiry."""
    return _EXPIRY.get(command[0]) == len(command)


def may_leave_no_trace(command: Command) -> bool:
    """Whether a leader's command may be missing in a follower's log.

    Everything may but a plain C{SET}, which always has an effect.
    """
    if command[0].lower() != b"set":
        return True
    return any(word.lower() in (b"nx", b"xx") for word in command[3:])


@define
class Matcher:
    """Feed it the stream's commands one by one, as the follower would have been given them."""

    log: Sequence[Command]
    _ways: set[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ways = self._over_expiries({0})

    @property
    def done(self) -> bool:
        """Whether the whole log is explained by what was fed."""
        return len(self.log) in self._ways

    def feed(self, *forms: Command) -> bool:
        """Take the stream's next command, in any form that it may have been given; fails with L{NoMatch}.

        @return: L{done} after it.
        """
        words = [list(form) for form in forms]
        ways = {at + 1 for at in self._ways if at < len(self.log) and list(self.log[at]) in words}
        if may_leave_no_trace(forms[0]):
            ways |= self._ways
        self._ways = self._over_expiries(ways)
        if not self._ways:
            raise NoMatch("the log holds something that the leader never sent")
        if len(self._ways) > MAX_WAYS:
            raise NoMatch("the log fits in too many ways")
        return self.done

    def _over_expiries(self, ways: Iterable[int]) -> set[int]:
        """All ways, and those that pass over expiries of this node."""
        reached = set(ways)
        for at in list(reached):
            while at < len(self.log) and expired_here(self.log[at]):
                at += 1
                reached.add(at)
        return reached
