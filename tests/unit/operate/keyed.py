"""A Consul that knows keys only, behind a real port of this machine, for a client that blocks."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import define, evolve, field

PREFIX = "_locks/tile38/cluster/manager"


@define
class Key:
    """What is under one key."""

    value: bytes
    index: int
    session: str | None = None


@define
class KeyedConsul:
    """The keys, by their names below the prefix; C{stop} it."""

    keys: dict[str, Key] = field(factory=dict)
    #: Told each document that is written; what it returns is written over it at once.
    on_put: Callable[[str, dict[str, Any]], Mapping[str, Any] | None] = lambda name, doc: None
    #: Answers that come first: a status and a text.
    failures: list[tuple[int, str]] = field(factory=list)
    #: The headers of each request.
    headers: list[Mapping[str, str]] = field(factory=list)
    _index: int = 7
    _server: ThreadingHTTPServer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._door())
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def put(self, name: str, document: Mapping[str, Any] | bytes, session: str | None = None) -> None:
        """Write a key."""
        self._index += 1
        value = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.keys[name] = Key(value, self._index, session)

    def document(self, name: str) -> dict[str, Any]:
        """A key's JSON object."""
        return dict(json.loads(self.keys[name].value))

    def _door(self) -> type[BaseHTTPRequestHandler]:
        consul = self

        class Door(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                code, body = consul.asked(
                    self.command, self.path, self.rfile.read(length), dict(self.headers)
                )
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_DELETE = answer  # noqa: N815  # the standard library's names

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Door

    def asked(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The answer to one request."""
        self.headers.append(headers)
        if self.failures:
            code, text = self.failures.pop(0)
            return code, text.encode()
        parts = urlsplit(path)
        name = unquote(parts.path).removeprefix(f"/v1/kv/{PREFIX}/")
        query = parse_qs(parts.query, keep_blank_values=True)
        if method == "GET":
            return self._get(name, "recurse" in query)
        there = self.keys.get(name)
        if int(query["cas"][0]) != (there.index if there else 0):
            return 200, b"false"
        if method == "DELETE":
            self.keys.pop(name, None)
        else:
            self.put(name, body)
            over = self.on_put(name, json.loads(body))
            if over is not None:
                self.put(name, over)
        return 200, b"true"

    def _get(self, name: str, recurse: bool) -> tuple[int, bytes]:
        names = [each for each in self.keys if (each.startswith(name) if recurse else each == name)]
        found = []
        for each in names:
            key = evolve(self.keys[each])
            shown = {"Key": f"{PREFIX}/{each}", "Value": b64encode(key.value).decode()}
            found.append(
                {**shown, "ModifyIndex": key.index, **({"Session": key.session} if key.session else {})}
            )
        return (200, json.dumps(found).encode()) if found else (404, b"")
