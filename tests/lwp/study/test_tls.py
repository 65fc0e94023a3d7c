"""`runtime.tls` as data, and `lwp tls`: what is read of a thread against what C and the kernel say in that thread."""

from __future__ import annotations

import _ctypes
import ctypes
import dataclasses
import errno
import functools
import json
import os
import re
import shutil
import signal
import sys
import threading
import xml.dom.minidom
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import pytest
from child_programs import in_child, in_forked_child, run_thread, skip_test, wait_until_parked
from commands import lwp, python, refusal
from native_helper import NativeHelper, load_copy
from seccomp import refuse

import runtime
from lwp.study.tls._output import parked
from lwp.study.tlsmap.comparison import Comparison, Part
from lwp.study.tlsmap.inspection import Inspection, Module
from lwp.study.tlsmap.variables import ModuleVariables, Variable
from runtime import scheduler, sync, tls
from runtime.native.structures import lib
from runtime.scheduler import Clone, spawn
from runtime.sync import Event

MAKE: dict[str, Any] = {"pthread": threading.Thread, "lwp": runtime.Thread}
KINDS = ("main", *MAKE)
libc = ctypes.CDLL(None, use_errno=True)
GET_ROBUST_LIST = {"x86_64": 274, "aarch64": 100}[os.uname().machine]


class Servant(NamedTuple):
    """A thread that does what it is told and else sleeps, so that others can look at it."""

    kind: str
    thread: threading.Thread
    do: Callable[[Callable[[], Any]], Any]


@contextmanager
def servant(kind: str) -> Iterator[Servant]:
    if kind == "main":
        yield Servant(kind, threading.main_thread(), lambda call: call())
        return
    calls: SimpleQueue[Any] = SimpleQueue()
    results: SimpleQueue[Any] = SimpleQueue()

    def serve() -> None:
        for call in iter(calls.get, None):
            results.put(call())

    def do(call: Callable[[], Any]) -> Any:
        calls.put(call)
        return results.get()

    thread = MAKE[kind](target=serve)
    thread.start()
    do(lambda: None)  # it has begun
    try:
        yield Servant(kind, thread, do)
    finally:
        calls.put(None)
        thread.join()


@pytest.fixture(params=KINDS)
def anyone(request: pytest.FixtureRequest) -> Iterator[Servant]:
    """The main thread, a pthread and one of ours."""
    with servant(request.param) as made:
        yield made


def module_of(library: ctypes.CDLL) -> Module:
    return next(module for module in tls.layout().modules if module.name == library._name)


def bytes_at(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


# ---- the layout ------------------------------------------------------------------------------------------------------


def test_layout_is_what_the_dynamic_linker_tells(native_helper: NativeHelper) -> None:
    layout, there = tls.layout(), native_helper.modules()
    assert {module.id for module in layout.modules} == there.keys()
    here = native_helper.lib.thread_pointer()
    for module in layout.modules:
        told = there[module.id]
        assert (module.size, module.align, module.image_size) == (told.size, told.align, told.image_size)
        assert module.initial == bytes_at(told.image, told.image_size) + bytes(told.size - told.image_size)
        assert module.zero_size == told.size - told.image_size
        assert Path(module.name).exists()
        if module.offset is not None and told.here:
            assert here + module.offset == told.here
    assert layout.errno == native_helper.lib.errno_address() - here


def test_segments_cover_the_block_without_gaps() -> None:
    layout = tls.layout()
    at = layout.low
    for segment in layout.segments:
        assert segment.offset == at, segment
        assert segment.size > 0
        at += segment.size
    assert at == layout.high
    kinds = {segment.kind for segment in layout.segments}
    assert {"module", "tcb", "pthread"} <= kinds
    if layout.rseq is not None and not layout.pthread <= layout.rseq < layout.pthread + layout.pthread_size:
        assert "rseq" in kinds
    static = [module for module in layout.modules if module.static]
    assert [segment.module for segment in layout.segments if segment.module] == sorted(
        static, key=lambda module: module.offset or 0
    )
    surplus = [segment for segment in layout.segments if segment.kind == "surplus"]
    assert [segment.size for segment in surplus] == [layout.surplus]
    assert surplus[0].offset == layout.low or surplus[0].offset + surplus[0].size == layout.high


@pytest.mark.loads
def test_a_library_with_static_tls_takes_of_the_surplus(native_helper: NativeHelper, tmp_path: Path) -> None:
    before = tls.layout()
    module = module_of(load_copy(native_helper.variables, tmp_path))
    after = tls.layout()
    assert module.static
    assert before.surplus - after.surplus >= module.size
    assert module.generation > max(one.generation for one in before.modules)


# ---- one thread ------------------------------------------------------------------------------------------------------


def test_a_thread_is_what_it_says_of_itself(anyone: Servant, native_helper: NativeHelper) -> None:
    helper = native_helper.lib
    seen = tls.inspect(anyone.thread)
    assert seen.kind == anyone.kind
    assert seen.name == anyone.thread.name
    assert seen.tid == anyone.do(threading.get_native_id) == anyone.thread.native_id
    assert seen.ident == anyone.do(threading.get_ident)
    assert seen.thread_pointer == anyone.do(helper.thread_pointer)
    fields = {field.name: field for field in [*seen.tcb, *seen.pthread]}
    assert fields["tid"].value == seen.tid
    if "stack_guard" in fields:
        assert fields["stack_guard"].value == anyone.do(helper.stack_guard)
    for field in fields.values():
        assert field.content == seen.at(field.offset, field.size)
        assert field.users
        assert field.source
        assert field.check
    assert seen.rseq is None or not seen.layout.rseq_size or 0 <= seen.rseq.cpu_id < (os.cpu_count() or 1)


def test_the_stack_is_where_the_thread_stands(anyone: Servant, native_helper: NativeHelper) -> None:
    places = (ctypes.c_size_t * 3)()
    assert anyone.do(lambda: native_helper.lib.stack_range(places)) == 0
    low, high, frame = places
    stack = tls.inspect(anyone.thread).stack
    assert stack.high - stack.used <= frame < stack.high
    if anyone.kind == "main":
        assert stack.guard is None
        assert stack.low <= low < high <= stack.high < high + (1 << 21)  # arguments and environment are above glibc's
    else:
        assert low <= stack.low < stack.high <= high  # glibc counts the block, and its guard, as part of the stack
        assert stack.guard[0] < stack.guard[1] == stack.low


@pytest.mark.parametrize("kind", ["pthread", "lwp"])
def test_the_use_of_the_stack_is_counted_in_touched_bytes(kind: str, native_helper: NativeHelper) -> None:
    depth = 1 << 20
    with servant(kind) as who:
        before = tls.inspect(who.thread).stack.used
        who.do(lambda: native_helper.lib.stack_damage(depth, 1))
        after = tls.inspect(who.thread).stack
    assert before < depth
    assert depth <= after.used < depth + (256 << 10) < after.size


def test_a_page_that_was_only_read_is_not_used() -> None:
    size = 5 << 20  # nobody else's: the second thread gets the stack that the first has left
    used = []
    for _ in range(2):
        go = threading.Event()
        lwp = spawn(go.wait, stack_size=size)
        used.append((lwp.ident, tls.inspect(lwp).stack.used))
        go.set()
        lwp.join()
        # Recycled: a page 64 KiB down was read, to see whether the thread had been there.
    assert used[0][0] == used[1][0]
    assert used[1][1] < 60 << 10


def test_bytes_outside_of_the_block_are_an_error() -> None:
    seen = tls.inspect()
    low, high = seen.layout.low, seen.layout.high
    assert seen.at(low, high - low) == seen.memory
    for offset, size in ((low - 8, 8), (high - 4, 8), (0, -1)):
        with pytest.raises(IndexError, match="not inside"):
            seen.at(offset, size)


def test_the_robust_list_is_the_kernels(anyone: Servant) -> None:
    seen = tls.inspect(anyone.thread)
    head, size = ctypes.c_size_t(), ctypes.c_size_t()
    assert libc.syscall(GET_ROBUST_LIST, seen.tid, ctypes.byref(head), ctypes.byref(size)) == 0
    assert head.value == seen.thread_pointer + seen.robust.offset
    assert seen.robust.empty
    assert (seen.robust.first, seen.robust.pending) == (head.value, 0)


@pytest.mark.loads
def test_the_dtv_says_where_each_block_is(anyone: Servant, native_helper: NativeHelper, tmp_path: Path) -> None:
    library = load_copy(native_helper.dynamic, tmp_path, KINDS.index(anyone.kind))
    library.address.restype = ctypes.c_void_p
    module = module_of(library)
    assert not module.static
    before = tls.inspect(anyone.thread)
    assert before.address_of(module) is None
    assert before.block_of(module) is None
    if anyone.kind != "main":
        assert before.dtv.generation < module.generation  # it has not looked since; main has, in dlopen

    anyone.do(lambda: library.set(5))
    address = anyone.do(library.address)
    after = tls.inspect(anyone.thread)
    assert after.dtv.generation >= module.generation
    entry = after.dtv.entries[module.id - 1]
    assert (entry.module, entry.state) == (module.id, "dynamic")
    assert after.address_of(module) == entry.address
    assert 0 <= address - entry.address < module.size
    block = after.block_of(module)
    assert block == bytes_at(entry.address, module.size)
    assert block.count(5) >= 3000
    states = {entry.module: entry.state for entry in after.dtv.entries}
    for one in after.layout.modules:
        assert one.static or states[one.id] != "static"
    assert "static" in states.values()


@pytest.mark.loads
def test_the_block_of_an_unloaded_library_is_stale(native_helper: NativeHelper, tmp_path: Path) -> None:
    with servant("lwp") as who:
        gone = load_copy(native_helper.dynamic, tmp_path, 0)
        module = module_of(gone)
        who.do(lambda: gone.set(5))
        assert tls.inspect(who.thread).address_of(module)
        _ctypes.dlclose(gone._handle)
        new = module_of(load_copy(native_helper.dynamic, tmp_path, 1))
        assert new.id == module.id
        seen = tls.inspect(who.thread)
    assert seen.dtv.entries[new.id - 1].state == "stale"
    assert seen.address_of(new) is None
    assert seen.block_of(new) is None


def test_the_calling_thread_and_idents(anyone: Servant) -> None:
    assert tls.inspect().tid == threading.get_native_id()
    assert tls.inspect(anyone.thread.ident).tid == anyone.thread.native_id
    assert anyone.do(tls.inspect).tid == anyone.thread.native_id


def test_an_lwp_is_taken_too() -> None:
    go = threading.Event()
    lwp = spawn(go.wait, name="worker")
    try:
        seen = tls.inspect(lwp)
        assert (seen.tid, seen.ident, seen.name) == (lwp.tid, lwp.ident, "worker")
        context = lwp.context
        assert (seen.stack.guard, seen.block) == (context.guard, context.tls_block)
        assert (seen.stack.low, seen.stack.high) == context.stack
    finally:
        go.set()
        lwp.join()


# ---- threads that can't be read --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKE.values())
def test_a_thread_that_does_not_live_is_an_error(make: Any) -> None:
    thread = make(target=lambda: None, name="gone")
    with pytest.raises(ProcessLookupError, match=r"gone.* was not started"):
        tls.inspect(thread)
    run_thread(thread)
    with pytest.raises(ProcessLookupError, match=r"gone.* has ended"):
        tls.inspect(thread)


def test_an_lwp_that_does_not_live_is_an_error() -> None:
    lwp = spawn(lambda: None)
    lwp.join()
    with pytest.raises(ProcessLookupError, match="has ended"):
        tls.inspect(lwp)
    with pytest.raises(ProcessLookupError, match=f"no living thread has the ident {lwp.ident:#x}"):
        tls.inspect(lwp.ident)


@pytest.mark.parametrize("ident", [0, 1, -1, 12345, 1 << 40, (1 << 64) - 8, 1 << 64])
def test_an_unknown_ident_is_an_error(ident: int) -> None:
    with pytest.raises(ProcessLookupError, match="no living thread"):
        tls.inspect(ident)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
@in_child
def test_without_process_vm_readv_it_is_read_all_the_same(number: int) -> None:
    from runtime import tls

    go_on = sync.Event()
    thread = runtime.Thread(target=go_on.wait, daemon=True)
    thread.start()
    wait_until_parked(thread.native_id or 0, private=True)
    before = tls.inspect(thread)
    if not refuse({"x86_64": 310, "aarch64": 270}[os.uname().machine], number):
        skip_test("this kernel has no seccomp filters, or the sandbox forbids them")
    assert tls.inspect(thread) == before
    go_on.set()
    thread.join()


def test_inspecting_no_thread_is_an_error() -> None:
    with pytest.raises(TypeError, match="not str"):
        tls.inspect("main")  # type: ignore[arg-type]
    copy = spawn(lambda: None, flags=Clone(0), exit_signal=signal.SIGCHLD)  # as fork(2): also beside other threads
    with pytest.raises(ValueError, match="copy of memory"):
        tls.inspect(copy)
    copy.join()


@in_child
def test_threads_end_while_they_are_read() -> None:
    """Each is read from its start until it has ended: at every moment that is a picture or a clear error."""
    from runtime import tls

    stop = False

    def churn(make: Any) -> None:
        while not stop:
            thread = make(target=lambda: libc.free(libc.malloc(3000)))
            idents.append(thread)
            run_thread(thread)

    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    idents: list[Any] = []
    churners = [threading.Thread(target=churn, args=(make,)) for make in (threading.Thread, runtime.Thread) * 2]
    for churner in churners:
        churner.start()
    read = ended = 0
    while read < 300 or ended < 300:
        for thread in idents[-4:]:
            for what in (thread, thread.ident or 1):
                try:
                    seen = tls.inspect(what)
                except ProcessLookupError:
                    ended += 1
                else:
                    assert seen.tid > 0
                    assert seen.dtv.length > 0
                    read += 1
        del idents[:-8]
    stop = True
    for churner in churners:
        churner.join()


@in_child
def test_no_thread_can_end_while_one_is_read() -> None:
    """A reader holds the lock that every thread takes at its end.  While we have it, the thread waits there."""
    from runtime import tls
    from runtime.native import structures

    address = next(fact.value for fact in structures.facts() if fact.name == "_dl_stack_cache_lock")
    lock = ctypes.c_int.from_address(address)
    futex = {"x86_64": 202, "aarch64": 98}[os.uname().machine]
    go, results = threading.Event(), []
    thread = threading.Thread(target=lambda: go.wait() and results.append(tls.inspect()))
    thread.start()
    tls.inspect(thread)  # loads what it needs
    lock.value = 2  # held, and somebody may sleep
    go.set()
    while True:
        call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
        if call[0] in ("202", "98") and int(call[1], 16) == address:
            break
        assert not results
        os.sched_yield()
    assert not results
    lock.value = 0
    libc.syscall(futex, ctypes.c_void_p(address), 129, 1)  # FUTEX_WAKE_PRIVATE
    thread.join()
    assert results[0].tid == thread.native_id


@pytest.mark.parametrize("kind", KINDS)
@in_child
def test_a_forked_child_looks_at_itself(kind: str) -> None:
    from runtime import tls

    def look() -> None:
        seen = tls.inspect()
        assert tls.inspect(threading.current_thread()).ident == seen.ident == threading.get_ident()
        assert seen.tid == os.getpid()
        assert seen.stack.size > 1 << 16

    def fork() -> None:
        results.append(in_forked_child(look))

    results: list[int] = []
    thread: Any = threading.Thread if kind == "pthread" else runtime.Thread
    fork() if kind == "main" else run_thread(thread(target=fork))
    assert results == [0]


# ---- variables -------------------------------------------------------------------------------------------------------


def named(found: ModuleVariables, name: str) -> Variable:
    (one,) = (variable for variable in found.variables if variable.name == name)
    return one


@pytest.mark.loads
def test_variables_are_where_c_has_them(anyone: Servant, native_helper: NativeHelper, tmp_path: Path) -> None:
    library = load_copy(native_helper.variables, tmp_path, KINDS.index(anyone.kind))
    places = (ctypes.c_size_t * 3)()
    anyone.do(lambda: library.addresses(places))
    anyone.do(lambda: library.change(0x11223344))
    (found,) = tls.variables(anyone.thread, library._name)
    assert (found.problem, found.complete) == ("", True)
    changed, number = ((0x11223344).to_bytes(4, sys.byteorder), (7).to_bytes(4, sys.byteorder))
    zero = (0x11223344 << 32).to_bytes(8, sys.byteorder)
    assert {one.name: (one.address, one.size, one.content, one.initial, one.exported) for one in found.variables} == {
        "exported_number": (places[0], 4, changed, number, True),
        "hidden_text": (places[1], 12, b"First".ljust(12, b"\0"), b"first".ljust(12, b"\0"), False),
        "hidden_zero": (places[2], 8, zero, bytes(8), False),
    }
    assert found.unnamed == found.module.size - 4 - 12 - 8
    # The same offset from every thread pointer, and another thread's bytes are its own.
    with servant("lwp") as other:
        (elsewhere,) = tls.variables(other.thread, library._name)
    assert (twin := named(elsewhere, "hidden_text")).content == twin.initial
    seen, text = tls.inspect(anyone.thread), named(found, "hidden_text")
    assert text.address == seen.thread_pointer + (found.module.offset or 0) + text.offset


@pytest.mark.loads
def test_variables_of_a_block_that_is_not_there_yet(native_helper: NativeHelper, tmp_path: Path) -> None:
    library = load_copy(native_helper.dynamic, tmp_path)
    library.address.restype = ctypes.c_void_p
    with servant("lwp") as who:
        (before,) = tls.variables(who.thread, library._name)
        address = who.do(library.address)
        (after,) = tls.variables(who.thread, library._name)
    value = named(before, "value")
    assert (value.address, value.content, value.initial) == (None, None, (7).to_bytes(4, sys.byteorder))
    value = named(after, "value")
    assert (value.address, value.content) == (address, (7).to_bytes(4, sys.byteorder))


def test_variables_of_the_c_library_by_any_name(native_helper: NativeHelper) -> None:
    errno = native_helper.lib.errno_address()
    for name in ("libc", "libc.so.6"):
        (found,) = tls.variables(module=name)
        assert errno in [variable.address for variable in found.variables if variable.name == "errno"]
    assert [found.module for found in tls.variables()] == list(tls.layout().modules)
    with pytest.raises(LookupError, match=r"these have: .*libc"):
        tls.variables(module="no_such")


@pytest.mark.loads
def test_a_file_that_was_replaced_is_refused(native_helper: NativeHelper, tmp_path: Path) -> None:
    library = load_copy(native_helper.variables, tmp_path)
    path = Path(library._name)
    path.unlink()
    shutil.copy(native_helper.dynamic, path)
    (found,) = tls.variables(module=library._name)
    assert not found.variables
    assert "is not the file that was loaded" in found.problem


# ---- the difference --------------------------------------------------------------------------------------------------


@contextmanager
def unused_memory() -> Iterator[None]:
    """Threads have a size of stack that no other test's have.  In memory that is used again the state of getrandom(3),
    to which struct pthread points from glibc 2.41 on, may be left by a thread that asked for random bytes."""
    before = threading.stack_size(5 << 20)
    try:
        yield
    finally:
        threading.stack_size(before)


def difference() -> tuple[Inspection, Inspection, Comparison]:
    with unused_memory(), parked(1, threading.Thread) as (stock,), parked(1) as (ours,):
        both = tls.inspect(stock), tls.inspect(ours)
        return *both, tls.compare(*both)


def test_nothing_is_unexplained() -> None:
    for _ in range(20):  # from the second on, blocks are recycled
        assert difference()[2].unexplained == ()


def test_threads_that_wait_in_primitives_of_ours_are_compared() -> None:
    go = Event()
    threads = [make(target=go.wait) for make in (threading.Thread, runtime.Thread)]
    with unused_memory():
        for thread in threads:
            thread.start()
    try:
        while len(scheduler.waiting().waits) < len(threads):
            os.sched_yield()
        assert tls.compare(*map(tls.inspect, threads)).unexplained == ()
    finally:
        go.set()
        for thread in threads:
            thread.join()


def test_libc_keeps_only_mallocs_words_from_thread_to_thread() -> None:
    nothing = ctypes.create_string_buffer(8)
    destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)

    def leave_something() -> None:  # libc remembers the library whose thread_local it was
        libc.__cxa_thread_atexit_impl(destructor, nothing, ctypes.c_void_p.in_dll(libc, "environ"))

    run_thread(runtime.Thread(target=leave_something))
    found = difference()[2]
    assert found.unexplained == ()
    kept = [lib.glibc.libc_kept[number] for number in range(lib.glibc.libc_kept_count)]
    for part in found.explained:
        if "from one thread to the next" in part.reason:
            assert {*range(part.offset, part.offset + part.size, 8)} <= {*kept}


def test_every_byte_is_in_one_list() -> None:
    pthread, ours, found = difference()
    parts = sorted([*found.equal, *found.explained], key=lambda part: part.offset)
    at = ours.layout.low
    for part in parts:
        if part.base == "tp":
            assert part.offset == at
            assert part.size == len(part.pthread) == len(part.ours)
            assert part.pthread == pthread.at(part.offset, part.size)
            assert part.ours == ours.at(part.offset, part.size)
            at += part.size
    assert at == ours.layout.high
    entries = {part.field for part in parts if part.base == "dtv"}
    assert {f"dtv[{module.id}]" for module in ours.layout.modules} <= entries
    assert all(not part.reason and part.pthread == part.ours for part in found.equal)
    assert all(part.reason and part.pthread != part.ours for part in found.explained)


# What each would mean: a wrong canary, pointers that can't be demangled, a tid that isn't its own, a lost image ...
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("tcb.stack_guard", 1),
        ("tcb.pointer_guard", 1),
        ("tcb.multiple_threads", 1),
        ("pthread.tid", 1 << 24),
        ("pthread.cancelhandling", 1 << 4),
        ("pthread.robust_head", 8),
        ("pthread.specific", 16),
        ("pthread.stackblock", 4096),
        ("pthread.start_routine", 1),
        ("tcb.self", 64),
        ("__resp", 1 << 20),
        ("errno", 1 << 24),
        ("libc.so.6", 1),
        ("surplus", 1),
    ],
)
def test_a_difference_without_a_reason_is_found(field: str, change: int) -> None:
    pthread, ours, found = difference()
    if field.startswith("tcb.") and field.removeprefix("tcb.") not in [one.name for one in ours.tcb]:
        pytest.skip("the TCB of this processor has no such field")
    part = next(part for part in [*found.equal, *found.explained] if part.field == field)
    at, size = part.offset - ours.layout.low, min(part.size, 8)
    value = int.from_bytes(ours.memory[at : at + size], sys.byteorder) ^ change
    memory = ours.memory[:at] + value.to_bytes(size, sys.byteorder) + ours.memory[at + size :]
    (wrong,) = tls.compare(pthread, dataclasses.replace(ours, memory=memory)).unexplained
    assert wrong.offset == part.offset
    assert wrong.ours != wrong.pthread
    assert not wrong.reason


def test_a_wrong_dtv_is_found() -> None:
    pthread, ours, _ = difference()
    number = next(module.id for module in ours.layout.modules if module.static)
    entries = [
        dataclasses.replace(entry, state="dynamic", content=entry.content + 8) if entry.module == number else entry
        for entry in ours.dtv.entries
    ]
    ours = dataclasses.replace(ours, dtv=dataclasses.replace(ours.dtv, entries=tuple(entries)))
    assert [part.field for part in tls.compare(pthread, ours).unexplained] == [f"dtv[{number}]"]


@pytest.mark.loads
def test_what_cannot_be_compared_is_refused(native_helper: NativeHelper, tmp_path: Path) -> None:
    with servant("lwp") as ours, servant("pthread") as stock:
        before, mine = tls.inspect(stock.thread), tls.inspect(ours.thread)
        with pytest.raises(ValueError, match="not lwp and pthread"):
            tls.compare(mine, before)
        load_copy(native_helper.dynamic, tmp_path)
        with pytest.raises(ValueError, match="have changed"):
            tls.compare(before, tls.inspect(ours.thread))


# ---- the command -----------------------------------------------------------------------------------------------------


@functools.cache  # each text is looked at by several tests
def shown(*args: str, columns: int = 80) -> str:
    done = lwp("tls", *args, COLUMNS=str(columns), PYTHONIOENCODING="utf-8")
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("args", [(), ("--threads", "4"), ("--diff",), ("--variables",)])
def test_piped_it_fits_the_width_and_has_no_colour(args: tuple[str, ...]) -> None:
    text = shown(*args)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_picture_shows_all_parts_in_the_order_of_addresses() -> None:
    lines = shown(columns=120).splitlines()
    addresses = [int(line.split()[0], 16) for line in lines if line.startswith("0x")]
    # guard, stack, surplus, two blocks, TCB, struct pthread, the end: rseq and libpython may have no block of their own
    assert len(addresses) >= 8
    assert addresses == sorted(addresses)
    picture = "\n".join(lines)
    for word in ("guard", "stack", "surplus", "libc.so.6", "thread pointer", "TCB", "struct pthread", "DTV", "robust"):
        assert word in picture


def test_several_threads_have_the_same_offsets_and_other_addresses() -> None:
    one, two, three = json.loads(shown("--threads", "3", "--json"))["threads"]
    assert one["layout"] == two["layout"] == three["layout"]
    assert len({thread["thread_pointer"] for thread in (one, two, three)}) == 3
    assert len({thread["tid"] for thread in (one, two, three)}) == 3
    tcb = [line for line in shown("--threads", "4").splitlines() if "TCB = thread pointer" in line]
    assert len(set(re.findall(r"0x[0-9a-f]+", "".join(tcb)))) == 4


def test_a_placement_takes_no_width_from_the_labels() -> None:
    nice = "import os, sys; os.nice(19); os.execv(sys.executable, sys.argv)"
    text = python("-c", nice, "-m", "runtime", "tls", "--threads", "3", COLUMNS="80").stdout
    assert re.search(r"^ +nice 19 +nice 19 +nice 19", text, re.MULTILINE), text
    assert "TCB = thread pointer" in text


def test_the_difference_as_json() -> None:
    found = json.loads(shown("--diff", "--json"))
    assert found.keys() == {"equal", "explained", "unexplained"}
    assert found["unexplained"] == []
    fields = {field.name for field in dataclasses.fields(Part)}
    assert all(part.keys() == fields for part in [*found["equal"], *found["explained"]])
    assert "0 are unexplained" in shown("--diff")


def test_the_variables_of_one_module() -> None:
    (module,) = json.loads(shown("--variables", "libc", "--json"))["modules"]
    assert "errno" in [variable["name"] for variable in module["variables"]]
    text = shown("--variables", "libc.so.6")
    assert "errno" in text
    assert "_core" not in text
    assert "_core" in shown("--variables")


@pytest.mark.parametrize("args", [(), ("--diff",)])
def test_a_picture_in_a_file_needs_nothing_else(args: tuple[str, ...], tmp_path: Path) -> None:
    svg, html = tmp_path / "x.svg", tmp_path / "x.html"
    assert shown(*args, "--svg", str(svg), "--html", str(html)) == ""
    drawn = xml.dom.minidom.parse(str(svg))
    assert drawn.documentElement.tagName == "svg"
    assert len(drawn.getElementsByTagName("text")) > 20
    for text in (svg.read_text(), html.read_text()):
        assert "libc.so.6" in text.replace("&#160;", " ")
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--variables", "no_such"], "no module 'no_such'"),
        (["--diff", "--threads", "2"], "ask for one"),
        (["--threads", "0"], "--threads"),
        (["--svg", "/no/such/folder/x.svg"], "/no/such/folder/x.svg"),
        (["x"], "unexpected extra argument"),
    ],
)
def test_errors_are_one_line(args: list[str], says: str) -> None:
    assert says in refusal(lwp("tls", *args, status=2))


def test_local_loads_nothing_else() -> None:
    loaded = python("-c", "import sys; from runtime.tls import local; print(*sys.modules)").stdout.split()
    assert "runtime.tls" in loaded
    assert not {"lwp", "runtime.native", "elftools", "resource", "rich"} & {*loaded}


def test_without_pyelftools_it_says_what_to_install() -> None:
    program = "import sys; from runtime import tls; sys.modules['elftools'] = None; tls.variables()"
    last = python("-c", program, status=1).stderr.splitlines()[-1]
    assert last == "ImportError: reading symbol tables needs pyelftools: pip install 'lwp-runtime[elf]'"
