"""Text to values.

A parser returns the value or raises C{ValueError} whose text completes the
sentence "… but must be …".  No parser touches a file, a name server or a socket.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from tile38cm.settings import Address, Secret

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+)([KMG]i?B)?", re.ASCII)
_BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
#: What Go's C{strconv.ParseBool} takes, so that a variable means the same to every Consul client.
_GO_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_GO_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class WrongValue(Exception):
    """One sentence for the operator."""


@frozen
class ConsulAddress:
    """C{CONSUL_HTTP_ADDR} taken apart."""

    address: Address
    https: bool = False
    unix_socket: str | None = None
    path_prefix: str = ""


def identifier(text: str) -> str:
    """A node's id: it becomes part of Consul keys, service ids and a folder's name."""
    bad = any(c in "/\\" or c.isspace() or not c.isprintable() for c in text)
    if bad or text in (".", "..") or not 1 <= len(text) <= 128:
        raise ValueError("1 to 128 characters without spaces, slashes or control characters")
    return text


def service_name(text: str) -> str:
    """A name for Consul's catalog that can also be part of a SPIFFE path."""
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?", text):
        raise ValueError("letters, digits, '-', '_' and '.', such as tile38-writer")
    return text


def key_prefix(text: str) -> str:
    """A folder in Consul's KV, returned without slashes at its ends."""
    stripped = text.strip("/")
    if not stripped or "//" in stripped or any(c.isspace() or not c.isprintable() for c in stripped):
        raise ValueError("a path of Consul's KV without spaces, such as _locks/tile38/cluster/manager")
    return stripped


def host(text: str) -> str:
    """A host name or an IP address; IPv6 with or without brackets, returned without."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        try:
            return str(IPv6Address(bare))
        except ValueError:
            bare = ""
    if not _HOST.fullmatch(bare):
        raise ValueError("a host name or an IP address, without a port")
    return bare


def reachable_host(text: str) -> str:
    """A host that others can connect to, so no wildcard."""
    found = host(text)
    if is_wildcard(found):
        raise ValueError("a host name or an IP address to connect to, not the wildcard")
    return found


def is_wildcard(name: str) -> bool:
    """Whether listening there means listening on every interface."""
    try:
        return ip_address(name).is_unspecified
    except ValueError:
        return False


def port(text: str) -> int:
    """A TCP port."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= number <= 65535:
        raise ValueError("a port from 1 to 65535")
    return number


def port_or_free(text: str) -> int:
    """A TCP port, or 0 for one that the system chooses."""
    if text == "0":
        return 0
    try:
        return port(text)
    except ValueError:
        raise ValueError("a port from 1 to 65535, or 0 for a free one") from None


def port_or_none(text: str) -> int:
    """A TCP port, or 0 for no listener at all."""
    if text == "0":
        return 0
    try:
        return port(text)
    except ValueError:
        raise ValueError("a port from 1 to 65535, or 0 for none") from None


def duration(low: float, high: float) -> Callable[[str], float]:
    """A parser of durations within these seconds, for values such as C{300ms}, C{1s} or C{2m}."""

    def parse(text: str) -> float:
        matched = _DURATION.fullmatch(text)
        seconds = float(matched[1]) * _SECONDS[matched[2]] if matched else -1.0
        # Rounded, since 0.001 has no exact binary form and bounds are included.
        if not matched or not low <= round(seconds, 9) <= high:
            bounds = f"{show_duration(low)} to {show_duration(high)}"
            raise ValueError(f"a duration from {bounds}, such as 300ms, 1s or 2m")
        return round(seconds, 9)

    return parse


def show_duration(seconds: float) -> str:
    """The shortest text that L{duration} would read back as this."""
    for unit, factor in (("h", 3600), ("m", 60)):
        if seconds >= factor and seconds % factor == 0:
            return f"{seconds / factor:.0f}{unit}"
    return f"{seconds:.12g}s" if seconds >= 1 else f"{seconds * 1000:.12g}ms"


def size(low: int, high: int) -> Callable[[str], int]:
    """A parser of sizes within these bytes, for values such as C{65536}, C{512KiB} or C{64MiB}."""

    def parse(text: str) -> int:
        matched = _SIZE.fullmatch(text)
        total = int(matched[1]) * _BYTES.get(matched[2], 1) if matched else -1
        if not low <= total <= high:
            raise ValueError(f"a size from {show_size(low)} to {show_size(high)}, such as 512KiB or 64MiB")
        return total

    return parse


def show_size(total: int) -> str:
    """The shortest text that L{size} would read back as this."""
    for unit in ("GiB", "MiB", "KiB"):
        if total >= _BYTES[unit] and total % _BYTES[unit] == 0:
            return f"{total // _BYTES[unit]}{unit}"
    return str(total)


def count(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers within these bounds."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else -1
        if not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return number

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    """A parser that takes exactly these words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{', '.join(allowed[:-1])} or {allowed[-1]}")
        return text

    return parse


def boolean(text: str) -> bool:
    """True or false in any of the usual words."""
    word = text.lower()
    if word in ("1", "t", "true", "yes", "on"):
        return True
    if word in ("0", "f", "false", "no", "off"):
        return False
    raise ValueError("true or false (also 1, 0, yes, no)")


def go_boolean(text: str) -> bool:
    """True or false in Go's words; Consul's own client ignores C{yes}, so here that is an error."""
    if text in _GO_TRUE:
        return True
    if text in _GO_FALSE:
        return False
    raise ValueError("true or false (also 1, 0, t, f), as for Consul's own client")


def path(text: str) -> Path:
    """A file or folder, made absolute, since a daemon may change its working directory."""
    if not text or "\0" in text:
        raise ValueError("a path")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # of pathlib, where "~name" is nobody's home
        raise ValueError("a path; '~name' only of a user that there is") from None


def state_directory(text: str) -> Path:
    """A folder; of a list joined by colons, as systemd's C{$STATE_DIRECTORY} may be, the first."""
    return path(text.split(":")[0])


def secret(text: str) -> Secret:
    """A value that is never shown."""
    if not text or any(c in "\r\n\0" for c in text):
        raise ValueError("a text without line breaks")
    return Secret(text)


def consul_address(text: str) -> ConsulAddress:
    """An address in any form that Consul's own client takes."""
    allowed = "host:port, http://host:port/prefix, https://host:port or unix:///path"
    scheme, separator, rest = text.partition("://")
    try:
        if not separator:
            return ConsulAddress(_host_and_port(text, None))
        if scheme == "unix" and rest.startswith("/"):
            # Consul's client sends "Host: localhost" over a Unix socket.
            return ConsulAddress(Address("localhost", 80), unix_socket=rest)
        if scheme not in ("http", "https"):
            raise ValueError(allowed)
        parts = urlsplit(text)
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(allowed)
        where = _host_and_port(parts.netloc, 443 if scheme == "https" else 80)
        return ConsulAddress(where, https=scheme == "https", path_prefix=parts.path.rstrip("/"))
    except ValueError:
        raise ValueError(allowed) from None


def _host_and_port(text: str, default: int | None) -> Address:
    name, separator, number = text.rpartition(":")
    if not separator or number.endswith("]"):
        if default is None:
            raise ValueError("a host and a port")
        return Address(host(text), default)
    if ":" in name and not name.startswith("["):
        raise ValueError("an IPv6 address in brackets")
    return Address(host(name), port(number))
