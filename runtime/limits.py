"""What limits the number of threads here, how much of it is in use, and which limit a failed start has hit.

Sources: clone(2) and pthread_create(3), ERRORS; getrlimit(2); proc_sys_kernel(5); cgroups(7); the kernel's
copy_process().
"""

from __future__ import annotations

import errno
import os
import resource

# Each program that makes a Thread loads this module.  Few load what NamedTuple would: typing, collections, functools.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Limit", "Tasks", "allowed", "explain", "limits", "tasks"]


class Limit:
    """One limit, and how near it is."""

    def __init__(
        self,
        name: str,
        value: int | None,
        used: int | None,
        unit: str,
        scope: str,
        applies: bool = True,
        note: str = "",
        reserved: int = 0,
        cost: int | None = 1,
    ) -> None:
        self.name = name  #: as ulimit, /proc/sys or the cgroup call it
        self.value = value  #: None: there is none, or it can't be read
        self.used = used  #: None: can't be read, or nothing is counted
        self.unit = unit  #: of both: "tasks" (threads and processes alike), "mappings" or "bytes"
        self.scope = scope  #: whose use is counted
        self.applies = applies  #: whether the kernel asks it here
        self.note = note  #: what a reader should know of it
        self.reserved = reserved  #: the part of `value` that we never get
        self.cost = cost  #: what a thread takes of it; None: next to nothing

    @property
    def free(self) -> int | None:
        """What is left of it, 0 when it is used up; None: it is no limit here, or can't be read."""
        if not self.applies or self.value is None or self.used is None:
            return None
        return max(0, self.value - self.reserved - self.used)

    @property
    def more(self) -> int | None:
        """How many more threads it allows; None as `free`."""
        return None if self.free is None or not self.cost else self.free // self.cost


class Tasks:
    """How many tasks (threads and processes alike) there are now; None where /proc doesn't say."""

    def __init__(self, process: int | None, user: int | None, machine: int | None) -> None:
        self.process = process  #: in this process
        self.user = user  #: with our real user id, as far as /proc shows them
        self.machine = machine  #: on the whole machine, or in what /proc shows of it


def _read(path: str) -> str | None:
    try:
        with open(path, "rb", buffering=0) as file:  # bytes: text files may have to import their codec first
            return file.read().decode("ascii", "replace")
    except OSError:
        return None


def _integer(text: str | None, base: int = 10) -> int | None:
    """None where there is no number, because a sandbox's /proc may look different."""
    try:
        return int(text or "", base)
    except ValueError:
        return None


def _number(path: str) -> int | None:
    return _integer(_read(path))


def _field(text: str | None, name: str) -> str | None:
    """From text as /proc/self/status has: "name:  value"."""
    for line in (text or "").splitlines():
        if line.startswith(name + ":"):
            return line[len(name) + 1 :].strip()
    return None


def _bytes(text: str | None, name: str) -> int | None:
    kibibytes = _integer((_field(text, name) or "").partition(" ")[0])
    return None if kibibytes is None else kibibytes * 1024


# ---- what is in use --------------------------------------------------------------------------------------------------


def _machine_tasks() -> int | None:
    return _integer((_read("/proc/loadavg") or "").partition("/")[2].partition(" ")[0])


def _user_tasks(uid: int) -> int | None:
    found = 0
    try:
        pids = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return None
    for pid in pids:
        status = _read(f"/proc/{pid}/status")
        if (_field(status, "Uid") or "").split()[:1] == [str(uid)]:
            found += _integer(_field(status, "Threads")) or 0
    return found


def tasks() -> Tasks:
    """How many tasks there are now."""
    return Tasks(_integer(_field(_read("/proc/self/status"), "Threads")), _user_tasks(os.getuid()), _machine_tasks())


def _mappings() -> int | None:
    try:
        found = 0
        # the file is long: read it by pieces, because memory may be short
        with open("/proc/self/maps", "rb", buffering=0) as file:
            while piece := file.read(65536):
                found += piece.count(b"\n")
        return found
    except OSError:
        return None


# ---- the limits ------------------------------------------------------------------------------------------------------


def _soft(which: int) -> int | None:
    value = resource.getrlimit(which)[0]
    return None if value == resource.RLIM_INFINITY else value


_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE = 21, 24  # linux/capability.h


def _above_nproc() -> str:
    """Why the kernel doesn't ask RLIMIT_NPROC for this thread, or ""; follows copy_process()."""
    uid_map = (_read("/proc/self/uid_map") or "").split()
    if uid_map and uid_map != ["0", "0", "4294967295"]:
        return ""  # in a user namespace of our own, our capabilities don't count
    if os.getuid() == 0:
        return "not asked: root"
    capabilities = _integer(_field(_read("/proc/thread-self/status"), "CapEff"), 16) or 0
    if capabilities >> _CAP_SYS_RESOURCE & 1:
        return "not asked: CAP_SYS_RESOURCE"
    if capabilities >> _CAP_SYS_ADMIN & 1:
        return "not asked: CAP_SYS_ADMIN"
    return ""


def _nproc() -> Limit:
    value, why = _soft(resource.RLIMIT_NPROC), _above_nproc()
    uid = os.getuid()
    return Limit("RLIMIT_NPROC (ulimit -u)", value, _user_tasks(uid), "tasks", f"user {uid}", not why, why)


def _pids_directories() -> Iterator[tuple[str, str]]:
    """(directory, name) of each cgroup from ours up to the root, where a pids controller may be."""
    paths: dict[str, str] = {}  # "" is version 2
    for line in (_read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        for controller in controllers.split(","):
            paths[controller] = path
    for line in (_read("/proc/self/mountinfo") or "").splitlines():
        where, _, what = line.partition(" - ")
        fields, (kind, _, options) = where.split(), (what.split() + [""] * 3)[:3]
        if len(fields) < 5:
            continue
        root, mount = fields[3], fields[4]
        if kind == "cgroup2":
            path = paths.get("", "/")
        elif kind == "cgroup" and "pids" in options.split(","):
            path = paths.get("pids", "/")
        else:
            continue
        if root != "/":  # what is mounted is a cgroup below the root
            path = path.removeprefix(root) or "/"
        while True:
            yield mount + path.rstrip("/"), path
            if path.strip("/") in ("", ".."):
                break
            path = os.path.dirname(path)


def _pids_max() -> list[Limit]:
    return [
        Limit("pids.max", limit, _number(f"{directory}/pids.current"), "tasks", f"cgroup {cgroup}")
        for directory, cgroup in _pids_directories()
        if (limit := _number(f"{directory}/pids.max")) is not None  # otherwise there is none, or it is "max"
    ]


def _kernel(name: str) -> int | None:
    return _number(f"/proc/sys/kernel/{name}")


def _task_limits() -> list[Limit]:
    machine = _machine_tasks()
    return [
        _nproc(),
        # Ids below 300 are given out once, at boot (RESERVED_PIDS in the kernel's pid.c).
        Limit("kernel.pid_max", _kernel("pid_max"), machine, "tasks", "machine", reserved=300),
        Limit("kernel.threads-max", _kernel("threads-max"), machine, "tasks", "machine"),
        *_pids_max(),
    ]


def _guard_regions() -> bool:
    try:
        import mmap

        with mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as page:
            page.madvise(102)  # MADV_GUARD_INSTALL, Linux 6.13
    except (OSError, ImportError):  # the mapping too may fail, when all are in use
        return False
    return True


def _max_map_count() -> Limit:
    value = _number("/proc/sys/vm/max_map_count")
    if _guard_regions():
        cost, note = None, "guard regions: stacks side by side share a mapping"
    else:
        cost, note = 2, "a stack and its guard"
    # A limit that is nearly reached counts as reached, because what failed may have wanted two or three at once and
    # given them back.
    return Limit("vm.max_map_count", value, _mappings(), "mappings", "process", note=note, reserved=4, cost=cost)


def _default_stack() -> int:
    """glibc's default: RLIMIT_STACK, or 2 MiB (ARCH_STACK_DEFAULT_SIZE) where that is unlimited."""
    return _soft(resource.RLIMIT_STACK) or 2 << 20


def _memory_limits(stack_size: int = 0) -> list[Limit]:
    """Of all memory; and, since Linux 4.7, of all that only the process can write, its threads' stacks too."""
    status, cost = _read("/proc/self/status"), stack_size or _default_stack()
    return [
        Limit(name, _soft(which), _bytes(status, field), "bytes", "process", cost=cost)
        for name, which, field in (
            ("RLIMIT_AS (ulimit -v)", resource.RLIMIT_AS, "VmSize"),
            ("RLIMIT_DATA (ulimit -d)", resource.RLIMIT_DATA, "VmData"),
        )
    ]


def _stack() -> Limit:
    value, note = _soft(resource.RLIMIT_STACK), "the size of a stack, unless another is asked for"
    return Limit("RLIMIT_STACK (ulimit -s)", value, None, "bytes", "thread", note=note, cost=None)


def limits() -> list[Limit]:
    """What can stop a new thread here, as it is now.  It raises no OSError: what can't be read is None."""
    return [*_task_limits(), _max_map_count(), *_memory_limits(), _stack()]


def allowed(found: list[Limit] | None = None) -> tuple[int, Limit] | None:
    """How many more threads the limits allow, and the limit that binds; None when none does.

    found: what limits() has returned, to spare the reading.
    """
    counted = [(limit.more, limit) for limit in (limits() if found is None else found)]
    bound = [(more, limit) for more, limit in counted if more is not None]
    return min(bound, key=lambda pair: pair[0], default=None)


# ---- a start that failed ---------------------------------------------------------------------------------------------

_OTHER_REASONS = {
    errno.EPERM: "a flag needs CAP_SYS_ADMIN, or a seccomp filter forbids clone(2)",
    errno.EINVAL: "the kernel knows no such combination of clone(2) flags",
    errno.ENOSPC: "too many nested pid namespaces, or user.max_*_namespaces is reached",
    errno.ENOSYS: "a seccomp filter hides clone(2)",
}


def _says(limit: Limit) -> str:
    what = "" if limit.unit == "tasks" else f" {limit.unit}"
    whose = f" of {limit.scope}" if limit.name == "pids.max" else ""
    return f"{limit.name}{whose} allows {limit.value}{what} and {limit.used} are in use"


def _nearest(found: list[Limit]) -> str:
    near = [(limit.free, limit) for limit in found if limit.free is not None]
    if not near:
        return "no limit that can be read here"
    free, limit = min(near, key=lambda pair: pair[0])
    return _says(limit) if free == 0 else f"no limit is reached now, the nearest: {_says(limit)}"


def _why(number: int, stack_size: int) -> str:
    if number == errno.EAGAIN:
        return _nearest(_task_limits())
    if number == errno.ENOMEM:
        maps = _max_map_count()
        for space in _memory_limits(stack_size):
            if space.more == 0:
                return f"{_says(space)}, a stack takes {space.cost}"
        if maps.free == 0:
            return _says(maps)
        if _number("/proc/sys/vm/overcommit_memory") == 2:
            memory = _read("/proc/meminfo")
            limit, used = _bytes(memory, "CommitLimit"), _bytes(memory, "Committed_AS")
            if limit is not None and used is not None and used + (stack_size or _default_stack()) > limit:
                return f"vm.overcommit_memory is 2: CommitLimit allows {limit} bytes and {used} are in use"
        return (
            "neither RLIMIT_AS, RLIMIT_DATA nor vm.max_map_count is reached: the machine or cgroup is short of memory"
        )
    return _OTHER_REASONS.get(number, "")


def explain(error: OSError, stack_size: int = 0) -> str:
    """Why no thread could be made: the kernel's reason and the limit that was hit, in one sentence.

    stack_size: bytes that were asked for, 0 if that is not known.

    Never raises: it is called when even memory may be short.
    """
    number = error.errno or 0
    try:
        reason = os.strerror(number)
        why = _why(number, stack_size)
        return f"{reason}: {why}" if why else reason
    except Exception:  # MemoryError, too many open files, a /proc that looks different
        return error.strerror or ""
