"""Random commands to a real Tile38 and to the embedded node: the same answers, the same data at the end."""

from __future__ import annotations

import os
import random
from itertools import islice
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.contracts.tile38_random import Commands, comparable
from tests.real import EmbeddedTile38, RealTile38, ReplyError, RespClient

#: How many commands one seed makes.
COUNT = 3000


class DifferentialTests(SynchronousTestCase):
    """Two servers, one row of commands; C{TILE38CM_SEED} chooses it."""

    def setUp(self) -> None:
        self.real, self.embedded = RealTile38().start(), EmbeddedTile38().start()
        self.addCleanup(self.real.stop)
        self.addCleanup(self.embedded.stop)
        self.seed = int(os.environ.get("TILE38CM_SEED") or random.SystemRandom().randrange(10**6))

    def ask(self, client: RespClient, words: list[str]) -> Any:
        """What comes of one command, as far as it may be compared."""
        try:
            return comparable(words, client.command(*words))
        except ReplyError as error:
            return f"error: {error}"

    def compare(self, output: str) -> None:
        """One row of commands in one kind of output."""
        with self.real.connect() as real, self.embedded.connect() as embedded:
            for client in (real, embedded):
                client.command("OUTPUT", output)
            for number, words in enumerate(islice(Commands(self.seed), COUNT)):
                expected, found = self.ask(real, words), self.ask(embedded, words)
                self.assertEqual(found, expected, f"seed {self.seed}, command {number}: {words}")
        self.assertEqual(self.contents(self.embedded), self.contents(self.real), f"seed {self.seed}")

    def contents(self, server: RealTile38) -> dict[Any, Any]:
        """All objects of a server."""
        keys = server.command("KEYS", "*")
        assert isinstance(keys, list)
        return {key: server.command("SCAN", key, "LIMIT", 10000) for key in keys}

    def test_resp(self) -> None:
        """In RESP."""
        self.compare("resp")

    def test_json(self) -> None:
        """In JSON."""
        self.compare("json")
