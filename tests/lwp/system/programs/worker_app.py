"""Pages with which tests/lwp/system/test_gunicorn.py asks the worker; they tell each other when to go on."""

import ctypes
import os
import select
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import runtime  # type: ignore[import-not-found, unused-ignore]  # the application's own, beside this file, if there is one

PATIENCE = 60
made_at_import = threading.Lock()
barriers: dict[int, threading.Barrier] = {}
entered: defaultdict[str, threading.Event] = defaultdict(threading.Event)
released: defaultdict[str, threading.Event] = defaultdict(threading.Event)
polling: list[int] = []
pipe = os.pipe()
at_once = most = 0


class PollFile(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def poll_until(number: int) -> bytes:
    """A request waits in C code, as in a driver of a database, until `number` requests have come."""
    polling.append(1)
    if len(polling) == number:
        os.write(pipe[1], b"x")
    file = PollFile(pipe[0], select.POLLIN)
    return b"all" if ctypes.CDLL(None).poll(ctypes.byref(file), 1, PATIENCE * 1000) == 1 else b"late"


def page(path: list[str], environ: dict[str, Any]) -> bytes | Iterator[bytes]:
    match path:
        case [""]:
            with made_at_import:
                return str(os.getpid()).encode()
        case ["port"]:
            return str(environ["REMOTE_PORT"]).encode()
        case ["lwp"]:
            return b"%d %d" % (os.getpid(), threading.get_native_id())
        case ["runtime"]:
            return str(getattr(runtime, "mine", False)).encode()
        case ["together", number]:
            barrier = barriers.setdefault(int(number), threading.Barrier(int(number)))
            barrier.wait(PATIENCE)
            return b"all"
        case ["polls", number]:
            return poll_until(int(number))
        case ["hold", name]:
            entered[name].set()
            return b"released" if released[name].wait(PATIENCE) else b"late"
        case ["entered", name]:
            return b"entered" if entered[name].wait(PATIENCE) else b"late"
        case ["release", name]:
            environ["wsgi.input"].read()
            released[name].set()
            return b""
        case ["echo"]:
            return bytes(environ["wsgi.input"].read())
        case ["parts", number]:
            return (b"%d," % part for part in range(int(number)))
        case ["raise"]:
            raise ValueError
        case ["exit"]:
            raise SystemExit(3)
        case ["compute"]:
            while True:
                pass
    raise LookupError(path)


def app(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    global at_once, most
    at_once += 1
    most = max(most, at_once)
    try:
        body = page(environ["PATH_INFO"].lstrip("/").split("/"), environ)
    finally:
        at_once -= 1
    head = [("X-Most", str(most))]
    if isinstance(body, bytes):
        start_response("200 OK", [*head, ("Content-Length", str(len(body)))])
        return [body]
    start_response("200 OK", head)
    return body
