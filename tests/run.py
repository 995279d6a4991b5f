"""C{python -m tests.run [unit] [integration] [tests.unit.test_tap …]}: the tests by trial.

The last line is C{N passed, N failed}, with C{, N skipped} where tests were
skipped.  The exit code is not zero if a test failed, or if there was none:
trial itself is content with an empty run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from unittest import TestSuite

from twisted.trial.reporter import Reporter, TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

FOLDERS = ("unit", "integration")


def main(names: Sequence[str]) -> int:
    """Run what is named, everything without a name; returns the exit code."""
    wanted = [f"tests.{name}" if name in FOLDERS else name for name in names or FOLDERS]
    loader = TestLoader()
    suite = TestSuite(loader.loadByName(name, recurse=True) for name in wanted)
    result = TrialRunner(TreeReporter).run(suite)
    assert isinstance(result, Reporter)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.successes + len(result.expectedFailures)
    skipped = len(result.skips)
    sys.stdout.flush()
    sys.stderr.flush()
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
