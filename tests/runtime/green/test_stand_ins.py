"""The functions that stand in for the standard library's: to a program they are the stock ones."""

from __future__ import annotations

import _thread
import copy
import inspect
import io
import os
import pickle
import re
import select
import selectors
import shutil
import socket
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import pytest
from conftest import in_child, together

import runtime
from runtime import native

pytestmark = pytest.mark.timeout(30)


@in_child
def test_they_look_like_the_stock_ones() -> None:
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


@in_child
def test_sets_of_stock_functions_have_them() -> None:
    opens = {os.open, os.stat}
    runtime.install(green=True)
    assert os.open in opens
    assert os.open in os.supports_dir_fd
    assert shutil.rmtree.avoids_symlink_attacks


#: Calls that are refused, or fail, in this order and two spaces apart.  Of what they are made with: things().
CALLS = r"""
    os.close()  os.close("x")  os.close("1")  os.close(9999)  os.close(fd=9999)  os.close.__call__(9999)
    os.dup2(9999, fd2=9998)  os.closerange(1)  socket.close(fd=1)  os.read(fd=1, length=1)  os.system()  input()
    input(1, 2)
    _thread.start_new_thread()  _thread.start_new_thread(1, ())  _thread.start_new_thread(print, 1)
    _thread.start_new_thread(print, (), 1)  _thread.start_new_thread(print,)
    _thread.start_new()  _thread.start_new(1, ())  _thread.start_new(print, 1)  _thread.start_new(print, (), 1)
    _thread.start_new(print,)  time.sleep()  time.sleep("1")  time.sleep(-1)  signal.sigtimedwait()

    new.connect(address)  new.connect_ex(address)  new.connect("no address")  new.connect((1, 2))  new.send("text")
    new.sendto(b".")  new.recv(-1)  new.recv()  new.settimeout(0)  new.accept()  new.recv(1)
    closed.send(b".")  closed.sendall(b".")  closed.sendto(b".", address)  closed.sendmsg([b"."])  closed.recv(1)
    closed.recv_into(bytearray(1))  closed.recvfrom(1)  closed.recvfrom_into(bytearray(1))  closed.recvmsg(1)
    closed.recvmsg_into([bytearray(1)])  closed.accept()  closed.connect(address)  closed.connect_ex(address)
    closed.connect_ex("no address")  closed.listen()  closed.close()
    one.send()  one.sendall()  one.sendall("text")  one.sendall([1])  one.sendall(memoryview(bytearray(4))[::2])
    one.sendall((ctypes.c_int * 2)(1, 2))  other.recv(100)  one.sendall(b"")  one.recvfrom(bufsize=1)  one.sendfile()
    one.recv(1, DONTWAIT)  one.recvfrom(1, DONTWAIT)  one.recv_into(bytearray(1), 0, DONTWAIT)
    one.recvmsg(1, 0, DONTWAIT)  one.recv(1, "no flags")  one.recvfrom(1, "no flags")
    one.recv_into(bytearray(1), 0, "no flags")  one.recvmsg(1, 0, "no flags")
    full.send(bytes(1000), DONTWAIT)  full.send(bytes(1000), "no flags")
    full.sendmsg([bytes(1000)], [], DONTWAIT)  full.sendmsg([bytes(1000)], [], "no flags")
    one.settimeout(0.001)  one.recv(1)  other.close()  one.send(b".")
    socket.getaddrinfo("127.0.0.1", "no such service")  socket.getaddrinfo()  socket.getnameinfo(1, 2)

    os.waitpid(1)  os.waitpid(os.getpid(), 0)  os.waitpid(-1, 0)  os.wait3(0)  os.wait4(-1, 0)  os.wait4(os.getpid())
    os.waitid(os.P_PID, os.getpid(), os.WEXITED)  os.waitid(os.P_ALL, 0, 0)  os.waitid("x", 0, 0)
    os.fsync()  os.fsync(9999)  os.fsync("x")  os.fdatasync()  os.fdatasync(9999)  os.fdatasync("x")  os.sync(1)
    os.open()  os.open("/no/such/file", os.O_RDONLY)  os.open("/", os.O_WRONLY)  os.open("/", "x")
    os.open(5, os.O_RDONLY)  os.open("a\0b", os.O_RDONLY)  os.open("x", os.O_RDONLY, dir_fd=9999)
    open()  open("/no/such/file")  open("/", "w")  open("a\0b")  open(None)  open(9999)  open(-1)
    os.pread(9999, 1, 0)  os.pread(0, "x", 0)  os.pread(0, 1, -1)  os.pread(0, 1, "x")  os.pread(1 << 40, 1, 0)
    os.pread(0)  os.preadv(9999, [bytearray(1)], 0)  os.preadv(0, 5, 0)  os.preadv(0, [bytearray(1)], -1)
    os.preadv(0, [b"x"], 0, "x")  os.pwrite(9999, bytes(1 << 20), 0)  os.pwrite(1, "text", 0)
    os.sendfile(9999, 9998, 0, 1)  os.copy_file_range(9999, 9998, 1)  os.posix_fallocate(9999, 0, 1)

    select.select()  select.select([9999], [], [], 0.001)  select.select(["x"], [], [])  select.select([], [])
    select.select([], [], [], 0.001)  select.select([], [], [], -1)  select.select([], [], [], "1")
    select.select(5, [], [])  select.poll(1)  select.poll(a=1)  type(poll)  poll.register()  poll.register("x")
    poll.poll("1")  poll.poll(1, 2)  poll.modify(5, 1)  poll.unregister(5)  select.epoll().poll("1")
    select.epoll().poll(1, 0)  closed_epoll.poll()  closed_selector.select()
"""
OF_A_PIPE = ["read", "write", "readv", "writev", "sendfile"]
WRONG_FOR_A_PIPE = """
    ()  (1,)  (read, "x")  (read, None)  (-1, 1)  (10**30, 1)  ("x", 1)  (write, 1, 1)  (99, 1)  (99, b"x")
    (write, "text")  (read, b"x")  (write, memoryview(bytes(10))[::2])  (read, [b"immutable"])  (write, ["text"])
    (write, [1])  (write, [b""] * 1025)  (99, [bytearray(1)])  (99, 1, 0, 1)  (write, 99, 0, 1)  (write, read, 0, -1)
    (write, "x", 0, 1)  (write, read, "x", 1)
"""
OF_A_SOCKET = ["recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "sendto", "sendmsg", "connect", "connect_ex"]
WRONG_FOR_A_SOCKET = '()  (None, None)  ("text", 0, "x")  (b"", b"", b"", b"", b"")  (-1, -1)  ([1], [2], 0)'


def apart(text: str) -> list[str]:
    return re.split(r"\s{2,}", text.strip())


REFUSED = [
    *apart(CALLS),
    *(f"os.{name}(*{wrong})" for name in OF_A_PIPE for wrong in apart(WRONG_FOR_A_PIPE)),
    *(f"pair.{name}(*{wrong})" for name in OF_A_SOCKET for wrong in apart(WRONG_FOR_A_SOCKET)),
    *(f"pair.{name}(1)" for name in OF_A_SOCKET if name not in ("recvfrom", "recvmsg")),  # they would wait
    *(
        f"opened({mode!r}, {options})"
        for mode in ("r", "w", "a", "rb", "wb", "ab", "r+", "x", "", "rb+", 7)
        for options in ("", "buffering=0", "buffering=1", "encoding='ascii'", "newline='x'")
    ),
    *(
        f"named_pipe({mode!r}, {buffering})"
        for mode in ("r", "w", "a", "rb", "wb", "ab", "r+b", "rb+")
        for buffering in (-1, 0, 1)
    ),
]


@pytest.mark.parametrize("calls", [REFUSED], ids=["all"])
@in_child
def test_they_refuse_and_fail_as_the_stock_ones(calls: list[str], tmp_path: Path) -> None:
    """In the main thread and in a green one, each with new things, because some calls change them."""
    _ = _thread  # for the texts
    os.mkfifo(fifo := str(tmp_path / "fifo"))

    def opened(mode: Any, **options: Any) -> list[str]:
        with open(os.dup(read if "r" in str(mode) else write), mode, **options) as file:
            return [cls.__name__ for cls in type(file).__mro__ if cls.__module__ == "_io"]

    def named_pipe(mode: Any, buffering: int) -> list[object]:
        both_ends = os.open(fifo, os.O_RDWR)
        with warnings.catch_warnings(record=True) as warned, os.fdopen(both_ends), open(fifo, mode, buffering) as file:
            raw: Any = getattr(getattr(file, "buffer", file), "raw", file)
            told = [file.name, file.mode, raw.name, raw.mode, raw.closefd, isinstance(raw, io.FileIO)]
            told += [file.readable(), file.writable(), file.seekable(), os.get_inheritable(file.fileno())]
            told += [isinstance(file, io.TextIOWrapper) and file.line_buffering]
            return [*told, *(str(warning.message) for warning in warned)]

    def things() -> dict[str, Any]:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            address = gone.getsockname()
        new, closed, poll = socket.socket(), socket.socket(), select.poll()
        (one, other), (full, behind), (pair, its_other) = (socket.socketpair() for _ in range(3))
        with suppress(BlockingIOError):
            while True:
                full.send(bytes(1000), socket.MSG_DONTWAIT)
        closed_epoll, closed_selector = select.epoll(), selectors.DefaultSelector()
        for each in (closed, closed_epoll, closed_selector):
            each.close()
        return locals()

    def outcome(call: str, names: dict[str, Any]) -> str:
        try:
            return repr(eval(call, names))
        except Exception as error:
            return repr(error)

    def look() -> None:
        names = {**scope, **things()}
        found.append({call: outcome(call, names) for call in calls})

    found: list[dict[str, str]] = []
    read, write = os.pipe()
    os.write(write, b"data")
    scope = {**globals(), **locals(), "DONTWAIT": socket.MSG_DONTWAIT}
    look()
    runtime.install(green=True)
    look()
    together(look)
    stock, in_main, in_green = found
    assert in_main == stock
    assert in_green == stock
    assert os.read(read, 100) == b"data"


@in_child
def test_a_call_by_a_helper_leaves_no_reference_in_the_traceback() -> None:
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


def test_only_builtin_functions_have_them() -> None:
    with pytest.raises(TypeError, match=r"stand-ins are for builtin functions, not <function no_builtin"):
        native.stand_in(no_builtin, len, False)


def no_builtin() -> None: ...
