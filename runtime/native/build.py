"""How the C core is built: one extension module, `runtime.native._core`.

setup.py takes it from here; `python runtime/native/build.py` builds in place.
"""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def obstacle() -> str | None:
    """Why the core can't be built for this interpreter: a sentence in place of a compiler's hundred errors."""
    if not sys.platform.startswith("linux"):
        return f"it is made of Linux system calls (clone, futex); this is {sys.platform}"
    if platform.machine() not in ("x86_64", "aarch64") or sys.maxsize < 1 << 32:
        bits = 64 if sys.maxsize >= 1 << 32 else 32
        return f"it has code for x86-64 and aarch64, 64 bits; this Python is for {platform.machine()}, {bits} bits"
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        libc = ""
    if not libc.startswith("glibc "):
        return (
            "it works with glibc only, whose private data it writes; this Python uses another C library, such as musl"
        )
    if tuple(map(int, libc.split()[1].split(".")[:2])) < (2, 34):
        return f"it needs glibc 2.34 or newer; this is {libc}"
    if sys.implementation.name != "cpython":
        return f"it is for CPython; this is {sys.implementation.name}"
    if sysconfig.get_config_var("Py_GIL_DISABLED") and not os.environ.get("LWP_FREE_THREADED"):
        return (
            "it is for CPython with the GIL; this one is built without "
            "(LWP_FREE_THREADED=1 builds it all the same, to work on that)"
        )
    return None


if reason := obstacle():
    raise SystemExit(f"runtime can't be built here: {reason}")

from setuptools import Extension, setup  # noqa: E402  # it doesn't expect every system

# no-exceptions: pthread_cleanup_push must expand to the jmp_buf form, see lwp/thread_main.c.
# initial-exec: this module's thread-local words lie in the static TLS block, a load away.  Else a thread's first
# access would allocate them, by malloc, which gives the thread an arena (64 MiB of address space, some pages).
# The one exception, the variable in demo/tlsdemo.c, is reached by the general model and lies in the same block.
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
SOURCES = [
    "arch/x86_64.c",
    "arch/aarch64.c",
    "base/events.c",
    "base/fork.c",
    "base/park.c",
    "base/steps.c",
    "base/trace.c",
    "glibc/glibc.c",
    "glibc/descriptors.c",
    "glibc/modules.c",
    "glibc/probe.c",
    "glibc/calibrate.c",
    "glibc/replace.c",
    "sync/lock.c",
    "sync/any.c",
    "sync/queue.c",
    "context/mapping.c",
    "context/tls.c",
    "context/cache.c",
    "green/timer_heap.c",
    "green/wait_table.c",
    "green/poller.c",
    "green/switch.c",
    "green/shared_lwp.c",
    "green/carrier.c",
    "green/green.c",
    "green/scheduler.c",
    "explore/record.c",
    "explore/choose.c",
    "explore/run.c",
    "lwp/measure.c",
    "lwp/registry.c",
    "lwp/process.c",
    "lwp/join.c",
    "lwp/placement.c",
    "lwp/thread_main.c",
    "lwp/start.c",
    "lwp/fork.c",
    "inspect/inspect.c",
    "inspect/sampler.c",
    "demo/cost.c",
    "demo/load.c",
    "demo/tlsdemo.c",
    "python/gil/state.c",
    "python/args.c",
    "python/groups/cancel.c",
    "python/groups/group.c",
    "python/chunks.c",
    "python/faulthandler.c",
    "python/wake.c",
    "python/gil/queue.c",
    "python/gil/crowd.c",
    "python/sleep.c",
    "python/primitives/common.c",
    "python/primitives/with.c",
    "python/primitives/lock.c",
    "python/primitives/event.c",
    "python/primitives/semaphore.c",
    "python/primitives/condition.c",
    "python/primitives/barrier.c",
    "python/pool/future.c",
    "python/pool/work_queue.c",
    "python/scheduler.c",
    "python/sockets/object.c",
    "python/sockets/transfer.c",
    "python/sockets/stream.c",
    "python/sockets/connect.c",
    "python/sockets/trial.c",
    "python/sockets/methods.c",
    "python/sockets/tls.c",
    "python/green/files.c",
    "python/green/stand_in.c",
    "python/green/pipes.c",
    "python/boot.c",
    "python/lwp.c",
    "python/green/helpers.c",
    "python/thread.c",
    "python/groups/wait.c",
    "python/explore/swap.c",
    "python/explore/point.c",
    "python/explore/locks.c",
    "python/explore/waiters.c",
    "python/explore/code.c",
    "python/explore/threads.c",
    "python/explore/control.c",
    "python/placement.c",
    "python/demo.c",
    "python/observe/layout.c",
    "python/observe/counts.c",
    "python/observe/waits.c",
    "python/observe/trace.c",
    "python/observe/watch.c",
    "python/module.c",
]

CORE = Extension(
    "runtime.native._core",
    sources=[str((HERE / name).relative_to(ROOT)) for name in SOURCES],
    include_dirs=[str(HERE.relative_to(ROOT))],
    define_macros=[("_GNU_SOURCE", None)],
    libraries=["m"],
    extra_compile_args=OPTIONS,
)

if __name__ == "__main__":
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as objects:
        setup(name="core", ext_modules=[CORE], script_args=["-q", "build_ext", "--inplace", f"--build-temp={objects}"])
