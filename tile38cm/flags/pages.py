"""The table as text: C{--help}, C{--check}, and a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap

from tile38cm.flags.sources import Value
from tile38cm.flags.table import FLAGS, GROUPS, Flag
from tile38cm.settings import Settings

WIDTH = 100
_INDENT = " " * 6

#: What is said on the command line only: name, metavar, help.
COMMAND_LINE_ONLY = (
    (
        "config",
        "FILE",
        "Read a TOML file; keys are the names above, as tables or with dots (--tls is tls.mode).",
    ),
    ("check", "", "Check everything, print what would be used and where it came from, and exit."),
    ("version", "", "Print the version and exit."),
    ("help", "", "Print this and exit."),
)


def help_page() -> str:
    """All flags by group, each with its environment variable, its default and a sentence."""
    lines = wrap(
        "Runs beside one Tile38 server and makes it a node of a cluster: whoever writes to W of any node "
        "writes to the leader, whoever reads from R of any node reads from a follower that has caught up. "
        "The command line wins over the environment, the environment over --config, that over the defaults.",
        WIDTH,
    )
    for group in GROUPS:
        lines += ["", f"{group}:"]
        for flag in FLAGS:
            if flag.group == group:
                lines += _entry(_usage(flag), _facts(flag), flag.help)
    lines += ["", "About this command:"]
    for name, metavar, text in COMMAND_LINE_ONLY:
        lines += _entry(f"--{name} {metavar}".strip(), "", text)
    return "\n".join(lines) + "\n"


def _entry(usage: str, facts: str, text: str) -> list[str]:
    head = f"  {usage}  [{facts}]" if facts else f"  {usage}"
    return [head, *wrap(text, WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)]


def _usage(flag: Flag) -> str:
    return f"--{flag.name}" if flag.switch else f"--{flag.name} {flag.metavar}"


def _facts(flag: Flag) -> str:
    return "; ".join(part for part in (flag.env or "", _without(flag)) if part)


def _without(flag: Flag) -> str:
    """What holds if nobody says anything."""
    if flag.required:
        return "required"
    default = flag.otherwise or flag.default
    return f"default {default}" if default else ""


def check_page(values: Mapping[str, Value], settings: Settings) -> str:
    """One line for each flag: name, what would be used, where that came from.  Secrets are hidden."""
    rows = [(name, _shown(value, settings), _origin(value)) for name, value in values.items()]
    width, shown = (max(len(row[column]) for row in rows) for column in (0, 1))
    shown = min(shown, 48)
    return "\n".join(f"{name:{width}}  {text:{shown}}  {origin}" for name, text, origin in rows) + "\n"


def _shown(value: Value, settings: Settings) -> str:
    if value.flag.secret:
        return "(none)" if value.given is None else "(hidden)"
    if value.flag.name == "state.dir":
        return str(settings.state_dir)
    return "(none)" if value.given is None else value.given.text


def _origin(value: Value) -> str:
    return value.given.origin if value.given is not None else "default"


def rst_page() -> Iterator[str]:
    """The lines of a reStructuredText C{list-table} for each group."""
    for group in GROUPS:
        yield from ("", group, "~" * len(group), "")
        yield from (".. list-table::", "   :header-rows: 1", "   :widths: 24 26 18 60", "")
        yield from _row(("flag", "environment", "default", "meaning"))
        for flag in FLAGS:
            if flag.group == group:
                default = "required" if flag.required else flag.otherwise or flag.default
                yield from _row(
                    (f"``{_usage(flag)}``", f"``{flag.env}``", f"``{default}``" if default else "", flag.help)
                )


def _row(cells: Iterable[str]) -> Iterator[str]:
    for index, cell in enumerate(cells):
        yield f"   {'*' if index == 0 else ' '} - {cell}".rstrip()
