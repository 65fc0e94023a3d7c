"""lwp.observe.following: of a program that runs, batch by batch, what lwp.observe.trace reads at its end."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from commands import ready

from lwp.observe import trace
from lwp.observe.following import Follower

# Goes on by a line each time that a line comes in.
PROGRAM = """\
import queue, sys, threading
from runtime import install, scheduler
from lwp.observe import trace
install()
trace.record("x.records", int(sys.argv[1]))
items, done, lock = queue.Queue(), queue.Queue(), threading.Lock()
def work():
    while (item := items.get()) is not None:
        with lock:
            sum(range(item))
        scheduler.sleep(0.0001)
        done.put(item)
threads = [threading.Thread(target=work) for _ in range(20)]
for thread in threads:
    thread.start()
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(200):
        items.put(1000)
    for _ in range(200):
        done.get()
    brief = [threading.Thread(target=sum, args=([],)) for _ in range(5)]
    for thread in brief:
        thread.start()
    for thread in brief:
        thread.join()
    print("done", flush=True)
for _ in threads:
    items.put(None)
for thread in threads:
    thread.join()
trace.stop()
"""


class Told:
    """What the batches have said, put together as each says it is to be."""

    def __init__(self) -> None:
        self.tracks: dict[int, trace.Track] = {}
        self.spans: dict[int, list[trace.Span]] = defaultdict(list)
        self.seen: dict[int, list[trace.Span]] = defaultdict(list)
        self.arrows: list[trace.Arrow] = []
        self.counts: list[trace.Count] = []
        self.until = 0
        self.ended = False
        self.missed = 0

    def take(self, follower: Follower) -> None:
        batch = follower.take()
        assert batch.until >= self.until
        self.until, self.ended, self.missed = batch.until, batch.ended, batch.missed
        for change in batch.changes:
            number = change.track.number
            self.tracks[number] = change.track
            for kept, new in ((self.spans[number], change.spans), (self.seen[number], change.seen)):
                while new and kept and kept[-1].begin >= new[0].begin:
                    kept.pop()
                kept += new
        self.arrows += batch.arrows
        self.counts += batch.counts


def begin(program: subprocess.Popen[str]) -> None:
    program.stdin.write("\n")
    program.stdin.flush()


def go_on(program: subprocess.Popen[str]) -> None:
    begin(program)
    assert program.stdout.readline() == "done\n"


@pytest.mark.parametrize("late", [0, 5])
def test_the_batches_are_the_whole(tmp_path: Path, late: int) -> None:
    """Also if the program has run before: the first batch is of all that was."""
    told = Told()
    with ready(tmp_path, PROGRAM, "program.py", str(16 << 20)) as program:
        for _ in range(late):
            go_on(program)
        follower = Follower(tmp_path / "x.records")
        for _ in range(10):
            begin(program)
            told.take(follower)
            assert program.stdout.readline() == "done\n"
            told.take(follower)
        program.communicate(timeout=60)
    told.take(follower)
    assert told.ended
    whole = trace.read(tmp_path / "x.records")
    assert whole.finished
    assert set(told.tracks) == {track.number for track in whole.tracks}
    for track in whole.tracks:
        spans = told.spans[track.number]
        if spans and not spans[-1].end:
            spans[-1].end = track.end
        assert len(spans) == len(track.spans)
        for one, other in zip(spans, track.spans, strict=True):
            # What the program calls a primitive may be found out after a batch has told of it.
            assert one == other or (" made at " in one.what and replace(one, what=other.what) == other), track.name
        # How long a look holds is known exactly only when the thread's next record has come.
        looks = [[(one.begin, one.what) for one in seen] for seen in (told.seen[track.number], track.seen)]
        assert looks[0] == looks[1]
        assert (told.tracks[track.number].name, told.tracks[track.number].ended) == (track.name, track.ended)
    assert sorted(map(repr, told.arrows)) == sorted(map(repr, whole.arrows))
    assert told.counts == whole.counts


def test_records_that_are_overwritten_unread_are_counted(tmp_path: Path) -> None:
    told = Told()
    with ready(tmp_path, PROGRAM, "program.py", str(1 << 16)) as program:
        follower = Follower(tmp_path / "x.records")
        told.take(follower)
        assert not told.missed
        for _ in range(10):
            go_on(program)
        told.take(follower)
        assert told.missed > 1000
        program.communicate(timeout=60)
    told.take(follower)
    for spans in told.spans.values():
        assert all(one.end <= other.begin for one, other in pairwise(spans))
