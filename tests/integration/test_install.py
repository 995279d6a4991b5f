"""The wheel, installed where nothing of the source tree is: the plugin is found and the command answers."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.real import ROOT
from tests.unit.flags.test_checks import REQUIRED
from tile38cm import __version__

#: Seconds; a build and a virtual environment need some on a loaded machine.
TIMEOUT = 120.0


def run(*words: str | Path, folder: Path, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output of a command that sees neither this process's Python path nor our variables."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=kept | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout


@cache
def installation() -> Path:
    """A folder with C{venv} and the wheel, made once for all tests here and removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="tile38cm-install-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _build(folder)
    _install(folder)
    return folder


def _build(folder: Path) -> None:
    # A copy, so that no build folder or egg-info of the source tree gets in, and none is left there.
    source = folder / "source"
    ignore = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in ("tile38cm", "twisted"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.rst"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    # Without isolation: the setuptools at hand, no network.
    pip = (sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index")
    code, out = run(*pip, "--wheel-dir", folder, source, folder=folder)
    assert code == 0, out


def _install(folder: Path) -> None:
    venv.create(folder / "venv", symlinks=True, with_pip=False)
    site = next((folder / "venv" / "lib").glob("python3*/site-packages"))
    with zipfile.ZipFile(wheel_in(folder)) as wheel:
        wheel.extractall(site)
    # What it depends on comes from here; as links, since a .pth file there names the source tree.
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.suffix == ".pth" or path.name.startswith(("tile38cm", "__editable__", "__pycache__")):
            continue
        if path.name == "twisted":
            shutil.copytree(path, site / "twisted", dirs_exist_ok=True)
        elif not (site / path.name).exists():
            (site / path.name).symlink_to(path)


def wheel_in(folder: Path) -> Path:
    """The wheel that was built there."""
    return next(folder.glob("tile38cm-*.whl"))


class InstallTests(SynchronousTestCase):
    """What a user gets who installs the wheel."""

    def setUp(self) -> None:
        self.folder = installation()
        self.wheel = wheel_in(self.folder)
        self.python = self.folder / "venv" / "bin" / "python"

    def command(self, *words: str, **environment: str) -> tuple[int, str]:
        """Run C{python -m twisted} there, in a folder with nothing in it: what C{twist} is."""
        empty = Path(tempfile.mkdtemp(dir=self.folder))
        return run(self.python, "-m", "twisted", *words, folder=empty, environment=environment)

    def test_contents(self) -> None:
        """The wheel has all modules, the plugin and the marker for types, and nothing of the tests."""
        names = zipfile.ZipFile(self.wheel).namelist()
        modules = {str(path.relative_to(ROOT)) for path in (ROOT / "tile38cm").rglob("*.py")}
        self.assertEqual(modules - set(names), set())
        self.assertIn("twisted/plugins/tile38cm_plugin.py", names)
        self.assertIn("tile38cm/py.typed", names)
        strange = [
            name
            for name in names
            if not name.startswith(("tile38cm/", "tile38cm-", "twisted/plugins/tile38cm_"))
        ]
        self.assertEqual(strange, [])

    def test_twist_knows_it(self) -> None:
        """C{twist --help} lists tile38cm."""
        code, out = self.command("--help")
        self.assertEqual(code, 0, out)
        self.assertRegex(out, r"(?m)^ +tile38cm +High availability")

    def test_plugin_imports_nothing_of_ours(self) -> None:
        """Other uses of twist don't load our package."""
        program = (
            "import sys; from twisted.plugin import getPlugins; "
            "from twisted.application.service import IServiceMaker; "
            "print([p.tapname for p in getPlugins(IServiceMaker)], 'tile38cm' in sys.modules)"
        )
        code, out = run(self.python, "-c", program, folder=self.folder)
        self.assertEqual(code, 0, out)
        self.assertIn("'tile38cm'", out)
        self.assertTrue(out.rstrip().endswith("False"), out)

    def test_help(self) -> None:
        """C{twist tile38cm --help} prints our flags."""
        code, out = self.command("tile38cm", "--help")
        self.assertEqual(code, 0, out)
        self.assertIn("--bind.port.leader PORT  [BIND_PORT_LEADER; required]", out)

    def test_version(self) -> None:
        """C{twist tile38cm --version} prints the version of the wheel."""
        self.assertEqual(self.command("tile38cm", "--version"), (0, f"tile38cm {__version__}\n"))
        self.assertIn(__version__, self.wheel.name)

    def test_check(self) -> None:
        """C{--check} shows what would be used, and exits well."""
        flags = [word for name, text in REQUIRED.items() for word in (f"--{name}", text)]
        code, out = self.command("tile38cm", *flags, "--check", SERVER_PASSWORD="hush")
        self.assertEqual(code, 0, out)
        self.assertRegex(out, r"(?m)^server.password +\(hidden\) +SERVER_PASSWORD$")

    def test_wrong_usage(self) -> None:
        """A wrong value is one sentence, and the exit code that twist has for wrong usage."""
        code, out = self.command("tile38cm", "--id", "a/b")
        self.assertEqual(code, os.EX_USAGE, out)
        self.assertTrue(out.startswith("Error: --id is 'a/b', but must be 1 to 128 characters"), out)

    def test_service_can_be_made(self) -> None:
        """All that the service imports is in the wheel."""
        code, out = run(
            self.python, "-c", "import tile38cm.service as s; print(s.__file__)", folder=self.folder
        )
        self.assertEqual(code, 0, out)
        self.assertIn(str(self.folder), out)
