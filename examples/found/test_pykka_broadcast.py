"""Pykka 4.5.0: broadcast() raises ActorDeadError if an actor stops meanwhile, and the actors behind it get nothing."""

import pykka

HELD = [("MainThread", "pykka/_registry.py", "ref.tell(message)", 0.5)]


class Greeter(pykka.ThreadingActor):
    pass


def test():
    first, second = Greeter.start(), Greeter.start()
    first.stop(block=False)
    try:
        pykka.ActorRegistry.broadcast("hello")
    finally:
        pykka.ActorRegistry.stop_all()
