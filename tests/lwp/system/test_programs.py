"""Real programs with their own servers, pools and event loops: what they do on stock threads they do on ours.

They come with `pip install -e '.[programs]'`; each test names the one that it needs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

# `loads`, `stock_threads`: the tests' own process asks the servers, with threads of threading's.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.loads, pytest.mark.stock_threads]

HERE = Path(__file__).parent / "programs"
PATIENCE = 90  # seconds for a start, an answer or an end: a limit for hangs

RUN = ["-m", "runtime", "run"]
CHAOS = [*RUN, "--chaos", "1"]
on_each = pytest.mark.parametrize("python", [[], RUN, CHAOS], ids=["stock", "runtime", "chaos"])  # before the program
ON_ALL = {"stock": [], "runtime": RUN, "chaos": CHAOS, "green": [*RUN, "--green"], "green chaos": [*CHAOS, "--green"]}
on_all = pytest.mark.parametrize("python", ON_ALL.values(), ids=ON_ALL)


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def environment(**more: str) -> dict[str, str]:
    found = os.pathsep.join(filter(None, [str(HERE), str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": found, "PYTHONUNBUFFERED": "1", **more}


@contextmanager
def running(command: list[str], cwd: Path, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The program and the file with what it prints; at the end nothing of it is left."""
    log, words, env = cwd / "log", [sys.executable, *command], environment(**more)
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process, log
    except BaseException as error:
        error.add_note(log.read_text(errors="replace")[-6000:])
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(what: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> Any:
    """What the call gives as soon as it is something; another process is waited for, so by looking again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if found := what():
                return found
        except OSError:
            pass
        assert process is None or process.poll() is None, "the program has ended"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def get(port: int, path: str = "") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def client(program: str, *arguments: str, python: list[str] | None = None, **more: str) -> list[str]:
    """The lines that a program of ours prints, which talks with the one that is tested; it runs on stock threads."""
    command = [sys.executable, *(python or []), HERE / program, *arguments]
    done = subprocess.run(command, env=environment(**more), capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(PATIENCE)


# ---- servers ---------------------------------------------------------------------------------------------------------


@needs("gunicorn")
@on_each
def test_gunicorn_with_threads(python: list[str], tmp_path: Path) -> None:
    """Workers are forked; one that is killed is replaced, all are on SIGHUP, and the end is an orderly one."""
    port = free_port()
    command = [*python, "-m", "gunicorn", "-k", "gthread", "--threads", "4", "-w", "2"]
    with running([*command, "-b", f"127.0.0.1:{port}", "gunicorn_app:app"], tmp_path) as (process, _):
        until(lambda: get(port), process)
        with ThreadPoolExecutor(8) as pool:
            answers = [answer.split() for answer in pool.map(lambda _: get(port), range(200))]
        assert {kind for _, kind in answers} == {str(bool(python))}
        victim = int(answers[0][0])
        os.kill(victim, signal.SIGKILL)
        for _ in range(50):
            until(lambda: int(get(port).split()[0]) != victim, process)
        before = {int(pid) for pid, _ in answers}
        process.send_signal(signal.SIGHUP)
        until(lambda: int(get(port).split()[0]) not in before, process)
        assert end(process) == 0


@needs("gunicorn", "gevent")
@on_each
def test_gunicorn_with_gevent(python: list[str], tmp_path: Path) -> None:
    """gevent has replaced threading in the workers: threads of a page are greenlets, and so is what they wait in."""
    port = free_port()
    command = [*python, "-m", "gunicorn", "-k", "gevent", "-w", "2", "-b", f"127.0.0.1:{port}", "greenlets_app:app"]
    command += ["--graceful-timeout", "1"]  # as long as a worker of gevent waits for connections that are closed
    with running(command, tmp_path) as (process, _):
        until(lambda: get(port), process)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: get(port), range(100))) == {"from a thread: gevent"}
        assert end(process) == 0


@pytest.mark.parametrize("library", [pytest.param(name, marks=needs(name)) for name in ("gevent", "eventlet")])
@on_each
def test_primitives_after_a_greenlet_library_patches_threading(python: list[str], library: str, tmp_path: Path) -> None:
    command = [*python, str(HERE / "greenlets.py"), library]
    with running(command, tmp_path, PYTHONWARNINGS="ignore") as (process, log):  # eventlet says that it is deprecated
        assert process.wait(PATIENCE) == 0
    says = ["queue False", "condition True", "barrier 0", "semaphore True", "bounded True", "event True"]
    says += ["rlock [] ['in']", "timer ['rang']", "pool [1, 2, 3]", "names ['another']"]
    assert log.read_text() == "".join(f"{line}\n" for line in says)


def ask_django(port: int, *kinds: str) -> None:
    """Sixteen at a time: each answer names its own request, from whichever thread or task it was asked."""
    until(lambda: get(port, f"{kinds[0]}/first"))
    with ThreadPoolExecutor(16) as pool:
        for kind in kinds:
            names = [f"{kind}{number}" for number in range(150)]
            answers = list(pool.map(get, [port] * len(names), [f"{kind}/{name}" for name in names]))
            assert [answer.split() for answer in answers] == [[name] * 5 for name in names]


@needs("django")
@on_each
def test_django_runserver(python: list[str], tmp_path: Path) -> None:
    port = free_port()
    command = [*python, str(HERE / "django_site.py"), "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}"]
    with running(command, tmp_path) as (process, _):
        ask_django(port, "sync", "async")
        assert end(process, signal.SIGINT) == 0


@needs("django", "uvicorn")
@on_each
def test_django_asgi(python: list[str], tmp_path: Path) -> None:
    """asgiref's Local lost data when a wake-up let the waiter run before the waker's next line."""
    port = free_port()
    command = [*python, "-m", "uvicorn", "--port", str(port), "--lifespan", "off", "django_site:application"]
    with running(command, tmp_path) as (process, _):
        # Chaos finds in sync views that async_to_sync() loses what a Local has: found/README.md, asgiref.
        ask_django(port, *(["async"] if python == CHAOS else ["sync", "async"]))
        assert end(process, signal.SIGTERM) in (0, -signal.SIGTERM)  # uvicorn raises the signal again when it is done


# ---- workers ---------------------------------------------------------------------------------------------------------


@needs("celery")
@on_each
def test_celery_with_threads(python: list[str], tmp_path: Path) -> None:
    folder = {"CELERY_FOLDER": str(tmp_path)}
    options = ["-P", "threads", "-c", "4", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    command = [*python, "-m", "celery", "-A", "celery_tasks", "worker", *options]
    with running(command, tmp_path, **folder) as (worker, log):
        until(lambda: "ready." in log.read_text(), worker)
        assert client("celery_client.py", **folder) == [str(sum(n * n for n in range(24))), "as it should"]
        assert end(worker) == 0


# ---- Jupyter ---------------------------------------------------------------------------------------------------------


@needs("ipykernel", "jupyter_client")
@on_each
def test_jupyter_kernel(python: list[str], tmp_path: Path) -> None:
    """IPython's history thread says `daemon = True` in its class body: the kernel must not wait for it at its end."""
    from jupyter_client.connect import write_connection_file

    file, _ = write_connection_file(str(tmp_path / "connection.json"))
    own = {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"}
    with running([*python, "-m", "ipykernel_launcher", "-f", file], tmp_path, **own) as (process, _):
        assert client("jupyter_session.py", file, **own) == ["thread 0", "thread 1", "thread 2", "True"]
        assert process.wait(PATIENCE) == 0


# ---- a database, a window --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, str]]:
    """The environment in which libpq finds a server of this test's own."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "/none").parent]
    if not (folders[-1] / "initdb").exists():
        pytest.skip("not installed: a PostgreSQL server")
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory() as folder:
        if user:
            shutil.chown(folder, user)

        def run(*command: str) -> None:
            words = [folders[-1] / command[0], "-D", f"{folder}/data", *command[1:]]
            done = subprocess.run(words, user=user, cwd=folder, stdout=subprocess.DEVNULL, timeout=PATIENCE)
            assert done.returncode == 0

        run("initdb", "-U", "tester", "-A", "trust", "--no-sync")
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", f"-F -k {folder} -h ''", "start")
        try:
            yield {"PGHOST": folder, "PGUSER": "tester", "PGDATABASE": "postgres"}
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")


@needs("psycopg", "psycopg_pool")
@on_all
def test_psycopg_in_threads(python: list[str], postgres: dict[str, str]) -> None:
    made_by = "runtime" if python else "threading"
    said = client("postgres_pool.py", python=python, **postgres)
    assert said == [str(sum(range(100))), made_by, "[101]", "canceled", "one two"]


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    if not shutil.which("Xvfb"):
        pytest.skip("not installed: Xvfb")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-nolisten", "tcp"], pass_fds=[write], stderr=subprocess.DEVNULL
    )
    os.close(write)
    with open(read) as said:
        try:
            yield f":{said.readline().strip()}"
        finally:
            server.terminate()
            server.wait(PATIENCE)


@needs("_tkinter")
@on_all
def test_tkinter_in_threads(python: list[str], display: str) -> None:
    said = client("tkinter_threads.py", python=python, DISPLAY=display)
    assert said == ["[0, 1, 2, 3] 80 80", "runtime" if python else "threading"]
