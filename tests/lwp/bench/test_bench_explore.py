"""`bench explore`: the programs have the points that it claims, each explorer does its work, and what it says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from checkout import bench, hiding, with_site
from commands import refusal

from bench import explored, explorers
from bench.exploring import points_of
from lwp.bench.operations import Unavailable, WrongResult
from lwp.explore.run.plans import Kind, Plan, last_steps
from lwp.explore.run.session import Session

pytestmark = pytest.mark.loads  # libssl, whose calls are green ones while something is explored

NAMES = [row.name for row in explorers.rows()]


def named(name: str) -> Callable[[], None]:
    return explored.test_of(explored.PROGRAMS[name])


# ---- what is measured ------------------------------------------------------------------------------------------------


def test_the_two_threads_have_ten_points() -> None:
    with Session() as session:
        session.run(named("two"), Plan())
        run = session.run(named("two"), Plan())
        steps = last_steps()
    assert not run.failed
    kinds = Counter(Kind(step.kind).name for step in steps if step.chosen != 0)
    assert kinds == {"BEGIN": 2, "ACQUIRE": 2, "RELEASE": 2, "END": 2}
    kinds = Counter(Kind(step.kind).name for step in steps if step.chosen == 0)
    assert kinds == {"BEGIN": 1, "START": 2, "JOIN": 2, "END": 1}
    assert points_of(named("two"), "sync") == (10, 3)


def test_points_between_bytecodes_come_to_those() -> None:
    counts = [points_of(named("two"), granularity)[0] for granularity in ("sync", "gil", "opcode")]
    assert counts[0] == 10 < counts[1] < counts[2]


@pytest.mark.parametrize(
    ("name", "threads", "tasks", "least"),
    [
        ("pool", 3, 0, 2 * 4),  # put and got: four tasks
        ("queue", 3, 0, 2 * 3 * 2),  # three items, put and got with a lock
        ("to-thread", 3, 5, 2 * 2),  # asyncio.run() has two tasks of its own at its end
    ],
)
def test_the_other_programs_have_threads_that_meet(name: str, threads: int, tasks: int, least: int) -> None:
    found = points_of(named(name), "sync")
    assert found[0] >= least
    assert found[1] - tasks in (threads, threads + 1)  # asyncio waits for its pool in one more


def test_frequent_runs_have_different_schedules() -> None:
    from lwp.explore import explore

    for strategy in ("random", "pct", "pos"):
        result = explore(named("two"), strategy=strategy, granularity="sync", runs=300, seed=1)
        assert result.runs == 300
        assert result.distinct > 20


# ---- the explorers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_row_of_ours(name: str) -> None:
    row = next(row for row in explorers.rows() if row.name == name)
    program = explored.PROGRAMS[row.program]
    figure = explorers.sample("runtime", row, program, explored.test_of(program), 0.01)
    assert figure.runs >= figure.calls >= 1
    assert figure.seconds > 0.01


@pytest.mark.parametrize(("aim", "program", "strategy"), [("find", "two", "dpor"), ("rate", "deadlock", "random")])
def test_another_outcome_is_noticed(aim: str, program: str, strategy: str) -> None:
    row = explorers.Row("x", "", program, aim, strategy, "sync")
    of = explored.PROGRAMS[program]
    with pytest.raises(WrongResult, match=r"^the outcome .*Outcome\.(EXHAUSTED|FOUND).* instead of Outcome"):
        explorers.sample("runtime", row, of, explored.test_of(of), 0.2)


def test_a_peers_wrong_verdict_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a failure of the benchmark: it is said."""

    class Peer(ModuleType):
        def explore(self, **_: object) -> object:
            return type("", (), {"property_holds": True, "explanation": None, "num_explored": 1})

    monkeypatch.setitem(sys.modules, "frontrun", Peer("frontrun"))
    row = next(row for row in explorers.rows() if row.name == "find-deadlock")
    with pytest.raises(Unavailable, match=r"^frontrun says of the program: no failure$"):
        explorers.sample("frontrun", row, explored.TwoLocks, explored.test_of(explored.TwoLocks), 0.01)


@pytest.mark.parametrize(
    ("peer", "missing"),
    [
        ("interleave-test", ["default-to-thread", "interleave-test says of the program: exception"]),
        ("frontrun", ["default-to-thread", "frontrun explores the threads that it is given"]),
    ],
)
def test_beside_a_peer(peer: str, missing: list[str]) -> None:
    if importlib.util.find_spec(explorers.INSTALLED_AS[peer]) is None:
        pytest.skip(f"{peer} is not installed")
    rows = ("opcode-random", "default-two", "default-to-thread", "find-update")
    done = bench("explore", "--quick", *rows, "--vs", peer, "--json", "-")
    data = json.loads(done.stdout)
    assert data["peers"] == [peer]
    beside = {result["name"]: result["peers"] for result in data["results"]}
    assert beside.pop("default-to-thread") == {}
    assert [[one["operation"], one["reason"][: len(missing[1])]] for one in data["missing"]] == [missing]
    for peers in beside.values():
        assert peers[peer]["runs"] >= 1
        assert peers[peer]["value"] > 0
        assert peers[peer]["spread"][0] <= peers[peer]["ratio"] <= peers[peer]["spread"][1]


# ---- the command -----------------------------------------------------------------------------------------------------


def alone(tmp_path: Path, *args: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Where no peer is installed."""
    return with_site(tmp_path, hiding("frontrun", "interleave_test"), "explore", *args, status=status)


def test_figures_as_table_and_as_data(tmp_path: Path) -> None:
    written = tmp_path / "rates.json"
    done = alone(tmp_path, "--quick", "find-deadlock", "sync-pct", "--json", str(written))
    data = json.loads(written.read_text())
    found = [data[name] for name in ("stopped", "quick", "peers", "missing", "failures")]
    assert found == [False, True, [], [], []]
    assert data["machine"].keys() == {"python", "processor", "system", "load", "on"}
    first, second = data["results"]  # the table's order
    assert (first["name"], first["unit"], first["points"], first["threads"]) == ("sync-pct", "runs/s", 10, 3)
    assert (first["program"], first["strategy"], first["granularity"]) == ("two", "pct", "sync")
    assert (second["name"], second["unit"], second["peers"]) == ("find-deadlock", "s", {})
    for result in data["results"]:
        assert 0 < result["spread"][0] <= result["value"] <= result["spread"][1]
        assert result["runs"] >= 1
    lines = done.stdout.splitlines()
    (row,) = (line for line in lines if line.startswith("sync, pct "))
    assert row.split()[2:4] == ["10", f"{first['value']:,.0f}"]
    assert any(line.startswith("find a deadlock ") for line in lines)
    assert "not measured: frontrun is not installed: pip install 'lwp-runtime[peers]'" in lines
    assert "not measured: interleave-test is not installed: pip install 'lwp-runtime[peers]'" in lines


def test_list() -> None:
    done = bench("explore", "--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == NAMES
    assert [line.split()[0] for line in bench("explore", "--list", "all").stdout.splitlines()] == NAMES[-5:-3]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["lock-pair"], f"no operation 'lock-pair': there are {', '.join(NAMES)}"),
        (["--vs", "threading"], "'threading' is none of interleave-test, frontrun"),
        (["--vs", "frontrun"], "frontrun is not installed: pip install 'lwp-runtime[peers]'"),
        (["al-dpor"], "no operation 'al-dpor': did you mean all-dpor?"),
    ],
)
def test_errors_are_one_line_before_anything_is_measured(args: list[str], says: str, tmp_path: Path) -> None:
    assert says in refusal(alone(tmp_path, "--quick", *args, status=2))
