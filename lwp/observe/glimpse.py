"""What could be read of a process whose Python doesn't answer, made into the same data as moment.facts().

The process has written it without the GIL: lwp/native/python/observe/asked.c.
"""

from __future__ import annotations

import time
from typing import Any

from ..reading.rings import rings
from .crowds import Crowds


def _name(tid: int | None, ident: int, pid: int) -> str:
    return "MainThread" if tid == pid else f"LWP {tid}" if tid else f"ident {ident}"


_GONE = "a thread that has ended"  # its name is known to Python alone


def dump_of(seen: dict[str, Any], pid: int) -> dict[str, Any]:
    """The dump; its threads have no names, and their primitives only types."""
    idents = {serial: ident for ident, _, serial, *_ in seen["lwps"] if serial}
    waits = {
        ident: (kind, address, idents.get(serial), _GONE if serial and serial not in idents else "", *times)
        for ident, _, _, *wait in seen["lwps"]
        if wait
        for kind, address, serial, *times in [wait]
    }
    tids = {ident: tid for ident, tid, *_ in seen["threads"] + seen["lwps"]}
    names = {ident: _name(tid, ident, pid) for ident, tid in tids.items()}

    def thing(ident: int) -> str:
        kind, address, holder, gone, *_ = waits[ident]
        by = f" held by {names[holder]!r}" if holder else f" held by {gone}" if gone else ""
        return f"{kind} at {address:#x}{by}"

    def wait_of(ident: int) -> dict[str, Any] | None:
        if ident not in waits:
            return None
        kind, address, holder, gone, since, deadline = waits[ident]
        by = {"holder": names[holder] if holder else gone or None, "holder_ident": holder, "taken": ""}
        told = {"kind": kind, "for": thing(ident), "called": "", "address": address}
        return {**told, **by, "since": since, "deadline": deadline}

    found = Crowds()
    for ident, _, stack in seen["threads"]:
        tid = tids[ident]
        if tid == seen["own"]:  # it wants the GIL, to answer
            continue
        call = seen["tasks"].get(str(tid), "no system call")
        wait = wait_of(ident)
        state = "waits" if wait else "runs" if call == "no system call" else call if " " in call else f"in {call}"
        if ident == seen["holder"]:
            state += ", has the GIL or had it last"
        key = (state, str(stack), wait and wait["for"])
        if key not in found:
            said = {"state": state, "since": None, "wait": wait, "stack": stack}
            found.begin(key, {**said, "group": "", "groups": (), "cancelled": ""})
        thread = {"name": names[ident], "tid": tid, "ident": ident, "placed": ""}
        found.join(key, thread, wait["address"] if wait else 0, wait["since"] if wait else 0)
    crowds = found.all()
    circles = []
    for ring in rings({ident: holder for ident, (_, _, holder, *_) in waits.items()}):
        text = ", ".join(f"{names[ident]!r} waits for {thing(ident)}" for ident in ring)
        certain = all(waits[ident][5] is None for ident in ring)
        told = {"deadlock": certain, "text": text, "threads": [names[ident] for ident in ring], "tasks": []}
        circles.append({**told, "idents": list(ring)})
    return {
        "pid": pid,
        "without": seen["without"],
        "threads": sum(len(crowd["threads"]) for crowd in crowds),
        "green": 0,
        "now": time.monotonic(),
        "circles": circles,
        "crowds": crowds,
        "why_no_tasks": "",
        **{of: [] for of in ("pools", "lost", "tasks", "without_python", "schedulers", "cancellations")},
    }
