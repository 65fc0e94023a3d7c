"""Which threads have to wait because they spin. A schedule is fair when each thread that can go on has its turns.

After Musuvathi and Qadeer, Fair Stateless Model Checking (PLDI 2008): a thread that got nowhere again and again, while
another could go on all the time and did not, lets the other go first.
"""

from __future__ import annotations

from typing import NamedTuple

_PATIENCE = 3  #: times that a thread gets nowhere, before the threads that had no turn since the last time go first
_TURNS = 4  #: turns of a task count as one such time: a task that awaits asyncio.sleep(0) may do much in each


class _Window(NamedTuple):
    """What happened since a thread has got nowhere _PATIENCE times."""

    times: int = 0
    able: int = 0  #: the threads that could go on all the time
    stopped: int = 0  #: the threads that a step of this thread has stopped
    ran: int = -1


class _State(NamedTuple):
    windows: dict[int, _Window]
    waits: dict[int, int]  #: the threads that a thread has to wait for, as long as they can go on


class Fairness:
    """Follows the steps of a run; cut() goes back to the begin of another one."""

    def __init__(self) -> None:
        self._before: list[_State | None] = []  # each step
        self._able: list[int] = []
        self._late: list[int] = []

    def cut(self, steps: int) -> None:
        del self._before[steps:], self._able[steps:]

    def step(self, able: int, usual: int, last: int, in_turn: int) -> None:
        """The next step: the threads that can go on in time, the default schedule's, and the one that took the step
        before. in_turn: the default is the order of that thread's loop, in which a task that goes on at once comes
        late."""
        state = None
        if self._before:
            nowhere = bool(self._late[-1] or (able >> last & 1 and usual != last))
            state = self._before[-1]
            if state is not None or nowhere:
                part = nowhere * (1 if in_turn and not self._late[-1] else _TURNS)
                state = _after(state or _State({}, {}), self._able[-1], able, last, part)
        self._before.append(state)
        self._able.append(able)

    def took(self, step: int, late: int) -> None:
        """late: the thread took the step because its time was up."""
        del self._late[step:]
        self._late.append(late)

    def waiting(self) -> int:
        """The threads that must not take the latest step."""
        state = self._before[-1]
        if state is None:
            return 0
        able = self._able[-1]
        return sum(1 << thread for thread, others in state.waits.items() if others & able)


def _after(state: _State, before: int, able: int, last: int, nowhere: int) -> _State:
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
        if window.times + nowhere < _PATIENCE * _TURNS:
            windows[last] = window._replace(times=window.times + nowhere)
        else:
            if missed_out := (window.able | window.stopped) & ~window.ran & ~me:
                waits[last] = waits.get(last, 0) | missed_out
            windows[last] = _Window(able=able, ran=0)
    return _State(windows, waits)
