"""The log on disk."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path

from tests.unit.dev.tile38.bench import NodeCase
from tile38cm.dev.tile38.logfile import Damaged, LogFile
from tile38cm.wire.resp import encode_request


class LogTests(NodeCase):
    """What is written, read and cut."""

    def test_bytes(self) -> None:
        """A write is in the file before its reply, word for word; what changed nothing is not."""
        self.ask("set k i field a 1 point 1 2")
        self.ask("FSET k i a 1")
        self.ask("GET k i")
        words = [b"set", b"k", b"i", b"field", b"a", b"1", b"point", b"1", b"2"]
        self.assertEqual(self.memory.log(), encode_request(words))

    def test_again(self) -> None:
        """All is there after a restart, bytes that are no text included."""
        self.ask("SET k i STRING", bytes(range(256)))
        before = self.ask("GET k i")
        self.ask = self.memory.again().session()
        self.assertEqual(self.ask("GET k i"), before)

    def test_torn(self) -> None:
        """Wherever a last command is torn, it is cut off, and the others are there."""
        first, last = (
            encode_request([b"SET", b"k", each, b"STRING", "ü*1\r\n".encode()]) for each in (b"i", b"j")
        )
        for end in range(1, len(last)):
            path = Path(self.mktemp())
            path.write_bytes(first + last[:end])
            file = LogFile(path)
            self.assertEqual(len(list(file.load())), 1)
            self.assertEqual((file.size, path.read_bytes()), (len(first), first))

    def test_damaged(self) -> None:
        """What is no command ends the start."""
        path = Path(self.mktemp())
        path.write_bytes(b"*1\r\n$4\r\nPING\r\n+OK\r\n")
        self.assertRaises(Damaged, lambda: list(LogFile(path).load()))

    def test_end_of_command(self) -> None:
        """The end of the last command that begins before a place."""
        path = Path(self.mktemp())
        commands = [encode_request([b"SET", b"k", b"i", b"STRING", b"*" * n]) for n in range(4)]
        path.write_bytes(b"".join(commands))
        file, end = LogFile(path), 0
        for command in commands:
            for place in range(end + 1, end + len(command) + 1):
                self.assertEqual(file.end_of_command(place), end + len(command))
            end += len(command)

    def test_sums(self) -> None:
        """The sum of a range, and nothing past the end."""
        self.ask("SET k i STRING x")
        log = self.memory.log()
        self.assertEqual(self.ask("AOFMD5 1 9"), md5(log[1:10]).hexdigest())
        self.assertEqual(self.ask("AOFMD5 1 0"), md5().hexdigest())
        self.assertEqual(self.ask(f"AOFMD5 1 {len(log)}"), "-EOF")

    def test_shrink(self) -> None:
        """Written anew it makes the same, with what is left of lifetimes."""
        for number in range(20):
            self.ask(f"SET fleet truck{number % 4} FIELD n {number} EX 100 POINT 33 -112.{number}")
        self.ask("SETCHAN near META a b NEARBY fleet FENCE POINT 1 2 3")
        objects, channels = self.ask("SCAN fleet"), self.ask("CHANS *")
        before = len(self.memory.log())
        self.reactor.advance(40)
        self.ask("AOFSHRINK")
        self.reactor.advance(0)
        self.assertLess(len(self.memory.log()), before / 3)
        self.ask("SET k i STRING x")
        self.ask = self.memory.again().session()
        self.assertEqual((self.ask("SCAN fleet"), self.ask("CHANS *")), (objects, channels))
        self.assertEqual((self.ask("TTL fleet truck1"), self.ask("GET k i")), (60, "x"))

    def test_stream(self) -> None:
        """The log from a position on, and messages between commands, never inside."""
        self.ask("SET k i STRING x")
        whole = self.memory.log()
        reader = self.memory.session()
        self.assertEqual(reader.raw(encode_request([b"AOF", b"5"])), b"+OK\r\n" + whole[5:])
        self.ask("SET k j STRING y")
        self.ask("PUBLISH c m")
        message = encode_request([b"PUBLISH", b"c", b"m"])
        self.assertEqual(reader.read(), self.memory.log()[len(whole) :] + message)
        self.assertEqual(self.ask(f"AOF {len(self.memory.log()) + 1}")[:15], "-ERR pos is too")
