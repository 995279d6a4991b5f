"""Where each value comes from: command line, then environment, then file, then default.

An empty environment variable counts as not set, as it does for Consul's own
client; so a job template may pass one on without knowing whether it has a value.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from attrs import frozen

from tile38cm.flags.table import BY_NAME, FLAGS, Flag
from tile38cm.flags.values import WrongValue

#: TOML cannot hold C{tls} both as a word and as a table, so in a file the word may be called so.
FILE_ALIASES = {"tls.mode": "tls"}


@frozen
class Given:
    """A text that somebody wrote, and where: C{--id}, C{SERVICE_ID}, C{node.toml: id} or C{default}."""

    text: str
    origin: str


@frozen
class Value:
    """What holds for one flag; C{value} is C{None} where nothing was said and no default exists."""

    flag: Flag
    value: object
    given: Given | None


def gather(
    command_line: Mapping[str, str], environment: Mapping[str, str], file: Path | None
) -> dict[str, Value]:
    """All flags by name, each with the value that wins, parsed.

    @param command_line: Texts by flag name; only those that were there.
    @raise WrongValue: A value cannot be parsed, or the file cannot be used.
    """
    from_file = read_file(file) if file is not None else {}
    return {flag.name: _parsed(flag, _winner(flag, command_line, environment, from_file)) for flag in FLAGS}


def _winner(
    flag: Flag, command_line: Mapping[str, str], environment: Mapping[str, str], file: Mapping[str, Given]
) -> Given | None:
    if flag.name in command_line:
        return Given(command_line[flag.name], f"--{flag.name}")
    if flag.env is not None and environment.get(flag.env):
        return Given(environment[flag.env], flag.env)
    if flag.name in file:
        return file[flag.name]
    return None if flag.default is None else Given(flag.default, "default")


def _parsed(flag: Flag, given: Given | None) -> Value:
    if given is None:
        return Value(flag, None, None)
    try:
        return Value(flag, flag.parse(given.text), given)
    except ValueError as error:
        # An address may carry a password before its "@".
        shown = "(hidden)" if flag.secret or "@" in given.text else repr(given.text)
        raise WrongValue(f"{given.origin} is {shown}, but must be {error}.") from None


def read_file(file: Path) -> dict[str, Given]:
    """The flags that a TOML file sets, by name; tables and dotted keys mean the same.

    @raise WrongValue: It cannot be read, is not TOML, or has a key that is no flag.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongValue(f"--config is '{file}', but that file cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongValue(f"--config is '{file}', but that is not TOML: {error}.") from None
    found: dict[str, Given] = {}
    for key, value in _flat(document, ""):
        name = FILE_ALIASES.get(key, key)
        if name not in BY_NAME:
            raise WrongValue(f"{file}: {key} is no setting{_nearest(key)}.")
        if name in found:
            raise WrongValue(f"{file}: {name} is there twice.")
        found[name] = Given(_text(value, file, key), f"{file}: {key}")
    return found


def _flat(table: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _text(value: object, file: Path, key: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise WrongValue(f"{file}: {key} must be a string, a whole number or a boolean.")


def _nearest(key: str) -> str:
    close = get_close_matches(key, [*BY_NAME, *FILE_ALIASES], n=1)
    return f"; the nearest is {close[0]}" if close else "; tile38cm --help lists them all"
