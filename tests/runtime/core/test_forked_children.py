"""In the child of a fork the thread that has forked is the main thread, and alive: as with threading's own threads."""

from __future__ import annotations

import _thread
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Child, run_thread

import runtime

KINDS = ("stock", "ours", "installed", "green", "stock's from before", "no Thread")


def forks_in_a_thread(kind: str, how: str) -> None:
    """Each thing that is asked in the child is asked in a child of its own: asking may change what comes after."""

    def in_a_thread(function: Any) -> None:
        """Calls it in a thread of that kind and returns when it has ended."""
        if kind == "stock's from before":
            calls.append(function)
            go.release()
            gone.acquire()
        elif kind == "no Thread":
            over = threading.Lock()
            over.acquire()
            _thread.start_new_thread(lambda: (function(), over.release()), ())
            over.acquire()
        else:
            run_thread((runtime.Thread if kind == "ours" else threading.Thread)(target=function))

    def serve() -> None:
        while go.acquire() and calls:
            calls.pop()()
            gone.release()

    def forks(look: Any) -> list[str]:
        """What look() says in a child that is forked in a thread, and how that ended."""

        def in_child(write: int) -> None:
            try:
                text = "\n".join(map(str, look(write)))
            except BaseException as error:
                text = repr(error)
            os.write(write, text.encode() + b"\n")

        def fork() -> None:
            read, write = os.pipe()
            if how == "os.fork":
                if (pid := os.fork()) == 0:
                    signal.alarm(20)
                    status = 1
                    try:
                        in_child(write)
                        threading._shutdown()
                        status = 0
                    finally:
                        os._exit(status)
                os.close(write)
                said.append(b"".join(iter(lambda: os.read(read, 1000), b"")).decode())
                said.append(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
            else:
                process = multiprocessing.get_context("fork").Process(target=in_child, args=(write,))
                process.start()
                os.close(write)
                said.append(b"".join(iter(lambda: os.read(read, 1000), b"")).decode())
                process.join(20)
                said.append(str(process.exitcode))
            os.close(read)

        said: list[str] = []
        in_a_thread(fork)
        return [*said[0].split("\n")[:-1], *said[1:]]

    # ---- what is asked

    def who(write: int) -> list[Any]:
        me = threading.current_thread()
        return [me is threading.main_thread(), threading.enumerate() == [me], me.ident == threading.get_ident()]

    def alive(write: int) -> list[Any]:
        me = threading.current_thread()
        return [me.is_alive(), me.is_alive(), "stopped" in repr(me), me.is_alive()]

    def late(write: int) -> list[Any]:
        """The end waits for a thread that is no daemon."""
        begun, main = threading.Event(), threading.main_thread()

        def end() -> None:
            begun.set()
            while main.is_alive():  # how a thread asks whether the program is about to end
                time.sleep(0.001)
            os.write(write, b"late\n")

        threading.Thread(target=end).start()
        begun.wait()
        return ["begun"]

    def joins(write: int) -> list[Any]:
        """A thread that joins the main thread goes on when the program is about to end, also if it sleeps by then."""
        main = threading.main_thread()
        tids: list[int] = []

        def join() -> None:
            tids.append(threading.get_native_id())
            main.join()
            os.write(write, b"joined\n")
            main.join()

        threading.Thread(target=join).start()
        while not tids or Path(f"/proc/self/task/{tids[0]}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            os.sched_yield()
        return ["waits"]

    def daemon(write: int) -> list[Any]:
        threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
        return ["not waited for"]

    def again(write: int) -> list[Any]:
        """A fork in the fork, by its main thread and by another."""
        found = []

        def fork() -> None:
            was = threading.current_thread()
            if (pid := os.fork()) == 0:
                me = threading.current_thread()
                right = me is was is threading.main_thread() and me.is_alive() and "stopped" not in repr(me)
                threading.Thread(target=time.sleep, args=(0.01,)).start()
                threading._shutdown()
                os._exit(7 if right and not me.is_alive() else 1)
            found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        fork()
        thread = threading.Thread(target=fork)
        run_thread(thread)
        fork()
        return [*found, threading.current_thread().is_alive(), thread.is_alive()]

    go, gone, calls = threading.Semaphore(0), threading.Semaphore(0), []
    if kind == "stock's from before":
        threading.Thread(target=serve).start()
    if kind not in ("stock", "ours"):
        runtime.install(green=kind == "green")
    for look in (who, alive, late, joins, daemon, again):
        if kind == "green" and look is joins:
            continue  # all its threads sleep in one LWP, and sleeping can't be seen from outside
        print(look.__name__, *forks(look))
    go.release()  # for serve()'s end


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_thread_that_forks_is_the_childs_main_thread(kind: str, how: str, child: Child) -> None:
    found = child(forks_in_a_thread, kind, how).stdout.splitlines()
    assert found == [
        "who True True True 0",
        "alive True True False True 0",
        "late begun late 0",
        *(["joins waits joined 0"] if kind != "green" else []),
        "daemon not waited for 0",
        "again 7 7 7 True False 0",
    ]
