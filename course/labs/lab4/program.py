"""Your keys in a thread that pthread_create has not made: `python program.py LIBRARY`."""

from __future__ import annotations

import ctypes
import os
import sys

from runtime import Thread

libc, library = ctypes.CDLL(None), ctypes.CDLL(sys.argv[1])
key = ctypes.c_uint()
library.key_create(ctypes.byref(key), libc.perror)  # the destructor writes the value, and what errno says


def work() -> None:
    library.key_set(key, b"the destructor")
    os.write(2, b"the thread\n")


thread = Thread(target=work)
thread.start()
thread.join()
os.write(2, b"main\n")
