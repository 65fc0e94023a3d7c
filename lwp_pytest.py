"""pytest's plugin, which pytest imports whenever it runs, whatever it tests: lwp/command/pytest_plugin.py."""

import os
import sys
from contextlib import suppress
from importlib.machinery import SourceFileLoader

_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lwp", "command")

# Run in this module, so that nothing of the packages is imported yet: their names may be those of what is tested.
with suppress(FileNotFoundError):  # the tools are not installed
    SourceFileLoader(__name__, os.path.join(_FOLDER, "pytest_plugin.py")).exec_module(sys.modules[__name__])
