"""The course: its programs, as a reader types them from the pages, and what the pages say of them."""

from __future__ import annotations

import json
import platform
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import python
from native_helper import native_helper  # noqa: F401 - a fixture of the next one
from nothing_left import nothing_left  # noqa: F401 - looks after each test
from this_machine import TREE

COURSE = TREE / "course"
LABS = COURSE / "labs"
PAGES = sorted(COURSE.glob("[1-6]_*.md"))
PROGRAMS = sorted((COURSE / "steps").glob("*.c"))
X86 = platform.machine() == "x86_64"


# ---- the pages -------------------------------------------------------------------------------------------------------


def typed(page: Path) -> dict[str, str]:
    """What a reader has who types a page's pieces: a piece that begins with /* Step is the first of another file."""
    pieces = "\n\n".join(re.findall(r"```c\n(.*?)\n```", page.read_text(), re.DOTALL))
    programs = re.split(r"\n\n(?=/\* Step)", pieces)
    return {match[1]: text + "\n" for text in programs if (match := re.search(r"\bcc .*?(\w+\.c)\b", text))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pieces_of_a_page_are_its_programs(page: Path) -> None:
    for name, text in typed(page).items():
        program = (COURSE / "steps" / name).read_text()
        assert re.sub(r"\n\n+", "\n\n", text) == re.sub(r"\n\n+", "\n\n", program)


def test_each_program_stands_on_a_page() -> None:
    assert sorted(name for page in PAGES for name in typed(page)) == [path.name for path in PROGRAMS]


# ---- the programs ----------------------------------------------------------------------------------------------------


def compiled(folder: Path, name: str, *options: str, compiler: str = "cc") -> Path:
    """The program, from an empty folder with that file alone; a warning is an error."""
    shutil.copy(COURSE / "steps" / name, folder)
    command = [compiler, "-Wall", "-Wextra", "-Werror", name, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return folder / "a.out"


def rows(folder: Path, *command: str | Path) -> list[list[str]]:
    """What it prints: a line each, cut where there are two spaces or more."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return [re.split(r"  +", line.strip()) for line in done.stdout.splitlines() if line.strip()]


def runs(folder: Path, name: str, *options: str) -> list[list[str]]:
    return rows(folder, compiled(folder, name, *options))


def test_step_1_shares_what_the_flags_say(tmp_path: Path) -> None:
    seen = [row[1:5] for row in runs(tmp_path, "1_stack.c")[1:]]
    text, closed, moved, ignored = "child's", "EBADF", "/", "ignored"
    assert [[*row[0].split(), *row[1:]][:4] for row in seen] == [
        [text, closed, moved, ignored],
        [text, "written", moved, ignored],
        [text, closed, "/tmp", ignored],
        [text, closed, moved, "default"],
        ["parent's", closed, moved, "default"],
        ["parent's", "written", "/tmp", "default"],
    ]


def test_step_2_counts_a_fault_for_each_page(tmp_path: Path) -> None:
    counted = {row[0]: [int(number) for number in row[1:]] for row in runs(tmp_path, "2_fork.c")[-4:]}
    for who in ("a child of fork", "its parent afterwards"):
        assert all(pages <= faults < pages + 10 for pages, faults in zip((1, 10, 1000), counted[who], strict=True))
    assert all(faults < 10 for who in ("a child of vfork", "a child of clone") for faults in counted[who])


def joined(found: list[list[str]]) -> None:
    """What step 3 says of its threads."""
    main, *threads = (row[1:] for row in found[-4:])
    assert main[0] == main[1]
    assert len({thread[1] for thread in threads} | {main[1]}) == 4
    for pid, own_tid, tid, alive in threads:
        assert (pid, own_tid, alive) == (main[0], tid, "0")
    assert ["waitpid of the first: ECHILD"] in found


def test_step_3_joins_threads_of_one_process(tmp_path: Path) -> None:
    found = runs(tmp_path, "3_join.c")
    joined(found)
    assert found[0] == ["tasks in /proc/self/task: 4"]


def has_own_tls(found: list[list[str]]) -> None:
    """What step 4 says of its two threads."""
    for first, (main, thread, by_dtv) in [(True, found[1:4]), (False, found[5:8])]:
        assert (main[1] == thread[1]) == (main[2] == thread[2]) == first
        assert main[3] == thread[3]
        assert main[4:] == (["43", "9"] if first else ["42", "0"])
        assert thread[4:] == ["43", "9"]
        assert by_dtv[1] == thread[2]


def test_step_4_gives_a_thread_its_own_variables(tmp_path: Path) -> None:
    has_own_tls(runs(tmp_path, "4_tls.c"))


@pytest.mark.skipif(not X86, reason="the page shows x86-64's")
def test_step_4_has_each_access_model(tmp_path: Path) -> None:
    assert shutil.which("objdump")
    compiled(tmp_path, "4_models.c", "-O2", "-fPIC", "-c")
    code = " ".join(" ".join(row) for row in rows(tmp_path, "objdump", "-dr", "4_models.o"))
    models = re.findall(r"<(\w+)>: .*?R_X86_64_(\w+)", code)
    assert models == [
        ("general_dynamic", "TLSGD"),
        ("local_dynamic", "TLSLD"),
        ("initial_exec", "GOTTPOFF"),
        ("local_exec", "TPOFF32"),
    ]


def misses(found: list[list[str]], x86: bool) -> None:
    """What step 5 says of a thread that lacks something.  isalpha's table depends on the version of glibc."""
    table = {(row[0], row[1]): row[2:] for row in found[1:]}
    assert table.pop(("isalpha", "__ctype_init"))[0] in ("not the locale's table", "Segmentation fault")
    assert table == {
        ("printf", "CLONE_SETTLS"): ["main gets in as well", "main must wait"],
        ("printf", "pointer guard"): ["Segmentation fault" if x86 else "main must wait", "main must wait"],
        ("malloc", "a pthread, once"): ["from main's heap", "from a heap of its own"],
        ("mutex", "tid"): ["main locks it as well", "main must wait"],
        ("setlocale", "tid"): ["Alarm clock", "C.UTF-8"],
        ("dlopen", "DTV of malloc"): ["Aborted", "has its variables"],
        ("fork", "glibc's list"): ["its child crashes", "its child lives"],
    }


@pytest.mark.slow
def test_step_5_names_what_breaks_and_mends_it(tmp_path: Path) -> None:
    misses(runs(tmp_path, "5_glibc.c"), X86)


@pytest.mark.skipif(not sysconfig.get_config_var("Py_ENABLE_SHARED"), reason="there is no libpython to link with")
def test_step_6_runs_python_in_its_threads(tmp_path: Path) -> None:
    folder, version = map(sysconfig.get_config_var, ("LIBDIR", "LDVERSION"))
    include = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    libraries = shlex.split(sysconfig.get_config_var("LIBS"))
    found = runs(
        tmp_path, "6_python.c", *include, f"-L{folder}", f"-Wl,-rpath,{folder}", f"-lpython{version}", *libraries
    )
    names, idents, tids, sums = zip(*(row[0].split() for row in found), strict=True)
    assert sorted(names) == ["first", "main", "second"]
    assert len(set(idents)) == len(set(tids)) == 3
    assert set(sums) == {"499999500000"}


def take_turns(found: list[list[str]]) -> None:
    """What step 6 says of its green threads."""
    lines = [re.fullmatch(r"(\w+): number (\d+) at (\w+), tid (\d+)", row[0]) for row in found]
    assert all(lines)
    who, numbers, places, tids = zip(*(line.groups() for line in lines if line), strict=True)
    assert who == (*"bababa", "main")
    assert numbers == ("43", "43", "44", "44", "45", "45", "42")
    assert len(set(places)) == 3
    assert len(set(tids)) == 1


@pytest.mark.parametrize("optimised", ["-O0", "-O2"])
def test_step_6_switches_threads_of_one_lwp(tmp_path: Path, optimised: str) -> None:
    take_turns(runs(tmp_path, "6_green.c", optimised))


@pytest.mark.slow
def test_the_steps_on_aarch64(tmp_path: Path) -> None:
    """Under qemu's emulation of a process, which has no children with CLONE_VM: the first two are compiled only."""
    compiler, qemu = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if not (compiler and qemu):
        pytest.skip("there is no compiler for aarch64, or no qemu-aarch64")
    emulated = (qemu, "-L", "/usr/aarch64-linux-gnu", tmp_path / "a.out")
    for name in ("1_stack.c", "2_fork.c", "3_join.c"):
        compiled(tmp_path, name, compiler=compiler)
    joined(rows(tmp_path, *emulated))
    compiled(tmp_path, "4_tls.c", compiler=compiler)
    has_own_tls(rows(tmp_path, *emulated))
    compiled(tmp_path, "5_glibc.c", compiler=compiler)
    misses(rows(tmp_path, *emulated), x86=False)
    compiled(tmp_path, "6_green.c", "-O2", compiler=compiler)
    take_turns(rows(tmp_path, *emulated))
    for name in ("green.h", "swap.h", "grader.c"):
        shutil.copy(LABS / "lab6" / name, tmp_path)
    shutil.copy(solution("lab6"), tmp_path)
    subprocess.run([compiler, "-O2", "-I.", "lab6.c", "grader.c"], cwd=tmp_path, timeout=60, check=True)
    for test in ("turns", "variables", "a_wait_sleeps"):
        assert rows(tmp_path, *emulated, test) == []


# ---- the same in Python ----------------------------------------------------------------------------------------------


def said(name: str) -> list[list[str]]:
    """What course/steps/NAME prints, as rows() has it."""
    lines = python(COURSE / "steps" / name).stdout.splitlines()
    return [re.split(r"  +", line.strip()) for line in lines if line.strip()]


def test_each_step_has_a_twin_in_python() -> None:
    assert [path.stem for path in sorted((COURSE / "steps").glob("[1-6]_*.py"))] == [page.stem for page in PAGES]


def test_step_1_in_python() -> None:
    assert [row[1:] for row in said("1_stack.py")[1:]] == [
        ["Linux", "Bad file descriptor", "/"],
        ["Linux", "written", "/"],
        ["Linux", "Bad file descriptor", "/tmp"],
        ["empty", "Bad file descriptor", "/"],
        ["empty", "written", "/tmp"],
    ]


def test_step_2_in_python() -> None:
    """Python's own faults are never quite as many."""
    pages, faults = said("2_fork.py")[-1]
    assert pages == "1000 pages"
    assert abs(int(faults) - 1000) < 50


def test_step_3_in_python() -> None:
    found = [row[0] for row in said("3_join.py")]
    assert found[1] == "waitpid of the first: No child processes"
    assert [line.endswith("alive 0") for line in found[-3:]] == [True] * 3


def test_step_4_in_python() -> None:
    assert said("4_tls.py")[1:] == [
        ["without CLONE_SETTLS", "main's errno 9, the thread's 9"],
        ["with CLONE_SETTLS", "main's errno 0, the thread's 9"],
    ]


def test_step_5_in_python() -> None:
    assert said("5_glibc.py")[1:] == [
        ["mutex", "tid", "main locks it as well", "main must wait"],
        ["fork", "glibc's list", "its child crashes", "its child lives"],
    ]


def test_step_6_in_python() -> None:
    lines = [re.fullmatch(r"(\w+): number (\d+), ident (\w+), tid (\d+)", row[0]) for row in said("6_python.py")]
    found = [line.groups() for line in lines if line]
    assert sorted(who for who, *_ in found[:6]) == ["first"] * 3 + ["second"] * 3
    assert [who for who, *_ in found[6:]] == list("ababab")
    assert [number for who, number, *_ in found if who == "a"] == ["43", "44", "45"]
    assert len({tid for *_, tid in found[6:]}) == 1
    assert len({ident for _, _, ident, _ in found[6:]}) == 2


# ---- the labs --------------------------------------------------------------------------------------------------------

NAMES = (*(f"lab{number}" for number in range(1, 12)), pytest.param("lab12", marks=pytest.mark.slow))
#: The files of labs/LAB/wrong, and the test that each fails.
WRONG = {
    "lab1": {
        "one": "one_thread_at_a_time_and_none_sleeps_for_ever",
        "two": "one_thread_at_a_time_and_none_sleeps_for_ever",
        "three": "a_wake_up_for_no_reason_is_no_lock",
    },
    "lab2": {
        "one": "a_notification_is_not_lost",
        "two": "a_notification_is_not_lost",
        "three": "threads_wait_for_different_things",
    },
    "lab5": {
        "one": "circles",
        "two": "a_program",
        "three": "ten_thousand_threads",
        "four": "stuck",
        "five": "by_the_words_of_the_sheet",
    },
    "lab7": {
        "one": "the_last_item_goes_to_one",
        "two": "each_item_goes_to_one",
        "three": "a_cell_that_is_used_again_confuses_no_thief",
        "four": "a_cell_that_is_used_again_confuses_no_thief",
    },
    "lab10": {
        "one": "nobody_overtakes_who_sleeps",
        "two": "nobody_overtakes_who_sleeps",
        "three": "a_wake_up_for_no_reason_lets_nobody_in",
        "four": "readers_are_inside_together",
    },
    "lab11": {
        "one": "it_can_be_used_again_at_once",
        "two": "nobody_leaves_before_all_have_come",
        "three": "it_can_be_used_again_at_once",
        "four": "a_wake_up_for_no_reason_lets_nobody_go",
    },
}

#: What is wrong in place of what is right in a solution, and the test that it fails.
MISTAKES = {
    "lab3": {
        "two steps": (
            (
                "        with self._changed:\n            if self._closed:\n"
                '                raise RuntimeError("the pool was shut down")\n'
            ),
            (
                '        if self._closed:\n            raise RuntimeError("the pool was shut down")\n'
                "        with self._changed:\n"
            ),
            "a_task_is_refused_or_done",
        ),
        "one is told": ("self._changed.notify_all()", "self._changed.notify()", "a_shutdown_waits_for_all_tasks"),
        "one thread": ("for _ in range(size)", "for _ in range(1)", "two_tasks_run_at_once"),
        "a thread too many": (
            "for _ in range(size)",
            "for _ in range(size + 1)",
            "no_more_threads_than_asked_for_and_none_is_left",
        ),
        "no join": ("            thread.join()\n", "            pass\n", "a_shutdown_waits_for_all_tasks"),
        "a thread ends": ("except BaseException", "except ValueError", "tasks_return_and_raise"),
    },
    "lab4": {
        "no lock": (
            '#include "keys.h"\n',
            '#include "keys.h"\n#define pthread_mutex_lock(lock)\n#define pthread_mutex_unlock(lock)\n',
            "no_data_race",
        ),
        "no number": ("&& values[key].times == now ?", "?", "a_deleted_key_has_no_values"),
        "not emptied": ("    values[key].value = NULL;\n", "", "destructors_run_in_the_thread"),
        "one round": ("round < ROUNDS", "round < 1", "a_destructor_sets_a_value"),
        "round and round": ("round < ROUNDS && called", "called", "it_ends"),
        "lock held": ("    pthread_mutex_unlock(&lock); /* before", "    /* after", "a_destructor_makes_a_key"),
        "no end": ("at_end_of_thread(end);", "", "a_thread_that_pthread_create_has_not_made"),
    },
    "lab6": {
        "asks for the end": (
            "    if (!thread->ended) {\n",
            "    while (!thread->ended && runnable)\n        green_yield();\n    if (!thread->ended) {\n",
            "a_join_sleeps",
        ),
        "asks for the count": (
            "    if (semaphore->count > 0) {\n",
            "    while (semaphore->count == 0 && runnable)\n        green_yield();\n    if (semaphore->count > 0) {\n",
            "a_wait_sleeps",
        ),
        "main's TLS": ("current->sp, current->tp)", "current->sp, __builtin_thread_pointer())", "variables"),
        "not aligned": ("GREEN_STACK) - WORDS", "GREEN_STACK) - WORDS - 1", "variables"),
        "saws off its branch": (
            "    me->ended = 1;\n",
            "    me->ended = 1;\n    munmap(me->stack, GUARD + GREEN_STACK);\n",
            "turns",
        ),
        "frees nothing": ("    munmap(thread->stack, GUARD + GREEN_STACK);\n", "", "memory_is_given_back"),
        "no guard": ("PROT_NONE", "PROT_READ | PROT_WRITE", "a_stack_has_a_guard"),
        "listed": (
            "    if (!runnable)\n        return EDEADLK;\n    append(&semaphore->first, current);\n",
            "    append(&semaphore->first, current);\n    if (!runnable)\n        return EDEADLK;\n",
            "a_deadlock_is_told",
        ),
    },
    "lab8": {
        "weighs under the lock": (
            "number = weigh()\n        with self._lock:",
            "with self._lock:\n            number = weigh()",
            "a_counter",
        ),
        "one lock": ("with lock:", "with self._lock:", "a_cache"),
        "no lock around": ("with lock:", "if True:", "a_cache"),
        "no order": ("sorted((self, other), key=lambda account: account._number)", "self, other", "accounts"),
        "takes a lock twice": ("        if other is self:", "        if False:", "accounts"),
        "one lock for all": (
            "first.lock, second.lock",
            "vars(threading).setdefault('one', threading.Lock())",
            "accounts",
        ),
        "no copy": ("functions = list(self._functions)", "functions = self._functions", "a_bell"),
        "calls under the lock": (
            "        for function in functions:\n            function()",
            "            [f() for f in functions]",
            "a_bell",
        ),
        "open and closed": ("while not self._open and self._times == before", "while not self._open", "a_gate"),
        "does not look": ("while not self._open and self._times", "while self._times", "a_gate"),
        "one passes": ("self._opened.notify_all()", "self._opened.notify()", "a_gate"),
    },
    "lab9": {
        "reading is a fault": ('then child reads": 0', 'then child reads": PAGES', "prediction"),
        "the parent is free": (
            'then child ends, then parent writes": PAGES',
            'then child ends, then parent writes": 0',
            "prediction",
        ),
        "zeros are enough": ('reads and writes": 2 * PAGES', 'reads and writes": PAGES', "prediction"),
        "adding is reading": ("100_000 * FLOAT // mmap.PAGESIZE", "0", "prediction"),
        "counts its birth": (
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt",
            "before = 0",
            "faults_are_counted",
        ),
        "goes on as its parent": ("os._exit(status)", "status or os._exit(status)", "work_that_raises"),
        "no wait": ("os.waitpid(child, 0)[1] != 0", "not counted", "no_child_is_left"),
    },
    "lab10": {
        "readers inside": (
            "or self._writing or self._readers:",
            "or self._writing:",
            "a_writer_is_alone_and_none_sleeps_for_ever",
        ),
        "writer wakes nobody": (
            "            self._writing = False\n            self.monitor.wake_all()",
            "            self._writing = False",
            "a_writer_is_alone_and_none_sleeps_for_ever",
        ),
        "asks again and again": (
            "or self._writing:\n                self.monitor.wait()",
            "or self._writing:\n                pass",
            "a_thread_that_waits_sleeps",
        ),
    },
    "lab11": {
        "nobody is told": ("return True", "return False", "one_is_told"),
        "wakes one": ("self.round.wake(self.parties)", "self.round.wake()", "nobody_leaves_before_all_have_come"),
        "asks in a circle": ("            self.round.wait(mine)\n", "            pass\n", "a_thread_that_waits_sleeps"),
    },
    "lab12": {
        "the circle only": (
            "        if not more:\n            return found\n",
            "        return found\n",
            "who_is_stuck",
        ),
        "with a timeout": ('["wait"]["deadline"] is None', '["wait"]', "who_is_stuck"),
        "taken most": ('float(lock["waits"]["seconds"])', 'float(lock["taken"])', "which_lock_is_slow"),
        "with a timeout, too": ('and wait["deadline"] is None', "", "what_nobody_sets"),
    },
}

#: Runs pytest once for each list of arguments, and says which tests failed and how many passed; null: it was skipped.
GRADER = """
import contextlib, io, json, os, re, sys
import pytest

class Grades:
    def __init__(self):
        self.failed, self.passed, self.skipped = set(), 0, 0

    def pytest_runtest_logreport(self, report):
        self.skipped += report.skipped
        self.passed += report.passed and report.when == "call"
        if report.failed:
            self.failed.add(re.search(r"::test_(\\w+)", report.nodeid)[1])

process = os.getpid()
for arguments in json.loads(sys.argv[1]):
    grades = Grades()
    with contextlib.redirect_stdout(io.StringIO()):
        status = pytest.main(["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", *arguments], [grades])
    if os.getpid() != process:  # a child that a lab's work should have ended
        os._exit(status)
    ran = grades.passed or grades.failed or not grades.skipped
    print(json.dumps([sorted(grades.failed), grades.passed] if ran else None), flush=True)
"""
Grade = tuple[set[str], int]


def grade(lab: str, *orders: Sequence[str | Path]) -> list[Grade | None]:
    """For each list of pytest's arguments the tests that fail, and how many pass; None: what was asked for can't run.

    All in one process, because most of a grade's time is pytest's start.
    """
    arguments = json.dumps([[str(LABS / lab), *map(str, order)] for order in orders])
    said = python("-c", GRADER, arguments, timeout=280, PYTHONDONTWRITEBYTECODE="1").stdout
    found = list(map(json.loads, said.splitlines()))
    assert len(found) == len(orders)
    return [(set(one[0]), one[1]) if one else None for one in found]


def solution(lab: str) -> Path:
    return next((LABS / "answers").glob(f"{lab}.*"))


def mistaken(lab: str, right: str, wrong: str, folder: Path) -> Path:
    """A lab's solution in this folder, with something wrong in place of what is right."""
    text = solution(lab).read_text()
    assert right in text
    assert wrong != right
    folder.mkdir()
    (yours := folder / solution(lab).name).write_text(text.replace(right, wrong))
    return yours


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lab", NAMES)
def test_a_lab_tells_what_is_right_from_what_is_wrong(lab: str) -> None:
    """A skeleton fails all its tests, a solution none, and each file of wrong/ the one that is for it."""
    wrong = WRONG.get(lab, {})
    orders = [("--yours", LABS / lab / "wrong" / f"{name}.py", "-k", test) for name, test in wrong.items()]
    skeleton, right, *others = grade(lab, (), ("--yours", solution(lab)), *orders)
    assert skeleton
    assert skeleton[0]
    assert not skeleton[1]
    assert right
    assert not right[0]
    assert right[1] >= 5
    assert {name: one and one[0] for name, one in zip(wrong, others, strict=True)} == {
        name: {test} for name, test in wrong.items()
    }


def test_a_lock_that_spins_fails_where_it_should_sleep(tmp_path: Path) -> None:
    yours = mistaken("lab1", "self.word.wait(2)", "pass", tmp_path / "spins")
    assert grade("lab1", ("--yours", yours)) == [({"a_thread_that_waits_sleeps"}, 5)]


@pytest.mark.slow
def test_a_condition_that_never_sleeps_is_told_so(tmp_path: Path) -> None:
    """It gives the lock up and takes it back, which has orders without end."""
    yours = mistaken("lab2", "        self.word.wait(before)\n", "", tmp_path / "spins")
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", LABS / "lab2", "-k", "waits_sleeps", "--yours", yours]
    said = python(*command, status=1, timeout=110).stdout
    assert "A thread asks again and again instead of sleeping" in said
    assert "BUDGET SPENT: 5,000 runs" in said


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("lab", MISTAKES)
def test_a_mistake_in_a_solution_is_found(lab: str, tmp_path: Path) -> None:
    mistakes = MISTAKES[lab].items()
    orders = [("--yours", mistaken(lab, *text, tmp_path / name), "-k", test) for name, (*text, test) in mistakes]
    found = dict(zip(MISTAKES[lab], grade(lab, *orders), strict=True))
    if not any(found.values()):
        pytest.skip("the tests that were asked for can't run here")
    assert {name: one[0] for name, one in found.items() if one} == {
        name: {test} for name, (*_, test) in mistakes if found[name]
    }
