"""Trucks that drive about: sample data that moves, for trying out."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from math import cos, radians, sin
from pathlib import Path
from threading import Event, Thread

from tile38cm.dev.client import talk

#: Where they drive: the middle, and how far from it. Degrees.
MIDDLE, AWAY = (33.45, -112.07), 0.25
#: Degrees from one step to the next at the highest speed, which is in km/h.
STEP, FASTEST = 0.002, 110
#: Seconds between two steps of the fleet.
EVERY = 1.0
#: The key of all.
KEY = "fleet"


def steps(count: int, seed: int = 1) -> Iterator[list[list[str]]]:
    """The commands of one step of each truck, for ever; who leaves the town turns round."""
    chance = random.Random(seed)
    spread = [(chance.uniform(-AWAY, AWAY), chance.uniform(-AWAY, AWAY)) for _ in range(count)]
    places = [[MIDDLE[0] + lat, MIDDLE[1] + lon] for lat, lon in spread]
    courses = [chance.uniform(0, 360) for _ in range(count)]
    while True:
        commands = []
        for number, place in enumerate(places):
            speed = chance.randrange(20, FASTEST)
            courses[number] += chance.uniform(-20, 20)
            if max(abs(place[0] - MIDDLE[0]), abs(place[1] - MIDDLE[1])) > AWAY:
                courses[number] += 180
            place[0] += STEP * speed / FASTEST * cos(radians(courses[number]))
            place[1] += STEP * speed / FASTEST * sin(radians(courses[number]))
            where = ["POINT", f"{place[0]:.5f}", f"{place[1]:.5f}"]
            commands.append(["SET", KEY, f"truck{number + 1}", "FIELD", "speed", str(speed), *where])
        yield commands


class Fleet:
    """Drives so many trucks through a cluster's writers, from a thread, until it is stopped.

    @param ports: the W of each node; the next one is tried when one fails.
    @param say: is given a sentence when writing begins to fail, and when it goes on.
    """

    def __init__(
        self, count: int, ports: Sequence[int], say: Callable[[str], object], tls: Path | None = None
    ) -> None:
        self._count, self._ports, self._say, self._tls = count, list(ports), say, tls
        self._halt = Event()
        self._thread = Thread(target=self._drive, daemon=True)
        self._fails = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when nothing is written any more."""
        self._halt.set()
        self._thread.join(5.0)

    def _drive(self) -> None:
        for commands in steps(self._count):
            for words in commands:
                self._write(words)
            if self._halt.wait(EVERY):
                return

    def _write(self, words: list[str]) -> None:
        while not self._halt.is_set():
            try:
                reply = talk(self._ports[0], *words, tls=self._tls)
                failure = "" if reply == "OK" else str(reply)
            except OSError as error:
                failure = str(error)
            if bool(failure) != self._fails:
                self._fails = bool(failure)
                self._say(f"the fleet cannot write: {failure}" if failure else "the fleet drives again")
            if not failure:
                return
            self._ports.append(self._ports.pop(0))
            self._halt.wait(EVERY)
