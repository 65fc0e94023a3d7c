"""The line at which a thread that has ended took a lock: native/python/reading/takings.c has noted the instruction."""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from types import CodeType, FunctionType

from .. import native
from ..reading.files import short
from ..reading.sites import SYNCHRONISING
from ..reading.source import instructions_of, positions_of


def line_of(instruction: int) -> str:
    """ "FILE:LINE in FUNCTION" of the call with that address; "" if that is not the program's, or its code is gone."""
    return _line_of(instruction) if instruction else ""


@functools.lru_cache(maxsize=256)
def _line_of(instruction: int) -> str:
    code = max((code for code in _codes() if id(code) < instruction), key=id, default=None)
    if code is None or code.co_filename.startswith(SYNCHRONISING):
        return ""
    offset = instruction - id(code) - native.CODE_BEGINS
    if not 0 <= offset < len(code.co_code):
        return ""
    made = instructions_of(code).get(offset)
    line = positions_of(code)[offset // 2][0]
    if made is None or line is None or not made.opname.startswith(("CALL", "PRECALL", "BEFORE_WITH")):
        return ""  # the code is gone, and other code has its memory
    return short(f"{code.co_filename}:{line} in {code.co_qualname}")


def _codes() -> Iterator[CodeType]:
    """Of all functions, and of those that they make."""
    left = [thing.__code__ for thing in gc.get_objects() if type(thing) is FunctionType]
    seen = set()
    while left:
        code = left.pop()
        if id(code) not in seen:
            seen.add(id(code))
            left += (constant for constant in code.co_consts if type(constant) is CodeType)
            yield code
