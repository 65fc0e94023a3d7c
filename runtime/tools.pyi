# What type checkers and editors find under the names of tools.py.

from collections.abc import Callable
from typing import Any

import runtime.observe as observe  # not from `.`, which has these two from here
import runtime.tlsmap as tlsmap

from .explore import explore as explore
from .explore import explored as explored
from .explore import replay as replay
from .observe.statistics import Statistics as Statistics
from .observe.statistics import measure as measure
from .observe.statistics import statistics as statistics
from .observe.steps import Step as Step
from .observe.steps import record_steps as record_steps
from .observe.waits import Wait as Wait
from .observe.waits import Waiting as Waiting
from .observe.waits import waiting as waiting
from .observe.watchdog import watchdog as watchdog
from .tlsmap.comparison import compare as compare
from .tlsmap.inspection import inspect as inspect
from .tlsmap.layout import layout as layout
from .tlsmap.variables import variables as variables

__all__ = ["observe", "tlsmap"]

NAMES: dict[str, dict[str, str]]
MODULES: dict[str, str]

def called(when: str) -> list[Callable[..., Any]]: ...
