"""Tests of L{tests.real} and L{tests.real_consul}, without any server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests import real
from tests.real_consul import RealConsul


class RequireTests(SynchronousTestCase):
    """What becomes of a test whose server is missing."""

    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": os.environ.get("PATH", "")})

    def test_skips(self) -> None:
        """On a laptop the test is skipped, with the way to have it run."""
        os.environ["CONSUL_BIN"] = "/nowhere/consul"
        error = self.assertRaises(SkipTest, real.require, "consul")
        self.assertIn("set CONSUL_BIN or CONSUL", str(error))

    def test_fails(self) -> None:
        """Where servers are required the test fails."""
        os.environ |= {"TILE38_SERVER": "/nowhere/tile38-server", "TILE38CM_REQUIRE_REAL": "1"}
        error = self.assertRaises(AssertionError, real.require, "tile38")
        self.assertIn("TILE38CM_REQUIRE_REAL", str(error))

    def test_named(self) -> None:
        """A variable wins over whatever else could be found."""
        os.environ["CONSUL"] = sys.executable
        self.assertEqual(real.require("consul"), sys.executable)


class EmbeddedConsulTests(SynchronousTestCase):
    """What becomes of a test that needs more of Consul than the embedded one has."""

    def test_skips(self) -> None:
        """It is skipped, and says what it is about."""
        self.patch(os, "environ", {"TILE38CM_EMBEDDED": "1"})
        consul = RealConsul(directory=Path(self.mktemp()), config={"session_ttl_min": "200ms"})
        self.assertEqual(consul.arguments()[-2:], ["--session-ttl-min", "0.2"])
        consul.config["tls"] = {}
        self.assertIn("cannot be told of tls", str(self.assertRaises(SkipTest, consul.arguments)))


class WaitTests(SynchronousTestCase):
    """Waiting for something outside."""

    def test_errors_mean_not_yet(self) -> None:
        """Until the probe is true its errors of the network are not more than a no."""
        outcomes = iter([ConnectionRefusedError(), False, "there"])

        def probe() -> object:
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        self.assertEqual(real.wait_for(probe, "a server", every=0), "there")

    def test_end(self) -> None:
        """The wait ends, with what was waited for and why it was not there."""
        error = self.assertRaises(TimeoutError, real.wait_for, lambda: 0, "a server", timeout=0.001, every=0)
        self.assertEqual(str(error), "a server: not within 0.001 s (last: 0)")


class PortTests(SynchronousTestCase):
    """Ports from the kernel."""

    def test_different(self) -> None:
        """Several ports asked for together differ."""
        self.assertEqual(len(set(real.free_ports(8))), 8)
