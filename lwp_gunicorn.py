"""`gunicorn -k lwp_gunicorn.Worker app:app`: a green thread for each connection, as gevent's worker has a greenlet.

gunicorn's arbiter imports this module, so that its workers share the runtime's memory, and each worker is put on the
runtime after its fork.  As pytest's plugin the module is not in the package, because `runtime` may be the
application's.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import socket
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from types import SimpleNamespace
from typing import Any

from gunicorn.http import wsgi
from gunicorn.sock import ssl_context
from gunicorn.workers.base_async import AsyncWorker

import lwp_runtime

_children, _installation, _ = (
    lwp_runtime.load(f"runtime.patch.{name}") for name in ("children", "installation", "blocking")
)
lwp_runtime.give_way()

__all__ = ["Worker"]

_FOREVER = 1e9  # seconds
_LINGER = 2  # seconds: a worker that ends is so long asked on a kept connection, as gthread's is


class _Connection:
    """In a `with` the client has --keep-alive seconds to send what is read, such as the head of a request."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.since = math.inf

    def __enter__(self) -> None:
        self.since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.since = math.inf

    def end_if_late(self, before: float) -> None:
        """Lets the reader find the end of what the client sends.  A request that is complete just now is answered."""
        if self.since < before:
            with suppress(OSError):
                socket.socket.shutdown(self.client, socket.SHUT_RD)  # SSLSocket's own gives up TLS for what follows


class _Parts(list[bytes]):
    """Keeps what a response sends."""

    sendall = list.append


class _Response(wsgi.Response):  # type: ignore[misc]
    """Sends its head and the first part of its body by one system call, which wakes the client once."""

    sock: Any

    def write(self, arg: bytes) -> None:
        if self.headers_sent:
            super().write(arg)
            return
        sock, parts = self.sock, _Parts()
        self.sock = parts
        try:
            super().write(arg)
        finally:
            self.sock = sock
            sock.sendall(b"".join(parts))


class Worker(AsyncWorker):  # type: ignore[misc]
    """Has up to --worker-connections at a time, and with --threads above 1 runs up to so many requests at a time.

    The threads of its requests share an LWP.  While one computes, or blocks in C code of others, as a driver of a
    database does, the others go on, on another LWP.  Only C code that keeps the GIL for --timeout has the worker
    replaced.

    LWP_TIME_SLICE in the environment: seconds that a request may keep the others waiting.  0: all share the main
    thread's LWP, and a request that blocks so holds them up, until the arbiter replaces the worker after --timeout, as
    it does gevent's.
    """

    alive: bool

    def init_process(self) -> None:
        time_slice = float(os.environ.get(_children.TIME_SLICE) or _installation.TIME_SLICE) or None
        _installation.install(green=True, time_slice=time_slice)
        for name in ("", "gunicorn.error", "gunicorn.access"):
            for handler in logging.getLogger(name).handlers:
                handler.createLock()  # the arbiter has made a stock one, and a thread that waits for it keeps the LWP
        wsgi.Response = _Response
        self.ended = threading.Event()
        self.connections: set[_Connection] = set()
        self.lingers_until = math.inf
        self.mine = threading.local()
        super().init_process()

    def run(self) -> None:
        """Serves until the worker is to end, and then for up to --graceful-timeout the requests that have begun."""
        # A request reads some twenty settings.  By Config's two calls for each they are 6 % of its instructions.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        self.tls = ssl_context(self.cfg) if self.cfg.is_ssl else None
        threads = self.cfg.threads
        self.turns: AbstractContextManager[Any] = threading.Semaphore(threads) if threads > 1 else nullcontext()
        places = self.worker_connections + len(self.sockets) - 1  # each accept() has one, too
        self.places = threading.Semaphore(places)
        for listener in self.sockets:
            # A timeout keeps the descriptor, which all workers share, in nonblocking mode.  Otherwise accept(2) would
            # keep the LWP when another worker takes the connection that poll(2) has reported.
            listener.settimeout(_FOREVER)
            # The listener may be closed before its thread has a first turn, and has no address then.
            threading.Thread(target=self.accept, args=(listener, listener.getsockname()), daemon=True).start()
        # A worker that hangs gives its main thread no turn to handle the arbiter's SIGABRT.  So C tells where it hangs.
        faulthandler.enable(2, all_threads=False)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            self.ended.wait(1)
        self.alive = False
        for listener in self.sockets:
            listener.close()
        self.lingers_until = time.monotonic() + _LINGER
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while places and time.monotonic() < deadline:
            self.notify()
            places -= self.places.acquire(timeout=1)

    def accept(self, listener: Any, address: Any) -> None:
        """Starts a thread for each connection, until the listener is closed."""
        named = SimpleNamespace(getsockname=lambda: address)  # a connection may begin when the listener is closed
        while True:
            self.places.acquire()
            try:
                client, peer = listener.accept()
                threading.Thread(target=self.serve, args=(named, client, peer), daemon=True).start()
            except Exception:  # no descriptor or no memory is left, or a client has left at once
                self.places.release()
                if not self.alive:
                    return
                self.log.exception("No connection is accepted for a second.")
                client = None
                time.sleep(1)

    def serve(self, listener: Any, client: Any, address: Any) -> None:
        """Serves one connection."""
        connection: Any = None
        try:
            if self.tls:
                quiet = self.cfg.suppress_ragged_eofs
                client = self.tls.wrap_socket(client, True, do_handshake_on_connect=False, suppress_ragged_eofs=quiet)
            self.mine.connection = connection = _Connection(client)
            self.connections.add(connection)
            if self.tls:
                with connection:
                    client.do_handshake()
            self.handle(listener, client, address)
        except OSError as error:
            self.log.debug("No connection by TLS: %s", error)
            client.close()
        finally:
            self.connections.discard(connection)
            self.places.release()

    def timeout_ctx(self) -> AbstractContextManager[None]:
        return self.mine.connection  # type: ignore[no-any-return]

    def handle_request(self, *args: Any) -> Any:
        with self.turns:
            return super().handle_request(*args)

    def notify(self) -> None:
        super().notify()
        if self.cfg.keepalive:
            now = time.monotonic()
            before = now if now > self.lingers_until else now - self.cfg.keepalive
            for connection in list(self.connections):
                connection.end_if_late(before)

    def handle_exit(self, *args: Any) -> None:
        super().handle_exit(*args)
        self.ended.set()
