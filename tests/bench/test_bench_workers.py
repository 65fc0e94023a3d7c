"""`bench workers`: each worker of gunicorn serves, and what the command says."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec

import pytest
from checkout import bench

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("flask") is None, reason="Flask is not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="the load is written in C, and there is no compiler"),
]


def test_each_worker_that_is_there() -> None:
    done = bench("workers", "--connections", "3", "--seconds", "0.05", "--rounds", "2", "--json")
    assert done.stderr == ""
    data = json.loads(done.stdout)
    assert [result["name"] for result in data["results"]] == ["compute-3", "sleep-3"]
    workers = ["gthread", *["gevent"] * bool(find_spec("gevent")), "lwp_gunicorn.Worker"]
    for result in data["results"]:
        assert list(result["ways"]) == [f"gunicorn -k {worker}" for worker in workers]
        for figures in result["ways"].values():
            assert figures["ratio"] > 0
            assert 10 < figures["cost_us"] < 100_000
