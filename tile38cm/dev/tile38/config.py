"""C{config}: what a node keeps beside its log, in Tile38's own file."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from attrs import define, field

from tile38cm.dev.tile38.calls import Refusal
from tile38cm.dev.tile38.text import parse_whole

#: What C{CONFIG} may change, with what it is at first.
DEFAULTS = {
    "requirepass": "",
    "leaderauth": "",
    "protected-mode": "yes",
    "maxmemory": "",
    "autogc": "0",
    "keepalive": "300",
    "logconfig": "",
    "replica-priority": "",
    "replica_announce_port": "0",
    "replica_announce_ip": "",
}
_UNITS = {"kb": 1024, "mb": 1024**2, "gb": 1024**3}


@define
class Config:
    """The file's content; L{write} has to be called for what changes."""

    path: Path
    server_id: str
    follow_host: str = ""
    follow_port: int = 0
    read_only: bool = False
    values: dict[str, str] = field(factory=lambda: dict(DEFAULTS))
    #: Those of C{values} that the file has.
    kept: dict[str, str] = field(factory=dict)

    @property
    def following(self) -> str:
        """Whom the node follows, as C{host:port}; nothing if it leads."""
        return f"{self.follow_host}:{self.follow_port}" if self.follow_host else ""

    @property
    def memory(self) -> int:
        """The most that the node may take, in bytes; 0 is no limit."""
        value = self.values["maxmemory"]
        unit = _UNITS.get(value[-2:], 1)
        return int(value[:-2] if unit > 1 else value or 0) * unit

    def write(self) -> None:
        """Write the file."""
        content = {
            "follow_host": self.follow_host,
            "follow_port": self.follow_port,
            "server_id": self.server_id,
            "read_only": self.read_only,
            **self.kept,
        }
        shown = {name: value for name, value in sorted(content.items()) if value}
        self.path.touch(mode=0o600)
        self.path.write_text(json.dumps(shown, indent="\t") + "\n")

    def rewrite(self) -> None:
        """Write the file with what was set since."""
        self.kept = {name: value for name, value in self.values.items() if value != DEFAULTS[name]}
        self.write()

    def set(self, name: str, value: str) -> None:
        """Set one parameter until the next start.

        @raise Refusal: There is no such parameter, or it takes no such value.
        """
        if name not in DEFAULTS:
            raise Refusal(f"Unsupported CONFIG parameter: {name}")
        if name == "maxmemory":
            value = _memory(name, value)
        elif name in ("autogc", "keepalive", "replica_announce_port", "replica-priority"):
            if value and parse_whole(value, 0) is None:
                raise Refusal(f"Invalid argument '{value}' for CONFIG SET '{name}'")
            value = value or DEFAULTS[name]
        elif name == "protected-mode" and value.lower() not in ("yes", "no"):
            raise Refusal(f"Invalid argument '{value}' for CONFIG SET '{name}'")
        self.values[name] = value


def _memory(name: str, value: str) -> str:
    text = value.lower()
    unit = _UNITS.get(text[-2:], 1)
    number = parse_whole(text[:-2] if unit > 1 else text, 0) if text else 0
    if number is None:
        raise Refusal(f"Invalid argument '{value}' for CONFIG SET '{name}'")
    size = number * unit
    for shown in ("", "kb", "mb"):
        if size < 1024:
            return f"{size}{shown}" if size else ""
        size //= 1024
    return f"{size}gb"


def load(path: Path) -> Config:
    """The configuration in a file, or a new one; the file is there afterwards.

    @raise ValueError: The file is no JSON.
    """
    found = json.loads(path.read_text()) if path.exists() else {}
    config = Config(
        path,
        str(found.get("server_id") or secrets.token_hex(16)),
        str(found.get("follow_host") or ""),
        int(found.get("follow_port") or 0),
        bool(found.get("read_only")),
    )
    for name in DEFAULTS:
        if found.get(name):
            config.set(name, str(found[name]))
            config.kept[name] = str(found[name])
    config.write()
    return config
