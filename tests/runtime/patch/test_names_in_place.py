"""What install() puts in place of something is, to a program that asks, what stood there."""

from __future__ import annotations

import _multiprocessing
import _thread
import builtins
import fcntl
import gc
import inspect
import json
import os
import pickle
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import weakref
from types import FunctionType, MethodType

import pytest
from conftest import Child, in_child, in_forked_child, run_thread, together

import runtime
from runtime import sync

pytestmark = pytest.mark.timeout(60)


def tell(mode: str, keys: list[list[str]]) -> None:
    """The looks of what is at those places, of all that install() has replaced if there are none: [place, looks]."""
    modules = (_multiprocessing, _thread, builtins, fcntl, os, queue, select, signal, socket, threading, time)

    def places() -> dict[tuple[str, ...], object]:
        found = {(module.__name__, name): value for module in modules for name, value in vars(module).items()}
        for name in ("Thread", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier"):
            for method, value in vars(getattr(threading, name)).items():
                if type(value) is FunctionType:
                    found["threading", name, method] = value
        return found

    def looks(thing: object) -> dict[str, object]:
        class Keeps:
            kept = thing

        try:
            signature = [(p.name, p.kind, repr(p.default)) for p in inspect.signature(thing).parameters.values()]
        except (TypeError, ValueError):  # C that says nothing of itself
            signature = []
        try:
            pickled = pickle.dumps(thing).decode("latin-1")
        except pickle.PicklingError:
            pickled = ""
        names = ("__module__", "__name__", "__qualname__", "__text_signature__")
        return {
            **{name: getattr(thing, name, None) for name in names},
            "type": "class" if isinstance(thing, type) else type(thing).__name__,
            "signature": signature,
            "pickled": pickled,
            "bound": isinstance(Keeps().kept, MethodType),
            "file": thing.__code__.co_filename if thing is threading.current_thread else None,
        }

    before = places()
    if mode != "stock":
        runtime.install(green=mode == "green")
        after = places()
        keys = [list(key) for key, value in after.items() if key in before and value is not before[key]]
        keys = [key for key in keys if callable(after[tuple(key)])]
        before = after
    print(json.dumps([(key, looks(before[tuple(key)])) for key in keys]))


#: The pure Python queue that stands in for the one in C has its own name.
OTHERS = ["SimpleQueue"]
#: Methods whose parameters, or whose C, have no names in threading.
LESS = {"_acquire_restore"}


@pytest.mark.parametrize("mode", ["threads", "green"])
def test_all_that_is_replaced_looks_like_the_stock_thing(mode: str, child: Child) -> None:
    ours = json.loads(child(tell, mode, []).stdout)
    stock = json.loads(child(tell, "stock", [key for key, _ in ours]).stdout)
    assert len(ours) > (60 if mode == "green" else 25)
    for (place, found), (_, expected) in zip(ours, stock, strict=True):
        if place[-1] in OTHERS:
            continue
        if expected["__text_signature__"] is None:
            del found["__text_signature__"], expected["__text_signature__"]
        if not expected["signature"] or place[-1] in LESS:  # to say more is no harm
            del found["signature"], expected["signature"]
        assert found == expected, place


def test_a_pickle_loads_in_a_process_without_the_runtime(child: Child) -> None:
    def dump() -> None:
        runtime.install(green=True)
        names = ("start_new_thread", "start_new", "allocate_lock", "allocate", "_count")
        starts = [getattr(_thread, name) for name in names]
        others = [threading.current_thread, threading.Thread.start, threading.Condition.wait_for, os.read, time.sleep]
        print(pickle.dumps([*starts, *others]).hex())

    load = "import pickle, sys; print(len(pickle.loads(bytes.fromhex(sys.argv[1]))), 'runtime' in sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", load, child(dump).stdout.strip()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert found.stdout == "10 False\n"


@in_child
def test_current_thread_is_a_function_of_threadings_file() -> None:
    before = inspect.getsource(threading.current_thread)
    lines = {line for *_, line in threading.current_thread.__code__.co_lines() if line}
    runtime.install()
    ours = threading.current_thread
    assert inspect.isfunction(ours)
    assert inspect.getsource(ours) == before
    assert ours.__globals__ is vars(threading)
    now = {line for *_, line in ours.__code__.co_lines() if line}
    assert (min(now), max(now)) == (min(lines), max(lines))
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(ours()))
    run_thread(thread)
    assert seen == [thread]
    assert ours() is threading.main_thread()


@in_child(prints="start\nThread.__init__() got an unexpected keyword argument 'colour'\n")
def test_a_traceback_names_threads_methods_as_threading_does() -> None:
    runtime.install()
    thread = threading.Thread(target=int)
    run_thread(thread)
    try:
        thread.start()
    except RuntimeError as error:
        print([frame.name for frame in traceback.extract_tb(error.__traceback__)][1])
    try:
        threading.Thread(target=int, colour="red")
    except TypeError as error:
        print(error)


@in_child
def test_uninstall_gives_the_names_back() -> None:
    def names() -> list[str]:
        things = [sync.Condition, sync.Condition.wait_for, sync.Event.isSet, runtime.Thread.join]
        return [thing.__module__ for thing in things]

    before = names()
    assert before == ["runtime.sync"] * 3 + ["runtime.thread"]
    runtime.install()
    assert names() == ["threading"] * 3 + ["runtime.thread"]
    runtime.uninstall()
    assert names() == before


@in_child
def test_a_forked_childs_thread_is_the_only_main_thread() -> None:
    runtime.install()
    main = weakref.ref(threading.main_thread())

    def check() -> None:
        gc.collect()
        assert threading.main_thread() is threading.current_thread()
        assert main() is None, gc.get_referrers(main())

    statuses: list[int] = []
    together(lambda: statuses.append(in_forked_child(check)))
    assert statuses == [0]
