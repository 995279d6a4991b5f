"""Fences, channels and what subscribers hear."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.dev.tile38.bench import NodeCase


def parts(raw: bytes) -> list[Any]:
    """The JSON texts in what a connection got."""
    return [json.loads(line) for line in raw.split(b"\r\n") if line.startswith(b"{")]


class EventTests(NodeCase):
    """One object that comes and goes."""

    def drive(self) -> None:
        """In, out, gone."""
        for place in ("40 -100", "33.5 -112.2", "40 -100"):
            self.ask(f"SET fleet truck1 POINT {place}")
        self.ask("DEL fleet truck1")

    def told(self, raw: bytes) -> list[str]:
        """What was detected, or the command."""
        return [each.get("detect", each["command"]) for each in parts(raw)]

    def test_live(self) -> None:
        """A live connection gets events, until it says anything."""
        live = self.memory.session()
        self.assertEqual(live("NEARBY fleet FENCE POINT 33.5 -112.2 5000"), "OK")
        self.drive()
        expected = ["outside", "enter", "inside", "exit", "outside", "del"]
        self.assertEqual(self.told(live.read()), expected)
        live.raw(b"PING\r\n")
        self.assertTrue(live.transport.disconnecting)

    def test_channel(self) -> None:
        """A channel's events reach its subscribers; the group lasts from one entering to the next."""
        self.assertEqual(
            self.ask("SETCHAN near META kind x NEARBY fleet FENCE DETECT enter,exit POINT 33.5 -112.2 5000"),
            1,
        )
        listener = self.memory.session()
        self.assertEqual(listener("SUBSCRIBE near"), ["subscribe", "near", 1])
        self.drive()
        # It was deleted elsewhere, which is nothing to a fence that is not told of what is outside.
        enter, leave = parts(listener.read())
        self.assertEqual((enter["detect"], leave["detect"]), ("enter", "exit"))
        self.assertEqual((enter["hook"], enter["meta"], enter["key"]), ("near", {"kind": "x"}, "fleet"))
        self.assertEqual(enter["group"], leave["group"])
        self.assertEqual(enter["time"], "2023-11-14T22:13:20Z")
        self.assertEqual(enter["object"], {"type": "Point", "coordinates": [-112.2, 33.5]})

    def test_roaming(self) -> None:
        """Who comes near to whom."""
        live = self.memory.session()
        live("NEARBY fleet FENCE ROAM fleet * 4000")
        self.ask("SET fleet truck1 POINT 33.5 -112.2")
        self.ask("SET fleet truck2 POINT 33.51 -112.2")
        self.ask("SET fleet truck2 POINT 40 -112.2")
        near, far = parts(live.read())
        self.assertEqual((near["nearby"]["id"], near["nearby"]["meters"]), ("truck1", 1111.949))
        self.assertEqual(far["faraway"]["id"], "truck1")

    def test_messages(self) -> None:
        """Subscriptions by name and by pattern, in their own mode."""
        listener = self.memory.session()
        listener("SUBSCRIBE a b")
        self.assertEqual(listener("PSUBSCRIBE a*"), ["psubscribe", "a*", 3])
        self.assertEqual(self.ask("PUBLISH a hello"), 2)
        self.assertEqual(
            listener.read(),
            b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n"
            b"*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$5\r\nhello\r\n",
        )
        self.assertIn("only (P)SUBSCRIBE", listener("GET a b"))
        self.assertEqual(listener("PING"), ["PONG", ""])
        self.assertEqual(listener("UNSUBSCRIBE a"), ["unsubscribe", "a", 2])
        self.assertEqual(self.ask("PUBLISH b x"), 1)

    def test_monitor(self) -> None:
        """Commands are shown as they came, but for secrets and nonsense; any command is the last."""
        watching = self.memory.session()
        self.assertEqual(watching("MONITOR x"), "-ERR wrong number of arguments for 'monitor' command")
        self.assertEqual(watching("MONITOR"), "OK")
        self.ask("set k i STRING", b'a "b"\\\r\n\x00\x7f\xc3\xa4\xff\xe2\x80\x8b')
        for command in (
            "SET k",
            "NOPE",
            "PING",
            "AUTH x",
            "CONFIG GET x",
            "GET k none",
            "FGET k none f",
            "TIMEOUT 1 KEYS *",
        ):
            self.ask(command)
        self.memory.session()("SUBSCRIBE a")
        stamp = b"+1700000000.000000 [0 127.0.0.1:4711] "
        shown = (
            rb'"set" "k" "i" "STRING" "a \"b\"\\\r\n\x00\x7f' + b"\xc3\xa4" + rb'\xff\u200b"',
            b'"GET" "k" "none"',
            b'"FGET" "k" "none" "f"',
            b'"KEYS" "*"',
            b'"SUBSCRIBE" "a"',
        )
        self.assertEqual(watching.read(), b"".join(stamp + each + b"\r\n" for each in shown))
        self.assertEqual(watching("QUIT"), "OK")
        self.assertTrue(watching.transport.disconnecting)

    def test_hooks_kept(self) -> None:
        """Channels survive a restart, and end when their time is over."""
        self.ask("SETCHAN near EX 5 NEARBY fleet FENCE POINT 1 2 3")
        self.memory = self.memory.again()
        self.ask = self.memory.session()
        words = ["NEARBY", "fleet", "FENCE", "POINT", "1", "2", "3"]
        self.assertEqual(self.ask("CHANS *"), [["near", "fleet", ["local://near"], words, []]])
        self.assertEqual(self.ask("RENAME fleet x"), "-ERR key not found")
        self.reactor.pump([0.5] * 12)
        self.assertEqual(self.ask("CHANS *"), [])
