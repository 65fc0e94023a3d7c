"""What is told of a find: the one list from which the report, the page and JSON are written."""

from __future__ import annotations

from typing import NamedTuple

from ..results import Find, name_of_error, named
from ..run.plans import FINDS, Ending
from .accesses import Access
from .story import Story
from .words import at, called, causes, failed_at, headline, short, waiting

_DEEPEST = 5  # calls

BETWEEN, LATE = "between these two", "only later"


class Fact(NamedTuple):
    """An access, as it is told."""

    thread: str
    access: str
    name: str
    value: str
    place: str
    function: str
    note: str
    called_by: str  #: of a use that changes data in calls of calls


class Told(NamedTuple):
    what: str  #: what failed
    where: str  #: where it was raised, and in which thread; ""
    waits: list[tuple[str, str]]  #: of threads that wait: the name, and for what
    why: list[Fact]  #: uses of data whose order made the test fail
    claims: list[str]  #: in which orders of them it passes
    calls: list[tuple[str, list[tuple[str, str, str]]]]  #: tracebacks: the title; place, function and line of each call
    causes: list[str]  #: the exceptions behind the one that failed the run


def tell(story: Story) -> Told:
    why = _facts(story)
    return Told(
        headline(story),
        failed_at(story),
        [(story.name(wait.thread), waiting(story, wait)) for wait in story.all_waits],
        why,
        _claims(story) if why else [],
        [(title, [(at(one), f"{one.function}()", one.text) for one in places]) for title, places in story.tracebacks],
        causes(story),
    )


def name_of_find(story: Story) -> str:
    """By where threads wait for each other, or by what they repeat."""
    if story.run.error is not None:
        return name_of_error(story.run.error)
    if story.ending == Ending.LIMIT:
        cycles = [story.cycle_of(thread) for thread in range(story.threads)]
        events = [event for found in cycles if found is not None for event in found[1]]
    else:
        events = [wait.event for wait in story.ring or story.waits]
    codes = {event.place.code for event in events if event.place is not None}
    kind = FINDS.get(story.ending, Find).__name__
    return named(kind, sorted(codes, key=lambda code: (code.co_filename, code.co_qualname)))


# ---- why -------------------------------------------------------------------------------------------------------------


def _facts(story: Story) -> list[Fact]:
    """In the order of the run; what it did not come to follows what came too early."""
    told: dict[int, tuple[Access, str]] = {}
    late = []
    for reason in story.reasons:
        for nth, access in enumerate(reason.told):
            if access is reason.late:
                late.append((access, LATE))
            elif access.number not in told or (nth == 1 and len(reason.told) == 3):
                told[access.number] = access, BETWEEN if nth == 1 and len(reason.told) == 3 else ""
    told |= {access.number: (access, "") for access in story.consequence}
    every = [*(told[number] for number in sorted(told)), *late]
    return list(dict.fromkeys(_fact(story, access, note) for access, note in every))


def _fact(story: Story, access: Access, note: str) -> Fact:
    value = "" if note == LATE else access.value
    function, *callers = called(access.stack, depth=_DEEPEST) or [""]
    calls = " < ".join(callers) if access.writes and len(callers) > 1 else ""
    thread, place = story.short_name(access.thread), short(access.place)
    return Fact(thread, access.deed, access.name, value, place, function, note, calls)


def _claims(story: Story) -> list[str]:
    """In which orders the test passes."""
    several = len({access.name for reason in story.reasons for access in reason.told}) > 1
    found = []
    every = [access for reason in story.reasons for access in reason.told] + story.consequence
    for reason in story.reasons:
        first, second = (_named(story, access, every) for access in (reason.first, reason.second))
        of = f" of {reason.second.name}" if several and not reason.second.call else ""
        found.append(f"with {first} before {second}{of} the test passes")
    return list(dict.fromkeys(found))


def _named(story: Story, access: Access, every: list[Access]) -> str:
    """With its line, if the same thread does the like elsewhere."""
    others = {short(one.place) for one in every if (one.thread, one.noun) == (access.thread, access.noun)}
    at = f" at {short(access.place)}" if len(others) > 1 else ""
    return f"{story.short_name(access.thread)}'s {access.noun}{at}"
