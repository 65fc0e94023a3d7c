"""Where in C code of others green threads wait."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from commands import lwp
from conftest import Child

import runtime


def seen_while_it_polls() -> None:
    runtime.install(green=True, time_slice=1000)
    import ctypes

    from lwp import native
    from lwp.observe.places import in_c

    class File(ctypes.Structure):
        _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]

    reads, writes = os.pipe()
    thread = threading.Thread(target=lambda: ctypes.CDLL(None).poll(ctypes.byref(File(reads, 1)), 1, -1))
    thread.start()
    assert thread.ident
    while native.green_states().get(thread.ident) != "asleep":
        os.sched_yield()
    print(in_c()[thread.ident].where)
    os.write(writes, b".")
    thread.join()


def test_a_thread_that_polls_in_c_is_seen_there_without_the_call_that_its_lwp_is_in(child: Child) -> None:
    assert child(seen_while_it_polls).stdout == "in _ctypes\n"


def test_the_report_says_where_c_code_has_blocked(tmp_path: Path) -> None:
    source = """import ctypes, threading
libc = ctypes.CDLL(None)
threads = [threading.Thread(target=libc.usleep, args=(2000,)) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    program = tmp_path / "program.py"
    program.write_text(source)
    report = lwp("run", "--green", "--report", str(program)).stderr
    assert re.search(r"blocked in _ctypes +│ +[1-3] times?, +[\d.]+ ms", report)
