"""What the table says of commands, where arguments decide."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tile38cm.wire.commands import TABLE, Class, Command, classify, keys_of


def of(text: str) -> Command:
    """The command of a line."""
    return classify([word.encode() for word in text.split(" ")])


class ClassifyTests(SynchronousTestCase):
    """L{classify}"""

    def test_case(self) -> None:
        """Names are compared without regard to case."""
        self.assertIs(of("SET k i POINT 1 2").class_, Class.WRITE)
        self.assertIs(of("sEt k i POINT 1 2"), of("set k i POINT 1 2"))

    def test_fence(self) -> None:
        """A search is live with FENCE, wherever it stands; SCAN never is."""
        for name in ("NEARBY", "within", "Intersects"):
            self.assertIs(of(f"{name} k POINT 1 2 3").class_, Class.READ)
            self.assertIs(of(f"{name} k LIMIT 1 fence POINT 1 2 3").class_, Class.LIVE)
        self.assertIs(of("NEARBY fence POINT 1 2 3").class_, Class.READ)
        self.assertIs(of("SCAN k FENCE").class_, Class.READ)

    def test_timeout(self) -> None:
        """TIMEOUT is whatever it wraps, however often, and never a way round a refusal."""
        self.assertIs(of("TIMEOUT 1 GET k i").class_, Class.READ)
        self.assertIs(of("TIMEOUT x NEARBY k FENCE POINT 1 2 3").class_, Class.LIVE)
        self.assertIs(of("timeout 1 TIMEOUT 1 follow a 1").class_, Class.REFUSED)
        self.assertTrue(of("TIMEOUT 1 SET k i STRING x").leader)
        self.assertIs(of("TIMEOUT 1").class_, Class.READ)
        self.assertEqual(keys_of(of("TIMEOUT 1 GET k i"), b"TIMEOUT 1 GET k i".split()), (b"k",))

    def test_refused(self) -> None:
        """What would break the cluster or the server is refused, and each says why."""
        for text in (
            "FOLLOW a 1",
            "slaveof no one",
            "READONLY no",
            "AOFSHRINK",
            "JDEL k i p",
            "AOF 0",
            "SHUTDOWN",
        ):
            self.assertTrue(of(text).refusal, text)
            self.assertIs(of(text).class_, Class.REFUSED, text)

    def test_two_words_in_one(self) -> None:
        """Tile38 takes a name and its first argument as one word, and that is no way round a refusal."""
        for word in (b"CONFIG SET", b"config set", b"config rewrite"):
            self.assertIs(classify([word, b"requirepass", b"x"]).class_, Class.REFUSED, word)
            self.assertIs(classify([b"TIMEOUT", b"1", word, b"x", b"y"]).class_, Class.REFUSED, word)
        self.assertIs(classify([b"CONFIG GET", b"maxmemory"]).class_, Class.ADMINISTRATION)
        self.assertIs(classify([b"CONFIG GET", b"requirepass"]).class_, Class.REFUSED)
        self.assertIs(classify([b"SCRIPT LOAD", b"return 1"]).class_, Class.ADMINISTRATION)
        self.assertIs(classify([b"GET x"]).class_, Class.UNKNOWN)

    def test_hazards(self) -> None:
        """What Tile38 would end itself on is refused, wherever it stands; its like is not."""
        for text in (
            "SCAN k WHERE f  1",
            "timeout 1 NEARBY k where f  1 POINT 1 2 3",
            "WITHIN k FENCE WHEREIN f 3 1 2",
            "SETHOOK h http://x NEARBY k WHERE f  1 FENCE POINT 1 2 3",
            "EVAL x 1",
            "evalrosha x 9999999999 k",
        ):
            self.assertIs(of(text).class_, Class.REFUSED, text)
        for text in ("SCAN k WHERE f 1 ", "SCAN k WHEREIN f 1 2", "EVAL x 1 k", "EVALNA x -1", "SCAN where"):
            self.assertIsNot(of(text).class_, Class.REFUSED, text)

    def test_many_timeouts(self) -> None:
        """A great many TIMEOUTs around a command, or digits in a count, are no trouble."""
        self.assertIs(classify([b"TIMEOUT", b"1"] * 500_000 + [b"GET", b"k"]).class_, Class.READ)
        self.assertEqual(keys_of(of("EVAL x 1 k"), [b"EVAL", b"x", b"1" * 5000, b"k"]), ())

    def test_config(self) -> None:
        """Only CONFIG GET of names that are no passwords passes."""
        self.assertIs(of("CONFIG GET maxmemory").class_, Class.ADMINISTRATION)
        for text in (
            "CONFIG",
            "CONFIG SET maxmemory 1",
            "config rewrite",
            "CONFIG GET *",
            "CONFIG GET requirep?ss",
            "config get REQUIREPASS",
            "CONFIG GET leaderauth",
        ):
            self.assertIs(of(text).class_, Class.REFUSED, text)

    def test_client(self) -> None:
        """CLIENT KILL would hit the proxy's own connections."""
        self.assertIs(of("CLIENT LIST").class_, Class.CONNECTION)
        self.assertIs(of("client kill ID 3").class_, Class.REFUSED)

    def test_repeatable(self) -> None:
        """Only what gives the same state and reply twice may be sent twice."""
        for text in ("SET k i POINT 1 2", "SET k i XX STRING x", "JSET k i a.b 1", "GET k i", "SUBSCRIBE c"):
            self.assertTrue(of(text).repeatable, text)
        for text in (
            "SET k i NX STRING x",
            "JSET k i a.-1 1",
            "DEL k i",
            "FSET k i f 1",
            "RENAME a b",
            "EVAL x 0",
            "EXPIRE k i 5",
            "PUBLISH c x",
            "SETCHAN c NEARBY k FENCE POINT 1 2 3",
            "FLUSHDB",
            "WHATEVER",
        ):
            self.assertFalse(of(text).repeatable, text)

    def test_unknown(self) -> None:
        """An unknown command is the server's to answer; one without a name is refused."""
        self.assertIs(of("SELECT 1").class_, Class.UNKNOWN)
        self.assertIs(classify([b""]).class_, Class.REFUSED)

    def test_leader(self) -> None:
        """Every write and message needs the leader, no read or live command does."""
        for entry in TABLE.values():
            command = entry.command
            if command.class_ in (Class.WRITE, Class.MESSAGE):
                self.assertTrue(command.leader, command)
            if command.class_ in (Class.READ, Class.LIVE, Class.CONNECTION, Class.STATUS):
                self.assertFalse(command.leader, command)
                self.assertTrue(command.repeatable, command)


class KeysTests(SynchronousTestCase):
    """L{keys_of}"""

    def test_each_place(self) -> None:
        """Collections are found in each of the places where commands name them."""
        for text, keys in (
            ("GET k i", (b"k",)),
            ("RENAME a b", (b"a", b"b")),
            ("STATS a b c", (b"a", b"b", b"c")),
            ("EVAL return 2 a b x", (b"a", b"b")),
            ("EVAL return x a", ()),
            ("SETHOOK nearby http://x NEARBY fleet FENCE POINT 1 2 3", (b"fleet",)),
            ("SETCHAN c", ()),
            ("KEYS *", ()),
            ("GET", ()),
        ):
            self.assertEqual(keys_of(of(text), text.encode().split(b" ")), keys, text)


class OwnCollectionTests(SynchronousTestCase):
    """The collection of the managers."""

    def test_writes_refused(self) -> None:
        """What would be left out of replication is refused; reading it harms nobody."""
        for line in (b"SET tile38cm a POINT 1 2", b"rename x tile38cm", b"DROP tile38cm", b"DEL tile38cm p"):
            self.assertIs(classify(line.split()).class_, Class.REFUSED, line)
        for line in (
            b"GET tile38cm p",
            b"SET fleet tile38cm POINT 1 2",
            b"SETCHAN tile38cm NEARBY fleet FENCE",
        ):
            self.assertIsNot(classify(line.split()).class_, Class.REFUSED, line)
