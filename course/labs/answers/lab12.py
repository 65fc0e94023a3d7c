"""Lab 12: what `lwp dump` and `lwp locks` say, as --json."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any


def asked(*command: object) -> Any:
    """The status says whether there is a deadlock; what is asked for comes anyway."""
    words = [sys.executable, "-m", "runtime", *map(str, command), "--json"]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=False).stdout)


def stuck(pid: int) -> set[str]:
    dump = asked("dump", pid)
    found = {name for circle in dump["circles"] if circle["deadlock"] for name in circle["threads"]}
    waits = [crowd for crowd in dump["crowds"] if crowd["wait"] and crowd["wait"]["deadline"] is None]
    while True:
        more = {
            thread["name"] for crowd in waits if crowd["wait"]["holder"] in found for thread in crowd["threads"]
        } - found
        if not more:
            return found
        found |= more


def slow(pid: int) -> tuple[str, str]:
    locks = [lock for lock in asked("locks", pid, "--seconds", 2)["locks"] if lock["holds"]]
    most = max(locks, key=lambda lock: float(lock["waits"]["seconds"]))
    return most["name"], most["holds"]["longest_since"].partition(" in ")[2]


def sleeping(pid: int) -> dict[tuple[str, float], int]:
    """How many threads wait for an event without a timeout; by the event, and since when the first of them does."""
    waits = [(crowd["wait"], crowd["threads"]) for crowd in asked("dump", pid)["crowds"] if crowd["wait"]]
    return {
        (wait["called"], wait["since"]): len(threads)
        for wait, threads in waits
        if wait["kind"] == "event" and wait["deadline"] is None
    }


def forgotten(pid: int) -> tuple[str, int]:
    """An event that is set now and then lets its waiters go in between."""
    before = sleeping(pid)
    time.sleep(1)
    after = sleeping(pid)
    ((name, since),) = before.keys() & after.keys()
    return name, after[name, since]
