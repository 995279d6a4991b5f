"""Three Consul servers, one beside each node, as in production: any of them may go."""

from __future__ import annotations

import threading
import urllib.error
from pathlib import Path
from typing import Any, Self

from tests.integration.lab import Lab, Plan
from tests.real import wait_for
from tests.real_consul import NO_PORTS, RealConsul

SERVERS = 3
HTTP, SERF, RAFT = 8500, 8301, 8300
#: Seconds for the servers to find each other and to have a leader.
ELECTION_TIMEOUT = 60.0


class ConsulServer(RealConsul):
    """One of several servers, at an address of its own; it is ready before there is a leader."""

    def __init__(self, host: str, peers: list[str], directory: Path) -> None:
        config: dict[str, Any] = {
            "ports": {**NO_PORTS, "http": HTTP, "serf_lan": SERF, "server": RAFT},
            "bind_addr": host,
            "client_addr": host,
            "node_name": f"consul-{host.rsplit('.', 1)[1]}",
            "bootstrap_expect": len(peers),
            "retry_join": peers,
            "retry_interval": "1s",
            # A server that is killed and comes back is the same one.
            "leave_on_terminate": False,
        }
        super().__init__(HTTP, directory, config, persistent=True)
        self.host = host

    def ready(self) -> bool:
        return bool(self.request("GET", "/v1/agent/self"))

    def leader(self) -> str:
        """The address of the servers' leader as this one knows it; empty: none."""
        return str(self.request("GET", "/v1/status/leader")).partition(":")[0]


class Consuls(RealConsul):
    """All of them as one: whoever can answers."""

    def __init__(self, network: str, directory: Path) -> None:
        hosts = [f"{network}.{100 + i}" for i in range(1, SERVERS + 1)]
        super().__init__(HTTP, directory)
        self.servers = [ConsulServer(host, hosts, directory / host) for host in hosts]

    def start(self) -> Self:
        threads = [threading.Thread(target=server.start) for server in self.servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(self.ready, "a Consul with a leader", ELECTION_TIMEOUT, every=0.1)
        return self

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def leader(self) -> ConsulServer | None:
        """The one that leads, if a living one knows of it."""
        for server in self.servers:
            if server.running:
                leader = server.leader()
                return next((each for each in self.servers if each.host == leader and each.running), None)
        return None

    def request(self, method: str, path: str, body: object = None, timeout: float = 10.0) -> Any:
        last: OSError = OSError("no server runs")
        for server in self.servers:
            if server.running:
                try:
                    return server.request(method, path, body, timeout)
                except urllib.error.HTTPError as e:
                    if e.code < 500:
                        raise
                    last = e
                except OSError as e:
                    last = e
        raise last

    def kv(self, key: str) -> str | None:
        for server in self.servers:
            if server.running:
                return server.kv(key)
        raise OSError("no server runs")


class QuorumLab(Lab):
    """A cluster whose nodes have a Consul server each."""

    consul: Consuls

    def __init__(self, **changes: Any) -> None:
        super().__init__(Plan(**changes))

    def _consul(self) -> RealConsul:
        return Consuls(self.network, self.folder / "consul")

    def _consul_address(self, number: int) -> str:
        return self.consul.servers[number - 1].address
