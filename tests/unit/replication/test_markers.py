"""L{tile38cm.replication.markers}: positions inside a log, and lifetimes on their way."""

from __future__ import annotations

from decimal import Decimal

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.model import Position
from tile38cm.replication.markers import (
    commands,
    for_follower,
    is_own,
    last_marker,
    lengthened,
    marker,
    packed,
    pair,
)
from tile38cm.wire.commands import OWN_KEY

SLACK = 5.0

members = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=12)
positions = st.builds(Position, st.integers(1, 10**6), st.integers(0, 10**15))
#: Words that mean something elsewhere, and any others.
words = st.sampled_from(
    [b"ex", b"EX", b"5", b"string", b"FIELD", b"tile38cm", b"nearby", b"meta"]
) | st.binary(max_size=8)
others = st.lists(words, min_size=1, max_size=6).map(lambda rest: packed([b"FSET", b"fleet", *rest]))


class MarkerTests(SynchronousTestCase):
    """What a log says of its own position."""

    @given(st.lists(others, max_size=3), members, positions, st.lists(others, max_size=3))
    def test_found(self, before: list[bytes], member: str, position: Position, behind: list[bytes]) -> None:
        """The marker is found among any other commands, and its end is told."""
        head = b"".join(before) + marker(member, position)
        found = last_marker(member, head + b"".join(behind))
        assert found is not None
        self.assertEqual((found.position, found.end), (position, len(head)))

    def test_torn_anywhere(self) -> None:
        """Of a piece torn at any byte the last marker that is whole counts, none before the first one is."""
        noise = packed([b"SET", b"fleet", b"tile38cm", b"STRING", b"p"])
        first, second = marker("n:1", Position(3, 70)), marker("n:1", Position(3, 4711))
        log = noise + first + noise + second + noise
        ends = {len(noise + first): Position(3, 70), len(noise + first + noise + second): Position(3, 4711)}
        for size in range(len(log) + 1):
            expected = max((end for end in ends if end <= size), default=None)
            found = last_marker("n:1", log[:size])
            if expected is None:
                self.assertIsNone(found)
            else:
                assert found is not None
                self.assertEqual((found.position, found.end), (ends[expected], expected))

    def test_cut_off_at_the_front(self) -> None:
        """A window on a log begins anywhere; only a marker that is whole in it counts."""
        log = marker("n1", Position(3, 70)) + marker("n1", Position(3, 4711))
        half = len(marker("n1", Position(3, 70)))
        for start in range(1, len(log)):
            found = last_marker("n1", log[start:])
            self.assertEqual(
                None if found is None else found.position, Position(3, 4711) if start <= half else None
            )

    @given(members, members, positions)
    def test_of_others(self, ours: str, theirs: str, position: Position) -> None:
        """A marker of another member says nothing of this node, however alike the names are."""
        piece = marker(ours, Position(1, 1)) + marker(theirs, position)
        found = last_marker(ours, piece)
        assert found is not None
        self.assertEqual(found.position, position if ours == theirs else Position(1, 1))

    def test_not_a_marker(self) -> None:
        """Other values of the own collection, and a marker without its DEL, are no position."""
        whole = marker("n1", Position(2, 9))
        for piece in (
            pair(b"p", b"n1:2:x"),
            pair(b"p", b"n1:-2:9"),
            pair(b"p", b"2:9"),
            pair(b"promotion", b"n1:2:9"),
            whole[: whole.index(b"*3")],
            whole.replace(b"DEL", b"del"),
        ):
            self.assertIsNone(last_marker("n1", piece), piece)

    @given(st.lists(others, min_size=1, max_size=4), st.data())
    def test_commands(self, log: list[bytes], data: st.DataObject) -> None:
        """Whole commands come out as they went in; a torn last one is left out."""
        size = data.draw(st.integers(0, len(b"".join(log))))
        whole, taken = [], 0
        for command in log:
            taken += len(command)
            if taken <= size:
                whole.append(command)
        self.assertEqual([packed(words) for words in commands(b"".join(log)[:size])], whole)


class OwnTests(SynchronousTestCase):
    """What belongs to this program and goes to nobody."""

    def test_own_collection(self) -> None:
        """Markers and padding, by whatever name they are removed."""
        for command in (
            b"SET tile38cm p STRING x",
            b"DEL tile38cm p",
            b"drop tile38cm",
            b"JSET tile38cm p a b",
        ):
            self.assertTrue(is_own(command.split()), command)

    def test_of_clients(self) -> None:
        """A hook or channel may have that name as well, and an object that id: they are the clients'."""
        for command in (
            b"SET fleet tile38cm STRING x",
            b"SETCHAN tile38cm NEARBY fleet FENCE POINT 1 2 3",
            b"sethook tile38cm http://h/ NEARBY fleet FENCE POINT 1 2 3",
            b"DELCHAN tile38cm",
            b"DELHOOK tile38cm",
            b"PDELCHAN tile38cm",
            b"pdelhook tile38cm",
            b"FLUSHDB",
        ):
            self.assertFalse(is_own(command.split()), command)

    @given(st.lists(st.one_of(others, st.builds(marker, members, positions)), max_size=6))
    def test_stripped(self, log: list[bytes]) -> None:
        """Markers of others are not fed; everything else is, byte for byte."""
        kept = [command for command in log if b"$1\r\np\r\n" not in command or b"FSET" in command]
        self.assertEqual(for_follower(b"".join(log), SLACK), b"".join(kept))


@frozen
class Part:
    """Some words of a command; C{seconds} is the lifetime in its last one."""

    words: tuple[bytes, ...]
    seconds: Decimal | None = None

    def longer(self) -> list[bytes]:
        """The words that are expected on the way to a follower."""
        if self.seconds is None:
            return list(self.words)
        return [*self.words[:-1], str(self.seconds + Decimal(repr(SLACK))).encode()]


def part(*text: bytes) -> st.SearchStrategy[Part]:
    return st.just(Part(text))


def cased(word: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from([word.lower(), word.upper(), word.capitalize()])


seconds = st.sampled_from(["5", "0.5", "1e3", "100.25", "-1", "+7", "1_0"])
lifetimes = st.builds(lambda ex, s: Part((ex, s.encode()), Decimal(s)), cased(b"ex"), seconds)
fields = st.builds(lambda word, name, value: Part((word, name, value)), cased(b"field"), words, words)
metas = st.builds(lambda word, name, value: Part((word, name, value)), cased(b"meta"), words, words)
conditions = st.one_of(part(b"NX"), part(b"xx"))
objects = st.one_of(
    st.builds(lambda word, value: Part((word, value)), cased(b"string"), words),
    st.builds(lambda word, value: Part((word, value)), cased(b"object"), words),
    st.builds(lambda word, value: Part((word, value)), cased(b"hash"), words),
    part(b"point", b"33", b"-112"),
    part(b"POINT", b"33", b"-112", b"7"),
    part(b"BOUNDS", b"1", b"2", b"3", b"4"),
)
searches = st.one_of(
    part(b"NEARBY", b"ex", b"FENCE", b"POINT", b"1", b"2", b"3"),
    part(b"within", b"EX", b"FENCE", b"BOUNDS", b"1", b"2", b"3", b"4"),
    part(b"INTERSECTS", b"fleet", b"EX", b"5"),
)


def command(head: tuple[bytes, ...], parts: list[Part]) -> tuple[list[bytes], list[bytes]]:
    """A command, and how it is expected to arrive."""
    told = [word for each in parts for word in each.words]
    return [*head, *told], [*head, *(word for each in parts for word in each.longer())]


sets = st.builds(
    lambda options, thing, at, name, key: command(
        (name, key, key), [*options[: at % (len(options) + 1)], thing, *options[at % (len(options) + 1) :]]
    ),
    st.lists(st.one_of(lifetimes, fields, conditions), max_size=4),
    objects,
    st.integers(0, 4),
    cased(b"set"),
    words.filter(lambda word: word != OWN_KEY),
)
hooks = st.builds(
    lambda head, options, search: command(head, [*options, search]),
    st.sampled_from([(b"SETHOOK", b"ex", b"http://h/"), (b"setchan", b"ex")]),
    st.lists(st.one_of(lifetimes, metas), max_size=4),
    searches,
)
expires = st.builds(
    lambda name, key, s: ([name, key, b"ex", s.encode()], [name, key, b"ex", str(Decimal(s) + 5).encode()]),
    cased(b"expire"),
    words.filter(lambda word: word != OWN_KEY),
    seconds,
)


class LifetimeTests(SynchronousTestCase):
    """Lifetimes on their way to a follower; L{tests.integration.test_markers} asks Tile38 itself."""

    def same(self, told: list[bytes], expected: list[bytes]) -> None:
        """Equal words, or equal numbers."""
        self.assertEqual(len(told), len(expected))
        for one, other in zip(told, expected, strict=True):
            if one != other:
                self.assertEqual(Decimal(one.decode()), Decimal(other.decode()))

    @given(sets | hooks | expires)
    def test_any_order(self, both: tuple[list[bytes], list[bytes]]) -> None:
        """Each lifetime is longer by the slack wherever it stands, and nothing else is changed."""
        told, expected = both
        self.same(lengthened(told, SLACK), expected)
        (fed,) = commands(for_follower(packed(told), SLACK))
        self.same(fed, expected)

    def test_behind_the_object(self) -> None:
        """Tile38 takes options behind the object, too."""
        told = b"SET fleet t POINT 1 2 EX 10".split()
        self.assertEqual(lengthened(told, SLACK), b"SET fleet t POINT 1 2 EX 15.0".split())

    def test_last_counts(self) -> None:
        """Of several lifetimes Tile38 takes the last one."""
        told = b"SET fleet t EX 10 EX 20 STRING x".split()
        self.assertEqual(lengthened(told, SLACK)[6], b"25.0")

    def test_hexadecimal(self) -> None:
        """Tile38 reads numbers as Go does: hexadecimal ones, too."""
        self.assertEqual(float(lengthened(b"EXPIRE fleet t 0x1p5".split(), SLACK)[3]), 37.0)

    def test_no_lifetime(self) -> None:
        """What is not a lifetime stays: an object's name, a field's, a value, a number that is none."""
        for told in (
            b"SET fleet ex STRING ex",
            b"SET ex EX FIELD ex 5 STRING EX",
            b"FSET fleet t ex 5",
            b"JSET fleet t ex 5",
            b"EXPIRE fleet t soon",
            b"PERSIST fleet ex",
            b"SET fleet t EX",
            b"SETCHAN ex NEARBY fleet FENCE ex 5",
        ):
            self.assertEqual(lengthened(told.split(), SLACK), told.split())

    @given(st.lists(st.tuples(words, words), max_size=4))
    def test_untouched(self, log: list[tuple[bytes, bytes]]) -> None:
        """Commands without a lifetime pass byte for byte."""
        payload = b"".join(packed([b"FSET", b"fleet", *each]) for each in log)
        self.assertEqual(for_follower(payload, SLACK), payload)


class ForgedTests(SynchronousTestCase):
    """Values that look like markers."""

    def test_inside_a_value(self) -> None:
        """A marker that stands in a client's value is none, wherever the piece begins."""
        forged = marker("n", Position(9, 9)) + packed((b"SET", b"a", b"b", b"STRING", b"c"))
        log = (
            marker("n", Position(1, 5))
            + packed((b"SET", b"f", b"i", b"STRING", forged))
            + packed((b"DEL", b"f", b"i"))
        )
        for cut in range(len(log)):
            found = last_marker("n", log[cut:])
            self.assertEqual(
                None if found is None else found.position, Position(1, 5) if cut == 0 else None, cut
            )
