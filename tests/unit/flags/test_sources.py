"""Tests of L{tile38cm.flags.sources}."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.flags.sources import Given, gather, read_file
from tile38cm.flags.table import FLAGS
from tile38cm.flags.values import WrongValue
from tile38cm.settings import Secret


class GatherTests(SynchronousTestCase):
    """Which of several texts for a flag holds."""

    def file(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text)
        return path

    def test_precedence(self) -> None:
        """The command line wins over the environment, that over the file, that over the default."""
        file = self.file("expect = 4")
        sources = ({"expect": "2"}, {"TILE38CM_EXPECT": "3"}, file)
        found = [
            gather(*sources)["expect"],
            gather({}, *sources[1:])["expect"],
            gather({}, {}, file)["expect"],
            gather({}, {}, None)["expect"],
        ]
        self.assertEqual([each.value for each in found], [2, 3, 4, 1])
        origins = [each.given.origin if each.given else None for each in found]
        self.assertEqual(origins, ["--expect", "TILE38CM_EXPECT", f"{file}: expect", "default"])

    def test_all_flags_are_there(self) -> None:
        """Every flag of the table has an entry, also one without a value."""
        found = gather({}, {}, None)
        self.assertEqual(list(found), [flag.name for flag in FLAGS])
        self.assertIsNone(found["id"].value)

    def test_defaults_are_allowed(self) -> None:
        """Each default of the table is a text that its own parser takes."""
        for flag in FLAGS:
            if flag.default is not None:
                flag.parse(flag.default)

    def test_empty_variable_is_none(self) -> None:
        """An empty variable counts as not set."""
        self.assertEqual(gather({}, {"TILE38CM_EXPECT": ""}, None)["expect"].value, 1)

    def test_wrong_value(self) -> None:
        """The sentence names where the value came from, the value, and what is allowed."""
        for error, expected in (
            (
                self.assertRaises(WrongValue, gather, {"lease": "1"}, {}, None),
                "--lease is '1', but must be a duration from 100ms to 1m, such as 300ms, 1s or 2m.",
            ),
            (
                self.assertRaises(WrongValue, gather, {}, {"SERVER_PORT": "x"}, None),
                "SERVER_PORT is 'x', but must be a port from 1 to 65535.",
            ),
        ):
            self.assertEqual(str(error), expected)

    def test_wrong_secret_stays_hidden(self) -> None:
        """A secret is not shown even when it is wrong, nor is a password inside an address."""
        for error in (
            self.assertRaises(WrongValue, gather, {"server.password": "hush\n"}, {}, None),
            self.assertRaises(WrongValue, gather, {}, {"CONSUL_HTTP_ADDR": "http://me:hush@consul"}, None),
        ):
            self.assertIn("(hidden)", str(error))
            self.assertNotIn("hush", str(error))

    @given(
        st.dictionaries(st.sampled_from(sorted(flag.name for flag in FLAGS)), st.text(max_size=12)),
        st.dictionaries(st.sampled_from(sorted(flag.env or "" for flag in FLAGS)), st.text(max_size=12)),
    )
    def test_only_sentences(self, command_line: dict[str, str], environment: dict[str, str]) -> None:
        """Whatever is written anywhere, the outcome is values or one sentence."""
        try:
            found = gather(command_line, environment, None)
        except WrongValue as error:
            self.assertTrue(str(error).endswith("."))
            self.assertNotIn("\n", str(error))
        else:
            for flag in FLAGS:
                self.assertFalse(flag.secret and not isinstance(found[flag.name].value, Secret | None))


class FileTests(SynchronousTestCase):
    """The TOML file."""

    def read(self, text: str) -> dict[str, str]:
        path = Path(self.mktemp())
        path.write_text(text)
        return {name: given.text for name, given in read_file(path).items()}

    def refused(self, text: str) -> str:
        return str(self.assertRaises(WrongValue, self.read, text))

    def test_tables_and_dots(self) -> None:
        """Tables, dotted keys and quoted keys mean the same."""
        expected = {"server.addr": "h", "server.port": "9851"}
        self.assertEqual(self.read('[server]\naddr = "h"\nport = 9851'), expected)
        self.assertEqual(self.read('server.addr = "h"\nserver.port = 9851'), expected)
        self.assertEqual(self.read('"server.addr" = "h"\n"server.port" = "9851"'), expected)

    def test_booleans(self) -> None:
        """TOML's own booleans are taken."""
        self.assertEqual(self.read("[service]\nmanage = true"), {"service.manage": "true"})

    def test_tls_mode(self) -> None:
        """Beside C{tls.cert} the mode has a key of its own, since TOML has no word that is a table too."""
        self.assertEqual(self.read('[tls]\nmode = "files"\ncert = "c"'), {"tls": "files", "tls.cert": "c"})
        self.assertEqual(self.read('tls = "off"'), {"tls": "off"})

    def test_unknown_key(self) -> None:
        """A key that is no flag is named, with the nearest that is one."""
        self.assertIn(
            "server.prot is no setting; the nearest is server.port.", self.refused("server.prot = 1")
        )
        self.assertIn("zzzzz is no setting; tile38cm --help", self.refused("zzzzz = 1"))

    def test_twice(self) -> None:
        """Two ways of writing the same key don't hide each other."""
        self.assertIn("tls is there twice", self.refused('tls = "off"\n"tls.mode" = "connect"'))

    def test_other_types(self) -> None:
        """A list or a date is nobody's value."""
        self.assertIn("id must be a string", self.refused("id = [1]"))
        self.assertIn("lease must be a string", self.refused("lease = 1.5"))

    def test_no_toml(self) -> None:
        """What is no TOML is said with the place."""
        self.assertIn("is not TOML: ", self.refused("id = "))
        self.assertIn("line 2", self.refused("id = 1\nx y\n"))

    def test_no_file(self) -> None:
        """A file that is not there is said by its name."""
        missing = Path(self.mktemp())
        error = self.assertRaises(WrongValue, read_file, missing)
        self.assertEqual(
            str(error), f"--config is '{missing}', but that file cannot be read: No such file or directory."
        )

    def test_origin(self) -> None:
        """Each text knows the file and the key."""
        path = Path(self.mktemp())
        path.write_text("[server]\nport = 1")
        self.assertEqual(read_file(path), {"server.port": Given("1", f"{path}: server.port")})
