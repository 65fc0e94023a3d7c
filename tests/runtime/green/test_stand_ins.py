"""The functions that stand in for the standard library's: to a program they are the stock ones."""

from __future__ import annotations

import os
import sys
import time

import pytest
from conftest import Child, together

import runtime
from runtime import native

pytestmark = pytest.mark.timeout(30)


def test_they_look_like_the_stock_ones(child: Child) -> None:
    def compare() -> None:
        import copy
        import inspect
        import pickle
        from types import BuiltinFunctionType

        from runtime.patch.blocking import STAND_INS

        attributes = ("__name__", "__qualname__", "__module__", "__doc__", "__self__", "__text_signature__")
        runtime.install(green=True)
        functions = {stock: ours for stock, ours in STAND_INS if isinstance(stock, BuiltinFunctionType)}
        assert len(functions) > 30
        for stock, ours in functions.items():
            assert ours is not stock
            assert type(ours) is BuiltinFunctionType
            assert [getattr(ours, name) for name in attributes] == [getattr(stock, name) for name in attributes]
            assert repr(ours) == repr(stock)
            assert (ours, hash(ours)) == (stock, hash(stock))
            if stock.__text_signature__:
                assert inspect.signature(ours) == inspect.signature(stock)
            assert pickle.loads(pickle.dumps(ours)) is copy.deepcopy(ours) is ours
        assert all(isinstance(stock, type) for stock, _ in STAND_INS if stock not in functions)

    child(compare)


def test_sets_of_stock_functions_have_them(child: Child) -> None:
    def ask() -> None:
        import shutil

        opens = {os.open, os.stat}
        runtime.install(green=True)
        assert os.open in opens
        assert os.open in os.supports_dir_fd
        assert shutil.rmtree.avoids_symlink_attacks

    child(ask)


CALLS = """
    os.close()  os.close("x")  os.close(fd=99999)  os.close.__call__(99999)  os.dup2(99999,fd2=99998)  os.closerange(1)
    socket.close(fd=1)  os.read(1)  os.read("x",1)  os.read(fd=1,length=1)  os.write(1,"x")  os.waitpid(1)  os.fsync()
    os.open()  open()  input(1,2)  time.sleep()  time.sleep("x")  select.select()  select.poll(1)  select.poll(a=1)
    socket.getnameinfo(1,2)  socket.getaddrinfo()  signal.sigtimedwait()  os.system()
    _thread.start_new_thread()  _thread.start_new_thread(1,())  _thread.start_new_thread(print,1)
    _thread.start_new_thread(print,(),1)  _thread.start_new_thread(print,)
    _thread.start_new()  _thread.start_new(1,())  _thread.start_new(print,1)  _thread.start_new(print,(),1)
    _thread.start_new(print,)
"""


def test_they_refuse_as_the_stock_ones(child: Child) -> None:
    def compare(calls: list[str]) -> None:
        import _thread
        import select
        import signal
        import socket

        names = {"_thread": _thread, "os": os, "select": select, "signal": signal, "socket": socket, "time": time}

        def outcome(call: str) -> str:
            try:
                return repr(eval(call, names))
            except (TypeError, OSError) as error:
                return repr(error)

        stock = {call: outcome(call) for call in calls}
        runtime.install(green=True)
        assert {call: outcome(call) for call in calls} == stock
        green: dict[str, str] = {}
        together(lambda: green.update({call: outcome(call) for call in calls}))
        assert green == stock

    child(compare, CALLS.split())


def test_a_call_by_a_helper_leaves_no_reference_in_the_traceback(child: Child) -> None:
    def count() -> None:
        import socket

        def call() -> None:
            host = "".join(("no", "address"))
            before = sys.getrefcount(host)
            try:
                socket.getnameinfo(host, 0)
            except TypeError:
                found.append(sys.getrefcount(host) - before)

        found: list[int] = []
        runtime.install(green=True)
        together(call)
        assert found == [0]

    child(count)


def test_only_builtin_functions_have_them() -> None:
    with pytest.raises(TypeError, match=r"stand-ins are for builtin functions, not <function no_builtin"):
        native.stand_in(no_builtin, len, False)


def no_builtin() -> None: ...
