"""Figures of the proxies as text, as a page with a plot, and as a line of their history."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from tests.real import ROOT

HISTORY = ROOT / "benchmarks" / "history.jsonl"
PAGE = ROOT / "docs" / "benchmarks.rst"
PLOT = ROOT / "docs" / "benchmarks.svg"
TITLES = {"plain": "Without TLS", "tls": "With mTLS by Consul Connect; HAProxy ends the same"}
COLOURS = {"HAProxy": "#8a8f98", "W": "#2f6fb7", "R": "#53a06c"}
#: Pixels: a bar, the space for names, what stands for "as fast as Tile38 alone".
BAR, NAMES, WHOLE = 14, 230, 420

_HEAD = """\
What the proxies cost
=====================

Written by ``make bench`` from ``benchmarks/history.jsonl``; do not edit.

One node, everything that a request passes switched on (gate, acknowledgement, hold); redis-benchmark,
Tile38, HAProxy and the manager on one machine. Only ratios within one run mean much. CPU is that of the
proxy's own process.

.. image:: benchmarks.svg
   :alt: Requests per second through HAProxy, W and R, as a share of Tile38 without any of them
"""


class Figure(NamedTuple):
    """Requests per second, and microseconds of the proxy's CPU for each."""

    rate: float
    cpu: float


#: Figures by load and target.
Table = dict[str, dict[str, Figure]]


def rows(table: Table) -> Iterator[tuple[str, ...]]:
    """A head, then for each load and target: the rate, its ratios, the CPU."""
    yield "load", "target", "requests/s", "of direct", "of HAProxy", "CPU µs"
    for load, row in table.items():
        for target, figure in row.items():
            yield (
                load,
                target,
                f"{figure.rate:,.0f}",
                f"{figure.rate / row['direct'].rate:.2f}",
                f"{figure.rate / row['HAProxy'].rate:.2f}",
                f"{figure.cpu:.1f}" if figure.cpu else "",
            )


def text(kind: str, table: Table) -> str:
    """For a terminal."""
    lines = ["  ".join(cell.ljust(width) for cell, width in _widths(table, row)) for row in rows(table)]
    return "\n".join([TITLES[kind], *lines, ""])


def _widths(table: Table, row: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    return zip(row, (max(map(len, column)) for column in zip(*rows(table), strict=True)), strict=True)


def keep(tables: Mapping[str, Table], rounds: int) -> None:
    """Append to the history, and write the page of it."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "tables": tables,
    }
    with HISTORY.open("a") as history:
        history.write(json.dumps(entry, ensure_ascii=False) + "\n")
    write_page()


def write_page() -> None:
    """The newest figures of each kind, and their plot."""
    entries = [json.loads(line) for line in HISTORY.read_text().splitlines()]
    newest: dict[str, tuple[Table, str]] = {}
    for entry in entries:
        for kind, table in entry["tables"].items():
            figures = {
                load: {target: Figure(*figure) for target, figure in row.items()}
                for load, row in table.items()
            }
            said = f"{entry['time'][:10]}, {entry['commit']}, {entry['cores']} cores"
            newest[kind] = figures, f"{said}, medians of {entry['rounds']} rounds."
    parts = [_HEAD]
    for kind, (table, said) in newest.items():
        parts.append(f"{TITLES[kind]}\n{'-' * len(TITLES[kind])}\n\n{said}\n\n{_list_table(table)}")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(parts))
    PLOT.write_text(plot({kind: table for kind, (table, _) in newest.items()}))


def _list_table(table: Table) -> str:
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows(table):
        lines += [f"   {'*' if at == 0 else ' '} - {cell}" for at, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def plot(tables: Mapping[str, Table]) -> str:
    """Bars: each target's share of what Tile38 alone does; the line is Tile38 alone."""
    shapes, y = [], 10
    for kind, table in tables.items():
        y += 18
        shapes.append(f'<text x="10" y="{y}" font-weight="bold">{TITLES[kind]}</text>')
        y += 8
        for load, row in table.items():
            shapes.append(f'<text x="10" y="{y + BAR}">{load}</text>')
            for target, figure in row.items():
                if target == "direct":
                    continue
                share = figure.rate / row["direct"].rate
                width = share * WHOLE
                shapes.append(
                    f'<rect x="{NAMES}" y="{y + 2}" width="{width:.0f}" height="{BAR - 2}" '
                    f'fill="{COLOURS[target]}"/><text x="{NAMES + width + 5:.0f}" y="{y + BAR - 1}">'
                    f"{target} {share:.2f}</text>"
                )
                y += BAR
            y += 6
    line = f'<line x1="{NAMES + WHOLE}" y1="10" x2="{NAMES + WHOLE}" y2="{y}" stroke="#c0392b"/>'
    size = f'width="{NAMES + 2 * WHOLE}" height="{y + 10}"'
    style = 'font-family="sans-serif" font-size="12"'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', *shapes, line, "</svg>", ""]
    )
