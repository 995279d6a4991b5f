"""L{tile38cm.replication.markers} against the log and the clock of a real Tile38."""

from __future__ import annotations

import json

from tests.integration.fed import FedCase, asked, log_of, until, write
from tests.real import RealTile38
from tile38cm.replication.markers import commands, for_follower

SLACK = 10_000
POINT, FENCE = ["POINT", "1", "2"], ["NEARBY", "fleet", "FENCE", "POINT", "1", "2", "300"]
OBJECTS = [
    POINT,
    [*POINT, "3"],
    ["BOUNDS", "1", "2", "3", "4"],
    ["HASH", "9tbnt"],
    ["STRING", "EX"],
    ["OBJECT", '{"type":"Point","coordinates":[1,2]}'],
]
OPTIONS = [
    ["EX", "500"],
    ["ex", "0x1f4p0"],
    ["EX", "100", "Ex", "5e2"],
    ["FIELD", "ex", "7", "EX", "500"],
    ["EX", "500", "FIELD", "field", "9"],
    ["NX", "EX", "500"],
    ["EX", "500", "nx"],
    ["EX", "50_0"],
]


def told() -> list[list[str]]:
    """Every place in which a lifetime may stand, and places that only look like one."""
    forms: list[list[str]] = []
    for thing in OBJECTS:
        for options in OPTIONS:
            for split in range(0, len(options) + 1):
                if options[split - 1 : split] and options[:split] not in _whole(options):
                    continue
                forms.append(["SET", "fleet", f"ex{len(forms)}", *options[:split], *thing, *options[split:]])
    forms += [["SET", "ex", "EX", "FIELD", "EX", "5", "STRING", "ex"], ["FSET", "ex", "EX", "ex", "6"]]
    forms += [["SET", "fleet", "later", *POINT], ["EXPIRE", "fleet", "later", "500"]]
    forms += [["SET", "fleet", "kept", "EX", "500", *POINT], ["PERSIST", "fleet", "kept"]]
    forms += [["JSET", "fleet", "json", "EX", "5"]]
    for options in (["EX", "500"], ["META", "ex", "5", "EX", "500"], ["ex", "500", "META", "EX", "nearby"]):
        forms.append(["SETCHAN", f"chan{len(forms)}", *options, *FENCE])
        forms.append(["SETHOOK", f"hook{len(forms)}", "http://127.0.0.1:1/ex", *options, *FENCE])
    return [*forms, ["SETCHAN", "tile38cm", *FENCE], ["SETCHAN", "EX", "META", "EX", "5", *FENCE]]


def _whole(options: list[str]) -> list[list[str]]:
    """The beginnings of options that end between two of them."""
    widths, at = {"ex": 2, "field": 3, "nx": 1}, 0
    found: list[list[str]] = [[]]
    while at < len(options):
        at += widths[options[at].lower()]
        found.append(options[:at])
    return found


class LifetimeTests(FedCase):
    """A log as Tile38 writes it, fed to another one."""

    def lifetimes(self, server: RealTile38) -> dict[str, int]:
        """Seconds left, of all objects, hooks and channels; -1: no end."""
        found = {}
        for key in ("fleet", "ex"):
            ids = server.command("SCAN", key, "LIMIT", 10_000, "IDS")
            assert isinstance(ids, list)
            for id in ids[1]:
                found[f"{key} {id}"] = int(str(server.command("TTL", key, id)))
        with server.connect() as client:
            client.command("OUTPUT", "json")
            for kind in ("HOOKS", "CHANS"):
                for each in json.loads(str(client.command(kind, "*")))[kind.lower()]:
                    found[each["name"]] = int(each["ttl"])
        return found

    async def fed(self, leader: RealTile38, forms: int) -> None:
        """Another server is given the leader's log; everything is equal, and lives as much longer."""
        follower = self.server()
        payload = for_follower(log_of(leader), SLACK)
        write(follower, payload, sum(1 for _ in commands(payload)))
        ours, theirs = self.lifetimes(leader), self.lifetimes(follower)
        self.assertEqual(ours.keys(), theirs.keys())
        self.assertGreater(len(ours), forms)
        for name, seconds in ours.items():
            if seconds < 0:
                self.assertEqual(theirs[name], seconds, name)
            else:
                # Asked later than ours, and told in whole seconds; trial's assertAlmostEqual overlooks delta.
                self.assertLessEqual(abs(theirs[name] - seconds - SLACK), 3, name)
        for key in ("fleet", "ex"):
            self.assertEqual(asked(leader, "SCAN", key), asked(follower, "SCAN", key))

    async def test_every_form(self) -> None:
        """Each lifetime arrives longer by the slack, wherever it stood, also out of a shrunk log."""
        leader, forms = self.server(), told()
        for words in forms:
            self.assertIn(asked(leader, *words), ("OK", 1), words)
        lived = [t for t in self.lifetimes(leader).values() if t >= 0]
        self.assertGreater(len(lived), 100)
        self.assertTrue(all(490 <= t <= 500 for t in lived))
        await self.fed(leader, 100)
        before = log_of(leader)
        leader.command("AOFSHRINK")
        await until(lambda: log_of(leader) != before and log_of(leader).endswith(b"\r\n"), "shrunk")
        self.assertIn(b"$3\r\nset\r\n", log_of(leader))
        await self.fed(leader, 100)
