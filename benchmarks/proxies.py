"""
What W and R cost: Tile38 itself, HAProxy in front of it, W and R, in one run.

Run alone on a machine at rest; needs redis-benchmark (Debian: redis-tools) and haproxy::

    python -m benchmarks.proxies --rounds 5

One node, so that no follower is waited for; without TLS and with Connect's.
Rounds are interleaved and their order turned, so only ratios within one run
mean much.  Microseconds are CPU time of the proxy's process per request,
from /proc.  Ids are random and points lie ten degrees apart at most, since
stacked points make Tile38 itself slow.  The medians are appended to
C{benchmarks/history.jsonl}, from which L{benchmarks.report} writes the page.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from benchmarks import report
from tests.integration.lab import READER_PORT, TILE38_PORT, WRITER_PORT, Lab, Node
from tests.real import Program, wait_for
from tile38cm.dev.processes import free_ports

_SET = "SET fleet {run}:__rand_int__ POINT __rand_int__e-8 __rand_int__e-8"
#: Each load: clients, pipeline, requests, command.
LOADS = {
    "SET, 50 clients": (50, 1, 60_000, _SET),
    "SET, 200 clients": (200, 1, 60_000, _SET),
    "SET, 50 clients, pipeline 16": (50, 16, 160_000, _SET),
    "SET, 1 client": (1, 1, 20_000, _SET),
    "GET, 50 clients": (50, 1, 60_000, "GET fleet fixed POINT"),
    "NEARBY LIMIT 10, 50 clients": (
        50,
        1,
        20_000,
        "NEARBY fleet LIMIT 10 IDS POINT __rand_int__e-8 __rand_int__e-8",
    ),
}
LOAD_TIMEOUT = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


@frozen
class Target:
    """Where a load goes, and whose CPU time it is."""

    name: str
    host: str
    port: int
    tls: tuple[str, ...] = ()
    process: int | None = None

    def cpu(self) -> float:
        """Seconds that its process has used so far."""
        if self.process is None:
            return 0.0
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


class HAProxy(Program):
    """HAProxy before one server; ends TLS if it has a certificate."""

    name = "haproxy"

    def __init__(self, directory: Path, server: Node, pem: Path | None, roots: Path) -> None:
        super().__init__(directory)
        self.port = free_ports(1)[0]
        ends = "" if pem is None else f" ssl crt {pem} ca-file {roots} verify required"
        self._file = directory / "haproxy.cfg"
        self._file.write_text(
            "global\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n"
            "  timeout client 1h\n  timeout server 1h\n"
            f"listen t\n  bind 127.0.0.1:{self.port}{ends}\n  server s {server.host}:{TILE38_PORT}\n"
        )

    def arguments(self) -> list[str]:
        return [needed("haproxy"), "-f", str(self._file)]

    def ready(self) -> bool:
        return True


def needed(program: str) -> str:
    """The path of a program, or the end."""
    found = shutil.which(program)
    if found is None:
        sys.exit(f"{program} is needed for this (Debian: redis-tools, haproxy)")
    return found


def load(target: Target, name: str, run: str) -> report.Figure:
    """One load on one target."""
    clients, pipeline, requests, command = LOADS[name]
    flags = f"-c {clients} -P {pipeline} -n {requests} -q -r 1000000000".split()
    address = ["-h", target.host, "-p", str(target.port)]
    before = target.cpu()
    done = subprocess.run(
        [needed("redis-benchmark"), *address, *flags, *target.tls, *command.format(run=run).split()],
        capture_output=True,
        text=True,
        timeout=LOAD_TIMEOUT,
        check=True,
    )
    rates = re.findall(r"([\d.]+) requests per second", done.stdout)
    if not rates:
        sys.exit(f"redis-benchmark said: {done.stdout[-300:]} {done.stderr[-300:]}")
    return report.Figure(float(rates[-1]), (target.cpu() - before) / requests * 1e6)


@contextmanager
def targets(tls: bool) -> Iterator[list[Target]]:
    """A node and HAProxy, for as long as this is open."""
    with Lab(nodes=1, tls="connect" if tls else "off", lease="1s") as lab:
        lab.start()
        node = lab.wait_settled()
        flags: tuple[str, ...] = ()
        pem, roots = None, lab.folder / "roots.pem"
        if tls:
            lab.tls()
            lab.leaf("lab-haproxy")
            found = lab.consul.request("GET", "/v1/agent/connect/ca/roots")["Roots"]
            roots.write_text("\n".join(root["RootCert"] for root in found))
            own, pem = lab.folder / "lab-client.pem", lab.folder / "lab-haproxy.pem"
            flags = ("--tls", "--cert", str(own), "--key", str(own), "--cacert", str(roots), "--insecure")
        haproxy = HAProxy(lab.folder, node, pem, roots).start()
        try:
            with lab.writer(node) as writer:
                wait_for(lambda: writer.command("SET", "fleet", "fixed", "POINT", 3, 3) == "OK", "W", 30)
            assert haproxy.process is not None and node.manager.process is not None
            ours = node.manager.process.pid
            yield [
                Target("direct", node.host, TILE38_PORT),
                Target("HAProxy", "127.0.0.1", haproxy.port, flags, haproxy.process.pid),
                Target("W", node.host, WRITER_PORT, flags, ours),
                Target("R", node.host, READER_PORT, flags, ours),
            ]
        finally:
            haproxy.kill()
            haproxy.stop()


def measure(tls: bool, rounds: int, names: Sequence[str]) -> report.Table:
    """The medians of all rounds, by load and target."""
    found: dict[tuple[str, str], list[report.Figure]] = {}
    with targets(tls) as all_targets:
        for number in range(rounds):
            for name in names:
                turn = number % len(all_targets)
                for target in [*all_targets[turn:], *all_targets[:turn]]:
                    if target.name == "R" and name.startswith("SET"):
                        continue
                    figure = load(target, name, f"{number}{target.name}{len(found)}")
                    found.setdefault((name, target.name), []).append(figure)
    table: report.Table = {}
    for (name, target_name), figures in found.items():
        rate = statistics.median(figure.rate for figure in figures)
        cpu = statistics.median(figure.cpu for figure in figures)
        table.setdefault(name, {})[target_name] = report.Figure(rate, cpu)
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("plain", "tls"), help="one of the two")
    parser.add_argument("--loads", default="", help="only those whose name holds this")
    parser.add_argument("--no-history", action="store_true", help="print, and keep nothing")
    given = parser.parse_args(arguments)
    names = [name for name in LOADS if given.loads in name]
    tables = {
        kind: measure(kind == "tls", given.rounds, names)
        for kind in ("plain", "tls")
        if given.only in (None, kind)
    }
    for kind, table in tables.items():
        print(report.text(kind, table))
    if not given.no_history:
        report.keep(tables, given.rounds)


if __name__ == "__main__":
    main()
