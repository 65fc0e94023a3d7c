"""Where and how urgently a thread runs: asked for at its birth, or read and changed while it lives.

Sources: sched(7), sched_setaffinity(2), sched_setscheduler(2), sched_setattr(2), setpriority(2),
PR_SET_TIMERSLACK(2const), cgroups(7).
"""

from __future__ import annotations

import errno
import functools
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypedDict, TypeVar, Unpack

from . import native

__all__ = ["POLICIES", "Placement", "Placing"]

_Value = TypeVar("_Value")

#: What a thread may ask for, and its number to the kernel.
POLICIES = {
    "other": os.SCHED_OTHER,
    "batch": os.SCHED_BATCH,
    "idle": os.SCHED_IDLE,
    "fifo": os.SCHED_FIFO,
    "rr": os.SCHED_RR,
}
_REAL_TIME = ("fifo", "rr")
#: Of all that the kernel has.
POLICY_NAMES = {number: name for name, number in POLICIES.items()} | {6: "deadline", 7: "ext"}  # linux/sched.h


class _Asked:
    """struct placement: see native/placement/placement.h."""

    def __init__(
        self,
        wanted: int = 0,
        cgroup: int = 0,
        cpus: bytearray | None = None,
        policy: int = 0,
        priority: int = 0,
        nice: int = 0,
        clamp_least: int = 0,
        clamp_most: int = 0,
        slack: int = 0,
    ) -> None:
        self.wanted = wanted
        self.cgroup = cgroup
        self.cpus = bytearray(native.PLACEMENT_CPUS // 8) if cpus is None else cpus
        self.policy, self.priority, self.nice = policy, priority, nice
        self.clamp_least, self.clamp_most = clamp_least, clamp_most
        self.slack = slack

    def pack(self) -> bytes:
        return native.placement_pack(
            self.wanted,
            self.cgroup,
            self.cpus,
            self.policy,
            self.priority,
            self.nice,
            self.clamp_least,
            self.clamp_most,
            self.slack,
        )


class Placing(TypedDict, total=False):
    """What a thread may ask for.  What is left out, or None, is as its creator has it."""

    #: The CPUs that it may run on, by their numbers.  The kernel leaves out those that the cpuset doesn't have.
    affinity: Iterable[int] | None
    nice: int | None  #: -20 (urgent) to 19, of this thread alone; with policy "other" and "batch"
    policy: str | None  #: one of POLICIES; "fifo" and "rr" run before all others
    priority: int | None  #: 1 to 99 (urgent), with policy "fifo" or "rr"
    timer_slack: float | None  #: seconds by which its sleeps may be longer, so that wake-ups come together
    cgroup: int | None  #: a descriptor of a cgroup's directory, open until the start: threaded, or of version 1
    uclamp: tuple[int, int] | None  #: the least and the most of a core's capacity that it counts for, of 1024


# ---- sets of CPUs in text --------------------------------------------------------------------------------------------


def cpu_list(cpus: Iterable[int]) -> str:
    """As the kernel writes them: "0,2-3"."""
    spans: list[list[int]] = []
    for cpu in sorted(cpus):
        if spans and cpu == spans[-1][1] + 1:
            spans[-1][1] = cpu
        else:
            spans.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def parse_cpus(text: str) -> set[int]:
    """The CPUs of a list as the kernel writes it; ValueError: it is none."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        low, dash, high = part.partition("-")
        numbers = [low, high] if dash else [low]
        if not all(number.isdecimal() and number.isascii() and len(number) < 7 for number in numbers):
            break
        span = range(int(low), int(numbers[-1]) + 1)
        if not span:
            break
        cpus.update(span)
    else:
        return cpus
    raise ValueError(f"{text!r} is no list of CPUs such as 0,2-3")


@functools.cache
def _possible() -> int:
    """The largest number of a CPU that this machine may have."""
    try:
        with open("/sys/devices/system/cpu/possible") as file:
            return max(parse_cpus(file.read()))
    except (OSError, ValueError):  # a sandbox without it
        return native.PLACEMENT_CPUS - 1


def _from_mask(mask: bytes | bytearray) -> set[int]:
    return {cpu for cpu in range(len(mask) * 8) if mask[cpu // 8] >> cpu % 8 & 1}


# ---- what is asked for -----------------------------------------------------------------------------------------------


def _integer(name: str, value: object, least: int, most: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {number}")
    return number


def _set_affinity(into: _Asked, value: object) -> None:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise TypeError(f"affinity must be the numbers of CPUs, such as {{0, 1}}, not {type(value).__name__}")
    cpus = {_integer("a CPU in affinity", cpu, 0, _possible()) for cpu in value}
    if not cpus:
        raise ValueError("affinity must have a CPU: on none the thread could not run")
    for cpu in cpus:
        into.cpus[cpu // 8] |= 1 << cpu % 8


def _set_policy(into: _Asked, policy: object, priority: object) -> None:
    if not isinstance(policy, str | None):
        raise TypeError(f"policy must be a string, not {type(policy).__name__}")
    if policy is not None and policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(map(repr, POLICIES))}, not {policy!r}")
    if policy not in _REAL_TIME and priority is not None:
        raise ValueError("priority goes with policy 'fifo' or 'rr'; other threads have a nice value")
    if policy in _REAL_TIME:
        if priority is None:
            raise ValueError(f"policy {policy!r} needs a priority, from 1 to 99")
        into.priority = _integer("priority", priority, 1, 99)
    if policy is not None:
        into.policy = POLICIES[policy]


def _set_slack(into: _Asked, value: object) -> None:
    if not isinstance(value, int | float):
        raise TypeError(f"timer_slack must be a number of seconds, not {type(value).__name__}")
    # The kernel takes 0 for the default.
    if not 1e-9 <= value <= 1e6:
        raise ValueError(f"timer_slack must be from 1e-9 to 1e6 seconds, not {value:g}")
    into.slack = round(value * 1e9)


def _set_cgroup(into: _Asked, value: object) -> None:
    right = "cgroup must be a descriptor of a cgroup's directory"
    into.cgroup = fd = _integer("cgroup, a file descriptor,", value, 0, 0x7FFFFFFF)
    for name in ("cgroup.threads", "tasks"):
        try:
            os.stat(name, dir_fd=fd)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ValueError(f"{right}, not {fd}: {error.strerror}") from None
        return
    raise ValueError(f"{right}, which {_path(fd)} is not")


def _set_clamps(into: _Asked, value: object) -> None:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError("uclamp must be a pair of integers, (least, most)")
    into.clamp_least, into.clamp_most = (_integer("uclamp", clamp, 0, 1024) for clamp in value)
    if into.clamp_least > into.clamp_most:
        raise ValueError(f"uclamp: the least, {into.clamp_least}, is more than the most, {into.clamp_most}")


def packed(placing: Mapping[str, object], function: str) -> bytes | None:
    """The same as struct placement (native/placement/placement.h), checked; None if nothing is asked for.

    TypeError, ValueError: which value is wrong, and what would be right.  function: whose argument a name is that
    isn't one of Placing's.
    """
    for name in placing:
        if name not in Placing.__annotations__:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
    asked = {name: value for name, value in placing.items() if value is not None}
    if not asked:
        return None
    into = _Asked()
    _set_policy(into, asked.get("policy"), asked.get("priority"))
    if "nice" in asked:
        into.nice = _integer("nice", asked["nice"], -20, 19)
    for name, check in _CHECKS.items():
        if name in asked:
            check(into, asked[name])
    for at, name in enumerate(native.PLACEMENT_NAMES):
        if name in asked:
            into.wanted |= 1 << at
    if asked.get("policy") in _REAL_TIME and "timer_slack" in asked:
        raise ValueError("timer_slack has no effect with policy 'fifo' or 'rr': their sleeps are exact")
    return into.pack()


_CHECKS: dict[str, Callable[[_Asked, object], None]] = {
    "affinity": _set_affinity,
    "timer_slack": _set_slack,
    "cgroup": _set_cgroup,
    "uclamp": _set_clamps,
}


# ---- what the kernel refuses -----------------------------------------------------------------------------------------


def _path(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return f"descriptor {fd}"


def _usable(asked: _Asked) -> str:
    """The CPUs of the cpuset that are online."""
    if asked.wanted >> native.PLACEMENT_NAMES.index("cgroup") & 1:
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):  # version 2, version 1
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=asked.cgroup)
            except OSError:
                continue
            try:
                return os.read(fd, 4096).decode().strip()
            finally:
                os.close(fd)
    return cpu_list(_from_mask(native.placement_usable_cpus()))


def _limit(name: str) -> int | str:
    import resource

    value = resource.getrlimit(getattr(resource, name))[0]
    return "unlimited" if value == resource.RLIM_INFINITY else value


def _why_affinity(number: int, asked: _Asked) -> str:
    cpus = cpu_list(_from_mask(asked.cpus))
    if number != errno.EINVAL:
        return f"affinity {cpus}"
    usable = _usable(asked)
    return f"affinity {cpus} has no CPU that may be used here" + (
        f": the cpuset, and those that are online, leave {usable}" if usable else ""
    )


def _why_nice(number: int, asked: _Asked) -> str:
    # kernel/sched/syscalls.c, is_nice_reduction(): 20 - nice is at most the limit
    return (
        f"nice {asked.nice} is more urgent than now: RLIMIT_NICE (ulimit -e) is {_limit('RLIMIT_NICE')} and must be "
        f"{20 - asked.nice} at least, or the thread needs CAP_SYS_NICE"
    )


def _why_policy(number: int, asked: _Asked) -> str:
    name = POLICY_NAMES[asked.policy]
    if name not in _REAL_TIME:  # user_check_sched_setscheduler(): to leave "idle" takes what its nice value would
        return f"policy {name!r} in place of 'idle': RLIMIT_NICE (ulimit -e) is {_limit('RLIMIT_NICE')}"
    limit = _limit("RLIMIT_RTPRIO")
    if limit == "unlimited" or (isinstance(limit, int) and limit >= asked.priority):
        return f"policy {name!r}: the thread's cgroup has no time for real-time threads (cpu.rt_runtime_us is 0)"
    return (
        f"policy {name!r} with priority {asked.priority}: RLIMIT_RTPRIO (ulimit -r) is {limit} and must be "
        f"{asked.priority} at least, or the thread needs CAP_SYS_NICE"
    )


_CGROUP_REASONS = {
    errno.EACCES: "its cgroup.threads, and cgroup.procs of the cgroup above both, must be writable (cgroups(7))",
    errno.EPERM: "its cgroup.threads, and cgroup.procs of the cgroup above both, must be writable (cgroups(7))",
    errno.EOPNOTSUPP: "it must be threaded (cgroup.type), and below the cgroup of this process",
    errno.EBUSY: "it hands controllers on to cgroups below (cgroup.subtree_control), so it takes no threads",
    errno.ENOENT: "this is not the directory of a cgroup",
    errno.ENODEV: "it has been removed",
    errno.ENOSPC: "its cpuset has no CPUs, or no memory (cpuset.cpus, cpuset.mems)",
    errno.EBADF: "the descriptor is not open any more",
    errno.EINVAL: "it has no time for real-time threads (cpu.rt_runtime_us)",
}


def _why_cgroup(number: int, asked: _Asked) -> str:
    return f"cgroup {_path(asked.cgroup)}: {_CGROUP_REASONS.get(number, 'the kernel refuses it')}"


def _why_clamps(number: int, asked: _Asked) -> str:
    return (
        f"uclamp {asked.clamp_least, asked.clamp_most}: this kernel can't clamp (CONFIG_UCLAMP_TASK, from Linux 5.3 on)"
    )


def _why_slack(number: int, asked: _Asked) -> str:
    return f"timer_slack {asked.slack / 1e9:g} of another thread: this takes CAP_SYS_NICE"


_WHY = {
    "affinity": _why_affinity,
    "nice": _why_nice,
    "policy": _why_policy,
    "cgroup": _why_cgroup,
    "uclamp": _why_clamps,
    "timer_slack": _why_slack,
}


def why_refused(number: int, name: str, packed: bytes) -> str:
    """The kernel's reason, what was asked for, the limit, and what would be enough.  Never raises."""
    reason = os.strerror(number)
    try:
        return f"{reason}: {_WHY[name](number, _Asked(*native.placement_unpack(packed)))}"
    except Exception:  # no memory, no descriptor
        return reason


def births() -> str:
    """How many threads have been placed at their birth, and what they asked for; "" if none was."""
    *counts, threads = native.placement_births()
    asked = ", ".join(f"{count:,} {name}" for count, name in zip(counts, native.PLACEMENT_NAMES, strict=True) if count)
    return f"{threads:,} ({asked})" if asked else ""


# ---- of a thread that lives ------------------------------------------------------------------------------------------


class _LivesOnLwp(Protocol):
    def is_alive(self) -> bool: ...


class Placement:
    """Where and how urgently a thread runs, asked of the kernel when it is read; what is set holds at once.

    thread: a Thread, any of threading's, as main_thread(), or an LWP.

    RuntimeError: it is not started, has ended, or is a green thread, which shares its LWP.  OSError: the kernel refuses
    it; the text says which limit it was.
    """

    __slots__ = ("_thread",)

    def __init__(self, thread: _LivesOnLwp) -> None:
        if not hasattr(thread, "native_id") and not hasattr(thread, "tid"):
            raise TypeError(f"thread must be a Thread or an LWP, not {type(thread).__name__}")
        self._thread = thread

    def _tid(self) -> int:
        thread: Any = self._thread
        if getattr(thread, "_lwp_scheduler", None) is not None:
            raise RuntimeError(
                "a green thread has no placement of its own: it shares an LWP, whose placement is that of the thread "
                "that calls its scheduler's run()"
            )
        tid: int | None = thread.native_id if hasattr(thread, "native_id") else thread.tid
        if not tid:
            raise RuntimeError("the thread is not started: give Thread() its placement")
        if not thread.is_alive():
            raise RuntimeError("the thread has ended")
        return tid

    def _ask(self, question: Callable[[int], _Value]) -> _Value:
        tid = self._tid()
        try:
            answer = question(tid)
        except (ProcessLookupError, FileNotFoundError):
            raise RuntimeError("the thread has ended") from None
        # The kernel gives a number to another task only after it has cleared the word that is_alive() reads.
        self._tid()
        return answer

    def update(self, **placing: Unpack[Placing]) -> None:
        """Sets several at once: update(policy="fifo", priority=10).  If one is refused, those before it hold.

        TypeError, ValueError: as Thread().
        """
        asked = packed(placing, "Placement.update")
        if asked is None:
            return
        number, refused = native.placement_apply(self._tid(), asked)
        if number == errno.ESRCH or (number and not self._thread.is_alive()):
            raise RuntimeError("the thread has ended")
        if number:
            raise OSError(number, why_refused(number, refused, asked))

    @property
    def affinity(self) -> set[int]:
        """The CPUs that it may run on, by their numbers."""
        return self._ask(os.sched_getaffinity)

    @affinity.setter
    def affinity(self, value: Iterable[int]) -> None:
        self.update(affinity=value)

    @property
    def nice(self) -> int:
        """-20 (urgent) to 19; it has no effect with policy "fifo", "rr" and "idle"."""
        return self._ask(functools.partial(os.getpriority, os.PRIO_PROCESS))

    @nice.setter
    def nice(self, value: int) -> None:
        self.update(nice=value)

    @property
    def policy(self) -> str:
        """One of POLICIES, "deadline" or "ext".  "fifo" and "rr" need a priority: see update()."""
        number = self._ask(os.sched_getscheduler) & ~os.SCHED_RESET_ON_FORK
        return POLICY_NAMES.get(number, str(number))

    @policy.setter
    def policy(self, value: str) -> None:
        self.update(policy=value)

    @property
    def priority(self) -> int | None:
        """1 to 99 (urgent) with policy "fifo" or "rr", else None."""
        return self._ask(os.sched_getparam).sched_priority or None

    @priority.setter
    def priority(self, value: int) -> None:
        self.update(policy=self.policy, priority=value)

    @property
    def timer_slack(self) -> float:
        """Seconds by which its sleeps may be longer.  Another thread's takes CAP_SYS_NICE."""

        def question(tid: int) -> int:
            number, slack = native.placement_read_slack(tid)
            _check(number, "another thread's timer_slack: this takes CAP_SYS_NICE")
            return slack

        return self._ask(question) / 1e9

    @timer_slack.setter
    def timer_slack(self, value: float) -> None:
        self.update(timer_slack=value)

    @property
    def cgroup(self) -> dict[str, str]:
        """The path of its cgroup in each hierarchy, by its controllers; by "" in that of version 2.

        It is set by a descriptor of a directory.
        """
        return self._ask(_cgroups)

    @cgroup.setter
    def cgroup(self, value: int) -> None:
        self.update(cgroup=value)

    @property
    def uclamp(self) -> tuple[int, int] | None:
        """The least and the most of a core's capacity that it counts for, of 1024; None: this kernel can't clamp."""

        def question(tid: int) -> tuple[int, int]:
            number, least, most = native.placement_read_clamps(tid)
            _check(number, "uclamp")
            return least, most

        clamps = self._ask(question)
        return clamps if os.path.exists("/proc/sys/kernel/sched_util_clamp_max") else None

    @uclamp.setter
    def uclamp(self, value: tuple[int, int]) -> None:
        self.update(uclamp=value)

    def __repr__(self) -> str:
        try:
            return f"<Placement of {self._thread!r}: {described(self._tid())}>"
        except (RuntimeError, OSError) as error:
            return f"<Placement of {self._thread!r}: {error}>"


def _check(number: int, what: str) -> None:
    if number:
        raise OSError(number, f"{os.strerror(number)}: {what}")


def _cgroups(tid: int) -> dict[str, str]:
    with open(f"/proc/{tid}/cgroup", errors="surrogateescape") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    return {controllers: path for _, controllers, path in lines}


def described(tid: int) -> str:
    """As in a report: "CPUs 0-1, nice 5, fifo 10"; "" when it has ended."""
    try:
        return _described(tid)
    except OSError:
        return ""


def different(tid: int) -> str:
    """As described(), if it isn't what the main thread's says."""
    said = described(tid)
    return said if said != described(os.getpid()) else ""


def _described(tid: int) -> str:
    policy = os.sched_getscheduler(tid) & ~os.SCHED_RESET_ON_FORK
    priority = os.sched_getparam(tid).sched_priority
    said = [f"CPUs {cpu_list(os.sched_getaffinity(tid))}"]
    if nice := os.getpriority(os.PRIO_PROCESS, tid):
        said.append(f"nice {nice}")
    if policy != os.SCHED_OTHER:
        said.append(f"{POLICY_NAMES.get(policy, policy)}{f' {priority}' if priority else ''}")
    return ", ".join(said)
