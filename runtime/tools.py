"""What the core knows of its tools: names of theirs that users find in its modules, and what it has them do.

No other module of the core names a tool, and this one names them by strings: a tool is loaded when it is first asked
for, and where it is not installed the core works without it.  tools.pyi says to type checkers what the names are.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's name, but importing typing takes longer than this whole module
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: By the module of the core in which users find them: names, and the modules that have them.
NAMES = {
    "runtime": {"explored": "lwp.explore", "replay": "lwp.explore", "watchdog": "lwp.observe.watchdog"},
    "scheduler": {
        **dict.fromkeys(("Statistics", "measure", "statistics"), "lwp.observe.statistics"),
        **dict.fromkeys(("Step", "record_steps"), "lwp.study.steps"),
        **dict.fromkeys(("Wait", "Waiting", "waiting"), "lwp.observe.waits"),
    },
    "tls": {
        "compare": "lwp.study.tlsmap.comparison",
        "inspect": "lwp.study.tlsmap.inspection",
        "layout": "lwp.study.tlsmap.layout",
        "variables": "lwp.study.tlsmap.variables",
    },
}

#: Attributes of the package that are modules.
MODULES = {"explore": "lwp.explore", "observe": "lwp.observe", "tlsmap": "lwp.study.tlsmap"}

#: Functions that the core calls, by when it does, in this order.
_CALLED = {
    "at install()": (("lwp.observe.environment", "begin"),),
    "in a process of a tool's": (("lwp.observe.listening", "listen_for_tool"),),  # after install()
    "under pytest": (("lwp.observe.environment", "leave"),),  # before install()
    "after a test": (("lwp.observe.places", "left_running"),),
    "in a deadlock": (("lwp.observe.waits", "waiting"),),  # str() of the result is part of what a Deadlock says
    "while a group's end waits": (("lwp.observe.places", "ForeignLocks"),),
}


def called(when: str) -> list[Callable[..., Any]]:
    """The functions of tools that are to be called then, of those tools that are installed.  Loads them."""
    import lwp_runtime

    found = []
    for module, name in _CALLED[when]:
        try:
            found.append(getattr(lwp_runtime.load(module), name))
        except ModuleNotFoundError as error:  # the tool's package, or what that needs
            if not f"{lwp_runtime.name_here(module)}.".startswith(f"{error.name}."):
                raise
    return found
