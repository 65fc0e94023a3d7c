"""What a project says about its exploring: `[tool.lwp.explore]` in the pyproject.toml nearest above a test."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

_TABLE = "[tool.lwp.explore]"
#: Of the table.
KEYS = (
    *("include", "exclude"),
    *("runs", "seconds", "total", "seed", "strategy", "granularity", "workers", "early_timeouts", "cancel", "races"),
    *("html", "json", "keep", "known"),
)


class SettingsError(ValueError):
    """A setting is wrong; the message begins with where it stands."""


def nearest_above(path: str, *names: str) -> Path | None:
    """The first of these files, looked for in the folder that the path is, or is in, then in each folder above it."""
    full = Path(path).absolute()
    found = (folder / name for folder in (full, *full.parents) for name in names)
    return next((file for file in found if file.is_file()), None)


def read_toml(file: Path) -> dict[str, Any]:
    """SettingsError: it can't be read, or is no TOML."""
    try:
        return _parsed(file, file.stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: {error}") from error


@functools.lru_cache(maxsize=8)  # a suite asks for each test
def _parsed(file: Path, changed: int) -> dict[str, Any]:
    import tomllib  # takes 2 ms; most files have no pyproject.toml above them

    return tomllib.loads(file.read_text(encoding="utf-8"))


def table_in(data: dict[str, Any], *names: str) -> dict[str, Any]:
    """A table within tables; empty if there is none."""
    for name in names:
        data = data.get(name, {}) if isinstance(data, dict) else {}
    return data if isinstance(data, dict) else {}


def read_table(path: str) -> tuple[Path | None, dict[str, Any]]:
    """The pyproject.toml nearest above the path, if there is one, and its table.

    SettingsError: the file is no TOML, or the table has a key that is none of KEYS.
    """
    file = nearest_above(path, "pyproject.toml")
    if file is None:
        return None, {}
    table = table_in(read_toml(file), "tool", "lwp", "explore")
    for key in table:
        if key not in KEYS:
            raise SettingsError(f"{file}: {_TABLE} has no key {key}: its keys are {', '.join(KEYS)}")
    return file, table


def names_in(file: Path | None, table: dict[str, Any], key: str) -> tuple[str, list[str]]:
    """Where it stands, for an error's message, and the names that it lists. SettingsError: it is no list of names."""
    where, names = f"{file}: {_TABLE} {key}", table.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"{where} must be a list of names, not {names!r}")
    return where, names
