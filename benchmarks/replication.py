"""
What replication costs: the first copy, the lag under a steady load, and waiting for the sync set.

Run alone on a machine at rest::

    python -m benchmarks.replication sync --points 1000000
    python -m benchmarks.replication lag --rate 10000 --seconds 20
    python -m benchmarks.replication ack --rounds 3

Each prints one line for each round and a last one with the medians.  A ratio
is taken within one round, the order turned from round to round.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence

from attrs import define, field

from tests.integration.lab import WRITER_PORT, Lab, Node
from tests.real import RealTile38, RespClient, wait_for

#: Requests that are sent before their replies are read.
PIPELINE = 500
#: Seconds between two parts of the steady load.
TICK = 0.01
LOAD_TIMEOUT, SYNC_TIMEOUT = 300.0, 300.0
KEY = "fleet"


class Pipeline(RespClient):
    """A client that writes many commands before it reads their replies."""

    def run(self, commands: Iterable[Sequence[str | float]]) -> None:
        """All of them at once; an error among the replies is raised."""
        sent = [[str(word).encode() for word in command] for command in commands]
        self._socket.sendall(
            b"".join(
                b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
                for words in sent
            )
        )
        for _ in sent:
            self.read()


def fill(host: str, port: int, points: int) -> None:
    """Write so many different points, pipelined."""
    with Pipeline(host, port, LOAD_TIMEOUT) as client:
        for first in range(0, points, PIPELINE):
            numbers = range(first, min(first + PIPELINE, points))
            client.run([("SET", KEY, str(n), "POINT", n % 1789 / 10 - 89, n / 60000) for n in numbers])


def holds(server: RealTile38, points: int) -> bool:
    """Whether a server says that it has so many points and lags behind nobody."""
    says = server.server()
    return int(says["num_points"]) == points and says.get("caught_up") == "true"


# -- the first copy ---------------------------------------------------------------


def plain_copy(leader: Node, points: int) -> float:
    """Seconds from C{FOLLOW} to caught up, of a Tile38 without a manager."""
    with_nothing = RealTile38().start()
    try:
        began = time.monotonic()
        with_nothing.command("FOLLOW", leader.host, leader.tile38.port)
        wait_for(lambda: holds(with_nothing, points), "a plain copy", SYNC_TIMEOUT)
        return time.monotonic() - began
    finally:
        with_nothing.stop()


def our_copy(lab: Lab, node: Node, points: int) -> float:
    """Seconds from the start of an empty node's manager to caught up; then it is emptied again."""
    node.tile38.start()
    began = time.monotonic()
    node.manager.start()
    wait_for(lambda: holds(node.tile38, points), "our copy", SYNC_TIMEOUT)
    took = time.monotonic() - began
    lab.wait_settled(lab.nodes[0], node, timeout=SYNC_TIMEOUT)
    node.terminate()
    # Who left stays in the sync set until a write waits for it.
    lab.write(lab.nodes[0], "SET", "probe", "left", "STRING", 1)
    lab.wait_settled(lab.nodes[0])
    for folder in (node.tile38.directory, lab.folder / node.id / "state"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    return took


def sync(points: int, rounds: int) -> None:
    """A node with nothing joins a leader with much; beside it a plain C{FOLLOW} of the same leader."""
    ours, plain = [], []
    with Lab(nodes=2, flags=("--expect", "1")) as lab:
        leader, joining = lab.nodes
        lab.start(leader)
        lab.wait_settled(leader)
        fill(leader.host, WRITER_PORT, points)
        for number in range(rounds):
            if number % 2:
                ours.append(our_copy(lab, joining, points))
            plain.append(plain_copy(leader, points))
            if not number % 2:
                ours.append(our_copy(lab, joining, points))
            print(f"round {number + 1}: plain {plain[-1]:.2f} s, ours {ours[-1]:.2f} s")
    ratio = statistics.median(took / by_itself for took, by_itself in zip(ours, plain, strict=True))
    print(f"first copy of {points} points, start of the manager included, to plain FOLLOW: {ratio:.2f}")


# -- lag under a steady load --------------------------------------------------------


@define
class Steady:
    """Writes at a rate, pipelined, in a thread of its own; C{late}: ticks that could not be kept."""

    host: str
    rate: int
    stop: threading.Event = field(factory=threading.Event)
    written: int = 0
    late: int = 0

    def run(self) -> None:
        """Until told to stop."""
        each = max(1, round(self.rate * TICK))
        due = time.monotonic()
        with Pipeline(self.host, WRITER_PORT, LOAD_TIMEOUT) as client:
            while not self.stop.is_set():
                numbers = range(self.written, self.written + each)
                client.run([("SET", KEY, str(n % 100_000), "POINT", n % 89, n % 179) for n in numbers])
                self.written += each
                due += TICK
                wait = due - time.monotonic()
                self.late += wait < 0
                self.stop.wait(max(0.0, wait))


def lags(leader: Node, follower: Node, seconds: float) -> list[float]:
    """Seconds from the leader's reply to a write until the follower shows it, both asked directly."""
    found = []
    end = time.monotonic() + seconds
    with (
        RespClient(leader.host, leader.tile38.port, 5.0) as there,
        RespClient(follower.host, follower.tile38.port, 5.0) as here,
    ):
        number = 0
        while time.monotonic() < end:
            number += 1
            there.command("SET", "probe", "now", "STRING", number)
            written = time.monotonic()
            while here.command("GET", "probe", "now") != str(number):
                time.sleep(0.0005)
            found.append(time.monotonic() - written)
            time.sleep(0.01)
    return found


def lag(rate: int, seconds: float, rounds: int) -> None:
    """Three nodes as they are shipped, C{rate} writes each second through the leader's W."""
    worst = []
    with Lab() as lab:
        lab.start()
        leader = lab.wait_settled()
        for number in range(rounds):
            load = Steady(leader.host, rate)
            thread = threading.Thread(target=load.run)
            thread.start()
            began = time.monotonic()
            found = sorted(lags(leader, lab.others(leader)[number % 2], seconds))
            load.stop.set()
            thread.join()
            reached = load.written / (time.monotonic() - began)
            p50, p99 = (found[int(len(found) * share)] * 1000 for share in (0.5, 0.99))
            worst.append(p99)
            print(
                f"round {number + 1}: {reached:.0f} writes/s, lag p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
                f"longest {found[-1] * 1000:.1f} ms, {len(found)} probes"
            )
    print(f"lag p99 at {rate} writes/s: {statistics.median(worst):.1f} ms")


# -- what waiting for the set costs ----------------------------------------------


def throughput(leader: Node, clients: int, requests: int) -> float:
    """SETs a second through the leader's W by redis-benchmark."""
    program = shutil.which("redis-benchmark")
    if program is None:
        sys.exit("redis-benchmark is needed for this (Debian: redis-tools)")
    point = ("POINT", "__rand_int__e-8", "__rand_int__e-8")
    flags = (
        "-h",
        leader.host,
        "-p",
        str(WRITER_PORT),
        "-c",
        str(clients),
        "-n",
        str(requests),
        "-q",
        "-r",
        "1000000000",
    )
    done = subprocess.run(
        [program, *flags, "SET", KEY, "__rand_int__", *point],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    line = done.stdout.replace("\r", "\n").strip().splitlines()[-1]
    return float(line.partition(" requests per second")[0].split()[-1])


def ack(rounds: int, clients: int, requests: int) -> None:
    """C{--ack insync} against C{--ack leader}, three nodes, each a cluster of its own in turn."""
    found: dict[str, list[float]] = {"insync": [], "leader": []}
    for number in range(rounds):
        for mode in list(found)[:: 1 if number % 2 else -1]:
            with Lab(flags=("--ack", mode)) as lab:
                lab.start()
                leader = lab.wait_settled()
                throughput(leader, clients, requests // 4)
                found[mode].append(throughput(leader, clients, requests))
        cost = 1 - found["insync"][-1] / found["leader"][-1]
        print(
            f"round {number + 1}: leader {found['leader'][-1]:.0f}/s, "
            f"insync {found['insync'][-1]:.0f}/s, cost {cost:.0%}"
        )
    insync, leads = (statistics.median(found[mode]) for mode in ("insync", "leader"))
    print(
        f"SET by {clients} clients: --ack leader {leads:.0f}/s, --ack insync {insync:.0f}/s, "
        f"cost {1 - insync / leads:.0%}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("sync", "lag", "ack"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=int, default=1_000_000, help="sync: how many there are")
    parser.add_argument("--rate", type=int, default=10_000, help="lag: writes per second")
    parser.add_argument("--seconds", type=float, default=20.0, help="lag: how long each round")
    parser.add_argument("--clients", type=int, default=50, help="ack: how many")
    parser.add_argument("--requests", type=int, default=40_000, help="ack: how many in all")
    given = parser.parse_args(arguments)
    if given.what == "sync":
        sync(given.points, given.rounds)
    elif given.what == "lag":
        lag(given.rate, given.seconds, given.rounds)
    else:
        ack(given.rounds, given.clients, given.requests)


if __name__ == "__main__":
    main()
