"""A Consul server for tests; see L{tests.real}."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest

from tests.real import LOOPBACK, Program, command, free_ports, require

#: What of Consul is of no use here.
NO_PORTS: Final = {"https": -1, "grpc": -1, "grpc_tls": -1, "dns": -1, "serf_wan": -1}


class RealConsul(Program):
    """A single Consul server with Connect, ready for KV, sessions and leaf certificates.

    In memory by default (C{-dev}); with C{persistent} its data survive C{terminate}
    and C{start}, which then take about two seconds.  C{config} is merged into its
    configuration file (C{{"acl": {…}}}, C{{"session_ttl_min": "200ms"}}); C{token}
    is what the helpers here send.  Where there is no Consul it is the embedded agent,
    which takes no other setting than C{session_ttl_min} and keeps nothing: a test that
    needs more is skipped.
    """

    name = "consul"

    def __init__(
        self,
        port: int | None = None,
        directory: Path | None = None,
        config: dict[str, Any] | None = None,
        token: str | None = None,
        persistent: bool = False,
    ) -> None:
        needs_real = persistent or token is not None or "acl" in (config or {})
        self._program = [require("consul")] if needs_real else command("consul")
        super().__init__(directory)
        self.token, self.persistent, self.config = token, persistent, dict(config or {})
        self._chosen_port = port
        self.host = LOOPBACK
        self._choose_ports()

    def _choose_ports(self) -> None:
        free = free_ports(3)
        self.port = self._chosen_port or free[0]
        self._ports = {"http": self.port, "serf_lan": free[1], "server": free[2]}

    @property
    def address(self) -> str:
        """C{host:port} of its HTTP API."""
        return f"{self.host}:{self.port}"

    @property
    def config_file(self) -> Path:
        """Its configuration, written anew at each start."""
        return self.directory / "consul.json"

    def arguments(self) -> list[str]:
        if len(self._program) > 1:
            return [*self._program, "--port", str(self.port), *self._embedded_flags()]
        basis: dict[str, Any] = {
            "ports": {**NO_PORTS, **self._ports},
            "bind_addr": LOOPBACK,
            "client_addr": LOOPBACK,
            "node_name": "local",
            "log_level": "warn",
            "disable_update_check": True,
            "performance": {"raft_multiplier": 1},
            "connect": {"enabled": True},
            "limits": {"http_max_conns_per_client": 2000},
        }
        if self.persistent:
            basis |= {"server": True, "bootstrap_expect": 1, "data_dir": str(self.directory / "data")}
        self.config_file.write_text(json.dumps(basis | self.config))
        dev = [] if self.persistent else ["-dev"]
        return [*self._program, "agent", *dev, "-config-file", str(self.config_file)]

    def _embedded_flags(self) -> list[str]:
        lacking = self.config.keys() - {"session_ttl_min"}
        if lacking:
            raise SkipTest(f"the embedded Consul cannot be told of {', '.join(sorted(lacking))}: no real one")
        least = str(self.config.get("session_ttl_min", ""))
        return ["--session-ttl-min", str(int(least.removesuffix("ms")) / 1000)] if least else []

    def other_ports(self) -> bool:
        self._choose_ports()
        return True

    def ready(self) -> bool:
        written = self.request("PUT", "/v1/kv/tile38cm-test-ready", b"1")
        session = self.request("PUT", "/v1/session/create", {"Behavior": "delete"})
        self.request("PUT", f"/v1/session/destroy/{session['ID']}")
        self.request("DELETE", "/v1/kv/tile38cm-test-ready")
        return bool(written and self.request("GET", "/v1/connect/ca/roots")["Roots"])

    def request(self, method: str, path: str, body: object = None, timeout: float = 10.0) -> Any:
        """One request; a body of bytes goes as it is, another value as JSON; the answer is parsed JSON.

        @raise urllib.error.HTTPError: the answer was not 2xx.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {} if self.token is None else {"X-Consul-Token": self.token}
        asked = urllib.request.Request(
            f"http://{self.address}{path}", data=data, method=method, headers=headers
        )
        with urllib.request.urlopen(asked, timeout=timeout) as answer:
            raw = answer.read()
        return json.loads(raw) if raw.strip() else None

    def kv(self, key: str) -> str | None:
        """The text under a key, or C{None}."""
        try:
            with urllib.request.urlopen(
                urllib.request.Request(
                    f"http://{self.address}/v1/kv/{key}?raw",
                    headers={} if self.token is None else {"X-Consul-Token": self.token},
                ),
                timeout=10.0,
            ) as answer:
                raw: bytes = answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        return raw.decode()
