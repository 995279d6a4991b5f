"""C{tile38ctl switchover}, C{shrink}, C{failover}: a key in Consul asks the cluster, and has its answer."""

from __future__ import annotations

import secrets
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tile38cm.flags import values
from tile38cm.operate.ctl.cluster import Seen, look
from tile38cm.operate.ctl.consul_http import ConsulFailed, Entry, Keys, consul_options, keys
from tile38cm.operate.ctl.loss import forecast, sentences
from tile38cm.operate.ctl.options import Console, Exit, seconds, typed
from tile38cm.requests import FAILOVER, SHRINK, SWITCHOVER

ABOUT_SWITCHOVER = """\
Asks the leader to hand over: to the candidate, or to the member of the sync set that it chooses. Clients
see no error, and nothing is lost. With --at it is done then, and this command does not wait for it.

Exit code: 0 done, or scheduled; 1 refused, with the reason; 2 wrong usage; 3 Consul does not answer, or
the cluster did not in time: then the request is withdrawn."""
ABOUT_SHRINK = """\
Has all nodes rewrite their logs to what their data need, while the cluster goes on: the followers one by
one, then the lead is handed over, and the old leader's turn comes. Nobody copies anything.

Exit code: 0 done; 1 refused, with the reason; 2 wrong usage; 3 it could not be found out, or not in time:
then the request is withdrawn, and nodes that are done stay done."""
ABOUT_FAILOVER = """\
Makes one node lead with what it has, alone, when no member of the sync set comes back. What only
others had is lost to the cluster. This command says first what that is, as far as anybody can know,
and asks. While a member of the set lives this is not needed: the cluster elects by itself; while the
leader answers it is refused: ask for a switchover.

You must be sure that the old leader is dead, and say so (--old-leader-is-dead): if it lives on where
the candidate cannot see it, both take writes. Without that only the forecast is shown.

Exit code: 0 done; 1 refused, or you said no; 2 wrong usage; 3 it could not be found out, or not in time:
then the request is withdrawn."""

EXAMPLE_SWITCHOVER = "tile38ctl switchover --candidate n2 --at 2031-05-01T03:00:00Z"
EXAMPLE_SHRINK = "tile38ctl shrink"
EXAMPLE_FAILOVER = "tile38ctl failover --force --candidate n3 --old-leader-is-dead"

#: Seconds between looks at a request.
LOOK = 0.2
#: Seconds to wait for an answer, if nobody says how many.
SWITCHOVER_WAIT, SHRINK_WAIT, FAILOVER_WAIT = "30s", "30m", "1m"


def _time(text: str) -> str:
    """A moment as requests have it."""
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ArgumentTypeError(
            f"it is {text!r}, but must be a time such as 2031-05-01T03:00:00Z (UTC unless it has an offset)"
        ) from None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _wait_option(parser: ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--wait",
        type=seconds,
        default=default,
        metavar="DURATION",
        help=f"how long to wait for the answer before the request is withdrawn (default: {default})",
    )


_candidate = typed(values.identifier)


# -- switchover ---------------------------------------------------------------


def switchover_arguments(parser: ArgumentParser) -> None:
    """What C{switchover} takes."""
    parser.add_argument("--candidate", type=_candidate, metavar="ID", help="who is to lead (default: any)")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--at", type=_time, metavar="TIME", help="not now, but then")
    when.add_argument(
        "--cancel", action="store_true", help="withdraw a request that has not been carried out yet"
    )
    _wait_option(parser, SWITCHOVER_WAIT)
    consul_options(parser)


def run_switchover(options: Namespace, console: Console) -> Exit:
    """Ask, and wait unless it is for later."""
    where = keys(options)
    if options.cancel:
        return _cancel(where, SWITCHOVER, console)
    wanted = {"candidate": options.candidate, "at": options.at}
    asked = {name: value for name, value in wanted.items() if value is not None}
    if not _ask(where, SWITCHOVER, asked, console):
        return Exit.NO
    if options.at is not None and datetime.fromisoformat(options.at) > datetime.now(UTC):
        console.say(f"scheduled for {options.at}; whoever leads then carries it out")
        return Exit.GOOD
    return _await(where, SWITCHOVER, asked, options.wait, console, lambda: "waiting for the leader")


def _cancel(where: Keys, name: str, console: Console) -> Exit:
    found = where.get(name)
    if found is None or not _pending(found):
        console.say(f"no {name} is waiting to be carried out")
        return Exit.NO
    if not where.delete(name, found.index):
        console.say(f"the {name} is being carried out now")
        return Exit.NO
    console.say("withdrawn")
    return Exit.GOOD


# -- shrink -------------------------------------------------------------------


def shrink_arguments(parser: ArgumentParser) -> None:
    """What C{shrink} takes."""
    _wait_option(parser, SHRINK_WAIT)
    consul_options(parser)


def run_shrink(options: Namespace, console: Console) -> Exit:
    """Ask, and wait."""
    where = keys(options)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"

    def progress() -> str:
        members = [m for m in look(where).members.values() if m.here]
        return f"{sum(m.shrunk == name for m in members)} of {len(members)} logs shrunk"

    if not _ask(where, SHRINK, {"id": name}, console):
        return Exit.NO
    return _await(where, SHRINK, {"id": name}, options.wait, console, progress)


# -- failover -----------------------------------------------------------------


def failover_arguments(parser: ArgumentParser) -> None:
    """What C{failover} takes."""
    parser.add_argument(
        "--force", action="store_true", required=True, help="needed: a failover without loss needs no command"
    )
    parser.add_argument("--candidate", type=_candidate, required=True, metavar="ID", help="who is to lead")
    parser.add_argument(
        "--old-leader-is-dead",
        action="store_true",
        help="you are sure that the old leader neither runs nor will run again with clients of its own",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask: do it")
    _wait_option(parser, FAILOVER_WAIT)
    consul_options(parser)


def run_failover(options: Namespace, console: Console) -> Exit:
    """Say what is lost, ask, have it done."""
    where = keys(options)
    seen = look(where)
    refused = _refusal(seen, options.candidate)
    if not refused:
        for sentence in sentences(seen, forecast(seen, seen.members[options.candidate])):
            console.say(sentence)
        console.say()
        refused = _unsure(options)
    if refused:
        console.say(f"refused: {refused}")
        return Exit.NO
    if not options.yes and not _confirmed(console, f"Make {options.candidate} lead with what it has?"):
        console.say("nothing was done")
        return Exit.NO
    asked = {"candidate": options.candidate, "old_leader_is_dead": True}
    if not _ask(where, FAILOVER, asked, console):
        return Exit.NO
    waiting = f"waiting for {options.candidate}"
    return _await(where, FAILOVER, asked, options.wait, console, lambda: waiting)


def _refusal(seen: Seen, candidate: str) -> str:
    """What makes it impossible, or needless."""
    member = seen.members.get(candidate)
    if member is None or not member.here:
        return f"{candidate} is not here: start it first"
    if seen.leads is not None:
        return f"{seen.leads} leads: ask for a switchover"
    return ""


def _unsure(options: Namespace) -> str:
    if not options.old_leader_is_dead:
        return "make sure that the old leader is dead, and say so with --old-leader-is-dead"
    if not options.yes and not sys.stdin.isatty():
        return "nobody can be asked here: say --yes"
    return ""


def _confirmed(console: Console, question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=console.out, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# -- asking, and the answer ---------------------------------------------------


def _pending(entry: Entry) -> bool:
    return entry.document is not None and "state" not in entry.document


def _ask(where: Keys, name: str, asked: dict[str, Any], console: Console) -> bool:
    """Write a request where none waits."""
    found = where.get(name)
    if found is not None and _pending(found):
        console.say(f"refused: another {name} is waiting to be carried out: {found.document}")
        return False
    try:
        written = where.put(name, asked, 0 if found is None else found.index)
    except ConsulFailed as error:
        raise ConsulFailed(
            f"it is not known whether the {name} was asked for: tile38ctl status ({error})"
        ) from None
    if not written:
        console.say(f"refused: somebody else has just asked for a {name}")
    return written


def _await(
    where: Keys,
    name: str,
    asked: dict[str, Any],
    patience: float,
    console: Console,
    progress: Callable[[], str],
) -> Exit:
    """Wait until the request is answered; withdraw it if that takes too long."""
    end = time.monotonic() + patience
    try:
        while True:
            found = where.get(name)
            doc = None if found is None else found.document
            if found is None or doc is None or any(doc.get(key) != value for key, value in asked.items()):
                console.progress("")
                console.say(f"the {name} was withdrawn, or replaced by another one")
                return Exit.FAILED
            if "state" in doc:
                console.progress("")
                console.say(f"{doc['state']}: {doc.get('said', '')}")
                return Exit.GOOD if doc["state"] == "done" else Exit.NO
            if time.monotonic() > end:
                break
            console.progress(progress())
            time.sleep(LOOK)
    finally:
        console.progress("")
    return _withdraw(where, name, found, patience, console)


def _withdraw(where: Keys, name: str, found: Entry, patience: float, console: Console) -> Exit:
    if where.delete(name, found.index):
        console.say(f"not answered within {patience:g} s, and withdrawn: tile38ctl status")
    else:
        console.say(f"not answered within {patience:g} s; it is being carried out now: tile38ctl status")
    return Exit.FAILED
