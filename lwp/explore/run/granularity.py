"""Points between bytecodes: which instructions of which code, and how CPython is asked to stop there.

An instruction such as LOAD_FAST touches only its own frame, so a switch before it is as good as one before the next
instruction that touches more. Only the latter are points.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any

from ... import native
from ...reading.files import Choice, is_excluded, is_program, library_of

#: Told the running frame, its thread's number, the steps so far, and what is raised with its traceback, or None twice.
#: True: the thread comes to a point there, and is looked at again after it.
Look = Callable[[FrameType, int, int, BaseException | None, TracebackType | None], bool]

_monitoring: Any = getattr(sys, "monitoring", None)  # 3.12 on

#: Where CPython keeps the map of each code object under a choice. What is kept stays, because a thread that is not
#: explored may be reading it.
_places: dict[Choice, int] = {}

#: Python's modules whose code is little else than operations of primitives, and what a thread's start calls.
UNMENTIONED = ("threading", "queue", "_weakrefset")

_MATTERS, _AT_GIL, _LOOKED_AT = 1, 2, 4
_WANTED = {"sync": 0, "gil": _AT_GIL, "opcode": _MATTERS | _AT_GIL}

#: Instructions that touch nothing that another thread could see, by how their names begin.
_LOCAL = (
    *("LOAD_FAST", "STORE_FAST", "DELETE_FAST", "LOAD_CONST", "LOAD_SMALL_INT", "LOAD_COMMON", "LOAD_CLOSURE"),
    *("POP_TOP", "POP_ITER", "POP_JUMP", "POP_EXCEPT", "PUSH_NULL", "PUSH_EXC", "COPY", "SWAP", "NOP", "NOT_TAKEN"),
    *("RESUME", "CACHE", "PRECALL", "KW_NAMES", "EXTENDED_ARG", "JUMP", "RETURN", "RERAISE", "END_", "MAKE_", "IS_OP"),
    *("BUILD_TUPLE", "BUILD_LIST", "BUILD_MAP", "BUILD_SET", "BUILD_STRING", "BUILD_CONST", "UNARY_NOT", "TO_BOOL"),
    *("CHECK_EXC", "WITH_EXCEPT", "RAISE_VARARGS", "SETUP_ANNOTATIONS", "INTERPRETER_EXIT", "GEN_START"),
)
#: Instructions that use data which threads may share, or that catch an exception: telling/accesses.py knows them.
_USES_DATA = (
    *("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT"),
    *("STORE_ATTR", "STORE_GLOBAL", "STORE_NAME", "STORE_DEREF", "STORE_SUBSCR", "STORE_SLICE", "DELETE_ATTR"),
    *("DELETE_GLOBAL", "DELETE_NAME", "DELETE_DEREF", "DELETE_SUBSCR", "BINARY_SUBSCR", "BINARY_SLICE", "BINARY_OP"),
    *("CALL", "CONTAINS_OP", "COMPARE_OP", "GET_ITER", "FOR_ITER", "TO_BOOL", "UNARY_NOT", "POP_JUMP", "JUMP_IF"),
    *("LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE", "DICT_MERGE", "UNPACK", "PUSH_EXC_INFO"),
)
_FIRST_IN_PLACE = 13  # BINARY_OP's arguments from NB_INPLACE_ADD on: they may change an object


def _matters(instruction: dis.Instruction) -> bool:
    if instruction.opname.startswith("BINARY_OP"):
        return instruction.arg is None or instruction.arg >= _FIRST_IN_PLACE
    return not instruction.opname.startswith(_LOCAL)


def map_of(code: CodeType) -> bytes:
    """A byte for each two bytes of code: 1 if a switch before it matters, 2 if CPython with a GIL may switch there, 4
    if a recorder looks at it.

    CPython may switch after a call, at the begin of a function, and at a jump back (Python/ceval_macros.h,
    CHECK_EVAL_BREAKER).
    """
    found = bytearray(len(code.co_code) // 2)
    after_call = False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        place = instruction.offset // 2
        if _matters(instruction):
            found[place] |= _MATTERS
        if name.startswith(_USES_DATA):
            found[place] |= _LOOKED_AT
        if name == "EXTENDED_ARG" or name == "CACHE":
            continue
        # What jumps back looks at the eval breaker: in 3.11 POP_JUMP_BACKWARD_IF_TRUE and its like do so too.
        if after_call or ("JUMP_BACKWARD" in name and not name.endswith("NO_INTERRUPT")):
            found[place] |= _AT_GIL
        after_call = name.startswith(("CALL", "RESUME")) and name != "CALL_INTRINSIC_1"
    return bytes(found)


class Points:
    """Within a `with` a program's threads stop between bytecodes, at the granularity that be() was given last.

    choice: what is_program() follows meanwhile.
    RuntimeError: all of sys.monitoring's tool numbers are taken, or all places that CPython has for maps.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._set: tuple[str, Look | None] = ("sync", None)
        self._tool = -1
        self.unswitched: set[str] = set()  #: libraries whose code ran without points between bytecodes

    @staticmethod
    def _map_of(code: CodeType) -> bytes | str | None:
        """Of code without points: its library's name; None: it needs no mention."""
        if is_program(code.co_filename):
            return map_of(code)
        name = "" if is_excluded(code.co_filename) else library_of(code.co_filename)
        return name if name and name not in UNMENTIONED else None

    def __enter__(self) -> Points:
        return self

    def __exit__(self, *_: object) -> None:
        self.be("sync")
        if self._tool >= 0:
            _monitoring.free_tool_id(self._tool)
            self._tool = -1

    def choose(self, choice: Choice) -> None:
        """From the next be() on."""
        self._choice = choice
        self._set = "", None

    def be(self, granularity: str, look: Look | None = None) -> None:
        """sync: at no bytecode; gil: where CPython with a GIL may switch; opcode: where a switch can matter.

        look: called before instructions that use data, and when an exception is raised; neither is a point.
        """
        if (granularity, look) == self._set:
            return
        self._set = granularity, look
        wanted = _WANTED[granularity] | (0 if look is None else _LOOKED_AT)
        if self._choice not in _places:
            _places[self._choice] = native.code_place()
        disable = _monitoring and _monitoring.DISABLE
        native.code_points(wanted, _places[self._choice], self._map_of, disable, self.unswitched, look)
        if _monitoring:
            self._monitor(wanted)

    def _monitor(self, wanted: int) -> None:
        instruction, raised = _monitoring.events.INSTRUCTION, _monitoring.events.RAISE
        if self._tool < 0:
            free = [tool for tool in (4, 3, 5, 2, 1, 0) if _monitoring.get_tool(tool) is None]
            if not free:
                raise RuntimeError("sys.monitoring has no tool number left: other tools (coverage, debuggers) use all")
            self._tool = free[0]
            _monitoring.use_tool_id(self._tool, "lwp explore")
            _monitoring.register_callback(self._tool, instruction, native.code_instruction)
            _monitoring.register_callback(self._tool, raised, native.code_raise)
        looks = raised if wanted & _LOOKED_AT else 0
        _monitoring.set_events(self._tool, instruction | looks if wanted else 0)
        _monitoring.restart_events()
