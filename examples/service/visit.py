"""Visitors for shop.py."""

from __future__ import annotations

import argparse
import http.client
import random
import threading
import time
from collections.abc import Callable

PAGES: dict[str, Callable[[random.Random], str]] = {
    "prices": lambda chance: f"/prices?item=tea{chance.randrange(20)}",
    "pay": lambda chance: chance.choice(("/pay", "/refund")),
    "order": lambda chance: "/order",
    "audit": lambda chance: "/audit?who=visitor",
    "follow": lambda chance: "/follow",
    "report": lambda chance: "/report",
}


def visit(port: int, page: str, until: float, counts: list[int], at: int) -> None:
    chance = random.Random(at)
    while time.monotonic() < until:
        name = chance.choice(list(PAGES)) if page == "all" else page
        visitor = http.client.HTTPConnection("127.0.0.1", port, timeout=max(0.1, until - time.monotonic()))
        try:
            visitor.request("GET", PAGES[name](chance))
            visitor.getresponse().read()
            counts[at] += 1
            if name == "order":  # one is enough for a while
                return
        except OSError:  # no answer in time
            pass
        finally:
            visitor.close()


def main() -> None:
    options = argparse.ArgumentParser(description="Sends 16 visitors to one page of shop.py, again and again.")
    options.add_argument("port", type=int)
    options.add_argument("page", choices=[*PAGES, "all"])
    options.add_argument("seconds", type=float, nargs="?", default=10, help="for how long (default 10)")
    given = options.parse_args()
    page, seconds = given.page, given.seconds
    counts, until = [0] * 16, time.monotonic() + seconds
    visitors = [threading.Thread(target=visit, args=(given.port, page, until, counts, at)) for at in range(len(counts))]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    print(f"{page}: {sum(counts)} answers in {seconds:g} s, {counts.count(0)} of {len(counts)} visitors without one")


if __name__ == "__main__":
    main()
