"""`bench workers`, `programs`, `turns` and `chaos`: each does its work, and what the commands say."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec

import pytest
from checkout import bench

from bench.serving import PACKAGES

pytestmark = pytest.mark.slow
needs_load = pytest.mark.skipif(shutil.which("cc") is None, reason="the load is written in C, and there is no compiler")
SHORT = ("--connections", "3", "--seconds", "0.05", "--rounds", "2")


@needs_load
@pytest.mark.skipif(find_spec("flask") is None, reason="Flask is not installed")
def test_each_worker_that_is_there() -> None:
    done = bench("workers", *SHORT, "--json")
    data = json.loads(done.stdout)
    assert [result["name"] for result in data["results"]] == ["compute-3", "sleep-3"]
    workers = ["gthread", *["gevent"] * bool(find_spec("gevent")), "lwp_gunicorn.Worker"]
    for result in data["results"]:
        assert list(result["ways"]) == [f"gunicorn -k {worker}" for worker in workers]
        for figures in result["ways"].values():
            assert figures["ratio"] > 0
            assert 10 < figures["cost_us"] < 100_000


@needs_load
def test_each_package_that_is_there() -> None:
    done = bench("programs", *SHORT, "--json")
    data = json.loads(done.stdout)
    missing = {one["vs"] for one in data["missing"]}
    assert missing >= {name for name in PACKAGES if not find_spec(name)}
    assert [result["name"] for result in data["results"]] == [f"{name}-3" for name in PACKAGES if name not in missing]
    for result in data["results"]:
        assert list(result["ways"]) == ["threading", "run", "green"]
        assert all(figures["ratio"] > 0 for figures in result["ways"].values())


@needs_load
def test_each_package_has_a_line() -> None:
    done = bench("programs", "sqlite3", *SHORT)
    assert re.search(r"^3 connections +threading/s +run ", done.stdout, re.MULTILINE)
    assert re.search(r"^sqlite3 +[\d,]+( +\d+\.\d\d ±\d+\.\d\d +\d+\.\d\d){2}", done.stdout, re.MULTILINE)


def test_turns_are_measured_beside_what_is_named() -> None:
    where = [word for name in ("pinned", "busy", "sleeper") for word in ("--beside", name)]
    done = bench("turns", "lock-pingpong", "slow", *where, "--rounds", "1", "--samples", "1")
    rows = re.findall(r"^(lock-pingpong|slow)( +\d+\.\d\d){6}(  p99 .*)?$", done.stdout, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["lock-pingpong", "slow"] * 3
    assert [bool(late) for _, _, late in rows] == [False] * 4 + [True] * 2


def test_chaos_shows_a_bug_of_the_corpus() -> None:
    done = bench("chaos", "airline", "--seconds", "5")
    assert done.stdout.splitlines()[-1] == "chaos: 1 of 1"
