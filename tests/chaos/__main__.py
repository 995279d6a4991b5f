"""C{python -m tests.chaos}."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.chaos.options import parse
from tests.chaos.run import Run

if __name__ == "__main__":
    os.nice(5)
    sys.exit(0 if asyncio.run(Run(parse(sys.argv[1:])).go()) else 1)
