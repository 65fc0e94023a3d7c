"""`run --trace` and `trace`: the timeline of a program whose story is known, and the rules of the format."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browsing import browser, in_browser
from commands import ready
from conftest import Environment, lwp, needs_gil, refusal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lwp.observe import trace
from lwp.observe.commands.trace import _layout, _page, _perfetto

Event = dict[str, Any]
HAS_HAD_THE_GIL = ("running Python", "in no wait that lwp sees")


@dataclass
class Trace:
    """A file in Chrome's format, checked against the format's rules."""

    events: list[Event]
    about: dict[str, Any]

    @classmethod
    def load(cls, file: Path) -> Trace:
        whole = json.loads(file.read_text().replace(f"{file.parent}/", ""))
        found = cls(whole["traceEvents"], whole["otherData"])
        found.check()
        return found

    def check(self) -> None:
        threads = {event["tid"] for event in self.named("thread_name")}
        assert len(self.named("process_name")) == 1
        assert len({event["pid"] for event in self.events}) == 1
        assert len(threads) == len(self.named("thread_name"))
        kinds = Counter(event["ph"] for event in self.events)
        assert set(kinds) <= set("MXCsf")
        stacks: dict[int, list[float]] = defaultdict(list)  # of each track: the ends of what is open
        latest: dict[tuple[str, int], float] = {}
        for event in self.events:
            if event["ph"] == "M":
                continue
            assert event["ts"] >= 0
            if event["ph"] == "X":
                assert event["tid"] in threads
                assert event["dur"] >= 0
                key, end = ("X", event["tid"]), event["ts"] + event["dur"]
                open_spans = stacks[event["tid"]]
                while open_spans and open_spans[-1] <= event["ts"] + 1e-4:
                    open_spans.pop()
                assert not open_spans or end <= open_spans[-1] + 1e-4, f"{event} is not within what it began in"
                open_spans.append(end)
            elif event["ph"] == "C":
                key = (event["name"], 0)
            else:
                assert event["tid"] in threads
                continue
            assert event["ts"] >= latest.get(key, 0), f"{event} comes before its predecessor"
            latest[key] = event["ts"]
        self.check_arrows()

    def check_arrows(self) -> None:
        ends: dict[int, list[Event]] = defaultdict(list)
        for event in self.events:
            if event["ph"] in "sf":
                ends[event["id"]].append(event)
        for begin, end in ends.values():
            assert (begin["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
            assert begin["name"] == end["name"]
            assert begin["ts"] <= end["ts"]
            for event in (begin, end):  # it hangs on what it lies in
                assert any(
                    span["ts"] <= event["ts"] <= span["ts"] + span["dur"]
                    for span in self.events
                    if span["ph"] == "X" and span["tid"] == event["tid"]
                )

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event["name"] == name]

    def tid(self, thread: str) -> int:
        (tid,) = (event["tid"] for event in self.named("thread_name") if event["args"]["name"] == thread)
        assert isinstance(tid, int)
        return tid

    def spans(self, thread: str) -> list[Event]:
        tid = self.tid(thread)
        return [
            event for event in self.events if event["ph"] == "X" and event["tid"] == tid and event["name"] != "life"
        ]

    def arrows(self, why: str, source: str, target: str) -> list[tuple[Event, Event]]:
        """The two ends of each arrow from one thread to another."""
        starts = {event["id"]: event for event in self.named(why) if event["ph"] == "s"}
        ends = [(starts[event["id"]], event) for event in self.named(why) if event["ph"] == "f"]
        wanted = self.tid(source), self.tid(target)
        return [pair for pair in ends if (pair[0]["tid"], pair[1]["tid"]) == wanted]


def trace_of(folder: Path, source: str, *options: str, status: int = 0) -> Trace:
    (folder / "program.py").write_text(source)
    lwp("run", "--trace", "trace.json", *options, "program.py", cwd=folder, status=status)
    assert not list(folder.glob("*.records"))
    return Trace.load(folder / "trace.json")


Traced = Callable[..., Trace]


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return partial(trace_of, tmp_path)


#: Begins the first line of a program that records into FILE.records itself, with room for some two thousand records.
RECORDS_LITTLE = "import runtime; runtime.observe.trace.record('{}.records', 64 << 10); "


@pytest.fixture
def traced_little(tmp_path: Path) -> Traced:
    """What the latest records of a program hold."""

    def trace(source: str) -> Trace:
        lwp("run", "-c", RECORDS_LITTLE.format("trace.json") + source, cwd=tmp_path)
        lwp("trace", "trace.json.records", "trace.json", cwd=tmp_path)
        return Trace.load(tmp_path / "trace.json")

    return trace


# asleep(): in a futex call that is private and has no timeout: who waits for the GIL has one.
# joins(): the main thread is in one that is shared.
ASLEEP = """\
import os, threading
def asleep(thread):
    while True:
        call = open(f"/proc/self/task/{thread.native_id}/syscall").read().split()
        if call[0] in ("202", "98") and int(call[2], 16) == 9 | 128 and int(call[4], 16) == 0:
            break
def joins():
    call = open(f"/proc/self/task/{os.getpid()}/syscall").read().split()
    return call[0] in ("202", "98") and int(call[2], 16) == 9
"""

STORY = f"""\
{ASLEEP}
event = threading.Event()
lock = threading.Lock()
condition = threading.Condition()
def waits_for_event():
    event.wait()
def waits_for_lock():
    with lock:
        pass
def waits_for_condition():
    with condition:
        condition.wait()
def wakes():
    asleep(threads[0])
    event.set()
    with lock:
        threads[1].start()
        asleep(threads[1])
    asleep(threads[2])
    with condition:
        condition.notify()
    while not joins(): # the main thread, this one
        pass
threads = [
    threading.Thread(target=target, name=target.__name__)
    for target in (waits_for_event, waits_for_lock, waits_for_condition, wakes)
]
for thread in threads[0], threads[2], threads[3]:
    thread.start()
for thread in threads[3], threads[0], threads[1], threads[2]:
    thread.join()
threading.Event().wait(0.001)
"""


def place(text: str, function: str) -> str:
    """The story's first line with this text, as the trace names it."""
    number = next(number for number, line in enumerate(STORY.splitlines(), 1) if line.strip().startswith(text))
    return f"program.py:{number} in {function}"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return trace_of(tmp_path_factory.mktemp("story"), STORY)


@pytest.mark.parametrize(
    ("what", "waits"), [("event", "event.wait"), ("lock", "with lock"), ("condition", "condition.w")]
)
def test_blocked_on_a_primitive_and_woken(story: Trace, what: str, waits: str) -> None:
    thread = f"waits_for_{what}"
    (blocked,) = (span for span in story.spans(thread) if span["name"] == f"blocked: {what.title()} {what}")
    assert blocked["args"] == {
        "made": place(f"{what} =", "<module>"),
        "waits at": place(waits, thread),
        "outcome": "woken",
        "woken by": f"wakes ({story.tid('wakes')})",
    }
    ((begin, end),) = story.arrows("wakes", "wakes", thread)
    assert blocked["ts"] <= begin["ts"] <= end["ts"]
    assert end["ts"] == pytest.approx(blocked["ts"] + blocked["dur"], abs=0.01)
    # and then it wants the GIL, and has it
    after = story.spans(thread)[story.spans(thread).index(blocked) + 1 :]
    assert after[0]["name"] == "waiting for the GIL"
    assert after[1]["name"] in HAS_HAD_THE_GIL


def test_a_life(story: Trace) -> None:
    names = [span["name"] for span in story.spans("waits_for_lock")]
    assert names[:2] == ["starting", "waiting for the GIL"]
    assert names[2] in HAS_HAD_THE_GIL
    assert names[-1] == "ending"
    assert len(story.arrows("starts", "wakes", "waits_for_lock")) == 1
    assert len(story.arrows("starts", "MainThread", "wakes")) == 1


def test_joins_and_timeouts(story: Trace) -> None:
    spans = story.spans("MainThread")
    (joined,) = (span for span in spans if span["name"] == "blocked: end of thread wakes")
    assert joined["args"]["woken by"].startswith("wakes")
    assert len(story.arrows("ends", "wakes", "MainThread")) == 1
    late = [span for span in spans if span["args"].get("outcome") == "timed out"]
    assert [span["args"]["waits at"] for span in late] == [place("threading.Event().wait", "<module>")]


@pytest.mark.parametrize("options", [(), ("--green",)], ids=["LWPs", "green"])
def test_sleeps_and_waits_for_files_say_what_they_are(options: tuple[str, ...], traced: Traced) -> None:
    program = """
import socket, threading
from runtime import scheduler
here, there = socket.socketpair()
receives = threading.Thread(target=here.recv, args=(1,), name='receives')
sleeps = threading.Thread(target=scheduler.sleep, args=(0.01,), name='sleeps')
receives.start(); sleeps.start(); sleeps.join()
there.send(b'x')
receives.join()
"""
    found = traced(program, *options)
    (sleep,) = [span for span in found.spans("sleeps") if span["name"].startswith("blocked")]
    assert sleep["name"] == "blocked: sleep"
    # The span may be shorter: sleep() looks at the clock first, and its thread may be preempted before the record.
    (life,) = [event for event in found.named("life") if event["tid"] == found.tid("sleeps")]
    assert life["ts"] < sleep["ts"]
    assert sleep["ts"] + sleep["dur"] - life["ts"] >= 10_000
    assert sleep["args"]["outcome"] == "ended"
    if options:
        assert "blocked: socket" in [span["name"] for span in found.spans("receives")]


def test_nothing_is_missing_of_a_short_program(story: Trace) -> None:
    assert story.about["program"] == "program.py"
    assert story.about["ended in order"] is True
    assert story.about["records overwritten"] == story.about["records lost"] == story.about["names lost"] == 0
    lives = story.named("life")
    assert len(lives) == 5
    assert [life["tid"] for life in lives if not life["args"]["ended"]] == [story.tid("MainThread")]


def test_recording_loads_three_small_modules(tmp_path: Path) -> None:
    """What makes a timeline of the records is loaded by another process, at the end."""
    command = ("-c", "import sys; print(*sys.modules)")
    plain, traced = (
        set(lwp("run", *options, *command, cwd=tmp_path).stdout.split()) for options in ([], ["--trace", "trace.json"])
    )
    loaded = ("observe.commands._trace", "observe.recording", "reading.sites")
    assert traced - plain == {f"_lwp_lwp.{name}" for name in loaded}


def test_unrecorded_events_take_no_memory(tmp_path: Path) -> None:
    maps = lwp("run", "--trace", "x.json", "-c", "print(open('/proc/self/smaps').read())", cwd=tmp_path).stdout
    found = re.search(r"x.json.records\nSize: +(\d+) kB\n.*?Rss: +(\d+) kB", maps, re.DOTALL)
    assert found
    mapped, resident = map(int, found.groups())
    assert mapped > 16 * 1024
    assert 0 < resident <= 256


SEEN = """
from pathlib import Path
from lwp.observe.trace import read
def seen(name, what):
    found = read(Path("trace.json.records"))
    return any(span.what == what for track in found.tracks if track.name == name for span in track.seen)
"""


def test_seen_in_a_system_call(traced: Traced) -> None:
    """What says nothing of itself is looked at; the program waits until it was."""
    found = traced(f"""
import socket, threading
here, there = socket.socketpair()
thread = threading.Thread(target=here.recv, args=(1,), name='receives')
{SEEN}thread.start()
while not seen('receives', 'recvfrom'): pass
there.send(b'x')
thread.join()
""")
    assert "recvfrom (seen)" in [span["name"] for span in found.spans("receives")]


@needs_gil("nobody waits for it")
def test_seen_waiting_for_the_gil(traced: Traced) -> None:
    found = traced(f"""
import threading
stop = False
def compute():
    while not stop: pass
thread = threading.Thread(target=compute, name='computes')
{SEEN}thread.start()
while not seen('computes', 'waiting for the GIL'): pass
stop = True
thread.join()
""")
    assert "waiting for the GIL (seen)" in [span["name"] for span in found.spans("computes")]
    alive = [event["args"]["alive"] for event in found.named("threads")]
    assert alive
    assert set(alive) <= {0, 1}
    assert all(event["args"]["resident MiB"] > 1 for event in found.named("memory"))


def test_the_sampler_takes_no_descriptor(traced: Traced) -> None:
    """Its table of descriptors is its own: the program's next open() gets the number that it would have got."""
    found = traced("""
import contextlib, os, threading
free = os.open('/dev/null', os.O_RDONLY)
os.close(free)
thread = threading.Thread(target=print)
thread.start()
thread.join()
def files_of_sampler():
    for tid in os.listdir('/proc/self/task'):
        if open(f'/proc/self/task/{tid}/comm').read() == 'lwp-trace\\n':
            folder = f'/proc/self/task/{tid}/fd'
            with contextlib.suppress(OSError): # it has just closed one
                return {os.path.basename(os.readlink(f'{folder}/{fd}')) for fd in os.listdir(folder)}
# what it has of the program's at first it closes; the main thread is the only one that it looks at
while files_of_sampler() != {'statm', 'syscall'}: pass
assert os.open('/dev/null', os.O_RDONLY) == free
""")
    assert found.named("memory")


def test_killed(tmp_path: Path) -> None:
    source = f"""{ASLEEP}
thread = threading.Thread(target=threading.Event().wait, name='blocked')
thread.start()
asleep(thread)
os.kill(os.getpid(), 9)
"""
    lwp("run", "--trace", "trace.json", "-c", source, cwd=tmp_path, status=-signal.SIGKILL)
    assert not (tmp_path / "trace.json").exists()
    done = lwp("trace", "trace.json.records", "trace.json", cwd=tmp_path)
    assert "did not end in order" in done.stderr
    found = Trace.load(tmp_path / "trace.json")
    assert found.about["ended in order"] is False
    last = found.spans("blocked")[-1]
    assert last["name"].startswith("blocked: Event")
    assert last["args"]["outcome"] == "still blocked at the end of the record"


def test_a_program_that_still_runs(tmp_path: Path) -> None:
    command = ("-m", "runtime", "run", "--trace", "trace.json", "program.py")
    with ready(tmp_path, "print('ready', flush=True)\ninput()\n", *command) as process:
        said = lwp("trace", "trace.json.records", "so_far.json", cwd=tmp_path).stderr
    assert f"; still runs (pid {process.pid}) (open it at ui.perfetto.dev)\n" in said
    assert "in order" not in said


def test_only_a_thread_known_to_run_is_shown_as_running(traced: Traced) -> None:
    source = """
import resource, threading, time
def sleeps(): return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
def pause():
    threading.Event().wait(0.001)  # its records are the ends of what comes before and after
def compute():
    end = time.thread_time() + 0.02
    while time.thread_time() < end: pass
def sleep():
    before = sleeps()
    while sleeps() == before:  # on a busy machine the time may be up before the kernel looks at it: then nobody slept
        time.sleep(0.003)  # shorter than what is looked for
for what in compute, sleep:
    pause()
    what()
pause()
"""
    found = traced(source)
    spans = found.spans("MainThread")
    computes, sleeps = [span for span in spans if span["name"] in HAS_HAD_THE_GIL][1:3]
    assert (computes["name"], sleeps["name"]) == HAS_HAD_THE_GIL, spans
    assert computes["dur"] >= 20_000
    assert sleeps["dur"] >= 3_000


def test_threads_that_compute_in_turns_are_not_known_to_run(traced: Traced) -> None:
    """Never two threads at once: the GIL forbids it."""
    found = traced("""
import threading, time
def compute():
    for _ in range(5):
        end = time.thread_time() + 0.02
        while time.thread_time() < end: pass
        threading.Event().wait(0.001)
threads = [threading.Thread(target=compute) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""")
    running = sorted((e["ts"], e["ts"] + e["dur"]) for e in found.named("running Python"))
    assert all(end <= begin + 1e-3 for (_, end), (begin, _) in pairwise(running))
    assert found.named("in no wait that lwp sees")


# ---- pictures --------------------------------------------------------------------------------------------------------


def timeline(*lives: tuple[int, int], length: int = 1000, name: str = "Thread-{} (work)") -> trace.Timeline:
    """Of threads with these begins and ends, each BLOCKED all the time."""
    found = trace.Timeline(1, "program", 0, length, 0, True, 0, 0, 0, 0)
    for number, (begin, end) in enumerate(lives, 1):
        span = trace.Span(trace.State.BLOCKED, begin, end, "something")
        found.tracks.append(
            trace.Track(number, 100 + number, name.format(number), begin, end, ended=True, spans=[span])
        )
    return found


def test_the_beginnings_of_threads_are_one_row_of_the_table() -> None:
    found = timeline((0, 100), (0, 200), (0, 300))
    for number, track in enumerate(found.tracks[:2]):
        track.spans[0].what = f"begin of thread Thread-{number} (work)"
    rows = _page._data(found)["waits"]["rows"]
    assert [(name, count) for name, _, count, *_ in rows] == [("begin of a thread", 2), ("something", 1)]


def test_short_threads_that_do_not_overlap_share_rows() -> None:
    found = timeline((0, 1000), (0, 50), (20, 70), (60, 110), (111, 161), (300, 800))
    assert [[track.number for track in row.tracks] for row in _layout.rows(found)] == [[1], [2, 4, 5], [3], [6]]


def test_names_of_rows() -> None:
    found = timeline(*((at, at + 50) for at in range(0, 1000, 100)))
    (row,) = _layout.rows(found)
    names = _layout.thread_names(found)
    assert _layout.label(row, names) == "10 threads: work"
    names[3] = "another"
    assert _layout.label(row, names) == "10 threads: work …"
    assert _layout.label(_layout.Row(row.tracks[:1], False), names) == "Thread-1 (work)"
    assert (_layout.cut("x" * 30, 30), _layout.cut("x" * 31, 30)) == ("x" * 30, "x" * 29 + "…")


def test_each_colour_is_in_the_legend() -> None:
    assert {colour for _, colour in _layout.LEGEND} == set(_layout.COLOURS.values()) == set(_page.LOOK["colours"])


# ---- the page --------------------------------------------------------------------------------------------------------


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def test_a_page_has_everything(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(STORY.replace("name=target.__name__", 'name=target.__name__ + "</script>"'))
    said = lwp("run", "--trace", "picture.html", "program.py", cwd=tmp_path).stderr
    assert "perfetto" not in said
    page = (tmp_path / "picture.html").read_text()
    assert not re.search(r"""(src|href) *=|url\(|fetch\(|import |https?://""", page)  # it needs no network
    data = data_of(page)
    names = {int(number): track["name"] for number, track in data["tracks"].items()}
    targets = ("waits_for_condition", "waits_for_event", "waits_for_lock", "wakes")
    assert sorted(names.values()) == ["MainThread", *(f"{name}</script>" for name in targets)]
    assert sorted(at for row in data["rows"] for at in row["tracks"]) == sorted(names)
    arrows = [data["arrows"][at : at + 5] for at in range(0, len(data["arrows"]), 5)]
    causes = {(names[source], why) for why, source, _, _, _ in arrows}
    assert causes >= {("MainThread", "starts"), ("wakes</script>", "wakes")}
    for track in data["tracks"].values():
        assert len(track["spans"]) % 5 == 0
        assert max(track["spans"][0::5]) < len(data["colours"])
        assert max(track["spans"][3::5]) < len(data["texts"])


def test_an_installed_package_makes_a_page(tmp_path: Path, installed: Environment) -> None:
    done = installed.run("-m", "runtime", "run", "--trace", "x.html", "-c", "print(1)", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert data_of((tmp_path / "x.html").read_text())["tracks"]


# What a user does, and what has become of the view.
@in_browser
@pytest.mark.slow
def test_a_page_zooms_and_pans(tmp_path: Path) -> None:
    source = """
const box = stage.getBoundingClientRect(), seen = {};
function note(name) { seen[name] = [view.begin, view.end, view.top]; all(); }
function send(kind, what, more) {
  const place = { clientX: box.left + 700, clientY: box.top + 30 };
  stage.dispatchEvent(new what(kind, { bubbles: true, cancelable: true, ...place, ...more }));
}
stage.setPointerCapture = () => {};  // no finger is really there
const wheel = more => send("wheel", WheelEvent, more);
const finger = (kind, more) => send(kind, PointerEvent, { pointerId: 1, ...more });
const key = name => document.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
note("all");
seen.pointed = ns(700);
wheel({ deltaY: -500 });
seen.pointed_after = ns(700);
note("wheel");
wheel({ deltaY: 500 });
note("wheel out of all");
wheel({ deltaY: -500 }); wheel({ deltaX: 100 });
note("wheel to the side");
wheel({ deltaY: -500 });
finger("pointerdown"); finger("pointermove", { clientX: box.left + 800 }); finger("pointerup");
note("drag");
finger("pointerdown"); finger("pointerdown", { pointerId: 2, clientX: box.left + 800 });
finger("pointermove", { pointerId: 2, clientX: box.left + 1000 });
finger("pointerup"); finger("pointerup", { pointerId: 2 });
note("pinch");
key("+");
note("key +");
key("+"); key("ArrowRight");
note("key to the right");
send("dblclick", MouseEvent);
note("double click");
key("+"); key("0");
note("key 0");
finger("pointermove");
seen.tip = tip.textContent;
seen.shown = tip.style.display;
return seen;
"""
    found = timeline((0, 1_000_000), (0, 500_000), length=1_000_000)
    with open(tmp_path / "page.html", "w") as out:
        _page.write(found, out)
    with browser(1400, 600) as driver:
        driver.get(f"file://{tmp_path}/page.html")
        seen = driver.execute_script(source)
    lengths = {name: view[1] - view[0] for name, view in seen.items() if isinstance(view, list)}
    begins = {name: view[0] for name, view in seen.items() if isinstance(view, list)}
    assert seen["all"] == seen["key 0"] == [0, 1_000_000, 0]
    assert 300_000 < lengths["wheel"] < 400_000  # e**-1
    assert seen["pointed"] == pytest.approx(seen["pointed_after"])
    assert 1_000_000 < lengths["wheel out of all"] <= 1_020_000
    assert lengths["wheel to the side"] == pytest.approx(lengths["wheel"])
    assert begins["wheel to the side"] > begins["wheel"] + 10_000
    assert lengths["drag"] == pytest.approx(lengths["wheel"])
    assert begins["drag"] < begins["wheel"] - 10_000
    assert lengths["pinch"] == pytest.approx(1_000_000 / 3, rel=0.01)
    assert lengths["key +"] == pytest.approx(1_000_000 / 1.5)
    assert begins["key to the right"] > begins["key +"] + 10_000
    assert lengths["double click"] == pytest.approx(1_020_000)
    assert seen["tip"] == "Thread-1 (work) blocked: something\n1.000 ms"
    assert seen["shown"] == "block"


@pytest.mark.loads
def test_perfetto_reads_it(traced: Traced, tmp_path: Path) -> None:
    platform = pytest.importorskip("perfetto.trace_processor.platform")
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    try:
        binary = platform.PlatformDelegate().get_shell_path(None)
    except Exception as error:  # whatever its own downloading raises
        pytest.skip(f"perfetto's trace_processor is not to be had: {error}")
    found = traced(STORY)
    with TraceProcessor(str(tmp_path / "trace.json"), config=TraceProcessorConfig(bin_path=binary)) as processor:
        slices = next(iter(processor.query("select count(*) as n from slice"))).n
        arrows = next(iter(processor.query("select count(*) as n from flow"))).n
        errors = next(iter(processor.query("select sum(value) as n from stats where severity = 'error'"))).n
    assert slices == sum(event["ph"] == "X" for event in found.events)
    assert arrows == sum(event["ph"] == "s" for event in found.events)
    assert not errors


@pytest.mark.slow
def test_bounded(traced_little: Traced) -> None:
    """A million waits in 64 KiB of records: the latest are there, the others counted, no memory is used."""
    found = traced_little("""
import threading, re
def resident():
    return int(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1])
taken = threading.Semaphore(0)
given = threading.Semaphore(0)
rounds = 500_000
def other():
    for _ in range(rounds):
        taken.acquire()
        given.release()
thread = threading.Thread(target=other, name='other')
thread.start()
before = resident()
for _ in range(rounds):
    taken.release()
    given.acquire()
assert resident() < before + 1024, f'{resident() - before} KiB more'
thread.join()
""")
    assert found.about["records"] <= 64 * 1024 // 32
    assert found.about["records overwritten"] > 1_000_000
    assert found.tid("other")
    assert [life["args"]["its first records are lost"] for life in found.named("life")] == [True, True]


def test_more_threads_than_chunks(traced_little: Traced) -> None:
    """What finds no room is counted, and the program goes on."""
    found = traced_little("""
import threading
event = threading.Event()
threads = [threading.Thread(target=event.wait) for _ in range(200)]
for thread in threads: thread.start()
event.set()
for thread in threads: thread.join()
""")
    assert found.about["records lost"] > 0


def test_names(traced: Traced) -> None:
    found = traced("""
import _thread, threading
class Derived(threading.Thread): pass
class Called(threading.Thread):
    name = property(lambda self: 'what it says')
def work(): pass
class Callable:
    def __call__(self): pass
asked = threading.Thread(target=work)
assert asked.name == 'Thread-1 (work)'
given = threading.Thread(target=work)
given.name = 'given'
threads = [asked, given, threading.Thread(target=work), threading.Thread(target=Callable())]
threads += [threading.Thread(), threading.Thread(name='first'), Derived(target=work), Derived(), Called()]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert [threads[2].name, threads[3].name, threads[4].name] == ['Thread-3 (work)', 'Thread-4', 'Thread-5']
ended = threading.Event()
_thread.start_new_thread(ended.set, ())
ended.wait()
""")
    names = [event["args"]["name"] for event in found.named("thread_name")]
    assert names[:6] == ["MainThread", "Thread-1 (work)", "given", "Thread-3 (work)", "Thread-4", "Thread-5"]
    assert names[6:] == ["first", "Thread-6 (work)", "Thread-7", "what it says", "Event.set"]


@pytest.mark.slow
def test_names_take_no_room_for_each_thread(traced: Traced) -> None:
    """Those that threading gives by default: there is half a megabyte for texts."""
    found = traced("""
import threading
def work(): pass
work.__name__ = 500 * 'x'
for _ in range(1500):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
""")
    assert found.about["names lost"] == 0
    assert found.tid(f"Thread-1500 ({500 * 'x'})")


def test_code_that_runs_as_the_record_drops_code_is_recorded(traced: Traced) -> None:
    """It knows code objects by address and so keeps them; the end of one calls the program back."""
    assert traced("""
import threading, weakref
gone = []
def call_back(_):
    gone.append(threading.Event())
kept = []
for number in range(3000):
    names = {'threading': threading}
    exec('def make(): threading.Event()', names)
    kept.append(weakref.ref(names['make'].__code__, call_back))
    names['make']()
assert len(gone) > 1000
""")


def test_exit_status_and_exception_are_the_programs(traced: Traced) -> None:
    assert traced("raise SystemExit(3)\n", status=3)
    assert traced("1/0\n", status=1)
    assert traced("import signal\nsignal.raise_signal(signal.SIGINT)\n", status=-signal.SIGINT)
    traced("import signal\nsignal.raise_signal(signal.SIGINT)\n", "--last", "5", status=-signal.SIGINT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trace", "x.svg"), "Name it .html"),
        (("--trace", "missing/x.json"), "there is no folder missing"),
        (("--last", "5"), "--last is for --trace"),
        (("--trace", "x.json", "--last", "0"), "a number of seconds from 0.1"),
    ],
)
def test_bad_options(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    assert message in refusal(lwp("run", *options, "-c", "print('ran')", cwd=tmp_path, status=2))


# ---- files that are damaged, or something else -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a program has left that did not end in order: threads that start, wait, wake each other and end."""
    folder = tmp_path_factory.mktemp("left")
    program = f"{STORY}\nfor _ in range(100): threading.Event().wait(0.00001)\nos._exit(0)\n"
    lwp("run", "-c", RECORDS_LITTLE.format("x.json") + program, cwd=folder)
    return (folder / "x.json.records").read_bytes()


CHUNKS = 4096 + 512 * 1024  # where they begin


def test_other_files_are_refused(tmp_path: Path, left: bytes) -> None:
    for content, says in (
        (b"", "is not a file of trace records: it is empty"),
        (bytes(10_000), r"is not a file of trace records: at byte 0 stands b'\\x00"),
        (Path(sys.executable).read_bytes(), r"is not a file of trace records: at byte 0 stands b'\\x7fELF"),
        (left[:1000], "is not a whole file of trace records: at byte 1,000 it ends, within its header"),
        (left[:8] + b"\6" + left[9:], "was recorded by another version of the runtime: at byte 8 stands 6, and here"),
        (left[:12] + bytes(4) + left[16:], "is damaged: at byte 12 stands that chunks have 0 bytes, and records 32"),
    ):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(ValueError, match=says):
            trace.read(tmp_path / "other")
        refusal(lwp("trace", "other", "x.json", cwd=tmp_path, status=2))
        assert not (tmp_path / "x.json").exists()
    with pytest.raises(IsADirectoryError):
        trace.read(tmp_path)
    refusal(lwp("trace", ".", "x.json", cwd=tmp_path, status=2))


def test_what_stands_before_the_damage_is_shown(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "left").write_bytes(left)
    whole = trace.read(str(tmp_path / "left"))
    assert not whole.damage
    (tmp_path / "left").write_bytes(left[: CHUNKS + 5 * 512 + 100])  # 5 chunks of 15 records, and a part
    (tmp_path / "damaged").write_bytes(left[: CHUNKS + 512 + 32] + bytes(32) + left[CHUNKS + 512 + 64 :])
    for name, says in (
        ("left", f"at byte {CHUNKS + 2660:,} is its end, which by its header is at byte {len(left):,}"),
        ("damaged", f"at byte {CHUNKS + 512 + 32:,} is a record of the unknown kind 0"),
    ):
        found = trace.read(tmp_path / name)
        assert found.damage == says
        assert found.tracks
        assert 0 < found.records < whole.records
        assert found.summary().endswith(f"; damaged, and only partly read: {says}")
        done = lwp("trace", name, "x.json", cwd=tmp_path, status=1)
        assert done.stderr == f"x.json: {found.summary()} (open it at ui.perfetto.dev)\n"
        assert Trace.load(tmp_path / "x.json").about["damage"] == says


PLACES = st.integers(0, 111) | st.integers(4096, 6000) | st.integers(CHUNKS, CHUNKS + 64 * 1024 - 8)
WORDS = st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]) | st.integers(0, 2**64 - 1)


@settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    words=st.lists(st.tuples(PLACES, st.sampled_from([1, 2, 4, 8]), WORDS), max_size=6),
    end=st.none() | st.integers(0, 600_000),
)
def test_any_damage_gives_a_timeline_or_a_sentence(
    words: list[tuple[int, int, int]], end: int | None, left: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes that are lost or changed, also those that say how many follow."""
    damaged = bytearray(left)
    for at, size, word in words:
        damaged[at : at + size] = (word % (1 << 8 * size)).to_bytes(size, "little")
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged[:end])
    try:
        found = trace.read(path)
    except ValueError as error:
        said = str(error)
        assert said.startswith(f"{path} ")
        assert "\n" not in said
        return
    assert found.records <= len(left) // 32
    for write in (_page.write, _perfetto.write):
        out = io.StringIO()
        write(found, out)
        assert out.tell() < 10_000_000
