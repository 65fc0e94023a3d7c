"""Replay tokens: a schedule as a short text, to be pasted into a command.

`s-1a3f-9.1-12.0`: the granularity (s, g, o) with `e` behind it if timeouts may fire early, `c` if a task may be
cancelled and `r` if threads may also stop after a release, a check of what was done, and the deviations from the
default schedule: at step 9 thread 1 goes on, at step 12 thread 0.  Steps and threads are numbers to the base of 36.  A
token of `gil` or `opcode` names its Python, as `g313`: bytecodes differ.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from .run.plans import GRANULARITIES, Plan, Run, Strikes

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"([sgo])([0-9]*)(e?)(c?)(r?)-([0-9a-z]{1,4})((?:-[0-9a-z]{1,7}\.[0-9a-z]{1,2})*)")
_MOST_STEPS, _MOST_THREADS = 2**32, 1024  # explore.h: steps are numbered in 32 bits, EXPLORE_THREADS
_STRIKES = {Strikes.EARLY: "e", Strikes.CANCEL: "c"}
_VERSION = f"{sys.version_info[0]}{sys.version_info[1]}"


class BadToken(ValueError):
    """A text that is no token, or a token for another Python."""


@dataclass(frozen=True)
class Token:
    plan: Plan
    check: int  #: of what was done


def _number(value: int) -> str:
    text = ""
    while value or not text:
        value, digit = divmod(value, 36)
        text = _DIGITS[digit] + text
    return text


def check_of(run: Run) -> int:
    return run.hash % 36**4


def make_token(plan: Plan, check: int) -> str:
    """check: check_of() the run; 0: it has ended its process."""
    version = "" if plan.granularity == "sync" else _VERSION
    strikes = "".join(letter for strike, letter in _STRIKES.items() if strike in plan.strikes)
    head = f"{plan.granularity[0]}{version}{strikes}{'r' if plan.after else ''}"
    steps = (f"{_number(step)}.{_number(thread)}" for step, thread in plan.deviations)
    return "-".join((head, _number(check), *steps))


def read_token(text: str) -> Token:
    """BadToken: the text is no token, or a token for another version of Python.  TypeError: it is no text."""
    if not isinstance(text, str):
        raise TypeError(f"a token is a str such as s-1a3f-9.1-12.0, not {type(text).__name__}")
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise BadToken(f"{text!r} is no token: one looks like s-1a3f-9.1-12.0")
    letter, version, early, cancel, after, check, steps = match.groups()
    granularity = next(name for name in GRANULARITIES if name[0] == letter)
    if granularity != "sync" and version != _VERSION:
        wanted = f"{version[:1]}.{version[1:]}" if version else "another Python"
        raise BadToken(f"{text!r} is for Python {wanted}: only sync tokens (s-...) replay on every version")
    pairs = (step.split(".") for step in steps.split("-")[1:])
    deviations = tuple((int(step, 36), int(thread, 36)) for step, thread in pairs)
    if any(step >= _MOST_STEPS or thread >= _MOST_THREADS for step, thread in deviations):
        most = f"{_number(_MOST_STEPS - 1)}.{_number(_MOST_THREADS - 1)}"
        raise BadToken(f"{text!r} is no token: a step or a thread has a number above {most}")
    if list(deviations) != sorted(set(deviations)):
        raise BadToken(f"{text!r} is no token: its steps are not in order")
    strikes = Strikes.EARLY * bool(early) | Strikes.CANCEL * bool(cancel)
    plan = Plan(deviations=deviations, strikes=Strikes(strikes), granularity=granularity, after=bool(after))
    return Token(plan, int(check, 36))
