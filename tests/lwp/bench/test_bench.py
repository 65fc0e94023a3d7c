"""`bench`: what it measures, what it says, and that it notices operations that don't do their work."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable
from importlib.util import find_spec
from os import sched_getaffinity
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import interrupted, lwp, python_path, refusal
from conftest import TREE, Child
from this_machine import needs_matplotlib

from lwp.bench.operations import Operation, WrongResult, operations

NAMES = [row.name for operation in operations(True) for row in operation.rows]


def bench(
    *args: str, path: Path | None = None, folder: Path | None = None, status: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """path: where --vs finds modules too.  folder: in which it is typed, and nothing is found but by --vs.

    If it succeeds it says nothing on standard error.
    """
    finds = {"COLUMNS": "200", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": python_path(path or "")}
    if folder:
        finds["PYTHONSAFEPATH"] = "1"  # `lwp` has no folder of its own on sys.path, other than `python -m runtime`
    done = lwp("bench", *args, status=status, timeout=100, cwd=folder, **finds)
    assert status != 0 or done.stderr == "", done.stderr
    return done


# ---- measuring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["runtime.threading", "threading", "lwp.bench.green"])
def test_each_operation_does_its_work_and_gives_its_figures(module: str, child: Child) -> None:
    def program(module: str) -> None:
        from importlib import import_module

        from lwp.bench.operations import Unavailable, operations

        for operation in operations(True):
            try:
                figures = operation.sample(import_module(module))
            except Unavailable as error:
                print(operation.rows[0].name, error)
            else:
                assert len(figures) == len(operation.rows), operation

    unavailable = [line.split()[0] for line in child(program, module).stdout.splitlines() if "strace" not in line]
    assert unavailable == (["lock-busy"] if module == "lwp.bench.green" else ["switch"])


@pytest.mark.parametrize("library", ["greenlet", "gevent"])
def test_libraries_without_threadings_names(library: str) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    module = f"bench.{library}s"
    done = bench("--quick", "--green", "switch", "barrier", "--vs", module, "--json", "-", path=TREE)
    data = json.loads(done.stdout)
    assert [(result["operation"], result["vs"]) for result in data["results"]] == [("switch", module)]
    assert [one["reason"].split()[:4] for one in data["missing"]] == [[library, "has", "no", "Barrier"]]
    assert "only threads that share an LWP" in bench("--quick", "switch").stdout


def test_ours_is_the_runtime_and_the_other_is_not() -> None:
    import runtime.sync
    from runtime import threading as ours

    assert ours.Thread is runtime.Thread
    for name in ("Lock", "RLock", "Event", "Semaphore", "Condition", "Barrier"):
        assert getattr(ours, name) is getattr(runtime.sync, name) is not getattr(threading, name)


def test_figures_as_table_and_as_data(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    done = bench("--quick", "event-set", "lock-pair", "--json", str(written))
    data = json.loads(written.read_text())
    assert (data["quick"], data["missing"], data["failures"]) == (True, [], [])
    assert data["core"] in sched_getaffinity(0)
    assert data["machine"].keys() == {"python", "processor", "system", "load", "on"}
    assert [result["operation"] for result in data["results"]] == ["lock-pair", "event-set"]  # the table's order
    rows = re.findall("^(?:Lock acquire [+] release|Event set [+] clear).*", done.stdout, re.MULTILINE)
    for result, row in zip(data["results"], rows, strict=True):
        assert " ".join(result) == "operation text unit vs rounds ours other ratio spread noise"
        assert (result["unit"], result["vs"]) == ("ns", "threading")
        assert 0 < result["spread"][0] <= result["ratio"] <= result["spread"][1]
        assert 0 < result["noise"][0] <= result["noise"][1]
        assert f" {result['ratio']:.2f} " in row


def test_data_alone_against_two_modules(tmp_path: Path) -> None:
    (tmp_path / "again.py").write_text("from threading import *\n")
    done = bench("--quick", "lock-try", "--json", "-", "--no-pin", "--vs", "again", "--vs", "threading", path=tmp_path)
    data = json.loads(done.stdout)
    assert data["core"] is None
    assert [result["vs"] for result in data["results"]] == ["again", "threading"]


def test_a_module_of_the_current_folder(tmp_path: Path) -> None:
    """That folder hides no module that is installed."""
    (tmp_path / "mylocks.py").write_text("from threading import *\n")
    (tmp_path / "statistics.py").write_text("raise SystemExit('mine')\n")
    done = bench("--quick", "lock-try", "--json", "-", "--vs", "mylocks", folder=tmp_path)
    assert [result["vs"] for result in json.loads(done.stdout)["results"]] == ["mylocks"]
    assert "no module 'yourlocks'" in refusal(bench("lock-try", "--vs", "yourlocks", folder=tmp_path, status=2))


def test_one_row_of_an_operation_that_has_several() -> None:
    """In processes of their own: what threads need when they are the first."""
    done = bench("--quick", "small-space", "--json", "-")
    (result,) = json.loads(done.stdout)["results"]
    assert (result["operation"], result["unit"]) == ("small-space", "bytes")
    assert result["ours"] >= 256 << 10
    assert result["other"] >= 256 << 10


def test_plot(tmp_path: Path) -> None:
    picture = tmp_path / "bench.svg"
    done = bench("--quick", "lock-try", "--plot", str(picture), status=None)
    if find_spec("matplotlib"):
        assert done.returncode == 0, done.stderr
        assert "<svg" in picture.read_text()
        assert done.stdout.splitlines()[-1] == f"picture: {picture}"
    else:
        assert "pip install 'lwp-runtime[plot]'" in refusal(done)
        assert not picture.exists()


@needs_matplotlib
def test_the_picture_says_what_it_shows(child: Child) -> None:
    def program() -> None:
        from lwp.bench import command as bench
        from lwp.bench.measure import Result

        kept: list[Any] = []
        bench.save_plot = lambda figure, path: kept.append(figure)
        result = Result("lock-pair", "Lock", "ns", "threading", 3, 10.0, 30.0, 0.33, (0.3, 0.4), (0.9, 1.1))
        bench._plot([result], "x.png")
        (axes,) = kept[0].axes
        assert axes.get_title() == "runtime against threading"
        assert axes.get_xlabel() == "time (or memory, calls) as a part of threading's: left of 1 is better"

    child(program)


def test_ctrl_c_leaves_what_was_measured_so_far(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    # The other module is slow in its second operation, and says when that is.
    (tmp_path / "slow.py").write_text(
        "import sys, time\n"
        "from threading import *\n"
        "def RLock():\n"
        "    print('slow', file=sys.stderr, flush=True)\n"
        "    time.sleep(100)\n"
    )
    command = ("runtime", "bench", "--quick", "lock-try", "rlock", "event-set", "--vs", "slow", "--json", written)
    shown = interrupted("stderr", "slow", *command, PYTHONPATH=python_path(tmp_path), PYTHONIOENCODING="utf-8")
    assert any(line.startswith("Lock, failed try") for line in shown)
    assert shown[-1] == "stopped: 1 of 3 operations"
    data = json.loads(written.read_text())
    assert data["stopped"] is True
    assert [result["operation"] for result in data["results"]] == ["lock-try"]


# ---- names -----------------------------------------------------------------------------------------------------------


def test_list() -> None:
    done = bench("--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == NAMES
    assert all(len(line.split()) > 1 for line in done.stdout.splitlines())


def test_what_comes_before_the_dash_means_all_of_these() -> None:
    listed = [line.split()[0] for line in bench("--list", "event", "queue").stdout.splitlines()]
    assert listed == ["event-set", "event-wait", "event-pingpong", "queue"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nonsense"], f"no operation 'nonsense': there are {', '.join(NAMES)}"),
        (["lock-pair", "loc"], "no operation 'loc'"),
        (["lock-try", "--vs", "no.such.module"], "no module 'no.such.module'"),
    ],
)
def test_errors_are_one_line_before_anything_is_measured(args: list[str], says: str) -> None:
    assert says in refusal(bench("--quick", *args, status=2))


# ---- wrong results ---------------------------------------------------------------------------------------------------


class Open:
    """Stands for any primitive and never makes anybody wait."""

    def __init__(self, *args: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., bool]:
        return lambda *args: name in ("wait", "acquire", "locked")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class Idle(threading.Thread):
    """Does not run its target."""

    def run(self) -> None:
        pass


class Late(threading.Thread):
    """Is not waited for."""

    def start(self) -> None:
        pass

    def join(self, timeout: float | None = None) -> None:
        pass


def named(name: str) -> Operation:
    return next(operation for operation in operations(True) if operation.rows[0].name == name)


@pytest.mark.stock_threads
@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("start-join", {"Thread": Idle}),
        ("start-join", {"Thread": Late}),
        ("first-line", {"Thread": Idle}),
        ("burst", {"Thread": Idle}),
        ("compute", {"Thread": Idle}),
        ("mixed", {"Thread": Idle}),
        ("alive-start", {"Lock": Open}),
        *((f"lock-{what}", {"Lock": Open}) for what in ("pair", "with", "try", "busy", "pingpong", "of-4")),
        ("rlock-pair", {"RLock": Open}),
        *((f"event-{what}", {"Event": Open}) for what in ("set", "wait", "pingpong")),
        ("timeout", {"Event": Open}),
        *((f"semaphore-{what}", {"Semaphore": Open}) for what in ("pair", "pingpong")),
        ("barrier", {"Barrier": Open}),
        ("current-thread", {"current_thread": threading.main_thread}),
    ],
)
def test_an_operation_that_does_not_work_is_noticed(name: str, broken: dict[str, Any]) -> None:
    kind = SimpleNamespace(**{**vars(threading), **broken})
    with pytest.raises(WrongResult):
        named(name).sample(kind)


def test_wrong_results_and_crashes_are_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "import os\n"
        "from threading import *\n"
        "class Barrier:\n"
        "    def __init__(self, parties): pass\n"
        "    def wait(self): pass\n"
        "def RLock(): os.abort()\n"
        "def Semaphore(value): raise KeyError('no permits')\n"
    )
    names = ("lock-pair", "rlock-pair", "semaphore-pingpong", "barrier")
    written = tmp_path / "figures.json"
    done = bench("--quick", *names, "--vs", "broken", "--json", str(written), path=tmp_path, status=1)
    crash, error, wrong = done.stderr.splitlines()
    assert crash.startswith("lwp: rlock-pair: ")
    assert "broken: SIGABRT, after 0 of 20 rounds" in crash
    assert error == "lwp: semaphore-pingpong: broken: KeyError: 'no permits'"
    assert wrong.startswith("lwp: barrier: broken: threads that passed the barrier before all had come: ")
    assert "Lock acquire + release" in done.stdout
    data = json.loads(written.read_text())
    assert [result["operation"] for result in data["results"]] == ["lock-pair"]
    assert [failure["operation"] for failure in data["failures"]] == list(names[1:])
