"""Depth first: every schedule, one after the other."""

from __future__ import annotations

from .plans import Plan, Plans, last_steps, threads_in

__all__ = ["depth_first"]


def depth_first(granularity: str) -> Plans:
    """All schedules: the default one first, then what differs from it as late as can be."""
    order: list[int] = []  # the threads of the run before, step by step
    untried: list[list[int]] = []  # at each step, those that were not chosen there yet
    while True:
        yield Plan(deviations=tuple(enumerate(order)), granularity=granularity)
        for at, step in enumerate(last_steps()):
            if at >= len(order):
                order.append(step.chosen)
                untried.append([thread for thread in threads_in(step.can) if thread != step.chosen])
        while untried and not untried[-1]:
            untried.pop()
            order.pop()
        if not untried:
            return
        order[-1] = untried[-1].pop()
