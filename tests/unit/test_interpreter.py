"""Which interpreter the virtual environment is made with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = Path(__file__).parents[2] / ".ci" / "python"
#: Answers the two questions that are asked of an interpreter: is it fit, is it optimised.
STUB = """#!/bin/sh
case "$2" in
*ensurepip*) exit {unfit:d} ;;
*sysconfig*) exit {slow:d} ;;
esac
"""


class InterpreterTests(SynchronousTestCase):
    """C{.ci/python}"""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.system = self.folder / "system-python3"

    def chosen(
        self, *, unfit: bool = False, slow: bool = False, system_unfit: bool = False
    ) -> tuple[str, str]:
        """What is printed, and what is said beside it, if python3 on PATH and the system's are like that."""
        for path, text in (
            (self.folder / "python3", STUB.format(unfit=unfit, slow=slow)),
            (self.system, STUB.format(unfit=system_unfit, slow=True)),
        ):
            path.write_text(text)
            path.chmod(0o755)
        environment = {"PATH": f"{self.folder}:{os.defpath}", "SYSTEM_PYTHON": str(self.system)}
        ran = subprocess.run(
            [SCRIPT], env=environment, capture_output=True, text=True, timeout=30, check=True
        )
        return ran.stdout.strip(), ran.stderr

    def test_optimised(self) -> None:
        """The one on PATH, if nothing speaks against it."""
        self.assertEqual(self.chosen(), ("python3", ""))

    def test_slow(self) -> None:
        """One compiled without optimisation gives way to the system's, and that is said."""
        chosen, said = self.chosen(slow=True)
        self.assertEqual(chosen, str(self.system))
        self.assertIn("PYTHON=python3", said)

    def test_unfit(self) -> None:
        """So does one that is too old or cannot make an environment."""
        self.assertEqual(self.chosen(unfit=True)[0], str(self.system))

    def test_only_one(self) -> None:
        """Without a fit one of the system it is the one on PATH, which says what it lacks."""
        for unfit in (False, True):
            self.assertEqual(self.chosen(unfit=unfit, slow=True, system_unfit=True), ("python3", ""))
