"""What a run is told."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

from attrs import frozen

#: Three, as most clusters have; the rules are the same for more.
NODES = 3


@frozen
class Options:
    """One run; the seed decides the order and times of faults, not what the machine makes of them."""

    minutes: float
    seed: int
    lease: str
    only: tuple[str, ...]
    tls: str
    keep: bool
    clients: int
    lifetimes: bool


def parse(words: Sequence[str]) -> Options:
    """Read a command line; ends the process if it makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults happen")
    parser.add_argument("--seed", type=int, help="as printed by an earlier run")
    parser.add_argument("--lease", default="500ms")
    parser.add_argument("--only", default="", help="kinds of faults, by prefix, separated by commas")
    parser.add_argument("--tls", default="off", choices=("off", "connect"))
    parser.add_argument("--clients", type=int, default=6, help="how many write registers")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a good run too")
    parser.add_argument("--lifetimes", action="store_true", help="what was persisted must be there, too")
    given = parser.parse_args(words)
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    only = tuple(word for word in given.only.split(",") if word)
    return Options(
        given.minutes, seed, given.lease, only, given.tls, given.keep, given.clients, given.lifetimes
    )
