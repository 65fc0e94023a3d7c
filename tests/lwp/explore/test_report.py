"""What a find looks like: the text says on one screen who did what, who waits for whom, and how to see it again."""

from __future__ import annotations

import html
import inspect
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from queue import Queue

import pytest
from conftest import run_thread, run_threads
from corpus import together
from explored import in_the_tree  # noqa: F401 - all tests run there

import runtime
from lwp.explore import Outcome, Result

pytestmark = pytest.mark.loads

HERE = Path(__file__).name


def found(test: Callable[[], object], granularity: str = "sync", **options: object) -> Result:
    result = runtime.explore(test, seed=1, runs=3000, granularity=granularity, **options)
    assert result.outcome is (Outcome.EARLY_TIMEOUT if options.get("early_timeouts") else Outcome.FOUND)
    return result


def line_of(text: str, test: Callable[..., object], nth: int = 0) -> int:
    """The number of the test's nth line that has this text."""
    lines, first = inspect.getsourcelines(test)
    return [number for number, line in enumerate(lines, first) if text in line][nth]


# ---- programs --------------------------------------------------------------------------------------------------------


def deadlock() -> None:
    east, west = threading.Lock(), threading.Lock()
    crossed = []

    def right() -> None:
        with east:
            crossed.append("east")
            with west:
                crossed.append("west")

    def left() -> None:
        with west:
            crossed.append("west")
            with east:
                crossed.append("east")

    together(right, left)


class Account:
    def __init__(self) -> None:
        self.balance = 0

    def deposit(self) -> None:
        self.balance += 1


def lost_update() -> None:
    account = Account()
    together(account.deposit, account.deposit)
    assert account.balance == 2, "a deposit is lost"


def in_one_line(report: str) -> str:
    """Without the line breaks that long paths bring: files are named as from the current folder."""
    return " ".join(report.split())


def lost_wakeup() -> None:
    ready = threading.Condition()

    def waiter() -> None:
        with ready:
            ready.wait()

    def notifier() -> None:
        with ready:
            ready.notify()

    together(waiter, notifier)


def left_behind() -> None:
    orders: Queue[str] = Queue()

    def cook() -> None:
        while orders.get() != "close":
            pass

    threading.Thread(target=cook).start()
    orders.put("soup")


def livelock() -> None:
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            time.sleep(0.5)

    together(poll)


def early_timeout() -> None:
    done = threading.Event()
    threading.Thread(target=done.set).start()
    assert done.wait(2.0), "it took too long"


def itself() -> None:
    guard = threading.Lock()
    with guard:
        guard.acquire()


def forgotten_join() -> None:
    out: list[int] = []
    thread = threading.Thread(target=out.append, args=(1,))
    thread.start()
    assert out == [1]
    thread.join()


def asked_and_added() -> None:
    added: list[int] = []

    def add() -> None:
        if not added:
            time.sleep(0.001)
            added.append(1)

    together(add, add)
    assert added == [1]


def always() -> None:
    added: list[int] = []
    together(lambda: added.append(1), lambda: added.append(2))
    assert len(added) == 1


def crowd() -> None:
    forks = [threading.Lock() for _ in range(20)]

    def eat(left: threading.Lock, right: threading.Lock) -> None:
        with left:
            time.sleep(0.1)
            with right:
                pass

    run_threads(
        threading.Thread(target=eat, args=(forks[i], forks[(i + 1) % 20]), name=f"philosopher-{i}") for i in range(20)
    )


def long_way() -> None:
    lock = threading.Lock()
    count = 0

    def work() -> None:
        nonlocal count
        for _ in range(200):
            with lock:
                seen = count
            with lock:
                count = seen + 1

    together(work, work)
    assert count == 400


ALL = [deadlock, lost_update, lost_wakeup, left_behind, livelock, early_timeout, itself, crowd, long_way]
ALL += [forgotten_join, asked_and_added, always]


Results = dict[Callable[[], object], Result]


@pytest.fixture(scope="module")
def results() -> Results:
    return {
        test: found(
            test,
            "opcode" if test is lost_update else "sync",
            max_steps=400 if test is livelock else 20_000,
            early_timeouts=test is early_timeout,
        )
        for test in ALL
    }


@pytest.mark.parametrize("test", [forgotten_join, asked_and_added])
def test_an_order_that_passes_has_a_token(results: Results, test: Callable[[], object]) -> None:
    report = results[test].report()
    token = re.search("^It passes in this order, (.*):$", report, re.MULTILINE)
    assert token is not None, report
    assert runtime.replay(test, token[1]).outcome is Outcome.BUDGET_SPENT
    assert token[0] in html.unescape(results[test].page())


# ---- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ALL)
def test_the_report_fits_on_a_screen(results: Results, test: Callable[[], object]) -> None:
    """Except the token and the command, which are as long as they are, and the Why, which is as high as it is."""
    lines = results[test].report().splitlines()
    why = lines[lines.index("Why") :].index("") + 1 if "Why" in lines else 0
    assert len(lines) - why <= 40
    assert why <= 12
    assert max(map(len, lines[:-2])) <= 100


@pytest.mark.parametrize("test", ALL)
def test_the_report_says_how_to_see_it_again(results: Results, test: Callable[[], object]) -> None:
    result = results[test]
    assert result.token
    *_, name, token, command = result.report().splitlines()
    facts = r"^(FOUND|EARLY TIMEOUT found) by \w+, \w+ after .* runs?, \S+ s; .*; replays 10/10\.$"
    assert re.search(facts, result.report(), re.MULTILINE)
    assert name == f"Name {result.name}"
    assert token == f"Token {result.token}"
    assert command.strip() == f'runtime.replay({test.__name__}, "{result.token}")'
    again = runtime.replay(test, result.token, max_steps=400 if test is livelock else 20_000)
    assert again.report().splitlines()[0] == result.report().splitlines()[0]
    assert again.name == result.name


def test_a_command_replaces_the_call(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    result = results[deadlock]
    monkeypatch.setattr(result, "command", "lwp explore --replay it")
    assert result.report().endswith("\n  lwp explore --replay it")
    assert "lwp explore --replay it" in result.page()


# ---- what failed -----------------------------------------------------------------------------------------------------


def test_a_deadlock_says_which_thread_waits_for_what(results: Results) -> None:
    report = results[deadlock].report()
    first, second = line_of("with east:", deadlock), line_of("with west:", deadlock)
    third, fourth = line_of("with west:", deadlock, 1), line_of("with east:", deadlock, 1)
    lines = report.splitlines()
    assert lines[0] == "DEADLOCK: 2 of 3 threads wait for each other"
    waits = {
        f"  Thread-1 (right)  waits at {HERE}:{second} for west, held by Thread-2 since {HERE}:{third}",
        f"  Thread-2 (left)   waits at {HERE}:{fourth} for east, held by Thread-1 since {HERE}:{first}",
    }
    assert set(lines[2:4]) == waits
    assert f" waits at corpus/__init__.py:{line_of('thread.join()', together)} for Thread-1 to end" in lines[4]
    made = line_of("east, west =", deadlock)
    assert re.search(rf"(west and east|east and west) were made at \S*{HERE}:{made}$", report, re.MULTILINE)


def test_a_deadlock_shows_the_switch_that_makes_it(results: Results) -> None:
    lines = results[deadlock].report().splitlines()
    switches = [number for number, line in enumerate(lines) if line.startswith("━━▶")]
    assert len(switches) == 1
    second = line_of("with west:", deadlock)
    stops = f"━━▶ Thread-1 stops at {HERE}:{second}, before it takes west, holding east; Thread-2 goes on"
    assert lines[switches[0]] == stops
    before, after = lines[switches[0] - 1], lines[switches[0] + 1]
    assert before.endswith("with east:  · takes east")
    assert after.endswith("with west:  · takes west")
    assert after.index("with") > before.index("with")  # it is in the next column


#: Of a program, what its report says, with single blanks: a long line is broken.
SAYS = [
    (deadlock, "; possible under the GIL;"),
    (lost_update, "; free-threaded only;"),
    (itself, "; fails in the plain order too: no race;"),
    (always, "; fails in the plain order too: no race;"),
    (forgotten_join, "; fails in the first order tried;"),
    (asked_and_added, "; fails in the first order tried;"),
    (asked_and_added, ": Thread-1 goes first, Thread-2 has not begun Name "),
    (itself, "DEADLOCK: MainThread waits for guard, which it holds itself "),
    (itself, f"for guard, which it holds itself since {HERE}:{line_of('with guard:', itself)}"),
    (lost_wakeup, "DEADLOCK: Thread-1 (waiter) waits to be notified, and that was done before it waited "),
    (
        lost_wakeup,
        f"waits at {HERE}:{line_of('ready.wait()', lost_wakeup)} for ready to be notified; "
        f"Thread-2 did that at {HERE}:{line_of('ready.notify()', lost_wakeup)}",
    ),
    (lost_wakeup, "ready.notify() · wakes nobody"),
    (lost_wakeup, "ready.wait() · waits to be notified"),
    (left_behind, "LEFT BEHIND: the test has ended, and Thread-1 (cook) never will "),
    (left_behind, f"Thread-1 (cook) waits at {HERE}:{line_of('orders.get()', left_behind)} in orders.get() "),
    (early_timeout, "━━▶ MainThread's timeout fires early: Thread-1 is slow"),
    (early_timeout, "its timeout fires early"),
    (crowd, "DEADLOCK: 20 of 21 threads wait for each other "),
    (crowd, "philosopher-0 waits at"),
    (crowd, "for forks[1], held by philosopher-1 since"),
    (crowd, "... and 13 more threads wait"),
    (long_way, "━━▶ "),
    (long_way, "assert count == 400 · raises AssertionError"),
]


@pytest.mark.parametrize(("test", "text"), SAYS, ids=[f"{test.__name__}-{text}" for test, text in SAYS])
def test_the_report_says(test: Callable[[], object], text: str, results: Results) -> None:
    assert text in in_one_line(results[test].report())


def test_many_steps_are_left_out_in_the_middle(results: Results) -> None:
    assert re.search(r"\.\.\. [0-9,]{3,} steps", results[long_way].report())


def test_an_exception_says_where_and_shows_the_middle_of_a_line(results: Results) -> None:
    report = results[lost_update].report()
    place = line_of("assert account", lost_update)
    assert report.startswith("AssertionError: a deposit is lost")
    assert re.search(rf"at \S*{HERE}:{place} in lost_update\(\), MainThread$", report, re.MULTILINE)
    line = line_of("self.balance +=", Account.deposit)
    assert re.search(
        rf"━━▶ Thread-([12]) stops at {HERE}:{line}, before it writes self.balance; Thread-[12] goes on", report
    )
    assert "… self.balance += 1" in report  # the one that was stopped goes on
    assert "Traceback of MainThread:" in report
    assert "lost_update(): assert account.balance == 2" in in_one_line(report)
    assert "threading.py" not in report  # nor the runtime's frames


def test_a_livelock_shows_what_it_repeats(results: Results) -> None:
    report = results[livelock].report()
    assert report.startswith("LIVELOCK: Thread-1 (poll) repeats 2 steps without end\n")
    _, _, cycle = report.partition("╭─ without end; ")
    assert "while not stop.is_set():" in cycle
    assert re.search(r"time.sleep\(0.5\) +· its sleep ends: the clock jumps by 0.5 s", cycle)
    times = re.match(r"([0-9,]+) times so far", cycle)
    assert times
    assert 300 < int(times[1].replace(",", "")) <= 400


def test_an_attribute_is_told_from_that_of_another_object() -> None:
    class Shop:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def visit(self, other: Shop) -> None:
            with self.lock, other.lock:
                pass

    def shops() -> None:
        bakery, butcher = Shop(), Shop()
        together(lambda: bakery.visit(butcher), lambda: butcher.visit(bakery))

    report = found(shops).report()
    assert "takes bakery.lock" in report
    assert "takes butcher.lock" in report
    made = line_of("self.lock =", Shop.__init__)
    assert re.search(rf"made at \S*{HERE}:{made}", in_one_line(report))


def test_objects_of_one_name_are_numbered() -> None:
    never = threading.Event()

    def work() -> None:
        lock = threading.Lock()
        lock.acquire()
        never.wait()

    report = found(lambda: together(work, work)).report()
    assert "takes lock #1" in report
    assert "takes lock #2" in report


def test_a_kept_permit_is_told_from_a_missing_one() -> None:
    def kept() -> None:
        slots = threading.Semaphore(1)
        together(slots.acquire, lambda: slots.acquire())

    line = line_of("lambda", kept)
    waits = f"waits at {HERE}:{line} for a permit of slots, taken by Thread-1 since"
    assert waits in in_one_line(found(kept).report())

    def missing() -> None:
        items = threading.Semaphore(0)
        together(items.release, items.acquire, items.acquire)

    report = found(missing).report()
    assert "for a permit of items\n" in report
    assert "taken by" not in report


def test_an_exception_in_a_thread_names_the_thread() -> None:
    def body() -> None:
        raise LookupError("no such thing")

    report = found(lambda: run_thread(threading.Thread(target=body, name="reader"))).report()
    assert re.match(rf"LookupError: no such thing at \S*{HERE}:\d+ in body\(\), reader ", in_one_line(report))
    assert "Traceback of reader:" in report


def test_names_are_found_without_running_the_program() -> None:
    class Shy:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        @property
        def __dict__(self) -> dict[str, object]:  # type: ignore[override]
            asked.append("__dict__")
            return {}

        def __getattr__(self, name: str) -> object:
            asked.append(name)
            raise AttributeError(name)

    class Slotted:
        __slots__ = ("lock",)

        def __init__(self) -> None:
            self.lock = threading.Lock()

    asked: list[str] = []

    def shy() -> None:
        one, other = Shy(), Slotted()
        one.lock.acquire()
        other.lock.acquire()
        other.lock.acquire()

    report = found(shy).report()
    assert asked == []
    assert "one.lock.acquire()  · takes one.lock" in report
    assert report.startswith("DEADLOCK: MainThread waits for other.lock, which it holds itself")


def test_looking_at_a_run_keeps_no_variable_of_a_function_that_has_ended() -> None:
    """The end of the test takes the service away, by its __del__, before the thread has begun."""

    class Service:
        def __init__(self, users: list[int]) -> None:
            self.users = users

        def __del__(self) -> None:
            self.users.clear()

    def test() -> None:
        users = [1]
        service = Service(users)
        lock = threading.Lock()
        with lock:
            pass

        def work() -> None:
            assert users, "nobody is there"

        threading.Thread(target=work).start()
        assert service

    result = runtime.explore(test, runs=100, seed=1)
    assert result.outcome is Outcome.FOUND, result.report()
    assert (result.replays, str(result.error)[:15]) == (10, "nobody is there")


def test_a_failure_that_does_not_come_again_is_none() -> None:
    for failures, again in ((3, "failed again in 1 of 10 runs only"), (12, "does not fail again")):
        runs = iter(range(1000))

        def fails_at_first(runs: Iterator[int] = runs, failures: int = failures) -> None:
            assert next(runs) >= failures, "at first"

        result = runtime.explore(fails_at_first, runs=100, seed=1)
        assert result.outcome is Outcome.INCONCLUSIVE
        assert f"the same schedule {again}" in result.report()
        assert str(result.error.__cause__).startswith("at first")


def test_the_report_stays_as_it_was_when_the_error_is_raised_again(results: Results) -> None:
    result = results[lost_update]
    before = result.report()
    with pytest.raises(AssertionError, match="a deposit is lost"):
        result.check()
    assert result.report() == before


# ---- the page --------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Which elements a page has, whether they are closed, and what it would load."""

    _VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.classes: list[str] = []
        self.loads: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                self.loads.append(f"{tag} {name}={value}")
            if name == "class":
                self.classes += (value or "").split()
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self._VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("test", ALL)
def test_the_page_stands_alone(results: Results, test: Callable[[], object]) -> None:
    text = results[test].page()
    page = Page(text)
    assert page.open == []
    assert page.loads == []
    assert "://" not in text
    assert not re.search(r"@import|url\((?!#)", text)
    assert {"html", "title", "style", "h1"} <= page.seen
    assert "grid" in page.classes
    assert re.split(" at ", results[test].report().splitlines()[0])[0] in page.text
    assert results[test].token in page.text
    assert len(text) < 300_000


def test_the_page_draws_switches_locks_and_the_ring(results: Results) -> None:
    classes = Page(results[deadlock].page()).classes
    assert classes.count("arrow") == 1  # of the switch
    assert classes.count("bar") == 2  # a lock that is held
    assert classes.count("blocked") == 3
    assert [name for name in classes if name in ("ring", "to")] == ["ring", "ring", "to"]  # arrows
    assert "cycle" in Page(results[livelock].page()).classes


def test_source_is_no_markup(results: Results) -> None:
    def tag() -> None:
        left = right = 1
        assert left < right > 2, "<script>alert('&')</script>"

    page = found(tag, "opcode").page()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)" in page
    assert Page(page).open == []


def test_nothing_found_has_no_page() -> None:
    result = runtime.explore(lambda: None, runs=2)
    with pytest.raises(ValueError, match="a picture is drawn of what was found"):
        result.page()


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


# Added to a page: whether it is as wide as the window, the picture holds what is drawn, and the boxes their texts.
MEASURE = """
<pre id="seen"></pre>
<script>
addEventListener("load", () => {
  const edges = element => element.getBoundingClientRect(), grid = document.querySelector(".grid"), all = edges(grid);
  const drawn = [...grid.children].map(edges), texts = [...grid.querySelectorAll(".box > *")];
  const boxes = [...grid.querySelectorAll(".box")].map(edges);
  const seen = {
    page: document.documentElement.scrollWidth <= innerWidth,
    picture: drawn.every(one => one.right <= all.right + 1 && one.bottom <= all.bottom + 1),
    boxes: texts.length > 3 && texts.every(text => edges(text).right <= edges(text.parentNode).right)
      && boxes.every((box, at) => box.width >= 100 && boxes.slice(0, at).every(above => above.bottom <= box.top)),
    buttons: document.querySelectorAll("button:not([hidden])").length,
  };
  document.getElementById("seen").textContent = JSON.stringify(seen);
});
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")
@pytest.mark.parametrize("test", [deadlock, livelock, crowd])
def test_a_browser_shows_the_page(results: Results, test: Callable[[], object], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(results[test].page().replace("</main>", f"</main>{MEASURE}"))
    assert CHROMIUM
    quiet = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *quiet.split(), profile, "--window-size=600,900", "--dump-dom", str(tmp_path / "page.html")]
    page = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    shown = re.search(r'<pre id="seen">(.*?)</pre>', page, re.DOTALL)
    assert shown
    assert json.loads(html.unescape(shown[1])) == {"page": True, "picture": True, "boxes": True, "buttons": 2}
