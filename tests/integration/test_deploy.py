"""What deploy/ ships is understood by those it is for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real import ROOT, require
from tests.real_consul import RealConsul
from tile38cm.tap import Options

DEPLOY = ROOT / "deploy"


class IntentionsTests(SynchronousTestCase):
    """The intentions, in a real Consul."""

    def authorized(self, real: RealConsul, target: str, source: str) -> bool:
        """Whether a certificate of C{source} may connect to C{target}."""
        domain = real.request("GET", "/v1/connect/ca/roots")["TrustDomain"]
        uri = f"spiffe://{domain}/ns/default/dc/dc1/svc/{source}"
        question = {"Target": target, "ClientCertURI": uri, "ClientCertSerial": "00"}
        return bool(real.request("POST", "/v1/agent/connect/authorize", question)["Authorized"])

    def test_intentions(self) -> None:
        """Managers and the named application come in at W and R, and nobody else does."""
        with RealConsul() as real:
            for file in ("consul-intentions-writer.hcl", "consul-intentions-reader.hcl"):
                subprocess.run(
                    [require("consul"), "config", "write", DEPLOY / file],
                    check=True,
                    capture_output=True,
                    timeout=30,
                    env=os.environ | {"CONSUL_HTTP_ADDR": real.address},
                )
            for target in ("tile38-writer", "tile38-reader"):
                found = [
                    self.authorized(real, target, who) for who in ("tile38-writer", "my-application", "web")
                ]
                self.assertEqual(found, [True, True, False], target)


class FlagsTests(SynchronousTestCase):
    """Flags in files."""

    def test_environment_file(self) -> None:
        """The example of systemd's environment file is a complete configuration."""
        lines = (DEPLOY / "tile38cm.env.example").read_text().splitlines()
        environment = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        options = Options(environment)
        options.parseOptions([])
        settings = options.settings
        self.assertEqual((settings.id, settings.expect, settings.service_manage), ("n1", 3, True))

    def test_units(self) -> None:
        """systemd finds nothing wrong with the units but that the programs are not installed here."""
        units = [str(DEPLOY / name) for name in ("tile38cm.service", "tile38.service")]
        try:
            done = subprocess.run(
                ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60
            )
        except FileNotFoundError:
            self.skipTest("no systemd-analyze here")
        complaints = [line for line in done.stderr.splitlines() if "is not executable" not in line]
        self.assertEqual([line for line in complaints if "tile38" in line], [])

    def test_every_file_is_explained(self) -> None:
        """The README of deploy/ has a word on each file beside it."""
        text = (DEPLOY / "README.rst").read_text()
        for path in sorted(Path(DEPLOY).iterdir()):
            if path.name != "README.rst":
                self.assertIn(f"``{path.name}``", text)
