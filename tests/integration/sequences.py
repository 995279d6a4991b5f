"""Random sequences of requests, valid and not, in all protocols of the port, for comparing two servers.

Left out is what Tile38 makes hang or drop (a line C{GET ...} that ends in LF
alone, an empty name, an endless bulk, words behind a live command) and what
speaks of the server itself.
"""

from __future__ import annotations

import re
from enum import Enum
from random import Random

from attrs import frozen

from tile38cm.wire.commands import classify
from tile38cm.wire.resp import encode_request

KEYS = ["fleet", "k", "ключ", "a b"]
IDS = ["1", "truck", "x y", "ñ"]
NUMBERS = ["0", "1", "-1", "33.5", "-115", "1e3", "nan", "x", "181", ""]
#: No brackets: lists begin and end with spaces, alternatives are parted by bars.
READS = """
GET {key} {id}|GET {key} {id} WITHFIELDS|GET {key} {id} POINT|GET {key} {id} HASH 5
GET {key} {id} BOUNDS|GET {key}|JGET {key} {id} name.first|JGET {key} {id}|FGET {key} {id} speed
EXISTS {key} {id}|FEXISTS {key} {id} speed|TTL {key} {id}|TYPE {key}|BOUNDS {key}|STATS {key} nothing
STATS|KEYS *|KEYS {key}*|KEYS|HOOKS *|CHANS *|SCAN {key}|SCAN {key} IDS|SCAN {key} LIMIT {n}
SCAN {key} COUNT|SCAN {key} WHERE speed {n} {n}|SCAN {key} FENCE|SCAN {key} CURSOR {n} LIMIT 2 OBJECTS
SCAN {key} MATCH *t* DESC|SEARCH {key} MATCH * LIMIT 5|SEARCH {key} ASC IDS
NEARBY {key} LIMIT {n} POINT {n} {n}|NEARBY {key} LIMIT 5 DISTANCE POINT 33 -115 100000
NEARBY {key} POINT 33 -115 1000 x|WITHIN {key} COUNT BOUNDS {n} {n} {n} {n}
WITHIN {key} BOUNDS 0 -180 90 0|WITHIN {key} LIMIT 3 IDS CIRCLE 33 -115 {n}
INTERSECTS {key} POINTS BOUNDS 0 -180 90 0|INTERSECTS {key} HASH 9my|INTERSECTS {key} GET {key} {id}
INTERSECTS {key}|INTERSECTS {key} LIMIT 10 MVT 0 0 0|INTERSECTS {key} TILE 0 0 1|WITHIN {key} QUADKEY 02
TEST POINT 1 1 WITHIN BOUNDS 0 0 2 2|TEST POINT 1 1 INTERSECTS CIRCLE 1 1 {n}
TEST GET {key} {id} WITHIN BOUNDS 0 0 2 2|TIMEOUT {n} GET {key} {id}|TIMEOUT 5 SCAN {key} COUNT|TIMEOUT
TIMEOUT 1|TIMEOUT 1 TIMEOUT 1 TTL {key} {id}|EVALRO return{{1,ARGV[1]}} 0 x
EVALRO return(tile38.call('get',KEYS[1],ARGV[1])) 1 {key} {id}|EVALRO x x|EVALRO error('no') 0
EVALROSHA 0123456789abcdef 0
SCRIPT EXISTS 0123456789abcdef|SCRIPT|SCRIPT LOAD return(1)|PING|PING {id}
ECHO {id}|ECHO|ping x y|AUTH x|AUTH|OUTPUT|OUTPUT xml|OUTPUT json x|OUTPUT json|OUTPUT resp|HEALTHZ
HEALTHZ x|NONSENSE a b|{id}|GET {key} {id} {n}|SUBSCRIBE|PSUBSCRIBE|MONITOR x|NEARBY {key} FENCE|CLIENT
CLIENT GETNAME x|CONFIG GET maxmemory|CONFIG GET
"""
WRITES = """
SET {key} {id} POINT {n} {n}|SET {key} {id} POINT 33 -115|SET {key} {id} FIELD speed {n} POINT 33 -115 7
SET {key} {id} STRING {id}|SET {key} {id} OBJECT {{"type":"Point","coordinates":[-115,33]}}
SET {key} {id} BOUNDS 30 -120 40 -110|SET {key} {id} HASH 9my5xp7|SET {key} {id} NX POINT 1 2
SET {key} {id} XX STRING y|SET {key} {id} EX 1000 POINT 1 1|SET {key}|SET {key} {id} OBJECT {{
FSET {key} {id} speed {n}|FSET {key} {id} XX a 1 b 2|FSET {key} {id}|JSET {key} {id} name.first Anna
JSET {key} {id} n 5 RAW|JSET {key} {id}|DEL {key} {id}|DEL {key} {id} x|DEL {key} {id} ERRON404
PDEL {key} t*|DROP {key}|DROP {key} x|EXPIRE {key} {id} 1000|EXPIRE {key} {id} {n}x|PERSIST {key} {id}
RENAME {key} k|RENAMENX {key} a|RENAME {key}|FLUSHDB|FLUSHDB x
SETCHAN c NEARBY {key} FENCE POINT 33 -115 1000
SETCHAN c META a b WITHIN {key} FENCE DETECT enter BOUNDS 0 0 1 1|DELCHAN c|PDELCHAN *|SETCHAN c
SETHOOK h nowhere NEARBY {key} FENCE POINT 1 2 3|DELHOOK h|PDELHOOK *|PUBLISH c {id}|PUBLISH c
EVAL return(tile38.call('set',KEYS[1],ARGV[1],'string','x')) 1 {key} {id}|EVALNA return(KEYS[1]) 1 {key}
EVAL return(2) 0|EVAL|EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0
TIMEOUT 1 SET {key} {id} STRING x
"""
#: What ends a connection because it cannot be read.
BROKEN = [
    b"*1\r\n:1\r\n",
    b"*-1\r\n",
    b"*x\r\n",
    b"*1\r\n$x\r\n",
    b"*1\r\n$4\r\npingXX",
    b'set "a\r\n',
    b"set a'b\r\n",
    b'"a"b\r\n',
    b"$x PING\r\n",
    b"$4 PINGxx",
    b"$-1 \r\n",
]
#: What ends it because it is the way of that protocol.
LAST = ["http", "post", "quit", "broken"]

_UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
)
_UNQUOTED = re.compile(rb"""[^"'\r\n ]+""")


def _alternatives(text: str) -> list[str]:
    return [each for line in text.split("\n") for each in line.split("|") if each]


@frozen
class Sequence:
    """The pieces to be sent; C{closing}: the last request ends the connection."""

    pieces: tuple[bytes, ...]
    closing: bool

    def __str__(self) -> str:
        return "\n".join(map(repr, self.pieces))


class Sequences:
    """All that follow from one seed; C{writes}: whether they may change anything."""

    def __init__(self, seed: int, writes: bool) -> None:
        self._random = Random(seed)
        self._lines = _alternatives(READS) + (_alternatives(WRITES) * 2 if writes else [])

    def next(self) -> Sequence:
        """A few requests, whole, ended by one that closes the connection now and then."""
        random = self._random
        protocols = random.choice((["resp"], ["resp"], ["inline"], ["native"], ["resp", "inline", "native"]))
        parts = [self._request(random.choice(protocols)) for _ in range(random.randint(0, 8))]
        closing = not parts or random.random() < 0.4
        if not parts:
            # Behind something else Tile38 shakes hands before it answers that.
            parts.append(self._last("websocket"))
        elif closing:
            parts.append(self._last(random.choice(LAST)))
        data = b"".join(parts)
        cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((0, 0, 1, 2, 5))))
        ends = zip([0, *cuts], [*cuts, len(data)], strict=True)
        return Sequence(tuple(data[a:b] for a, b in ends if b > a), closing)

    def _words(self) -> list[bytes]:
        """One command, but none that is answered by the proxy alone."""
        while True:
            words = self._any_words()
            if classify(words).refusal is None:
                return words

    def _any_words(self) -> list[bytes]:
        random = self._random
        line = random.choice(self._lines)
        chosen = {"key": KEYS, "id": IDS, "n": NUMBERS}
        words = []
        for word in line.split(" "):
            filled = word
            for name, values in chosen.items():
                while f"{{{name}}}" in filled:
                    filled = filled.replace(f"{{{name}}}", random.choice(values), 1)
            words.append(filled.replace("{{", "{").replace("}}", "}").encode())
        if random.random() < 0.03:
            words[random.randrange(len(words))] = random.randbytes(random.randint(1, 9))
        if random.random() < 0.3:
            words[0] = words[0].lower()
        return words

    def _request(self, protocol: str) -> bytes:
        words = self._words()
        if protocol == "resp":
            skipped = self._random.choice((b"",) * 9 + (b"*0\r\n",))
            return skipped + encode_request(words)
        if protocol == "inline":
            return self._inline(words)
        line = b" ".join(words)
        return b"$%d %b\r\n" % (len(line), line)

    def _inline(self, words: list[bytes]) -> bytes:
        quoted = [word if _UNQUOTED.fullmatch(word) else _quoted(word) for word in words]
        end = b"\r\n" if quoted[0][:1] in b"GPO" else self._random.choice((b"\r\n", b"\n"))
        return b" ".join(quoted) + end

    def _last(self, way: str) -> bytes:
        if way == "quit":
            return encode_request([b"QUIT"])
        if way == "broken":
            return self._random.choice(BROKEN)
        line = b" ".join(self._words())
        path = b"".join(b"+" if c == 32 else b"%%%02x" % c for c in line)
        if way == "post" and line:
            return self._post(line)
        return b"GET /%b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path, _UPGRADE if way == "websocket" else b"")

    def _post(self, line: bytes) -> bytes:
        cut = self._random.randrange(len(line))
        path = b"".join(b"%%%02X" % c for c in line[:cut])
        return b"POST /%b HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (path, len(line) - cut, line[cut:])


def _quoted(word: bytes) -> bytes:
    escaped = word.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"' + escaped.replace(b"\n", b"\\n").replace(b"\r", b"\\r") + b'"'


#: What differs between two runs of the same command: times, and the lengths of texts that hold them.
_VARYING = re.compile(
    rb'(?<=\$)\d+(?=(?:\r\n| )\{)|,?"elapsed":"?[^",}]*"?|(?<=Content-Length: )\d+'
    rb"|(?<=\x81)(?:[\x00-\x7d]|\x7e..|\x7f.{8})(?=\{)",
    re.DOTALL,
)
#: How the proxy ends a connection that Tile38 closes without a word.
_FAREWELL = re.compile(rb'-[^\r\n]*\r\n|\$\d*\r\n\{"ok":false,"err":"[^\r\n]*\}\r\n|HTTP/1.1 4.*|', re.DOTALL)


class End(Enum):
    """How a connection ended."""

    OPEN = "open"
    CLOSED = "closed"
    #: With bytes unread, for which the kernel throws away what was answered before.
    RESET = "reset"


def difference(direct: bytes, through: bytes, end: End) -> str | None:
    """
    How what came through the proxy is not what came directly.

    @param end: how Tile38 ended the connection; where it closed without a word the proxy may have told why.
    """
    one, other = _VARYING.sub(b"", direct), _VARYING.sub(b"", through)
    rest = other[len(one) :] if other.startswith(one) else None
    if rest == b"" or (rest is not None and end is End.RESET):
        return None
    if rest is not None and end is End.CLOSED and _FAREWELL.fullmatch(rest):
        return None
    pairs = enumerate(zip(one, other, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    return f"directly {one[max(at - 60, 0) : at + 200]!r}\nthrough  {other[max(at - 60, 0) : at + 200]!r}"
