"""How the C core is built: one shared object, with two extension modules.

`runtime.native._core` is plain C, and all that threads need.  `runtime.native._structures` is made by cffi (API mode),
for the tools that read the structures of the lower floors: see structures.py.  setup.py takes both from here; `python
runtime/native/build.py` builds in place.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
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

from setuptools import Extension, setup  # noqa: E402  # which doesn't expect every system

# no-exceptions: pthread_cleanup_push must expand to the jmp_buf form, see kernel/lwp/thread_main.c.
# initial-exec: this module's thread-local words lie in the static TLS block, a load away.  Otherwise a thread's first
# access would allocate them by malloc, which gives the thread an arena (64 MiB of address space, some pages).  The one
# exception, the variable in demo/tlsdemo.c, is reached by the general model and lies in the same block.
# asynchronous-unwind-tables: the forced unwind of pthread_exit walks through our frames.
OPTIONS = [
    "-std=gnu11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-fno-exceptions",
    "-ftls-model=initial-exec",
    "-fasynchronous-unwind-tables",
    "-fvisibility=hidden",
]

# The C floors, ground floor first: a file calls only files that stand before it.  tools/layers.py checks that.

# What the package is about.  None of these files knows one of TOOLS.
CORE = [
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
    "observe/debug.c",
    # What stands on the kernel, without Python.
    "waits/cancel.c",
    "waits/any.c",
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
    # Python.
    "python/without_gil/heaps.c",
    "python/threads/gil_state.c",
    "python/args.c",
    "python/groups/cancel.c",
    "python/groups/group.c",
    "python/threads/chunks.c",
    "python/threads/faulthandler.c",
    "python/threads/gil_queue.c",
    "python/threads/gil_crowd.c",
    "python/threads/wake.c",
    "python/without_gil/spin.c",
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
    "python/pool/future.c",
    "python/pool/work_queue.c",
    "python/green/foreign.c",
    "python/green/scheduler.c",
    "python/green/sockets/object.c",
    "python/green/sockets/transfer.c",
    "python/green/sockets/connect.c",
    "python/green/sockets/trial.c",
    "python/green/sockets/stream.c",
    "python/green/sockets/methods.c",
    "python/green/sockets/tls.c",
    "python/green/files.c",
    "python/green/stand_in.c",
    "python/green/pipes.c",
    "python/threads/boot.c",
    "python/waits/end_fd.c",
    "python/threads/lwp.c",
    "python/green/helpers.c",
    "python/threads/thread.c",
    "python/threads/placement.c",
    "python/waits/file.c",
    "python/waits/things.c",
    "python/waits/wait.c",
    "python/groups/await.c",
    "python/module.c",
]

# What looks at threads, has them explored or held, and shows what they are made of.
TOOLS = [
    "explore/record.c",
    "explore/strategies/strategy.c",
    "explore/strategies/planned.c",
    "explore/strategies/random.c",
    "explore/strategies/pct.c",
    "explore/strategies/pos.c",
    "explore/choose.c",
    "explore/clock.c",
    "explore/turns.c",
    "explore/run.c",
    "observe/steps.c",
    "observe/trace.c",
    "observe/inspect.c",
    "observe/measure.c",
    "observe/aside.c",
    "observe/calls.c",
    "observe/sampler.c",
    "observe/listen.c",
    "demo/cost.c",
    "demo/tlsdemo.c",
    "python/explore/swap.c",
    "python/explore/point.c",
    "python/explore/locks.c",
    "python/explore/waiters.c",
    "python/explore/code.c",
    "python/explore/threads.c",
    "python/explore/chance.c",
    "python/explore/loops.c",
    "python/explore/sqlite.c",
    "python/without_gil/kept.c",
    "python/explore/control.c",
    "python/observe/counts.c",
    "python/observe/takings.c",
    "python/observe/waits.c",
    "python/observe/sites.c",
    "python/observe/names.c",
    "python/observe/held.c",
    "python/observe/lock_order.c",
    "python/threads/gil_waits.c",
    "python/contention/delays.c",
    "python/contention/stacks.c",
    "python/contention/told.c",
    "python/contention/contention.c",
    "python/chaos/hold.c",
    "python/chaos/record.c",
    "python/chaos/points.c",
    "python/chaos/operations.c",
    "python/chaos/control.c",
    "python/observe/trace.c",
    "python/observe/frames.c",
    "python/observe/watch.c",
    "python/observe/asked.c",
]

SOURCES = CORE + TOOLS


def entries_option(folder: Path = HERE) -> str:
    """For the compiler: each `const struct entries entries_NAME` of the C in that folder, in the order of SOURCES, see
    python/room.h.  An installed package has no C."""
    definition = re.compile(r"^const struct entries entries_(\w+) =", re.MULTILINE)
    names = [name for source in SOURCES for name in definition.findall((folder / source).read_text())]
    return "-DENTRIES(of)=" + " ".join(f"of({name})" for name in names)


#: What structures.py gives to the map of TLS, the demonstrations, and tests.
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
if TOOLS:
    STRUCTURES += """
struct inspect_module {
    size_t id, generation, image_size, size, align, image;
    ptrdiff_t offset;
    char name[1024];
};
size_t inspect_modules(struct inspect_module *out, size_t capacity, char *images, size_t *bytes);
struct inspect_places { ptrdiff_t block_low, block_high, pthread, errno_at; };
void inspect_places(struct inspect_places *out);
struct inspect_block { size_t id, size; char *into; int copied; };
struct inspect_thread {
    uintptr_t tp, dtv;
    size_t dtv_length;
    uintptr_t guard_low, stack_low, stack_high;
    size_t stack_used;
    int tid, ours;
};
int inspect_copy(uintptr_t ident, struct inspect_thread *out, char *block, union glibc_dtv *dtv, size_t capacity,
                 struct inspect_block *blocks, size_t count);
size_t inspect_stack_used(uintptr_t low, uintptr_t high);

int64_t cost_once(int kind);

int *tlsdemo_variable(void);
int *tlsdemo_errno(void);
int tlsdemo_fail(int how);
"""

#: Before the C that cffi writes.
INCLUDES = """
#include "kernel/arch/arch.h"
#include "kernel/context/context.h"
#include "kernel/glibc/glibc.h"
#include "python/compat.h"

#define _cffi_init(name, version, context) compat_needs_no_gil(_cffi_init(name, version, context))
"""
if TOOLS:
    INCLUDES += """
#include "demo/cost.h"
#include "demo/tlsdemo.h"
#include "observe/inspect.h"
"""

EXTENSION = Extension(
    "runtime.native._core",
    sources=[str((HERE / name).relative_to(ROOT)) for name in SOURCES],
    include_dirs=[str(HERE.relative_to(ROOT))],
    define_macros=[("_GNU_SOURCE", None), ("_CFFI_NO_LIMITED_API", None)],  # the two modules are for one CPython each
    libraries=["m"],
    extra_compile_args=[*OPTIONS, entries_option()] if (HERE / SOURCES[0]).exists() else OPTIONS,
)


def write_structures(folder: Path) -> str:
    """Has cffi write the C of _structures, one more source of EXTENSION; its path."""
    from cffi import FFI  # not before tools/build_backend.py could name it

    folder.mkdir(parents=True, exist_ok=True)
    ffi = FFI()
    ffi.cdef(STRUCTURES)
    ffi.set_source("runtime.native._structures", INCLUDES)
    ffi.emit_c_code(str(folder / "_structures.c"))
    return str(folder / "_structures.c")


if __name__ == "__main__":
    if reason := missing():
        raise SystemExit(reason)
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as objects:
        EXTENSION.sources.append(write_structures(Path(objects)))
        setup(
            name="core",
            ext_modules=[EXTENSION],
            script_args=["-q", "build_ext", "--inplace", f"--build-temp={objects}"],
        )
