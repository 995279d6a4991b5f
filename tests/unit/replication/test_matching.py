"""L{tile38cm.replication.matching}: where a log stands in its leader's stream.

A small Tile38 makes the streams: what changes nothing is not logged, and a
follower may expire an object by itself at any moment, before the leader does.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.replication.matching import Doubts, Matcher, NoMatch, expired_here, may_leave_no_trace

Words = tuple[bytes, ...]


@define
class Server:
    """Objects by key and id: a value, and whether it has a lifetime."""

    objects: dict[tuple[bytes, bytes], tuple[bytes, bool]] = field(factory=dict)
    log: list[Words] = field(factory=list)

    def take(self, words: Words) -> None:
        """Apply a command; it is logged if it has changed something, as a plain SET always does."""
        before = dict(self.objects)
        getattr(self, f"_{words[0].decode().lower()}")(*words[1:])
        always = words[0] == b"SET" and not {b"NX", b"XX"} & set(words)
        if always or self.objects != before:
            self.log.append(words)

    def expire(self, place: tuple[bytes, bytes]) -> None:
        """An object's time is over, by this server's own clock."""
        if self.objects.get(place, (b"", False))[1]:
            self.take((b"del", *place))

    def _set(self, key: bytes, id: bytes, *rest: bytes) -> None:
        there = (key, id) in self.objects
        if (b"NX" in rest and there) or (b"XX" in rest and not there):
            return
        self.objects[key, id] = (rest[-1], b"EX" in rest)

    def _del(self, key: bytes, id: bytes) -> None:
        self.objects.pop((key, id), None)

    def _drop(self, key: bytes) -> None:
        self.objects = {place: thing for place, thing in self.objects.items() if place[0] != key}

    def _expire(self, key: bytes, id: bytes, seconds: bytes) -> None:
        if (key, id) in self.objects:
            # Setting a lifetime anew counts as a change: the value remembers it.
            value = self.objects[key, id][0].split(b"/")[0] + b"/" + seconds
            self.objects[key, id] = (value, True)

    def _persist(self, key: bytes, id: bytes) -> None:
        if (key, id) in self.objects:
            self.objects[key, id] = (self.objects[key, id][0], False)

    def _fset(self, key: bytes, id: bytes, name: bytes, value: bytes) -> None:
        if (key, id) in self.objects:
            thing, mortal = self.objects[key, id]
            if not thing.endswith(b"+" + value):
                self.objects[key, id] = (thing + b"+" + value, mortal)

    def _rename(self, key: bytes, new: bytes) -> None:
        moved = {place: thing for place, thing in self.objects.items() if place[0] == key}
        if moved and key != new:
            self._drop(new)
            self._drop(key)
            self.objects |= {(new, id): thing for (_, id), thing in moved.items()}


keys = st.sampled_from([b"a", b"b"])
ids = st.sampled_from([b"i", b"j"])
values = st.sampled_from([b"1", b"2"])
#: Few names, so that equal commands are common.
clients = st.one_of(
    st.tuples(st.just(b"SET"), keys, ids, st.just(b"STRING"), values),
    st.tuples(st.just(b"SET"), keys, ids, st.just(b"EX"), st.just(b"9"), st.just(b"STRING"), values),
    st.tuples(st.just(b"SET"), keys, ids, st.sampled_from([b"NX", b"XX"]), st.just(b"STRING"), values),
    st.tuples(st.sampled_from([b"DEL", b"del"]), keys, ids),
    st.tuples(st.just(b"DROP"), keys),
    st.tuples(st.just(b"EXPIRE"), keys, ids, st.just(b"9")),
    st.tuples(st.just(b"PERSIST"), keys, ids),
    st.tuples(st.just(b"FSET"), keys, ids, st.just(b"f"), values),
    st.tuples(st.just(b"RENAME"), keys, keys),
)
#: What happens on a leader: a command of a client, or the end of an object's time.
events = st.lists(clients | st.tuples(keys, ids), max_size=25)


@frozen
class Story:
    """A leader's log from a follower's marker on, and what the follower made of it."""

    stream: Sequence[Words]
    #: How many commands of the stream the follower has taken, and where its log then stood.
    taken: int
    log: Sequence[Words]
    follower: Server


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Leader and follower are equal at the marker; then each has its own clock."""
    leader, follower = Server(), Server()
    for event in [*draw(events), None, *draw(events)]:
        if event is None:
            follower = evolve(leader, objects=dict(leader.objects), log=[])
            leader.log.clear()
        elif len(event) == 2 and event[0] in (b"a", b"b"):
            leader.expire((event[0], event[1]))
        else:
            leader.take(event)
    taken = draw(st.integers(0, len(leader.log)))
    for words in leader.log[:taken]:
        for place in draw(st.lists(st.tuples(keys, ids), max_size=1)):
            follower.expire(place)
        follower.take(words)
    for place in draw(st.lists(st.tuples(keys, ids), max_size=2)):
        follower.expire(place)
    return Story(leader.log, taken, list(follower.log), follower)


def answer(log: Sequence[Words], stream: Sequence[Words]) -> int | None:
    """How many commands of the stream the log is said to hold; C{None} if it is more than all."""
    matcher = Matcher(log)
    if matcher.done:
        return 0
    return next((n for n, words in enumerate(stream, 1) if matcher.feed(words)), None)


class MatchingTests(SynchronousTestCase):
    """Logs that a follower really had."""

    @given(stories())
    def test_never_beyond(self, story: Story) -> None:
        """The answer is there, and never beyond the true position."""
        found = answer(story.log, story.stream)
        assert found is not None
        self.assertLessEqual(found, story.taken)

    @given(stories())
    def test_without_effect(self, story: Story) -> None:
        """What lies between the answer and the truth may be fed again: it changes nothing."""
        found = answer(story.log, story.stream)
        before = dict(story.follower.objects)
        for words in story.stream[found : story.taken]:
            story.follower.take(words)
        self.assertEqual(story.follower.objects, before)

    @given(stories(), st.data())
    def test_torn(self, story: Story, data: st.DataObject) -> None:
        """A log that lost its end in a crash is at an earlier position, not nowhere."""
        torn = story.log[: data.draw(st.integers(0, len(story.log)))]
        found = answer(torn, story.stream)
        assert found is not None
        self.assertLessEqual(found, story.taken)

    @given(stories(), st.data())
    def test_foreign(self, story: Story, data: st.DataObject) -> None:
        """A command that the leader never sent is never explained."""
        at = data.draw(st.integers(0, len(story.log)))
        foreign: Words = (b"SET", b"a", b"i", b"STRING", b"of another leader")
        log = [*story.log[:at], foreign, *story.log[at:]]
        try:
            self.assertIsNone(answer(log, story.stream))
        except NoMatch:
            pass

    @given(st.integers(2, 12), st.data())
    def test_missing(self, count: int, data: st.DataObject) -> None:
        """A plain SET of the stream that the log should hold and does not is noticed."""
        stream = [(b"SET", b"a", b"%d" % n, b"STRING", b"1") for n in range(count)]
        gap = data.draw(st.integers(0, count - 2))
        self.assertRaises(NoMatch, answer, stream[:gap] + stream[gap + 1 :], stream)


class MatcherTests(SynchronousTestCase):
    """Single steps."""

    def test_empty(self) -> None:
        """A log with nothing behind its marker is explained before anything is fed."""
        self.assertTrue(Matcher([]).done)

    def test_own_expiry_only(self) -> None:
        """So is one with nothing but expiries of its own."""
        for log in ([(b"del", b"a", b"i")], [(b"delhook", b"h"), (b"delchan", b"c"), (b"del", b"a", b"i")]):
            self.assertTrue(Matcher(log).done)

    def test_clients_delete(self) -> None:
        """A DEL of a client is no expiry: it must be in the stream."""
        matcher = Matcher([(b"DEL", b"a", b"i")])
        self.assertFalse(matcher.done)
        self.assertRaises(NoMatch, matcher.feed, (b"SET", b"a", b"i", b"STRING", b"1"))

    def test_forms(self) -> None:
        """A command that was fed in another form, under an earlier setting, is known again."""
        forms = [(b"EXPIRE", b"a", b"i", seconds) for seconds in (b"15", b"12")]
        self.assertTrue(Matcher(forms[1:]).feed(*forms))
        self.assertFalse(Matcher(forms[1:]).feed(forms[0]))

    def test_all_equal(self) -> None:
        """Of equal commands each counts once."""
        same = (b"SET", b"a", b"i", b"STRING", b"1")
        self.assertEqual(answer([same] * 500, [same] * 800), 500)

    def test_equal_without_trace(self) -> None:
        """Commands that may leave no trace are found at the earliest place."""
        same = (b"FSET", b"a", b"i", b"f", b"1")
        self.assertEqual(answer([same] * 20, [same] * 50), 20)

    def test_other_types(self) -> None:
        """Lists and tuples of words are alike."""
        self.assertTrue(Matcher([(b"DROP", b"a")]).feed([b"DROP", b"a"]))

    def test_expiries(self) -> None:
        """Only what Tile38 itself writes when a lifetime ends is taken for that."""
        for own in (b"del a i", b"delhook h", b"delchan c"):
            self.assertTrue(expired_here(own.split()))
        for other in (b"DEL a i", b"del a i ERRON404", b"drop a", b"delhook"):
            self.assertFalse(expired_here(other.split()))

    def test_traces(self) -> None:
        """A plain SET always leaves a trace, also in the small letters of a shrunk log; nothing else must."""
        for words in (b"SET a i EX 5 POINT 1 2", b"set a i string x", b"SET nx xx STRING nx1"):
            self.assertFalse(may_leave_no_trace(words.split()))
        for words in (
            b"SET a i NX POINT 1 2",
            b"SET a i POINT 1 2 xx",
            b"DEL a i",
            b"SETCHAN a NEARBY b",
            b"DROP a",
        ):
            self.assertTrue(may_leave_no_trace(words.split()))


class DoubtsTests(SynchronousTestCase):
    """Objects that expired here while nothing was heard."""

    def hear(self, *lines: bytes) -> Doubts:
        doubts = Doubts([[b"del", b"f", b"a"], [b"del", b"f", b"b"], [b"SET", b"f", b"c", b"STRING", b"x"]])
        for line in lines:
            doubts.hear(line.split())
        return doubts

    def test_kept_alive(self) -> None:
        """A command that needs what expired here shows that the leader has kept it."""
        for line in (b"EXPIRE f a 100", b"persist f b", b"FSET f a x 1", b"JSET f a p 1", b"RENAME f g"):
            self.assertRaises(NoMatch, self.hear, line)

    def test_settled(self) -> None:
        """The leader's own deletion, or a new value, settles it."""
        self.assertFalse(self.hear(b"del f a", b"SET f b POINT 1 2"))
        self.assertFalse(self.hear(b"DROP f"))
        self.assertFalse(self.hear(b"FLUSHDB"))
        self.hear(b"del f a", b"EXPIRE f a 100", b"EXPIRE f c 9", b"RENAME g h")
