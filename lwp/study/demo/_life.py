"""The figures of `demo createthread`: a life as a timeline, and memory as each of its steps leaves it."""

from __future__ import annotations

import platform
from typing import Any

from ...terminal.output import size
from ..figures._page import Steps
from ..figures._svg import PARTS, Figure, arrow, group, line, rect, text

_STORY = "docs/runtime/how-a-thread-is-made.md"
#: By step, or by its group: the section that explains it.
_SECTIONS = {
    "tls": "3-thread-local-storage-line-5",
    "tcb": "4-the-tcb-line-3",
    "list": "6-known-to-the-c-library-line-4",
    "recycled": "12-recycling-line-23",
    "memory": "2-memory-lines-1-and-2",
    "clone": "8-clone-lines-6-to-9",
    "first lines": "9-the-threads-first-lines-10-to-14",
    "Python": "10-the-gil-lines-15-to-17",
    "end": "11-the-end-lines-18-to-22",
    "join": "11-the-end-lines-18-to-22",
}

# ---- time ------------------------------------------------------------------------------------------------------------

_LANES = {"creator": 98, "kernel": 152, "thread": 204}
_ROW, _TOP, _WIDTH, _TEXT = 24, 34, 450, 226  # px
_CALLS = {"map", "guard", "mask", "clone", "robust", "rseq", "unmask", "exit", "join"}
_RETURNS = {"cloned", "born", "cleared"}


def life_figure(steps: list[dict[str, Any]]) -> Figure:
    """Steps by time, a row each: in which thread it was done, and whether the kernel was called or went on."""
    rows = {step["name"]: _TOP + _ROW * at + _ROW / 2 for at, step in enumerate(steps)}  # of two, the second
    end = _TOP + _ROW * len(steps)
    creator, kernel, thread = _LANES.values()
    parts = [text(x, 20, name, "head", "middle") for name, x in _LANES.items()]
    parts += [text(0, 20, "line", "dim"), text(68, 20, "µs", "dim", "end")]
    parts += [
        line(creator, _TOP, creator, rows["join"]),
        line(creator, rows["join"], creator, rows["cleared"], "sleeps"),
        line(creator, rows["cleared"], creator, end),
        line(kernel, _TOP, kernel, end, "sleeps"),
        line(kernel, rows["clone"], kernel, rows["cleared"]),
        line(thread, rows["born"], thread, rows["exit"]),
    ]
    for at, step in enumerate(steps):
        top, mine = _TOP + _ROW * at, _LANES[step["who"]]
        middle = top + _ROW / 2
        tip = []
        if step["name"] in _CALLS:
            tip.append(arrow(mine, middle, kernel + (4 if mine > kernel else -4)))
        if step["name"] in _RETURNS:
            tip.append(arrow(kernel, middle, mine + (-6 if mine > kernel else 6)))
        us = f"{step['us']:.{step['us'] < 1_000:d}f}"
        drawn = [
            rect(0, top, _WIDTH, _ROW, "hit"),
            text(20, middle + 4, str(step["line"]), "dim", "end"),
            text(68, middle + 4, us, "dim", "end"),  # room for 999,999
            *tip,
            f'<circle cx="{mine}" cy="{middle:g}" r="4.5"/>\n',
            text(_TEXT, middle + 4, step["what"]),
        ]
        parts.append(group(drawn, step=at))
    title = "A thread's life: what its creator, the kernel and the thread do, by time"
    return Figure(title, _WIDTH, end + 8, "".join(parts))


# ---- memory ----------------------------------------------------------------------------------------------------------

#: What each part is.
_ABOUT = {
    "pthread": "the thread's TCB and struct pthread: the thread pointer points at the TCB, glibc at the rest",
    "tls": "the static TLS block: a variable of each __thread declaration, of each module",
    "stack": "the stack: it grows down, towards the guard; a page comes when it is first touched",
    "guard": "the guard: pages without access, where a stack overflow is SIGSEGV",
    "task": "the kernel's task_struct, an LWP: a tid, registers, what it shares with its creator",
    "list": "glibc's list of threads, by which setuid, dlopen, fork and libthread_db find them",
    "word": "the word that the kernel clears when the task has ended: join sleeps on it",
    "tstate": "PyThreadState, the interpreter's record of the thread",
}
_MEMORY, _ELSEWHERE = ("pthread", "tls", "stack", "guard"), ("task", "list", "word", "tstate")

_Effects = dict[str, tuple[str, str | None] | None]  #: a part's state and what it says; None: it is only touched
_ADDRESSES: _Effects = dict.fromkeys(_MEMORY, ("mapped", None))
_EFFECTS: dict[str, _Effects] = {
    "map": _ADDRESSES,
    "reuse": _ADDRESSES | {"guard": ("there", None)},
    "guard": {"guard": ("there", None)},
    "tcb": {"pthread": ("there", None)},
    "list": {"list": ("there", "linked"), "pthread": None},
    "tls": {"tls": ("there", None)},
    "clone": {"task": ("mapped", "being made"), "word": ("there", "1"), "stack": None, "pthread": None},
    "cloned": {"task": ("there", "tid {tid}"), "pthread": None},
    "born": {"task": ("there", "tid {tid}"), "stack": ("there", None)},
    "glibc": {"tls": None},
    "robust": {"task": None, "pthread": None},
    "rseq": {"task": None, "tls": None},
    "unmask": {"task": None},
    "python": {"tstate": ("there", "wants the GIL")},
    "target": {"tstate": ("there", "has the GIL"), "stack": None},
    "returned": {"tstate": ("gone", "deleted")},
    "destructors": {"tls": None},
    "unlist": {"list": ("gone", "off it")},
    "exit": {"task": ("gone", "ended"), "stack": ("mapped", None)},
    "join": {"word": None},
    "cleared": {"word": ("gone", "0")},
    "recycled": _ADDRESSES | {"guard": None},
}


def states_of(facts: dict[str, Any]) -> list[dict[str, tuple[str, str | None, bool]]]:
    """After each step, of each part its state, what it says (None: nothing, ever), and whether the step touches it."""
    now: dict[str, tuple[str, str | None]] = {part: ("absent", None if part in _MEMORY else "") for part in _ABOUT}
    found = []
    for step in facts["steps"]:
        effects = _EFFECTS.get(step["name"], {})
        for part, effect in effects.items():
            if effect:
                state, says = effect
                now[part] = state, now[part][1] if says is None else says.format(tid=facts["tid"])
        found.append({part: (state, says, part in effects) for part, (state, says) in now.items()})
    return found


def _memory(context: dict[str, Any]) -> list[tuple[str, str, tuple[int, int], int]]:
    """Of the parts of the mapping, highest first: name, label, addresses, and pixels."""
    low, high = context["tls_block"]
    tp = context["thread_pointer"]
    pthread, tls = ("TCB, struct pthread", (tp, high)), ("TLS of the modules", (low, tp))
    if platform.machine() != "x86_64":  # see picture()
        pthread, tls = ("struct pthread", (low, tp)), ("TCB, TLS of the modules", (tp, high))
    block = sorted([("pthread", *pthread, 34), ("tls", *tls, 34)], key=lambda part: -part[2][0])
    return [
        *block,
        ("stack", "stack, grows down", tuple(context["stack"]), 64),
        ("guard", "guard", tuple(context["guard"]), 26),
    ]


def memory_figure(facts: dict[str, Any], at: int) -> Figure:
    """The thread's mapping, and what else there is of a thread, after a step."""
    context, states = facts["context"], states_of(facts)[at]
    colours = {"pthread": PARTS["pthread"], "tls": PARTS["module"], "stack": PARTS["used"], "guard": PARTS["guard"]}
    left, wide, y = 112, 220, 30
    parts = [text(left, 13, "high addresses first", "dim")]
    for part, label, (low, high), tall in _memory(context):
        parts.append(text(left - 6, y + 4, f"{high:#x}", "mono dim", "end"))
        if high == context["thread_pointer"]:
            parts += [arrow(left + wide + 40, y, left + wide + 2), text(left + wide + 44, y, "thread")]
            parts.append(text(left + wide + 44, y + 13, "pointer"))
        ink = "inside white" if part == "guard" else "inside"
        drawn = [
            rect(left, y, wide, tall, colour=colours[part]),
            text(left + 8, y + tall / 2 + 4, label, ink),
            text(left + wide - 8, y + tall / 2 + 4, size(high - low), ink, "end"),
        ]
        parts.append(group(drawn, f"part {states[part][0]}", part=part))
        y += tall
    parts.append(text(left - 6, y + 4, f"{context['guard'][0]:#x}", "mono dim", "end"))
    y += 26
    names = {"task": "kernel: task", "list": "glibc: its list", "word": "word for join", "tstate": "PyThreadState"}
    for number, part in enumerate(_ELSEWHERE):
        x = 4 + 111 * number
        state, says, _ = states[part]
        drawn = [
            rect(x, y, 106, 40),
            text(x + 7, y + 16, names[part], "inside"),
            text(x + 7, y + 32, says or "", "says head inside"),
        ]
        parts.append(group(drawn, f"part plain {state}", part=part))
    return Figure(
        "A thread's memory, high addresses first, and what else belongs to it", _WIDTH, y + 46, "".join(parts)
    )


def steps_of(facts: dict[str, Any]) -> Steps:
    """The page's figures."""
    context = facts["context"]
    about = dict(_ABOUT)
    for part, _, (low, high), _ in _memory(context):
        about[part] += f": {low:#x} to {high:#x}, {size(high - low)}"
    about["word"] += f": at {facts['word']['address']:#x}"
    steps = [
        {
            "what": step["what"],
            "why": step["why"],
            "more": f"line {step['line']}, {step['us']:,.1f} µs, {step['who']}: {step['group']}; "
            f"{_STORY}#{_SECTIONS.get(step['name']) or _SECTIONS[step['group']]}",
            "states": states,
        }
        for step, states in zip(facts["steps"], states_of(facts), strict=True)
    ]
    return Steps(life_figure(facts["steps"]), steps, about, memory_figure(facts, 0))
