"""The README says what the code does."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import tile38cm
from tests.readme import PAGES, README, refreshed
from tile38cm.flags.table import FLAGS
from tile38cm.operate.metrics import TABLE

PACKAGE = Path(tile38cm.__file__).parent
ARCHITECTURE = README.parent / "ARCHITECTURE.rst"


class ArchitectureTests(SynchronousTestCase):
    """What ARCHITECTURE.rst names is there, and what is there is named."""

    def setUp(self) -> None:
        self.text = ARCHITECTURE.read_text()

    def test_every_part(self) -> None:
        """Every package and every module beside them has its place in the map."""
        parts = [
            path.stem
            for path in PACKAGE.iterdir()
            if not path.name.startswith("_") and path.name != "py.typed"
        ]
        self.assertEqual([part for part in parts if f"``{part}``" not in self.text], [])

    def test_every_name(self) -> None:
        """A module or a name in one that it points to exists."""
        for dotted in re.findall(r"``((?:[a-z_]+\.)+[A-Za-z_.]+)``", self.text):
            if dotted.split(".")[-1] in ("py", "rst", "md", "hcl", "json", "pid"):
                continue
            self.assertTrue(self.exists(dotted), dotted)

    def exists(self, dotted: str) -> bool:
        """Whether C{package.module.Class.method}, below our package, is there."""
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            path = PACKAGE.joinpath(*parts[:length])
            if path.is_dir() or path.with_suffix(".py").is_file():
                found: object = importlib.import_module(".".join(["tile38cm", *parts[:length]]))
                return all((found := getattr(found, name, None)) is not None for name in parts[length:])
        return False


class ReadmeTests(SynchronousTestCase):
    """Its tables, and the commands in it."""

    def setUp(self) -> None:
        self.text = README.read_text()

    def test_tables(self) -> None:
        """The tables of flags and metrics are those of the code; C{python -m tests.readme} makes them so."""
        self.assertEqual(self.text, refreshed(self.text))

    def test_every_row(self) -> None:
        """Every flag and every metric has a row."""
        for flag in FLAGS:
            self.assertRegex(self.text, rf"\* - ``--{re.escape(flag.name)}[ `]")
        for metric in TABLE:
            self.assertIn(f"* - ``{metric.name}``", self.text)

    def test_marks(self) -> None:
        """A README that has lost its marks is an error, and not quietly left as it is."""
        for name in PAGES:
            with self.assertRaises(ValueError):
                refreshed(self.text.replace(f".. end: {name}\n", ""))

    def test_verbs(self) -> None:
        """The commands of make that it names exist."""
        makefile = (README.parent / "Makefile").read_text()
        found = re.findall(r"(?m)``make ([a-z]+)``|^ +make ([a-z]+)$", self.text)
        named = {inline or alone for inline, alone in found}
        self.assertLessEqual({"run", "test"}, named)
        for verb in named:
            self.assertRegex(makefile, rf"(?m)^{verb}:")

    def test_files(self) -> None:
        """The files that it names exist."""
        for name in re.findall(r"``([\w/]+(?:\.rst|/))``", self.text):
            if name != "kept/":
                self.assertTrue((README.parent / name).exists(), name)
