"""Limits on the number of threads: read as they are, and named when a start hits one."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest
from conftest import python

from runtime import limits
from runtime.limits import Limit


def said_by(program: str) -> str:
    return python("-c", program).stdout


#: fill() starts threads until that fails and says how many and why; when all have ended, a start works again.
FILL = """
import resource, os, sys, threading
from runtime import Thread  # now: when fill() is called it may not be allowed to
end = threading.Event()
def fill():
    threads = []
    try:
        while len(threads) < 2000:
            thread = Thread(target=end.wait)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:
        assert str(error) == "can't start new thread", error
        assert isinstance(error.__cause__, OSError)
        assert error.__notes__ == [error.__cause__.strerror]
        assert threading.active_count() == len(os.listdir("/proc/self/task")) == len(threads) + 1
        print(len(threads), error.__cause__.errno, error.__cause__.strerror, sep="|")
    end.set()
    for thread in threads:
        thread.join()
    thread = Thread(target=print, args=("again",))
    thread.start()
    thread.join()
"""


def filled(first: str) -> tuple[int, int, str]:
    """With these lines before fill(): how many threads it could start, the errno of one more, and why."""
    told, again = said_by(f"{FILL}\n{first}\nfill()").splitlines()
    assert again == "again"
    count, number, why = told.split("|")
    return int(count), int(number), why


def test_the_kernels_answer() -> None:
    found = {limit.name: limit for limit in limits.limits()}
    for name in ("kernel.pid_max", "kernel.threads-max", "vm.max_map_count"):
        assert found[name].value == int(Path("/proc/sys", *name.split(".")).read_text())
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    assert found["RLIMIT_NPROC (ulimit -u)"].value == (None if soft == resource.RLIM_INFINITY else soft)
    mappings = len(Path("/proc/self/maps").read_text().splitlines())
    assert abs((found["vm.max_map_count"].used or 0) - mappings) < 10


def test_tasks_are_counted() -> None:
    program = """
import threading
from runtime import limits
end = threading.Event()
before = limits.tasks()
threads = [threading.Thread(target=end.wait) for _ in range(20)]
for thread in threads: thread.start()
after = limits.tasks()
end.set()
print(before.process, after.process, after.user >= 21, after.machine > 21)
"""
    assert said_by(program).split() == ["1", "21", "True", "True"]


def test_the_tightest_binds() -> None:
    def limit(name: str, value: int | None, used: int | None, cost: int | None = 1, applies: bool = True) -> Limit:
        return Limit(name, value, used, "tasks", "machine", applies, reserved=10, cost=cost)

    wide, tight = limit("wide", 1000, 100), limit("tight", 1000, 190, cost=2)
    unlimited, unknown, free = (limit("unlimited", None, 5), limit("unknown", 5, None), limit("free", 5, 5, cost=None))
    not_asked = limit("not asked", 20, 20, applies=False)
    assert limits.allowed([wide, unlimited, tight, unknown, free, not_asked]) == (400, tight)
    over = limit("over", 10, 50)
    assert limits.allowed([over, wide]) == (0, over)
    assert limits.allowed([unlimited, unknown]) is None


# ---- limits that are hit ---------------------------------------------------------------------------------------------

UNUSED_UID = 52_731  # of a user that has no other process


@pytest.mark.root
def test_nproc_is_named() -> None:
    count, number, why = filled(f"resource.setrlimit(resource.RLIMIT_NPROC, (20, 20))\nos.setuid({UNUSED_UID})")
    assert (count, number) == (19, errno.EAGAIN)  # and the main thread
    assert why == f"{os.strerror(errno.EAGAIN)}: RLIMIT_NPROC (ulimit -u) allows 20 and 20 are in use"


@pytest.mark.root
def test_nproc_is_not_asked_of_root() -> None:
    program = FILL + "resource.setrlimit(resource.RLIMIT_NPROC, (20, 20))\n"
    program += "from runtime import limits\nend.set()\nfill()\n"
    program += "nproc = limits._nproc()\nprint(nproc.applies, nproc.note)\n"
    uid_map = Path("/proc/self/uid_map").read_text().split()
    if uid_map != ["0", "0", "4294967295"]:
        pytest.skip("root of a user namespace is not root for the kernel")
    assert said_by(program).splitlines() == ["again", "False not asked: root"]


@pytest.mark.parametrize(
    ("uid", "uid_map", "capabilities", "why"),
    [
        (0, "0 0 4294967295", "0", "not asked: root"),
        (1000, "0 0 4294967295", "0", ""),
        (1000, "0 0 4294967295", f"{1 << 24:x}", "not asked: CAP_SYS_RESOURCE"),
        (1000, "0 0 4294967295", f"{1 << 21:x}", "not asked: CAP_SYS_ADMIN"),
        (0, "0 1000 1", "1ffffffffff", ""),
    ],
)
def test_which_users_are_above_nproc(
    uid: int, uid_map: str, capabilities: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"/proc/self/uid_map": uid_map, "/proc/thread-self/status": f"Name:\tx\nCapEff:\t{capabilities}\n"}
    monkeypatch.setattr(limits, "_read", files.get)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    assert limits._above_nproc() == why


@pytest.mark.parametrize(
    ("limit", "name", "size"),
    [("RLIMIT_AS", "RLIMIT_AS (ulimit -v)", "VmSize"), ("RLIMIT_DATA", "RLIMIT_DATA (ulimit -d)", "VmData")],
)
def test_a_limit_of_memory_is_named(limit: str, name: str, size: str) -> None:
    count, number, why = filled(f"""
import re
size = int(re.search(r"{size}:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
threading.stack_size(16 << 20)
resource.setrlimit(resource.{limit}, (size + (200 << 20), resource.RLIM_INFINITY))
""")
    assert 1 <= count <= 12
    assert number == errno.ENOMEM
    assert why.startswith(f"{os.strerror(errno.ENOMEM)}: {name} allows ")
    assert f"a stack takes {16 << 20}" in why


@pytest.mark.root
def test_pids_max_is_named() -> None:
    ways = {"cgroup": "/sys/fs/cgroup/pids", "cgroup2": "/sys/fs/cgroup"}
    for kind, root in ways.items():
        group = Path(root) / f"test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / "pids.max").write_text("15")
            count, number, why = filled(f"open('{group}/cgroup.procs', 'w').write('0')")
        except OSError:
            continue
        finally:
            group.rmdir()
        assert (count, number) == (14, errno.EAGAIN), kind
        assert why == f"{os.strerror(errno.EAGAIN)}: pids.max of cgroup /{group.name} allows 15 and 15 are in use"
        return
    pytest.skip("no cgroup with a pids controller can be made here")


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = """\
39 31 0:36 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
"""


@pytest.mark.parametrize(
    ("cgroup", "mounts", "expected"),
    [
        ("0::/a/b\n", V2, ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"]),
        ("0::/\n", V2, ["/sys/fs/cgroup"]),
        ("0::/../x\n", V2, ["/sys/fs/cgroup/../x", "/sys/fs/cgroup/.."]),
        ("8:pids:/docker/x/y\n1:cpu:/other\n", V1, ["/sys/fs/cgroup/pids/y", "/sys/fs/cgroup/pids"]),
        ("8:cpu,pids:/docker/x\n", V1, ["/sys/fs/cgroup/pids"]),
        ("", "", []),
    ],
)
def test_cgroups_are_found(cgroup: str, mounts: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/proc/self/cgroup": cgroup, "/proc/self/mountinfo": mounts}
    monkeypatch.setattr(limits, "_read", files.get)
    assert [directory for directory, _ in limits._pids_directories()] == expected


# ---- explain ---------------------------------------------------------------------------------------------------------


def test_the_nearest_limit_is_named_when_none_is_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = Limit("near", 100, 90, "tasks", "machine"), Limit("far", 100, 1, "tasks", "machine")
    monkeypatch.setattr(limits, "_task_limits", lambda: [far, near])
    said = limits.explain(BlockingIOError(errno.EAGAIN, ""))
    assert said.endswith(": no limit is reached now, the nearest: near allows 100 and 90 are in use")


def test_map_count_is_named() -> None:
    most = int(Path("/proc/sys/vm/max_map_count").read_text())
    if most > 300_000:
        pytest.skip(f"vm.max_map_count is {most}: too many to use up")
    program = """
import ctypes, mmap
import runtime
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mprotect.argtypes = libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
thread = runtime.Thread(target=int, stack_size=1 << 20)  # a size that no cached stack has
room = 400_000 * mmap.PAGESIZE
start = libc.mmap(None, room, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
page = start
while libc.mprotect(page, mmap.PAGESIZE, 0) == 0:  # every other page: a mapping of its own
    page += 2 * mmap.PAGESIZE
while libc.mmap(None, mmap.PAGESIZE, mmap.PROT_EXEC, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, -1, 0) != 2**64 - 1:
    pass
try:
    thread.start()
except RuntimeError as error:
    why = error.__cause__
libc.munmap(start, room, 0)
print(why.errno, why.strerror)
thread.start()
thread.join()
print("again")
"""
    why, again = said_by(program).splitlines()
    expected = f"{errno.ENOMEM} {os.strerror(errno.ENOMEM)}: vm.max_map_count allows {most} mappings and "
    assert why.startswith(expected)
    assert abs(int(why.removeprefix(expected).split()[0]) - most) <= 4
    assert again == "again"


def test_other_reasons() -> None:
    assert "CAP_SYS_ADMIN" in limits.explain(PermissionError(errno.EPERM, ""))
    assert "flags" in limits.explain(OSError(errno.EINVAL, ""))
    assert limits.explain(OSError(errno.EBADF, "")) == os.strerror(errno.EBADF)
    assert isinstance(limits.explain(OSError()), str)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
@pytest.mark.parametrize("trouble", [MemoryError, OSError, ValueError])
def test_explain_never_raises(number: int, trouble: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise trouble

    for name in ("_read", "_mappings", "_soft", "_user_tasks"):
        monkeypatch.setattr(limits, name, fail)
    assert limits.explain(OSError(number, "as the kernel said")) == "as the kernel said"


def test_explain_without_descriptors() -> None:
    """EMFILE: no file of /proc can be read, and no module imported."""
    program = """
import errno, os, resource
from runtime import limits
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
print(limits.explain(OSError(errno.EAGAIN, "short")), limits.explain(OSError(errno.ENOMEM, "short")), sep="|")
"""
    again, memory = said_by(program).strip().split("|")
    assert again.startswith(os.strerror(errno.EAGAIN))
    assert memory.startswith(os.strerror(errno.ENOMEM))
