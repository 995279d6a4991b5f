"""Tests of L{tile38cm.flags.checks}."""

from __future__ import annotations

from pathlib import Path

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from tile38cm.flags.checks import settings_from
from tile38cm.flags.sources import gather
from tile38cm.flags.table import FLAGS
from tile38cm.flags.values import WrongValue
from tile38cm.settings import Address, ConsulSettings, Secret, Settings, TlsSettings

REQUIRED = {
    "id": "n1",
    "advertise": "10.0.0.1",
    "server.port": "9851",
    "bind.port.leader": "7001",
    "bind.port.follower": "7002",
}


def settings(environment: dict[str, str] | None = None, **flags: str) -> Settings:
    """The settings of a command line that has all required flags and these."""
    known = {flag.name.replace("-", ".").replace(".", "_"): flag.name for flag in FLAGS}
    more = {known[name]: text for name, text in flags.items()}
    return settings_from(gather(REQUIRED | more, environment or {}, None))


class SettingsTests(SynchronousTestCase):
    """What becomes of the values."""

    def refused(self, **flags: str) -> str:
        return str(self.assertRaises(WrongValue, settings, **flags))

    def file(self, text: str = "x") -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    def test_defaults_agree(self) -> None:
        """With the required flags alone, all else is what L{Settings} has as its default."""
        expected = Settings(
            id="n1",
            advertise="10.0.0.1",
            server=Address("127.0.0.1", 9851),
            writer=Address("0.0.0.0", 7001),
            reader=Address("0.0.0.0", 7002),
            state_dir=Path.cwd() / "tile38cm-state" / "n1",
        )
        self.assertEqual(settings(), expected)

    def test_every_field_can_be_said(self) -> None:
        """Each field of L{Settings} follows some flag."""
        ca, cert, key, token = (self.file() for _ in range(4))
        changed = settings(
            id="n2", advertise="h", server_addr="127.0.0.2", bind_addr_leader="127.0.0.3",
            bind_addr_follower="127.0.0.4", bridge_port="7003", server_password="p",
            consul_addr="https://consul:8501/x", consul_token_file=token, consul_lock_prefix="a/b",
            dogstatsd_port="1", service_manage="true", service_name_leader="w", service_name_follower="r",
            tls="files", tls_cert=cert, tls_key=key, tls_ca=ca, lease="2s", state_dir="/s", expect="3",
            ack="leader", min_insync="2", insync_timeout="6s", hold_timeout="0s", hold_bytes="1",
            replication_backlog="1MiB", max_clients="7", max_request="1MiB", max_args="99",
            reader_writes="forward", max_pipeline="9", max_client_bytes="2MiB", max_bytes="2MiB",
            idle_timeout="1m", handshake_timeout="5s", log_format="json", log_level="debug",
            tag_nosync="true", tag_zone="z", tag_priority="3",
            replication_ttl_slack="6s", server_grace="2s",
            sentinel_port="7004", sentinel_name="fleet",
        )  # fmt: skip
        same = [f.name for f in fields(Settings) if getattr(changed, f.name) == getattr(settings(), f.name)]
        self.assertEqual(same, [])
        self.assertEqual(
            changed.tls, TlsSettings("files", *(Path(each).absolute() for each in (cert, key, ca)))
        )

    def test_missing(self) -> None:
        """One sentence lists all that is missing, with the variables that could say it."""
        error = self.assertRaises(WrongValue, settings_from, gather({"id": "n"}, {"SERVER_PORT": "1"}, None))
        self.assertIn("--advertise (ADVERTISE), --bind.port.leader (BIND_PORT_LEADER)", str(error))
        self.assertNotIn("--id", str(error))
        self.assertNotIn("--server.port", str(error))

    def test_listeners_need_places_of_their_own(self) -> None:
        """W, R, the bridge and Tile38 cannot share an address and a port, a wildcard counts for all."""
        self.assertIn("both at 0.0.0.0:7001", self.refused(bind_port_follower="7001"))
        self.assertIn("both at", self.refused(bind_addr_follower="127.0.0.1", bind_port_follower="7001"))
        self.assertIn("both at 127.0.0.1:7002", self.refused(bridge_port="7002"))
        self.assertIn("Tile38", self.refused(bind_port_leader="9851"))
        self.assertIn(
            "both at [::1]:1",
            self.refused(bridge_addr="::1", bridge_port="1", server_addr="::1", server_port="1"),
        )

    def test_one_port_on_two_addresses(self) -> None:
        """Different addresses may use the same port, and a free port of the bridge collides with nothing."""
        found = settings(
            bind_addr_leader="10.0.0.1", bind_addr_follower="10.0.0.2", bind_port_follower="7001"
        )
        self.assertEqual((found.writer.port, found.reader.port, found.bridge.port), (7001, 7001, 0))

    def test_two_services(self) -> None:
        """W and R are two services."""
        self.assertIn("two services", self.refused(service_name_leader="x", service_name_follower="x"))

    def test_tls_files(self) -> None:
        """C{--tls files} needs all three files, and each can be read."""
        here = self.file()
        self.assertIn("needs --tls.key and --tls.ca too", self.refused(tls="files", tls_cert=here))
        sentence = self.refused(tls="files", tls_cert=here, tls_key=here, tls_ca="/nowhere")
        self.assertEqual(
            sentence, "--tls.ca is '/nowhere', but that file cannot be read: No such file or directory."
        )

    def test_tls_files_are_not_ignored(self) -> None:
        """Whoever names certificates and gets others would be surprised."""
        self.assertIn(
            "--tls.cert is for --tls files, but --tls is connect", self.refused(tls_cert=self.file())
        )

    def test_password_file(self) -> None:
        """The first line of the file is the password; a file and a word exclude each other."""
        file = self.file("hush\nsecond line\n")
        self.assertEqual(settings(server_password_file=file).server_password, Secret("hush"))
        self.assertIn("first line is empty", self.refused(server_password_file=self.file("\nhush")))
        self.assertIn("only one of them", self.refused(server_password_file=file, server_password="x"))
        self.assertIn("cannot be read", self.refused(server_password_file="/nowhere"))

    def test_no_secret_in_settings(self) -> None:
        """Settings can be logged."""
        found = settings({"CONSUL_HTTP_TOKEN": "hush", "CONSUL_HTTP_AUTH": "me:hush"}, server_password="hush")
        self.assertNotIn("hush", repr(found) + str(found))


class ConsulTests(SynchronousTestCase):
    """Consul's own variables."""

    def consul(self, **environment: str) -> ConsulSettings:
        return settings({f"CONSUL_{name}": text for name, text in environment.items()}).consul

    def test_tls_by_variable(self) -> None:
        """C{CONSUL_HTTP_SSL} adds TLS to any address and never takes it away."""
        self.assertFalse(self.consul().https)
        self.assertTrue(self.consul(HTTP_SSL="true").https)
        self.assertTrue(self.consul(HTTP_SSL="1", HTTP_ADDR="http://h:1").https)
        self.assertTrue(self.consul(HTTP_SSL="false", HTTP_ADDR="https://h:1").https)
        self.assertTrue(self.consul(HTTP_SSL="true", HTTP_ADDR="unix:///s").https)

    def test_all_variables(self) -> None:
        """Each variable has its place."""
        file = Path(self.mktemp())
        file.write_text("x")
        found = self.consul(
            HTTP_ADDR="h:1", HTTP_TOKEN="t", HTTP_TOKEN_FILE=str(file), HTTP_AUTH="u:p",
            HTTP_SSL_VERIFY="false", CACERT=str(file), CAPATH=str(file.absolute().parent),
            CLIENT_CERT=str(file), CLIENT_KEY=str(file), TLS_SERVER_NAME="server.dc1.consul",
        )  # fmt: skip
        path = file.absolute()
        expected = ConsulSettings(
            Address("h", 1), token=Secret("t"), token_file=path, http_auth=Secret("u:p"), ca_file=path,
            ca_path=path.parent, client_cert=path, client_key=path, verify=False,
            tls_server_name="server.dc1.consul",
        )  # fmt: skip
        self.assertEqual(found, expected)

    def test_files_must_be_there(self) -> None:
        """A file that a variable names and that is not there ends the start, as with Consul's own client."""
        for name in ("HTTP_TOKEN_FILE", "CACERT", "CAPATH", "CLIENT_CERT"):
            error = self.assertRaises(WrongValue, self.consul, **{name: "/nowhere"})
            self.assertIn(f"CONSUL_{name} is '/nowhere', but", str(error))

    def test_pair(self) -> None:
        """A client certificate is of no use without its key."""
        file = Path(self.mktemp())
        file.write_text("x")
        error = self.assertRaises(WrongValue, self.consul, CLIENT_CERT=str(file))
        self.assertIn("need each other", str(error))
