"""The default stack holds what a pthread's holds: recursion without end is a RecursionError, not a crash."""

from __future__ import annotations

import ctypes
import threading

import pytest
from conftest import NativeHelper, python, run_thread

import runtime

DEEP = 100_000

# Each goes deeper than any limit, by Python functions that call each other through C, or in C alone.
CASES = {
    "function": "def f(): return f() + 1\nf()",
    "method": "class A:\n def __getattr__(self, name): return getattr(self, name + 'a')\nA().a",
    "repr of an object": "class A:\n def __repr__(self): return repr(self)\nrepr(A())",
    "repr of lists": "repr(nested(list))",
    "lists that are equal": "nested(list) == nested(list)",
    "sorted with a key": "def key(x): return sorted([x], key=key)\nkey(1)",
    "max and map": "def f(x): return max(map(f, [x]))\nf(1)",
    "generators": "def f():\n yield from f()\nlist(f())",
    "json, out": "json.dumps(nested(list))",
    "json, out, indented": "json.dumps(nested(list), indent=0)",
    "json, in": f"json.loads('[' * {DEEP} + ']' * {DEEP})",
    "pickle": "pickle.dumps(nested(list))",
    "pickle, in Python": "pickle._Pickler(io.BytesIO()).dump(nested(list))",
    "deepcopy": "copy.deepcopy(nested(list))",
    "re": "re.compile('(' * 20000 + ')' * 20000)",
    "isinstance": "isinstance(1, nested(lambda inner: (*inner, str)))",
    "a sum that is compiled": f"compile('+'.join(['a'] * {DEEP}), '', 'eval')",
    "a sign that is compiled": f"compile('-' * {DEEP} + 'a', '', 'eval')",
    "a sum as a tree": f"ast.parse('+'.join(['a'] * {DEEP}))",
}

PROGRAM = """
import ast, copy, io, json, pickle, re, sys, threading
from {module} import Thread

def nested(make):
    value = make(())
    for _ in range({deep}):
        value = make((value,))
    return value

def outcome():
    try:
        exec(CODE, dict(globals()))
    except BaseException as error:
        return type(error).__name__
    return "no error"

CODE = {code!r}
if {limit}:
    sys.setrecursionlimit({limit})
outcomes = []
thread = Thread(target=lambda: outcomes.extend((outcome(), outcome())))
thread.start()
thread.join()
assert outcomes[0] == outcomes[1], outcomes
print(outcomes[0])
"""


def outcome(module: str, code: str, limit: int) -> str:
    """What the code raises in a thread of the module, twice; or the status of the process that did not survive it."""
    program = PROGRAM.format(module=module, code=code, limit=limit, deep=DEEP)
    done = python("-c", program, timeout=100, status=None)
    return done.stdout.strip() if done.returncode == 0 else f"exit status {done.returncode} {done.stderr[-500:]}"


@pytest.mark.parametrize("limit", [0, 5000], ids=["limit as it is", "limit of 5000"])
@pytest.mark.parametrize("code", CASES.values(), ids=CASES)
def test_recursion_without_end_is_an_error(code: str, limit: int) -> None:
    ours = outcome("runtime", code, limit)
    if ours == "RecursionError":
        return
    stocks = outcome("threading", code, limit)
    if stocks.startswith("exit status -"):
        pytest.skip(f"threading's thread has it too: {stocks.splitlines()[0]}")
    assert ours == stocks


def test_the_default_stack_has_the_room_of_a_pthreads(native_helper: NativeHelper) -> None:
    def room() -> None:
        places = (ctypes.c_size_t * 3)()
        assert native_helper.lib.stack_range(places) == 0
        low, _, here = places
        found.append(here - low)

    found: list[int] = []
    for kind in (runtime.Thread, threading.Thread):
        run_thread(kind(target=room))
    ours, stocks = found
    # What threading's way to the target takes more of the stack, or ours.
    assert ours >= stocks - 4096
