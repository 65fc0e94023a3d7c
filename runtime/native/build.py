"""How the C core is built: one shared object, with two extension modules.

`runtime.native._core` is plain C, and all that threads need.  `runtime.native._structures` is made by cffi (API mode),
for code that reads the structures of the lower floors: see structures.py.  lwp/native/build.py builds the tools' shared
object, and setup.py runs both files.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from runpy import run_path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

SUPPORTED = run_path(str(HERE / "supported.py"))
if reason := SUPPORTED["obstacle"]():
    raise SystemExit(reason)
COMPILER = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def macros_of(header: str) -> str | None:
    """What a file has defined that includes just that header; None: the compiler is not there, or doesn't find it."""
    folders = [sysconfig.get_path("include"), sysconfig.get_path("platinclude"), f"{sys.exec_prefix}/include"]
    flags = shlex.split(f"{os.environ.get('CPPFLAGS', '')} {os.environ.get('CFLAGS', '')}")
    command = [*COMPILER, *flags, *(f"-I{folder}" for folder in folders), "-E", "-dM", "-include", header, "-x", "c"]
    try:
        return subprocess.run([*command, os.devnull], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def missing() -> str | None:
    """What compiling needs and this machine lacks, in a sentence; None: all is there.

    Asked only before compiling, because making a source distribution needs no compiler.
    """
    if not shutil.which(COMPILER[0]):
        what = f"a C compiler is needed, and there is no {COMPILER[0]}"
    elif macros_of("stdio.h") is None:
        what = f"the C library's headers are needed, and {COMPILER[0]} finds no stdio.h"
    elif macros_of("Python.h") is None:
        what = f"this Python's headers are needed, and there is no Python.h in {sysconfig.get_path('include')}"
    else:
        return None
    return f"{what}: on Debian, apt-get install python3-dev gcc libc6-dev"


# Compilers such as musl-gcc: what they make can't be loaded into a Python that uses glibc.
if "__GLIBC__" not in (macros_of("features.h") or "__GLIBC__"):
    raise SystemExit(f"{SUPPORTED['SUPPORTED']}; this C compiler, {shlex.join(COMPILER)}, is for another C library")

from setuptools import Extension  # noqa: E402  # which doesn't expect every system

# no-exceptions: pthread_cleanup_push must expand to the jmp_buf form, see kernel/lwp/thread_main.c.
# initial-exec: thread-local words lie in the static TLS block, a load away.  Otherwise a thread's first access would
# allocate them by malloc, which gives the thread an arena (64 MiB of address space, some pages).  And what reaches a
# word of another thread, at its distance from that thread's pointer, would miss it (wait_offset, trace_there()).  The
# one exception, the variable in lwp/native/study/tlsdemo.c, is reached by the general model and lies in the same block.
# asynchronous-unwind-tables: the forced unwind of pthread_exit walks through our frames.
# no-semantic-interposition: nobody replaces a function that api.h marks, so the compiler may inline it.
OPTIONS = [
    "-std=gnu11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-fno-exceptions",
    "-fasynchronous-unwind-tables",
    "-ftls-model=initial-exec",
    "-fvisibility=hidden",
    "-fno-semantic-interposition",
]

# The C floors, ground floor first: a file calls only files that stand before it.  tools/layers.py checks that.
SOURCES = [
    # The kernel: how a thread is made, sleeps, ends and is joined.  kernel/README.md says in which order to read it.
    "kernel/arch/x86_64.c",
    "kernel/arch/aarch64.c",
    "kernel/base/events.c",
    "kernel/base/park.c",
    "kernel/base/poll.c",
    "kernel/base/fork.c",
    "kernel/glibc/glibc.c",
    "kernel/glibc/descriptors.c",
    "kernel/glibc/modules.c",
    "kernel/glibc/kept.c",
    "kernel/glibc/probe.c",
    "kernel/glibc/calibrate.c",
    "kernel/lock/lock.c",
    "kernel/context/mapping.c",
    "kernel/context/tls.c",
    "kernel/context/cache.c",
    "kernel/lwp/registry.c",
    "kernel/lwp/process.c",
    "kernel/lwp/join.c",
    "kernel/lwp/thread_main.c",
    "kernel/lwp/start.c",
    "kernel/lwp/fork.c",
    # What stands on the kernel, without Python.
    "waits/cancel.c",
    "waits/watch.c",
    "waits/queue.c",
    "green/replace.c",
    "green/timer_heap.c",
    "green/wait_table.c",
    "green/poller.c",
    "green/shared_lwp.c",
    "green/listed.c",
    "green/switch.c",
    "green/carrier.c",
    "green/green.c",
    "green/foreign.c",
    "green/scheduler.c",
    "green/thread.c",
    "debug.c",
    # Python.
    "python/without_gil/heaps.c",
    "python/threads/gil_state.c",
    "python/args.c",
    "python/waits/cancel.c",
    "python/groups/group.c",
    "python/threads/chunks.c",
    "python/threads/faulthandler.c",
    "python/threads/gil_queue.c",
    "python/threads/gil_crowd.c",
    "python/threads/wake.c",
    "python/threads/spin.c",
    "python/threads/sleep.c",
    "python/sync/serial.c",
    "python/sync/common.c",
    "python/sync/with.c",
    "python/sync/lock.c",
    "python/sync/rlock.c",
    "python/sync/event.c",
    "python/sync/semaphore.c",
    "python/sync/condition.c",
    "python/sync/barrier.c",
    "python/sync/future.c",
    "python/groups/work_queue.c",
    "python/green/scheduler.c",
    "python/green/foreign.c",
    "python/green/io/sockets/object.c",
    "python/green/io/sockets/transfer.c",
    "python/green/io/sockets/connect.c",
    "python/green/io/sockets/trial.c",
    "python/green/io/sockets/stream.c",
    "python/green/io/sockets/methods.c",
    "python/green/io/sockets/tls.c",
    "python/green/io/files.c",
    "python/green/stand_in.c",
    "python/green/io/pipes.c",
    "python/threads/boot.c",
    "python/waits/end_fd.c",
    "python/threads/lwp.c",
    "python/green/helpers.c",
    "python/threads/thread.c",
    "python/groups/things.c",
    "python/groups/wait.c",
    "python/module.c",
]


def entries_option(sources: list[str] = SOURCES, folder: Path = HERE) -> str:
    """For the compiler: each `const struct entries entries_NAME` of these files in that folder, in their order, see
    python/room.h.  An installed package has no C."""
    definition = re.compile(r"^const struct entries entries_(\w+)\s*=", re.MULTILINE)
    names = [name for source in sources for name in definition.findall((folder / source).read_text())]
    return "-DENTRIES(of)=" + " ".join(f"of({name})" for name in names)


def files_of(folder: Path = HERE) -> list[Path]:
    """All C below a folder: what changes in one of them has the shared object built again."""
    return sorted(folder.rglob("*.[ch]"))


def number_option() -> str:
    """For the compiler: the build number of the core, for both shared objects, see python/room.h."""
    digest = sha256(sys.version.encode())
    for file in files_of():
        digest.update(file.read_bytes())
    return f'-DCORE_BUILD="{digest.hexdigest()[:16]}"'


#: What structures.py gives.
STRUCTURES = """
struct glibc_fact { const char *name; long value; size_t size; int source; const char *check; ...; };
struct glibc {
    const char *version;
    size_t pthread_size, static_size, static_align, libc_module, libc_block_size, rseq_size;
    ptrdiff_t resp, rseq, libc_block, libc_kept[8];
    int libc_kept_count;
    const struct glibc_fact *facts;
    int fact_count;
    ...;
};
extern struct glibc glibc;
union glibc_dtv { size_t counter; struct { void *value, *to_free; } block; };

void *arch_thread_pointer(void);
struct arch_tcb_field { const char *name; size_t offset, size; int in_pthread; const char *users; };
extern const struct arch_tcb_field arch_tcb_fields[];
extern const int arch_tcb_field_count;

/* For the tests: a TLS block as a thread would find it. */
struct context { char *block_low, *block_high, *tp, *pthread; ...; };
struct context *context_get(size_t stack_size);
int context_blank(struct context *context);
int context_load_tls(struct context *context);
void context_put(struct context *context, int vanished);
"""

#: Before all C that cffi writes.
INCLUDES = """
#include "kernel/arch/arch.h"
#include "kernel/context/context.h"
#include "kernel/glibc/glibc.h"
#include "python/compat.h"

#define _cffi_init(name, version, context) compat_needs_no_gil(_cffi_init(name, version, context))
"""


def extension(name: str, folder: Path, sources: list[str], include: list[Path], link: Sequence[str] = ()) -> Extension:
    """One shared object of the sources in that folder.  include: folders of headers.  link: options for the linker."""
    has_files = (folder / sources[0]).exists()  # an installed package has none
    return Extension(
        name,
        sources=[str((folder / source).relative_to(ROOT)) for source in sources],
        depends=[str(file.relative_to(ROOT)) for file in (*files_of(folder), *files_of())],
        include_dirs=[str(path.relative_to(ROOT)) for path in include],
        define_macros=[("_GNU_SOURCE", None), ("_CFFI_NO_LIMITED_API", None)],  # a module is for one CPython
        libraries=["m"],
        extra_compile_args=[*OPTIONS, *([entries_option(sources, folder), number_option()] if has_files else [])],
        extra_link_args=list(link),
    )


# -Bsymbolic: the core's calls of its own functions that api.h marks go straight there, as calls of hidden ones do.
EXTENSION = extension("runtime.native._core", HERE, SOURCES, [HERE], ["-Wl,-Bsymbolic"])


def write_module(folder: Path, name: str, structures: str, includes: str) -> str:
    """Has cffi write the C of an extension module, one more source of a shared object; its path."""
    from cffi import FFI  # not before tools/build_backend.py could name it

    folder.mkdir(parents=True, exist_ok=True)
    ffi = FFI()
    ffi.cdef(structures)
    ffi.set_source(name, INCLUDES + includes)
    ffi.emit_c_code(str(folder / f"{name}.c"))
    return str(folder / f"{name}.c")


MODULES = [("_structures", STRUCTURES, "")]  #: by cffi, in the same shared object
