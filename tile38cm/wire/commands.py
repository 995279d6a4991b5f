"""
The one table of commands that Tile38 1.37 knows, and what a proxy must know of each.

The classes follow the server's own lock switch: a L{Class.WRITE} is what a
follower answers with C{-ERR not the leader}.  What a command is may depend on
its arguments (C{FENCE} makes a search live, C{TIMEOUT n} wraps another
command), so L{classify} takes them all.

C{repeatable} promises that sending the command twice leaves the same state
I{and} gives the same reply, as far as nobody else writes in between: only
then may it be sent again when a connection broke before the answer came.
C{DEL} fails that (C{:1}, then C{:0}), C{SET} without C{NX} keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from attrs import evolve, frozen

from tile38cm.wire.hazards import hazard_of_script, hazard_of_search

#: The collection in whose name managers write positions into the log.
OWN_KEY = b"tile38cm"


class Class(Enum):
    """What kind of command it is."""

    WRITE = "write"
    READ = "read"
    #: Flips its connection into a stream, if the server accepts it.
    LIVE = "live"
    #: Reaches who listens now; kept nowhere.
    MESSAGE = "message"
    SCRIPT = "script"
    #: Tells of the node that answers.
    STATUS = "status"
    #: Concerns the connection alone; touches no data.
    CONNECTION = "connection"
    ADMINISTRATION = "administration"
    #: Would break the cluster or the server; answered by the proxy.
    REFUSED = "refused"
    #: Between nodes of this program.
    PRIVATE = "private"
    #: Not in the table; the server will know what to say.
    UNKNOWN = "unknown"


class Keys(Enum):
    """Where a command names the collections it touches."""

    NONE = "none"
    FIRST = "args[1]"
    FIRST_TWO = "args[1], args[2]"
    ALL = "args[1..]"
    #: C{args[2]} says how many follow it.
    COUNTED = "args[3..3+args[2]]"
    #: C{args[1]} names a hook or channel; the key is behind the search inside it.
    NESTED = "behind NEARBY, WITHIN or INTERSECTS"
    #: Patterns: every node that has keys is concerned.
    EVERY = "every"


@frozen
class Command:
    """
    What a proxy must know of one command.

    C{leader}: only the leader may run it.  C{heavy}: its reply or its work may
    be large.  C{refusal}: why it is refused and what to do instead.
    """

    name: str
    class_: Class
    keys: Keys = Keys.NONE
    leader: bool = False
    repeatable: bool = False
    heavy: bool = False
    refusal: str | None = None


@frozen
class Entry:
    """One row of the table: the usual case, and how arguments change it."""

    command: Command
    refine: Callable[[Command, Sequence[bytes]], Command] | None = None


def classify(args: Sequence[bytes]) -> Command:
    """
    What this command is.

    @param args: never empty; the name is compared without regard to case.
    """
    entry = TABLE.get(args[0].lower())
    if entry is None:
        return _unlisted(args)
    command = entry.command if entry.refine is None else entry.refine(entry.command, args)
    if command.leader and OWN_KEY in args[1:3] and OWN_KEY in keys_of(command, args):
        return evolve(command, class_=Class.REFUSED, refusal=_OURS)
    return command


def _unlisted(args: Sequence[bytes]) -> Command:
    """What has no row; C{CONFIG SET} may be one word with a space in it, since Tile38 makes two into that."""
    name, space, rest = args[0].partition(b" ")
    if space and name.lower() in (b"config", b"script"):
        return classify([name, rest, *args[1:]])
    return _UNKNOWN if args[0] else _NAMELESS


def keys_of(command: Command, args: Sequence[bytes]) -> tuple[bytes, ...]:
    """The collections named where C{command.keys} says; fewer if arguments are missing."""
    args = unwrapped(args)
    match command.keys:
        case Keys.FIRST:
            return tuple(args[1:2])
        case Keys.FIRST_TWO:
            return tuple(args[1:3])
        case Keys.ALL:
            return tuple(args[1:])
        case Keys.COUNTED:
            count = int(args[2]) if len(args) > 2 and args[2].isdigit() and len(args[2]) < 10 else 0
            return tuple(args[3 : 3 + count])
        case Keys.NESTED:
            return _nested_key(args)
    return ()


def unwrapped(args: Sequence[bytes]) -> Sequence[bytes]:
    """The command without C{TIMEOUT}s around it."""
    at = 0
    while len(args) - at > 2 and args[at].lower() == b"timeout":
        at += 2
    return args[at:] if at else args


def _nested_key(args: Sequence[bytes]) -> tuple[bytes, ...]:
    for at, arg in enumerate(args):
        if at > 1 and arg.lower() in _AREA_SEARCHES:
            return tuple(args[at + 1 : at + 2])
    return ()


def _has(args: Sequence[bytes], word: bytes, start: int) -> bool:
    return any(len(arg) == len(word) and arg.lower() == word for arg in args[start:])


def _wrapped(command: Command, args: Sequence[bytes]) -> Command:
    """C{TIMEOUT seconds command ...}: what it wraps, whatever the seconds are."""
    inner = unwrapped(args)
    return command if len(inner) == len(args) else classify(inner)


def _refused_if(reason: str | None, command: Command) -> Command:
    return command if reason is None else evolve(command, class_=Class.REFUSED, refusal=reason)


def _harmless_search(command: Command, args: Sequence[bytes]) -> Command:
    return _refused_if(hazard_of_search(args), command)


def _harmless_script(command: Command, args: Sequence[bytes]) -> Command:
    return _refused_if(hazard_of_script(args), command)


def _live_by_fence(command: Command, args: Sequence[bytes]) -> Command:
    # A MATCH pattern may be the word itself; the server's first reply decides then.
    return _harmless_search(_LIVE_SEARCH[command.name] if _has(args, b"fence", 2) else command, args)


def _not_twice_with_nx(command: Command, args: Sequence[bytes]) -> Command:
    return evolve(command, repeatable=False) if _has(args, b"nx", 3) else command


def _not_twice_when_appending(command: Command, args: Sequence[bytes]) -> Command:
    # The path part "-1" appends to a JSON array, twice if sent twice.
    path = args[3] if len(args) > 3 else b""
    return evolve(command, repeatable=False) if b"-1" in path.split(b".") else command


def _config(command: Command, args: Sequence[bytes]) -> Command:
    """Only C{CONFIG GET} of plain names that are no passwords."""
    if len(args) < 2 or args[1].lower() != b"get":
        return evolve(command, class_=Class.REFUSED, refusal=_TO_THE_SERVER)
    names = b" ".join(args[2:]).lower()
    if any(word in names for word in (b"*", b"?", b"[", b"\\", b"requirepass", b"leaderauth")):
        return evolve(
            command, class_=Class.REFUSED, refusal="it would show passwords; ask for parameters by name"
        )
    return command


def _client(command: Command, args: Sequence[bytes]) -> Command:
    if len(args) > 1 and args[1].lower() == b"kill":
        return evolve(
            command, class_=Class.REFUSED, refusal="the connections of the server are this proxy's own"
        )
    return command


_TO_THE_SERVER = "it belongs to the manager of each node; configure the server itself if you must"
_REPLICATION = "replication belongs to the manager"
_INNER = "it is for followers of the server, and those are managed"
_AREA_SEARCHES = frozenset((b"nearby", b"within", b"intersects"))
_UNKNOWN = Command("unknown", Class.UNKNOWN)
_OURS = "the collection 'tile38cm' belongs to the managers"
_NAMELESS = Command("", Class.REFUSED, refusal="a command needs a name")


def _rows() -> list[Entry]:
    """The table, class by class."""
    return [
        *_writes(),
        *_reads(),
        *_others(),
        *_refused(),
    ]


def _writes() -> list[Entry]:
    def write(name: str, keys: Keys = Keys.FIRST, repeatable: bool = False) -> Command:
        return Command(name, Class.WRITE, keys, leader=True, repeatable=repeatable)

    return [
        Entry(write("set", repeatable=True), _not_twice_with_nx),
        Entry(write("jset", repeatable=True), _not_twice_when_appending),
        Entry(write("fset")),
        Entry(write("del")),
        Entry(write("pdel")),
        Entry(write("drop")),
        # Not EXPIRE: the second one answers :0 when the first has run out meanwhile.
        Entry(write("expire")),
        Entry(write("persist")),
        Entry(write("rename", Keys.FIRST_TWO)),
        Entry(write("renamenx", Keys.FIRST_TWO)),
        Entry(write("flushdb", Keys.EVERY)),
        Entry(write("sethook", Keys.NESTED), _harmless_search),
        Entry(write("setchan", Keys.NESTED), _harmless_search),
        Entry(write("delhook", Keys.NONE)),
        Entry(write("delchan", Keys.NONE)),
        Entry(write("pdelhook", Keys.EVERY)),
        Entry(write("pdelchan", Keys.EVERY)),
    ]


def _reads() -> list[Entry]:
    def read(name: str, keys: Keys = Keys.FIRST, heavy: bool = False) -> Command:
        return Command(name, Class.READ, keys, repeatable=True, heavy=heavy)

    names = ("fget", "exists", "fexists", "ttl", "type", "bounds")
    return [
        *(Entry(read(name)) for name in names),
        # One object may be megabytes.
        Entry(read("get", heavy=True)),
        Entry(read("jget", heavy=True)),
        Entry(read("scan", heavy=True), _harmless_search),
        Entry(read("search", heavy=True), _harmless_search),
        Entry(read("nearby", heavy=True), _live_by_fence),
        Entry(read("within", heavy=True), _live_by_fence),
        Entry(read("intersects", heavy=True), _live_by_fence),
        Entry(read("stats", Keys.ALL)),
        Entry(read("keys", Keys.EVERY, heavy=True)),
        Entry(read("hooks", Keys.EVERY, heavy=True)),
        Entry(read("chans", Keys.EVERY, heavy=True)),
        Entry(read("test", Keys.NONE)),
    ]


_LIVE_SEARCH = {
    name: Command(name, Class.LIVE, Keys.FIRST, repeatable=True)
    for name in ("nearby", "within", "intersects")
}


def _others() -> list[Entry]:
    def script(name: str, leader: bool) -> Entry:
        command = Command(name, Class.SCRIPT, Keys.COUNTED, leader=leader, repeatable=not leader, heavy=True)
        return Entry(command, _harmless_script)

    def plain(name: str, class_: Class, repeatable: bool = True) -> Command:
        return Command(name, class_, repeatable=repeatable)

    return [
        script("eval", leader=True),
        script("evalsha", leader=True),
        # Any server takes these two, and their writes behind the back of all rules.
        script("evalna", leader=True),
        script("evalnasha", leader=True),
        script("evalro", leader=False),
        script("evalrosha", leader=False),
        Entry(plain("script", Class.ADMINISTRATION)),
        Entry(plain("gc", Class.ADMINISTRATION)),
        Entry(plain("config", Class.ADMINISTRATION), _config),
        # A follower's PUBLISH reaches only its own subscribers.
        Entry(Command("publish", Class.MESSAGE, leader=True)),
        *(Entry(plain(name, Class.LIVE)) for name in ("subscribe", "psubscribe", "monitor")),
        *(Entry(plain(name, Class.STATUS)) for name in ("server", "info", "role", "healthz")),
        *(
            Entry(plain(name, Class.CONNECTION))
            for name in ("ping", "echo", "output", "auth", "hello", "quit", "command")
        ),
        Entry(plain("client", Class.CONNECTION), _client),
        Entry(plain("timeout", Class.READ), _wrapped),
        Entry(plain("tile38cm", Class.PRIVATE, repeatable=False)),
    ]


def _refused() -> list[Entry]:
    def refused(name: str, refusal: str) -> Entry:
        return Entry(Command(name, Class.REFUSED, refusal=refusal))

    return [
        refused("follow", _REPLICATION),
        refused("slaveof", _REPLICATION),
        refused("readonly", "the manager sets it by the node's role"),
        refused("replconf", _INNER),
        refused("aof", _INNER),
        refused("aofmd5", _INNER),
        refused("aofshrink", "it must be done on all nodes in turn, by the manager"),
        refused("jdel", "it is neither logged nor replicated; read with JGET and write with SET"),
        refused("shutdown", "stop the server where it runs"),
        refused("massinsert", "it is for development"),
        refused("sleep", "it is for development"),
    ]


#: Each command by its name in lower case.
TABLE: dict[bytes, Entry] = {row.command.name.encode(): row for row in _rows()}
