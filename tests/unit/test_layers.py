"""Imports go down only: the table of the layers, and a reader of the imports that holds it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import tile38cm

ROOT = Path(tile38cm.__file__).parent

#: From the bottom up.  A part is one name, or several that belong together; what is
#: within a part may import each other, two parts of one level may not.
LEVELS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("settings",), ("wire",)),
    (
        ("model",),
        ("flags",),
        ("logs",),
        ("tasks",),
        ("disk",),
        ("sending",),
        ("turns",),
        ("endpoints",),
        ("vitals",),
    ),
    (
        (
            # Who leads, as rules: no reactor, no Consul.
            "coordination.status",
            "coordination.promises",
            "coordination.survey",
            "coordination.term",
            "coordination.member",
            "coordination.roles",
            "coordination.office",
            "coordination.election",
        ),
        (
            "coordination.consul",
            "coordination.consul_agent",
            "coordination.consul_values",
            "coordination.consul_wire",
            "coordination.watch",
        ),
        ("tile38", "tile38_link"),
        ("tls",),
        ("state",),
        ("footing",),
        ("claim",),
    ),
    (("peers",), ("health",), ("coordination.cluster",), ("coordination.store", "coordination.secret")),
    (("proxy",), ("replication",), ("operate",), ("sentinel",)),
    (("duties",), ("routing",), ("gatelog",), ("figures",), ("erasure",), ("handover",), ("antecedents",)),
    (("requests",),),
    (("node",),),
    (("service",),),
    (("tap",), ("dev.cluster",), ("operate.ctl",)),
)
#: Stand-ins for tests and for a cluster without servers: they know the protocol, not the program.
DEV_MAY_IMPORT = ("dev", "wire", "model", "settings")
#: Pure: neither a reactor nor a clock of its own.
WITHOUT_REACTOR = ("settings", "model", "wire", "flags", "logs", *LEVELS[2][0])
#: Who may import the global reactor.
PROGRAMS = ("tap", "dev.cluster", "dev.agent", "dev.tile38.__main__", "operate.ctl")


def modules(root: Path = ROOT) -> dict[str, str]:
    """The source of every module by its dotted name below the package; packages by their own."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def imports(source: str, known: Mapping[str, str]) -> Iterator[str]:
    """What a module imports: ours as names below the package with a leading dot, the rest whole."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield _ours(name.removeprefix("tile38cm"), known) if name.startswith("tile38cm.") else name


def _ours(dotted: str, known: Mapping[str, str]) -> str:
    """The module of C{.package.module.name}, with its leading dot."""
    while dotted and dotted[1:] not in known:
        dotted = dotted.rpartition(".")[0]
    return dotted or "."


def place(module: str) -> tuple[int, tuple[str, ...]] | None:
    """Level and part of a module: the longest name of the table that it is, or is below."""
    fitting = [
        (name, level, part)
        for level, parts in enumerate(LEVELS)
        for part in parts
        for name in part
        if module == name or module.startswith(name + ".")
    ]
    return max(fitting, key=lambda each: len(each[0]))[1:] if fitting else None


def faults(sources: Mapping[str, str]) -> list[str]:
    """A sentence for each import that the table forbids, and for each module that it forgets."""
    found = []
    for module, source in sources.items():
        # A package's own docstring and version are for all; what it imports is judged as its own part.
        if module in ("", "coordination", "dev", "operate") and not list(imports(source, sources)):
            continue
        if _in(module, ("dev",)) and module != "dev.cluster":
            allowed = [_in(name[1:], DEV_MAY_IMPORT) for name in imports(source, sources) if name[0] == "."]
            found += [] if all(allowed) else [f"{module} may import {DEV_MAY_IMPORT} only"]
        elif place(module) is None:
            found.append(f"{module} is not in the table of layers")
        else:
            found += _upward(module, source, sources)
        found += _reactors(module, set(imports(source, sources)))
    return found


def _upward(module: str, source: str, sources: Mapping[str, str]) -> Iterator[str]:
    here = place(module)
    assert here is not None
    for name in sorted(set(imports(source, sources))):
        if not name.startswith(".") or name == ".":
            continue
        there = place(name[1:])
        if _in(name[1:], ("dev",)) and module != "dev.cluster":
            yield f"{module} imports {name[1:]}, which is for tests and dev.cluster"
        elif there is not None and there[1] != here[1] and there[0] >= here[0]:
            yield f"{module} (level {here[0]}) imports {name[1:]} (level {there[0]})"


def _reactors(module: str, names: set[str]) -> Iterator[str]:
    if "twisted.internet.reactor" in names and module not in PROGRAMS:
        yield f"{module} imports the global reactor"
    if _in(module, WITHOUT_REACTOR) and any(name.startswith("twisted.internet") for name in names):
        yield f"{module} imports twisted.internet"


def _in(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


class LayerTests(SynchronousTestCase):
    """The table of the layers holds."""

    def test_imports_go_down(self) -> None:
        """No module imports from above, nor from beside its own part, nor a reactor where there is none."""
        self.assertEqual(faults(modules()), [])

    def test_everything_is_read(self) -> None:
        """The reader sees the package's modules and their imports."""
        found = modules()
        self.assertIn(".flags.table", list(imports(found["flags.sources"], found)))
        self.assertIn("twisted.internet.reactor", list(imports(found["tap"], found)))

    def test_map(self) -> None:
        """The package's docstring names every module and subpackage of its first level."""
        first = {name.partition(".")[0] for name in modules()} - {""}
        missing = [name for name in first if f"L{{tile38cm.{name}}}" not in (tile38cm.__doc__ or "")]
        self.assertEqual(missing, [])


class FaultTests(SynchronousTestCase):
    """Whatever the table forbids is found."""

    def test_forbidden(self) -> None:
        """Imports from above, from beside, of test means, of a reactor; modules that nobody placed."""
        for module, source, expected in (
            ("wire.resp", "import tile38cm.tap", "wire.resp (level 0) imports tap (level 9)"),
            (
                "wire.resp",
                "def f():\n    from tile38cm.proxy import link",
                "wire.resp (level 0) imports proxy",
            ),
            (
                "proxy.link",
                "from tile38cm.replication.log_feed import LogFeed",
                "proxy.link (level 4) imports replication.log_feed",
            ),
            (
                "proxy.link",
                "from tile38cm.dev import consul",
                "proxy.link imports dev.consul, which is for tests",
            ),
            ("dev.consul", "from tile38cm.tls import mesh", "dev.consul may import"),
            (
                "wire.resp",
                "from twisted.internet.defer import Deferred",
                "wire.resp imports twisted.internet",
            ),
            ("proxy.link", "from twisted.internet import reactor", "proxy.link imports the global reactor"),
            ("elsewhere", "", "elsewhere is not in the table"),
        ):
            names = ("tap", "proxy", "proxy.link", "replication.log_feed", "dev.consul", "tls.mesh")
            found = faults(dict.fromkeys(names, "") | {module: source})
            self.assertEqual(
                [sentence.startswith(expected) for sentence in found], [True], f"{module}: {found}"
            )

    def test_allowed(self) -> None:
        """Downward, and within one part."""
        sources = {"wire.resp": "", "proxy.link": "", "proxy.live": "from tile38cm.proxy.link import x"}
        sources["proxy.link"] = "from tile38cm.wire import resp\nfrom tile38cm import __version__"
        self.assertEqual(faults(sources), [])
