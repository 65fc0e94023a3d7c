"""A threaded HTTP server under load: many client threads, a new server thread for every request.

Server and clients live in this one process and talk over 127.0.0.1.  Each answer is a digest of the path that
was asked for, so a client knows whether it got its own.  An ordinary threaded program, which knows of no runtime
but Python's own.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import http.server
import sys
import threading
import time

TIMEOUT = 30.0  # seconds a connection may be silent: whatever goes wrong, the program ends by itself


def digest(path: str) -> bytes:
    return hashlib.sha256(path.encode()).hexdigest().encode()


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = TIMEOUT

    def do_GET(self) -> None:
        body = digest(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass  # a line for each request would be most of the output


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() joins them
    request_queue_size = 1024  # the default of 5 makes connections wait for a second when many come at once


class Client(threading.Thread):
    """Asks for so many paths, one after the other, each over a connection of its own (HTTP/1.0)."""

    def __init__(self, number: int, port: int, requests: int) -> None:
        super().__init__(name=f"client-{number}")
        self.number, self.port, self.requests = number, port, requests
        self.latencies: list[float] = []  # seconds, of the requests that were answered rightly
        self.errors: list[str] = []

    def run(self) -> None:
        for i in range(self.requests):
            path = f"/{self.number}/{i}"
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
            begin = time.perf_counter()
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read()
                if (response.status, body) != (200, digest(path)):
                    raise ValueError(f"{path}: status {response.status}, {len(body)} bytes that are not its digest")
                self.latencies.append(time.perf_counter() - begin)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.errors.append(repr(error))
            finally:
                connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50, help="client threads (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=2000, help="of all clients together (default: %(default)s)")
    options = parser.parse_args()
    if options.clients < 1 or options.requests < options.clients:
        parser.error("there must be at least one client, and a request for each")

    with Server(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, name="server")
        serving.start()
        begin = time.perf_counter()
        each, more = divmod(options.requests, options.clients)
        clients = [Client(i, server.server_port, each + (i < more)) for i in range(options.clients)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        seconds = time.perf_counter() - begin
        server.shutdown()
        serving.join()

    latencies = sorted(latency for client in clients for latency in client.latencies)
    errors = [error for client in clients for error in client.errors]
    print(f"{options.clients} clients, {options.requests} requests in {seconds:.2f} s")
    print(f"{len(latencies) / seconds:.0f} requests/s")
    if latencies:
        p50, p99 = (latencies[int(len(latencies) * q)] for q in (0.50, 0.99))
        print(f"latency: p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms")
    print(f"errors: {len(errors)}" + (f", the first: {errors[0]}" if errors else ""))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
