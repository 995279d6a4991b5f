"""Random commands for two servers that have to answer alike, and what may differ between two answers."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

Words = list[str]

KEYS = ("fleet", "park", "a*b", "né")
IDS = ("truck1", "truck2", "Truck3", "bus:1", "bus:2", "x y", "0", "10", "9", "ü")
FIELDS = ("speed", "age", "name", "info", "Z1")
VALUES = (
    "0", "1", "-3", "1.50", "1e3", "007", "inf", "nan", "-Infinity", "true", "false", "null", "", " 7 ",
    "slow", "SLOW", "a b", '"q"', '{"a": 1, "b":[1, 2.0]}', "[1,2]", "{bad", "<&>", "ä", "0x1p3", "1_000",
)  # fmt: skip
#: A word there that begins with a letter would make an expression of it.
BOUNDS = tuple(value for value in VALUES[:14] if value and not (value[0].isalpha() and value != "inf"))
PATTERNS = (
    "*",
    "truck*",
    "bus:?",
    "*1",
    "[bt]*",
    "tr[u-v]ck1",
    "t*[12]",
    "nothing",
    "x y",
    "b*:*",
    "tru\\ck1",
)
SHAPES = (
    '{"type":"Point","coordinates":[-112.1,33.4]}',
    '{"type":"Point","coordinates":[-112.1,33.4,7.50]}',
    '{ "type": "Feature", "geometry": {"type":"Point","coordinates":[-112.15,33.45]},'
    ' "properties": {"speed": 12.0, "name":"x"} , "id": 5}',
    '{"type":"Feature","geometry":{"type":"Point","coordinates":[-112.15,33.45]}}',
    '{"type":"Polygon","coordinates":[[[-112.3,33.3],[-112.0,33.3],[-112.0,33.6],[-112.3,33.3]]]}',
    '{"type":"LineString","coordinates":[[-112.3,33.3],[-112.0,33.6]]}',
    '{"type":"MultiPoint","coordinates":[[-112.3,33.3],[-112.0,33.6]]}',
    '{"type":"MultiPolygon","coordinates":[[[[-112.3,33.3],[-112.0,33.3],[-112.0,33.6],[-112.3,33.3]]]]}',
    '{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[-112.2,33.5]}]}',
    '{"type":"FeatureCollection","features":[]}',
    '{"type":"Polygon","coordinates":[[[0,0],[1,1]]]}',
    '{"type":"Nonsense"}',
    '{"type":"Point"}',
    "{}",
    "nonsense",
)
HASHES = ("9tbnthxzr", "9tbn", "9", "u33db2", "9tbnth")


class Commands:
    """An endless row of commands, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._pick = self._random.choice

    def __iter__(self) -> Iterator[Words]:
        weighted = [(each, weight) for each, weight in self._kinds()]
        makers, weights = [each for each, _ in weighted], [weight for _, weight in weighted]
        while True:
            yield self._random.choices(makers, weights)[0]()

    def _kinds(self) -> list[tuple[Callable[[], Words], int]]:
        return [
            (self.set, 30), (self.get, 12), (self.fset, 8), (self.fields, 5), (self.small, 14),
            (self.scan, 12), (self.nearby, 12), (self.area, 20), (self.hooks, 6), (self.keys, 6),
            (self.documents, 4), (self.wrong, 6),
        ]  # fmt: skip

    def _key(self) -> str:
        return self._pick(KEYS)

    def _id(self) -> str:
        return self._pick(IDS)

    def _case(self, word: str) -> str:
        return self._pick((word, word.lower(), word.title()))

    def _place(self) -> Words:
        digits = self._pick((1, 2, 4))
        lat = round(self._random.uniform(33.2, 33.7), digits)
        return [repr(lat), repr(round(self._random.uniform(-112.4, -111.9), digits))]

    def _content(self) -> Words:
        match self._random.randrange(6):
            case 0:
                return ["BOUNDS", *self._box()]
            case 1:
                return ["STRING", self._pick(VALUES)]
            case 2:
                return ["OBJECT", self._pick(SHAPES)]
            case 3:
                return ["HASH", self._pick(HASHES)]
        return ["POINT", *self._place(), *self._pick(([], [], ["12.5"], ["0"]))]

    def _box(self) -> Words:
        first, second = self._place(), self._place()
        south, north = sorted((first[0], second[0]), key=float)
        west, east = sorted((first[1], second[1]), key=float)
        return [south, west, north, east]

    def set(self) -> Words:
        """SET with all its options."""
        options: Words = []
        for _ in range(self._pick((0, 0, 1, 1, 2, 3))):
            options += ["FIELD", self._pick(FIELDS), self._pick(VALUES)]
        options += self._pick(
            ([], [], [], ["NX"], ["XX"], ["EX", "500"], ["EX", "1e3"], ["NX", "XX"], ["EX", "x"])
        )
        return [self._case("SET"), self._key(), self._id(), *options, *self._content()]

    def get(self) -> Words:
        """GET in every form."""
        views: tuple[Words, ...] = (
            [],
            ["WITHFIELDS"],
            ["POINT"],
            ["BOUNDS"],
            ["HASH", "7"],
            ["OBJECT"],
            ["HASH", "99"],
            ["x"],
        )
        return [
            self._case("GET"),
            self._key(),
            self._id(),
            *self._pick(views),
            *self._pick(([], ["WITHFIELDS"])),
        ]

    def fset(self) -> Words:
        """FSET of some fields."""
        pairs = [
            word for _ in range(self._pick((1, 1, 2))) for word in (self._pick(FIELDS), self._pick(VALUES))
        ]
        return ["FSET", self._key(), self._id(), *self._pick(([], [], ["XX"])), *pairs]

    def fields(self) -> Words:
        """What asks for a field."""
        return [self._pick(("FGET", "FEXISTS")), self._key(), self._id(), self._pick((*FIELDS, "none"))]

    def small(self) -> Words:
        """Commands about one object, or one key."""
        key, id = self._key(), self._id()
        return self._pick(
            (
                ["DEL", key, id], ["DEL", key, id, "ERRON404"], ["DEL", key, id, "x"], ["EXISTS", key, id],
                ["TTL", key, id], ["EXPIRE", key, id, "300"], ["PERSIST", key, id], ["TYPE", key],
                ["BOUNDS", key],
                ["PDEL", key, self._pick(PATTERNS)], ["DROP", key], ["RENAME", key, self._key()],
                ["RENAMENX", key, self._key()], ["STATS", key, self._key()],
                ["TEST", *self._where(), self._pick(("WITHIN", "INTERSECTS")), *self._where()],
            )
        )  # fmt: skip

    def _filters(self) -> Words:
        found: Words = []
        for _ in range(self._pick((0, 0, 1, 1, 2))):
            name = self._pick((*FIELDS, "z", "properties.speed"))
            # An empty word there ends a real server: it looks at its first letter.
            low, high = self._pick(BOUNDS), self._pick(VALUES)
            found += self._pick(
                (
                    ["WHERE", name, low, high], ["WHERE", name, f"({low}", high],
                    ["WHERE", name, "-inf", "+inf"],
                    ["WHERE", name, self._pick(("<", "<=", ">", ">=", "==", "!=")), low],
                    ["WHEREIN", name, "2", low, high], ["WHEREIN", name, "x"],
                    ["MATCH", self._pick(PATTERNS)],
                )
            )  # fmt: skip
        return found + self._pick(([], [], ["NOFIELDS"], ["NOFIELDS", "NOFIELDS"]))

    def _output(self) -> Words:
        return self._pick(
            ([], ["COUNT"], ["IDS"], ["OBJECTS"], ["POINTS"], ["BOUNDS"], ["HASHES", "6"], ["HASHES", "0"])
        )

    def scan(self) -> Words:
        """SCAN and SEARCH, in pages."""
        pages: tuple[Words, ...] = (
            [],
            [],
            ["LIMIT", "3"],
            ["CURSOR", "2"],
            ["LIMIT", "2", "CURSOR", "1"],
            ["LIMIT", "0"],
        )
        order = self._pick(([], [], ["ASC"], ["DESC"]))
        options = [*self._filters(), *(self._pick(pages) if order != ["DESC"] else []), *order]
        return [self._pick(("SCAN", "SEARCH")), self._key(), *options, *self._output()]

    def nearby(self) -> Words:
        """NEARBY with and without a radius; ids of equal distance have no order, so they are few."""
        radius = self._pick(([], ["0"], ["5000"], ["20000.5"], ["-1"]))
        options = [*self._filters(), *self._pick(([], ["DISTANCE"]))]
        return ["NEARBY", self._key(), *options, *self._output(), "POINT", *self._place(), *radius]

    def area(self) -> Words:
        """WITHIN and INTERSECTS."""
        return [
            self._pick(("WITHIN", "INTERSECTS")),
            self._key(),
            *self._filters(),
            *self._output(),
            *self._where(),
        ]

    def _where(self) -> Words:
        return self._pick(
            (
                ["BOUNDS", *self._box()], ["BOUNDS", *self._box()], ["CIRCLE", *self._place(), "9000"],
                ["CIRCLE", *self._place(), "-1"], ["OBJECT", self._pick(SHAPES)],
                ["HASH", self._pick(HASHES)],
                ["TILE", "12", "25", "6"], ["QUADKEY", "0231"], ["QUADKEY", "9"],
                ["GET", self._key(), self._id()],
                ["POINT", *self._place()], ["NOWHERE"], [],
            )
        )  # fmt: skip

    def hooks(self) -> Words:
        """Channels and hooks; what they show."""
        name = self._pick(("c1", "c2", "h1"))
        fence = ["NEARBY", self._key(), "FENCE", "DETECT", "enter,exit", "POINT", *self._place(), "500"]
        return self._pick(
            (
                ["SETCHAN", name, *fence], ["SETCHAN", name, "META", "a", "b", *fence], ["DELCHAN", name],
                ["SETHOOK", name, "http://127.0.0.1:1/x", *fence], ["DELHOOK", name], ["PDELCHAN", "c*"],
                ["PDELHOOK", "*"], ["HOOKS", "*"], ["CHANS", "*"], ["CHANS", "c?"], ["SETCHAN", name, "x"],
                ["SETHOOK", name, "nonsense", *fence],
            )
        )  # fmt: skip

    def keys(self) -> Words:
        """What is about all keys, or none."""
        return self._pick(
            (
                ["KEYS", self._pick(("*", "f*", "?ark", "a\\*b", "né", "nothing"))], ["PING"],
                ["PING", "a b"],
                ["ECHO", "x"], ["HEALTHZ"], ["OUTPUT"], ["CONFIG", "GET", "maxmem*"], ["CONFIG", "GET", "x"],
                ["PUBLISH", "c", "m"], ["TIMEOUT", "10", "SCAN", self._key()],
                ["TIMEOUT", "x", "GET", "a", "b"],
                ["TIMEOUT", "1", "DEL", "a", "b"],
            )
        )  # fmt: skip

    def documents(self) -> Words:
        """JSON inside of objects."""
        key, id = self._key(), f"doc{self._pick('12')}"
        path = self._pick(("a", "a.b", "list.0", "list.-1", "name"))
        value = self._pick(("1", "x", "true", "12.5", "a b"))
        return self._pick(
            (
                ["JSET", key, id, path, value], ["JSET", key, id, path, value, "STR"], ["JGET", key, id],
                ["JGET", key, id, path], ["JGET", key, id, path, "RAW"], ["JSET", key, id, path],
            )
        )  # fmt: skip

    def wrong(self) -> Words:
        """What cannot be done."""
        names = (
            "SET",
            "GET",
            "DEL",
            "SCAN",
            "NEARBY",
            "WITHIN",
            "SETCHAN",
            "EXPIRE",
            "CONFIG",
            "READONLY",
            "AOFMD5",
        )
        words = [
            self._pick((self._key(), self._id(), "POINT", "x", "1")) for _ in range(self._random.randrange(4))
        ]
        return self._pick(([self._pick(names), *words], ["FROB", *words], ["HELLO", "3"], ["AUTH", "x"]))


#: What holds bytes of memory, which no two programs need alike.
SIZES = ("in_memory_size",)
#: Searches whose results have no order.
UNORDERED = ("within", "intersects")


def comparable(words: Words, reply: Any) -> Any:
    """A reply without what may differ: times, sizes, the order of what has none."""
    if isinstance(reply, str):
        reply = re.sub(r'"elapsed":[^"}]+}', '"elapsed":0}', reply)
    name = words[2 if words[0].lower() == "timeout" and len(words) > 2 else 0].lower()
    if isinstance(reply, str) and reply.startswith("{"):
        try:
            reply = json.loads(reply)
        except ValueError:
            return reply
        reply.pop("elapsed", None) if isinstance(reply, dict) else None
    if name == "ttl" and reply not in (-1, -2):
        return "a lifetime" if not isinstance(reply, dict) or "ttl" in reply and reply["ttl"] >= 0 else reply
    if name == "stats":
        return _without_sizes(reply)
    if name in UNORDERED:
        return _sorted(reply)
    return _rounded(reply) if name == "nearby" else reply


def _without_sizes(reply: Any) -> Any:
    if isinstance(reply, dict):
        return {name: _without_sizes(value) for name, value in reply.items() if name not in SIZES}
    if isinstance(reply, list) and reply and reply[0] in SIZES:
        return reply[2:]
    return [_without_sizes(each) for each in reply] if isinstance(reply, list) else reply


def _sorted(reply: Any) -> Any:
    if isinstance(reply, dict):
        return {name: sorted(v, key=repr) if isinstance(v, list) else v for name, v in reply.items()}
    if isinstance(reply, list) and len(reply) == 2 and isinstance(reply[1], list):
        return [reply[0], sorted(reply[1], key=repr)]
    return reply


def _rounded(reply: Any) -> Any:
    """Distances to the millimetre; rows of one distance, and those that tell none, have no order."""
    if isinstance(reply, dict):
        return {
            name: sorted(map(_near, v), key=_far) if isinstance(v, list) else v for name, v in reply.items()
        }
    if isinstance(reply, list) and len(reply) == 2 and isinstance(reply[1], list):
        return [reply[0], sorted(map(_near, reply[1]), key=_far)]
    return reply


def _near(row: Any) -> Any:
    if isinstance(row, dict) and "distance" in row:
        return row | {"distance": round(row["distance"], 3)}
    if isinstance(row, list) and isinstance(row[-1], str) and re.fullmatch(r"[0-9]+\.[0-9]+", row[-1]):
        return [*row[:-1], round(float(row[-1]), 3)]
    return row


def _far(row: Any) -> tuple[float, str]:
    """What to sort rows by."""
    last = row.get("distance") if isinstance(row, dict) else row[-1]
    return last if isinstance(last, float) else 0.0, repr(row)
