"""What pytest says at its end of the tests that were explored, and the file of --lwp-explore-json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ...reading.folders import private
from ..search.tried import counted, left_out
from .pytest_settings import option


def summarize(terminal: pytest.TerminalReporter, reports: Iterable[Any]) -> None:
    """reports: all that pytest has; those of explored tests have `lwp_explore`."""
    tests: list[dict[str, Any]] = [report.lwp_explore for report in reports if hasattr(report, "lwp_explore")]
    terminal.section("schedules explored by lwp", sep="-")
    explored = [test for test in tests if test["outcome"] not in ("no thread", "not explored")]
    if explored:
        terminal.write_line(_told_counts(explored))
        for line in left_out({name for test in explored for name in test["unswitched"]}):
            terminal.write_line(line)
    if alone := sum(test["outcome"] == "no thread" for test in tests):
        terminal.write_line(f"{counted(alone, 'test')} start{'s' * (alone == 1)} no thread")
    for line in [
        *_told_finds(tests),
        *_told_known(tests, option(terminal.config, "known") or {}),
        *_told_others(tests),
    ]:
        terminal.write_line(line)
    if (file := option(terminal.config, "json")) is not None:
        _write_facts(Path(file), tests)


def _told_counts(tests: list[dict[str, Any]]) -> str:
    runs, seconds, distinct = (sum(test[name] for test in tests) for name in ("runs", "seconds", "distinct"))
    outcomes = Counter(test["outcome"] for test in tests)
    seeds = {test["seed"] for test in tests} - {None}  # a replay has none
    seed = f"; seed {seeds.pop()}" if len(seeds) == 1 else ""
    return (
        f"{counted(len(tests), 'test')}: {counted(runs, 'run')}, {seconds:.1f} s, {distinct:,} distinct schedules; "
        + ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
        + seed
    )


def _told_finds(tests: list[dict[str, Any]]) -> Iterator[str]:
    """By the names of the finds, because one bug may make many tests fail."""
    commands: dict[str, list[str]] = {}
    for test in tests:
        if test["token"] is not None:
            kept = "  (kept from an earlier run)" if test["kept"] else ""
            commands.setdefault(f"{test['outcome']}: {test['name']}", []).append(f"  {test['command']}{kept}")
    for name, lines in commands.items():
        yield name
        yield from lines


def _told_known(tests: list[dict[str, Any]], reasons: dict[str, str]) -> Iterator[str]:
    seen: dict[str, list[str]] = {}
    for test in tests:
        for name, runs in test["known"].items():
            seen.setdefault(name, []).append(f"  {test['nodeid']}, in {counted(runs, 'run')}")
    for name, lines in seen.items():
        yield f"known: {name}{f': {reasons[name]}' if name in reasons else ''}"
        yield from lines


def _told_others(tests: list[dict[str, Any]]) -> Iterator[str]:
    for outcome in ("inconclusive", "out of time", "not explored"):
        for test in [test for test in tests if test["outcome"] == outcome]:
            line = test["report"].partition("\n")[0]
            why = {"inconclusive": line.removeprefix("INCONCLUSIVE"), "not explored": f" {line}"}
            yield f"{outcome}: {test['nodeid']}{why.get(outcome, '')}"
    for test in tests:
        if test["tasks"] and test["outcome"] not in ("found", "inconclusive"):
            yield f"not explored: {test['nodeid']} as to the order of its tasks of asyncio"


def _write_facts(file: Path, tests: list[dict[str, Any]]) -> None:
    try:
        with open(file, "w", encoding="utf-8", opener=private) as out:
            out.write(json.dumps(tests, indent=1) + "\n")
    except OSError as error:
        raise pytest.UsageError(f"--lwp-explore-json: {file}: {error.strerror}") from None
