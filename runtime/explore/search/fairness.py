"""Who has to wait because it spins: the fair schedules are those in which each thread that can go on has its turns.

After Musuvathi and Qadeer, Fair Stateless Model Checking (PLDI 2008): a thread that got nowhere again and again, while
another one could go on all the time and did not, lets that one go first.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Fairness"]

_PATIENCE = 3  #: times that a thread gets nowhere, before it is seen who had no turn since the last of such times


class _Window(NamedTuple):
    """What happened since a thread has got nowhere _PATIENCE times."""

    times: int = 0
    able: int = 0  #: who could go on all the time
    stopped: int = 0  #: who can't any more, by a step of the thread
    ran: int = -1


class _State(NamedTuple):
    windows: dict[int, _Window]
    waits: dict[int, int]  #: for whom a thread has to wait, as long as they can go on


class Fairness:
    """Follows the steps of a run; cut() goes back to the begin of another one."""

    def __init__(self) -> None:
        self._before: list[_State | None] = []  # each step
        self._able: list[int] = []
        self._late: list[int] = []

    def cut(self, steps: int) -> None:
        del self._before[steps:], self._able[steps:]

    def step(self, able: int, usual: int, last: int) -> None:
        """The next step: who can go on in time, whom the default schedule has, who took the step before."""
        state = None
        if self._before:
            nowhere = self._late[-1] or (able >> last & 1 and usual != last)
            state = self._before[-1]
            if state is not None or nowhere:
                state = _after(state or _State({}, {}), self._able[-1], able, last, bool(nowhere))
        self._before.append(state)
        self._able.append(able)

    def took(self, step: int, late: int) -> None:
        """Whether the thread that took the step did so as its time was up."""
        del self._late[step:]
        self._late.append(late)

    def waiting(self) -> int:
        """Those that must not take the last step that was told."""
        state = self._before[-1]
        if state is None:
            return 0
        able = self._able[-1]
        return sum(1 << thread for thread, others in state.waits.items() if others & able)


def _after(state: _State, before: int, able: int, last: int, nowhere: bool) -> _State:
    me = 1 << last
    waits = {thread: left for thread, others in state.waits.items() if (left := others & ~me)}
    windows = {
        thread: _Window(
            window.times,
            window.able & able,
            window.stopped | (before & ~able if thread == last else 0),
            window.ran | me,
        )
        for thread, window in state.windows.items()
    }
    if nowhere:
        window = windows.get(last, _Window())
        if window.times + 1 < _PATIENCE:
            windows[last] = window._replace(times=window.times + 1)
        else:
            if missed_out := (window.able | window.stopped) & ~window.ran & ~me:
                waits[last] = waits.get(last, 0) | missed_out
            windows[last] = _Window(able=able, ran=0)
    return _State(windows, waits)
