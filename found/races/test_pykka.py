"""Pykka 4.5.0: ask() of an actor that stops at that moment is never answered."""

import contextlib

import pykka

HELD = [("MainThread", "pykka/_ref.py", "self.actor_inbox.put(Envelope(message, reply_to=future))", 0.5)]


class Greeter(pykka.ThreadingActor):
    def on_receive(self, message):
        self.stop()
        return f"hello {message}"


def test():
    greeter = Greeter.start()
    greeter.tell("first")
    with contextlib.suppress(pykka.ActorDeadError):
        greeter.ask("second")
