"""What one node was told to be: frozen values, already checked.

L{tile38cm.flags} turns strings into these; nothing after it parses a string
from a flag, the environment or a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attrs import field, frozen

TlsMode = Literal["connect", "files", "off"]
AckMode = Literal["insync", "leader"]
ReaderWrites = Literal["refuse", "forward"]
LogFormat = Literal["auto", "text", "json"]


@frozen
class Address:
    """A TCP address: a host name or IP literal and a port (0: any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@frozen
class Secret:
    """A value that must never be shown: C{repr} and C{str} hide it."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "(hidden)"


@frozen
class ConsulSettings:
    """How to reach the local Consul agent, with the official client's names."""

    address: Address = Address("127.0.0.1", 8500)
    https: bool = False
    #: A path for C{unix://} addresses; then C{address} only names the Host header.
    unix_socket: str | None = None
    #: Put before C{/v1}, without a trailing slash.
    path_prefix: str = ""
    token: Secret | None = None
    #: Wins over C{token}; read again at each use, so that it may be rotated.
    token_file: Path | None = None
    #: C{user:password} for HTTP Basic.
    http_auth: Secret | None = None
    ca_file: Path | None = None
    ca_path: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    verify: bool = True
    tls_server_name: str | None = None


@frozen
class TlsSettings:
    """Where certificates for W and R, and towards peers, come from."""

    mode: TlsMode = "connect"
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None


@frozen
class Tags:
    """What a node is not to be used for, or rather than others."""

    #: It never stands for election by itself.
    nofailover: bool = False
    #: Its Tile38 is not read through R.
    noread: bool = False
    #: It is never let into the sync set.
    nosync: bool = False
    #: Of equally advanced members the one with the highest leads.
    priority: int = 0
    #: Reads that go to another node go to one of the same zone first.
    zone: str = ""


@frozen
class Settings:
    """All that one manager needs to know. Durations in seconds, sizes in bytes."""

    id: str
    advertise: str
    server: Address
    writer: Address
    reader: Address
    bridge: Address = Address("127.0.0.1", 0)
    #: Where Redis Sentinel's questions are answered, if anywhere.
    sentinel: Address | None = None
    #: What clients call the leader when they ask there.
    sentinel_name: str = "tile38"
    server_password: Secret | None = None
    #: So long a Tile38 that is gone, or hangs, may be missing before another node leads.
    server_grace: float = 0.5
    consul: ConsulSettings = ConsulSettings()
    #: Without a trailing slash.
    lock_prefix: str = "_locks/tile38/cluster/manager"
    dogstatsd: Address = Address("127.0.0.1", 8126)
    service_manage: bool = False
    writer_service: str = "tile38-writer"
    reader_service: str = "tile38-reader"
    tls: TlsSettings = TlsSettings()
    lease: float = 1.0
    state_dir: Path = Path("tile38cm-state")
    #: How many members must be known before a cluster without history is founded.
    expect: int = 1
    ack: AckMode = "insync"
    min_insync: int = 1
    insync_timeout: float = 5.0
    hold_timeout: float = 10.0
    #: All held requests of this node together.
    hold_bytes: int = 64 * 1024 * 1024
    backlog: int = 64 * 1024 * 1024
    tags: Tags = Tags()
    #: Lifetimes are so much longer on followers, so that the leader's own expiry comes first.
    ttl_slack: float = 5.0
    #: At most so many clients on W and on R, each.
    max_clients: int = 10_000
    #: The largest request that is accepted.
    max_request: int = 64 * 1024 * 1024
    #: What becomes of writes that are sent to R.
    reader_writes: ReaderWrites = "refuse"
    #: Arguments of one request.
    max_args: int = 1_000_000
    #: Requests of one client without an answer; beyond it the client is not read.
    max_pipeline: int = 4096
    #: Bytes of one client that are here; beyond it the client is not read.
    max_client_bytes: int = 1024 * 1024
    #: The same of all clients of W, and of R; beyond it those with large requests get an error.
    max_bytes: int = 1024 * 1024 * 1024
    #: A client that is silent for longer is disconnected; 0: never.
    idle_timeout: float = 0.0
    #: From a client's connection to the end of its TLS handshake; thousands at once take some.
    handshake_timeout: float = 30.0
    log_format: LogFormat = "auto"
    log_level: str = "info"
