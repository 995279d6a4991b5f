"""A small Consul client that blocks: keys, and the options that say where Consul is."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from argparse import ArgumentParser, Namespace
from base64 import b64decode, b64encode
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from attrs import frozen

from tile38cm.flags.checks import consul_settings
from tile38cm.flags.sources import gather
from tile38cm.flags.table import FLAGS
from tile38cm.flags.values import WrongValue
from tile38cm.operate.ctl.options import WrongUsage
from tile38cm.settings import ConsulSettings

#: Seconds for Consul to answer what it need not wait for.
TIMEOUT = 10.0
#: Tries of a request that Consul could not serve, while it elects a leader perhaps, and seconds between them.
TRIES, BETWEEN = 3, 0.5
#: The flags of a manager that hold here too; secrets come from the environment only.
_GROUP = tuple(flag for flag in FLAGS if flag.name.startswith("consul."))


class ConsulFailed(OSError):
    """Consul did not answer, or refused; the sentence says what."""


@frozen
class Entry:
    """One key and what is under it. C{held}: a living session holds it; C{index} is its C{ModifyIndex}."""

    key: str
    value: bytes
    index: int
    held: bool

    @property
    def document(self) -> dict[str, Any] | None:
        """The value as a JSON object, if it is one."""
        try:
            found = json.loads(self.value)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None


class _Connection(HTTPConnection):
    """One connection as the settings say: TCP or a Unix socket, TLS or none."""

    def __init__(self, settings: ConsulSettings, timeout: float) -> None:
        super().__init__(settings.address.host, settings.address.port, timeout=timeout)
        self._settings = settings

    def connect(self) -> None:
        settings, plain = self._settings, self._plain()
        if not settings.https:
            self.sock = plain
            return
        try:
            name = settings.tls_server_name or settings.address.host
            self.sock = _tls(settings).wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def _plain(self) -> socket.socket:
        if self._settings.unix_socket is None:
            return socket.create_connection((self.host, self.port), self.timeout)
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(self.timeout)
        try:
            plain.connect(self._settings.unix_socket)
        except BaseException:
            plain.close()
            raise
        return plain


def _tls(settings: ConsulSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file, capath=settings.ca_path)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert is not None:
        context.load_cert_chain(settings.client_cert, settings.client_key)
    return context


class Keys:
    """The keys of one cluster, named without their prefix. All calls fail with L{ConsulFailed}."""

    def __init__(self, settings: ConsulSettings, prefix: str) -> None:
        self.prefix = prefix
        self._settings = settings

    def get(self, name: str) -> Entry | None:
        """One key as Consul's leader confirms it."""
        return next(iter(self._entries(name, "consistent")), None)

    def below(self, name: str) -> dict[str, Entry]:
        """All keys of a folder, by the rest of their names; as Consul's leader confirms them."""
        found = self._entries(f"{name}/", "recurse&consistent")
        start = len(f"{self.prefix}/{name}/")
        return {entry.key[start:]: entry for entry in found}

    def put(self, name: str, document: Mapping[str, Any], index: int) -> bool:
        """Write a JSON object if the key is still as of C{index} (0: not there); whether it was.

        Not repeated: an answer that was lost leaves it open whether this was done.
        """
        body = json.dumps(dict(document)).encode()
        return self._ask("PUT", f"{self._path(name)}?cas={index}", body) == b"true"

    def delete(self, name: str, index: int) -> bool:
        """Delete a key if it is still as of C{index}; whether it was."""
        return self._ask("DELETE", f"{self._path(name)}?cas={index}") == b"true"

    def _path(self, name: str) -> str:
        return f"/v1/kv/{quote(f'{self.prefix}/{name}')}"

    def _entries(self, name: str, query: str) -> list[Entry]:
        for left in reversed(range(TRIES)):
            try:
                raw = self._ask("GET", f"{self._path(name)}?{query}")
                break
            except ConsulFailed:
                if not left:
                    raise
                time.sleep(BETWEEN)
        try:
            return [_entry(each) for each in json.loads(raw)] if raw else []
        except (ValueError, KeyError, TypeError) as error:
            raise ConsulFailed(f"Consul's answer cannot be read: {error!r}") from None

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer's body; empty where there is no such key."""
        connection = _Connection(self._settings, TIMEOUT)
        where = self._settings.unix_socket or str(self._settings.address)
        try:
            connection.request(method, self._settings.path_prefix + path, body, self._headers())
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, HTTPException) as error:
            raise ConsulFailed(f"Consul at {where} does not answer: {error or repr(error)}") from None
        finally:
            connection.close()
        if answer.status == 404 and not raw:
            return b""  # no such key; what else is not found has a text
        if answer.status != 200:
            said = raw.decode("utf-8", "replace").strip()[:300]
            raise ConsulFailed(f"Consul at {where} says {answer.status}: {said}")
        return raw

    def _headers(self) -> dict[str, str]:
        settings, headers = self._settings, {}
        token = settings.token.value if settings.token is not None else ""
        if settings.token_file is not None:
            token = settings.token_file.read_text().strip()
        if token:
            headers["X-Consul-Token"] = token
        if settings.http_auth is not None:
            headers["Authorization"] = f"Basic {b64encode(settings.http_auth.value.encode()).decode()}"
        return headers


def _entry(found: Mapping[str, Any]) -> Entry:
    value = b64decode(found["Value"] or "")
    return Entry(str(found["Key"]), value, int(found["ModifyIndex"]), bool(found.get("Session")))


def consul_options(parser: ArgumentParser) -> None:
    """The manager's own flags that say where Consul and the cluster's keys are."""
    group = parser.add_argument_group(
        "Consul",
        "As the managers' own flags and variables. The token comes from $CONSUL_HTTP_TOKEN, or from a file.",
    )
    for flag in _GROUP:
        if flag.secret:
            continue
        group.add_argument(
            f"--{flag.name}",
            dest=flag.name,
            metavar=flag.metavar,
            help=f"{flag.help} (${flag.env}; default: {flag.default or flag.otherwise or 'none'})".replace(
                "%", "%%"
            ),
        )


def keys(options: Namespace) -> Keys:
    """The keys that the options and the environment name; fails with L{WrongUsage}."""
    told = {flag.name: getattr(options, flag.name, None) for flag in _GROUP}
    variables = {flag.env: os.environ[flag.env] for flag in _GROUP if flag.env and flag.env in os.environ}
    try:
        values = gather({name: text for name, text in told.items() if text is not None}, variables, None)
        return Keys(consul_settings(values), str(values["consul.lock.prefix"].value))
    except WrongValue as wrong:
        raise WrongUsage(str(wrong)) from None
