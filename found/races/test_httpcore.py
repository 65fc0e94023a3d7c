"""httpcore 1.0.9: a request fails because another thread's request closes its connection, taken for an idle one."""

import threading

import httpcore

HELD = [
    ("one", "http11.py", "with self._state_lock", 0.5),
    ("two", "connection_pool.py", "connection.close()", 1.0),
    ("one", "mock.py", "if self._closed", 1.0),
]
ANSWER = [b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n", b"OK"]


def test():
    network = httpcore.MockBackend(ANSWER * 2)
    with httpcore.ConnectionPool(max_keepalive_connections=1, network_backend=network) as pool:
        pool.request("GET", "http://one.example/")
        calls = [(name, ("GET", f"http://{name}.example/")) for name in ("one", "two")]
        threads = [threading.Thread(target=pool.request, args=args, name=name) for name, args in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
