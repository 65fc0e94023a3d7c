"""Where and how urgently a thread runs: asked for at its birth, or read and changed while it lives.

Sources: sched(7), sched_setaffinity(2), sched_setscheduler(2), setpriority(2).
"""

from __future__ import annotations

import errno
import os
from _operator import index

from . import native
from .lazily import loading

TYPE_CHECKING = False  # a program's first Thread loads this, but not typing, functools and collections: 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol, TypeVar, Unpack

    from .options import Placing

    _Value = TypeVar("_Value")

    class _LivesOnLwp(Protocol):
        def is_alive(self) -> bool: ...
else:
    __getattr__, __dir__ = loading(globals(), {"Placing": ".options"})

__all__ = ["POLICIES", "Placement", "Placing"]

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
_CPUS = 8192  # the largest NR_CPUS of the kernel's (arch/x86/Kconfig, NR_CPUS_RANGE_END)


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


_most: int | None = None  # the result of _possible(), once it was asked for


def _possible() -> int:
    """The largest number of a CPU that this machine may have."""
    global _most
    if _most is None:
        try:
            with open("/sys/devices/system/cpu/possible") as file:
                _most = max(parse_cpus(file.read()))
        except (OSError, ValueError):  # a sandbox without it
            _most = _CPUS - 1
    return _most


# ---- what is asked for -----------------------------------------------------------------------------------------------


def _integer(name: str, value: object, least: int, most: int) -> int:
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}, not {number}")
    return number


def _affinity(value: Any) -> set[int]:
    if not hasattr(value, "__iter__") or isinstance(value, str | bytes):
        raise TypeError(f"affinity must be the numbers of CPUs, such as {{0, 1}}, not {type(value).__name__}")
    cpus = {_integer("a CPU in affinity", cpu, 0, _possible()) for cpu in value}
    if not cpus:
        raise ValueError("affinity must have a CPU: on none the thread could not run")
    return cpus


def _policy(value: tuple[object, object]) -> tuple[str, int]:
    policy, priority = value
    if not isinstance(policy, str | None):
        raise TypeError(f"policy must be a string, not {type(policy).__name__}")
    if policy is not None and policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(map(repr, POLICIES))}, not {policy!r}")
    if policy not in _REAL_TIME:
        if policy is None or priority is not None:
            raise ValueError("priority goes with policy 'fifo' or 'rr'; other threads have a nice value")
        return policy, 0
    if priority is None:
        raise ValueError(f"policy {policy!r} needs a priority, from 1 to 99")
    return policy, _integer("priority", priority, 1, 99)


def _nice(value: object) -> int:
    return _integer("nice", value, -20, 19)


def checked(placing: Mapping[str, object], function: str) -> dict[str, Any]:
    """What is asked for, in the order in which it is asked of the kernel; "policy" is (its name, priority or 0).

    TypeError, ValueError: which value is wrong, and what would be right.  function: whose argument a name is that
    isn't one of Placing's.
    """
    for name in placing:
        if name not in _THINGS and name != "priority":  # which goes with "policy"
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
    asked: dict[str, Any] = {name: value for name, value in placing.items() if value is not None}
    if "policy" in asked or "priority" in asked:
        asked["policy"] = asked.get("policy"), asked.pop("priority", None)
    return {name: thing.check(asked[name]) for name, thing in _THINGS.items() if name in asked}


# ---- asking the kernel; tid 0: the calling thread --------------------------------------------------------------------
#
# clone(2) gives a new thread its creator's affinity, policy and nice value.  To have others before the program's first
# line in it, the thread asks for them itself, in take_place(), while its creator waits.
#
# REJECTED.  That the creator makes the calls, with the thread's tid: the thread would run meanwhile, anywhere.


def _set_policy(tid: int, policy: tuple[str, int]) -> None:
    os.sched_setscheduler(tid, POLICIES[policy[0]], os.sched_param(policy[1]))


def _apply(tid: int, asked: Mapping[str, Any]) -> None:
    """OSError: the kernel refuses something, and what was asked before stays in force; the text says which limit it
    was."""
    for name, value in asked.items():
        try:
            _THINGS[name].ask(tid, value)
        except OSError as error:
            raise OSError(error.errno, _why_refused(error.errno or 0, name, asked)) from None


def take_place(asked: Mapping[str, Any]) -> None:
    """_apply() of the calling thread, at its birth."""
    _apply(0, asked)
    _births["threads"] += 1
    for name in asked:
        _births[name] += 1
    native.trace_placed(", ".join(_THINGS[name].say(value) for name, value in asked.items()))


def births() -> str:
    """How many threads have been placed at their birth, and what they asked for; "" if none was."""
    things = ", ".join(f"{_births[name]:,} {name}" for name in _THINGS if _births[name])
    return f"{_births['threads']:,} ({things})" if things else ""


# ---- what the kernel refuses -----------------------------------------------------------------------------------------


def _usable() -> str:
    """The CPUs of the cpuset that are online; "": the kernel doesn't tell."""
    # The kernel intersects what is asked for with these CPUs (kernel/sched/syscalls.c, __sched_setaffinity), and no
    # call tells which they are.  So the caller asks for all, looks at what it has got, and takes back what it had.
    own = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, range(_CPUS))
        return cpu_list(os.sched_getaffinity(0))
    except OSError:
        return ""
    finally:
        os.sched_setaffinity(0, own)


def _limit(name: str) -> int | str:
    import resource

    value = resource.getrlimit(getattr(resource, name))[0]
    return "unlimited" if value == resource.RLIM_INFINITY else value


def _why_affinity(number: int, asked: Mapping[str, Any]) -> str:
    cpus = cpu_list(asked["affinity"])
    if number != errno.EINVAL:
        return f"affinity {cpus}"
    usable = _usable()
    return f"affinity {cpus} has no CPU that may be used here" + (
        f": the cpuset, and those that are online, leave {usable}" if usable else ""
    )


def _why_nice(number: int, asked: Mapping[str, Any]) -> str:
    # kernel/sched/syscalls.c, is_nice_reduction(): 20 - nice is at most the limit
    nice: int = asked["nice"]
    return (
        f"nice {nice} is more urgent than now: RLIMIT_NICE (ulimit -e) is {_limit('RLIMIT_NICE')} and must be "
        f"{20 - nice} at least, or the thread needs CAP_SYS_NICE"
    )


def _why_policy(number: int, asked: Mapping[str, Any]) -> str:
    name, priority = asked["policy"]
    # user_check_sched_setscheduler(): to leave "idle" takes the right that its nice value would take
    if name not in _REAL_TIME:
        return f"policy {name!r} in place of 'idle': RLIMIT_NICE (ulimit -e) is {_limit('RLIMIT_NICE')}"
    limit = _limit("RLIMIT_RTPRIO")
    if limit == "unlimited" or (isinstance(limit, int) and limit >= priority):
        return f"policy {name!r}: the thread's cgroup has no time for real-time threads (cpu.rt_runtime_us is 0)"
    return (
        f"policy {name!r} with priority {priority}: RLIMIT_RTPRIO (ulimit -r) is {limit} and must be "
        f"{priority} at least, or the thread needs CAP_SYS_NICE"
    )


def _why_refused(number: int, name: str, asked: Mapping[str, Any]) -> str:
    """The kernel's reason, what was asked for, the limit, and what would be enough.  Never raises."""
    reason = os.strerror(number)
    try:
        return f"{reason}: {_THINGS[name].why(number, asked)}"
    except Exception:  # no memory, no descriptor
        return reason


# ---- the things that may be asked for --------------------------------------------------------------------------------


def _say_affinity(cpus: Iterable[int]) -> str:
    return f"CPUs {cpu_list(cpus)}"


def _say_policy(policy: tuple[str, int]) -> str:
    return f"{policy[0]} {policy[1]}" if policy[1] else policy[0]


class _Thing:
    def __init__(
        self,
        check: Callable[[Any], Any],
        ask: Callable[[int, Any], None],
        why: Callable[[int, Mapping[str, Any]], str],  # it was refused
        say: Callable[[Any], str],  # in a trace
    ) -> None:
        self.check, self.ask, self.why, self.say = check, ask, why, say


_THINGS = {
    "affinity": _Thing(_affinity, os.sched_setaffinity, _why_affinity, _say_affinity),
    "policy": _Thing(_policy, _set_policy, _why_policy, _say_policy),
    # of one thread: setpriority(2), "C library/kernel differences"
    "nice": _Thing(_nice, lambda *how: os.setpriority(os.PRIO_PROCESS, *how), _why_nice, "nice {}".format),
}
#: How many threads were placed at birth.  Each count changes without a call, so that no other thread comes in between.
_births = dict.fromkeys(("threads", *_THINGS), 0)


# ---- of a thread that lives ------------------------------------------------------------------------------------------


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
        except ProcessLookupError:
            raise RuntimeError("the thread has ended") from None
        # The kernel gives a tid to another task only after it has cleared the word that is_alive() reads.
        self._tid()
        return answer

    def update(self, **placing: Unpack[Placing]) -> None:
        """Sets several at once: update(policy="fifo", priority=10).  If one is refused, those before it stay in force.

        TypeError, ValueError: as Thread().
        """
        asked = checked(placing, "Placement.update")
        if not asked:
            return
        try:
            _apply(self._tid(), asked)
        except OSError as error:
            if error.errno == errno.ESRCH or not self._thread.is_alive():
                raise RuntimeError("the thread has ended") from None
            raise

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
        return self._ask(lambda tid: os.getpriority(os.PRIO_PROCESS, tid))

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
        """1 to 99 (urgent) with policy "fifo" or "rr"; None with others."""
        return self._ask(os.sched_getparam).sched_priority or None

    @priority.setter
    def priority(self, value: int) -> None:
        self.update(policy=self.policy, priority=value)

    def __repr__(self) -> str:
        try:
            return f"<Placement of {self._thread!r}: {described(self._tid())}>"
        except (RuntimeError, OSError) as error:
            return f"<Placement of {self._thread!r}: {error}>"


def described(tid: int) -> str:
    """As in a report: "CPUs 0-1, nice 5, fifo 10"; "" when it has ended."""
    try:
        policy = os.sched_getscheduler(tid) & ~os.SCHED_RESET_ON_FORK
        priority = os.sched_getparam(tid).sched_priority
        said = [_say_affinity(os.sched_getaffinity(tid))]
        if nice := os.getpriority(os.PRIO_PROCESS, tid):
            said.append(f"nice {nice}")
    except OSError:
        return ""
    if policy != os.SCHED_OTHER:
        said.append(_say_policy((POLICY_NAMES.get(policy, str(policy)), priority)))
    return ", ".join(said)


def different(tid: int) -> str:
    """described(), if it differs from the main thread's."""
    said = described(tid)
    return said if said != described(os.getpid()) else ""
