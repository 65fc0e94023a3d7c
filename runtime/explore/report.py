"""The story of a run that failed: who did what, in which order, who held and who waited for what."""

from __future__ import annotations

from .plans import Ending, Run
from .results import Result


class Story:
    def __init__(self, run: Run) -> None:
        self.headline = Ending(run.ending).name

    def report(self, result: Result) -> str:
        return f"{result.outcome.name}: {self.headline} token {result.token}"

    def page(self, result: Result) -> str:
        return ""


class Recorder:
    def __init__(self) -> None:
        self.notes: list[tuple[int, int, object]] = []

    def note(self, thread: int, kind: int, object: object) -> None:
        self.notes.append((thread, kind, object))

    def finish(self, run: Run) -> Story:
        return Story(run)
