"""Tests of L{tile38cm.flags.values}."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.flags import values
from tile38cm.flags.table import FLAGS
from tile38cm.flags.values import ConsulAddress
from tile38cm.settings import Address, Secret


class ParserTests(SynchronousTestCase):
    """What each parser takes, and what it refuses."""

    def takes(self, parse: Callable[[str], object]) -> Callable[[str, object], None]:
        return lambda text, expected: self.assertEqual(parse(text), expected, text)

    def refuses(self, parse: Callable[[str], object], *texts: str) -> None:
        for text in texts:
            error = self.assertRaises(ValueError, parse, text)
            self.assertGreater(len(str(error)), 5, f"{text!r} must be answered with what is allowed")

    def test_durations(self) -> None:
        """A duration is a number and a unit, in seconds, and its bounds are included."""
        takes = self.takes(values.duration(0.1, 60.0))
        takes("100ms", 0.1)
        takes("300ms", 0.3)
        takes("1s", 1.0)
        takes("1.5s", 1.5)
        takes("60s", 60.0)
        takes("1m", 60.0)
        self.refuses(
            values.duration(0.1, 60.0), "", "1", "s", "-1s", "1 s", "99ms", "60001ms", "2m", "1e3s", "١s"
        )

    def test_sizes(self) -> None:
        """A size is a number of bytes, in decimal or binary units."""
        takes = self.takes(values.size(0, 2**40))
        takes("0", 0)
        takes("65536", 65536)
        takes("1KiB", 1024)
        takes("64MiB", 64 * 2**20)
        takes("2GB", 2 * 10**9)
        self.refuses(values.size(1, 2**30), "", "0", "-1", "1.5MiB", "1 MiB", "1mib", "2GiB", "MiB", "1TiB")

    def test_ports(self) -> None:
        """A port is a whole number from 1 to 65535; only where any free one will do, 0 is one."""
        self.takes(values.port)("1", 1)
        self.takes(values.port)("65535", 65535)
        self.takes(values.port_or_free)("0", 0)
        for parse in (values.port, values.port_or_free):
            self.refuses(parse, "", "65536", "-1", "70001", "1.0", "http", "999999999", "٣")
        self.refuses(values.port, "0")

    def test_hosts(self) -> None:
        """A host is a name or an address without a port; IPv6 loses its brackets."""
        takes = self.takes(values.host)
        takes("127.0.0.1", "127.0.0.1")
        takes("db-1.example.org", "db-1.example.org")
        takes("[::1]", "::1")
        takes("::", "::")
        self.refuses(values.host, "", "a b", "host:80", "1.2.3.4:5", "http://x", "[::1", "-x", "a/b", "::g")

    def test_wildcards_cannot_be_reached(self) -> None:
        """A wildcard is a place to listen, not one to connect to."""
        self.takes(values.host)("0.0.0.0", "0.0.0.0")
        self.refuses(values.reachable_host, "0.0.0.0", "::", "[::]")

    def test_identifiers(self) -> None:
        """An id can be part of a key, a service's id and a folder's name."""
        self.takes(values.identifier)("node01-00000001", "node01-00000001")
        self.refuses(
            values.identifier, "", "a/b", "a\\b", "a b", "a\n", "\x1b[1m", ".", "..", "x" * 129, "a\u2028b"
        )

    def test_key_prefixes(self) -> None:
        """Slashes at the ends of a prefix don't matter; an empty part does."""
        self.takes(values.key_prefix)("/_locks/tile38/", "_locks/tile38")
        self.refuses(values.key_prefix, "", "/", "a//b", "a b")

    def test_service_names(self) -> None:
        """A service's name can be part of a SPIFFE path."""
        self.takes(values.service_name)("tile38-writer", "tile38-writer")
        self.refuses(values.service_name, "", "-a", "a-", "a/b", "a b")

    def test_booleans(self) -> None:
        """Ours take the usual words, Consul's the words of its own client."""
        for word, expected in (("1", True), ("true", True), ("TRUE", True), ("0", False), ("false", False)):
            self.takes(values.boolean)(word, expected)
            self.takes(values.go_boolean)(word, expected)
        self.takes(values.boolean)("yes", True)
        self.refuses(values.boolean, "", "2", "maybe")
        self.refuses(values.go_boolean, "", "yes", "on", "tRuE")

    def test_choices(self) -> None:
        """A choice is one of its words, exactly."""
        parse = values.choice("connect", "files", "off")
        self.takes(parse)("off", "off")
        error = self.assertRaises(ValueError, parse, "OFF")
        self.assertEqual(str(error), "connect, files or off")

    def test_secrets_hide(self) -> None:
        """A secret's text is in no representation of it."""
        secret = values.secret("hush")
        self.assertEqual(secret, Secret("hush"))
        self.assertNotIn("hush", f"{secret} {secret!r}")
        self.refuses(values.secret, "", "a\nb")

    def test_paths_are_absolute(self) -> None:
        """A daemon that changes its folder still finds its files; of systemd's list the first counts."""
        self.assertEqual(values.path("x/y"), Path.cwd() / "x" / "y")
        self.assertEqual(values.state_directory("/var/lib/a:/var/lib/b"), Path("/var/lib/a"))
        self.refuses(values.path, "", "a\0b", "~nobody-of-that-name/x")


class ConsulAddressTests(SynchronousTestCase):
    """C{CONSUL_HTTP_ADDR} in all of its forms."""

    def test_forms(self) -> None:
        """Host and port, a URL with a prefix, TLS by its scheme, a Unix socket."""
        local = Address("127.0.0.1", 8500)
        for text, expected in (
            ("127.0.0.1:8500", ConsulAddress(local)),
            ("[::1]:8500", ConsulAddress(Address("::1", 8500))),
            ("http://127.0.0.1:8500", ConsulAddress(local)),
            ("http://127.0.0.1:8500/", ConsulAddress(local)),
            ("http://proxy/consul/", ConsulAddress(Address("proxy", 80), path_prefix="/consul")),
            ("https://consul:8501", ConsulAddress(Address("consul", 8501), https=True)),
            ("https://consul", ConsulAddress(Address("consul", 443), https=True)),
            ("https://[::1]", ConsulAddress(Address("::1", 443), https=True)),
            (
                "unix:///run/consul.sock",
                ConsulAddress(Address("localhost", 80), unix_socket="/run/consul.sock"),
            ),
        ):
            self.assertEqual(values.consul_address(text), expected, text)

    def test_others_are_refused(self) -> None:
        """What is no such address is answered with the forms that there are."""
        for text in (
            "", "consul", "consul:", ":8500", "::1:8500", "ftp://consul:1", "unix://relative", "http://",
            "http://user:pass@consul:1", "http://consul:1?x=1", "consul:99999", "https://consul:port",
        ):  # fmt: skip
            error = self.assertRaises(ValueError, values.consul_address, text)
            self.assertIn("unix:///path", str(error), text)


class GeneratedTests(SynchronousTestCase):
    """Properties over generated texts and values."""

    @given(st.integers(0, 10**7))
    def test_durations_are_read_back(self, milliseconds: int) -> None:
        """A duration that is shown is read back as the same."""
        seconds = milliseconds / 1000
        self.assertEqual(values.duration(0, 10**7)(values.show_duration(seconds)), seconds)

    @given(st.integers(0, 2**40))
    def test_sizes_are_read_back(self, total: int) -> None:
        """A size that is shown is read back as the same."""
        self.assertEqual(values.size(0, 2**40)(values.show_size(total)), total)

    @given(st.sampled_from([flag.parse for flag in FLAGS]), st.text())
    def test_nothing_but_a_value_or_a_sentence(self, parse: Callable[[str], object], text: str) -> None:
        """Whatever text a parser gets, it returns a value or raises C{ValueError} with what is allowed."""
        try:
            parse(text)
        except ValueError as error:
            self.assertTrue(str(error))
            self.assertNotIn("\n", str(error))
