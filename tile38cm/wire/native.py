"""
The words of Tile38's native protocol, C{$<length> <line>\\r\\n}, which its HTTP uses for paths too.

There are no quotes, so two kinds of argument must stand at the end of the
line: JSON, and for C{SET ... STRING} a value between double quotes.
"""

from __future__ import annotations


def split_native(line: bytes) -> list[bytes]:
    """The words of a line; none if there is nothing but spaces."""
    words: list[bytes] = []
    while line:
        if line.startswith(b"{"):
            words.append(line)
            break
        if line[:1] == line[-1:] == b'"' and _awaits_string(words):
            words.append(line[1:-1])
            break
        word, _, line = line.partition(b" ")
        if word:
            words.append(word)
    return words


def _awaits_string(words: list[bytes]) -> bool:
    return bool(words) and words[0].lower() == b"set" and words[-1].lower() == b"string"
