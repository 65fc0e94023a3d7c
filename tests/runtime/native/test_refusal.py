"""What the import refuses by an ImportError, and never by a crash.

A C library that is not as it should be: the error names the check.  A call that a limit or a filter of the process
refuses: it names the call.
"""

from __future__ import annotations

import ast
import ctypes
import errno
import os
import platform
import shutil
from pathlib import Path

import pytest
from conftest import TREE, python
from native_helper import preload

import runtime

IMPORT = "import runtime.native"

# Those that are relied on; report_events isn't, it only says where to look for user_stack.
DESCRIPTORS = """pthread_list pthread_tid pthread_cancelhandling pthread_specific pthread_start_routine
    link_map_l_tls_modid link_map_l_tls_offset list_t_next dtv_t_pointer_val rtld_global__dl_stack_user"""
if platform.machine() == "x86_64":
    DESCRIPTORS += " pthread_dtvp"  # of elsewhere nothing is asked: there the DTV is not in struct pthread


def refused(environment: dict[str, str]) -> str:
    last = python("-c", IMPORT, status=1, **environment).stderr.splitlines()[-1]
    assert last.startswith("ImportError: runtime can't work with this C library: glibc "), last
    return last


def test_an_old_glibc(tmp_path: Path) -> None:
    last = refused(preload(tmp_path, 'const char *gnu_get_libc_version(void) { return "2.33"; }'))
    assert "glibc 2.33" in last
    assert "2.34 or newer is needed" in last


@pytest.mark.parametrize("name", DESCRIPTORS.split())
def test_a_descriptor_that_lies(name: str, tmp_path: Path) -> None:
    """It says 8 bytes more than is true."""
    bits, elements, offset = (ctypes.c_uint32 * 3).in_dll(ctypes.CDLL(None), f"_thread_db_{name}")
    refused(preload(tmp_path, f"const unsigned _thread_db_{name}[3] = {{{bits}, {elements}, {offset + 8}}};"))


def test_a_field_of_another_size(tmp_path: Path) -> None:
    last = refused(preload(tmp_path, "const unsigned _thread_db_pthread_tid[3] = {64, 1, 720};"))
    assert "_thread_db_pthread_tid describes a field of 64 bits, expected 32" in last


def test_the_thread_sanitizer(tmp_path: Path) -> None:
    assert "ThreadSanitizer is loaded" in refused(preload(tmp_path, "void __tsan_func_entry(void *caller) {}"))


def test_a_library_with_another_pthread_create_is_not_refused(tmp_path: Path) -> None:
    """As AddressSanitizer's: a thread first runs a function of the library's."""
    environment = preload(
        tmp_path,
        """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <pthread.h>
        #include <stdlib.h>

        struct start {
            void *(*run)(void *);
            void *arg;
        };

        static void *begin(void *arg)
        {
            struct start start = *(struct start *)arg;
            free(arg);
            return start.run(start.arg);
        }

        int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
        {
            int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
            struct start *start = malloc(sizeof *start);
            *start = (struct start){run, arg};
            real = dlsym(RTLD_NEXT, "pthread_create");
            return real(thread, attr, begin, start);
        }
        """,
    )
    program = "import runtime; thread = runtime.Thread(target=print, args=('ran',)); thread.start(); thread.join()"
    assert python("-c", program, **environment).stdout == "ran\n"


# ---- a limit or a filter of this process, which says nothing of the C library ----------------------------------------

#: The core is loaded first: what fails from there on are the calls of its checks, and not the interpreter's.
LOADED = """
import importlib.util, os, resource, sys, threading, types
sys.path.insert(0, {tests!r})
from seccomp import refuse
spec = importlib.util.spec_from_file_location("runtime.native._core", {core!r})
core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
module = types.ModuleType("runtime.native")
{obstacle}
try:
    core.attach(module)
except (ImportError, MemoryError) as error:
    os.write(1, (str(error) or "MemoryError").encode())
else:
    os.write(1, b"imported")
os._exit(0)
"""


def attached(obstacle: str) -> str:
    """What the import says that meets the obstacle after the core is loaded."""
    core, tests = runtime.native._core.__file__, str(TREE / "tests")
    said = python("-c", LOADED.format(core=core, tests=tests, obstacle=obstacle)).stdout
    assert "C library" not in said, said
    assert "\n" not in said, said
    return said


SYSTEM_CALLS = """mmap 9 222, mprotect 10 226, munmap 11 215, rt_sigaction 13 134, rt_sigprocmask 14 135,
    sched_yield 24 124, madvise 28 233, gettid 186 178, futex 202 98, sched_getaffinity 204 123, openat 257 56,
    set_robust_list 273 99, get_robust_list 274 100, rseq 334 293, clone3 435 435"""
#: Those that glibc or the check can do without.
SPARED = ["munmap", "rt_sigaction", "rt_sigprocmask", "sched_yield", "madvise", "set_robust_list", "get_robust_list"]


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.ENOMEM], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", [call.split() for call in SYSTEM_CALLS.split(",")], ids=lambda call: call[0])
def test_a_system_call_that_a_filter_refuses(call: list[str], error: int) -> None:
    name, *numbers = call
    number = numbers[platform.machine() == "aarch64"]
    said = attached(f"if not refuse({number}, {error}):\n    os.write(1, b'without filters')\n    os._exit(0)")
    if said == "without filters":
        pytest.skip(said)
    if said == "imported":
        # glibc uses clone(2) instead of clone3(2), and takes an affinity for unknown.  Old glibc registers no rseq.
        assert (
            name in SPARED
            or (name, error) in [("clone3", errno.ENOSYS), ("sched_getaffinity", errno.ENOSYS)]
            or (name in ("rseq", "clone3") and tuple(map(int, platform.libc_ver()[1].split("."))) < (2, 35))
        )
        return
    assert name not in SPARED
    assert said.startswith("runtime can't work in this process: "), said
    made_of_it = name in ("mprotect", "clone3") and error == errno.ENOMEM
    assert os.strerror(errno.EAGAIN if made_of_it else error) in said, said
    if name != "openat":  # dlopen has no errno
        assert ("RLIMIT_AS" if error == errno.ENOMEM else "a seccomp filter") in said, said


@pytest.mark.parametrize("first", range(0, 160, 16))
def test_a_limit_of_memory(first: int) -> None:
    """One that leaves so many MiB, and up to 15 more: the checks map stacks, and malloc 128 MiB for each thread."""
    used = "int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()"
    for left in range(first, first + 16, 2):
        said = attached(f"resource.setrlimit(resource.RLIMIT_AS, ({used} + ({left} << 20),) * 2)")
        if said not in ("imported", "MemoryError"):
            assert said.startswith("runtime can't work in this process: "), (left, said)
            assert "RLIMIT_AS" in said or "can't be loaded" in said, (left, said)


def test_a_limit_of_threads() -> None:
    if os.getuid() != 0:
        pytest.skip("it takes another user's id, because root is exempt")
    said = attached("resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\nos.setuid(65534)")
    assert said.startswith(f"runtime can't work in this process: pthread_create fails: {os.strerror(errno.EAGAIN)} (")
    assert "RLIMIT_NPROC" in said


def test_a_core_that_was_not_built(tmp_path: Path) -> None:
    there = Path(runtime.__file__).parents[1]
    shutil.copytree(there / "runtime", tmp_path / "runtime", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    hides = f"the source tree {tmp_path}, whose C core has not been built, hides what is installed in {there}"
    for options, path, says in ((["-S"], "", "runtime's C core has not been built for cpython-"), ([], there, hides)):
        last = python(*options, "-c", IMPORT, cwd=tmp_path, status=1, PYTHONPATH=str(path)).stderr.splitlines()[-1]
        assert last.startswith(f"ImportError: {says}"), last
        assert "pip install" in last


@pytest.mark.parametrize(("flags", "tested"), [("", "CPython up to 3.15"), ("t", "free-threaded CPython up to 3.13")])
def test_a_newer_cpython_gets_a_warning_and_works(flags: str, tested: str) -> None:
    program = """if True:
        import sys, runtime.interpreters
        runtime.interpreters.in_main = lambda: True  # which asks a 3.99 what this one hasn't
        sys.version_info, sys.abiflags = (3, 99, 0, "final", 0), sys.argv[1]
        import runtime.native
    """
    (said,) = [line for line in python("-c", program, flags).stderr.splitlines() if "Warning" in line]
    assert said.endswith(
        f"RuntimeWarning: runtime was tested with {tested}; this is 3.99, where what it checks at import is well"
    )


WITHOUT_ROBUST_LISTS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>

long syscall(long number, long a, long b, long c, long d, long e, long f)
{
    long (*real)(long, long, long, long, long, long, long) = dlsym(RTLD_NEXT, "syscall");

    if (number != SYS_get_robust_list)
        return real(number, a, b, c, d, e, f);
    errno = ENOSYS;
    return -1;
}
"""


def test_a_kernel_that_does_not_tell_of_robust_lists(tmp_path: Path) -> None:
    """It is no reason to refuse: their place is found by what glibc has laid out there."""
    program = """
import runtime.native.structures
print([(fact.value, fact.source) for fact in runtime.native.structures.facts() if "robust" in fact.name])
"""
    told, found = (
        dict(ast.literal_eval(python("-c", program, **environment).stdout))
        for environment in ({}, preload(tmp_path, WITHOUT_ROBUST_LISTS))
    )
    assert list(told) == list(found)
    assert set(found.values()) == {"probe thread"}


def test_without_the_tools_the_core_works_and_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("lwp_pytest.py", "lwp_runtime.py", "runtime"):
        (tmp_path / name).symlink_to(Path(runtime.__file__).parents[1] / name)
    missing = f"runtime's tools are not installed: there is no package lwp in {tmp_path}"
    for asks in "runtime.explore", "from runtime import observe", "runtime.tls.layout", "runtime.scheduler.statistics":
        done = python("-S", "-c", f"import runtime; {asks}", cwd=tmp_path, status=1, PYTHONPATH="")
        assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {missing}"
    assert python("-S", "-m", "runtime", cwd=tmp_path, status=1, PYTHONPATH="").stderr == f"lwp: {missing}\n"
    program = "import runtime, threading, lwp_pytest; runtime.install(); threading.Thread(target=print).start()"
    done = python("-S", "-c", program, cwd=tmp_path, PYTHONPATH="")
    assert (done.stdout, done.stderr) == ("\n", "")
