"""C{python -m tests.run [unit] [integration] [chaos] [tests.unit.test_tap …]}: the tests by trial.

Without a name that is all but C{chaos}, which takes minutes by itself: how
many is said by C{TILE38CM_CHAOS_MINUTES}, and where that is set it is run too.
The last line is C{N passed, N failed}, with C{, N skipped} where tests were
skipped.  The exit code is not zero if a test failed, or if there was none:
trial itself is content with an empty run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import TestSuite

from twisted.trial.reporter import Reporter, TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

FOLDERS = ("unit", "integration", "chaos")
MINUTES = "TILE38CM_CHAOS_MINUTES"


def main(names: Sequence[str]) -> int:
    """Run what is named, L{usually} without a name; returns the exit code."""
    chosen = names or usually(os.environ)
    wanted = [f"tests.{name}" if name in FOLDERS else name for name in chosen]
    loader = TestLoader()
    suite = TestSuite(loader.loadByName(name, recurse=True) for name in wanted)
    result = TrialRunner(TreeReporter).run(suite)
    assert isinstance(result, Reporter)
    sys.stdout.flush()
    sys.stderr.flush()
    for test in failed(result):
        print(f"failed: {test}")
    print(closing_line(result), flush=True)
    return exit_code(result)


def usually(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The folders that are run where none is named."""
    return FOLDERS if environment.get(MINUTES) else FOLDERS[:2]


def closing_line(result: Reporter) -> str:
    """The counts as one line."""
    line = f"{_passed(result)} passed, {_failed(result)} failed"
    return f"{line}, {len(result.skips)} skipped" if result.skips else line


def failed(result: Reporter) -> list[str]:
    """The names of the tests that failed, for who sees only the end of a long run."""
    return sorted({str(each[0].id()) for each in _wrong(result)})


def exit_code(result: Reporter) -> int:
    """Zero if something passed and nothing failed."""
    return 0 if _passed(result) and not _failed(result) else 1


def _passed(result: Reporter) -> int:
    return int(result.successes) + len(result.expectedFailures)


def _failed(result: Reporter) -> int:
    return len(_wrong(result))


def _wrong(result: Reporter) -> list[Any]:
    return [*result.failures, *result.errors, *result.unexpectedSuccesses]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
