"""tools/cpython_suite.py: what counts as a difference between stock and the runtime."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TREE

sys.path.insert(0, str(TREE / "tools"))
import cpython_suite

TEST = "test.test_queue.QueueTest.test_basic"
Runs = list[str]
Compare = Callable[[str, list[str]], tuple[int, Runs]]

pytestmark = pytest.mark.skipif(
    not cpython_suite.shipped("test_threading") or not cpython_suite.shipped("test_queue"),
    reason="this Python ships no test.test_threading",
)


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compare:
    """compare(ours, stock): the tool's exit status with these outcomes of TEST, those of stock in turn."""

    def compare(ours: str, stock: list[str]) -> tuple[int, Runs]:
        left, runs = iter(stock), []

        def run(launcher: list[str], *_: object) -> dict[str, str]:
            runs.append("ours" if "runtime" in launcher else "stock")
            return {TEST: ours if "runtime" in launcher else next(left)}

        monkeypatch.setattr(cpython_suite, "run", run)
        monkeypatch.setattr(sys, "argv", ["cpython_suite.py", "--green", "test_queue"])
        monkeypatch.setattr(cpython_suite, "LIST", tmp_path / "list")
        (tmp_path / "list").touch()
        return cpython_suite.main(), runs

    return compare


TRIES = cpython_suite.STOCK_TRIES


@pytest.mark.parametrize(
    ("ours", "stock", "status", "runs"),
    [
        ("passed", ["passed"], 0, 1),
        ("failed", ["failed"], 0, 1),
        ("failed", ["passed", "passed", "failed"], 0, 3),
        ("failed", ["passed"] * (TRIES + 1), 1, TRIES + 1),
        ("skipped", ["passed"] * (TRIES + 1), 1, TRIES + 1),
    ],
    ids=["both pass", "both fail", "stock fails by chance", "a difference", "left out"],
)
def test_a_difference_is_what_stock_never_has(
    compare: Compare, ours: str, stock: list[str], status: int, runs: int
) -> None:
    assert compare(ours, stock) == (status, ["ours"] + ["stock"] * runs)


def test_each_listed_test_has_its_versions_and_reason() -> None:
    lines = [line for line in cpython_suite.LIST.read_text().splitlines() if line and not line.startswith("#")]
    for line in lines:
        versions, name, reason = line.split(maxsplit=2)
        assert versions
        assert name.startswith("test.test_")
        assert not set(name) & set("*?[]")
        assert len(reason.split()) > 5
