"""As much of the Debug Adapter Protocol as it takes to stop at a line, as an editor does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]


class Client:
    """Talks with a debugger that listens at a port of this machine, as soon as it does."""

    def __init__(self, port: int, patience: float) -> None:
        self.patience = patience
        deadline = time.monotonic() + patience
        while True:  # another process will listen there, sometime
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.stream = self.socket.makefile("rwb")
        self.sent = 0
        self.seen: list[Message] = []  # that nobody has waited for yet

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def send(self, command: str, **arguments: Any) -> int:
        """The number of the request."""
        self.sent += 1
        message = {"seq": self.sent, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self.stream.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.stream.flush()
        return self.sent

    def _read(self) -> Any:
        length = 0
        while line := self.stream.readline().strip():
            name, _, value = line.partition(b":")
            if name == b"Content-Length":
                length = int(value)
        if not length:
            raise ConnectionError("the debugger has gone")
        return json.loads(self.stream.read(length))

    def wait(self, what: Callable[[Message], bool]) -> Message:
        for number, message in enumerate(self.seen):
            if what(message):
                return self.seen.pop(number)
        while not what(message := self._read()):
            self.seen.append(message)
        return message

    def event(self, name: str) -> Any:
        return self.wait(lambda it: it["type"] == "event" and it["event"] == name).get("body", {})

    def answer(self, request: int) -> Any:
        message = self.wait(lambda it: it["type"] == "response" and it["request_seq"] == request)
        if not message["success"]:
            raise RuntimeError(message.get("message"))
        return message.get("body", {})

    def ask(self, command: str, **arguments: Any) -> Any:
        return self.answer(self.send(command, **arguments))

    # ---- a session ----

    def begin(self, path: str, line: int) -> None:
        """Lets the program run, with a breakpoint."""
        self.ask("initialize", adapterID="test", pathFormat="path", linesStartAt1=True)
        attached = self.send("attach", justMyCode=False)
        self.event("initialized")
        points = self.ask("setBreakpoints", source={"path": path}, breakpoints=[{"line": line}])["breakpoints"]
        assert [point["verified"] for point in points] == [True]
        self.ask("configurationDone")
        self.answer(attached)

    def stopped(self) -> tuple[str, list[str]]:
        """The name of the thread that has stopped next, and the functions on its stack, the innermost first."""
        thread = self.event("stopped")["threadId"]
        names = {it["id"]: it["name"] for it in self.ask("threads")["threads"]}
        frames = self.ask("stackTrace", threadId=thread)["stackFrames"]
        return names[thread], [frame["name"] for frame in frames]

    def go_on(self) -> None:
        self.ask("continue", threadId=0, singleThread=False)

    def end(self) -> None:
        """Lets the program go on by itself.  Not after the last go_on(): with the program the debugger may be gone."""
        self.ask("disconnect", terminateDebuggee=False)
