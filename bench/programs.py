"""The servers that `bench programs` measures: real ones of other packages, each a program; its port and process id on
stdout.

    python programs.py NAME

Each answers a GET by its path.  The web servers do so by themselves.  Behind the other names is `http.server` with a
thread for each connection, which asks in the way of that package: a call of gRPC to a server in the same process, say.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
BACKLOG = 4096
THREADS = 16  #: of servers that have so many for all connections

Asks = Callable[[str], str]


def ready(port: int) -> None:
    print(port, os.getpid(), flush=True)


# ---- web servers -----------------------------------------------------------------------------------------------------


def application(environ: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    body = environ["PATH_INFO"].encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def flask() -> None:
    """Its development server."""
    from flask import Flask
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # it closes each connection all the same

        def log_request(self, *args: object) -> None:
            pass

    app = Flask(__name__)
    app.add_url_rule("/<name>", view_func=lambda name: f"/{name}", endpoint="page")
    server = make_server(HOST, 0, app, threaded=True, request_handler=Handler)
    ready(server.port)
    server.serve_forever()


def bottle() -> None:
    """On cheroot."""
    from bottle import Bottle
    from cheroot.wsgi import Server

    app = Bottle()
    app.route("/<name>", callback=lambda name: f"/{name}")
    server = Server((HOST, 0), app, numthreads=THREADS, request_queue_size=BACKLOG)
    server.prepare()
    ready(server.bind_addr[1])
    server.serve()


def cherrypy() -> None:
    import cherrypy

    class Root:
        @cherrypy.expose
        def default(self, name: str) -> str:
            return f"/{name}"

    cherrypy.config.update({"environment": "production", "server.socket_host": HOST, "server.socket_port": free_port()})
    cherrypy.config.update({"server.thread_pool": THREADS, "server.socket_queue_size": BACKLOG})
    cherrypy.tree.mount(Root())
    cherrypy.engine.start()
    ready(cherrypy.server.socket_port)
    cherrypy.engine.block()


def waitress() -> None:
    """Its main thread waits for all connections."""
    from waitress import create_server

    server = create_server(application, host=HOST, port=0, threads=THREADS, backlog=BACKLOG)
    ready(server.effective_port)
    server.run()


def django() -> None:
    """What `manage.py runserver` serves with."""
    from django.conf import settings
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    def page(request: HttpRequest, name: str) -> HttpResponse:
        return HttpResponse(f"/{name}")

    class Handler(WSGIRequestHandler):
        wbufsize = -1  # see servers.py

        def log_message(self, format: str, *args: object) -> None:
            pass

    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=["django.middleware.common.CommonMiddleware"]
    )
    globals()["urlpatterns"] = [path("<name>", page)]
    server = ThreadedWSGIServer((HOST, 0), Handler)
    server.set_app(get_wsgi_application())
    ready(server.server_port)
    server.serve_forever()


def fastapi() -> None:
    """On uvicorn, whose pool of threads runs what is not `async`."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI()
    app.add_api_route("/{name}", lambda name: PlainTextResponse(f"/{name}"))
    # asyncio sets TCP_NODELAY only if it knows the protocol; without, a body waits for the head's acknowledgement.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind((HOST, 0))
    listener.listen(BACKLOG)
    ready(listener.getsockname()[1])
    config = uvicorn.Config(app, log_level="error", loop="asyncio", http="h11", backlog=BACKLOG)
    uvicorn.Server(config).run([listener])


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


# ---- behind http.server ----------------------------------------------------------------------------------------------


#: `-P` keeps this folder, which has an io.py, out of the path.
serve = runpy.run_path(str(Path(__file__).with_name("servers.py")))["http"]


def grpc() -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    answers = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("it", {"echo": answers}),))
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    echo = grpc.insecure_channel(f"{HOST}:{port}").unary_unary("/it/echo")
    serve(lambda: lambda path: echo(path.encode()).decode())


def psycopg() -> None:
    """The PostgreSQL that PGHOST, PGUSER and PGDATABASE name."""
    from psycopg_pool import ConnectionPool

    pool = ConnectionPool(min_size=6, max_size=6)

    def ask(path: str) -> str:
        with pool.connection() as connection:
            return "".join(*connection.execute("select %s", [path]))

    serve(lambda: ask)


def zmq() -> None:
    import zmq

    context = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    front.bind("inproc://front")
    back.bind("inproc://back")

    def answer() -> None:
        replies = context.socket(zmq.REP)
        replies.connect("inproc://back")
        while True:
            replies.send(replies.recv())

    for _ in range(4):
        threading.Thread(target=answer, daemon=True).start()
    threading.Thread(target=zmq.proxy, args=(front, back), daemon=True).start()

    def connect() -> Asks:
        requests = context.socket(zmq.REQ)
        requests.connect("inproc://front")

        def ask(path: str) -> str:
            requests.send(path.encode())
            return str(requests.recv().decode())

        return ask

    serve(connect)


def sqlite3() -> None:
    """Each answer is written first."""
    import sqlite3

    folder = tempfile.TemporaryDirectory()
    file = f"{folder.name}/data"
    with sqlite3.connect(file) as database:
        database.executescript("pragma journal_mode = wal; create table asked (path text)")

    def connect() -> Asks:
        own = sqlite3.connect(file, timeout=60, isolation_level=None)
        own.execute("pragma synchronous = off")
        return lambda path: str(own.execute("insert into asked values (?) returning path", [path]).fetchone()[0])

    serve(connect)


def ctypes() -> None:
    """Blocks in C code, and calls what returns at once from the same place there."""
    import ctypes

    libc = ctypes.CDLL(None)

    def ask(path: str) -> str:
        libc.usleep(300)
        for _ in range(10):
            libc.getppid()
        return path

    serve(lambda: ask)


def websockets() -> None:
    from websockets.sync import server as sync
    from websockets.sync.client import connect

    def answer(connection: sync.ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    server = sync.serve(answer, HOST, 0, compression=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"ws://{HOST}:{server.socket.getsockname()[1]}"

    def connected() -> Asks:
        own = connect(address, compression=None, legacy=True)

        def ask(path: str) -> str:
            own.send(path)
            return str(own.recv())

        return ask

    serve(connected)


def celery() -> None:
    """A worker with threads, in the same process."""
    from celery import Celery
    from celery.contrib.testing.worker import start_worker

    app = Celery("it", broker="memory://", backend="cache+memory://")
    app.conf.update(broker_transport_options={"polling_interval": 0.001}, broker_connection_retry_on_startup=True)

    @app.task
    def echo(path: str) -> str:
        return path

    with start_worker(app, pool="threads", concurrency=THREADS, perform_ping_check=False):
        serve(lambda: lambda path: str(echo.delay(path).get(interval=0.001)))


if __name__ == "__main__":
    signal.alarm(600)  # nobody handles it: the end, if nobody is there any more to end it
    globals()[sys.argv[1]]()
