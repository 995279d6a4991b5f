"""C{python -m tests.readme} writes the tables of README.rst anew, from the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tile38cm.flags.pages import rst_page
from tile38cm.operate.metrics import TABLE

README = Path(__file__).resolve().parent.parent / "README.rst"


def metrics_page() -> Iterator[str]:
    """The lines of a table of all metrics."""
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: 20 10 14 60", "")
    yield from ("   * - name", "     - kind", "     - unit", "     - meaning")
    for metric in TABLE:
        # A state is a gauge for whoever receives it.
        kind = "count" if metric.kind == "count" else "gauge"
        cells = (f"     - {cell}".rstrip() for cell in (kind, metric.unit, metric.help))
        yield from (f"   * - ``{metric.name}``", *cells)


PAGES: dict[str, Callable[[], Iterator[str]]] = {"flags": rst_page, "metrics": metrics_page}


def refreshed(text: str) -> str:
    """The text with a present page between each pair of marks."""
    for name, page in PAGES.items():
        begin, end = f".. begin: {name}\n", f".. end: {name}\n"
        body = "\n".join(page()).strip("\n")
        text, found = re.subn(
            re.escape(begin) + ".*?" + re.escape(end),
            lambda _, new=f"{begin}\n{body}\n\n{end}": new,  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
        if found != 1:
            raise ValueError(f"no place for {name} in {README.name}")
    return text


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text()))
