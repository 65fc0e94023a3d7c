"""The C of tests/helpers, compiled."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from this_machine import HELPERS


class TlsModule(ctypes.Structure):
    """struct tls_module of helper.c: a loaded module with thread-local storage."""

    _fields_ = [(name, ctypes.c_size_t) for name in ("id", "image", "image_size", "size", "align", "here")]


class NativeHelper:
    """tests/helpers, compiled: helper.c loaded as `lib`, the others by path, for tests that dlopen them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(self._compile("helper.c"))
        self.initial_exec = str(self._compile("tls_initial_exec.c"))
        self.dynamic = str(self._compile("tls_dynamic.c"))
        self.variables = str(self._compile("tls_variables.c"))
        self.thread_states = str(self._compile("thread_states.c"))
        self.in_c = str(self._compile("in_c.c"))
        self.lib: Any = ctypes.CDLL(self.path)
        for name in ("thread_pointer", "key_get", "resolver_state", "ctype_table", "counter_address", "errno_address"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.signal_mask.restype = self.lib.stack_guard.restype = ctypes.c_uint64
        self.lib.hammer_malloc.restype = ctypes.c_long
        self.lib.hammer_malloc.argtypes = [ctypes.c_long, ctypes.c_uint]
        self.lib.fork_and_look.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self.lib.stack_damage.argtypes = [ctypes.c_size_t, ctypes.c_int]
        # The first call of each would load a library or make something that stays.
        self.lib.backtrace_frames()
        self.lib.unwind_to_end((ctypes.c_size_t * 3)())

    def _compile(self, source: str, compiler: str = "cc") -> Path:
        target = self.folder / Path(source).with_suffix(".so").name
        if not target.exists():
            options = ["-O2", "-Wall", "-Wextra", "-fPIC", "-shared"]
            subprocess.run([compiler, *options, "-o", str(target), str(HELPERS / source)], check=True)
        return target

    def copies(self, library: str, count: int) -> list[str]:
        """Copies of a library: to the dynamic linker each is another module."""
        paths = []
        for number in range(count):
            path = self.folder / f"{Path(library).stem}_{number}.so"
            if not path.exists():
                shutil.copy(library, path)
            paths.append(str(path))
        return paths

    def cxx(self, source: str = "tls_destructor.cpp") -> str:
        """A C++ library; the test is skipped when there is no C++ compiler."""
        if not (compiler := shutil.which("c++") or shutil.which("g++")):
            pytest.skip("no C++ compiler")
        return str(self._compile(source, compiler=compiler))

    def modules(self) -> dict[int, Any]:
        """Every loaded module with thread-local storage, by module id."""
        found: Any = (TlsModule * 256)()
        return {module.id: module for module in found[: self.lib.tls_modules(found, 256)]}


def load_copy(library: str, folder: Path, number: int = 0) -> ctypes.CDLL:
    """Loads a copy, which is a module of its own."""
    path = folder / f"{number}_{Path(library).name}"
    shutil.copy(library, path)
    return ctypes.CDLL(str(path))


def preload(folder: Path, source: str) -> dict[str, str]:
    """An environment in which the dynamic linker finds these symbols before libc's."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("without a C compiler there is no library to preload")
    (folder / "fake.c").write_text(source)
    library = folder / "fake.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "fake.c"], check=True)
    return {"LD_PRELOAD": str(library)}


@pytest.fixture(scope="session")
def native_helper(tmp_path_factory: pytest.TempPathFactory) -> NativeHelper:
    """The compiled helpers."""
    return NativeHelper(tmp_path_factory.mktemp("helpers"))


@pytest.fixture(scope="session")
def helper_path(native_helper: NativeHelper) -> str:
    """helper.c, compiled: for a program that loads it."""
    return native_helper.path


@pytest.fixture(scope="session")
def dynamic_library(native_helper: NativeHelper) -> str:
    """A library whose TLS the dynamic linker allocates for each thread."""
    return native_helper.dynamic


@pytest.fixture(scope="session")
def many_libraries(native_helper: NativeHelper) -> list[str]:
    """More copies of that library than a new thread's DTV has room for."""
    return native_helper.copies(native_helper.dynamic, 60)
