"""The flags: the one place that names them.

C{--help}, the environment, the file's keys, C{--check} and the page of the
documentation are all made from L{FLAGS}.  A new flag is a new row here, a field
of L{tile38cm.settings.Settings}, and a line in L{tile38cm.flags.checks}.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from tile38cm.flags import values

KIB, MIB, GIB = 2**10, 2**20, 2**30


@frozen
class Flag:
    """One thing that can be said, on the command line as C{--name}, in a file as C{name}."""

    name: str
    env: str | None
    #: As it would be written; C{None}: none, or worked out from other values (C{otherwise} then says how).
    default: str | None
    metavar: str
    group: str
    help: str
    parse: Callable[[str], object]
    required: bool = False
    #: The command line takes no value: being there means true.
    switch: bool = False
    #: Never printed, neither in C{--check} nor in an error.
    secret: bool = False
    #: For the reader: what holds without a value, if it is not a fixed default.
    otherwise: str = ""


_NODE = "This node"
_SERVER = "The Tile38 server beside it"
_LISTEN = "Where clients connect"
_CONSUL = "Consul"
_SERVICES = "Registration in Consul's catalog"
_TLS = "TLS"
_CLUSTER = "Who leads, and what an acknowledgement means"
_DETECTION = "Failure detection"
_LIMITS = "Limits"
_OUT = "Metrics and logs"

GROUPS = (_NODE, _SERVER, _LISTEN, _CONSUL, _SERVICES, _TLS, _DETECTION, _CLUSTER, _LIMITS, _OUT)

_HOUR = 3600.0

# One row for a flag, not one line for a field: a table to be read.
# fmt: off
FLAGS: tuple[Flag, ...] = (
    Flag(
        "id", "SERVICE_ID", None, "ID", _NODE,
        "This node's name in the cluster: unique, and the same after every restart.",
        values.identifier, required=True,
    ),
    Flag(
        "advertise", "ADVERTISE", None, "HOST", _NODE,
        "The host name or IP address at which the other nodes reach this one.",
        values.reachable_host, required=True,
    ),
    Flag(
        "state.dir", "STATE_DIRECTORY", None, "FOLDER", _NODE,
        "Where the node keeps what must survive it: the highest epoch it has seen, its position, saved "
        "tails. Of a list, as systemd may give, the first is used.",
        values.state_directory, otherwise="./tile38cm-state/<id>",
    ),
    Flag(
        "server.addr", "SERVER_ADDR", "127.0.0.1", "HOST", _SERVER,
        "Where the local Tile38 listens.", values.reachable_host,
    ),
    Flag(
        "server.port", "SERVER_PORT", None, "PORT", _SERVER,
        "The port of the local Tile38.", values.port, required=True,
    ),
    Flag(
        "server.password", "SERVER_PASSWORD", None, "SECRET", _SERVER,
        "Tile38's requirepass. On the command line every user of this machine can read it (ps); "
        "better give it by environment or file.",
        values.secret, secret=True,
    ),
    Flag(
        "server.password.file", "SERVER_PASSWORD_FILE", None, "FILE", _SERVER,
        "A file whose first line is that password.", values.path,
    ),
    Flag(
        "bind.addr.leader", "BIND_ADDR_LEADER", "0.0.0.0", "HOST", _LISTEN,
        "Where W listens: whatever is sent there reaches the leader.", values.host,
    ),
    Flag(
        "bind.port.leader", "BIND_PORT_LEADER", None, "PORT", _LISTEN,
        "The port of W.", values.port, required=True,
    ),
    Flag(
        "bind.addr.follower", "BIND_ADDR_FOLLOWER", "0.0.0.0", "HOST", _LISTEN,
        "Where R listens: what is asked there is answered by a follower that has caught up.", values.host,
    ),
    Flag(
        "bind.port.follower", "BIND_PORT_FOLLOWER", None, "PORT", _LISTEN,
        "The port of R.", values.port, required=True,
    ),
    Flag(
        "sentinel.port", "TILE38CM_SENTINEL_PORT", "0", "PORT", _LISTEN,
        "Where W listens, a port that answers Redis Sentinel's questions, so that clients which know "
        "Sentinel find the leader's W; with TLS as W has it. 0: none.",
        values.port_or_none,
    ),
    Flag(
        "sentinel.name", "TILE38CM_SENTINEL_NAME", "tile38", "NAME", _LISTEN,
        "What such clients call the master.", values.identifier,
    ),
    Flag(
        "reader.writes", "TILE38CM_READER_WRITES", "refuse", "refuse|forward", _LISTEN,
        "What becomes of writes that are sent to R: an error that names the other port, or the leader gets "
        "them.",
        values.choice("refuse", "forward"),
    ),
    Flag(
        "bridge.addr", "REPL_BRIDGE_IP", "127.0.0.1", "HOST", _LISTEN,
        "Where the replication bridge listens; only the local Tile38 connects to it.", values.reachable_host,
    ),
    Flag(
        "bridge.port", "REPL_BRIDGE_PORT", "0", "PORT", _LISTEN,
        "The port of the bridge; 0 is any free one.", values.port_or_free,
    ),
    Flag(
        "consul.addr", "CONSUL_HTTP_ADDR", "127.0.0.1:8500", "ADDRESS", _CONSUL,
        "The local Consul agent: host:port, http://host:port/prefix, https://host:port or unix:///path.",
        values.consul_address,
    ),
    Flag(
        "consul.lock.prefix", "CONSUL_LOCK_PREFIX", "_locks/tile38/cluster/manager", "PATH", _CONSUL,
        "The folder of Consul's KV that holds this cluster's keys; the same on all its nodes.",
        values.key_prefix,
    ),
    Flag(
        "consul.token", "CONSUL_HTTP_TOKEN", None, "SECRET", _CONSUL,
        "The ACL token. On the command line every user of this machine can read it (ps).",
        values.secret, secret=True,
    ),
    Flag(
        "consul.token.file", "CONSUL_HTTP_TOKEN_FILE", None, "FILE", _CONSUL,
        "A file with the ACL token; it wins over the token itself, and is read again at each use.",
        values.path,
    ),
    Flag(
        "consul.auth", "CONSUL_HTTP_AUTH", None, "SECRET", _CONSUL,
        "user:password for HTTP Basic authentication, where a proxy in front of Consul asks for it.",
        values.secret, secret=True,
    ),
    Flag(
        "consul.ssl", "CONSUL_HTTP_SSL", "false", "BOOL", _CONSUL,
        "TLS towards Consul, also if the address does not say https.", values.go_boolean,
    ),
    Flag(
        "consul.ssl.verify", "CONSUL_HTTP_SSL_VERIFY", "true", "BOOL", _CONSUL,
        "Whether Consul's certificate is checked.", values.go_boolean,
    ),
    Flag(
        "consul.cacert", "CONSUL_CACERT", None, "FILE", _CONSUL,
        "The authority that signed Consul's certificate (PEM).", values.path, otherwise="the system's",
    ),
    Flag(
        "consul.capath", "CONSUL_CAPATH", None, "FOLDER", _CONSUL,
        "A folder of such authorities.", values.path,
    ),
    Flag(
        "consul.client.cert", "CONSUL_CLIENT_CERT", None, "FILE", _CONSUL,
        "The certificate shown to Consul (PEM).", values.path,
    ),
    Flag(
        "consul.client.key", "CONSUL_CLIENT_KEY", None, "FILE", _CONSUL,
        "Its private key (PEM).", values.path,
    ),
    Flag(
        "consul.tls.server.name", "CONSUL_TLS_SERVER_NAME", None, "HOST", _CONSUL,
        "The name that Consul's certificate must carry, such as server.dc1.consul.",
        values.host, otherwise="the address's host",
    ),
    Flag(
        "service.manage", "SERVICE_MANAGE", "false", "BOOL", _SERVICES,
        "Register W and R with the agent, and deregister them on stop. Without it, register both "
        "yourself, Connect-native and with meta.id.",
        values.boolean, switch=True,
    ),
    Flag(
        "service.name.leader", "SERVICE_NAME_LEADER", "tile38-writer", "NAME", _SERVICES,
        "The service of W; its certificates carry this name.", values.service_name,
    ),
    Flag(
        "service.name.follower", "SERVICE_NAME_FOLLOWER", "tile38-reader", "NAME", _SERVICES,
        "The service of R.", values.service_name,
    ),
    Flag(
        "tls", "TILE38CM_TLS", "connect", "connect|files|off", _TLS,
        "Certificates for W, R and between nodes: from Consul's Connect CA; from files; or no TLS, "
        "for a trusted network and for development.",
        values.choice("connect", "files", "off"),
    ),
    Flag(
        "tls.cert", "TILE38CM_TLS_CERT", None, "FILE", _TLS,
        "With --tls files: the certificate chain (PEM).", values.path,
    ),
    Flag(
        "tls.key", "TILE38CM_TLS_KEY", None, "FILE", _TLS,
        "With --tls files: its private key (PEM).", values.path,
    ),
    Flag(
        "tls.ca", "TILE38CM_TLS_CA", None, "FILE", _TLS,
        "With --tls files: the authorities that clients and peers must be signed by (PEM).", values.path,
    ),
    Flag(
        "server.grace", "TILE38CM_SERVER_GRACE", "500ms", "DURATION", _DETECTION,
        "How long the local Tile38 may be gone or hang, from 100ms to 60s, before another node leads. "
        "One that is only busy is left in peace.",
        values.duration(0.1, 60.0),
    ),
    Flag(
        "lease", "TILE38CM_LEASE", "1s", "DURATION", _DETECTION,
        "How long a follower promises not to lead, from 100ms to 60s; the same on all nodes. "
        "A lost leader is replaced in about twice this.",
        values.duration(0.1, 60.0),
    ),
    Flag(
        "expect", "TILE38CM_EXPECT", "1", "N", _CLUSTER,
        "How many nodes must have met before a cluster without history is founded: by who has most. "
        "With 1, others are waited for a few seconds.",
        values.count(1, 1000),
    ),
    Flag(
        "ack", "TILE38CM_ACK", "insync", "insync|leader", _CLUSTER,
        "When a write is answered: once every member of the sync set has it, or once the leader has it.",
        values.choice("insync", "leader"),
    ),
    Flag(
        "min.insync", "TILE38CM_MIN_INSYNC", "1", "N", _CLUSTER,
        "Writes wait while the sync set has fewer members, the leader included.", values.count(1, 1000),
    ),
    Flag(
        "insync.timeout", "TILE38CM_INSYNC_TIMEOUT", "5s", "DURATION", _CLUSTER,
        "A follower that lags longer leaves the sync set.", values.duration(0.1, _HOUR),
    ),
    Flag(
        "hold.timeout", "TILE38CM_HOLD_TIMEOUT", "10s", "DURATION", _LIMITS,
        "How long a request waits for a usable leader before it gets an error; 0s: not at all.",
        values.duration(0.0, _HOUR),
    ),
    Flag(
        "hold.bytes", "TILE38CM_HOLD_BYTES", "64MiB", "SIZE", _LIMITS,
        "How much all waiting requests of this node may take together.", values.size(0, 64 * GIB),
    ),
    Flag(
        "replication.backlog", "TILE38CM_REPLICATION_BACKLOG", "64MiB", "SIZE", _LIMITS,
        "How much of the replicated stream is kept, so that others can catch up from here.",
        values.size(MIB, 64 * GIB),
    ),
    Flag(
        "replication.ttl-slack", "TILE38CM_REPLICATION_TTL_SLACK", "5s", "DURATION", _CLUSTER,
        "Objects live so much longer on followers, so that the leader's own expiry comes first. "
        "A follower that lags longer leaves the sync set.",
        values.duration(0.0, _HOUR),
    ),
    Flag(
        "tag.nofailover", "TILE38CM_TAG_NOFAILOVER", "false", "", _CLUSTER,
        "This node never stands for election by itself.", values.boolean, switch=True,
    ),
    Flag(
        "tag.noread", "TILE38CM_TAG_NOREAD", "false", "", _CLUSTER,
        "This node's Tile38 is not read through R.", values.boolean, switch=True,
    ),
    Flag(
        "tag.nosync", "TILE38CM_TAG_NOSYNC", "false", "", _CLUSTER,
        "This node is never let into the sync set: writes do not wait for it, and it cannot lead.",
        values.boolean, switch=True,
    ),
    Flag(
        "tag.priority", "TILE38CM_TAG_PRIORITY", "0", "N", _CLUSTER,
        "Of equally advanced members the one with the highest priority leads.", values.count(0, 1000),
    ),
    Flag(
        "tag.zone", "TILE38CM_TAG_ZONE", None, "NAME", _CLUSTER,
        "Reads that go to another node go to one of the same zone first.", values.identifier,
        otherwise="no zone",
    ),
    Flag(
        "max.clients", "TILE38CM_MAX_CLIENTS", "10000", "N", _LIMITS,
        "How many clients may be connected to W, and as many to R.", values.count(1, 1_000_000),
    ),
    Flag(
        "max.request", "TILE38CM_MAX_REQUEST", "64MiB", "SIZE", _LIMITS,
        "The largest request that is accepted.", values.size(KIB, 512 * MIB),
    ),
    Flag(
        "max.args", "TILE38CM_MAX_ARGS", "1000000", "N", _LIMITS,
        "How many arguments a request may have, its name included.", values.count(16, 100_000_000),
    ),
    Flag(
        "max.pipeline", "TILE38CM_MAX_PIPELINE", "4096", "N", _LIMITS,
        "How many requests of a client may wait for their answers; beyond that it is not read.",
        values.count(1, 1_000_000),
    ),
    Flag(
        "max.client.bytes", "TILE38CM_MAX_CLIENT_BYTES", "1MiB", "SIZE", _LIMITS,
        "How much of a client's requests and replies is kept here; beyond that it is not read.",
        values.size(64 * KIB, GIB),
    ),
    Flag(
        "max.bytes", "TILE38CM_MAX_BYTES", "1GiB", "SIZE", _LIMITS,
        "The same for all clients of W, and of R; beyond that who sends a large request gets an error.",
        values.size(MIB, 1024 * GIB),
    ),
    Flag(
        "idle.timeout", "TILE38CM_IDLE_TIMEOUT", "0s", "DURATION", _LIMITS,
        "A client that is silent for longer and waits for no answer is disconnected, unless it listens to "
        "a fence or a channel; 0s: never.",
        values.duration(0.0, 24 * _HOUR),
    ),
    Flag(
        "handshake.timeout", "TILE38CM_HANDSHAKE_TIMEOUT", "30s", "DURATION", _LIMITS,
        "How long a client may take for its TLS handshake; thousands that connect at once take some.",
        values.duration(1.0, 600.0),
    ),
    Flag(
        "dogstatsd.addr", "DD_AGENT_HOST", "127.0.0.1", "HOST", _OUT,
        "The dogstatsd agent that gets the metrics; without one nothing is lost but the metrics.",
        values.reachable_host,
    ),
    Flag(
        "dogstatsd.port", "DD_AGENT_PORT", "8126", "PORT", _OUT, "Its port (UDP).", values.port,
    ),
    Flag(
        "log.format", "TILE38CM_LOG_FORMAT", "auto", "auto|text|json", _OUT,
        "One line of text or one JSON object per event; auto: as twist decides (text on a terminal, else "
        "JSON), text under twistd.",
        values.choice("auto", "text", "json"),
    ),
    Flag(
        "log.level", "TILE38CM_LOG_LEVEL", "info", "LEVEL", _OUT,
        "The least level that is logged: debug, info, warn, error or critical.",
        values.choice("debug", "info", "warn", "error", "critical"),
    ),
)
# fmt: on

BY_NAME: dict[str, Flag] = {flag.name: flag for flag in FLAGS}
