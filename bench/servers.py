"""The servers that `bench io` measures, each a program: an echo, or `http.server`; its port on stdout.

    python servers.py echo|http [gevent] | echo [uvloop] streams|protocol

It knows nothing of the runtime: a thread for each connection in plain `socket` and `threading`, which `lwp run` runs as
it is, and gevent after `patch_all()`. Or asyncio's two ways.
"""

from __future__ import annotations

import sys

if "gevent" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import signal
import socket
import threading
from contextlib import suppress
from importlib import import_module

BACKLOG = 4096
SIZE = 1024  # of a read


def ready(listener: socket.socket) -> None:
    print(listener.getsockname()[1], flush=True)


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


def http() -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps the connection
        wbufsize = -1  # head and body in one segment, or the body waits for the head's acknowledgement

        def do_GET(self) -> None:
            body = self.path.encode()
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


if __name__ == "__main__":
    signal.alarm(600)  # nobody handles it: the end, if nobody is there any more to end it
    threading.stack_size(256 << 10)
    if "streams" in sys.argv or "protocol" in sys.argv:
        echo_in_loop("streams" in sys.argv, "uvloop" in sys.argv)
    elif "http" in sys.argv:
        http()
    else:
        echo()
