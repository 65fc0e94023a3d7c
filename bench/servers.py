"""The servers that `bench io` and `bench workers` measure, each a program; its port and process id on stdout.

    python servers.py echo|http|select [gevent] | echo [uvloop] streams|protocol | compute|sleep worker=CLASS

An echo and `http.server` know nothing of the runtime: a thread for each connection in plain `socket` and `threading`,
which `lwp run` runs as it is, and gevent after `patch_all()`. Or asyncio's two ways. `select` is an echo as waitress
serves: the main thread waits for all connections, and few threads answer. Or an application of Flask, whose pages
compute or sleep, on one of gunicorn's workers.
"""

from __future__ import annotations

import sys

if "gevent" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import os
import queue
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import cast

ANSWERING = 4  # threads of select()
BACKLOG = 4096
SIZE = 1024  # of a read


def ready(listener: socket.socket) -> None:
    print(listener.getsockname()[1], os.getpid(), flush=True)


# ---- a thread for each connection ------------------------------------------------------------------------------------


def echo() -> None:
    def answer(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            while data := connection.recv(SIZE):
                connection.sendall(data)

    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    ready(listener)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def http(connect: Callable[[], Callable[[str], str]] = lambda: str) -> None:
    """Each connection's thread asks, by the path, what it has got from connect(); or answers by the path itself."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps the connection
        wbufsize = -1  # head and body in one segment, or the body waits for the head's acknowledgement

        def setup(self) -> None:
            super().setup()
            self.asks = connect()

        def do_GET(self) -> None:
            body = self.asks(self.path).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = BACKLOG

    with Server(("127.0.0.1", 0), Handler) as server:
        ready(server.socket)
        server.serve_forever()


# ---- asyncio ---------------------------------------------------------------------------------------------------------


def echo_in_loop(streams: bool, uvloop: bool) -> None:
    import asyncio

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(SIZE):
                writer.write(data)
                await writer.drain()
        writer.close()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.write = transport.write  # type: ignore[attr-defined]  # uvloop's is no asyncio.Transport

        def data_received(self, data: bytes) -> None:
            self.write(data)

    async def serve() -> None:
        if streams:
            server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=BACKLOG)
        else:
            server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=BACKLOG)
        ready(server.sockets[0])
        await server.serve_forever()

    with asyncio.Runner(loop_factory=import_module("uvloop").new_event_loop if uvloop else None) as runner:
        runner.run(serve())


# ---- a main thread that waits for all connections --------------------------------------------------------------------


def select() -> None:
    tasks: queue.Queue[tuple[socket.socket, bytes]] = queue.Queue()

    def work() -> None:
        while True:
            connection, data = tasks.get()
            with suppress(OSError):  # the connection may have ended
                connection.sendall(data)

    for _ in range(ANSWERING):
        threading.Thread(target=work, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    selector = selectors.PollSelector()
    selector.register(listener, selectors.EVENT_READ)
    ready(listener)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            connection = cast(socket.socket, key.fileobj)
            with suppress(ConnectionError):
                if data := connection.recv(SIZE):
                    tasks.put((connection, data))
                    continue
            selector.unregister(connection)
            connection.close()


# ---- gunicorn --------------------------------------------------------------------------------------------------------


def flask(computes: bool, worker: str) -> None:
    import time

    from flask import Flask
    from gunicorn.app.base import BaseApplication

    application = Flask(__name__)

    @application.get("/<name>")
    def page(name: str) -> str:
        if computes:
            for number in range(50_000):  # about a millisecond
                number * number
        else:
            time.sleep(0.01)
        return f"/{name}"

    class Application(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            settings = {
                "bind": "127.0.0.1:0",
                "backlog": BACKLOG,
                "worker_class": worker,
                "worker_connections": 2 * BACKLOG,
                "threads": 64 if worker == "gthread" else 1,
                "keepalive": 60,
                "loglevel": "error",
                "post_worker_init": lambda worker: ready(worker.sockets[0]),
            }
            for name, value in settings.items():
                self.cfg.set(name, value)

        def load(self) -> Flask:
            return application

    sys.argv = sys.argv[:1]
    Application().run()


if __name__ == "__main__":
    signal.alarm(600)  # nobody handles it: the end, if nobody is there any more to end it
    threading.stack_size(256 << 10)
    if sys.argv[-1].startswith("worker="):
        flask("compute" in sys.argv, sys.argv[-1].removeprefix("worker="))
    elif "streams" in sys.argv or "protocol" in sys.argv:
        echo_in_loop("streams" in sys.argv, "uvloop" in sys.argv)
    elif "select" in sys.argv:
        select()
    elif "http" in sys.argv:
        http()
    else:
        echo()
