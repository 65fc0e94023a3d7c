"""explore() on a cluster of dask's: each task tries schedules of its own, and the first find ends them all.

A task is a process beside dask's own, because a program under control must not share a process that serves others.
"""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from importlib import import_module
from typing import Any

import lwp_runtime

from ..explorer import explore, options_of_replay, replay
from ..results import Progress, Result
from ..search.strategies import is_systematic, shared
from ..tokens import BadToken
from ..workers import Gathering, answer_of, how_it_ended, seed_of, shares_of
from .targets import Output, Target

_LEAST = 1000  # runs of a task; with fewer, its start would be most of its time
_LOOK_EVERY = 0.2  # seconds between looks whether another task has found something
_MODULE = "lwp.explore.ways.cluster"
_START = f"import lwp_runtime; lwp_runtime.call({_MODULE!r}, 'serve')"


class ClusterError(Exception):
    """There is no cluster, or it can't explore."""


class _Unpickler(pickle.Unpickler):
    """Loads results from a process where the package may go by another name."""

    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(lwp_runtime.name_here(module), name)


# ---- where dask's client is ------------------------------------------------------------------------------------------


def explore_on(
    address: str,
    test: Callable[[], object] | Target,
    *,
    runs: int = 1000,
    seed: int | None = None,
    progress: Callable[[Progress], object] | None = None,
    here: Callable[[], object] | None = None,
    **options: Any,
) -> Result:
    """explore() on the workers of the cluster whose scheduler has that address.

    test: a Target is loaded by each worker, from the same path; a function goes there by cloudpickle.
    here: the function that replays a find in this process; None: test.

    ClusterError: why it is not possible.
    """
    job: dict[str, Any] = {
        "target": None,
        "path": [os.path.abspath(entry) for entry in sys.path],
        "folder": os.getcwd(),
    }
    if isinstance(test, Target):
        what = test.what if test.kind == "module" else os.path.abspath(test.what)
        job["target"] = astuple(replace(test, what=what))
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    gathering = Gathering(seed)
    with _client(address) as client:
        if job["target"] is None:
            import cloudpickle

            job["test"] = cloudpickle.dumps(test)
        threads = sum(client.nthreads().values())
        if not threads:
            raise ClusterError(f"the cluster at {address} has no workers")
        _gather(client, gathering, [{**job, **share} for share in _shares(runs, seed, threads, options)], progress)
    call = here if here is not None else test
    assert not isinstance(call, Target)
    return gathering.result(lambda token: _replayed(call, token, options_of_replay(options)))


def _shares(runs: int, seed: int, threads: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Several tasks for each thread, so that none is idle for long; with a limit of time, one task that begins at
    once."""
    strategy = options.get("strategy", "auto")
    count = threads * (1 if options.get("seconds") else 4)
    count = 1 if is_systematic(strategy) else max(threads, min(count, runs // _LEAST))
    return [
        {"seed": seed_of(seed, number), "runs": share, "options": {**options, "strategy": shared(strategy, number)}}
        for number, share in enumerate(shares_of(runs, count))
    ]


def _replayed(test: Callable[[], object], token: str, options: dict[str, Any]) -> Result | None:
    try:
        return replay(test, token, **options)
    except BadToken:  # the worker has another version of Python
        return None


def _distributed() -> Any:
    return import_module("distributed")  # which has no types


@contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        distributed = _distributed()
    except ImportError:
        raise ClusterError("--dask needs distributed: pip install 'lwp-runtime[dask]'") from None
    try:
        client = distributed.Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(f"no cluster at {address}: {' '.join(str(error).split())}") from error
    try:
        yield client
    finally:
        client.close()


def _gather(
    client: Any, gathering: Gathering, jobs: list[dict[str, Any]], progress: Callable[[Progress], object] | None
) -> None:
    distributed = _distributed()
    futures = {
        client.submit(lwp_runtime.call, _MODULE, "task", job, pure=False, retries=0): number
        for number, job in enumerate(jobs)
    }
    try:
        for future in distributed.as_completed(list(futures), loop=client.loop):
            if _add(gathering, futures[future], future):
                return
            if progress is not None:
                progress(gathering.so_far())
    finally:
        client.cancel(list(futures))


def _add(gathering: Gathering, number: int, future: Any) -> bool:
    error = future.exception()
    if isinstance(error, ModuleNotFoundError) and error.name in (lwp_runtime.__name__, "lwp", "runtime"):
        raise ClusterError("the cluster's workers have no lwp-runtime")
    if error is not None:
        return gathering.died(f"task {number} of the cluster failed: {type(error).__name__}: {error}")
    where, how, data = future.result()
    if not data:
        return gathering.died(f"the process of task {number} on {where} ended {how} before it had a result")
    answer = _Unpickler(io.BytesIO(data)).load()
    if isinstance(answer, BaseException):
        raise answer
    return gathering.add(number, answer)


# ---- in a worker of dask's -------------------------------------------------------------------------------------------


def task(job: dict[str, Any]) -> tuple[str, str, bytes]:
    """Where it ran, how its process ended, and what that has sent: a pickled Result, or an exception."""
    worker = _distributed().get_worker()
    key = worker.get_current_task()
    process = subprocess.Popen([sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        try:
            data: bytes | None = pickle.dumps(job)
            while True:
                try:
                    sent, _ = process.communicate(data, timeout=_LOOK_EVERY)
                    break
                except subprocess.TimeoutExpired:
                    data = None  # the next communicate() goes on with it
                    if not _is_wanted(worker, key):
                        process.kill()
        finally:
            process.kill()
    return worker.address, how_it_ended(process.returncode), sent


def _is_wanted(worker: Any, key: str) -> bool:
    """Whether the client is there and has not cancelled the task, because dask does not end what a task does."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state in ("executing", "long-running")


# ---- in its process --------------------------------------------------------------------------------------------------


def serve() -> None:
    """Does the job on standard input, and writes what came of it to standard output."""
    from ...core import install

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = pickle.load(sys.stdin.buffer)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path += [entry for entry in job["path"] if entry not in sys.path]
    if os.path.isdir(job["folder"]):
        os.chdir(job["folder"])
    install()
    lwp_runtime.give_way()
    with out:
        out.write(pickle.dumps(answer_of(lambda: _serve(job))))


def _serve(job: dict[str, Any]) -> Result:
    if job["target"] is None:
        test, file = pickle.loads(job["test"]), None
    else:
        target = Target(*job["target"])
        test, file = target.load(), target.file
    with Output() as output:
        return explore(output.of_last_run(test, file), runs=job["runs"], seed=job["seed"], **job["options"])
