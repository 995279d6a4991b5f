"""C{tile38ctl compare}: does the follower hold what the leader holds?"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from tile38cm.operate.ctl.options import (
    Console,
    Exit,
    address,
    json_option,
    password,
    password_options,
    seconds,
)
from tile38cm.replication.compare import Asked, Comparison, Difference, Verdict, compare
from tile38cm.replication.direct import reach
from tile38cm.replication.tail import text

ABOUT = """\
Compares two Tile38 servers, each by its own port: collections, ids, objects, fields, hooks and
channels. Nothing is written to either, and writes need not stop: what differs at first is looked at
again until the follower has had time to get there.

Lifetimes are compared only with --expiries, since Tile38 begins them anew when it restarts or when a
follower starts over.

Exit code: 0 equal; 1 different; 2 wrong usage; 3 it could not be found out, since a server does not
answer, or since some objects change all the time."""

EXAMPLE = "tile38ctl compare --leader 10.0.0.1:9851 --follower 10.0.0.2:9851 --password-file secret"

#: So many differences of each verdict are told to people, and some more to programs.
DESCRIBED = 20
#: Of each verdict, as a headline for people.
_HEADLINES = {
    Verdict.MISSING: "missing on the follower",
    Verdict.EXTRA: "only on the follower",
    Verdict.DIFFERENT: "different",
    Verdict.UNSETTLED: "changing too often to be compared",
}


def arguments(parser: ArgumentParser) -> None:
    """What C{compare} takes."""
    both = parser.add_argument_group("the two servers")
    both.add_argument(
        "--leader", type=address, required=True, metavar="HOST:PORT", help="the leader's Tile38"
    )
    both.add_argument("--follower", type=address, required=True, metavar="HOST:PORT", help="the follower's")
    password_options(parser)
    parser.add_argument("--expiries", action="store_true", help="compare lifetimes too; takes twice as long")
    parser.add_argument(
        "--tolerance",
        type=seconds,
        default=10.0,
        metavar="DURATION",
        help="with --expiries: by how much two lifetimes may differ (default: 10s; "
        "on followers they are --replication.ttl-slack longer)",
    )
    parser.add_argument(
        "--patience",
        type=seconds,
        default=2.0,
        metavar="DURATION",
        help="how far the follower may be behind: what differs for so long is a difference (default: 2s)",
    )
    parser.add_argument(
        "--wait",
        type=seconds,
        default=15.0,
        metavar="DURATION",
        help="how long to look again at what changes all the time (default: 15s)",
    )
    json_option(parser)


def run(options: Namespace, console: Console) -> Exit:
    """Compare, and say what was found."""
    asked = Asked(
        lifetimes=options.expiries,
        tolerance=options.tolerance,
        patience=options.patience,
        wait=options.wait,
    )
    secret = password(options)

    def progress(done: int, total: int) -> None:
        console.progress(f"{done:,} of about {total:,} objects compared")

    try:
        with reach(options.leader, secret) as leader, reach(options.follower, secret) as follower:
            found = compare(leader, follower, asked, progress)
    finally:
        console.progress("")
    if options.json:
        console.say(json.dumps(document(found), indent=1))
    else:
        for line in lines(found):
            console.say(line)
    if found.differing:
        return Exit.NO
    return Exit.FAILED if found.unsettled else Exit.GOOD


def document(found: Comparison) -> dict[str, Any]:
    """The result as JSON."""
    return {
        "equal": found.equal,
        "collections": found.collections,
        "objects": found.objects,
        "hooks": found.hooks,
        "channels": found.channels,
        "expiring": found.expiring,
        **{verdict.value: count for verdict, count in found.counts.items()},
        "leader_offset": found.leader_offset,
        "seconds": round(found.seconds, 3),
        "differences": [_difference(each) for each in found.differences],
    }


def _difference(each: Difference) -> dict[str, Any]:
    return {
        "what": each.verdict.value,
        "kind": each.subject.kind.value,
        "collection": text(each.subject.collection) or None,
        "id": text(each.subject.id),
        "leader_lifetime": each.leader_lifetime,
        "follower_lifetime": each.follower_lifetime,
    }


def lines(found: Comparison) -> list[str]:
    """The result for people."""
    expiring = "" if found.expiring is None else f" ({found.expiring:,} expire)"
    told = [
        f"{found.objects:,} objects{expiring} in {found.collections:,} collections, {found.hooks:,} hooks "
        f"and {found.channels:,} channels compared in {found.seconds:.1f} s",
    ]
    for verdict, headline in _HEADLINES.items():
        count = found.counts[verdict]
        described = [each for each in found.differences if each.verdict is verdict][:DESCRIBED]
        if count:
            told.append(f"{count:,} {headline}:")
            told += [f"  {_line(each)}" for each in described]
            told += [f"  and {count - len(described):,} more"] if count > len(described) else []
    if found.equal:
        told.append("equal")
    else:
        told.append("different" if found.differing else "not certain: as far as could be seen, equal")
    return told


def _line(each: Difference) -> str:
    subject = each.subject
    name = f"{text(subject.collection)} {text(subject.id)}" if subject.collection else text(subject.id)
    line = "".join(c if c.isprintable() else "?" for c in f"{subject.kind.value} {name}")
    ends = (each.leader_lifetime, each.follower_lifetime)
    if all(end in (None, -1, -2) for end in ends) and not subject.kind.value.startswith("lifetime"):
        return line
    leader, follower = map(_lifetime, ends)
    return f"{line}  (on the leader {leader}, on the follower {follower})"


def _lifetime(seconds: int | None) -> str:
    if seconds is None:
        return "unknown"
    return {-1: "for ever", -2: "gone"}.get(seconds, f"for {seconds} s")
