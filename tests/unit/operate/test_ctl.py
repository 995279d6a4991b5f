"""L{tile38cm.operate.ctl}: the command line of operators."""

from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import DATACENTER, Authority, spiffe
from tests.unit.replication.minitile38 import MiniTile38, command
from tests.unit.replication.test_tail import SUMMARY
from tile38cm import __version__
from tile38cm.operate.ctl import contents
from tile38cm.operate.ctl.commands import COMMANDS, parser, run
from tile38cm.operate.ctl.options import Console, Exit, WrongUsage, writer
from tile38cm.replication.compare import Asked, compare


class Terminal(StringIO):
    """Somebody looks."""

    def isatty(self) -> bool:
        return True


class CtlCase(SynchronousTestCase):
    """Runs commands, in an environment that says nothing."""

    def setUp(self) -> None:
        self.patch(os, "environ", {})

    def ctl(self, *words: str) -> tuple[int, str, str]:
        """Exit code, output, remarks."""
        out, err = StringIO(), StringIO()
        return run(words, out, err), out.getvalue(), err.getvalue()

    def wrong(self, *words: str) -> str:
        """The last line that wrong usage gives; nothing is answered."""
        code, out, err = self.ctl(*words)
        self.assertEqual((code, out), (Exit.WRONG_USAGE, ""), err)
        self.assertTrue(err.startswith("usage: tile38ctl"), err)
        return err.splitlines()[-1]


class UsageTests(CtlCase):
    """What is said about the commands, and about wrong ones."""

    def test_help(self) -> None:
        """Help names every command; each command's own has its page and an example that it takes."""
        code, top, _ = self.ctl("--help")
        self.assertEqual(code, 0)
        for each in COMMANDS:
            self.assertIn(each.words[0], top)
            code, out, _ = self.ctl(*each.words, "--help")
            self.assertEqual(code, 0)
            self.assertIn(each.about, out)
            self.assertIn(each.example, out)
            parser().parse_args(each.example.split()[1:])

    def test_version(self) -> None:
        """The version is the package's."""
        self.assertEqual(self.ctl("--version"), (0, f"tile38ctl {__version__}\n", ""))

    def test_wrong(self) -> None:
        """Wrong usage exits with 2 and a sentence that names the option and the value."""
        both = ("--leader", "a:1", "--follower", "b:2")
        replay = ("tail", "replay", "x.aof", "--writer", "a:1", "--if-absent")
        for words, parts in (
            ((), ("required: COMMAND",)),
            (("fly",), ("fly",)),
            (("tail",), ("required: COMMAND",)),
            (("compare", "--leader", "a:1"), ("--follower",)),
            (("compare", *both[:3], "b"), ("--follower", "'b'", "HOST:PORT")),
            (("compare", *both[:3], "b:99999"), ("--follower", "'b:99999'", "65535")),
            (("compare", *both[:3], "::1:99"), ("--follower", "brackets")),
            (("compare", *both, "--patience", "soon"), ("--patience", "'soon'")),
            (("compare", *both, "--password-file", "/nowhere"), ("--password-file /nowhere",)),
            (("tail", "list"), ("--state.dir",)),
            (("tail", "list", "--state.dir", "/nowhere"), ("/nowhere",)),
            (("tail", "show", "none"), ("'none'", "--state.dir")),
            (replay[:5], ("--if-absent", "--overwrite")),
            ((*replay, "--overwrite"), ("not allowed",)),
            (replay, ("x.aof",)),
        ):
            line = self.wrong(*words)
            for part in parts:
                self.assertIn(part, line)


class ContentsTests(SynchronousTestCase):
    """How a comparison is told."""

    def test_told(self) -> None:
        """People get a headline for each kind of difference and a few names, programs get all fields."""
        leader, follower = MiniTile38(), MiniTile38()
        for id in range(60):
            leader.put("k", f"{id:02}\x1b")
        follower.put("k", "e", ttl=9)
        found = compare(leader.direct(), follower.direct(), Asked(patience=0.0))
        lines = contents.lines(found)
        self.assertIn("61 objects in 1 collections, 0 hooks and 0 channels", lines[0])
        self.assertEqual(lines[1:3], ["60 missing on the follower:", "  object k 00?"])
        self.assertEqual(
            lines[-4:],
            [
                "  and 40 more",
                "1 only on the follower:",
                "  object k e  (on the leader gone, on the follower for 9 s)",
                "different",
            ],
        )
        document = json.loads(json.dumps(contents.document(found)))
        self.assertEqual((document["equal"], document["missing"], document["extra"]), (False, 60, 1))
        self.assertEqual(len(document["differences"]), 51)
        self.assertEqual(
            document["differences"][-1],
            {
                "what": "extra",
                "kind": "object",
                "collection": "k",
                "id": "e",
                "leader_lifetime": -2,
                "follower_lifetime": 9,
            },
        )

    def test_progress(self) -> None:
        """Progress is for terminals only, and is wiped away at the end."""
        for err in (Terminal(), StringIO()):
            console = Console(StringIO(), err)
            console.progress("half")
            self.assertEqual("half" in err.getvalue(), err.isatty())
            console.progress("")
            self.assertEqual(err.getvalue().endswith(" \r"), err.isatty())


class TailTests(CtlCase):
    """A state directory with one tail and one copy of a log."""

    def setUp(self) -> None:
        super().setUp()
        self.state = Path(self.mktemp()).absolute()
        for folder in ("tails", "kept"):
            Path(self.state, folder).mkdir(parents=True)
        self.tail = Path(self.state, "tails", "20240506-070809-epoch3-10-90.aof")
        self.tail.write_bytes(command("SET", "fleet", "1", "POINT", "1", "2") * 2)
        self.tail.with_suffix(".json").write_text(json.dumps(SUMMARY))
        Path(self.state, "kept", "20250101-000000.aof").write_bytes(
            command("SET", "zones", "1", "POINT", "1", "2") + command("SET", "tile38cm", "p", "STRING", "x")
        )

    def test_list(self) -> None:
        """Tails and copies are listed, for people and for programs; nothing is an answer too."""
        code, out, _ = self.ctl("tail", "list", "--state.dir", str(self.state))
        self.assertEqual(code, 0)
        tail, copy = out.splitlines()
        self.assertIn("20240506-070809-epoch3-10-90  2 commands", tail)
        self.assertIn("of a in epoch 3: it was away", tail)
        self.assertIn("20250101-000000  a whole log", copy)
        _, out, _ = self.ctl("tail", "list", "--state.dir", str(self.state), "--json")
        self.assertEqual([each.get("commands") for each in json.loads(out)], [2, None])
        empty = Path(self.mktemp())
        empty.mkdir()
        code, out, _ = self.ctl("tail", "list", "--state.dir", str(empty))
        self.assertEqual((code, out.startswith("nothing")), (0, True))

    def test_show(self) -> None:
        """A tail is found by its name or its path; a copy of a log is counted, without markers."""
        for words in ((self.tail.stem, "--state.dir", str(self.state)), (str(self.tail),)):
            code, out, _ = self.ctl("tail", "show", *words, "--commands", "1")
            self.assertEqual(code, 0)
            self.assertIn("bytes 10 to 90 of the log of epoch 3", out)
            self.assertEqual(out.count("  SET fleet 1 POINT 1 2"), 1)
        _, out, _ = self.ctl("tail", "show", "20250101-000000", "--state.dir", str(self.state), "--json")
        self.assertEqual((json.loads(out)["commands"], json.loads(out)["keys"]), (1, {"zones": 1}))

    def test_show_rubbish(self) -> None:
        """A file that is no log: exit 3 and a sentence."""
        path = Path(self.state, "rubbish.aof")
        path.write_bytes(b"hello\r\n")
        code, _, err = self.ctl("tail", "show", str(path))
        self.assertEqual(code, Exit.FAILED)
        self.assertIn("rubbish.aof", err)


class TlsTests(SynchronousTestCase):
    """Options of TLS."""

    def files(self, **names: object) -> tuple[str, ...]:
        """C{--cert}, C{--key} and C{--ca} for a fresh certificate."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        authority = Authority()
        issued = authority.issue(**names)  # type: ignore[arg-type]
        told: list[str] = []
        for option, pem in (("cert", issued.chain_pem), ("key", issued.key_pem), ("ca", authority.root_pem)):
            Path(folder, option).write_text(pem)
            told += [f"--{option}", str(Path(folder, option))]
        return tuple(told)

    def writer(self, *words: str) -> None:
        """Make the way to a W; nothing is connected."""
        options = ("tail", "replay", "x.aof", "--if-absent", "--writer", "127.0.0.1:1", *words)
        writer(parser().parse_args(options))

    def test_good(self) -> None:
        """Certificates of a mesh and from files are taken, and none at all."""
        self.writer()
        self.writer(*self.files(uris=[spiffe("ops")]))
        self.writer(*self.files(dns=["cluster.example"]))

    def test_wrong(self) -> None:
        """All three or none; files that are there and fit; an identity that can be compared."""
        files = self.files(uris=[spiffe("ops")])
        other = self.files(uris=[spiffe("ops")])
        nameless = self.files()
        odd = self.files(uris=[f"spiffe://x/{DATACENTER}"])
        for words in (files[:4], (*files[:5], "/nowhere"), (*files[:2], *other[2:]), nameless, odd):
            self.assertRaises(WrongUsage, self.writer, *words)
