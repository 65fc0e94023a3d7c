"""Serves the live page.

The address alone opens the page, so it has a token, and no other path is answered.  A page
of another site can't have the program's data read for it: its browser sends that site's name as Host (DNS rebinding),
and no answer allows another origin (CORS).  The page itself may load and connect to nothing else
(Content-Security-Policy), and makes no HTML of texts (Trusted Types), because names of threads and lines of source are
not to be trusted.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import secrets
import select
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ....look import SHEET
from ...asking import Unanswered, ask
from ..dump import dump_facts
from ..trace._page import SCRIPT, STYLE
from ._feed import Feed
from ._recording import Recording
from ._snapshot import about_thread, locks_table, moment

_PERIOD = 0.1  # s between two batches
_SHARE = 50  # a dump that takes a second is asked for every 50 seconds
_STREAMS = 8  # at once
_CONNECTIONS = 64  # at once: each has a thread, and any user of this machine can open some
_PATIENCE = 20  # s: for a browser that sends or reads nothing
_HERE = Path(__file__).parent
_FILES = {
    "": (_HERE / "page.html", "text/html"),
    "page.css": (_HERE / "page.css", "text/css"),
    "page.js": (_HERE / "page.js", "text/javascript"),
    SHEET.name: (SHEET, "text/css"),
    STYLE.name: (STYLE, "text/css"),
    SCRIPT.name: (SCRIPT, "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _is_address(host: str) -> bool:
    """Whether a Host header has an IP address or localhost in it: what DNS can't lead elsewhere."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class NoAddress(Exception):
    """Nothing can be served at an address, and why, in a sentence."""

    def __init__(self, error: OSError) -> None:
        free = error.errno in (errno.EADDRINUSE, errno.EACCES)  # the kernel keeps low ports for root
        hint = "0 is any free port" if free else "it must be an address of this machine, such as 127.0.0.1"
        super().__init__(f"{error.strerror}; {hint}")


class Server(ThreadingHTTPServer):
    """The page of one program, which records while a page is open.

    NoAddress: it can't be had, and why.  OSError, Unanswered: the program can't be asked, and has no records.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, pid: int, address: tuple[str, int]) -> None:
        self.pid = pid
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise NoAddress(error) from None
        self.recording = Recording(pid)
        try:
            self.recording.go_on()
        except BaseException:
            self.server_close()
            raise
        self.dump: dict[str, Any] = {"crowds": []}
        self.moment: dict[str, Any] = {}  #: what the page shows of it, or an error
        self.wanted = threading.Event()  # a page has shown the moment
        self.token = secrets.token_urlsafe(16)
        self.streams = threading.BoundedSemaphore(_STREAMS)
        self.connections = threading.BoundedSemaphore(_CONNECTIONS)
        self.making = threading.Lock()  # of a batch: one that a slow reader comes late for has 200 MB of objects
        self.ended = threading.Event()  # the program has

    def serve_until_end(self) -> None:
        """Serves until the program has ended and the browsers have been told so, or until Ctrl-C."""
        for function in (self.serve_forever, self._ask):
            threading.Thread(target=function, daemon=True).start()
        try:
            with suppress(ProcessLookupError), open(os.pidfd_open(self.pid), "rb") as process:
                select.select([process], [], [])
            self.ended.set()
            for _ in range(_STREAMS):
                self.streams.acquire(timeout=_PATIENCE)
        finally:
            self.shutdown()
            self.recording.end()

    def _ask(self) -> None:
        """Asks the program for a dump once a second while a page is open, and at most a fiftieth of the time."""
        while self.wanted.wait() and not self.ended.is_set():
            self.wanted.clear()
            with suppress(Unanswered, OSError):
                self.recording.go_on()
            begun = time.monotonic()
            try:
                self.dump = dump_facts(self.pid)
                self.moment = moment(self.dump) | {"locks": self._locks()}
            except Unanswered as error:
                self.moment = {"error": str(error)}
            # What is seen without Python costs the program nothing.
            share = 1 if "without" in self.dump else _SHARE
            self.ended.wait(max(1, share * (time.monotonic() - begun)))

    def _locks(self) -> dict[str, Any] | None:
        """The table of what threads have waited for; None: the program doesn't count that."""
        with suppress(Unanswered):
            facts = ask(self.pid, "locks")
            return locks_table(facts) if facts.get("seconds") else None
        return None

    @property
    def url(self) -> str:
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.connections.acquire(blocking=False):
            return self.shutdown_request(request)
        try:
            super().process_request(request, client_address)
        except BaseException:  # there can be no more threads
            self.connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is nothing to tell of."""


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _PATIENCE

    def do_GET(self) -> None:
        if (name := self._asked()) is None:
            return
        if name == "events":
            self._stream()
        elif name.startswith("thread/") and name[7:].isdecimal():
            self._answer("application/json", json.dumps(about_thread(self.server.dump, int(name[7:]))).encode())
        elif name in _FILES:
            path, kind = _FILES[name]
            self._answer(kind, path.read_bytes())
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def _asked(self) -> str | None:
        """What is asked for, below the token; None: that is refused."""
        if not _is_address(self.headers.get("Host", "")):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        token, _, name = self.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        return name

    def _answer(self, kind: str, body: bytes) -> None:
        self._begin(HTTPStatus.OK, kind)
        self.wfile.write(body)

    def _begin(self, status: HTTPStatus, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status: HTTPStatus, why: str = "") -> None:
        self._begin(status, "text/plain")
        self.wfile.write(f"{why or status.phrase}\n".encode())

    def _stream(self) -> None:
        """Server-sent events, until the recording ends or the browser goes away."""
        if not self.server.streams.acquire(blocking=False):
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            self._begin(HTTPStatus.OK, "text/event-stream")
            while not self.server.ended.is_set():
                try:
                    records = self.server.recording.go_on()
                    self._follow(Feed(self.server.pid, records))
                except (Unanswered, ValueError) as error:
                    self._send("moment", {"error": str(error)})
                self.server.ended.wait(1)  # the recording has ended: it may begin again
            self._send("ended", {})
        finally:
            self.server.streams.release()

    def _follow(self, feed: Feed) -> None:
        """Tells what comes, until the recording ends."""
        self._send("hello", feed.hello())
        shown = None
        while not feed.ended:
            last = self.server.ended.wait(_PERIOD)
            with self.server.making:
                news = _event("news", feed.news(last=last))
            self.wfile.write(news)
            self.server.wanted.set()
            if self.server.moment and shown is not self.server.moment:
                shown = self.server.moment
                feed.name(self.server.dump)
                self._send("moment", shown)

    def _send(self, event: str, data: dict[str, Any]) -> None:
        self.wfile.write(_event(event, data))

    def version_string(self) -> str:
        return "lwp"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the program's."""
