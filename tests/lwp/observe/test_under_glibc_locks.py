"""No tool waits for a lock of the C library with the GIL, because its holder may be waiting for the GIL itself."""

from __future__ import annotations

import pytest
from conftest import Child
from glibc_locks import call_that_waits


@pytest.mark.parametrize(
    ("lock", "what"),
    [("the linker's lock", "traced"), ("_dl_stack_cache_lock", "traced"), ("_dl_stack_cache_lock", "waiting")],
)
def test_a_call_of_a_tool_that_waits_for_a_lock_lets_others_run(lock: str, what: str, child: Child) -> None:
    child(call_that_waits, lock, what)
