"""The sentences of a report."""

from __future__ import annotations

from ...reading.files import name_of_file
from ...reading.source import Place
from ..run.plans import Ending, Kind
from ..search.tried import counted
from .events import RAISE, Event, Thing, Wait
from .story import Story, places_of

_MOST_CAUSES = 3
_DEEPEST = 4  # calls of a stack


def joined(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def at(place: Place | None) -> str:
    """file:line"""
    return f"{name_of_file(place.file)}:{place.line}" if place is not None else "a line that is not known"


def short(place: Place | None) -> str:
    """The same without the folders."""
    return place.short if place is not None else "a line that is not known"


def of_error(error: BaseException | None, default: str = "") -> str:
    """Its type, and the first line of its text."""
    text = str(error).strip().partition("\n")[0].strip() or default
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# ---- what failed -----------------------------------------------------------------------------------------------------


def headline(story: Story) -> str:
    if story.ending == Ending.FAILED:
        where = story.raised_at if isinstance(story.run.error, AssertionError) else None
        return of_error(story.run.error, where[-1].text if where else "")
    told = {Ending.DEADLOCK: _deadlock, Ending.LEFT_BEHIND: _left_behind, Ending.LIMIT: _livelock}.get(story.ending)
    name = "LIVELOCK" if story.ending == Ending.LIMIT else story.ending.name.replace("_", " ")
    return f"{name}: {told(story)}" if told is not None else name


def failed_at(story: Story) -> str:
    """Where it was raised, and in which thread."""
    where = story.raised_at
    place = f"at {at(where[-1])} in {where[-1].function}(), " if where else ""
    who = story.name(story.run.error_thread)
    if story.first_raised is not None:
        who = f"{story.name(story.first_raised.thread)}, and again in {who}"
    return f"{place}{who}" if story.ending == Ending.FAILED else ""


def causes(story: Story) -> list[str]:
    """The exceptions behind the one that failed the run."""
    found: list[str] = []
    error = story.run.error
    while error is not None and len(found) < _MOST_CAUSES:
        is_cause = error.__cause__ is not None
        error = error.__cause__ if is_cause or error.__suppress_context__ else error.__context__
        if error is not None:
            places = places_of(error)
            where = f", raised at {at(places[-1])} in {places[-1].function}()" if places else ""
            found.append(f"{'caused by' if is_cause else 'while handling'} {of_error(error)}{where}")
    return found


def _deadlock(story: Story) -> str:
    count, threads = len(story.ring), story.threads - story.run.cancellers
    if count == 1 and story.ring[0].holder is not None:
        return f"{story.name(story.ring[0].thread)} waits for {_the(story.ring[0].event.thing)}, which it holds itself"
    if count > 1:
        who = f"{count} tasks" if _are_tasks(story, story.ring) else f"{count} of {threads} threads"
        return f"{who} wait for each other"
    if lost := next((wait for wait in story.waits if wait.signal is not None), None):
        return f"{story.name(lost.thread)} waits to be notified, and that was done before it waited"
    left = len(story.waits)
    if left == 1:
        who = f"{story.name(story.waits[0].thread)} waits"
    elif _are_tasks(story, story.waits):
        who = f"{left} tasks wait"
    else:
        who = f"all {threads} threads wait" if left == threads else f"{left} of {threads} threads wait"
    return f"{who}, and nobody is left who could end that"


def _are_tasks(story: Story, waits: list[Wait]) -> bool:
    return all(story.tasks[wait.thread] >= 0 for wait in waits)


def _left_behind(story: Story) -> str:
    names = [story.name(wait.thread) for wait in story.waits]
    if len(names) > 3:
        return f"the test has ended, and {len(names)} threads never will: {', '.join(names[:3])}, ..."
    return f"the test has ended, and {joined(names)} never will"


def _livelock(story: Story) -> str:
    if story.cycle is None:
        return f"no end after {len(story.events):,} steps, and no cycle was found in them"
    if steps := story.repeated:
        who = joined([story.name(thread) for thread in dict.fromkeys(event.thread for event in steps)])
        verb = "repeats" if len({event.thread for event in steps}) == 1 else "repeat"
        return f"{who} {verb} {counted(len(steps), 'step')} without end"
    return f"the threads repeat {story.cycle.length:,} steps without end"


# ---- things ----------------------------------------------------------------------------------------------------------


def _the(thing: Thing | None) -> str:
    return thing.name if thing is not None else "something"


def _target(story: Story, event: Event) -> str:
    return story.short_name(event.target) if event.target is not None else "a thread"


def held(things: tuple[Thing, ...]) -> str:
    return joined([thing.name for thing in things])


# ---- what a thread does ----------------------------------------------------------------------------------------------


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def _time_is_up(event: Event, brief: bool) -> str:
    if event.is_early:
        return " early" if brief else " early, as if all others were slow"
    jump = f"+{_seconds(event.jumped)}" if brief else f"the clock jumps by {_seconds(event.jumped)}"
    return f": {jump}" if event.jumped > 0 else ""


_PLAIN: dict[int, str] = {
    Kind.BEGIN: "begins",
    Kind.END: "ends",
    Kind.WAKE: "is woken",
    Kind.YIELD: "lets others go first",
    Kind.TURN: "goes on",
}
_COMES_TO_WAIT: dict[int, str] = {Kind.SLEEP: "sleeps", Kind.FILE: "waits for a file or a socket", Kind.TURN: "waits"}


def doing(story: Story, event: Event, brief: bool) -> str:
    """What there is to say beside the line; "" if the line says it all."""
    if event.waits:
        return _comes_to_wait(story, event, brief)
    if event.kind == RAISE:
        return f"raises {type(story.run.error).__name__}"
    if event.raised is not None:
        return (
            f"raises {event.raised.kind}, caught {'at' if ':' in event.raised.caught else 'in'} {event.raised.caught}"
        )
    if event.access is not None:
        access = event.access
        if access.call:
            return ""  # the line says it
        if brief:
            return access.value if access.writes else f"{access.verb} {access.value}"
        return f"{access.verb} {access.name}: {access.value}"
    if event.kind == Kind.CANCEL:
        return "its timeout fires" if event.is_timeout else "is cancelled"
    if event.is_timeout:
        return f"its {'sleep ends' if event.kind == Kind.SLEEP else 'timeout fires'}{_time_is_up(event, brief)}"
    if event.place is not None and event.place.via and event.kind not in (Kind.START, Kind.WAIT, Kind.WAKE, Kind.TURN):
        return ""
    if event.kind == Kind.START and event.target is not None:
        return f"starts {story.short_name(event.target)}"
    if event.kind == Kind.JOIN and event.target is not None:
        return f"{story.short_name(event.target)} has ended"
    if event.kind in (Kind.ACQUIRE, Kind.TRY) and event.thing is not None:
        return _takes(event, event.thing)
    if event.kind == Kind.WAIT:
        return _waits(event, brief)
    if event.kind == Kind.RELEASE and event.thing is not None and not event.inner:
        return _releases(event.thing)
    if event.kind == Kind.SIGNAL and event.thing is not None and event.thing.kind == "Condition" and not event.waiting:
        return "wakes nobody: no thread waits"
    return _PLAIN.get(event.kind, "")


def _releases(thing: Thing) -> str:
    return f"{'gives back a permit of' if thing.is_semaphore else 'releases'} {thing.name}"


def _takes(event: Event, thing: Thing) -> str:
    if thing.is_lock:
        return f"takes {thing.name}" if event.done else f"finds {thing.name} taken"
    if thing.is_semaphore:
        return f"takes a permit of {thing.name}" if event.done else f"finds no permit of {thing.name}"
    return ""


def _waits(event: Event, brief: bool) -> str:
    is_via = event.place is not None and event.place.via
    if not event.sleeps or is_via or event.thing is None or event.thing.lock is None:
        return "waits" if event.sleeps else ""
    return "waits to be notified" if brief else f"waits to be notified, releases {event.thing.lock.name}"


def _comes_to_wait(story: Story, event: Event, brief: bool) -> str:
    if event.kind == Kind.JOIN:
        return f"waits for {_target(story, event)} to end"
    if event.kind in _COMES_TO_WAIT:
        return _COMES_TO_WAIT[event.kind]
    if event.holder is not None and not brief:
        holder = story.short_name(event.holder.thread)
        who = "it holds itself" if event.holder.thread == event.thread else f"{holder} holds"
        return f"waits for {_the(event.thing)}, which {who}"
    if event.place is not None and event.place.via:
        return "waits"
    return f"waits for {_wanted(event.thing)}"


def _wanted(thing: Thing | None) -> str:
    if thing is None:
        return "something"
    if thing.is_semaphore:
        return f"a permit of {thing.name}"
    return f"an item of {thing.name}" if thing.kind == "SimpleQueue" else thing.name


# ---- switches --------------------------------------------------------------------------------------------------------


def stopped(event: Event) -> str:
    """Where the story says that a thread stops, such as `before it writes counter`."""
    if event.kind == Kind.CODE and event.thing is not None:
        return f"after it {_releases(event.thing)}"
    before = _about_to(event)
    return f"before {before}" if before else ""


def _about_to(event: Event) -> str:
    if event.kind == Kind.CODE:
        return f"it {event.place.about_to}" if event.place is not None and event.place.about_to else ""
    name = _the(event.thing)
    simple: dict[int, str] = {
        Kind.BEGIN: "it begins",
        Kind.END: "it ends",
        Kind.ACQUIRE: f"it takes {name}",
        Kind.TRY: f"it tries to take {name}",
        Kind.READ: f"it looks at {name}" if event.thing else "it looks whether a thread is alive",
        Kind.WAIT: f"it waits for {name}",
        Kind.RELEASE: f"it releases {name}",
        Kind.WAKE: "it goes on",
        Kind.SLEEP: "it sleeps",
        Kind.START: "it starts a thread",
        Kind.JOIN: "it joins a thread",
    }
    segment = event.place.segment if event.place is not None else ""
    return simple.get(event.kind, f"it calls {segment}" if segment else "")


def deviation(story: Story, event: Event, width: int = 1000) -> str:
    """What differs from the default: whose turn it was, what that thread is stopped before, and what it holds."""
    if event.instead_of is None:
        return ""
    other, goes_on = story.short_name(event.instead_of), story.short_name(event.thread)
    if event.kind == Kind.CANCEL:
        struck = f"{goes_on}'s timeout fires" if event.is_timeout else f"{goes_on} is cancelled"
        return f"{struck} while it {_awaits(event.place)}"
    pending = event.pending
    if pending is None or pending.kind == Kind.BEGIN:
        return f"{goes_on} goes first, {other} has not begun"
    before = stopped(pending)
    via = f" in {pending.place.call}" if pending.place is not None and pending.place.via else ""
    where = f" at {short(pending.place)}{via}" if pending.place is not None else ""
    then = f"{', ' if where else ' '}{before}" if before else ""
    holding = f", holding {held(event.keeping)}" if event.keeping else ""
    if event.is_early and event.kind != Kind.TURN:
        fires = "sleep ends" if event.kind == Kind.SLEEP else "timeout fires"
        texts = [
            f"{goes_on}'s {fires} early: {other} is slow{where}{more}" for more in (f"{then}{holding}", holding, "")
        ]
    elif event.kind in (Kind.BEGIN, Kind.TURN) and story.share(event.thread, event.instead_of):
        texts = [f"{goes_on} goes before {other}, which has its turn{where}"]
    elif event.after == event.instead_of:
        texts = [f"{other} stops{where}{then}{holding}{more}" for more in (f"; {goes_on} goes on", "")]
    else:
        texts = [
            f"{goes_on} goes first: {other} waits for its turn{where}{more}" for more in (f"{then}{holding}", holding)
        ]
    return next((text for text in texts if len(text) <= width), texts[-1])


def _awaits(place: Place | None) -> str:
    what = place.segment if place is not None else ""
    awaited = what.removeprefix("await ")
    return f"{'waits' if awaited == what else f'awaits {awaited}'} at {short(place)}"


def stacks(story: Story, event: Event) -> str:
    """In which calls the thread is that stops, and the thread that goes on, if a row doesn't say it."""
    found = []
    stops = () if event.kind == Kind.CANCEL else ((event.instead_of, event.pending),)
    for thread, one in (*stops, (event.thread, event)):
        calls = called(one.stack, _DEEPEST) if one is not None else []
        if len(calls) > 1 and thread is not None:
            found.append(f"{story.short_name(thread)} in {' < '.join(calls)}")
    return "; ".join(found)


def called(stack: tuple[str, ...], depth: int) -> list[str]:
    """The functions of a stack, innermost first."""
    calls = [f"{function}()" for function in stack if not function.startswith("<")]
    return calls if len(calls) <= depth else [*calls[:depth], "..."]


# ---- waits -----------------------------------------------------------------------------------------------------------


def waiting(story: Story, wait: Wait) -> str:
    """What a thread waits for, where, and which thread has it."""
    event, thing = wait.event, wait.event.thing
    where = f"at {short(event.place)}"
    call = event.place.call if event.place is not None and event.place.via else ""
    via = f" in {call}" if call else ""
    if event.kind == Kind.JOIN:
        return f"waits {where}{via} for {_target(story, event)} to end"
    if event.kind == Kind.FILE:
        return f"waits {where}{via} for a file or a socket"
    if wait.blocked_by is not None:
        what = f"waits {where}{via}" if event.kind == Kind.TURN else "has not begun"
        return f"{what}; {story.short_name(wait.blocked_by)} blocks its loop"
    if event.kind == Kind.TURN and wait.holder is None:
        return f"waits {where}{_awaited(story, event)}"
    if thing is None or (via and wait.holder is None):
        return f"waits {where}{via}"
    if wait.holder is not None:
        lock = wait.holder.thing
        again = " again" if lock is not thing else ""
        return f"waits {where}{via} for {lock.name}{again}, {_held_by(story, wait)}"
    if event.kind == Kind.WAIT:
        return f"waits {where}{via} {_signal(story, wait, thing)}"
    taken = ""
    if wait.permits:
        holders = [f"{story.short_name(one.thread)} since {short(one.since.place)}" for one in wait.permits[:2]]
        taken = f", taken by {joined(holders)}{' ...' if len(wait.permits) > 2 else ''}"
    return f"waits {where}{via} for {_wanted(thing)}{taken}"


def _awaited(story: Story, event: Event) -> str:
    """What a task waits for that no task holds."""
    thing = event.thing
    if event.tasks:
        names = [story.short_name(task) for task in event.tasks]
        return f" for {joined(names if len(names) <= 3 else [*names[:2], f'{len(names) - 2} more'])} to end"
    if thing is None:
        return f" in {event.place.call}" if event.place is not None and event.place.via else ""
    if thing.kind == "TaskGroup":
        return " for the tasks of its group"
    ends = {"Event": f"{thing.name} to be set", "Condition": f"{thing.name} to be notified"}
    method = event.place.via.rpartition(".")[2] if event.place is not None else ""
    if thing.kind == "Queue":
        ends["Queue"] = {"get": f"an item of {thing.name}", "put": f"room in {thing.name}"}.get(method, thing.name)
    return f" for {ends.get(thing.kind, _wanted(thing))}"


def _held_by(story: Story, wait: Wait) -> str:
    holder = wait.holder
    assert holder is not None
    since = short(holder.since.place)
    if holder.thread == wait.thread:
        return f"which it holds itself since {since}"
    ended = ", which has ended" if holder.thread not in story.next else ""
    return f"held by {story.short_name(holder.thread)} since {since}{ended}"


def _signal(story: Story, wait: Wait, thing: Thing) -> str:
    what = {"Condition": f"{thing.name} to be notified", "Barrier": f"others to come to {thing.name}"}
    text = f"for {what.get(thing.kind, f'{thing.name} to be set')}"
    if wait.signal is not None and thing.kind == "Condition":
        text += (
            f"; {story.short_name(wait.signal.thread)} did that at {short(wait.signal.place)}, before this wait began"
        )
    return text
