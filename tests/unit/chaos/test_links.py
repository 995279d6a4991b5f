"""Bytes on their way through a relay to Consul."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.links import Renamed, plain_answers

NAMES = {b"127.9.109.1": b"127.9.102.1", b"127.9.109.3": b"127.9.102.3"}


class RenamedTests(SynchronousTestCase):
    """Addresses are exchanged wherever they stand."""

    @given(st.lists(st.sampled_from([*NAMES, b"127.9.109.2", b"127.9.", b"109.1 "])), st.integers(1, 7))
    def test_any_split(self, words: list[bytes], size: int) -> None:
        """In pieces of any size the same comes out as at once; an end that might go on is kept back."""
        data = b"".join(words) + b"."
        rename = Renamed(NAMES)
        got = b"".join(rename(data[i : i + size]) for i in range(0, len(data), size))
        whole = data
        for old, new in NAMES.items():
            whole = whole.replace(old, new)
        self.assertEqual(got, whole)

    def test_no_compression(self) -> None:
        """A request does not ask for what could not be read."""
        asked = b"GET / HTTP/1.1\r\naccept-encoding: gzip\r\nX: y\r\n\r\n"
        self.assertEqual(plain_answers(asked), b"GET / HTTP/1.1\r\nAccept-Encoding: none\r\nX: y\r\n\r\n")
