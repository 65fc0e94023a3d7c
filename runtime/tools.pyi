# What type checkers and editors find under the names of tools.py.

from collections.abc import Callable
from typing import Any

import lwp.observe as observe
import lwp.study.tlsmap as tlsmap
from lwp.explore import explore as explore
from lwp.explore import explored as explored
from lwp.explore import replay as replay
from lwp.observe.statistics import Statistics as Statistics
from lwp.observe.statistics import measure as measure
from lwp.observe.statistics import statistics as statistics
from lwp.observe.waits import Wait as Wait
from lwp.observe.waits import Waiting as Waiting
from lwp.observe.waits import waiting as waiting
from lwp.observe.watchdog import watchdog as watchdog
from lwp.study.steps import Step as Step
from lwp.study.steps import record_steps as record_steps
from lwp.study.tlsmap.comparison import compare as compare
from lwp.study.tlsmap.inspection import inspect as inspect
from lwp.study.tlsmap.layout import layout as layout
from lwp.study.tlsmap.variables import variables as variables

__all__ = ["observe", "tlsmap"]

NAMES: dict[str, dict[str, str]]
MODULES: dict[str, str]

def called(when: str) -> list[Callable[..., Any]]: ...
