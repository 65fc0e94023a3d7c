"""explore() in several processes: each tries schedules of its own, and the first find ends them all."""

from __future__ import annotations

import os
import pickle
import random
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable

from .results import Inconclusive, Outcome, Progress, Result
from .search.tried import Tried

__all__ = ["Gathering", "how_it_ended", "in_processes", "seed_of", "shares_of"]

#: (number, seed, runs, progress): explores, in this process.
Work = Callable[[int, int, int, Callable[[Progress], object]], Result]

Replay = Callable[[str], Result | None]


def seed_of(seed: int, number: int) -> int:
    """The seed of a worker; the first has the one that was given."""
    return random.Random(f"{seed}/{number}").getrandbits(32) if number else seed


def shares_of(runs: int, count: int) -> list[int]:
    return [runs // count + (number < runs % count) for number in range(min(runs, count))]


class Gathering:
    """What several workers have come to."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._began = time.monotonic()
        self._tried = Tried()
        self._decisive: Result | None = None
        self._told: dict[int, Progress] = {}

    def tell(self, number: int, progress: Progress) -> Progress:
        """A worker's progress; returns that of all."""
        self._told[number] = progress
        return self.so_far(progress.failed)

    def so_far(self, failed: bool = False) -> Progress:
        return Progress(*self._counts(), time.monotonic() - self._began, failed)

    def _counts(self) -> tuple[int, int]:
        """Runs and distinct schedules; of workers that have not ended these may be some that others had, too."""
        going = self._told.values()
        runs, distinct = (sum(getattr(one, name) for one in going) for name in ("runs", "distinct"))
        return self._tried.runs + runs, len(self._tried.schedules) + distinct

    def add(self, number: int, result: Result) -> bool:
        """A worker's result; whether the others may end."""
        self._told.pop(number, None)
        if result._tried is not None:
            self._tried.merge(result._tried)
        if self._decisive is None and result.outcome is not Outcome.BUDGET_SPENT:
            self._decisive = result
        return self._decisive is not None

    def died(self, how: str) -> bool:
        """A worker has ended without a result: that is one, too."""
        if self._decisive is None:
            self._decisive = Result(Outcome.INCONCLUSIVE, error=Inconclusive(how))
            self._decisive._report = lambda result: f"INCONCLUSIVE: {how}"
        return True

    def result(self, replay: Replay) -> Result:
        """replay: how what was found is found again in this process, so that the exception is the real one."""
        result = self._decisive
        if result is None:
            text = self._tried.spent()
            result = Result(Outcome.BUDGET_SPENT)
            result._report = lambda result: text
        elif result.token is not None:
            again = replay(result.token)
            if again is not None and again.token == result.token:
                again.found_by, again.free_threaded_only = result.found_by, result.free_threaded_only
                result = again
        result.seed = self._seed
        result._tried = self._tried
        result.runs, result.distinct = self._counts()
        result.seconds = time.monotonic() - self._began
        return result


# ---- processes -------------------------------------------------------------------------------------------------------


_LENGTH = struct.Struct("=Q")


def _send(fd: int, value: object) -> None:
    data = pickle.dumps(value)
    rest = memoryview(_LENGTH.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _receive(fd: int) -> object:
    """EOFError: the other end was closed."""
    (length,) = _LENGTH.unpack(_read(fd, _LENGTH.size))
    return pickle.loads(_read(fd, length))


def _read(fd: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _work(work: Work, number: int, seed: int, runs: int, to_parent: int) -> None:
    """In a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    answer: object
    try:
        answer = work(number, seed, runs, lambda progress: _send(to_parent, progress))
    except BaseException as error:
        answer = error
    try:
        pickle.loads(pickle.dumps(answer))
    except Exception:
        answer = RuntimeError(f"{type(answer).__name__}: {answer}")
    _send(to_parent, answer)


def how_it_ended(code: int) -> str:
    return f"with status {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


class _Worker:
    def __init__(self, number: int, work: Work, seed: int, runs: int, others: list[int]) -> None:
        """others: the parent's ends of the pipes of other workers."""
        self.number = number
        self.fd, to_parent = os.pipe()
        with warnings.catch_warnings():  # that other threads are not in the child: none of them is needed there
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                for fd in (self.fd, *others):  # else no write would fail when the parent has ended
                    os.close(fd)
                _work(work, number, seed, runs, to_parent)
                status = 0
            finally:
                os._exit(status)
        os.close(to_parent)

    def end(self) -> str:
        """Ends it if it has not ended; says how it has."""
        os.close(self.fd)
        os.kill(self._pid, signal.SIGKILL)  # if it has ended it is a zombie, which that does not change
        _, status = os.waitpid(self._pid, 0)
        return how_it_ended(os.waitstatus_to_exitcode(status))


class _Workers:
    def __init__(self, gathering: Gathering, progress: Callable[[Progress], object] | None) -> None:
        self._gathering = gathering
        self._progress = progress
        self._going: dict[int, _Worker] = {}  # by descriptor

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_others()

    def start(self, number: int, work: Work, seed: int, runs: int) -> None:
        worker = _Worker(number, work, seed, runs, list(self._going))
        self._going[worker.fd] = worker

    def run(self) -> None:
        """Until all have ended."""
        while self._going:
            poll = select.poll()
            for fd in self._going:
                poll.register(fd, select.POLLIN)
            ready = {fd for fd, _ in poll.poll()}
            for worker in [worker for fd, worker in self._going.items() if fd in ready]:
                if worker.fd in self._going:  # else it was ended meanwhile
                    self._hear(worker)

    def _hear(self, worker: _Worker) -> None:
        try:
            said = _receive(worker.fd)
        except EOFError:
            self._going.pop(worker.fd)
            self._gathering.died(f"worker {worker.number} ended {worker.end()} before it had a result")
            self._end_others()
            return
        if isinstance(said, Progress):
            told = self._gathering.tell(worker.number, said)
            if self._progress is not None:
                self._progress(told)
            if said.failed:  # its schedule is shrunk next
                self._end_others(worker)
            return
        self._going.pop(worker.fd)
        worker.end()
        if isinstance(said, BaseException):
            raise said
        assert isinstance(said, Result)
        if self._gathering.add(worker.number, said):
            self._end_others()

    def _end_others(self, worker: _Worker | None = None) -> None:
        for other in [other for other in self._going.values() if other is not worker]:
            self._going.pop(other.fd)
            other.end()


def in_processes(
    work: Work, replay: Replay, count: int, seed: int, runs: int, progress: Callable[[Progress], object] | None
) -> Result:
    gathering = Gathering(seed)
    for stream in (sys.stdout, sys.stderr):  # else each worker has what is in its buffer
        if stream is not None:
            stream.flush()
    with _Workers(gathering, progress) as workers:
        for number, share in enumerate(shares_of(runs, count)):
            workers.start(number, work, seed_of(seed, number), share)
        workers.run()
    return gathering.result(replay)
