"""Pykka 4.5.0: ask() of an actor that stops at that moment is never answered."""

import pykka

HELD = [("MainThread", "pykka/_ref.py", "self.actor_inbox.put(Envelope(message, reply_to=future))", 0.5)]


class Greeter(pykka.ThreadingActor):
    def on_receive(self, message):
        self.stop()
        return f"hello {message}"


def test():
    greeter = Greeter.start()
    greeter.tell("first")
    try:
        greeter.ask("second")
    except pykka.ActorDeadError:
        pass
