"""The table of C{tile38ctl}'s sub-commands, and what runs one."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import IO, NoReturn

from attrs import frozen

from tile38cm import __version__
from tile38cm.operate.ctl import contents, requests, status, tails
from tile38cm.operate.ctl.options import Console, Exit, WrongUsage
from tile38cm.replication.tail import BadTail
from tile38cm.tile38 import Tile38Error

ABOUT = """\
For operators of a tile38cm cluster. Each command explains itself with --help.

Exit codes: 0 all is well; 1 the answer is no; 2 wrong usage; 3 it could not be found out or done."""


@frozen
class Command:
    """One sub-command: its words, a line about it, a page about it, an example, and the work."""

    words: tuple[str, ...]
    line: str
    about: str
    example: str
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Console], Exit]


COMMANDS = (
    Command(
        ("status",),
        "who leads, who follows, how far each is",
        status.ABOUT,
        status.EXAMPLE,
        status.arguments,
        status.run,
    ),
    Command(
        ("switchover",),
        "let another node lead, now or later",
        requests.ABOUT_SWITCHOVER,
        requests.EXAMPLE_SWITCHOVER,
        requests.switchover_arguments,
        requests.run_switchover,
    ),
    Command(
        ("shrink",),
        "rewrite all logs to what the data need",
        requests.ABOUT_SHRINK,
        requests.EXAMPLE_SHRINK,
        requests.shrink_arguments,
        requests.run_shrink,
    ),
    Command(
        ("failover",),
        "when no member of the sync set comes back: lead with what is left",
        requests.ABOUT_FAILOVER,
        requests.EXAMPLE_FAILOVER,
        requests.failover_arguments,
        requests.run_failover,
    ),
    Command(
        ("compare",),
        "does a follower hold what its leader holds?",
        contents.ABOUT,
        contents.EXAMPLE,
        contents.arguments,
        contents.run,
    ),
    Command(
        ("tail", "list"),
        "what this node had to undo and has kept",
        tails.ABOUT_LIST,
        tails.EXAMPLE_LIST,
        tails.list_arguments,
        tails.run_list,
    ),
    Command(
        ("tail", "show"),
        "what is in a tail",
        tails.ABOUT_SHOW,
        tails.EXAMPLE_SHOW,
        tails.show_arguments,
        tails.run_show,
    ),
    Command(
        ("tail", "replay"),
        "give a tail back to the cluster",
        tails.ABOUT_REPLAY,
        tails.EXAMPLE_REPLAY,
        tails.replay_arguments,
        tails.run_replay,
    ),
)
#: Of first words that stand for several commands.
GROUPS = {"tail": "what nodes had to undo: list, show, replay"}


def parser() -> ArgumentParser:
    """The whole command line, made from the table."""
    top = ArgumentParser("tile38ctl", description=ABOUT, formatter_class=RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"tile38ctl {__version__}")
    levels = {"": top.add_subparsers(metavar="COMMAND", required=True)}
    for command in COMMANDS:
        group = " ".join(command.words[:-1])
        if group not in levels:
            inner = levels[""].add_parser(group, help=GROUPS[group], description=f"{GROUPS[group]}.")
            levels[group] = inner.add_subparsers(metavar="COMMAND", required=True)
        made = levels[group].add_parser(
            command.words[-1],
            help=command.line,
            description=command.about,
            epilog=f"Example:\n  {command.example}",
            formatter_class=RawDescriptionHelpFormatter,
        )
        command.arguments(made)
        made.set_defaults(run=command.run, parser=made)
    return top


def run(words: Sequence[str], out: IO[str], err: IO[str]) -> int:
    """Do what the words say; returns the exit code."""
    try:
        with redirect_stdout(out), redirect_stderr(err):
            options = parser().parse_args(words)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        return int(options.run(options, Console(out, err)))
    except WrongUsage as wrong:
        print(f"{options.parser.format_usage()}{options.parser.prog}: {wrong}", file=err)
        return Exit.WRONG_USAGE
    except (Tile38Error, BadTail, OSError) as error:
        print(f"{options.parser.prog}: {error}", file=err)
        return Exit.FAILED


def main() -> NoReturn:
    """The program."""
    try:
        sys.exit(run(sys.argv[1:], sys.stdout, sys.stderr))
    except KeyboardInterrupt:
        sys.exit(130)
