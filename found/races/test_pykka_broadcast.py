"""Pykka 4.5.0: broadcast() raises ActorDeadError if an actor stops meanwhile, and the actors behind it get nothing."""

import pykka

HELD = [("MainThread", "pykka/_registry.py", "ref.tell(message)", 0.5)]


class Greeter(pykka.ThreadingActor):
    pass


def test():
    actors = [Greeter.start() for _ in range(2)]
    actors[0].stop(block=False)
    try:
        pykka.ActorRegistry.broadcast("hello")
    finally:
        pykka.ActorRegistry.stop_all()
