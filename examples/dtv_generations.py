"""How a library with thread-local storage comes and goes: what the DTVs of two threads know, and when.

The main thread loads and unloads the library, and calls __tls_get_addr before each line, which brings its DTV up to
date.  The other thread sleeps: its DTV stays as it is until it calls __tls_get_addr itself.
"""

from __future__ import annotations

import ctypes
from _ctypes import dlclose
from collections.abc import Callable

from lwp.study.structures import lib
from runtime import Thread, tls
from runtime.sync import Barrier

LIBRARY = "libuuid.so.1"


def main() -> None:
    calls: list[Callable[[], object]] = []
    turn = Barrier(2)

    def sleeper() -> None:
        while True:
            turn.wait()
            if not calls:
                return
            calls.pop()()
            turn.wait()

    def let_it(call: Callable[[], object]) -> None:
        calls.append(call)
        turn.wait()
        turn.wait()

    def show(what: str) -> None:
        lib.tlsdemo_variable()  # returns &variable: by __tls_get_addr
        dtv = tls.inspect(thread).dtv
        block = next((entry.to_free for entry in dtv.entries if entry.module == number), 0)
        print(f"{what:32}{tls.inspect().dtv.generation:>10}{dtv.generation:>14}   {hex(block) if block else '-'}")

    number = max(module.id for module in tls.layout().modules) + 1  # the library's, once it is there
    thread = Thread(target=sleeper)
    thread.start()
    print(f"{'':32}main's DTV sleeper's DTV   its block of the library")
    show("the sleeper waits")
    library = ctypes.CDLL(LIBRARY)
    show("main: dlopen()")
    let_it(lambda: library.uuid_generate_time_safe(bytes(16)))
    show("sleeper: calls the library")
    dlclose(library._handle)
    show("main: dlclose()")
    let_it(lib.tlsdemo_variable)
    show("sleeper: __tls_get_addr()")
    turn.wait()
    thread.join()


if __name__ == "__main__":
    main()
