"""A web shop with six faults, to be found from outside: docs/lwp/observing.md walks through them.

    lwp run examples/service/shop.py 8000
    python examples/service/visit.py 8000 PAGE     # prices, pay, order, audit, follow, report, or all

Each page has one fault: a race in a cache, two locks in both orders, a lost wake-up, a convoy, a leak of threads, and a
pool whose calls wait for each other.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

# ---- prices: what suppliers say is kept for a while ------------------------------------------------------------------


class Prices:
    """Asks the supplier for a price, and keeps it for a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[str, tuple[float, int]] = {}
        threading.Thread(target=self._tidy, name="forgets prices", daemon=True).start()

    def of(self, item: str) -> int:
        if item in self._known and self._is_old(item):
            self._forget(item)
        if item not in self._known:
            time.sleep(0.002)  # the supplier looks it up
            self._known[item] = time.monotonic(), sum(map(ord, item))
        return self._known[item][1]

    def _tidy(self) -> None:
        while True:
            time.sleep(0.02)
            for item in list(self._known):
                if self._is_old(item):
                    self._forget(item)

    def _is_old(self, item: str) -> bool:
        return self._known[item][0] < time.monotonic() - self._seconds

    def _forget(self, item: str) -> None:
        time.sleep(0.0002)  # the supplier need not tell us any more
        del self._known[item]


# ---- pay: from one account to another --------------------------------------------------------------------------------


class Account:
    def __init__(self, balance: int) -> None:
        self.lock = threading.Lock()
        self.balance = balance


class Bank:
    def __init__(self) -> None:
        self.customer, self.shop = Account(1000), Account(0)

    def pay(self, amount: int) -> None:
        self._move(self.customer, self.shop, amount)

    def refund(self, amount: int) -> None:
        self._move(self.shop, self.customer, amount)

    def _move(self, one: Account, other: Account, amount: int) -> None:
        with one.lock:
            time.sleep(0.001)  # the bank's computer thinks
            with other.lock:
                one.balance -= amount
                other.balance += amount


# ---- order: a clerk packs what has been ordered ----------------------------------------------------------------------


class Order:
    def __init__(self) -> None:
        self.packed = threading.Event()


class Desk:
    """Visitors put orders here, and a clerk packs them."""

    def __init__(self) -> None:
        self.came = threading.Condition()
        self._orders: list[Order] = []
        threading.Thread(target=self._pack, name="clerk", daemon=True).start()

    def put(self, order: Order) -> None:
        with self.came:
            self._orders.append(order)
            self.came.notify()
        order.packed.wait()

    def _pack(self) -> None:
        while True:
            with self.came:
                self.came.wait()
                orders, self._orders = self._orders, []
            for order in orders:
                time.sleep(0.05)  # brown paper, string
                order.packed.set()


# ---- audit: each visit is written down -------------------------------------------------------------------------------


class Audit:
    """A log that survives a failure of power."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile("w")  # noqa: SIM115  it is open as long as the shop is

    def write(self, line: str) -> None:
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            time.sleep(0.005)  # a slow disk


# ---- follow: a visitor is told where the parcel is -------------------------------------------------------------------


class Parcels:
    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._told = 0

    def follow(self) -> None:
        threading.Thread(target=self._tell, daemon=True).start()

    def _tell(self) -> None:
        self._arrived.wait()
        self._told += 1


# ---- report: sums by region and month --------------------------------------------------------------------------------


class Reports:
    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(4, "reports")

    def year(self) -> int:
        return sum(self._pool.map(self._region, range(4)))

    def _region(self, region: int) -> int:
        months = [self._pool.submit(self._month, region, month) for month in range(12)]
        return sum(month.result() for month in months)

    def _month(self, region: int, month: int) -> int:
        time.sleep(0.001)
        return region * month


# ---- the shop --------------------------------------------------------------------------------------------------------


class Shop:
    def __init__(self) -> None:
        self.prices, self.bank, self.desk = Prices(0.1), Bank(), Desk()
        self.audit, self.parcels, self.reports = Audit(), Parcels(), Reports()
        self.pages: dict[str, Callable[[dict[str, str]], object]] = {
            "/prices": lambda asked: self.prices.of(asked.get("item", "tea")),
            "/pay": lambda asked: self.bank.pay(1),
            "/refund": lambda asked: self.bank.refund(1),
            "/order": lambda asked: self.desk.put(Order()),
            "/audit": lambda asked: self.audit.write(str(asked)),
            "/follow": lambda asked: self.parcels.follow(),
            "/report": lambda asked: self.reports.year(),
        }


class Visit(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shop: Shop

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        page = self.shop.pages.get(asked.path)
        text = "" if page is None else f"{page(dict(parse_qsl(asked.query)))}\n"
        self.send_response(404 if page is None else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *visit: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # the visitor has left
            super().handle_error(*visit)


def main() -> None:
    if sys.argv[1:] and not sys.argv[1].isdecimal():
        sys.exit(__doc__)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    Visit.shop = Shop()
    with Server(("127.0.0.1", port), Visit) as server:
        print(f"process {os.getpid()}: http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
