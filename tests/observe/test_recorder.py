"""A recording that begins in the middle of a program, ends, and begins again; windows of it; the flight recorder."""

from __future__ import annotations

import os
from pathlib import Path

from conftest import Child, run_thread

from runtime import Thread, scheduler
from runtime.observe.trace import State, Timeline, Track, read
from runtime.sync import Event, Lock


def track(timeline: Timeline, name: str) -> Track:
    (found,) = [track for track in timeline.tracks if track.name == name]
    return found


def blocked(found: Track) -> list[str]:
    return [span.what for span in found.spans if span.state is State.BLOCKED]


MIDDLE = ["first", "second", "third"]


def begins_in_the_middle(folder: str) -> None:
    """Three recordings, each begun by another thread, of threads that exist already."""
    import shutil

    from runtime.observe import trace

    file = f"{folder}/records"
    lock, never = Lock(), Event()

    def holds(count: int) -> None:
        for number in range(count):
            with lock:
                held[number].set()
                releases[number].wait()
            done[number].wait()

    def wants(count: int) -> None:
        for number in range(count):
            turns[number].wait()
            with lock:
                pass
            done[number].set()

    def stays() -> None:
        never.wait()

    held, releases, turns, done = ([Event() for _ in range(4)] for _ in range(4))
    holder = Thread(target=holds, args=(4,), name="holds")
    wanter = Thread(target=wants, args=(4,))
    stayer = Thread(target=stays, name="stays", daemon=True)
    for thread in holder, wanter, stayer:
        thread.start()

    while "stays" not in {one.name for one in scheduler.waiting().waits}:
        os.sched_yield()
    for number, name in enumerate(["unrecorded", "first", "second", "third"]):
        held[number].wait()
        turns[number].set()
        while {("holds", "event"), (wanter.name, "lock")} - {(one.name, one.kind) for one in scheduler.waiting().waits}:
            os.sched_yield()
        if name != "unrecorded":
            run_thread(Thread(target=trace.record, args=(file,), name=f"begins {name}"))
        releases[number].set()
        done[number].wait()
        if name != "unrecorded":
            run_thread(Thread(target=trace.stop))
            shutil.copy(file, f"{folder}/{name}")


def test_it_begins_in_the_middle_and_begins_again(child: Child, tmp_path: Path) -> None:
    child(begins_in_the_middle, str(tmp_path))
    for name in MIDDLE:
        found = read(tmp_path / name)
        assert found.finished
        assert not found.damage
        assert {one.name for one in found.tracks} >= {
            "MainThread",
            "holds",
            "stays",
            "Thread-1 (wants)",
            f"begins {name}",
        }
        assert f"begins {name}" not in {
            one.name for other in MIDDLE if other != name for one in read(tmp_path / other).tracks
        }
        wants, holds, stays = (track(found, one) for one in ("Thread-1 (wants)", "holds", "stays"))
        assert [span.state for span in stays.spans] == [State.BLOCKED]
        assert stays.spans[0].site.endswith(" in stays")
        assert stays.end == found.end
        # blocked since before the recording, on what the program has; then on in the same row
        first, second = wants.spans[:2]
        assert (first.state, first.what, first.outcome) == (State.BLOCKED, "Lock lock", "woken")
        assert first.site.endswith(" in wants")
        assert first.woken_by == holds.number
        assert second.state is State.WANTS_GIL
        assert holds.spans[0].what.startswith("Event ")
        assert holds.spans[0].woken_by == track(found, "MainThread").number
        assert [
            arrow.why for arrow in found.arrows if (arrow.source, arrow.target) == (holds.number, wants.number)
        ] == ["wakes"]


def test_a_window_cuts_what_lasts_longer(child: Child, tmp_path: Path) -> None:
    child(begins_in_the_middle, str(tmp_path))
    whole = read(tmp_path / "second")
    wait = track(whole, "Thread-1 (wants)").spans[0]
    since, until = wait.begin + 1000, wait.end - 1000
    assert since < until
    found = read(tmp_path / "second")
    found.cut(since, until)
    assert (found.begin, found.end) == (since, until)
    assert found.begin_unix - whole.begin_unix == since - whole.begin
    (inside,) = track(found, "Thread-1 (wants)").spans
    assert (inside.begin, inside.end, inside.what) == (since, until, "Lock lock")
    assert not track(found, "Thread-1 (wants)").ended
    for one in found.tracks:
        assert since <= one.begin <= one.end <= until
        assert all(since <= span.begin <= span.end <= until for span in [*one.spans, *one.seen])
    assert {one.name for one in found.tracks} < {
        one.name for one in whole.tracks
    }  # the main thread starts others later
    assert inside.woken_by == wait.woken_by
    assert not [arrow for arrow in found.arrows if arrow.then > until or arrow.at < since]
    assert len(found.arrows) < len(whole.arrows)
    later = read(tmp_path / "second")
    later.cut(wait.end + 1, whole.end + 1000)
    assert later.end == whole.end
    assert blocked(track(later, "Thread-1 (wants)")) == blocked(track(whole, "Thread-1 (wants)"))[1:]
