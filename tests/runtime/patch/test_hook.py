"""The hook in the environment: the runtime under a Python that is started with LWP_CHILDREN."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Environment


def test_nothing_is_loaded_unasked(tmp_path: Path, installed: Environment) -> None:
    loaded = "import sys; print([name for name in sys.modules if 'runtime' in name])"
    assert installed.run("-c", loaded, cwd=tmp_path).stdout == "[]\n"
    assert installed.run("-c", loaded, cwd=tmp_path, LWP_CHILDREN="").stdout == "[]\n"
    assert "'_lwp_runtime.patch.installation'" in installed.run("-c", loaded, cwd=tmp_path, LWP_CHILDREN="1").stdout


def test_nothing_is_left_where_modules_are_found(tmp_path: Path, installed: Environment) -> None:
    """Also with a sitecustomize, which is imported as ever, and finds the runtime in place."""
    (tmp_path / "sitecustomize.py").write_text(
        "import threading\nprint(threading.Thread.start.__globals__['Thread'].__module__)\n"
    )
    finders = "import sys; print(sys.meta_path, 'sitecustomize' in sys.modules)"
    plain = installed.run("-c", finders, cwd=tmp_path, PYTHONPATH=".")
    ours = installed.run("-c", finders, cwd=tmp_path, PYTHONPATH=".", LWP_CHILDREN="1")
    assert plain.stdout.startswith("threading\n[")
    # The finders that stand first answer an import of `runtime`, and of `lwp`.
    assert re.sub(r"\n\[(<lwp_runtime._Finder object at 0x\w+>, ){2}", "\n[", ours.stdout) == plain.stdout.replace(
        "threading\n", "runtime.patch.installation\n", 1
    )


def test_subinterpreters_are_left_alone(tmp_path: Path, installed: Environment) -> None:
    pytest.importorskip("_testcapi", reason="nothing here makes a subinterpreter")
    where = "import threading; print(threading.Thread.start.__globals__['Thread'].__module__, flush=True)"
    found = installed.run(
        "-c", f"{where}\nimport _testcapi\n_testcapi.run_in_subinterp({where!r})", cwd=tmp_path, LWP_CHILDREN="1"
    )
    assert (found.stdout, found.stderr) == ("runtime.patch.installation\nthreading\n", "")


WRONG = {
    "LWP_STACK_SIZE=256K": "invalid literal for int() with base 10: '256K' (LWP_STACK_SIZE='256K', in bytes)\n",
    "LWP_STACK_SIZE=100": "size not valid: 100 bytes (LWP_STACK_SIZE='100', in bytes)\n",
    "LWP_GREEN=0": "lwps must be a whole number from 1 to 1024, not 0 (LWP_GREEN='0', in LWPs)\n",
    "LWP_GREEN=1 LWP_TIME_SLICE=5ms": "(LWP_GREEN='1', in LWPs; LWP_TIME_SLICE='5ms', in seconds)\n",
}


@pytest.mark.parametrize("why", ["core", *WRONG])
def test_a_child_where_it_fails_goes_on(why: str, tmp_path: Path, installed: Environment) -> None:
    (tmp_path / "child.py").write_text(
        "import threading\nprint(threading.Thread.start.__globals__['Thread'].__module__)\nraise SystemExit(3)"
    )
    if why == "core":
        (tmp_path / "resource.py").write_text("raise ImportError('no core\\nto be had')\n")
        environment, says = {"PYTHONPATH": "."}, "no core to be had"
    else:
        environment, says = dict(each.split("=") for each in why.split()), WRONG[why]
    found = installed.run("child.py", cwd=tmp_path, LWP_CHILDREN="1", **environment)
    assert (found.stdout, found.returncode) == ("threading\n", 3)
    assert found.stderr.startswith("lwp: this process's threads are plain ones: ")
    assert says in found.stderr
    assert found.stderr.count("\n") == 1
    # Where there is no stderr, it must not turn up elsewhere.
    shell = 'exec "$0" child.py 2>&-'
    found = installed.execute(
        "/bin/sh", "-c", shell, str(installed.python), cwd=tmp_path, LWP_CHILDREN="1", **environment
    )
    assert (found.stdout, found.returncode) == ("threading\n", 3)
