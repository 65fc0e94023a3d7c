"""explore() in several processes: each tries schedules of its own, and the first find ends them all."""

from __future__ import annotations

import os
import pickle
import random
import signal
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, Pipe, wait

from ..core import kept_open
from .ends import inconclusive
from .results import Outcome, Progress, Result, Text
from .run.hand import Hand, forked, how_it_ended
from .search.tried import Tried

#: (number, seed, runs, progress): explores, in this process.
Work = Callable[[int, int, int, Callable[[object], object]], object]

Replay = Callable[[str], Result]

#: Looks at a run that has ended its process in that way.
Look = Callable[[Hand, str], Result]


class Gathering:
    """What several workers have come to."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._began = time.monotonic()
        self._tried = Tried()
        self._decisive: Result | None = None
        self._dead: tuple[Worker, str] | None = None  # and how it ended
        # Found with an early timeout or a cancellation: it counts if no other worker finds more.
        self._struck: Result | None = None
        self._told: dict[int, Progress] = {}

    def tell(self, number: int, progress: Progress) -> Progress:
        """A worker's progress; returns that of all."""
        self._told[number] = progress
        return Progress(*self._counts(), time.monotonic() - self._began, progress.failed)

    def _counts(self) -> tuple[int, int]:
        """Runs and distinct schedules. Schedules of workers that have not ended may be counted twice."""
        going = self._told.values()
        runs, distinct = (sum(getattr(one, name) for one in going) for name in ("runs", "distinct"))
        return self._tried.runs + runs, len(self._tried.schedules) + distinct

    def add(self, number: int, result: Result) -> bool:
        """A worker's result; whether the others may end."""
        self._told.pop(number, None)
        if result._tried is not None:
            self._tried.merge(result._tried)
        if result.outcome in (Outcome.EARLY_TIMEOUT, Outcome.CANCELLATION):
            self._struck = self._struck or result
        elif self._decisive is None and result.outcome is not Outcome.BUDGET_SPENT:
            self._decisive = result
        return self._decisive is not None

    def died(self, worker: Worker) -> None:
        """Takes the end of a worker that gave no result for a result."""
        self._told.pop(worker.number, None)
        self._tried.runs += worker.hand.runs
        self._dead = self._dead or (worker, worker.end())

    def result(self, replay: Replay, look: Look) -> Result:
        """replay: finds the failure again in this process, so that the exception is the real one."""
        result = self._decisive
        if result is None and self._dead is not None:
            worker, how = self._dead
            if worker.hand.plan is not None:
                result = look(worker.hand, how)
            else:
                result = inconclusive("worker", number=worker.number, how=how)
        result = result or self._struck
        if result is None:
            result = Result(Outcome.BUDGET_SPENT, _report=Text(self._tried.spent()))
        elif result.token is not None and self._dead is None:
            again = replay(result.token)
            if again.token == result.token:
                again.found_by, again.free_threaded_only = result.found_by, result.free_threaded_only
                again.other_order, again._unasked = result.other_order, result._unasked
                result = again
        result.seed = self._seed
        result._tried = self._tried
        result.known = dict(self._tried.known)
        result.runs, result.distinct = self._counts()
        result.seconds = time.monotonic() - self._began
        return result


# ---- processes -------------------------------------------------------------------------------------------------------


def _answer_of(call: Callable[[], object]) -> object:
    """What it returns or raises, as another process can have it."""
    answer: object
    try:
        answer = call()
    except BaseException as error:
        answer = error
    try:
        pickle.loads(pickle.dumps(answer))
    except Exception:
        return RuntimeError(f"{type(answer).__name__}: {answer}")
    return answer


class Worker:
    """A child process. hand: where it writes its runs."""

    def __init__(
        self, work: Work, hand: Hand, number: int = 0, seed: int = 0, runs: int = 0, others: Iterable[Connection] = ()
    ) -> None:
        """others: the parent's ends of the pipes of other workers."""
        self.number = number
        self.hand = hand
        self.said, to_parent = Pipe(duplex=False)
        self._pid = forked()
        if self._pid == 0:
            status = 1
            try:
                for pipe in (self.said, *others):  # otherwise no write would fail when the parent has ended
                    pipe.close()
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
                hand.hold()
                with kept_open(to_parent.fileno()):
                    answer = _answer_of(lambda: work(number, seed, runs, to_parent.send))
                to_parent.send(answer)
                status = 0
            finally:
                os._exit(status)
        to_parent.close()

    def end(self) -> str:
        """Ends it if it has not ended; says how it has."""
        self.said.close()
        os.kill(self._pid, signal.SIGKILL)  # if it has ended it is a zombie, and the signal does nothing
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return how_it_ended(code)


class _Workers:
    def __init__(self, gathering: Gathering, max_steps: int, progress: Callable[[Progress], object] | None) -> None:
        self._max_steps = max_steps
        self._gathering = gathering
        self._progress = progress
        self._going: dict[Connection, Worker] = {}

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_others()

    def start(self, number: int, work: Work, seed: int, runs: int) -> None:
        worker = Worker(work, Hand(self._max_steps), number, seed, runs, list(self._going))
        self._going[worker.said] = worker

    def run(self) -> None:
        """Until all have ended."""
        while self._going:
            ready = wait(list(self._going))
            for worker in [worker for pipe, worker in self._going.items() if pipe in ready]:
                if worker.said in self._going:  # otherwise it was ended meanwhile
                    self._hear(worker)

    def _hear(self, worker: Worker) -> None:
        try:
            said = worker.said.recv()
        except (EOFError, OSError):  # the second: in the middle of what it said
            self._going.pop(worker.said)
            self._gathering.died(worker)
            self._end_others()
            return
        if isinstance(said, Progress):
            told = self._gathering.tell(worker.number, said)
            if self._progress is not None:
                self._progress(told)
            if said.failed:  # its schedule is shrunk next
                self._end_others(worker)
            return
        self._going.pop(worker.said)
        worker.end()
        if isinstance(said, BaseException):
            raise said
        assert isinstance(said, Result)
        if self._gathering.add(worker.number, said):
            self._end_others()

    def _end_others(self, worker: Worker | None = None) -> None:
        for other in [other for other in self._going.values() if other is not worker]:
            self._going.pop(other.said)
            other.end()


def in_processes(
    work: Work,
    replay: Replay,
    look: Look,
    max_steps: int,
    count: int,
    seed: int,
    runs: int,
    progress: Callable[[Progress], object] | None,
) -> Result:
    gathering = Gathering(seed)
    with _Workers(gathering, max_steps, progress) as workers:
        for number in range(min(runs, count)):
            own = random.Random(f"{seed}/{number}").getrandbits(32) if number else seed  # the first has the one given
            workers.start(number, work, own, runs // count + (number < runs % count))
        workers.run()
    return gathering.result(replay, look)
