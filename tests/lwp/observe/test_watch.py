"""`watch`: what the server of the live page answers to whom, and the page itself in a browser."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import browser, in_browser
from commands import ready
from conftest import SLOW, Environment, environment, lwp, refusal
from test_from_outside import DEADLOCK as CROWDED

from lwp.observe.asking import ask

Facts = dict[str, Any]

DEADLOCK = CROWDED.replace("40", "3")
TRACED = ("--trace", "t.html")
EVIL = "</script><script>window.taken=1</script><img src=x onerror=window.taken=1>"


class Watched:
    """A program that `lwp watch` shows; the program ends when its standard input does."""

    def __init__(self, program: subprocess.Popen[str], watch: subprocess.Popen[str]) -> None:
        self.program, self.watch, self.url = program, watch, watch.stdout.readline().strip()
        self.place = urlsplit(self.url)

    def open(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> HTTPResponse:
        connection = HTTPConnection(self.place.netloc, timeout=SLOW * 30)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def status(self, path: str, **options: str) -> int:
        with self.open(path, **options) as answer:
            return answer.status

    def events(self) -> Iterator[tuple[str, Facts]]:
        """What the page is told, until the server ends it."""
        with self.open(f"{self.place.path}events") as answer:
            while line := answer.readline().decode():
                kind = line.removeprefix("event: ").strip()
                yield kind, json.loads(answer.readline().decode().removeprefix("data: "))
                answer.readline()

    def until(self, kind: str, wanted: Callable[[Facts], bool]) -> Facts:
        """The first event of that kind that is wanted."""
        return next(facts for each, facts in self.events() if each == kind and wanted(facts))

    def end(self) -> None:
        self.program.stdin.close()
        self.program.stdin = None
        assert self.program.wait(SLOW * 30) == 0


@contextmanager
def watched(
    folder: Path, program: str, *options: str, run: tuple[str, ...] = TRACED, tool: tuple[str, ...] = ("-m", "runtime")
) -> Iterator[Watched]:
    """run: options of `lwp run`.  tool: of the interpreter, what has the command `watch`."""
    source = f"{program}\nimport sys; print('ready', flush=True); sys.stdin.read()\n"
    with ready(folder, source, "-m", "runtime", "run", *run, "program.py") as process:
        command = [sys.executable, *tool, "watch", *options, str(process.pid)]
        with subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as watch:
            try:
                yield Watched(process, watch)
            finally:
                watch.kill()


@pytest.fixture(scope="module")
def deadlocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("deadlock"), DEADLOCK) as found:
        yield found


def test_only_the_token_opens_anything(deadlocked: Watched) -> None:
    path = deadlocked.place.path
    assert deadlocked.status(path) == 200
    for wrong in ("/", "/events", "/page.js", f"{path}nothing", f"{path}../_server.py", f"{path[:-2]}/", f"/x{path}"):
        assert deadlocked.status(wrong) == 404, wrong
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert deadlocked.status(path, method=method) == 501


def test_a_name_that_leads_here_is_refused(deadlocked: Watched) -> None:
    """DNS rebinding: a browser sends the name of the other site."""
    path, port = deadlocked.place.path, deadlocked.place.port
    for host in (f"rebound.example:{port}", "rebound.example", "localhost.example", "127.0.0.1.example", ""):
        assert deadlocked.status(path, Host=host) == 421, host
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert deadlocked.status(path, Host=host) == 200, host


@pytest.mark.parametrize("name", ["", "events", "page.js", "timeline.css", "thread/1", "nothing"])
def test_no_other_site_reads_it_and_it_loads_nothing_else(deadlocked: Watched, name: str) -> None:
    with deadlocked.open(f"{deadlocked.place.path}{name}", Origin="http://another.example") as answer:
        headers = {key.lower(): value for key, value in answer.getheaders()}
    assert not [key for key in headers if key.startswith("access-control")]
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[kind] for kind in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert headers["referrer-policy"] == "no-referrer"  # the address has the token
    assert headers["cache-control"] == "no-store"


def test_who_waits_for_whom(deadlocked: Watched) -> None:
    facts = deadlocked.until("moment", lambda facts: bool(facts.get("deadlocks")))
    (text,) = facts["deadlocks"]
    assert "'payer' waits for lock audit held by 'checker'" in text
    nodes, edges = facts["graph"]["nodes"], facts["graph"]["edges"]
    labels = {key: node["label"] for key, node in nodes.items()}
    assert {label for key, label in labels.items() if nodes[key]["circle"]} == {"payer", "checker"}
    assert {(labels[edge["from"]], labels[edge["to"]], edge["label"], edge["circle"]) for edge in edges} == {
        ("payer", "checker", "lock audit", True),
        ("checker", "payer", "lock ledger.lock", True),
        ("3 threads", "checker", "lock audit", False),
    }
    rows = {row[0]: row for row in facts["waits"]["rows"]}
    assert rows["lock audit"][1] == 4
    assert rows["lock audit"][3:] == ["checker", "program.py:12 in check"]
    ident = next(node["ident"] for node in nodes.values() if node["label"] == "payer")
    with deadlocked.open(f"{deadlocked.place.path}thread/{ident}") as answer:
        thread = json.load(answer)
    assert thread["does"].startswith("waits for lock audit held by 'checker'")
    assert thread["holds"] == ["lock ledger.lock, taken at program.py:7 in pay"]
    assert thread["stack"][-1].strip() == "with audit:"


def test_where_the_time_goes_by_lock_if_that_is_counted(tmp_path: Path) -> None:
    with watched(tmp_path, DEADLOCK, run=("--locks",)) as found:
        facts = found.until("moment", lambda facts: bool(facts.get("deadlocks")) and bool(facts["locks"]["rows"]))
        name, *_ = facts["locks"]["rows"][0]
        assert name in ("lock audit", "audit")
        assert {row[0]: row[3] for row in facts["locks"]["rows"]}[name] == 4  # wait now
    with watched(tmp_path, DEADLOCK) as found:
        assert found.until("moment", lambda facts: bool(facts.get("deadlocks")))["locks"] is None


def test_the_thread_that_answers_is_none_of_the_program(tmp_path: Path) -> None:
    moments, tids = 0, set[int]()
    with watched(tmp_path, DEADLOCK, run=()) as found:
        for kind, facts in found.events():
            tids |= {track["tid"] for track in facts["tracks"].values() if "tid" in track} if kind == "news" else set()
            moments += kind == "moment"
            if moments == 3:
                break
        tasks = [Path(f"/proc/{found.program.pid}/task/{tid}/comm").read_text() for tid in tids]
    assert len(tasks) == 6
    assert not [task for task in tasks if task.startswith("lwp-")]


def test_the_timeline_says_what_the_program_calls_a_lock(deadlocked: Watched) -> None:
    """Of a wait that lasts, the records alone say so only at the program's end."""
    texts: set[str] = set()
    for kind, facts in deadlocked.events():
        texts.update(facts["texts"].values() if kind == "news" else ())
        if any(text.startswith(" blocked: Lock ledger.lock\n") for text in texts):
            break


def _resident(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _open_stream(found: Watched) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # full at once
    client.connect((found.place.hostname, found.place.port))
    client.sendall(f"GET {found.place.path}events HTTP/1.1\r\nHost: {found.place.netloc}\r\n\r\n".encode())
    return client


@pytest.mark.slow
def test_who_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    """Neither the program, nor other readers; and what is kept for such a reader has a bound.  With less patience."""
    server = """\
from lwp.observe.commands.page import _server
import socket
_server._Handler.timeout = 1
_server.Server.get_request = lambda self: take(self)
def take(server):
    client, address = server.socket.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return client, address
from lwp.command import main
main()
"""
    source = """\
import threading, time
def work():
    while True:
        time.sleep(0.001)
for _ in range(8):
    threading.Thread(target=work, daemon=True).start()
"""
    with watched(tmp_path, source, run=(), tool=("-c", server)) as found:
        before = _resident(found.program.pid)
        silent = [socket.create_connection((found.place.hostname, found.place.port)) for _ in range(100)]
        for client in silent[64:]:
            assert client.recv(1) == b""  # it is one too many
        assert len(os.listdir(f"/proc/{found.watch.pid}/task")) <= 64 + 4
        for client in silent:
            client.close()
        streams = [_open_stream(found) for _ in range(8)]
        for client in streams:
            client.recv(20, socket.MSG_PEEK)
        # 503 until the first of those has lost its place.
        while (status := found.status(f"{found.place.path}events")) != 200:
            assert status == 503
        for client in streams:
            client.close()
        assert _resident(found.program.pid) < before + (64 << 20)
        found.end()


def test_groups_are_a_tree_and_say_what_has_cancelled_a_task(tmp_path: Path) -> None:
    source = """\
import threading
from runtime.groups import Group
never = threading.Event()
def tidy():
    try:
        never.wait()
    finally:
        threading.Event().wait()
def fail():
    never.wait(0.1)
    raise ValueError("broken")
def inner():
    with Group() as below:
        below.spawn(tidy)
        below.spawn(fail)
def outer():
    with Group() as above:
        above.spawn(inner)
        above.spawn(never.wait)
threading.Thread(target=outer, name="outer", daemon=True).start()
"""
    with watched(tmp_path, source) as found:
        facts = found.until("moment", lambda facts: bool(facts.get("cancellations")))
        (above,) = facts["groups"]
        (below,) = above["groups"]
        assert (above["label"], below["label"]) == ("group at program.py:17", "group at program.py:13")
        assert sorted(thread["name"] for thread in above["threads"]) == ["Thread-2 (wait)", "outer"]
        (tidying,) = (thread for thread in below["threads"] if "(tidy)" in thread["name"])
        assert tidying["does"].startswith("waits for event")
        assert "ValueError in 'Thread-" in tidying["cancelled"]
        assert not any(thread["cancelled"] for thread in above["threads"])
        assert facts["cancellations"][0].startswith("group at program.py:13: ValueError in ")


@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_it_ends_when_the_program_does(tmp_path: Path, how: str) -> None:
    program = "import threading\nthreading.Thread(target=threading.Event().wait, name='reader', daemon=True).start()"
    with watched(tmp_path, program) as found:
        events = found.events()
        assert next(events)[1]["program"].endswith("program.py")
        names = {track["name"] for track in next(events)[1]["tracks"].values()}
        assert {"MainThread", "reader"} <= names
        if how == "ends":
            found.end()
        else:
            found.program.kill()
        assert [kind for kind, _ in events][-1] == "ended"
        assert found.watch.wait(SLOW * 30) == 0


def test_texts_of_the_program_are_cut(tmp_path: Path) -> None:
    program = f"""\
import threading
for name in ["{EVIL}" * 20, "x" * (1 << 20), "y" * 4000]:
    threading.Thread(target=threading.Event().wait, name=name, daemon=True).start()
"""
    with watched(tmp_path, program) as found:
        facts = found.until("news", lambda facts: len(facts["tracks"]) > 3)
        for track in facts["tracks"].values():
            assert len(track["name"]) <= 200
            assert len(track["about"]) <= 400
        moment = found.until("moment", lambda facts: "waits" in facts)
        assert all(len(str(value)) <= 200 for row in moment["waits"]["rows"] for value in row)


@pytest.mark.parametrize(("place", "shown"), [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]"), ("0", "127.0.0.1")])
def test_where_it_listens(tmp_path: Path, place: str, shown: str) -> None:
    with watched(tmp_path, DEADLOCK, "--at", place) as found:
        assert found.place.netloc == f"{shown}:{found.place.port}"
        assert found.status(found.place.path) == 200


def test_an_installed_package_has_the_page(tmp_path: Path, installed: Environment) -> None:
    program = (
        "import http.client, os, re, subprocess, sys\n"
        "watch = [sys.executable, '-m', 'runtime', 'watch', str(os.getpid())]\n"
        "url = subprocess.Popen(watch, stdout=subprocess.PIPE, text=True).stdout.readline()\n"
        "host, path = re.fullmatch('http://([^/]*)(.*)\\n', url).groups()\n"
        "for name in ('', 'look.css', 'page.css', 'page.js', 'timeline.css', 'timeline.js'):\n"
        "    connection = http.client.HTTPConnection(host)\n"
        "    connection.request('GET', path + name)\n"
        "    answer = connection.getresponse()\n"
        "    print(answer.status, len(answer.read()) > 500)\n"
    )
    (tmp_path / "x.py").write_text(program)
    done = installed.execute(str(installed.python), "-m", "runtime", "run", "x.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "200 True\n" * 6)


def test_a_program_that_records_nothing_begins_to_and_ends(tmp_path: Path) -> None:
    """As long as a page is open."""
    with watched(tmp_path, DEADLOCK, run=()) as found:
        facts = found.until("news", lambda facts: len(facts["tracks"]) > 3)
        names = {track.get("name") for track in facts["tracks"].values()}
        assert {"payer", "checker"} <= names
        found.watch.send_signal(signal.SIGINT)
        assert found.watch.wait(SLOW * 30) == 0
        assert ask(found.program.pid, "look_back")["records"] is None
        found.end()


def test_a_place_that_is_taken_or_elsewhere_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refusal(lwp("watch", "--at", place, str(os.getpid()), status=2))
    assert said == f"lwp: --at {place}: Address already in use; 0 is any free port\n"
    for elsewhere in ("192.0.2.1", "nowhere.invalid"):
        said = refusal(lwp("watch", "--at", f"{elsewhere}:0", str(os.getpid()), status=2))
        assert f"lwp: --at {elsewhere}:0: " in said
        assert "an address of this machine" in said
    assert "is not ADDRESS:PORT" in lwp("watch", "--at", "1.2.3.4:99999", "1", status=2).stderr


# ---- in a browser ----------------------------------------------------------------------------------------------------


def in_slow_browser(test: Any) -> Any:
    return in_browser(pytest.mark.slow(test))


class Page:
    """The page in headless Chromium."""

    def __init__(self, watched: Watched, driver: Any) -> None:
        self.driver = driver
        self.driver.get(watched.url)
        # On a busy machine get() has returned before the page's script had run.
        self.until("typeof feed === 'object' && feed.now > 0 && data.rows.length > 0")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: str) -> None:
        deadline = time.monotonic() + SLOW * 30
        while not self.run(f"return {condition}"):
            assert time.monotonic() < deadline, condition

    def key(self, name: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(name).perform()

    def text(self, element: str) -> str:
        return str(self.run(f"return $('{element}').innerText"))


@contextmanager
def page(watched: Watched, **options: Any) -> Iterator[Page]:
    with browser(**options) as driver:
        yield Page(watched, driver)


@in_slow_browser
def test_a_deadlock_is_in_the_title_and_red(deadlocked: Watched) -> None:
    with page(deadlocked) as shown:
        shown.until("document.title.startsWith('DEADLOCK: python')")
        assert "'payer' waits for lock audit" in shown.text("alarm")
        boxes = "document.querySelectorAll('#graph g.circle text:not(.about)')"
        assert shown.run(f"return [...{boxes}].map(text => text.textContent).sort()") == ["checker", "payer"]
        shown.run("choose(Object.values(data.tracks).find(track => track.name === 'payer').number)")
        shown.until("$('thread').querySelector('pre')")
        assert "with audit:" in shown.text("thread")
        assert "lock ledger.lock, taken at program.py:7 in pay" in shown.text("thread")


@in_slow_browser
def test_nodes_of_the_graph_stay_where_they_are(deadlocked: Watched) -> None:
    with page(deadlocked) as shown:
        shown.until("slots.size === 3")
        before = shown.run("return Object.fromEntries(slots)")
        shown.run(
            "const nodes = Object.fromEntries([...slots.keys()].slice(1).map(id => [id, arguments[0]]));"
            "nodes.t0 = nodes.w0 = arguments[0]; placeNodes({ nodes, edges: [] });",
            {"label": "late", "about": "", "ident": 1, "circle": False},
        )
        after = shown.run("return Object.fromEntries(slots)")
        assert {key: (slot["column"], slot["row"]) for key, slot in before.items()}.items() <= {
            key: (slot["column"], slot["row"]) for key, slot in after.items()
        }.items()
        places = [(slot["column"], slot["row"]) for slot in after.values()]
        assert len(set(places)) == len(places) == 5


@in_slow_browser
def test_keys(deadlocked: Watched) -> None:
    with page(deadlocked) as shown:
        length = "Math.round((view.end - view.begin) / 1e6)"
        assert shown.run(f"return {length}") == 30_000
        shown.until("data.following && view.end > 0")
        shown.key("+")
        assert shown.run(f"return {length}") == 20_000
        assert shown.run("return data.following")  # zooming keeps the present at the edge
        shown.key(" ")
        at = shown.run("return view.end")
        now = shown.run("return feed.now")
        shown.until(f"feed.now > {now}")
        assert shown.run("return [data.following, view.end]") == [False, at]
        assert shown.text("pause") == "Go on"
        shown.key("0")
        assert shown.run(f"return [data.following, {length}]") == [True, 30_000]
        shown.key("+")
        shown.key("\ue012")  # left: it leaves the present
        shown.until("!data.following")
        shown.key("n")
        assert shown.text("thread").startswith("MainThread")
        shown.key("n")
        assert shown.text("thread").startswith("payer")
        shown.key("p")
        assert shown.text("thread").startswith("MainThread")


@in_slow_browser
def test_what_was_shown_stays_when_the_program_has_ended(tmp_path: Path) -> None:
    with watched(tmp_path, DEADLOCK) as found, page(found) as shown:
        shown.until("data.rows.length === 7")
        found.end()
        shown.until("$('status').textContent.startsWith('the program has ended')")
        assert shown.run("return data.rows.length") == 7
        assert found.watch.wait(SLOW * 30) == 0
        shown.key("-")


@in_slow_browser
def test_groups_of_rows(deadlocked: Watched) -> None:
    with page(deadlocked) as shown:
        labels = "data.rows.map(row => row.label)"
        wanters = [f"Thread-{number} (want)" for number in (1, 2, 3)]
        assert shown.run(f"return {labels}") == ["MainThread", "payer", "checker", "▾ 3 Thread-# (want)", *wanters]
        shown.key("o")
        assert shown.run(f"return {labels}") == ["MainThread", "payer", "checker", "▸ 3 Thread-# (want)"]
        shown.run("group('state')")
        shown.until(f"{labels}.includes('▾ 4 blocked: Lock audit')")
        shown.run("group('nothing')")
        assert len(shown.run(f"return {labels}")) == 6


@in_slow_browser
def test_names_are_never_html(tmp_path: Path) -> None:
    program = f"""\
import threading
for number in range(10_000):
    threading.Thread(target=threading.Event().wait, name="{EVIL}" + str(number), daemon=True).start()
threading.Thread(target=threading.Event().wait, name="x" * (1 << 20), daemon=True).start()
"""
    with watched(tmp_path, program) as found, page(found) as shown:
        shown.until("Object.keys(data.tracks).length > 10_000")
        shown.run("choose(Object.values(data.tracks).find(track => track.name.startsWith('</script>')).number)")
        shown.until("$('thread').innerText.includes('waits for event')")
        assert shown.text("thread").startswith("</script><script>")
        shown.run("for (const group of groups.values()) group.closed = false; arrange()")
        assert shown.run("return data.rows.length") > 10_000
        assert shown.run("return window.taken ?? null") is None
        assert shown.run("return document.querySelectorAll('img, body script').length") == 0


@in_slow_browser
def test_only_what_is_seen_is_drawn(tmp_path: Path) -> None:
    """However many threads and spans there are: the rows of one screen, at most two bars for a pixel."""
    program = """\
import threading
def work():
    for _ in range(200):
        threading.Event().wait(0.0001)
    threading.Event().wait()
for _ in range(500):
    threading.Thread(target=work, daemon=True).start()
"""
    with watched(tmp_path, program) as found, page(found) as shown:
        shown.until("feed.spans > 100_000")
        shown.run("for (const group of groups.values()) group.closed = false; arrange(); follow(false)")
        shown.run(
            "const fill = pen.fillRect; pen.fillRect = (...at) => { bars++; fill.apply(pen, at); }; window.bars = 0"
        )
        shown.run("change(0, data.length, 40); paint(); bars = 0; paint()")
        rows, wide = shown.run("return [Math.ceil(height / ROW) + 1, width]")
        assert rows * 2 < shown.run("return bars") < rows * wide * 2


@in_slow_browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_it_fits_and_is_dark_where_that_is_wanted(deadlocked: Watched, width: int, dark: bool) -> None:
    with page(deadlocked, width=width, height=800 if width > 400 else 844, dark=dark) as shown:
        shown.until("slots.size === 3")
        assert shown.run("return document.documentElement.scrollWidth") <= width
        assert shown.run("return stage.clientHeight") > 200
        assert shown.run("return getComputedStyle(document.body).backgroundColor") == (
            "rgb(22, 24, 29)" if dark else "rgb(255, 255, 255)"
        )
        assert shown.run("return ink.ink") == ("#e4e6ea" if dark else "#222")


@in_slow_browser
def test_a_row_of_a_traces_table_marks_its_waits(tmp_path: Path) -> None:
    """Of a thousand threads that waited for one event, in one row, and one that waited for a lock."""
    (tmp_path / "program.py").write_text("""
import threading
from runtime import scheduler
lock, done = threading.Lock(), threading.Event()
def wants():
    with lock:
        pass
with lock:
    threads = [threading.Thread(target=done.wait) for _ in range(1000)] + [threading.Thread(target=wants)]
    for thread in threads:
        thread.start()
    while len(scheduler.waiting().waits) < 1001:
        pass
done.set()
for thread in threads:
    thread.join()
""")
    lwp("run", "--trace", "t.html", "program.py", cwd=tmp_path)
    with browser() as driver:
        driver.get(f"file://{tmp_path}/t.html")
        labels = driver.execute_script("return data.rows.map(row => row.label)")
        crowd = next(label for label in labels if label.endswith(" threads: Thread-# (wait)"))  # they do the same
        assert int(crowd.partition(" ")[0].replace(",", "")) == 1002 - (len(labels) - 1) > 500
        assert driver.execute_script("return Object.keys(data.tracks).length") == len(labels)
        driver.execute_script("document.querySelector('details').open = true")
        rows = {row[0]: row[2] for row in driver.execute_script("return data.waits.rows")}
        assert rows["Event done"] == 1000
        assert rows["Lock lock"] == 1
        assert "Event done" in driver.execute_script("return document.getElementById('waits').innerText")
        click = "[...document.querySelectorAll('#waits td button')].find(it => it.textContent === 'Lock lock').click()"
        driver.execute_script(click)
        marked = (
            "return Object.values(data.tracks).filter(track => track.spans.some((text, at) => at % 5 === 3 && "
            "data.marked.has(text))).map(track => track.name)"
        )
        assert driver.execute_script(marked) == ["Thread-1001 (wants)"]
        driver.execute_script(click)
        assert driver.execute_script("return data.marked") is None


@in_slow_browser
def test_a_notify_that_met_no_waiter_has_a_mark(tmp_path: Path) -> None:
    """On the live page and on the page of a trace."""
    program = """
import threading
class Desk:
    def __init__(self):
        self.came = threading.Condition()
    def order(self):
        with self.came:
            self.came.notify()
Desk().order()
"""
    told = """
const [number, track] = Object.entries(data.tracks).find(([_, track]) => track.marks.length);
const { spans, span } = find(x(track.marks[1]), y(rowOf.get(Number(number))) + ROW / 2);
return told(track, spans, span);
"""
    said = "MainThread: notify() of Condition Desk.came met no waiter, program.py:8 in Desk.order"
    with watched(tmp_path, program) as found:
        with page(found) as shown:
            shown.until("Object.values(data.tracks).some(track => track.marks.length && rowOf.has(track.number))")
            assert shown.run(told) == said
        found.end()
    with browser() as driver:
        driver.get(f"file://{tmp_path}/t.html")
        assert driver.execute_script(told) == said
