"""The outermost frames of a Thread: `_bootstrap` and `_bootstrap_inner`, of a file named threading.py.

A debugger looks for them at the end of a stack: pydevd's _get_bootstrap_frame() gives a thread up without them, and no
breakpoint in it is hit.  Derived classes override them. threading's own use locks and dicts to agree with start() on a
thread's beginning and end; for ours the core does that.  So these do what is left: hooks, run(), excepthook.

They are compiled under threading's file name, each with its call where threading's own makes that call: the line of the
file that a traceback shows is the line that runs.
"""

from __future__ import annotations

import sys
import threading
from types import CodeType, FunctionType

TYPE_CHECKING = False  # typing's name, but importing typing takes longer than this whole module
if TYPE_CHECKING:
    from typing import Any


_GIVEN: dict[str, Any] = {}  # what the functions below refer to
if sys.version_info >= (3, 14):
    from functools import partial

    _GIVEN["partial"] = partial


def _place(stock: FunctionType, call: str) -> tuple[int, int]:
    """The line in its file, and the column, where threading's function makes the call.

    Nothing else there is as wide.  To read the file took as long as to load three modules.
    """
    code = stock.__code__
    for line, end, column, end_column in code.co_positions():
        if line and line == end and column and end_column and end_column - column == len(call):
            return line, column
    import linecache  # -X no_debug_ranges: there are no columns

    lines = linecache.getlines(code.co_filename)
    found = (at for at in range(code.co_firstlineno, len(lines)) if lines[at].strip() == call)
    return next(found, code.co_firstlineno + 9) + 1, 16  # without the file a traceback shows no lines


def _code_in(code: CodeType) -> CodeType:
    return next(const for const in code.co_consts if isinstance(const, CodeType))


def define_as(stock: FunctionType, head: str, lines: list[str], /, **given: Any) -> Any:
    """The function `def HEAD: LINES` in place of `stock`, a function of threading's: with its name, in its file.

    The `def` stands where stock's does, and the lines below it.  given: what it refers to besides threading's names.
    """
    code = stock.__code__
    text = [f"def make({', '.join(given)}):", f" def {head}:", *lines, f" return {stock.__name__}"]
    made: dict[str, Any] = {}
    exec("\n".join(text), made)  # a process's first compile() makes the classes of module ast too: 0.7 ms
    make = made["make"].__code__
    inner = _code_in(make)
    # Its lines count from its first, so they move with that.  A thousand empty lines take half a millisecond.
    moved = inner.replace(
        co_qualname=stock.__qualname__, co_filename=code.co_filename, co_firstlineno=code.co_firstlineno
    )
    consts = [moved if const is inner else const for const in make.co_consts]
    # It must be a `def`, because 3.13 specializes no call of a function made by FunctionType (func_version).
    return FunctionType(make.replace(co_consts=tuple(consts)), vars(threading))(**given)


def _stand_in(
    stock: FunctionType, call: str, statement: str, begin: list[str], before: list[str], after: list[str]
) -> Any:
    """A function in place of `stock`: where that has `call` it has `statement`, which ends with a call.

    begin: its first lines.  before, after: the lines around the call, which is four columns further in than these.
    """
    line, column = _place(stock, call)
    prefix, _, ours = statement.rpartition(" ")
    prefix = f"{prefix} " if prefix else ""
    ours = ours[:-1].ljust(len(call) - 1) + ours[-1]  # as wide: tracebacks underline the call
    at = line - stock.__code__.co_firstlineno - 1  # of the call, below the `def`
    around = " " * (column - 4)
    lines = [around + text for text in begin] + [""] * (at - len(begin))
    lines[at - len(before) :] = [around + text for text in before]
    lines += [" " * (column - len(prefix)) + prefix + ours, *(around + text for text in after)]
    return define_as(stock, f"{stock.__name__}(self)", lines, stock=stock, **_GIVEN)


_bootstrap: Any = vars(threading.Thread)["_bootstrap"]
_bootstrap_inner: Any = vars(threading.Thread)["_bootstrap_inner"]

#: What C calls in a new thread: True when run() raised.
bootstrap = _stand_in(_bootstrap, "self._bootstrap_inner()", "return self._bootstrap_inner()", [], [], [])

#: Threads of threading's own come here too: a debugger makes them, or they were started before install().  Their
#: start() has put them into `_limbo`, and threading's function takes them out.
bootstrap_inner = _stand_in(
    _bootstrap_inner,
    *("self.run()", "self.run()") if sys.version_info < (3, 14) else ("self._context.run(self.run)", "run()"),
    begin=[
        "if self in _limbo: return stock(self)",
        *(
            []
            if sys.version_info < (3, 14)
            else [
                "self._set_os_name()",
                "run = self.run if self._context is None else partial(self._context.run, self.run)",
            ]
        ),
    ],
    before=[
        "if _trace_hook: _sys.settrace(_trace_hook)",
        "if _profile_hook: _sys.setprofile(_profile_hook)",
        "try:",
    ],
    after=["except:", "    self._invoke_excepthook(self)", "    return True"],
)
