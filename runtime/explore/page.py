"""The picture of a find: an HTML page that needs nothing else."""

from __future__ import annotations

from .results import Result
from .story import Story

__all__ = ["page"]


def page(story: Story, result: Result) -> str:
    return ""
