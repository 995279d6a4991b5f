"""
Requests out of a client's bytes, as Tile38 frames them, but within limits.

Tile38 looks at the first byte of each command, not of each connection: C{*}
is a RESP array, C{$} its native protocol, C{G}, C{P} and C{O} may be HTTP,
all else is a line.  It sets no limit: a request that announces 10^12 bytes
is waited for.  Here an announcement is judged when it is read, before a byte
of it is kept.

Where Tile38 has traps the parser is kinder: a line that begins with one of
C{G}, C{P}, C{O} may end in LF alone (Tile38 1.37 would wait for ever), and a
broken first request gets an error (Tile38 closes without a word).

HTTP ends what is read of a connection: it carries one request.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple

from tile38cm.wire.fed import Fed
from tile38cm.wire.forms import NATIVE, RESP, Form
from tile38cm.wire.http import PREFLIGHT, BadHttp, Head, head_end, parse_head
from tile38cm.wire.native import split_native
from tile38cm.wire.resp import encode_request

#: The longest line of an inline command, in bytes.
MAX_INLINE = 64 * 1024
#: The longest C{*n} or C{$n} line, and the longest length of a native command, in bytes.
MAX_HEADER = 32

_ARRAY, _NATIVE, _BULK = b"*$$"
_MAYBE_HTTP = frozenset(b"GPO")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class Request(NamedTuple):
    """
    One whole command; a tuple, since one is made for each request.

    C{args} is never empty, but C{args[0]} may be.  C{raw} is what to send on:
    the client's own bytes, or what they mean as an array.  C{form} is how the
    reply is to be written.
    """

    args: list[bytes]
    raw: bytes
    form: Form = RESP


class Malformed(NamedTuple):
    """No request can be found any more; C{text} is the error to answer before closing."""

    text: str


class Answered(NamedTuple):
    """What is to be answered before closing, whatever the server would say."""

    reply: bytes


Event = Request | Malformed | Answered


class RequestParser(Fed):
    """
    Feed it what came, then ask for the next event until there is none.

    After L{Malformed}, L{Answered} or a request in HTTP there is no further event.

    @param max_request: the largest request in bytes, its framing included.
    @param max_args: the largest number of arguments, the name included.
    @param http: whether HTTP and WebSocket are taken.
    """

    def __init__(self, max_request: int, max_args: int = 1_000_000, http: bool = True) -> None:
        super().__init__()
        self._max_request = max_request
        self._max_args = max_args
        self._http_taken = http
        self._args: list[bytes] = []
        self._missing = 0
        #: The head of a request in HTTP whose body is not whole yet.
        self._head: Head | None = None
        #: How long that head is.
        self._body = 0
        self._ended = False

    def next(self) -> Event | None:
        """The next event, or C{None} if more bytes are needed for it."""
        while self._start < len(self._data) and not self._ended:
            first = self._data[self._start]
            event: Event | _Skipped | None
            if first == _ARRAY:
                event = self._array()
            elif first == _NATIVE:
                event = self._native()
            else:
                event = self._inline(first)
            if isinstance(event, _Skipped):
                continue
            if not isinstance(event, Request):
                self._ended = event is not None
            elif event.form.once:
                self._ended = True
            return event
        return None

    @property
    def pending(self) -> int:
        """How many bytes no event has covered yet."""
        return len(self._data) - self._start

    def withdraw(self) -> bytes:
        """Give back all bytes that no event has covered yet, as if they had not been fed."""
        rest = self.rest()
        self._data, self._start, self._next = b"", 0, 0
        self._args, self._missing = [], 0
        self._head = None
        return rest

    def _array(self) -> Request | Malformed | _Skipped | None:
        """An array of bulks; Tile38 skips an empty one without a reply, and so do we."""
        if not self._missing:
            count = self._number(self._start, "multibulk")
            if not isinstance(count, int):
                return count
            if count > self._max_args:
                return Malformed(f"ERR too many arguments: {count} announced, {self._max_args} allowed")
            if count == 0:
                self._start = self._next
                return _Skipped.EMPTY
            self._missing = count
        while self._missing:
            taken = self._argument()
            if taken is not True:
                return taken
        return self._complete()

    def _argument(self) -> Literal[True] | Malformed | None:
        """Take one bulk: C{True} when it was whole, C{None} when more is needed."""
        data, begin = self._data, self._next
        if begin >= len(data):
            return None
        if data[begin] != _BULK:
            return Malformed(f"Protocol error: expected '$', got '{chr(data[begin])}'")
        size = self._number(begin, "bulk")
        if not isinstance(size, int):
            return size
        value, end = self._next, self._next + size
        if end + 2 - self._start > self._max_request:
            return Malformed(f"ERR the request is larger than the {self._max_request} bytes allowed")
        if len(data) < end + 2:
            self._next = begin
            return None
        if data[end : end + 2] != b"\r\n":
            return Malformed("Protocol error: invalid bulk length")
        self._args.append(bytes(data[value:end]))
        self._missing -= 1
        self._next = end + 2
        return True

    def _number(self, begin: int, what: str) -> int | Malformed | None:
        """Read the count in the header line at C{begin} and step behind it, or change nothing."""
        end = self._data.find(b"\r\n", begin, begin + MAX_HEADER)
        if end < 0 and len(self._data) - begin < MAX_HEADER:
            return None
        digits = self._data[begin + 1 : end]
        if end < 0 or not digits.isdigit():
            return Malformed(f"Protocol error: invalid {what} length")
        self._next = end + 2
        return int(digits)

    def _complete(self) -> Request:
        request = Request(self._args, bytes(self._data[self._start : self._next]))
        self._args = []
        self._start = self._next
        return request

    def _native(self) -> Request | Malformed | _Skipped | None:
        """C{$<length> <line>}"""
        data, begin = self._data, self._start + 1
        space = data.find(b" ", begin, begin + MAX_HEADER)
        digits = data[begin : space if space >= 0 else begin + MAX_HEADER]
        if digits and not digits.isdigit() or (space < 0 and len(digits) == MAX_HEADER) or space == begin:
            return Malformed("Protocol error: invalid message")
        if space < 0:
            return None
        end = space + 1 + int(digits)
        if end + 2 - self._start > self._max_request:
            return Malformed(f"ERR the request is larger than the {self._max_request} bytes allowed")
        if len(data) < end + 2:
            return None
        if data[end : end + 2] != b"\r\n":
            return Malformed("Protocol error: invalid message")
        args = split_native(bytes(data[space + 1 : end]))
        self._start = self._next = end + 2
        return self._as_array(args, NATIVE)

    def _as_array(self, args: list[bytes], form: Form) -> Request | Malformed | _Skipped:
        """A request of these words; Tile38 passes over a line without any."""
        if not args:
            return _Skipped.EMPTY
        if len(args) > self._max_args:
            return Malformed(f"ERR too many arguments: {len(args)} given, {self._max_args} allowed")
        return Request(args, encode_request(args), form)

    def _inline(self, first: int) -> Event | _Skipped | None:
        """A command on a line; C{_next} remembers how far the line's end was looked for."""
        end = self._data.find(b"\n", self._next)
        if (end if end >= 0 else len(self._data)) - self._start > MAX_INLINE:
            return Malformed("Protocol error: too big inline request")
        if end < 0:
            self._next = len(self._data)
            return None
        line = bytes(self._data[self._start : end]).removesuffix(b"\r")
        if first in _MAYBE_HTTP and line[-9:-3] == b" HTTP/":
            return self._http()
        try:
            args = split_line(line)
        except ValueError:
            return Malformed("Protocol error: unbalanced quotes in request")
        self._start = self._next = end + 1
        return self._as_array(args, RESP)

    def _http(self) -> Event | None:
        """One request; C{_next} stays at its first line until its head is whole, and then behind that."""
        try:
            return self._http_request()
        except BadHttp as bad:
            return Answered(bad.response)

    def _http_request(self) -> Event | None:
        if not self._http_taken:
            raise BadHttp("HTTP is switched off here", b"403 Forbidden")
        head = self._head
        if head is None:
            end = head_end(self._data, self._start)
            if end is None:
                return None
            head = self._head = parse_head(bytes(self._data[self._start : end]))
            self._body = end - self._start
        if head.method == b"OPTIONS":
            return Answered(PREFLIGHT)
        begin = self._start + self._body
        if self._body + head.length > self._max_request:
            raise BadHttp(f"the request is larger than {self._max_request} bytes", b"413 Content Too Large")
        if len(self._data) < begin + head.length:
            return None
        args, form = head.request(bytes(self._data[begin : begin + head.length]))
        if len(args) > self._max_args:
            raise BadHttp(f"too many arguments: {len(args)} given, {self._max_args} allowed")
        self._start = self._next = begin + head.length
        return Request(args, encode_request(args), form)


class _Skipped(Enum):
    """What Tile38 passes over without a reply: a blank line, an empty array."""

    EMPTY = 0


def split_line(line: bytes) -> list[bytes]:
    r"""
    The words of an inline command: C{"..."} and C{'...'} hold spaces, and inside
    them C{\n}, C{\r}, C{\t} and C{\x} (for any other x: x itself).

    @raise ValueError: a quote inside a word, a word behind a closing quote, or
        a quote that is not closed.
    """
    words: list[bytes] = []
    text = line.decode("latin-1")
    at = 0
    while at < len(text):
        if text[at] == " ":
            at += 1
        elif text[at] in "\"'":
            word, at = _quoted(text, at)
            words.append(word)
        else:
            end = text.find(" ", at)
            word_text = text[at:] if end < 0 else text[at:end]
            if '"' in word_text or "'" in word_text:
                raise ValueError("quote inside a word")
            words.append(word_text.encode("latin-1"))
            at += len(word_text)
    return words


def _quoted(text: str, at: int) -> tuple[bytes, int]:
    """The word that the quote at C{at} opens, and where the text goes on."""
    quote, letters = text[at], []
    at += 1
    while at < len(text) and text[at] != quote:
        if text[at] == "\\":
            at += 1
            letters.append(_ESCAPES.get(text[at : at + 1], text[at : at + 1]))
        else:
            letters.append(text[at])
        at += 1
    if at >= len(text) or text[at + 1 : at + 2] not in ("", " "):
        raise ValueError("unbalanced quotes")
    return "".join(letters).encode("latin-1"), at + 1
