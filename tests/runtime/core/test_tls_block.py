"""Our TLS block against the dynamic linker's, `_dl_allocate_tls`: same DTV, same images, byte by byte."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import NativeHelper, in_child, run_thread
from native_helper import load_copy

import runtime
from runtime.native import context_counts
from runtime.native.structures import ffi, lib
from runtime.scheduler import spawn

libc = ctypes.CDLL(None)
libc._dl_allocate_tls.restype = ctypes.c_void_p
libc._dl_allocate_tls.argtypes = [ctypes.c_void_p]
libc._dl_deallocate_tls.argtypes = [ctypes.c_void_p, ctypes.c_bool]

WORD = ctypes.sizeof(ctypes.c_void_p)
UNALLOCATED = 2 ** (8 * WORD) - 1
DTV_IN_TCB = {"x86_64": WORD, "aarch64": 0}[os.uname().machine]
OWN_STACK = 3 << 20  # a stack size that no other test uses: its first context is new


def word(address: int) -> int:
    return ctypes.c_size_t.from_address(address).value


class Block:
    """A TLS block that no thread runs on: where its thread pointer is, and what its DTV says."""

    def __init__(self, thread_pointer: int) -> None:
        self.thread_pointer = thread_pointer
        dtv = word(thread_pointer + DTV_IN_TCB)
        self.length = word(dtv - 2 * WORD)
        self.generation = word(dtv)
        self.entries = {
            module: (word(dtv + 2 * WORD * module), word(dtv + 2 * WORD * module + WORD))
            for module in range(1, self.length + 1)
        }

    def offset(self, module: int) -> int | None:
        """From the thread pointer to the module's block; None: not there, __tls_get_addr has to allocate it."""
        value, to_free = self.entries.get(module, (UNALLOCATED, 0))
        assert to_free == 0, "static blocks are not freed, and no dynamic one is there yet"
        # Where no module is, the linker has zeros and we the mark for unallocated: see context_load_tls().
        return None if value in (0, UNALLOCATED) else value - self.thread_pointer

    def content(self, module: int, size: int) -> bytes:
        return ctypes.string_at(self.entries[module][0], size)


@pytest.fixture
def reference() -> Iterator[type]:
    """Makes blocks as the dynamic linker does."""
    made: list[int] = []

    class Reference(Block):
        def __init__(self) -> None:
            made.append(libc._dl_allocate_tls(None))
            super().__init__(made[-1])

    yield Reference
    for pointer in made:
        libc._dl_deallocate_tls(pointer, True)


@pytest.fixture
def ours() -> Iterator[type]:
    """Prepares contexts as for a new thread, but starts none."""
    made: list[Any] = []

    class Ours(Block):
        def __init__(self, stack_size: int = OWN_STACK) -> None:
            context = lib.context_get(stack_size)
            assert context
            made.append(context)
            assert lib.context_blank(context) == 0
            assert lib.context_load_tls(context) == 0
            super().__init__(int(ffi.cast("uintptr_t", context.tp)))

    yield Ours
    for context in made:
        lib.context_put(context, 0)


def libc_module() -> int:
    return int(lib.glibc.libc_module)


def without_kept(block: Block, content: bytes) -> bytes:
    """libc's block without the words that a context keeps: malloc's, and the ctype tables."""
    kept = [block.thread_pointer + lib.glibc.libc_kept[number] for number in range(lib.glibc.libc_kept_count)]
    blanked = bytearray(content)
    for address in kept:
        at = address - block.entries[libc_module()][0]
        assert 0 <= at <= len(content) - WORD
        blanked[at : at + WORD] = bytes(WORD)
    return bytes(blanked)


def compare(mine: Block, reference: Block, helper: NativeHelper, used: bool = False) -> None:
    """Same DTV, same content; `used`: a thread has run on it, so libc's own block has the words that are kept."""
    modules = helper.modules()
    assert libc_module() in modules
    assert mine.generation == reference.generation
    assert mine.length >= max(modules)
    for entry in range(1, max(mine.length, reference.length) + 1):
        assert mine.offset(entry) == reference.offset(entry), f"module {entry}"
    for number, module in modules.items():
        if mine.offset(number) is None:
            continue
        assert mine.entries[number][0] % module.align == module.image % module.align
        content, expected = mine.content(number, module.size), reference.content(number, module.size)
        if used and number == libc_module():
            assert without_kept(mine, content) == without_kept(reference, expected)
        else:
            assert content == expected, f"module {number}"
            assert content[: module.image_size] == ctypes.string_at(module.image, module.image_size)
            assert not any(content[module.image_size :])


def test_a_new_block_is_the_linkers(ours: Any, reference: Any, native_helper: NativeHelper) -> None:
    compare(ours(), reference(), native_helper)


@pytest.mark.loads
def test_a_used_block_is_the_linkers_again(
    ours: Any, reference: Any, native_helper: NativeHelper, tmp_path: Path
) -> None:
    library = load_copy(native_helper.initial_exec, tmp_path)
    size = OWN_STACK + (1 << 20)

    def use() -> None:
        library.set(-1)
        libc.inet_ntoa(ctypes.c_uint32(0x01020304))  # its text is in libc's block
        libc.dlopen(b"/no/such/library", os.RTLD_NOW)  # so is the error that nobody has asked for

    lwp = spawn(use, stack_size=size)
    assert lwp.join()
    mine = ours(size)
    assert mine.thread_pointer == lwp.context.thread_pointer, "the context that the thread has left"
    compare(mine, reference(), native_helper, used=True)
    _ctypes.dlclose(library._handle)


@pytest.mark.loads
def test_blocks_after_dlopen_and_dlclose(
    ours: Any, reference: Any, native_helper: NativeHelper, tmp_path: Path
) -> None:
    old = ours()
    for source in (native_helper.initial_exec, native_helper.dynamic):
        before = native_helper.modules()
        library = load_copy(source, tmp_path)
        (new,) = native_helper.modules().keys() - before.keys()
        mine = ours()
        compare(mine, reference(), native_helper)
        static = source == native_helper.initial_exec
        assert (mine.offset(new) is not None) == static
        assert mine.generation > old.generation
        if static:
            assert mine.content(new, 8) == (42).to_bytes(4, "little") + bytes(4)
        _ctypes.dlclose(library._handle)
        assert new not in native_helper.modules()
        compare(ours(), reference(), native_helper)


def test_a_thread_finds_every_module_where_its_block_says(native_helper: NativeHelper) -> None:
    here = native_helper.modules()
    there: list[tuple[int, dict[int, Any]]] = []
    lwp = spawn(lambda: there.append((native_helper.lib.thread_pointer(), native_helper.modules())))
    assert lwp.join()
    (pointer, modules), main = there[0], native_helper.lib.thread_pointer()
    assert modules.keys() == here.keys()
    assert pointer == lwp.context.thread_pointer
    low, high = lwp.context.tls_block
    for number, module in modules.items():
        if module.here and low <= module.here < high:
            assert module.here + module.size <= high
            if here[number].here:  # main's DTV may not have it yet
                assert module.here - pointer == here[number].here - main, "the same offset in every thread"
    assert low <= modules[libc_module()].here < high


@pytest.fixture
def initial_exec_libraries(native_helper: NativeHelper) -> list[str]:
    return native_helper.copies(native_helper.initial_exec, 60)


@in_child
def test_initial_exec_tls_comes_while_threads_start(initial_exec_libraries: list[str]) -> None:
    """Whatever dlopen and start do at the same moment, every thread finds the image: either its start copied it, or the
    dynamic linker, which finds the thread on its list."""
    libc.dlopen.restype = ctypes.c_void_p
    libc.dlopen.argtypes = [ctypes.c_char_p, ctypes.c_int]
    libraries: list[ctypes.CDLL] = []
    wrong: list[list[int]] = []
    for path in initial_exec_libraries:
        loaded, loading = threading.Event(), threading.Event()

        def look(loaded: threading.Event = loaded) -> None:
            loaded.wait()
            values = [library.get() for library in libraries]
            if values != [42] * len(values):
                wrong.append(values)
            for library in libraries:
                library.set(1)

        def start(loading: threading.Event = loading, look: Any = look) -> None:
            lwps: list[Any] = []
            while len(lwps) < 5 or not loading.is_set():
                lwps.append(spawn(look))
            for lwp in lwps:
                lwp.join()

        starter = runtime.Thread(target=start)
        starter.start()
        handle = libc.dlopen(path.encode(), os.RTLD_NOW)  # lets go of the GIL, which ctypes.CDLL() may not
        loading.set()
        libraries.append(ctypes.CDLL(path, handle=handle))
        loaded.set()
        starter.join()
        assert not wrong, wrong


def test_a_recycled_stack_keeps_its_bytes_but_no_key_values() -> None:
    """What the next thread can read, by docs/runtime/differences.md: 64 KiB of the stack, and nothing of a key's."""
    key = ctypes.c_uint()
    assert libc.pthread_key_create(ctypes.byref(key), None) == 0
    libc.pthread_getspecific.restype = ctypes.c_void_p
    near, far = 48 << 10, 256 << 10  # bytes below the stack's top, and farther down than its owner's frames
    seen: list[Any] = []

    def leave() -> None:
        seen.append(threading.current_thread()._lwp.context.stack[1])
        for depth in (near, *range(near, far + 1, 4096)):  # as frames do, it reaches each page between
            ctypes.memmove(seen[0] - depth, b"left", 4)
        libc.pthread_setspecific(key, 1)

    def look() -> None:
        seen.append(threading.current_thread()._lwp.context.stack[1])
        seen.extend(ctypes.string_at(seen[0] - depth, 4) for depth in (near, far))
        seen.append(libc.pthread_getspecific(key))

    kept = context_counts()[1] < 1024  # of a stack that is cached besides so many others nothing stays
    for target in leave, look:
        run_thread(runtime.Thread(target=target, stack_size=OWN_STACK))
    libc.pthread_key_delete(key)
    assert seen == [seen[0], seen[0], b"left" if kept else bytes(4), bytes(4), None]
