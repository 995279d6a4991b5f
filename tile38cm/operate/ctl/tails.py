"""C{tile38ctl tail}: what nodes had to undo, shown and given back."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import asdict

from tile38cm.flags import values
from tile38cm.operate.ctl.options import (
    Console,
    Exit,
    WrongUsage,
    address,
    json_option,
    password_options,
    path,
    tls_options,
    typed,
    writer,
)
from tile38cm.replication.replay import Replayed, Skipped, replay, shown
from tile38cm.replication.tail import KEPT, TAILS, Content, Tail, count_tail, list_tails, open_tail, read_tail

ABOUT_LIST = """\
Lists what this node has kept: tails (commands that it had acknowledged and the cluster does not have,
saved before they were undone), and copies of whole logs, made where it did not know its position."""
ABOUT_SHOW = "Shows what is in a tail, or in a copy of a log: counts, and the first commands."
ABOUT_REPLAY = """\
Sends a tail to the cluster, through the W of any node.

With --if-absent only objects come back whose id nobody has now, as the tail left them at its end;
nothing that the cluster has is touched, and it may be done twice. What cannot come back in this way is
told with the reason, and stays in the file. With --overwrite every command is sent again in order,
deletions too, over whatever has been written since.

Exit code: 0 done; 1 W refused some commands; 2 wrong usage; 3 it could not be done to the end."""

EXAMPLE_LIST = "tile38ctl tail list --state.dir /var/lib/tile38cm"
EXAMPLE_SHOW = "tile38ctl tail show 20240131-120000-epoch7-1000-2000 --state.dir /var/lib/tile38cm"
EXAMPLE_REPLAY = (
    "tile38ctl tail replay ./20240131-120000-epoch7-1000-2000.aof --if-absent --writer 10.0.0.1:9850"
)

#: Commands of a tail that are shown if nobody says how many.
SHOWN = 20


def _state_option(parser: ArgumentParser) -> None:
    told = os.environ.get("STATE_DIRECTORY")
    parser.add_argument(
        "--state.dir",
        dest="state",
        type=typed(values.state_directory),
        default=told and values.state_directory(told),
        metavar="FOLDER",
        help="the node's state directory, as in its own flag (default: $STATE_DIRECTORY)",
    )


def _tail_argument(parser: ArgumentParser) -> None:
    parser.add_argument("tail", metavar="TAIL", help="its file, or its name below the state directory")
    _state_option(parser)


# -- list ---------------------------------------------------------------------


def list_arguments(parser: ArgumentParser) -> None:
    """What C{tail list} takes."""
    _state_option(parser)
    json_option(parser)


def run_list(options: Namespace, console: Console) -> Exit:
    """All that is kept, the oldest first."""
    if options.state is None:
        raise WrongUsage("--state.dir is needed: the state directory of the node")
    if not options.state.is_dir():
        raise WrongUsage(f"--state.dir {options.state} is no folder")
    tails = [*list_tails(options.state / TAILS), *list_tails(options.state / KEPT)]
    if options.json:
        console.say(json.dumps([document(tail, tail.content) for tail in tails], indent=1))
        return Exit.GOOD
    for tail in tails:
        console.say(line(tail))
    if not tails:
        console.say("nothing: this node has never had to undo anything")
    return Exit.GOOD


def line(tail: Tail) -> str:
    """One tail in one line."""
    if tail.span is None or tail.content is None:
        return f"{tail.path.stem}  a whole log, {values.show_size(tail.size)}"
    commands = f"{tail.content.commands:,} commands, {values.show_size(tail.size)}"
    return (
        f"{tail.path.stem}  {commands}, of {tail.span.member} in epoch {tail.span.epoch}: {tail.span.reason}"
    )


def document(tail: Tail, content: Content | None) -> dict[str, Any]:
    """A tail as JSON."""
    return {
        "path": str(tail.path),
        "time": tail.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "size": tail.size,
        **(asdict(tail.span) if tail.span is not None else {}),
        **(asdict(content) if content is not None else {}),
    }


# -- show ---------------------------------------------------------------------


def show_arguments(parser: ArgumentParser) -> None:
    """What C{tail show} takes."""
    _tail_argument(parser)
    parser.add_argument(
        "--commands",
        type=typed(values.count(0, 10**9)),
        default=SHOWN,
        metavar="N",
        help="show so many commands (default: %(default)s)",
    )
    json_option(parser)


def run_show(options: Namespace, console: Console) -> Exit:
    """Counts, and the first commands."""
    tail = _named(options)
    content = tail.content if tail.content is not None else count_tail(tail.path)
    if options.json:
        console.say(json.dumps(document(tail, content), indent=1))
        return Exit.GOOD
    console.say(line(tail))
    console.say(f"saved {tail.time:%Y-%m-%d %H:%M:%S} UTC in {tail.path}")
    if tail.span is not None:
        console.say(f"bytes {tail.span.start} to {tail.span.end} of the log of epoch {tail.span.epoch}")
    console.say(f"{content.commands:,} commands: {_counts(content.names)}")
    console.say(f"by collection: {_counts(content.keys)}")
    if content.expiries:
        console.say(f"and {content.expiries:,} deletions of what had expired")
    if content.torn:
        console.say(f"and {content.torn} bytes of a command that was never finished")
    for words in islice(read_tail(tail.path), options.commands):
        console.say(f"  {shown(words)}")
    return Exit.GOOD


def _counts(counts: Mapping[str, int]) -> str:
    """The largest first, on one line."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    told = [
        f"{''.join(c if c.isprintable() else '?' for c in name)} {count:,}" for name, count in ordered[:20]
    ]
    return ", ".join(told + ([f"{len(ordered) - 20:,} more"] if len(ordered) > 20 else [])) or "none"


# -- replay -------------------------------------------------------------------


def replay_arguments(parser: ArgumentParser) -> None:
    """What C{tail replay} takes."""
    _tail_argument(parser)
    parser.add_argument(
        "--writer", type=address, required=True, metavar="HOST:PORT", help="the W of any node of the cluster"
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--if-absent", action="store_true", help="only objects whose id nobody has now")
    how.add_argument("--overwrite", action="store_true", help="everything, over what was written since")
    parser.add_argument(
        "--verbose", action="store_true", help="name each command that was left out or refused"
    )
    password_options(parser)
    tls_options(parser)
    json_option(parser)


def run_replay(options: Namespace, console: Console) -> Exit:
    """Send it, and say what became of it."""
    told: list[Skipped] = []

    def tell(skipped: Skipped) -> None:
        if options.json and options.verbose:
            told.append(skipped)
        elif options.verbose:
            console.say(f"  {skipped.command}: {skipped.reason}")

    done = replay(_named(options), writer(options), options.if_absent, tell)
    if options.json:
        answer = asdict(done) | ({"left_out": list(map(asdict, told))} if options.verbose else {})
        console.say(json.dumps(answer, indent=1))
    else:
        _say_replayed(done, console)
    return Exit.NO if done.refused else Exit.GOOD


def _say_replayed(done: Replayed, console: Console) -> None:
    console.say(f"{done.written:,} commands replayed")
    for reason, count in done.skipped.most_common():
        console.say(f"{count:,} left out: {reason}")
    for reason, count in done.refused.most_common():
        console.say(f"{count:,} refused by W: {reason}")


def _named(options: Namespace) -> Tail:
    """The tail by its file, or by its name in the state directory; fails with L{WrongUsage}."""
    told = str(options.tail)
    candidates = [path(told)] if "/" in told or told.endswith(".aof") else []
    if options.state is not None and "/" not in told:
        name = f"{told.removesuffix('.aof')}.aof"
        candidates += [Path(options.state, folder, name) for folder in (TAILS, KEPT)]
    for candidate in candidates:
        if candidate.is_file():
            return open_tail(candidate)
    looked = ", ".join(map(str, candidates)) or "no folder; give --state.dir, or a path that ends in .aof"
    raise WrongUsage(f"there is no tail {told!r} (looked for in: {looked})")
