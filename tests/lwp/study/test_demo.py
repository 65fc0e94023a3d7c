"""The demos, each run as a user does, and what their texts promise."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from child_programs import in_child
from commands import lwp, refusal
from this_machine import TREE, needs_matplotlib
from traced_calls import under_strace

from lwp.native import _tools

NAMES = ("files", "vm", "tasks", "models", "cow", "createthread", "tls")
FAST = {"cow": ("--max-mb", "10")}  # what a demo needs to be quick


def demo(*args: str, status: int | None = 0, columns: int = 80) -> subprocess.CompletedProcess[str]:
    return lwp("demo", *args, status=status, timeout=100, COLUMNS=str(columns), PYTHONIOENCODING="utf-8")


def text_of(*args: str, columns: int = 80) -> str:
    done = demo(*args, columns=columns)
    assert done.stderr == ""
    return done.stdout


def facts_of(*args: str) -> Any:
    return json.loads(text_of(*args, "--json"))


# ---- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_shows_its_code_and_where_it_is_explained(name: str) -> None:
    code = text_of("--code", name)
    assert code.startswith(f"lwp/study/demo/{name}.py\n")
    assert "def run(" in code or "def measure(" in code
    assert "def command(" not in code
    more = code.splitlines()[-1].removeprefix("more: ")
    assert f"\n\nmore: {more}\ncode: lwp demo --code {name}\n" in text_of(name, *FAST.get(name, ()), columns=200)
    document, _, anchor = more.partition("#")
    headings = re.findall(r"^##+ (.*)", (TREE / document).read_text(), re.MULTILINE)
    assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_createthread_beside_pthread() -> None:
    if not shutil.which("strace") or lwp("demo", "createthread", "--beside", "pthread", status=None).returncode:
        pytest.skip("strace can't trace here")
    facts = {row["what"]: row for row in facts_of("createthread", "--beside", "pthread")["calls"]}
    stock, ours = (facts["the thread"][module][0]["call"] for module in ("threading", "runtime"))
    assert {*re.findall(r"CLONE_\w+", stock)} == {*re.findall(r"CLONE_\w+", ours)}
    assert "mmap(" in facts["its memory"]["runtime"][0]["call"]
    assert facts["its end"]["runtime"] == [{"task": "thread", "call": "exit(0)"}]
    assert any("rseq" in call["call"] for call in facts["its first lines"]["threading"])
    assert "by hand, " in text_of("createthread", "--beside", "pthread")


@pytest.mark.parametrize("args", [(), ("--help",)])
def test_lists_its_demos_with_a_line_each(args: tuple[str, ...]) -> None:
    lines = text_of(*args).splitlines()
    for name in NAMES:
        assert [line for line in lines if line.split()[:1] == [name] and len(line.split()) > 3], name


@pytest.mark.parametrize("name", NAMES)
def test_has_help_with_the_line_of_the_list(name: str) -> None:
    listed = next(line for line in text_of().splitlines() if line.split()[:1] == [name])
    first_line = listed.split(maxsplit=1)[1].split(":")[0].rstrip(".")
    assert first_line in text_of(name, "--help")


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("name", NAMES)
def test_piped_it_fits_the_width_and_has_no_colour(name: str, columns: int) -> None:
    text = text_of(name, *FAST.get(name, ()), columns=columns)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize("name", NAMES)
def test_a_terminal_without_unicode_is_no_failure(name: str) -> None:
    assert lwp("demo", name, *FAST.get(name, ()), timeout=100, PYTHONIOENCODING="ascii").stderr == ""


@pytest.mark.parametrize("name", ["tasks", "tls"])
def test_threads_that_cannot_be_made_are_an_error_of_one_line(name: str) -> None:
    def room_for_a_few() -> None:
        # A stack that finds no room must leave enough for the threads that there are, hence so large ones.
        resource.setrlimit(resource.RLIMIT_STACK, (256 << 20, 256 << 20))
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    command = [sys.executable, "-m", "runtime", "demo", name, "--threads", "20"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=room_for_a_few, timeout=100)
    assert done.returncode != 0
    assert "can't start new thread" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("private", [False, True], ids=["shared", "private"])
def test_files_a_childs_close_is_the_parents_where_they_share_the_table(private: bool) -> None:
    options = ["--private"] * private
    facts = facts_of("files", *options)
    assert "CLONE_VM" in facts["flags"]
    assert ("CLONE_FILES" in facts["flags"]) is not private
    assert facts["exit_status"] == 0
    assert facts["open_in_child_before_close"]
    assert not facts["open_in_child_after_close"]
    assert facts["open_in_parent_after_join"] is private
    assert facts["write_error"] == (None if private else "EBADF")
    assert facts["file_content"] == ("written by the parent\n" if private else "")
    assert facts["child"] != facts["parent"]
    assert not Path(facts["path"]).exists()
    assert ("fails: EBADF" in text_of("files", *options)) is not private


# ---- vm --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [(), ("--share",)], ids=["copy", "share"])
def test_vm(args: tuple[str, ...]) -> None:
    facts, parent_sees = facts_of("vm", *args), "hello from child" if args else "hello from parent"
    assert ("CLONE_VM" in facts["flags"]) == bool(args)
    assert facts["before"] == "hello from parent"
    assert facts["child"]["buffer"] == "hello from child"
    assert facts["parent"]["buffer"] == parent_sees
    assert facts["child"]["address"] == facts["parent"]["address"]
    assert facts["child"]["pid"] != facts["parent"]["pid"]
    assert facts["exit_status"] == 7
    last_row = next(line for line in text_of("vm", *args).splitlines() if "exit status 7" in line)
    assert last_row.rstrip().endswith(parent_sees)


# ---- tasks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 40])
def test_tasks_one_task_for_each_thread(count: int) -> None:
    facts = facts_of("tasks", "--threads", str(count))
    threads = facts["threads"]
    assert len(threads) == count
    assert len({thread["tid"] for thread in threads}) == count
    assert len({thread["ident"] for thread in threads}) == count
    assert sorted([facts["pid"], *(thread["tid"] for thread in threads)]) == facts["tasks"]
    assert facts["tgids"] == [facts["pid"]]
    for thread in threads:
        assert thread["in_proc_self_task"]
        assert thread["tid_seen_by_itself"] == thread["tid"]
        assert thread["tgid"] == facts["pid"]
        assert thread["heard"] == f"hello from {(thread['number'] - 1) % count}"


def test_tasks_no_more_than_the_kernel_has_tids_for() -> None:
    says = "100000000 is not in the range 1<=x<=4194304"
    assert says in refusal(demo("tasks", "--threads", "100000000", status=2))


def test_tasks_shows_each_tid_and_its_neighbours_word() -> None:
    lines = text_of("tasks", "--threads", "3").splitlines()
    for number in range(3):
        row = next(line for line in lines if line.split()[:1] == [str(number)])
        assert row.rstrip().endswith(f"hello from {(number - 1) % 3}")


# ---- models ----------------------------------------------------------------------------------------------------------


def test_models_idents_and_tids() -> None:
    facts = facts_of("models", "--threads", "6")
    assert list(facts["models"]) == ["1:1", "green, 1 LWP", "green, 2 LWPs"]
    for name, model in facts["models"].items():
        assert len(set(model["idents"])) == 6
        assert set(model["tids"]) <= set(model["tasks"])
        assert model["turn_ns"] > 0
        if name == "1:1":
            assert len(set(model["tids"])) == 6
            assert len(model["tasks"]) == 7
    assert set(facts["models"]["green, 1 LWP"]["tids"]) == {facts["pid"]}
    assert facts["models"]["green, 1 LWP"]["tasks"] == [facts["pid"]]
    assert facts["pid"] not in facts["models"]["green, 2 LWPs"]["tids"]
    assert len(facts["models"]["green, 2 LWPs"]["tasks"]) == 3


def test_models_what_a_process_adds() -> None:
    facts = facts_of("models")
    assert all(ns > 0 for ns in facts["switch_ns"].values())
    assert facts["value_ns"]["variable"] < facts["value_ns"]["pipe"]
    assert " in a variable and " in text_of("models").replace("\n", " ")


def test_models_what_blocks() -> None:
    models = facts_of("models")["models"]
    assert models["green, 1 LWP"]["turns_while_one_blocks"] == 0
    assert models["1:1"]["turns_while_one_blocks"] > 0
    assert models["green, 2 LWPs"]["turns_while_one_blocks"] > 0


# ---- cow -------------------------------------------------------------------------------------------------------------


def test_cow_has_every_kind_at_every_size() -> None:
    rows = facts_of("cow", "--max-mb", "20")["rows"]
    kinds = {"fork", "vfork", "clone(CLONE_VM)", "thread"}
    assert {(row["kind"], row["mb"]) for row in rows} == {(kind, mb) for kind in kinds for mb in (10, 20)}
    for row in rows:
        assert 0 < row["best_ns"] <= row["low_ns"] <= row["median_ns"] <= row["high_ns"]
        assert row["rss_kb"] * 1024 >= row["mb"] * 1_000_000  # it was touched


def test_cow_page_tables_grow_with_the_memory() -> None:
    tables = {row["mb"]: row["page_tables_kb"] for row in facts_of("cow", "--max-mb", "200")["rows"]}
    # An entry of 8 bytes for each page of 4 KiB, were the pages not huge.
    assert tables[200] - tables[10] >= 0.9 * 190e6 / 4096 * 8 / 1024


def test_cow_fork_copies_page_tables_and_the_others_do_not(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = [sys.executable, "-m", "runtime", "demo", "cow", "--max-mb", "10"]
    subprocess.run([*under_strace(trace, "-e", "trace=clone,vfork"), *command], cwd=tmp_path, check=True)
    calls = re.findall(r"\b(?:vfork|clone)\(.*", trace.read_text())
    copying = [call for call in calls if call.startswith("clone") and "CLONE_VM" not in call]
    assert len(calls) == 4 * len(copying) > 0


def test_cow_shows_a_row_for_each_size() -> None:
    text = text_of("cow", "--max-mb", "20")
    for word in ("fork", "vfork", "clone(CLONE_VM)", "thread", "10 MB", "20 MB", "From 10 to 20 MB"):
        assert word in text


@needs_matplotlib
def test_cow_plot_that_cannot_be_written(tmp_path: Path) -> None:
    assert "--plot" in refusal(demo("cow", "--max-mb", "10", "--plot", str(tmp_path / "missing/cow.png"), status=2))


# ---- createthread ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def life() -> Any:
    return facts_of("createthread")


def test_createthread_steps_in_causal_order(life: Any) -> None:
    first: dict[str, float] = {}
    for step in life["steps"]:
        first.setdefault(step["name"], step["us"])
    for chain in (
        # the creator, up to the clone
        ["map", "guard", "tcb", "list", "tls", "mask", "clone", "cloned", "join", "cleared", "recycled"],
        # from the clone through the thread to the end
        ["clone", "born", "glibc", "robust", "unmask", "python", "target", "returned", "destructors"],
        ["destructors", "unlist", "exit", "cleared", "recycled"],
    ):
        times = [first[name] for name in chain]
        assert times == sorted(times), chain
    assert life["steps"][0]["us"] == 0
    assert "reuse" not in first


def test_createthread_numbers_each_step_once_and_groups_them(life: Any) -> None:
    steps = sorted(life["steps"], key=lambda step: step["line"])
    assert [step["line"] for step in steps] == list(range(1, len(steps) + 1))
    groups = [step["group"] for step in steps]
    assert list(dict.fromkeys(groups)) == ["memory", "clone", "first lines", "Python", "end", "join"]
    assert [groups.index(group) for group in groups] == sorted(groups.index(group) for group in groups)


@in_child
def test_createthread_shows_a_join_of_the_main_thread_that_takes_long_as_one_wait() -> None:
    import time

    from lwp.study.demo import createthread

    read = createthread.status
    createthread.status = lambda *names: time.sleep(0.1) or read(*names)  # type: ignore[func-returns-value]
    steps = createthread.run(None)["steps"]
    assert [step["name"] for step in steps].count("join") == 1


def test_createthread_names_the_thread_of_each_step(life: Any) -> None:
    by_thread = {step["name"] for step in life["steps"] if step["who"] == "thread"}
    names = "born glibc robust rseq unmask python target returned destructors unlist exit"
    assert by_thread | {"rseq"} == {*names.split()}  # not every glibc has rseq
    for step in life["steps"]:  # a line of 80 columns has room for both
        assert 0 < len(step["what"]) <= 34, step
        assert 0 < len(step["why"]) <= 32, step


def test_createthread_facts_agree_with_each_other(life: Any) -> None:
    steps = {step["name"]: step for step in life["steps"]}
    context = life["context"]
    guard, stack, block = context["guard"], context["stack"], context["tls_block"]
    assert guard[0] == steps["map"]["a"] == steps["guard"]["a"]
    assert guard[1] == stack[0] < stack[1] <= block[0] < stack[1] + 64  # a stack ends at a multiple of 64
    assert block[0] <= context["thread_pointer"] <= block[1]
    assert block[0] <= life["ident"] < block[1]
    assert context["thread_pointer"] == steps["tcb"]["a"] == steps["recycled"]["a"]
    assert stack[0] <= steps["born"]["a"] < stack[1]
    tgid, pid = str(life["creator_tid"]), str(life["tid"])
    assert life["kernel"] == {"Name": "createthread", "Tgid": tgid, "Pid": pid, "SigBlk": "0" * 16}
    assert steps["cloned"]["a"] == life["tid"] != life["creator_tid"]
    # The word is cleared.
    assert steps["join"]["a"] == steps["cleared"]["a"] == life["word"]["address"]
    assert steps["cleared"]["b"] == life["word"]["value"] == 0


def test_createthread_explains_every_flag(life: Any) -> None:
    given = next(step["a"] for step in life["steps"] if step["name"] == "clone")
    assert len(life["flags"]) == given.bit_count() == 9
    assert all(flag["name"].startswith("CLONE_") and flag["meaning"] for flag in life["flags"])
    text = text_of("createthread")
    for flag in life["flags"]:
        assert flag["name"] in text


def test_createthread_tcb(life: Any) -> None:
    fields = {field["name"]: field for field in life["tcb"]}
    assert fields["dtv"]["value"]
    if "self" in fields:  # x86-64
        assert fields["tcb"]["value"] == fields["self"]["value"] == life["ident"]
        assert fields["multiple_threads"]["value"] == 1
        assert fields["stack_guard"]["value"] is None  # a secret
        assert fields["stack_guard"]["equals_creators"]


# ---- tls -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 20])
def test_tls_an_address_for_each_thread(count: int) -> None:
    facts = facts_of("tls", "--threads", str(count))
    rows = facts["threads"]
    assert len(rows) == count + 1
    for name in ("variable", "errno"):
        assert len({row[name]["address"] for row in rows}) == count + 1
        for row in rows:
            assert row[name]["address"] - row["thread_pointer"] == row[name]["offset"]
        if facts[name]["tls"] == "static":
            assert len({row[name]["offset"] for row in rows}) == 1
    assert facts["errno"]["tls"] == "static"
    for row in rows:
        assert row["variable"]["first"] == facts["variable"]["initial"] == 42
        assert row["variable"]["value"] == 42 + row["thread"]
        assert row["errno"]["name"] == ("EBADF", "EINVAL", "ENOENT")[row["thread"] % 3]


def test_tls_says_which_kind_was_seen() -> None:
    text, kind = text_of("tls"), facts_of("tls")["variable"]["tls"]
    assert text.count(f"\n{kind.capitalize()} TLS") == (2 if kind == "static" else 1)


# R_X86_64_DTPMOD64 and TLSDESC, R_AARCH64_TLS_DTPMOD and TLSDESC; R_X86_64_TPOFF64, R_AARCH64_TLS_TPREL
ASKED_FOR, AT_A_DISTANCE = {16, 36, 1028, 1031}, {18, 1030}


def test_tls_only_the_variable_uses_the_general_model() -> None:
    """As tlsdemo.c and build.py say: one calls __tls_get_addr or a TLS descriptor, the rest are a load away."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    with open(_tools.__file__, "rb") as file:
        elf = elffile.ELFFile(file)
        if (symbols := elf.get_section_by_name(".symtab")) is None:
            pytest.skip("the shared object has no symbol table: it is stripped")
        (variable,) = symbols.get_symbol_by_name("variable")
        sections = filter(None, map(elf.get_section_by_name, (".rela.dyn", ".rela.plt")))
        relocations = [relocation for section in sections for relocation in section.iter_relocations()]
        (general,) = (found for found in relocations if found["r_info_type"] in ASKED_FOR)
        (place,) = elf.address_offsets(general["r_offset"] + 8)  # its second word is the place in the module's block
        file.seek(place)
        offset = general["r_addend"] or int.from_bytes(file.read(8), "little")
    assert offset == variable["st_value"]
    own = [found for found in relocations if not found["r_info_sym"]]  # the others are words of the core
    distances = {found["r_addend"] for found in own if found["r_info_type"] in AT_A_DISTANCE}
    assert distances
    assert variable["st_value"] not in distances
