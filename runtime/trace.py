# The public names of observe/trace.py and observe/recording.py.
from .observe.recording import record as record
from .observe.recording import stop as stop
from .observe.trace import *  # noqa: F403
from .observe.trace import __all__ as _read
from .observe.trace import __doc__ as __doc__

__all__ = [*_read, "record", "stop"]
