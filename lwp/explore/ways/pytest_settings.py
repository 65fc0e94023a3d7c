"""What the command line and pyproject.toml say about the exploring of pytest's tests."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from ..exploration import Share
from ..run.plans import GRANULARITIES
from ..search.strategies import check_strategy
from ..settings import SettingsError, read_table


def _whole(value: Any) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if type(value) is not int or value < 1:
        raise ValueError("a whole number from 1 on")
    return value


def _seconds(value: Any) -> Share:
    if isinstance(value, str) and re.fullmatch(r"\d+\.?\d*|\.\d+", value):
        value = float(value)
    if type(value) not in (int, float) or not 0 < value < 1e9:
        raise ValueError("a number of seconds above 0")
    return Share(value)


def _seed(value: Any) -> int:
    if value == "daily":
        return int(time.strftime("%Y%m%d", time.gmtime()))
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        value = int(value)
    if type(value) is not int:
        raise ValueError("a whole number, or daily")
    return value


def _strategy(value: Any) -> str:
    check_strategy(value)
    return str(value)


def _is(is_right: Callable[[Any], bool], said: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not is_right(value):
            raise ValueError(said)
        return value

    return check


def _is_known(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(reason, str) for reason in value.values())


_switch = _is(lambda value: type(value) is bool, "true or false")


def _folder(value: Any) -> str:
    if not isinstance(value, str) or not value or (os.path.exists(value) and not os.path.isdir(value)):
        raise ValueError("a folder, which is made if there is none")
    return os.path.abspath(value)


def _file(value: Any) -> str:
    is_named = isinstance(value, str) and bool(value)
    if not is_named or os.path.isdir(value) or not os.path.isdir(os.path.dirname(value) or "."):
        raise ValueError("a file in a folder that is there")
    return str(os.path.abspath(value))


CHECKS: dict[str, Callable[[Any], Any]] = {
    "runs": _whole,
    "seconds": _seconds,
    "total": _seconds,
    "seed": _seed,
    "strategy": _strategy,
    "granularity": _is(("auto", *GRANULARITIES).__contains__, f"auto, {', '.join(GRANULARITIES)}"),
    "workers": _whole,
    "early_timeouts": _switch,
    "cancel": _switch,
    "races": _switch,
    "html": _folder,
    "json": _file,
    "keep": _switch,
    "known": _is(_is_known, "a table with a reason, a text, for each name of a find"),
}
OF_A_TEST = ("runs", "seconds", "strategy", "granularity", "workers", "early_timeouts", "cancel", "races")


def option(config: pytest.Config, name: str) -> Any:
    """What the command line says, or otherwise pyproject.toml; None: neither does. pytest.UsageError: it is wrong."""
    flag = "--lwp-explore" if name == "runs" else f"--lwp-explore-{name.replace('_', '-')}"
    value = getattr(config.option, flag[2:].replace("-", "_"), None)
    if value is None or (name == "runs" and value == ""):
        flag, value = f"pyproject.toml: [tool.lwp.explore] {name}", _settings(config).get(name)
    if value is None:
        return None
    try:
        return CHECKS[name](value)
    except ValueError as error:
        said = str(error) if name == "strategy" else f"{name.upper()} is {error}"
        raise pytest.UsageError(f"{flag}={value}: {said}") from None


def _settings(config: pytest.Config) -> dict[str, Any]:
    try:
        return read_table(str(config.rootpath))[1]
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None
