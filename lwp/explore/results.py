"""What an exploration has found, or has not."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import CodeType
from typing import Any

from ..core import printable
from ..reading.files import is_program, printable_lines, short


class Unwound(BaseException):
    """Ends a thread of a run that is over. The program must let it pass, as it must GeneratorExit."""


class Find(AssertionError):
    """What was found, when the program itself raised no exception."""


class DeadlockFound(Find):
    """No thread could go on."""


class LeftBehind(Find):
    """The test ended, and threads that are not daemons never would."""


class Livelock(Find):
    """Threads went on without end, though all had their turns."""


class Died(Find):
    """The process ended in the middle of a run: by a signal, or by os._exit()."""


class NeverRetrieved(Find):
    """A task or future of asyncio has failed, and is gone before anything asked for its result. It has the exception as
    its cause."""


class DestroyedPending(Find):
    """A task of asyncio is gone before its end, because only its loop knew it, which keeps no task alive."""


class CallbackRaised(Find):
    """A callback of a loop of asyncio raised, which the loop only logs. It has the exception as its cause."""


class Inconclusive(Exception):
    """Nothing was found, but something may be there: the message says why."""


class Changing(Inconclusive):
    """The test does not do the same when it is called again."""


class Outcome(Enum):
    """What an exploration has come to."""

    FOUND = "found"  #: A schedule makes the test fail.
    EARLY_TIMEOUT = "early timeout"  #: Only timeouts that fire early, or late, make it fail.
    CANCELLATION = "cancellation"  #: Only with a task that is cancelled it fails, and that was asked for.
    EXHAUSTED = "exhausted"  #: Every schedule was tried, within the bounds that `report()` names.
    BUDGET_SPENT = "budget spent"  #: None of the schedules tried makes it fail.
    INCONCLUSIVE = "inconclusive"  #: Something was out of control: this is no pass.


@dataclass
class Progress:
    """How far an exploration is; told a few times a second, and when a run has failed."""

    runs: int = 0  #: So far.
    distinct: int = 0  #: How many of the runs differed in which thread ran when.
    seconds: float = 0.0  #: Since it began.
    failed: bool = False  #: The last run did: its schedule is shrunk next.


@dataclass
class Text:
    text: str

    def __call__(self, result: Result) -> str:
        return self.text


@dataclass
class Result:
    """What explore() or replay() has come to."""

    outcome: Outcome  #: Which of the six.
    name: str | None = None  #: What was found, and in which functions: the same from run to run; None: nothing was.
    token: str | None = None  #: A short text for replay(); None: nothing was found.
    runs: int = 0  #: How often the test was called with a schedule to try.
    seconds: float = 0.0  #: Seconds that it took, with shrinking and replays.
    distinct: int = 0  #: How many of the runs differed in which thread ran when.
    #: What was raised: the program's own exception, or a Find; INCONCLUSIVE: the Inconclusive.
    error: BaseException | None = None
    replays: int = 0  #: Of the replays of the token, how many found the same.
    replayed: int = 0  #: How many there were: 10, or fewer if the time was up.
    free_threaded_only: bool = False  #: FOUND: whether it needs a switch where CPython with a GIL never makes one.
    #: Whether a loop of asyncio calls a handle too early, which early_timeouts=True alone does; None: no tasks ran.
    other_order: bool | None = None
    found_by: str = ""  #: The strategy and the granularity that found it.
    deviations: int = 0  #: How many places are left at which the schedule differs from the default.
    seed: int | None = None  #: Of chance; None: it was a replay.
    known: dict[str, int] = field(default_factory=dict)  #: In how many runs each known find was seen, by its name.
    command: str = ""  #: What to type to see it again.
    #: FOUND: the uses of data whose order made it fail, as dicts of texts: thread, access (reads, writes, deletes,
    #: calls), name, value, place, function, note, called_by. Empty if it is not data, or not known.
    why: list[dict[str, str]] = field(default_factory=list)
    #: With races=True: pairs of uses of data that no primitive orders, as dicts: uses (two dicts of texts: access,
    #: name, place, function), token (of a run with the other order, or None).
    races: list[dict[str, Any]] = field(default_factory=list)
    _unasked: bool = field(default=False, repr=False)  # nobody has asked for such an EARLY_TIMEOUT
    _has_threads: bool = field(default=True, repr=False)  # besides the one that runs the tasks
    # Lines about an order that passes, if the default order fails; []: all that were tried fail.
    _passes: list[str] | None = field(default=None, repr=False)
    _races: str = field(default="", repr=False)
    _tried: Any = field(default=None, repr=False)  # a Tried
    _report: Callable[[Result], str] = field(default=lambda result: result.outcome.value, repr=False)
    _page: Callable[[Result], str] | None = field(default=None, repr=False)

    def report(self) -> str:
        """What happened, on one screen."""
        text = self._report(self)
        if self.token is not None and self.command not in text:
            text += f"\n\nTo see it again: {self.command}"
        return printable_lines(f"{text}\n\n{self._races}" if self._races else text)

    def page(self) -> str:
        """The same as an HTML page that needs nothing else. ValueError: nothing was found."""
        if self._page is None:
            raise ValueError(f"a picture is drawn of what was found, and the outcome is {self.outcome.value}")
        return self._page(self)

    def __getstate__(self) -> dict[str, Any]:
        """For another process: the report and the page as they are, and the exception if it can be pickled."""
        import pickle  # takes 3 ms

        error, page = self.error, self._page
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = Find(f"{type(error).__name__}: {error}")
        return {
            **vars(self),
            "error": error,
            "_report": Text(self.report()),
            "_races": "",
            "_page": None if page is None else Text(page(self)),
        }

    def check(self) -> None:
        """Returns if nothing was found. Otherwise it raises what was found, with the report as a note, or
        Inconclusive. An EARLY_TIMEOUT is raised only if early_timeouts=True has asked for it."""
        if self.error is None or self._unasked:
            return
        if self.outcome is not Outcome.INCONCLUSIVE and not getattr(self.error, "__notes__", None):
            self.error.add_note(self.report())
        raise self.error


_PLAIN = ("name", "token", "runs", "distinct", "known", "replays", "free_threaded_only", "other_order", "found_by")


def facts_of(result: Result) -> dict[str, Any]:
    """What it has come to, in plain values, for JSON."""
    error = result.error
    return {
        "outcome": result.outcome.name,
        **{name: getattr(result, name) for name in (*_PLAIN, "deviations", "seed", "why", "races")},
        "command": result.command or None,
        "seconds": round(result.seconds, 6),
        "asyncio_tasks": result._tried is not None and result._tried.has_tasks,
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        "report": result.report(),
    }


# ---- a find's name: what happened, and in which functions ------------------------------------------------------------
# It stays the same from run to run, and as long as these functions keep their names; lines and schedules are not in it.

_MOST_NAMED = 4  # functions


def name_of_error(error: BaseException) -> str:
    """By the program's function that raised, or by the library's if the program called none; of an assertion, which
    may be in a helper of many tests, by the outermost function too."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [code for code in codes if is_program(code.co_filename)] or codes
    return named(type(error).__name__, [*own[-1:], *(own[:1] if isinstance(error, AssertionError) else ())])


def named(kind: str, codes: list[CodeType]) -> str:
    functions = [
        printable(f"{short(code.co_filename)}:{code.co_qualname.rpartition('<locals>.')[2]}") for code in codes
    ]
    return " ".join([kind, *dict.fromkeys(functions[:_MOST_NAMED])])
